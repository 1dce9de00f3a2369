//! Files that are torn, cut off, emptied or replaced: the server starts on what is whole, or says what is not.

use std::fs;
use std::path::Path;

use crate::http::Connection;
use crate::support::{Server, copy, figure, offline, try_start};

/// The data of a server that was killed with commits in its write-ahead log.
fn killed() -> (Server, u64) {
    let mut server = Server::empty();
    let token = fs::read_to_string(server.path("data/admin-token")).unwrap();
    let mut connection = Connection::open(&server.url, token.trim()).unwrap();
    for number in 0..20 {
        let reply = connection.commit(&format!("key-{number}"), "counter", &number.to_string());
        assert_eq!(reply.unwrap().status, 200);
    }
    let revision = connection.get("/readyz").unwrap().body["revision"]
        .as_u64()
        .unwrap();
    server.kill();
    (server, revision)
}

fn cut(path: &Path, bytes: u64) {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(bytes)
        .unwrap();
}

#[test]
fn a_write_ahead_log_cut_off_anywhere_leaves_whole_commits() {
    let (server, revision) = killed();
    let (data, copied) = (server.path("data"), server.path("copy"));
    let length = fs::metadata(data.join("log.db-wal")).unwrap().len();
    assert!(length > 0, "the test is about a log that was not folded in");
    let mut last = revision;
    for part in (0..=24).rev() {
        copy(&data, &copied);
        cut(&copied.join("log.db-wal"), length * part / 24);
        let reached = try_start(&copied)
            .unwrap_or_else(|said| panic!("{part}/24 of the write-ahead log: {said}"));
        assert!(reached <= last, "{part}/24: {reached} after {last}");
        assert!(part < 24 || reached == revision, "{reached} of {revision}");
        last = reached;
        offline(&["log", "verify", "--data", copied.to_str().unwrap()]).ok();
    }
    figure("a write-ahead log cut off at 25 places: whole commits each time");
}

#[test]
fn a_log_that_is_not_whole_is_refused_with_its_name_and_what_to_do() {
    let (mut server, _) = killed();
    server.restart_stopped(false);
    assert_eq!(server.stop(), Some(0));
    let (data, copied) = (server.path("data"), server.path("copy"));
    let length = fs::metadata(data.join("log.db")).unwrap().len();
    let file = copied.join("log.db");
    let damages: [(&str, &dyn Fn()); 6] = [
        ("empty", &|| cut(&file, 0)),
        ("cut in half", &|| cut(&file, length / 2)),
        ("cut by a page", &|| cut(&file, length - 4096)),
        ("cut within a page", &|| cut(&file, length - 100)),
        ("something else", &|| {
            fs::write(&file, "this is not a log\n".repeat(1000)).unwrap();
        }),
        ("zeroes", &|| {
            fs::write(&file, vec![0; usize::try_from(length).unwrap()]).unwrap();
        }),
    ];
    let count = damages.len() + 1;
    for (what, damage) in damages {
        copy(&data, &copied);
        damage();
        let said = try_start(&copied).expect_err(what);
        assert!(
            said.contains("log.db") || said.contains("log verify"),
            "{what}: {said}"
        );
        assert!(said.contains("backup"), "{what}: {said}");
        assert!(!said.contains("panicked"), "{what}: {said}");
        let verified = offline(&["log", "verify", "--data", copied.to_str().unwrap()]);
        assert_eq!(verified.status, 1, "{what}: {verified:?}");
    }
    // Nothing is begun anew beside the remains of a log.
    copy(&data, &copied);
    fs::remove_file(&file).unwrap();
    fs::write(copied.join("log.db-wal"), "torn").unwrap();
    let said = try_start(&copied).expect_err("a log without its main file");
    assert!(said.contains("log.db"), "{said}");
    figure(&format!(
        "{count} files that are no log or not all of one, each refused"
    ));
}

