//! What a log keeps over a restart.

use crate::conformance::{Draft, Fixture, append_all, fake_body, fake_hash};
use crate::{Checkpoint, DocumentKey, Head, ReadLimit};

/// A restart keeps entries, bodies, blobs, indexes, checkpoints, small values and the log's id.
pub async fn a_restart_keeps_everything(fixture: &dyn Fixture) {
    let log = fixture.open();
    let id = log.id().clone();
    let (flag, agent) = (
        DocumentKey::new("flag", "prod", "f"),
        DocumentKey::new("agent", "", "a"),
    );
    let first = Draft::after(Head::GENESIS)
        .put(&flag, b"on")
        .tenant("t1")
        .build();
    let second = Draft::after(first.head())
        .put_blob(&agent, b"manifest")
        .build();
    let run = [first, second];
    let head = append_all(&*log, Head::GENESIS, &run).await;
    let checkpoint = Checkpoint {
        revision: 2,
        head: head.hash,
        digest: fake_hash(b"state"),
        bytes: vec![7; (3 << 20) + 1].into(),
    };
    log.put_checkpoint(checkpoint.clone()).await.unwrap();
    log.meta_put("epoch", b"4").await.unwrap();
    let entries = log.read(0, ReadLimit::default()).await.unwrap();
    let snapshot = log.snapshot_at(2, None).await.unwrap();
    drop(log);

    let log = fixture.open();
    assert_eq!(log.id(), &id);
    assert_eq!(log.head().await.unwrap(), head);
    assert_eq!(log.watch().revision(), 2);
    assert_eq!(log.read(0, ReadLimit::default()).await.unwrap(), entries);
    assert_eq!(log.snapshot_at(2, None).await.unwrap(), snapshot);
    assert_eq!(snapshot.len(), 2);
    let body = fake_body(b"on");
    assert_eq!(log.bodies(&[body.digest]).await.unwrap(), [Some(body)]);
    let blob = log.blobs(&[fake_hash(b"manifest")]).await.unwrap();
    assert_eq!(blob[0].as_deref(), Some(b"manifest".as_slice()));
    assert_eq!(log.checkpoint(2).await.unwrap(), Some(checkpoint));
    assert_eq!(
        log.meta_get("epoch").await.unwrap().as_deref(),
        Some(b"4".as_slice())
    );
}

/// A restart brings back nothing that was erased.
pub async fn a_restart_keeps_erasures(fixture: &dyn Fixture) {
    let log = fixture.open();
    let entry = Draft::after(Head::GENESIS)
        .put(&DocumentKey::new("flag", "", "f"), b"x")
        .build();
    append_all(&*log, Head::GENESIS, std::slice::from_ref(&entry)).await;
    let digest = entry.bodies[0].digest;
    assert!(log.erase(&digest).await.unwrap());
    drop(log);

    let log = fixture.open();
    assert_eq!(log.bodies(&[digest]).await.unwrap(), [None]);
    assert_eq!(log.head().await.unwrap(), entry.head());
    let page = log.bodies_page(None, ReadLimit::default()).await.unwrap();
    assert_eq!(
        page.iter()
            .map(|b| (b.digest, b.body.is_none()))
            .collect::<Vec<_>>(),
        [(digest, true)]
    );
}

/// A log that was opened again takes the next entry, and still refuses a known id.
pub async fn a_log_goes_on_after_a_restart(fixture: &dyn Fixture) {
    let mut head = Head::GENESIS;
    for _ in 0..3 {
        let log = fixture.open();
        assert_eq!(log.head().await.unwrap(), head);
        head = append_all(&*log, head, &[Draft::after(head).build()]).await;
        let again = Draft::after(head).id("id-1").build();
        assert!(log.append(head, &[again]).await.is_err());
    }
    assert_eq!(head.revision, 3);
}
