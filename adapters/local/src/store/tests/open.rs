//! What stands in the way of opening, and whether the words tell.

use std::fs;

use super::*;
use crate::store::OpenError;

fn open(folder: &TempDir) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(Options::new(folder.path()))
}

#[test]
fn a_folder_belongs_to_one_store_at_a_time() {
    let fixture = Fixture::new();
    let error = open(&fixture.folder).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("stop that one first"), "{error}");
    fixture.store.close();
    open(&fixture.folder).unwrap();
}

#[test]
fn the_last_handle_closes_the_store_and_gives_the_folder_free() {
    let Fixture { store, folder } = Fixture::new();
    let other = store.clone();
    drop(store);
    assert!(open(&folder).is_err());
    drop(other);
    let again = open(&folder).unwrap();
    drop(again);
    assert!(!folder.path().join("durable.db-wal").exists(), "the log is gone after a clean end");
}

#[test]
fn a_closed_store_refuses_and_does_not_hang() {
    let fixture = Fixture::new();
    fixture.store.close();
    fixture.store.close();
    assert!(wait(fixture.store.create(create_of("a"))).unwrap_err().to_string().contains("closed"));
    assert!(wait(fixture.store.load(&id("a"), None)).is_err());
    assert!(matches!(wait(fixture.store.commit(next("a", &header(), &Token::default()))), CommitOutcome::Unknown(_)));
}

#[test]
fn a_file_of_a_newer_build_is_refused_and_left_as_it_is() {
    let Fixture { store, folder } = Fixture::new();
    drop(store);
    let path = folder.path().join("durable.db");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let before = fs::read(&path).unwrap();
    let error = open(&folder).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_and_a_database_of_another_program_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("durable.db");
    fs::write(&path, b"this is not a database, whatever its name says; and it is long enough to have a header of one hundred bytes").unwrap();
    let error = open(&folder).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("durable.db is damaged or not a database"), "{error}");

    fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE notes (text)").unwrap();
    let error = open(&folder).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

#[test]
fn a_damaged_page_is_noticed_at_open() {
    let fixture = Fixture::new();
    for n in 0..200 {
        fixture.create(create_of(&format!("instance-{n}")));
    }
    let Fixture { store, folder } = fixture;
    drop(store);
    let path = folder.path().join("durable.db");
    let mut bytes = fs::read(&path).unwrap();
    for page in bytes.chunks_mut(4096).skip(2) {
        page[..64].fill(0xa5);
    }
    fs::write(&path, bytes).unwrap();
    let error = open(&folder).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[test]
fn a_file_that_may_not_be_written_is_a_clear_error() {
    let Fixture { store, folder } = Fixture::new();
    drop(store);
    let path = folder.path().join("durable.db");
    // Rights do not bind the superuser; the attribute "immutable" does, where the file system knows it.
    let attribute = |flag: &str| std::process::Command::new("chattr").arg(flag).arg(&path).stderr(std::process::Stdio::null()).status();
    let immutable = attribute("+i").is_ok_and(|status| status.success());
    let mut rights = fs::metadata(&path).unwrap().permissions();
    rights.set_readonly(true);
    if !immutable {
        fs::set_permissions(&path, rights).unwrap();
    }
    let writable = fs::OpenOptions::new().write(true).open(&path).is_ok();
    let opened = open(&folder);
    if immutable {
        attribute("-i").unwrap();
    }
    if writable {
        println!("skipped: this user may write everything here");
        return;
    }
    let error = opened.unwrap_err();
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
    assert!(error.to_string().contains("give this user the right"), "{error}");
}

#[test]
fn the_file_tells_whose_it_is_and_opens_in_any_sqlite() {
    let fixture = Fixture::new();
    fixture.create(create_of("a"));
    let path = fixture.folder.path().join("durable.db");
    let conn = rusqlite::Connection::open(path).unwrap();
    assert_eq!(conn.pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0)).unwrap(), 0x4475_4f72);
    assert_eq!(conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0)).unwrap(), "wal");
    assert_eq!(conn.query_row("SELECT id FROM instances", [], |row| row.get::<_, String>(0)).unwrap(), "a");
    fixture.hands(|db| {
        assert_eq!(db.conn.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0)).unwrap(), 2);
        assert_eq!(db.conn.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0)).unwrap(), 4096);
    });
}
