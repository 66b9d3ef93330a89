//! The simulated store: the store in memory, with a book of every write, a stream of changes, and reads that may show the past.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use durable::Timestamp;
use durable::history::EventBytes;
use durable::ids::{CommitId, EffectId, Incarnation, InstanceId};
use durable::message::Message;
use durable::ports::{
    Commit, CommitOutcome, Create, Created, Delivered, Known, ListQuery, Loaded, Page, PageToken, PortFuture, Purge, StatusRecord, Store, StoreError,
    StoreResult,
};
use durable_host::Peeked;
use durable_host::invoked::{Seen, busy_until, must_be_looked_at};
use durable_host::stores::CloudStore;
use durable_tests::MemoryStore;
use futures_util::FutureExt;

use crate::book::{Book, Writer};
use crate::call::{Caller, How, LOCAL_WRITE, READ, Service, WRITE};
use crate::faults::Fault;
use crate::happening::{Happening, Record};
use crate::world::World;

/// How many shards the stream of changes has.
pub const SHARDS: usize = 4;

/// The store. Clones share everything.
#[derive(Clone)]
pub struct SimStore {
    memory: MemoryStore,
    shared: Arc<Shared>,
}

struct Shared {
    world: Arc<World>,
    /// Changes that leave something to do are told in a stream, and cheap reads may be stale.
    streams: bool,
    /// Calls go over a network.
    remote: bool,
    book: Mutex<Book>,
    past: Mutex<BTreeMap<InstanceId, VecDeque<(Timestamp, Peeked)>>>,
    /// Until when somebody sees to each instance, as its last write had it.
    busy: Mutex<BTreeMap<InstanceId, Option<Timestamp>>>,
    /// Who makes an attempt that was handed on, and until when.
    attempts: Mutex<BTreeMap<(String, u32), (String, Timestamp)>>,
    /// The build that was noted last.
    build: Mutex<Option<String>>,
}

/// All futures of the store in memory are ready at once.
fn now<T>(future: PortFuture<T>) -> T {
    future.now_or_never().unwrap_or_else(|| unreachable!("the store in memory does not wait"))
}

/// How an instance was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrote {
    Created,
    Committed,
    Delivered,
}

impl SimStore {
    /// An empty one, whose inboxes hold `room` messages.
    #[must_use]
    pub fn new(world: Arc<World>, delivers_atomically: bool, streams: bool, remote: bool, room: usize) -> Self {
        world.state().streams = (0..SHARDS).map(|_| VecDeque::new()).collect();
        let shared = Shared {
            world,
            streams,
            remote,
            book: Mutex::default(),
            past: Mutex::default(),
            busy: Mutex::default(),
            attempts: Mutex::default(),
            build: Mutex::default(),
        };
        Self { memory: MemoryStore::new(delivers_atomically).with_room_for(room), shared: Arc::new(shared) }
    }

    /// The store in memory.
    #[must_use]
    pub const fn memory(&self) -> &MemoryStore {
        &self.memory
    }

    /// What was written.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance as it stands.
    #[must_use]
    pub fn load_now(&self, instance: &InstanceId) -> Option<Loaded> {
        now(self.memory.load(instance, None)).ok().flatten()
    }

    /// All instances.
    #[must_use]
    pub fn all(&self) -> Vec<InstanceId> {
        let query = ListQuery { top: usize::MAX, ..ListQuery::default() };
        now(self.memory.list(query, None)).map(|page| page.items.into_iter().map(|item| item.instance).collect()).unwrap_or_default()
    }

    /// What a look shows now.
    #[must_use]
    pub fn peek_now(&self, instance: &InstanceId) -> Option<Peeked> {
        self.load_now(instance).map(|loaded| Peeked { instance: instance.clone(), inbox_empty: loaded.inbox.is_empty(), header: loaded.header })
    }

    /// What a cheap look may show: something that was true at most a few seconds ago.
    #[must_use]
    pub fn peek_past(&self, instance: &InstanceId, back: Duration) -> Option<Peeked> {
        let past = self.shared.past.lock().unwrap_or_else(PoisonError::into_inner);
        let then = Timestamp(self.shared.world.now().0 - i64::try_from(back.as_micros()).unwrap_or(0));
        past.get(instance)?.iter().rev().find(|(at, _)| *at <= then).map(|(_, peeked)| peeked.clone())
    }

