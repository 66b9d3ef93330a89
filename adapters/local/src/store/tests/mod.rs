//! Tests of the store, by what they are about. The behaviour that all stores share is tested by the conformance suite.

mod durability;
mod instances;
mod listing;
mod open;
mod size;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bytes::Bytes;
use durable::header::{Header, RuntimeStatus};
use durable::ids::{CommitId, Incarnation, InstanceId, MessageId};
use durable::message::{Message, MessageBody};
use durable::ports::{Commit, CommitOutcome, Committed, Create, Created, Loaded, ReusePolicy, Store, Token};
use durable::{Payload, Timestamp};
use tempfile::TempDir;

use super::db::Db;
use super::writer::Request;
use super::{Options, SqliteStore};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

static DRAWN: AtomicU64 = AtomicU64::new(1);

/// Eight bytes that were never drawn before.
pub fn draw() -> [u8; 8] {
    DRAWN.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

pub fn id(text: &str) -> InstanceId {
    InstanceId::new(text).unwrap()
}

pub fn payload(text: &str) -> Payload {
    Payload::from_stored(Bytes::copy_from_slice(text.as_bytes()))
}

pub fn large(letter: u8, len: usize) -> Payload {
    Payload::from_stored(Bytes::from(vec![letter; len]))
}

pub fn event(len: usize) -> Bytes {
    Bytes::from(draw().repeat(len.div_ceil(8))).slice(..len)
}

pub fn header() -> Header {
    Header::pending("base_orchestrator".to_owned(), None, Incarnation(draw()), CommitId(draw()), Timestamp(1_700_000_000_000_000))
}

pub fn create_of(name: &str) -> Create {
    Create {
        instance: id(name),
        header: header(),
        input: payload("{}"),
        output: None,
        custom_status: None,
        append: Vec::new(),
        deliveries: Vec::new(),
        policy: ReusePolicy::ReplaceEnded,
    }
}

pub fn message(sender: Option<durable::message::Sender>) -> Message {
    let id = MessageId([draw(), draw()].concat().try_into().unwrap());
    Message { id, arrived: Timestamp(1), sender, keyed: false, body: MessageBody::EventRaised { name: "go".to_owned(), data: payload("1") } }
}

/// The next commit of an instance: running, asleep, with one more event.
pub fn next(name: &str, header: &Header, token: &Token) -> Commit {
    let mut header = header.clone();
    header.revision += 1;
    header.commit_id = CommitId(draw());
    header.status = RuntimeStatus::Running;
    header.events += 1;
    Commit {
        instance: id(name),
        token: token.clone(),
        base: header.revision - 1,
        header,
        reset: false,
        append: vec![event(40)],
        taken: 0,
        direct: Vec::new(),
        deliveries: Vec::new(),
        input: None,
        output: None,
        custom_status: None,
    }
}

/// The commit that ends an instance.
pub fn last(name: &str, header: &Header, token: &Token) -> Commit {
    let mut commit = next(name, header, token);
    commit.header.status = RuntimeStatus::Completed;
    commit.output = Some(payload("\"done\""));
    commit
}

/// A store in a folder of its own.
pub struct Fixture {
    pub store: SqliteStore,
    pub folder: TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path());
        change(&mut options);
        Self { store: SqliteStore::open(options).unwrap(), folder }
    }

    pub fn create(&self, create: Create) -> Committed {
        match wait(self.store.create(create)).unwrap() {
            Created::Created(committed) => committed,
            Created::Exists(loaded) => panic!("exists: {loaded:?}"),
        }
    }

    pub fn commit(&self, commit: Commit) -> Committed {
        match wait(self.store.commit(commit)) {
            CommitOutcome::Committed(committed) => committed,
            other => panic!("{other:?}"),
        }
    }

    pub fn load(&self, name: &str) -> Loaded {
        wait(self.store.load(&id(name), None)).unwrap().unwrap()
    }

    /// Creates an instance and ends it.
    pub fn ended(&self, name: &str) -> Header {
        let create = create_of(name);
        let header = create.header.clone();
        let token = self.create(create).token;
        let commit = last(name, &header, &token);
        let header = commit.header.clone();
        self.commit(commit);
        header
    }

    /// Does something on the writer's own connection.
    pub fn hands<T: Send + 'static>(&self, work: impl FnOnce(&mut Db) -> T + Send + 'static) -> T {
        let (done, result) = std::sync::mpsc::channel();
        let hands = Box::new(move |db: &mut Db| done.send(work(db)).unwrap());
        self.store.inner.writer.send(Request::Hands(hands)).unwrap();
        result.recv().unwrap()
    }

    /// How many rows stand in all tables together, the one of counters left out.
    pub fn rows(&self) -> i64 {
        self.hands(|db| {
            let tables = ["instances", "chunks", "payloads", "inbox", "senders", "leftovers"];
            tables.iter().map(|table| db.conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap()).sum()
        })
    }
}
