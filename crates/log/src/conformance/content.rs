//! What every change log does with bodies, blobs, checkpoints and small values.

use crate::conformance::{Draft, Fixture, append_all, fake_body, fake_hash, fill, flag};
use crate::{Checkpoint, DocumentKey, Head, ReadLimit, WriteError};

/// Bodies come back in the order asked, with gaps for those that are not there.
pub async fn bodies_come_back_in_the_order_asked(fixture: &dyn Fixture) {
    let log = fixture.open();
    let draft = Draft::after(Head::GENESIS)
        .put(&flag("a"), b"1")
        .put(&flag("b"), b"");
    append_all(&*log, Head::GENESIS, &[draft.build()]).await;
    let (one, none) = (fake_body(b"1"), fake_body(b""));
    let asked = [none.digest, fake_hash(b"?"), one.digest, none.digest];
    let found = log.bodies(&asked).await.unwrap();
    assert_eq!(found, [Some(none.clone()), None, Some(one), Some(none)]);
}

/// An erased body leaves its place, and the chain and everything else as they were.
pub async fn an_erased_body_leaves_its_place_and_the_chain(fixture: &dyn Fixture) {
    let log = fixture.open();
    let draft = Draft::after(Head::GENESIS)
        .put(&flag("a"), b"personal")
        .put(&flag("b"), b"2");
    let entry = draft.build();
    append_all(&*log, Head::GENESIS, std::slice::from_ref(&entry)).await;
    let before = (
        log.read(0, ReadLimit::default()).await,
        log.snapshot_at(1, None).await,
    );
    let (erased, kept) = (entry.bodies[0].clone(), entry.bodies[1].clone());

    assert!(log.erase(&erased.digest).await.unwrap());
    assert!(!log.erase(&erased.digest).await.unwrap());
    assert!(!log.erase(&fake_hash(b"?")).await.unwrap());
    let found = log.bodies(&[erased.digest, kept.digest]).await.unwrap();
    assert_eq!(found, [None, Some(kept.clone())]);
    let page = log.bodies_page(None, ReadLimit::default()).await.unwrap();
    let mut places: Vec<_> = page
        .into_iter()
        .map(|body| (body.digest, body.body))
        .collect();
    places.sort_by_key(|(digest, _)| *digest != erased.digest);
    assert_eq!(places, [(erased.digest, None), (kept.digest, Some(kept))]);
    let after = (
        log.read(0, ReadLimit::default()).await,
        log.snapshot_at(1, None).await,
    );
    assert_eq!(after, before);
    append_all(&*log, entry.head(), &[Draft::after(entry.head()).build()]).await;
}

/// The same blob is stored once however many commits bring it, and comes back if one brings it after an erasure.
pub async fn the_same_blob_is_stored_once_and_comes_back_after_an_erasure(fixture: &dyn Fixture) {
    let log = fixture.open();
    let agent = |name: &str| DocumentKey::new("agent", "", name);
    let digest = fake_hash(b"manifest");
    let draft = Draft::after(Head::GENESIS).put_blob(&agent("a"), b"manifest");
    let first = draft.put_blob(&agent("b"), b"manifest").build();
    let second = Draft::after(first.head())
        .put_blob(&agent("c"), b"manifest")
        .build();
    let head = append_all(&*log, Head::GENESIS, &[first, second]).await;
    let page = log.blobs_page(None, ReadLimit::default()).await.unwrap();
    assert_eq!(
        page.iter().map(|blob| blob.digest).collect::<Vec<_>>(),
        [digest]
    );

    assert!(log.erase(&digest).await.unwrap());
    assert_eq!(log.blobs(&[digest]).await.unwrap(), [None]);
    let page = log.blobs_page(None, ReadLimit::default()).await.unwrap();
    assert_eq!(
        page.iter()
            .map(|b| (b.digest, b.bytes.is_none()))
            .collect::<Vec<_>>(),
        [(digest, true)]
    );
    let again = Draft::after(head)
        .put_blob(&agent("a"), b"manifest")
        .build();
    append_all(&*log, head, &[again]).await;
    let found = log.blobs(&[digest]).await.unwrap();
    assert_eq!(found[0].as_deref(), Some(b"manifest".as_slice()));
}

/// Pages visit every body and every blob once, in the order of their digests.
pub async fn pages_visit_every_body_and_blob_once(fixture: &dyn Fixture) {
    let log = fixture.open();
    let mut draft = Draft::after(Head::GENESIS);
    for n in 0..25_u8 {
        draft = draft
            .put(&flag(&n.to_string()), &[n])
            .put_blob(&flag(&n.to_string()), &[n, n]);
    }
    let entry = draft.build();
    append_all(&*log, Head::GENESIS, std::slice::from_ref(&entry)).await;

    let mut digests: Vec<_> = entry.bodies.iter().map(|body| body.digest).collect();
    digests.sort_unstable();
    let (mut visited, mut after) = (Vec::new(), None);
    loop {
        let page = log.bodies_page(after, ReadLimit::records(4)).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.digest);
        visited.extend(page.iter().map(|body| body.digest));
    }
    assert_eq!(visited, digests);

    let mut digests: Vec<_> = entry.blobs.iter().map(|blob| blob.digest).collect();
    digests.sort_unstable();
    let (mut visited, mut after) = (Vec::new(), None);
    loop {
        let page = log
            .blobs_page(
                after,
                ReadLimit {
                    records: 9,
                    bytes: 5,
                },
            )
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 2);
        after = Some(last.digest);
        visited.extend(page.iter().map(|blob| blob.digest));
    }
    assert_eq!(visited, digests);
}

