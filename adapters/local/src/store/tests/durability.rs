//! What is answered is durable, groups hold together, and trouble is told and survived.

use std::fs;
use std::io::BufRead;

use durable::ports::{Delivered, Purge, StoreError};

use super::*;
use crate::store::OpenError;

#[test]
fn the_common_commit_writes_one_row_in_one_transaction() {
    let fixture = Fixture::new();
    let before = fixture.store.stats();
    let create = create_of("a");
    let mut header = create.header.clone();
    let mut token = fixture.create(create).token;
    // The base lifecycle: start, two turns, the end.
    for turn in 0..3 {
        let commit = if turn < 2 { next("a", &header, &token) } else { last("a", &header, &token) };
        header = commit.header.clone();
        token = fixture.commit(commit).token;
    }
    let after = fixture.store.stats();
    assert_eq!(after.transactions - before.transactions, 4);
    assert_eq!(after.commits - before.commits, 4);
    assert_eq!(after.rows - before.rows, 4, "one row each, and nothing but the row");
    // Nor is anything read: with a token, the writer goes straight to the row.
    assert_eq!(fixture.load("a").events.len(), 3);
}

#[test]
fn what_queues_up_is_one_transaction_and_a_loser_in_it_disturbs_nobody() {
    let fixture = Fixture::new();
    let started: Vec<_> = (0..50)
        .map(|n| {
            let create = create_of(&format!("i{n}"));
            (create.header.clone(), fixture.create(create).token)
        })
        .collect();
    let before = fixture.store.stats();
    // The writer is kept busy until all of it is queued.
    let (go, gate) = std::sync::mpsc::channel::<()>();
    fixture.store.inner.writer.send(Request::Hands(Box::new(move |_| gate.recv().unwrap()))).unwrap();
    let mut answers = Vec::new();
    for (n, (header, token)) in started.iter().enumerate() {
        let name = format!("i{n}");
        answers.push(fixture.store.commit(next(&name, header, token)));
        if n == 7 {
            answers.push(fixture.store.commit(next(&name, header, token)));
        }
    }
    go.send(()).unwrap();
    let (mut won, mut lost) = (0, 0);
    for answer in answers {
        match wait(answer) {
            CommitOutcome::Committed(_) => won += 1,
            CommitOutcome::Lost(Some(loaded)) => {
                assert_eq!((loaded.header.revision, loaded.events.len()), (2, 1), "the loser is given what the winner left");
                lost += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((won, lost), (50, 1));
    let after = fixture.store.stats();
    assert_eq!(after.transactions - before.transactions, 1);
    assert_eq!(after.commits - before.commits, 50);
}

#[test]
fn an_answer_is_sent_only_after_the_transaction_is_in_the_file() {
    let fixture = Fixture::new();
    let other = rusqlite::Connection::open(fixture.folder.path().join("durable.db")).unwrap();
    for n in 0..50 {
        let name = format!("i{n}");
        fixture.create(create_of(&name));
        let found: i64 = other.query_row("SELECT count(*) FROM instances WHERE id = ?1", [&name], |row| row.get(0)).unwrap();
        assert_eq!(found, 1, "another connection sees it as soon as it is answered");
        assert!(wait(fixture.store.load(&id(&name), None)).unwrap().is_some());
    }
}

#[test]
fn a_store_that_was_killed_has_all_that_was_answered() {
    let fixture = Fixture::new();
    let mut headers = Vec::new();
    for n in 0..20 {
        let create = create_of(&format!("i{n}"));
        headers.push(create.header.clone());
        fixture.create(create);
    }
    // As a crash leaves it: the files are copied while the store still runs, its log included.
    let copy = tempfile::tempdir().unwrap();
    for file in ["durable.db", "durable.db-wal", "commits.hwm"] {
        fs::copy(fixture.folder.path().join(file), copy.path().join(file)).unwrap();
    }
    let store = SqliteStore::open(Options::new(copy.path())).unwrap();
    for (n, header) in headers.iter().enumerate() {
        assert_eq!(&wait(store.load(&id(&format!("i{n}")), None)).unwrap().unwrap().header, header);
    }
    assert_eq!(wait(store.runnable(0, 100)).unwrap().len(), 20);
}

#[test]
fn an_older_copy_is_refused_until_told_to_go_on() {
    let fixture = Fixture::new();
    fixture.create(create_of("old"));
    let Fixture { store, folder } = fixture;
    drop(store);
    let path = folder.path().join("durable.db");
    let old = fs::read(&path).unwrap();
    let store = SqliteStore::open(Options::new(folder.path())).unwrap();
    for n in 0..3 {
        wait(store.create(create_of(&format!("new{n}")))).unwrap();
    }
    drop(store);
    fs::write(&path, &old).unwrap();

    let error = SqliteStore::open(Options::new(folder.path())).unwrap_err();
    assert!(matches!(error, OpenError::MissingCommits { missing: 3, .. }), "{error}");
    assert!(error.to_string().contains("lacks 3 commits") && error.to_string().contains("--accept-missing-commits"), "{error}");

    let store = SqliteStore::open(Options { accept_missing_commits: true, ..Options::new(folder.path()) }).unwrap();
    assert!(wait(store.load(&id("old"), None)).unwrap().is_some());
    assert!(wait(store.load(&id("new0"), None)).unwrap().is_none());
    drop(store);
    SqliteStore::open(Options::new(folder.path())).unwrap();
}

#[test]
fn a_log_that_lost_its_end_is_noticed() {
    let fixture = Fixture::new();
    for n in 0..10 {
        fixture.create(create_of(&format!("i{n}")));
    }
    let copy = tempfile::tempdir().unwrap();
    for file in ["durable.db", "durable.db-wal", "commits.hwm"] {
        fs::copy(fixture.folder.path().join(file), copy.path().join(file)).unwrap();
    }
    let log = fs::OpenOptions::new().write(true).open(copy.path().join("durable.db-wal")).unwrap();
    log.set_len(log.metadata().unwrap().len() - 5000).unwrap();
    let error = SqliteStore::open(Options::new(copy.path())).unwrap_err();
    assert!(matches!(error, OpenError::MissingCommits { missing: 1, .. }), "{error}");
}

#[test]
fn of_many_drivers_that_race_exactly_one_wins_each_revision() {
    let fixture = Fixture::new();
    fixture.create(create_of("a"));
    let won: usize = std::thread::scope(|scope| {
        let drivers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let (mut won, mut loaded) = (0, fixture.load("a"));
                    while won < 10 {
                        match wait(fixture.store.commit(next("a", &loaded.header, &loaded.token))) {
                            CommitOutcome::Committed(_) => {
                                won += 1;
                                loaded = fixture.load("a");
                            }
                            CommitOutcome::Lost(Some(winner)) => loaded = *winner,
                            other => panic!("{other:?}"),
                        }
                    }
                    won
                })
            })
            .collect();
        drivers.into_iter().map(|driver| driver.join().unwrap()).sum()
    });
    let loaded = fixture.load("a");
    assert_eq!((won, loaded.header.revision, loaded.events.len()), (80, 81, 80));
}

