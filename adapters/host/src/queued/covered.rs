//! The store with a wake-up before every message that is put into an inbox, or instance that is stored without its first turn: nobody may be
//! driving, and this process may die before it does.
//!
//! The message is delivered after a second. If storing took longer than that, or nobody knows how it went, another one is put behind it:
//! whoever was given the first may have looked too early. So it is where nobody is there to take a message: an earlier try of it may land in the
//! next life. Must never: acknowledge a delivery that has no wake-up behind it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use durable::InstanceId;
use durable::header::RuntimeStatus;
use durable::history::EventBytes;
use durable::ids::Incarnation;
use durable::message::Message;
use durable::ports::{
    Commit, CommitOutcome, Create, Created, Delivered, Known, ListQuery, Loaded, Page, PageToken, PortFuture, Purge, StatusRecord, Store, StoreResult,
};

use super::letter::Work;
use super::post::Post;
use crate::machine::Machine;
use crate::work::Look;

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
    machine: Arc<dyn Machine>,
}

impl std::fmt::Debug for Covered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Covered")
    }
}

impl Covered {
    /// This store, with wake-ups in this queue.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, queue: Arc<dyn Post>, machine: Arc<dyn Machine>) -> Self {
        Self { store, queue, machine }
    }

    /// Does a write behind a wake-up.
    async fn behind<T>(&self, look: Look, write: PortFuture<StoreResult<T>>, needs_one: impl FnOnce(&T) -> bool) -> StoreResult<T> {
        let work = Work::Look(look);
        // Its delay may begin long before the queue's answer comes.
        let begun = self.machine.uptime();
        self.queue.put(work.clone().into(), DELAY).await?;
        match write.await {
            Ok(done) if self.machine.uptime().saturating_sub(begun) > IN_TIME && needs_one(&done) => self.queue.put(work.into(), DELAY).await.map(|_| done),
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
    Look { instance: instance.to_string(), life: life.map(|life| life.to_string()).unwrap_or_default(), revision, hop: 0, due: None }
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
            let delivered = covered.behind(look.clone(), write, |delivered| *delivered == Delivered::Delivered).await?;
            if incarnation.is_none() && matches!(delivered, Delivered::NotFound | Delivered::Finished) {
                // An earlier try may still be under way, of a process that has died, and be put into a life that begins meanwhile.
                covered.queue.put(Work::Look(look).into(), WHEN_CLEAR).await?;
            }
            Ok(delivered)
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use durable::header::Header;
    use durable::ids::{CommitId, MessageId};
    use durable::message::MessageBody;
    use durable::ports::{ReusePolicy, StoreError};
    use durable_tests::MemoryStore;

    use durable::{App, Payload, Timestamp};

    use super::super::testing::Noted;
    use super::*;
    use crate::machine::ThisMachine;

    const LIFE: Incarnation = Incarnation([1; 8]);

    fn id() -> InstanceId {
        InstanceId::new("a").unwrap()
    }

    fn start(status: RuntimeStatus) -> Create {
        let mut header = Header::pending("o".into(), None, LIFE, CommitId([1; 8]), Timestamp(0));
        header.status = status;
        let (append, deliveries) = (Vec::new(), Vec::new());
        let (output, custom_status) = (None, None);
        Create { instance: id(), header, input: Payload::default(), output, custom_status, append, deliveries, policy: ReusePolicy::Never }
    }

    fn event() -> Message {
        let body = MessageBody::EventRaised { name: "e".into(), data: Payload::default() };
        Message { id: MessageId([1; 16]), arrived: Timestamp(0), sender: None, keyed: false, body }
    }

    fn covered(store: impl Store, queue: &Arc<Noted>) -> Covered {
        Covered::new(Arc::new(store), queue.clone(), Arc::new(ThisMachine::new(Arc::new(App::builder().build().unwrap()))))
    }

    /// Says how a delivery went, after a while.
    struct Slow(Duration, StoreResult<Delivered>);

    impl Store for Slow {
        fn delivers_atomically(&self) -> bool {
            false
        }
        fn create(&self, _: Create) -> PortFuture<StoreResult<Created>> {
            Box::pin(std::future::pending())
        }
        fn load(&self, _: &InstanceId, _: Option<Known>) -> PortFuture<StoreResult<Option<Loaded>>> {
            Box::pin(std::future::pending())
        }
        fn status(&self, _: &InstanceId) -> PortFuture<StoreResult<Option<StatusRecord>>> {
            Box::pin(std::future::pending())
        }
        fn commit(&self, _: Commit) -> PortFuture<CommitOutcome> {
            Box::pin(std::future::pending())
        }
        fn deliver(&self, _: &InstanceId, _: Option<Incarnation>, _: Message) -> PortFuture<StoreResult<Delivered>> {
            let (wait, result) = (self.0, self.1.clone());
            Box::pin(async move {
                tokio::time::sleep(wait).await;
                result
            })
        }
        fn list(&self, _: ListQuery, _: Option<PageToken>) -> PortFuture<StoreResult<Page>> {
            Box::pin(std::future::pending())
        }
        fn history(&self, _: &InstanceId, _: Incarnation, _: u32, _: Range<u64>) -> PortFuture<StoreResult<Vec<EventBytes>>> {
            Box::pin(std::future::pending())
        }
        fn purge_begin(&self, _: &InstanceId) -> PortFuture<StoreResult<Purge>> {
            Box::pin(std::future::pending())
        }
        fn purge_step(&self, _: &InstanceId, _: Incarnation) -> PortFuture<StoreResult<Purge>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test]
    async fn a_delivery_and_a_plain_start_have_a_wake_up_and_a_start_with_its_first_turn_has_the_engine_s() {
        let queue = Arc::new(Noted::default());
        let covered = covered(MemoryStore::new(false), &queue);
        assert!(matches!(covered.create(start(RuntimeStatus::Running)).await, Ok(Created::Created(_))));
        assert!(queue.letters().is_empty());
        assert!(matches!(covered.create(start(RuntimeStatus::Pending)).await, Ok(Created::Exists(_))));
        assert!(matches!(covered.deliver(&id(), None, event()).await, Ok(Delivered::Delivered)));
        let looks: Vec<_> = queue.letters().into_iter().map(|letter| letter.work).collect();
        let expected = [look(&id(), Some(LIFE), 1), look(&id(), None, 0)].map(Work::Look);
        assert_eq!((looks.as_slice(), queue.put_after()), (&expected[..], vec![DELAY; 2]));
    }

    #[tokio::test]
    async fn what_is_for_one_life_only_has_no_look_behind_it_when_that_is_over() {
        let queue = Arc::new(Noted::default());
        let said = covered(Slow(Duration::ZERO, Ok(Delivered::NotFound)), &queue).deliver(&id(), Some(LIFE), event()).await.unwrap();
        assert_eq!((said, queue.put_after()), (Delivered::NotFound, vec![DELAY]));
    }

    #[tokio::test]
    async fn without_the_wake_up_nothing_is_stored() {
        let store = MemoryStore::new(false);
        let queue = Arc::new(Noted::failing());
        let covered = covered(store, &queue);
        assert!(covered.create(start(RuntimeStatus::Pending)).await.is_err());
        assert!(covered.status(&id()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_may_have_been_seen_too_early_or_is_not_known_has_another_wake_up_behind_it() {
        let deliver = |wait, result| async move {
            let queue = Arc::new(Noted::default());
            let said = covered(Slow(wait, result), &queue).deliver(&id(), None, event()).await;
            (said.is_ok(), queue.put_after())
        };
        let long = IN_TIME + Duration::from_millis(50);
        assert_eq!(deliver(Duration::ZERO, Ok(Delivered::Delivered)).await, (true, vec![DELAY]));
        assert_eq!(deliver(long, Ok(Delivered::Delivered)).await, (true, vec![DELAY, DELAY]));
        assert_eq!(deliver(long, Ok(Delivered::Duplicate)).await, (true, vec![DELAY]));
        assert_eq!(deliver(Duration::ZERO, Err(StoreError::Unavailable("x".into()))).await, (false, vec![DELAY, WHEN_CLEAR]));
        for nobody in [Delivered::NotFound, Delivered::Finished] {
            assert_eq!(deliver(Duration::ZERO, Ok(nobody)).await, (true, vec![DELAY, WHEN_CLEAR]), "an earlier try may land in the next life");
        }
        let queue = Arc::new(Noted::slow(long));
        covered(Slow(Duration::ZERO, Ok(Delivered::Delivered)), &queue).deliver(&id(), None, event()).await.unwrap();
        assert_eq!(queue.put_after(), vec![DELAY, DELAY], "a queue that answers late has begun its delay long before");
    }
}
