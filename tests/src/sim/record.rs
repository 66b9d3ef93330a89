//! A store that writes down what every commit added, and checks what must hold after each: one revision at a time, no message and no end of a
//! call twice in one history.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use durable::InstanceId;
use durable::header::Header;
use durable::history::{Event, EventBytes};
use durable::ids::{Incarnation, MessageId};
use durable::message::Message;
use durable::ports::{
    Commit, CommitOutcome, Create, Created, Delivered, Known, ListQuery, Loaded, Page, PageToken, PortFuture, Purge, StatusRecord, Store, StoreResult,
};

use super::world::World;
use crate::{FaultyStore, MemoryStore};

/// One execution of one life, as its commits made it.
#[derive(Debug, Clone, Default)]
pub struct Execution {
    /// Its events, in order.
    pub events: Vec<Event>,
}

/// Which execution: instance, life, number.
pub type ExecutionKey = (InstanceId, Incarnation, u32);

#[derive(Default)]
struct Book {
    executions: BTreeMap<ExecutionKey, Execution>,
    revisions: BTreeMap<(InstanceId, Incarnation), u64>,
}

/// The store in memory, with a book of all that was ever committed.
#[derive(Clone)]
pub struct RecordedStore {
    memory: MemoryStore,
    book: Arc<Mutex<Book>>,
}

impl RecordedStore {
    /// An empty store, whose inboxes hold `room` messages.
    #[must_use]
    pub fn new(delivers_atomically: bool, room: usize) -> Self {
        Self { memory: MemoryStore::new(delivers_atomically).with_room_for(room), book: Arc::default() }
    }

    /// The store in memory.
    #[must_use]
    pub const fn memory(&self) -> &MemoryStore {
        &self.memory
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All executions that ever committed an event.
    #[must_use]
    pub fn executions(&self) -> Vec<(ExecutionKey, Execution)> {
        self.book().executions.iter().map(|(key, execution)| (key.clone(), execution.clone())).collect()
    }
}

impl Book {
    fn wrote(&mut self, instance: &InstanceId, header: &Header, append: &[EventBytes]) {
        let life = (instance.clone(), header.incarnation);
        if let Some(before) = self.revisions.insert(life, header.revision) {
            assert_eq!(header.revision, before + 1, "{instance}: the revision grows by one per commit");
        }
        let key = (instance.clone(), header.incarnation, header.execution);
        let execution = self.executions.entry(key).or_default();
        execution.events.extend(append.iter().map(|bytes| Event::from_bytes(bytes).expect("an event reads back")));
        assert_eq!(execution.events.len() as u64, header.events, "{instance}: the header counts the events of the execution");
        if !append.is_empty() {
            check_history(instance, &execution.events);
        }
    }
}

/// No message stands twice in a history, and no call ends twice, but for what a rewind took back.
pub fn check_history(instance: &InstanceId, events: &[Event]) {
    let masked: BTreeSet<usize> = events
        .iter()
        .flat_map(|event| match event {
            Event::ExecutionRewound { masked, .. } => masked.iter().map(|n| *n as usize).collect(),
            _ => Vec::new(),
        })
        .collect();
    let (mut messages, mut ended): (BTreeSet<MessageId>, BTreeSet<u32>) = Default::default();
    for (place, event) in events.iter().enumerate() {
        match event {
            Event::EventRaised { message, .. } | Event::EventUnprocessed { message, .. } => {
                assert!(messages.insert(*message), "{instance}: message {message} stands twice in the history: {events:#?}");
            }
            Event::ActivityCompleted { sequence, .. }
            | Event::ActivityFailed { sequence, .. }
            | Event::TimerFired { sequence }
            | Event::SubOrchestrationCompleted { sequence, .. }
            | Event::SubOrchestrationFailed { sequence, .. }
                if !masked.contains(&place) =>
            {
                assert!(ended.insert(*sequence), "{instance}: call {sequence} ends twice in the history: {events:#?}");
            }
            _ => {}
        }
    }
}

impl Store for RecordedStore {
    fn delivers_atomically(&self) -> bool {
        self.memory.delivers_atomically()
    }