    /// Claims an attempt for a run until a time, as the clouds' stores do.
    pub fn claim_now(&self, effect: &EffectId, attempt: u32, run: &str, until: Timestamp, now: Timestamp) -> bool {
        let mut attempts = self.shared.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (effect.to_string(), attempt);
        let free = attempts.get(&key).is_none_or(|(of, ends)| of == run || *ends < now);
        if free {
            attempts.insert(key, (run.to_owned(), until));
        }
        free
    }

    fn build(&self) -> MutexGuard<'_, Option<String>> {
        self.shared.build.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance was written: whoever reads the stream is told.
    fn wrote(&self, instance: &InstanceId, how: Wrote) {
        if !self.shared.streams {
            return;
        }
        let Some(peeked) = self.peek_now(instance) else { return };
        let world = &self.shared.world;
        {
            let mut past = self.shared.past.lock().unwrap_or_else(PoisonError::into_inner);
            let versions = past.entry(instance.clone()).or_default();
            versions.push_back((world.now(), peeked.clone()));
            if versions.len() > 8 {
                versions.pop_front();
            }
        }
        let raised = {
            let mut all = self.shared.busy.lock().unwrap_or_else(PoisonError::into_inner);
            let before = all.get(instance).copied().flatten().filter(|_| how != Wrote::Created);
            let busy = busy_until(&peeked.header);
            all.insert(instance.clone(), busy);
            // What was raised was told by the write that did it.
            how != Wrote::Delivered && durable_host::wakeups::raised(before, busy)
        };
        if how != Wrote::Delivered && !must_be_looked_at(&peeked.header) && peeked.inbox_empty {
            return;
        }
        let shard = instance.as_str().bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte))) % SHARDS;
        let delayed = world.trouble(&[Fault::Delayed]).map_or(0, |(_, more)| more % 600_000);
        let mut state = world.state();
        let (life, revision, messages) = (peeked.header.incarnation, peeked.header.revision, !peeked.inbox_empty);
        let record = Record { seen: Seen { instance: instance.clone(), life, revision, messages, raised }, tries: 0 };
        if let Some(stream) = state.streams.get_mut(shard) {
            stream.push_back(record);
        }
        let after = state.below(800) + delayed;
        let when = state.now.after(Duration::from_millis(after));
        state.plan_at(when, Happening::Stream(shard));
    }

    /// Stores a new instance.
    pub fn create_now(&self, writer: Writer, create: Create) -> StoreResult<Created> {
        let (instance, header, append, deliveries) = (create.instance.clone(), create.header.clone(), create.append.clone(), create.deliveries.clone());
        let created = now(self.memory.create(create))?;
        if matches!(created, Created::Created(_)) {
            self.shared.world.note(|| format!("p{} CREATE {instance} life {} {:?}", writer.process, header.incarnation, header.status));
            self.book().wrote(writer, &instance, &header, None, &append, true);
            self.book().started(&deliveries, |there| self.peek_now(there).map(|there| there.header));
            self.wrote(&instance, Wrote::Created);
        }
        Ok(created)
    }

    /// Commits.
    pub fn commit_now(&self, writer: Writer, commit: Commit) -> CommitOutcome {
        let (instance, header, append, reset) = (commit.instance.clone(), commit.header.clone(), commit.append.clone(), commit.reset);
        let deliveries = commit.deliveries.clone();
        let before = if writer.matching && !reset { None } else { self.load_now(&instance) };
        // What the last turn of an execution took stands in no history.
        let taken: Vec<Message> = match &before {
            Some(before) if reset => {
                let mut known = BTreeSet::new();
                let all = before.inbox.iter().take(commit.taken).chain(&commit.direct);
                all.filter(|message| !before.header.in_ring(&message.id) && known.insert(message.id)).cloned().collect()
            }
            _ => Vec::new(),
        };
        let before = before.map(|before| before.header);
        let outcome = now(self.memory.commit(commit));
        let world = &self.shared.world;
        match &outcome {
            CommitOutcome::Committed(_) => {
                world.note(|| {
                    let events: Vec<_> = append.iter().filter_map(|bytes| durable::history::Event::from_bytes(bytes).ok()).map(|e| format!("{e:?}")).collect();
                    let events = events.join("\n                    + ");
                    format!(
                        "p{} COMMIT {instance} r{} {:?} work={} due={:?} alarm={:?} claims={:?} fault={:?}\n                    + {events}",
                        writer.process,
                        header.revision,
                        header.status,
                        header.has_work(),
                        header.due(),
                        header.alarm_at,
                        header.claims,
                        header.fault.as_ref().map(|fault| fault.kind)
                    )
                });
                self.book().took(&instance, &header, &taken);
                self.book().wrote(writer, &instance, &header, before.as_ref(), &append, reset);
                self.book().started(&deliveries, |there| self.peek_now(there).map(|there| there.header));
                self.wrote(&instance, Wrote::Committed);
            }
            CommitOutcome::Lost(_) => world.note(|| format!("p{} LOST {instance} r{}", writer.process, header.revision)),
            _ => {}
        }
        outcome
    }

    /// Delivers a message.
    pub fn deliver_now(&self, writer: Writer, instance: &InstanceId, incarnation: Option<Incarnation>, message: Message) -> StoreResult<Delivered> {
        let text = if self.shared.world.is_traced() { format!("{:?}", message.body) } else { String::new() };
        let delivered = now(self.memory.deliver(instance, incarnation, message))?;
        self.shared.world.note(|| format!("p{} DELIVER {instance} {delivered:?} {text}", writer.process));
        match delivered {
            Delivered::Delivered => self.wrote(instance, Wrote::Delivered),
            Delivered::Full => self.shared.world.state().faults.came_about(Fault::Full),
            _ => {}
        }
        Ok(delivered)
    }

    /// A rival commits what is stored again.
    fn touch(&self, writer: Writer, instance: &InstanceId) {
        let Some(loaded) = self.load_now(instance) else { return };
        let mut header = loaded.header;
        let base = header.revision;
        header.revision += 1;
        header.commit_id = CommitId(header.commit_id.0.map(|byte| byte ^ 0x5a));
        let _ = self.commit_now(Writer { matching: true, ..writer }, Commit::header_only(instance.clone(), loaded.token, base, header));
    }

    fn purged(&self, instance: &InstanceId, purge: Purge) -> Purge {
        if purge == Purge::Done {
            self.shared.world.note(|| format!("PURGED {instance}"));
            self.book().purged(instance);
        }
        purge
    }
}