#[test]
fn checkpoints_are_passed_over_one_by_one_down_to_the_whole_log() {
    let mut server = Server::with_platform();
    for number in 0..3 {
        server.ok(&format!("tenant set t{number} --plan free"));
        assert_eq!(server.stop(), Some(0));
        server.restart_stopped(false);
    }
    let view = |server: &Server| {
        let token = fs::read_to_string(server.path("data/admin-token")).unwrap();
        let mut connection = Connection::open(&server.url, token.trim()).unwrap();
        let reply = connection.get("/v1/environments/production/view").unwrap();
        assert_eq!(reply.status, 200);
        reply.body
    };
    let sound = view(&server);
    server.stop();
    let open = |server: &Server| rusqlite::Connection::open(server.path("data/log.db")).unwrap();
    let checkpoints: Vec<i64> = {
        let db = open(&server);
        let mut statement = db
            .prepare("SELECT id FROM checkpoint WHERE state = 1 ORDER BY revision DESC")
            .unwrap();
        statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    let damages = [
        "UPDATE checkpoint_chunk SET bytes = zeroblob(length(bytes)) WHERE checkpoint = ?1",
        "DELETE FROM checkpoint_chunk WHERE checkpoint = ?1",
        "UPDATE checkpoint SET bytes_len = bytes_len + 1 WHERE id = ?1",
    ];
    assert_eq!(checkpoints.len(), damages.len());
    for (damaged, (id, damage)) in checkpoints.into_iter().zip(damages).enumerate() {
        assert_eq!(open(&server).execute(damage, [id]).unwrap(), 1);
        server.restart_stopped(false);
        assert_eq!(view(&server), sound, "{damaged} are damaged");
        let told = server.log().matches("is damaged and passed over").count();
        assert_eq!(told, damaged + 1, "{}", server.log());
        server.kill();
    }
}

#[test]
fn a_restored_backup_goes_on_with_a_higher_epoch_and_its_past_clients_fetch_the_view() {
    let mut server = Server::with_platform();
    server.ok("tenant set before --plan free");
    server.stop();
    let (data, backup) = (server.path("data"), server.path("backup"));
    copy(&data, &backup);
    server.restart_stopped(false);
    server.ok("tenant set lost --plan free");
    let token = fs::read_to_string(server.path("data/admin-token")).unwrap();
    let ready = |server: &Server| {
        let reply = Connection::open(&server.url, token.trim())
            .unwrap()
            .get("/readyz")
            .unwrap();
        (
            reply.body["revision"].as_u64().unwrap(),
            reply.body["epoch"].as_u64().unwrap(),
        )
    };
    let (seen, epoch) = ready(&server);
    assert_eq!(epoch, 0);
    let busy = offline(&[
        "log",
        "recover",
        "--data",
        data.to_str().unwrap(),
        "--reason",
        "why",
    ]);
    assert!(busy.failed().contains("is in use by process"));
    server.stop();
    copy(&backup, &data);
    let recover = |reason: &str| {
        offline(&[
            "log",
            "recover",
            "--data",
            data.to_str().unwrap(),
            "--reason",
            reason,
        ])
    };
    assert!(recover("").failed().contains("the reason is empty"));
    let said = recover("the disk was lost").ok();
    assert!(
        said.contains(&format!("revision {seen} with epoch 1")),
        "{said}"
    );
    offline(&["log", "verify", "--data", data.to_str().unwrap()]).ok();
    server.restart_stopped(false);
    assert_eq!(ready(&server), (seen, 1));
    let shown = server.ok(&format!("log show {seen}"));
    assert!(
        shown.contains("recover") && shown.contains("the disk was lost"),
        "{shown}"
    );
    assert!(
        server
            .run(&["tenant", "show", "lost"])
            .failed()
            .contains("there is no")
    );
    // The epoch is in the view, and survives a start from a checkpoint and one without.
    let view = Connection::open(&server.url, token.trim())
        .unwrap()
        .get("/v1/environments/production/view")
        .unwrap();
    assert_eq!(view.body["epoch"], 1);
    server.stop();
    rusqlite::Connection::open(server.path("data/log.db"))
        .unwrap()
        .execute_batch("DELETE FROM checkpoint_chunk; DELETE FROM checkpoint;")
        .unwrap();
    server.restart_stopped(false);
    assert_eq!(ready(&server), (seen, 1));
}