fn checkpoint(head: Head, bytes: &[u8]) -> Checkpoint {
    Checkpoint {
        revision: head.revision,
        head: head.hash,
        digest: fake_hash(bytes),
        bytes: bytes.into(),
    }
}

/// The three newest checkpoints are kept; one at the same revision takes the other's place.
pub async fn the_three_newest_checkpoints_are_kept(fixture: &dyn Fixture) {
    let log = fixture.open();
    let entries = fill(&*log, 5).await;
    let large: Vec<u8> = (0..(2 << 20) + 17_u32)
        .map(|i| i.to_le_bytes()[1])
        .collect();
    for (position, bytes) in [
        (0, b"one".as_slice()),
        (1, &large),
        (1, b"two"),
        (2, b""),
        (3, &large),
    ] {
        let head = entries[position].head();
        log.put_checkpoint(checkpoint(head, bytes)).await.unwrap();
        assert_eq!(
            log.checkpoint(head.revision).await.unwrap(),
            Some(checkpoint(head, bytes))
        );
    }
    let kept = log.checkpoints().await.unwrap();
    let described: Vec<_> = kept
        .iter()
        .map(|meta| (meta.revision, meta.bytes_len))
        .collect();
    assert_eq!(described, [(4, large.len() as u64), (3, 0), (2, 3)]);
    assert_eq!(kept[2].head, entries[1].hash);
    assert_eq!(kept[2].digest, fake_hash(b"two"));
    assert_eq!(log.checkpoint(1).await.unwrap(), None);
}

/// A checkpoint of an entry that the log does not hold is refused.
pub async fn a_checkpoint_of_an_unknown_entry_is_refused(fixture: &dyn Fixture) {
    let log = fixture.open();
    fill(&*log, 1).await;
    for head in [
        Head {
            revision: 1,
            hash: fake_hash(b"another history"),
        },
        Head {
            revision: 2,
            hash: fake_hash(b"the future"),
        },
    ] {
        let refused = log.put_checkpoint(checkpoint(head, b"state")).await;
        assert!(
            matches!(refused, Err(WriteError::Refused { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(log.checkpoints().await.unwrap(), []);
    log.put_checkpoint(checkpoint(Head::GENESIS, b"nothing yet"))
        .await
        .unwrap();
    assert_eq!(log.checkpoints().await.unwrap().len(), 1);
}

/// An erasure drops every checkpoint, for each may hold the bytes.
pub async fn an_erasure_drops_every_checkpoint(fixture: &dyn Fixture) {
    let log = fixture.open();
    let entry = Draft::after(Head::GENESIS)
        .put(&flag("f"), b"personal")
        .build();
    append_all(&*log, Head::GENESIS, std::slice::from_ref(&entry)).await;
    log.put_checkpoint(checkpoint(entry.head(), b"personal"))
        .await
        .unwrap();
    assert!(log.erase(&entry.bodies[0].digest).await.unwrap());
    assert_eq!(log.checkpoints().await.unwrap(), []);
    assert_eq!(log.checkpoint(1).await.unwrap(), None);
    log.put_checkpoint(checkpoint(entry.head(), b"without"))
        .await
        .unwrap();
    assert_eq!(log.checkpoints().await.unwrap().len(), 1);
}

/// Small values are replaced, kept apart by key, and bounded.
pub async fn small_values_are_replaced_and_bounded(fixture: &dyn Fixture) {
    let log = fixture.open();
    log.meta_put("epoch", b"1").await.unwrap();
    log.meta_put("epoch", b"2").await.unwrap();
    log.meta_put("salt", &vec![0; 64 << 10]).await.unwrap();
    assert_eq!(
        log.meta_get("epoch").await.unwrap().as_deref(),
        Some(b"2".as_slice())
    );
    assert_eq!(
        log.meta_get("salt").await.unwrap().map(|value| value.len()),
        Some(64 << 10)
    );
    let refused = log.meta_put("epoch", &vec![0; (64 << 10) + 1]).await;
    assert!(
        matches!(refused, Err(WriteError::TooLarge(_))),
        "{refused:?}"
    );
    assert_eq!(
        log.meta_get("epoch").await.unwrap().as_deref(),
        Some(b"2".as_slice())
    );
}

/// A sound store has nothing to report.
pub async fn a_sound_store_has_nothing_to_report(fixture: &dyn Fixture) {
    let log = fixture.open();
    let entry = Draft::after(Head::GENESIS)
        .put(&flag("f"), b"1")
        .put_blob(&flag("g"), b"2");
    append_all(&*log, Head::GENESIS, &[entry.build()]).await;
    assert_eq!(log.check().await.unwrap(), [""; 0]);
}