#[test]
fn a_torn_high_water_mark_is_not_believed() {
    let Fixture { store, folder } = Fixture::new();
    drop(store);
    fs::write(folder.path().join("commits.hwm"), [0xff; 16]).unwrap();
    drop(SqliteStore::open(Options::new(folder.path())).unwrap());
    fs::write(folder.path().join("commits.hwm"), [1; 5]).unwrap();
    drop(SqliteStore::open(Options::new(folder.path())).unwrap());
    assert_eq!(fs::metadata(folder.path().join("commits.hwm")).unwrap().len(), 16);
}

#[test]
fn a_full_disk_is_told_harms_nobody_and_passes() {
    let fixture = Fixture::with(|options| options.max_bytes = Some(400 * 1024));
    let small = create_of("small");
    let small_header = small.header.clone();
    let small_token = fixture.create(small).token;
    let mut stored = 0;
    let error = loop {
        let create = Create { input: large(b'x', 40_000), ..create_of(&format!("large{stored}")) };
        match wait(fixture.store.create(create)) {
            Ok(_) => stored += 1,
            Err(e) => break e,
        }
        assert!(stored < 20, "the limit never came");
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(wait(fixture.store.load(&id(&format!("large{stored}")), None)).unwrap().is_none(), "nothing of the refused one is left");

    // A large one and small ones in one group: only the large one is refused.
    let (go, gate) = std::sync::mpsc::channel::<()>();
    fixture.store.inner.writer.send(Request::Hands(Box::new(move |_| gate.recv().unwrap()))).unwrap();
    let commit = next("small", &small_header, &small_token);
    let header = commit.header.clone();
    let first = fixture.store.commit(commit);
    let refused = fixture.store.create(Create { input: large(b'x', 100_000), ..create_of("too large") });
    let delivered = fixture.store.deliver(&id("small"), None, message(None));
    go.send(()).unwrap();
    let CommitOutcome::Committed(committed) = wait(first) else { panic!("a neighbour was disturbed") };
    assert!(matches!(wait(refused), Err(StoreError::Full(_))));
    assert_eq!(wait(delivered).unwrap(), Delivered::Delivered);

    // A commit that finds no room is told so; nothing of it is stored.
    let mut commit = next("small", &header, &committed.token);
    commit.append = vec![event(100_000)];
    assert!(matches!(wait(fixture.store.commit(commit)), CommitOutcome::Unknown(StoreError::Full(_))));
    let loaded = fixture.load("small");
    assert_eq!((loaded.header.revision, loaded.events.len(), loaded.inbox.len()), (2, 1, 1));

    // Room again.
    for n in 0..stored {
        let name = format!("large{n}");
        let loaded = fixture.load(&name);
        let commit = last(&name, &loaded.header, &loaded.token);
        assert!(matches!(wait(fixture.store.commit(commit)), CommitOutcome::Committed(_)));
        assert_eq!(wait(fixture.store.purge_begin(&id(&name))).unwrap(), Purge::Done);
    }
    fixture.create(Create { input: large(b'x', 100_000), ..create_of("too large") });
}

#[test]
fn a_file_that_may_not_be_written_any_more_is_told() {
    let fixture = Fixture::new();
    fixture.hands(|db| db.conn.pragma_update(None, "query_only", true).unwrap());
    assert!(matches!(wait(fixture.store.create(create_of("a"))), Err(StoreError::ReadOnly(_))));
    fixture.hands(|db| db.conn.pragma_update(None, "query_only", false).unwrap());
    fixture.create(create_of("a"));
}

#[test]
fn a_request_that_fails_midway_leaves_nothing_and_memory_agrees_with_the_file() {
    let fixture = Fixture::new();
    let create = create_of("a");
    let header = create.header.clone();
    let token = fixture.create(create).token;
    wait(fixture.store.deliver(&id("a"), None, message(None))).unwrap();
    // The third write of the commit fails: the chunk, after the row and before the inbox.
    fixture.hands(|db| {
        db.conn.execute_batch("CREATE TEMP TRIGGER broken BEFORE DELETE ON main.inbox BEGIN SELECT raise(ABORT, 'broken'); END").unwrap();
    });
    let mut commit = next("a", &header, &token);
    commit.taken = 1;
    commit.append = vec![event(3000)];
    let (go, gate) = std::sync::mpsc::channel::<()>();
    fixture.store.inner.writer.send(Request::Hands(Box::new(move |_| gate.recv().unwrap()))).unwrap();
    let failed = fixture.store.commit(commit.clone());
    let neighbour = fixture.store.create(create_of("b"));
    go.send(()).unwrap();
    assert!(matches!(wait(failed), CommitOutcome::Failed(_)));
    assert!(matches!(wait(neighbour), Ok(Created::Created(_))));
    fixture.hands(|db| assert_eq!(db.inboxes.values().map(|inbox| inbox.waiting.len()).sum::<usize>(), 1));
    let loaded = fixture.load("a");
    assert_eq!((loaded.header.revision, loaded.events.len(), loaded.inbox.len()), (1, 0, 1));

    fixture.hands(|db| db.conn.execute_batch("DROP TRIGGER broken").unwrap());
    assert!(fixture.commit(commit).inbox.is_empty());
    assert_eq!(fixture.load("a").inbox.len(), 0);
    fixture.hands(|db| assert!(db.inboxes.is_empty()));
}

#[test]
fn the_log_is_emptied_once_nothing_is_asked() {
    let fixture = Fixture::new();
    fixture.create(create_of("a"));
    let log = fixture.folder.path().join("durable.db-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while fs::metadata(&log).unwrap().len() > 0 {
        assert!(std::time::Instant::now() < until, "the log was not emptied");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    fixture.create(create_of("b"));
}

/// Set in the process that is killed: its data folder.
const VICTIM: &str = "DURABLE_LOCAL_TEST_VICTIM";

#[test]
fn a_process_killed_at_any_moment_has_lost_nothing_that_it_acknowledged() {
    if let Ok(folder) = std::env::var(VICTIM) {
        let fixture = Fixture { store: SqliteStore::open(Options::new(folder)).unwrap(), folder: tempfile::tempdir().unwrap() };
        for n in 0.. {
            let create = create_of(&format!("i{n}"));
            let header = create.header.clone();
            let token = fixture.create(create).token;
            fixture.commit(next(&format!("i{n}"), &header, &token));
            println!("acknowledged {n}");
        }
    }
    for kill_after in [1, 17, 40] {
        let folder = tempfile::tempdir().unwrap();
        let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["a_process_killed_at_any_moment", "--nocapture", "--test-threads=1"])
            .env(VICTIM, folder.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(victim.stdout.take().unwrap()).lines();
        let acknowledged = |line: std::io::Result<String>| line.ok()?.rsplit_once("acknowledged ")?.1.parse::<u64>().ok();
        let seen = lines.by_ref().filter_map(acknowledged).nth(kill_after).unwrap();
        victim.kill().unwrap();
        victim.wait().unwrap();
        // What it said before it died, and nobody had read yet, counts as well.
        let last = lines.filter_map(acknowledged).last().unwrap_or(seen);
        let store = SqliteStore::open(Options::new(folder.path())).unwrap();
        for n in 0..=last {
            let loaded = wait(store.load(&id(&format!("i{n}")), None)).unwrap().unwrap();
            assert_eq!((loaded.header.revision, loaded.events.len()), (2, 1));
        }
    }
}
