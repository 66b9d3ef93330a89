//! Exhaustive single faults on the local host: the real server, killed with -9 before each write and each fsync of its database, its log and its
//! mark, and before each answer; the same calls failing for want of room or with an error of the disk. See `single_faults`.
//!
//! `strace` does it: it counts the calls of each thread, and kills or refuses at the one that is meant. Whoever dies is begun again, as a service
//! manager does. A second fault of a pair strikes its successor, counted from its beginning.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

#[path = "local_faults/keeper.rs"]
mod keeper;
#[path = "local_faults/kernel.rs"]
mod kernel;
mod single_faults;
mod support;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use durable::header::Header;
use durable::ports::StatusRecord;
use durable::{InstanceId, Payload};
use keeper::Keeper;
use kernel::Point;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use single_faults::{Kind, Rig, Script};
use support::{Http, wait_for};

/// Any step of a story is done within this, on a machine that does much else.
const BOUND: Duration = Duration::from_secs(60);

/// The calls that each story makes if nothing goes wrong, once it has been told so.
static POINTS: Mutex<Option<HashMap<&'static str, Vec<Point>>>> = Mutex::new(None);

fn points(story: &str) -> Vec<Point> {
    let points = POINTS.lock().unwrap_or_else(PoisonError::into_inner);
    points.as_ref().and_then(|points| points.get(story)).cloned().unwrap_or_default()
}

/// One server on a folder of its own.
struct LocalRig {
    keeper: Keeper,
    script: Arc<Script>,
    folder: tempfile::TempDir,
}

/// An address that nobody else is given while its server is down: below those that the system gives to whoever asks for any.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], NEXT.fetch_add(1, Ordering::SeqCst)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl LocalRig {
    /// Asks the database itself.
    fn ask<T>(&self, ask: impl Fn(&Connection) -> rusqlite::Result<T>) -> T {
        let path = self.folder.path().join("data/durable.db");
        // A server that is just being born, or has just died, may leave nothing that can be read.
        wait_for("a database that can be read", BOUND, || {
            let conn = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX).ok()?;
            conn.busy_timeout(Duration::from_secs(5)).ok()?;
            ask(&conn).ok()
        })
    }

    fn count(&self, what: &str) -> i64 {
        self.ask(|conn| conn.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)))
    }
}

impl Rig for LocalRig {
    fn kinds() -> &'static [(Kind, &'static str)] {
        &[(Kind::KillBefore, "killed before"), (Kind::Cut, "answer cut"), (Kind::Throttle, "no room"), (Kind::Error, "disk error")]
    }

    fn may(asked: &str, kind: Kind) -> bool {
        let answers = asked.starts_with(kernel::ANSWER);
        match kind {
            Kind::KillBefore | Kind::KillAfter => true,
            Kind::Cut => answers,
            Kind::Throttle => asked.starts_with("write "),
            Kind::Error => !answers,
        }
    }

    fn start(script: &Arc<Script>, cold: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keeper = Keeper::start(folder.path().to_owned(), free_address(), script, points(script.story), cold);
        Self { keeper, script: Arc::clone(script), folder }
    }

    fn http(&self) -> Http {
        Http::new(self.keeper.address())
    }

    fn record(&self, instance: &InstanceId) -> Option<StatusRecord> {
        let of = "SELECT header FROM instances WHERE id = ?1";
        let header: Option<Vec<u8>> = self.ask(|conn| conn.query_row(of, [instance.as_str()], |row| row.get(0)).optional());
        let header = Header::from_bytes(&header?).expect("a header");
        Some(StatusRecord { instance: instance.clone(), header, input: Payload::default(), output: None, custom_status: None })
    }

    fn rest(&self) {
        wait_for("an instance with nothing to do", BOUND, || {
            let left = ["instances WHERE work = 1", "inbox", "leftovers"].map(|what| self.count(what));
            (left == [0; 3]).then_some(())
        });
        if self.script.faults().is_empty() {
            let seen = self.keeper.seen();
            seen.iter().for_each(|point| self.script.note(point.asked.clone()));
            POINTS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(self.script.story, seen);
        }
        self.keeper.end();
    }

    fn left(&self) -> Vec<String> {
        let due = self.count("instances WHERE due IS NOT NULL AND status IN (1, 3, 5)");
        if due == 0 { Vec::new() } else { vec![format!("{due} instances that have ended and are due")] }
    }

    fn alarms(&self) -> usize {
        0
    }

    fn bound(&self) -> Duration {
        BOUND
    }

    fn killed(&self) -> u64 {
        self.keeper.killed()
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log(&self) -> String {
        self.keeper.log()
    }
}

#[test]
fn whatever_dies_or_fails_on_the_laptop_every_story_ends_as_it_must() {
    kernel::there();
    single_faults::walk::<LocalRig>("local", "a server that dies is begun again at once", 8);
}