/// The way from one process to the store.
#[derive(Clone)]
pub struct Line {
    /// Who calls.
    pub caller: Caller,
    /// How its writes are entered into the book.
    pub writer: Writer,
    /// The other end.
    pub store: SimStore,
}

impl Line {
    fn writes(&self) -> &'static [Fault] {
        if self.store.shared.remote { WRITE } else { LOCAL_WRITE }
    }

    fn read<T: Send + 'static>(&self, read: impl FnOnce(&SimStore) -> StoreResult<T> + Send + 'static) -> PortFuture<StoreResult<T>> {
        let store = self.store.clone();
        self.caller.call(Service::Store, READ, Err, move |_| read(&store))
    }
}

impl CloudStore for Line {
    /// A cheap look may show the past.
    fn peek(&self, instance: &InstanceId, consistent: bool) -> PortFuture<StoreResult<Option<Peeked>>> {
        let (store, instance, world) = (self.store.clone(), instance.clone(), self.caller.world.clone());
        self.caller.call(Service::Store, READ, Err, move |_| {
            let stale = if consistent { None } else { world.trouble(&[Fault::Stale]) };
            Ok(match stale {
                Some((_, more)) => store.peek_past(&instance, Duration::from_millis(more % 4_000)),
                None => store.peek_now(&instance),
            })
        })
    }

    fn claim_run(&self, effect: &EffectId, attempt: u32, run: &str, until: Timestamp, now: Timestamp) -> PortFuture<StoreResult<bool>> {
        let (store, effect, run) = (self.store.clone(), effect.clone(), run.to_owned());
        self.caller.call(Service::Store, self.writes(), Err, move |_| Ok(store.claim_now(&effect, attempt, &run, until, now)))
    }