    fn create(&self, create: Create) -> PortFuture<StoreResult<Created>> {
        let store = self.clone();
        Box::pin(async move {
            let (instance, header, append) = (create.instance.clone(), create.header.clone(), create.append.clone());
            let created = store.memory.create(create).await;
            if let Ok(Created::Created(_)) = &created {
                store.book().wrote(&instance, &header, &append);
            }
            created
        })
    }

    fn commit(&self, commit: Commit) -> PortFuture<CommitOutcome> {
        let store = self.clone();
        Box::pin(async move {
            let (instance, header, append) = (commit.instance.clone(), commit.header.clone(), commit.append.clone());
            let outcome = store.memory.commit(commit).await;
            if let CommitOutcome::Committed(_) = &outcome {
                store.book().wrote(&instance, &header, &append);
            }
            outcome
        })
    }

    fn load(&self, instance: &InstanceId, known: Option<Known>) -> PortFuture<StoreResult<Option<Loaded>>> {
        self.memory.load(instance, known)
    }

    fn status(&self, instance: &InstanceId) -> PortFuture<StoreResult<Option<StatusRecord>>> {
        self.memory.status(instance)
    }

    fn deliver(&self, instance: &InstanceId, incarnation: Option<Incarnation>, message: Message) -> PortFuture<StoreResult<Delivered>> {
        self.memory.deliver(instance, incarnation, message)
    }

    fn list(&self, query: ListQuery, token: Option<PageToken>) -> PortFuture<StoreResult<Page>> {
        self.memory.list(query, token)
    }

    fn history(&self, instance: &InstanceId, incarnation: Incarnation, execution: u32, range: Range<u64>) -> PortFuture<StoreResult<Vec<EventBytes>>> {
        self.memory.history(instance, incarnation, execution, range)
    }

    fn purge_begin(&self, instance: &InstanceId) -> PortFuture<StoreResult<Purge>> {
        self.memory.purge_begin(instance)
    }

    fn purge_step(&self, instance: &InstanceId, incarnation: Incarnation) -> PortFuture<StoreResult<Purge>> {
        self.memory.purge_step(instance, incarnation)
    }
}

/// The way from one process to the store: every call takes its time, before and after, so that others come in between.
pub struct Line {
    /// Where time passes.
    pub world: Arc<World>,
    /// The other end.
    pub store: FaultyStore<RecordedStore>,
}

impl Line {
    fn call<T: Send + 'static>(&self, call: PortFuture<T>) -> PortFuture<T> {
        let world = self.world.clone();
        Box::pin(async move {
            world.call_pause().await;
            let result = call.await;
            world.call_pause().await;
            result
        })
    }
}

impl Store for Line {
    fn delivers_atomically(&self) -> bool {
        self.store.delivers_atomically()
    }

    fn create(&self, create: Create) -> PortFuture<StoreResult<Created>> {
        self.call(self.store.create(create))
    }

    fn commit(&self, commit: Commit) -> PortFuture<CommitOutcome> {
        self.call(self.store.commit(commit))
    }

    fn load(&self, instance: &InstanceId, known: Option<Known>) -> PortFuture<StoreResult<Option<Loaded>>> {
        self.call(self.store.load(instance, known))
    }

    fn status(&self, instance: &InstanceId) -> PortFuture<StoreResult<Option<StatusRecord>>> {
        self.call(self.store.status(instance))
    }

    fn deliver(&self, instance: &InstanceId, incarnation: Option<Incarnation>, message: Message) -> PortFuture<StoreResult<Delivered>> {
        self.call(self.store.deliver(instance, incarnation, message))
    }

    fn list(&self, query: ListQuery, token: Option<PageToken>) -> PortFuture<StoreResult<Page>> {
        self.call(self.store.list(query, token))
    }

    fn history(&self, instance: &InstanceId, incarnation: Incarnation, execution: u32, range: Range<u64>) -> PortFuture<StoreResult<Vec<EventBytes>>> {
        self.call(self.store.history(instance, incarnation, execution, range))
    }

    fn purge_begin(&self, instance: &InstanceId) -> PortFuture<StoreResult<Purge>> {
        self.call(self.store.purge_begin(instance))
    }

    fn purge_step(&self, instance: &InstanceId, incarnation: Incarnation) -> PortFuture<StoreResult<Purge>> {
        self.call(self.store.purge_step(instance, incarnation))
    }
}
