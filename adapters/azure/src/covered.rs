//! The store with a wake-up before every message that is put into an inbox, or instance that is stored without its first turn: nobody may be
//! driving, and this process may die before it does.
//!
//! The message is delivered after a second. If storing took longer than that, or nobody knows how it went, another one is put behind it:
//! whoever was given the first may have looked too early. Must never: acknowledge a delivery that has no wake-up behind it.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durable::InstanceId;
use durable::header::RuntimeStatus;
use durable::history::EventBytes;
use durable::ids::Incarnation;
use durable::message::Message;
use durable::ports::{
    Commit, CommitOutcome, Create, Created, Delivered, Known, ListQuery, Loaded, Page, PageToken, PortFuture, Purge, StatusRecord, Store, StoreResult,
};
use durable_host::work::Look;

use crate::queue::Post;
use crate::work::Work;

/// A message that is to be seen behind a delivery comes so long after it was put.
const DELAY: Duration = Duration::from_secs(1);

/// Storing that takes longer may be seen too early.
const IN_TIME: Duration = Duration::from_millis(700);

/// A write whose outcome is not known is over by then.
const WHEN_CLEAR: Duration = Duration::from_secs(30);

/// A store, and the queue that its wake-ups stand in.
#[derive(Clone)]
pub struct Covered {
    store: Arc<dyn Store>,
    queue: Arc<dyn Post>,
}

impl std::fmt::Debug for Covered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Covered")
    }
}

impl Covered {
    /// This store, with wake-ups in this queue.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, queue: Arc<dyn Post>) -> Self {
        Self { store, queue }
    }

    /// Does a write behind a wake-up.
    async fn behind<T>(&self, look: Look, write: PortFuture<StoreResult<T>>, needs_one: impl FnOnce(&T) -> bool) -> StoreResult<T> {
        let work = Work::Look(look);
        self.queue.put(work.clone().into(), DELAY).await?;
        let begun = Instant::now();
        match write.await {
            Ok(done) if begun.elapsed() > IN_TIME && needs_one(&done) => self.queue.put(work.into(), DELAY).await.map(|_| done),
            Ok(done) => Ok(done),
            Err(trouble) => {
                // The sender is told of the trouble in any case; this is for what may have been stored.
                if let Err(more) = self.queue.put(work.into(), WHEN_CLEAR).await {
                    tracing::warn!("a write without a clear outcome has no wake-up behind it, its sender has to repeat it: {more}");
                }
                Err(trouble)
            }
        }
    }
}

/// A look at whatever an instance's revision is then.
fn look(instance: &InstanceId, life: Option<Incarnation>, revision: u64) -> Look {
    Look { instance: instance.to_string(), life: life.map(|life| life.to_string()).unwrap_or_default(), revision, hop: 0 }
}

impl Store for Covered {
    fn delivers_atomically(&self) -> bool {
        self.store.delivers_atomically()
    }

    fn create(&self, create: Create) -> PortFuture<StoreResult<Created>> {
        // One whose first turn was run has the engine's own net; one that bears a fault has its alarm.
        if create.header.status != RuntimeStatus::Pending || create.header.fault.is_some() {
            return self.store.create(create);
        }
        let (covered, look) = (self.clone(), look(&create.instance, Some(create.header.incarnation), create.header.revision));
        Box::pin(async move { covered.behind(look, covered.store.create(create), |created| matches!(created, Created::Created(_))).await })
    }

    fn load(&self, instance: &InstanceId, known: Option<Known>) -> PortFuture<StoreResult<Option<Loaded>>> {
        self.store.load(instance, known)
    }

    fn status(&self, instance: &InstanceId) -> PortFuture<StoreResult<Option<StatusRecord>>> {
        self.store.status(instance)
    }

    fn commit(&self, commit: Commit) -> PortFuture<CommitOutcome> {
        self.store.commit(commit)
    }

    fn deliver(&self, instance: &InstanceId, incarnation: Option<Incarnation>, message: Message) -> PortFuture<StoreResult<Delivered>> {
        let (covered, instance, look) = (self.clone(), instance.clone(), look(instance, incarnation, 0));
        Box::pin(async move {
            let write = covered.store.deliver(&instance, incarnation, message);
            covered.behind(look, write, |delivered| *delivered == Delivered::Delivered).await
        })
    }

    fn list(&self, query: ListQuery, token: Option<PageToken>) -> PortFuture<StoreResult<Page>> {
        self.store.list(query, token)
    }

    fn history(&self, instance: &InstanceId, incarnation: Incarnation, execution: u32, range: Range<u64>) -> PortFuture<StoreResult<Vec<EventBytes>>> {
        self.store.history(instance, incarnation, execution, range)
    }

    fn purge_begin(&self, instance: &InstanceId) -> PortFuture<StoreResult<Purge>> {
        self.store.purge_begin(instance)
    }

    fn purge_step(&self, instance: &InstanceId, incarnation: Incarnation) -> PortFuture<StoreResult<Purge>> {
        self.store.purge_step(instance, incarnation)
    }
}