    fn faulted(&self, after: Option<&InstanceId>) -> PortFuture<StoreResult<Vec<InstanceId>>> {
        let after = after.cloned();
        self.read(move |store| {
            let mut all: Vec<_> = store.all().into_iter().filter(|id| after.as_ref().is_none_or(|after| id > after)).collect();
            all.sort();
            Ok(all
                .into_iter()
                .filter(|id| store.load_now(id).is_some_and(|loaded| loaded.header.fault.is_some() && !loaded.header.status.is_terminal()))
                .take(3)
                .collect())
        })
    }

    fn is_latest_build(&self, build: &str) -> PortFuture<StoreResult<bool>> {
        let build = build.to_owned();
        self.read(move |store| Ok(store.build().as_deref() == Some(&*build)))
    }

    fn note_build(&self, build: &str) -> PortFuture<StoreResult<()>> {
        let (store, build) = (self.store.clone(), build.to_owned());
        self.caller.call(Service::Store, self.writes(), Err, move |_| {
            *store.build() = Some(build);
            Ok(())
        })
    }
}

impl Store for Line {
    fn delivers_atomically(&self) -> bool {
        self.store.memory.delivers_atomically()
    }

    fn create(&self, create: Create) -> PortFuture<StoreResult<Created>> {
        let (store, writer) = (self.store.clone(), self.writer);
        // A start takes an id as it was when it was sent: whatever stands there later turns a late one away.
        let stands = move |store: &SimStore, instance: &InstanceId| store.peek_now(instance).map(|there| (there.header.incarnation, there.header.revision));
        let met = stands(&store, &create.instance);
        self.caller.call(Service::Store, self.writes(), Err, move |how| {
            if how == How::Late && stands(&store, &create.instance) != met {
                return Err(StoreError::Unavailable("it came too late".to_owned()));
            }
            store.create_now(writer, create)
        })
    }

    fn load(&self, instance: &InstanceId, known: Option<Known>) -> PortFuture<StoreResult<Option<Loaded>>> {
        let instance = instance.clone();
        self.read(move |store| now(store.memory.load(&instance, known)))
    }

    fn status(&self, instance: &InstanceId) -> PortFuture<StoreResult<Option<StatusRecord>>> {
        let instance = instance.clone();
        self.read(move |store| now(store.memory.status(&instance)))
    }

    fn commit(&self, commit: Commit) -> PortFuture<CommitOutcome> {
        let (store, writer) = (self.store.clone(), self.writer);
        self.caller.call(Service::Store, self.writes(), CommitOutcome::Unknown, move |how| {
            if how == How::Behind {
                store.touch(writer, &commit.instance);
            }
            store.commit_now(writer, commit)
        })
    }

    fn deliver(&self, instance: &InstanceId, incarnation: Option<Incarnation>, message: Message) -> PortFuture<StoreResult<Delivered>> {
        let (store, writer, instance) = (self.store.clone(), self.writer, instance.clone());
        self.caller.call(Service::Store, self.writes(), Err, move |_| store.deliver_now(writer, &instance, incarnation, message))
    }

    fn list(&self, query: ListQuery, token: Option<PageToken>) -> PortFuture<StoreResult<Page>> {
        self.read(move |store| now(store.memory.list(query, token)))
    }

    fn history(&self, instance: &InstanceId, incarnation: Incarnation, execution: u32, range: Range<u64>) -> PortFuture<StoreResult<Vec<EventBytes>>> {
        let instance = instance.clone();
        self.read(move |store| now(store.memory.history(&instance, incarnation, execution, range)))
    }

    fn purge_begin(&self, instance: &InstanceId) -> PortFuture<StoreResult<Purge>> {
        let (store, instance) = (self.store.clone(), instance.clone());
        self.caller.call(Service::Store, self.writes(), Err, move |_| now(store.memory.purge_begin(&instance)).map(|purge| store.purged(&instance, purge)))
    }

    fn purge_step(&self, instance: &InstanceId, incarnation: Incarnation) -> PortFuture<StoreResult<Purge>> {
        let (store, instance) = (self.store.clone(), instance.clone());
        self.caller.call(Service::Store, self.writes(), Err, move |_| now(store.memory.purge_step(&instance, incarnation)))
    }
}
