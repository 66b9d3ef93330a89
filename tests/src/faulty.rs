//! A store around another one that does what stores do on a bad day, on demand and the same way every time.
//!
//! Each call is counted, and a [`Plan`] decides what happens to it. A crash of the driver is a call that never returns: drop its future, as
//! the death of a process would, and go on with a new driver on the same inner store. To crash a drive at each of its calls in turn, run it
//! once with [`Plan::none`], read [`FaultyStore::calls`], and run it again with [`Plan::nth`] for each number.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use durable::InstanceId;
use durable::history::EventBytes;
use durable::ids::{CommitId, Incarnation};
use durable::message::Message;
use durable::ports::{
    Commit, CommitOutcome, Create, Created, Delivered, Known, ListQuery, Loaded, Page, PageToken, PortFuture, Purge, StatusRecord, Store, StoreError,
    StoreResult,
};

use crate::build::Random;

/// The calls of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// [`Store::create`].
    Create,
    /// [`Store::load`].
    Load,
    /// [`Store::status`].
    Status,
    /// [`Store::commit`].
    Commit,
    /// [`Store::deliver`].
    Deliver,
    /// [`Store::list`].
    List,
    /// [`Store::history`].
    History,
    /// [`Store::purge_begin`].
    PurgeBegin,
    /// [`Store::purge_step`].
    PurgeStep,
}

impl Op {
    /// True for the calls that may change something.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Commit | Self::Deliver | Self::PurgeBegin | Self::PurgeStep)
    }
}

/// One call, as a plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// How many calls of any kind came before.
    pub number: u64,
    /// Which call.
    pub op: Op,
    /// How many calls of this kind came before.
    pub nth: u64,
    /// The instance it is about (none for a listing).
    pub instance: Option<InstanceId>,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It goes through.
    Pass,
    /// Nothing is written and the caller is told that the store is not available.
    FailBefore,
    /// It is carried out, and the caller is told that it cannot be told: `Unknown` for a commit, `Unavailable` for the others.
    ApplyThenUnknown,
    /// It never returns, and nothing is written: the driver dies before the call.
    Halt,
    /// It is carried out and never returns: the driver dies after the call.
    ApplyThenHalt,
}

/// Decides what happens to each call.
pub struct Plan(Box<dyn FnMut(&Call) -> Decision + Send>);

impl Plan {
    /// Every call goes through.
    #[must_use]
    pub fn none() -> Self {
        Self::by(|_| Decision::Pass)
    }

    /// What the function says.
    #[must_use]
    pub fn by(decide: impl FnMut(&Call) -> Decision + Send + 'static) -> Self {
        Self(Box::new(decide))
    }

    /// This for the call with this number of all calls, counted from 0; all others go through.
    #[must_use]
    pub fn nth(number: u64, decision: Decision) -> Self {
        Self::by(move |call| if call.number == number { decision } else { Decision::Pass })
    }

    /// This for the `nth` call of one kind, counted from 0; all others go through.
    #[must_use]
    pub fn nth_of(op: Op, nth: u64, decision: Decision) -> Self {
        Self::by(move |call| if call.op == op && call.nth == nth { decision } else { Decision::Pass })
    }

    /// These for the first calls, one after the other; what comes after goes through.
    #[must_use]
    pub fn script(decisions: impl IntoIterator<Item = Decision>) -> Self {
        let mut left: std::collections::VecDeque<_> = decisions.into_iter().collect();
        Self::by(move |_| left.pop_front().unwrap_or(Decision::Pass))
    }

    /// One of `faults` for about `per_mille` of a thousand calls, drawn from a seed: the same calls in the same order meet the same faults.
    #[must_use]
    pub fn seeded(seed: u64, per_mille: u64, faults: Vec<Decision>) -> Self {
        let mut random = Random::new(seed);
        Self::by(move |_| {
            // Both numbers are always drawn, so that the rate alone does not change where the later faults fall.
            let (hit, which) = (random.below(1000) < per_mille, random.below(faults.len().max(1) as u64));
            if hit { faults.get(which as usize).copied().unwrap_or(Decision::Pass) } else { Decision::Pass }
        })
    }
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Plan(..)")
    }
}

/// Runs right before a commit reaches the inner store, which it is handed, for example to commit first.
pub type Rival<S> = Box<dyn FnMut(&Commit, Arc<S>) -> PortFuture<()> + Send>;

/// A store with faults. Clones share plan and counters.
pub struct FaultyStore<S: Store + ?Sized>(Arc<Shared<S>>);

impl<S: Store + ?Sized> Clone for FaultyStore<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store + ?Sized> std::fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyStore").field("calls", &self.calls()).finish_non_exhaustive()
    }
}

struct Shared<S: Store + ?Sized> {
    inner: Arc<S>,
    script: Mutex<Script<S>>,
}

struct Script<S: Store + ?Sized> {
    plan: Plan,
    rival: Option<Rival<S>>,
    log: Vec<(Call, Decision)>,
    counts: BTreeMap<Op, u64>,
    creates: Vec<CommitId>,
}

impl<S: Store + ?Sized> FaultyStore<S> {
    /// Wraps a store.
    #[must_use]
    pub fn new(inner: Arc<S>, plan: Plan) -> Self {
        let script = Script { plan, rival: None, log: Vec::new(), counts: BTreeMap::new(), creates: Vec::new() };
        Self(Arc::new(Shared { inner, script: Mutex::new(script) }))
    }

    /// The store inside, where no faults happen.
    #[must_use]
    pub fn inner(&self) -> Arc<S> {
        Arc::clone(&self.0.inner)
    }

    /// Goes on with another plan. Counters go on as they are.
    pub fn follow(&self, plan: Plan) {
        self.0.script().plan = plan;
    }

    /// Runs this right before each commit that is carried out, until it is replaced or taken away.
    pub fn before_commits(&self, rival: Option<Rival<S>>) {
        self.0.script().rival = rival;
    }

    /// Makes the next `races` commits lose: right before each, a rival commits the stored state again under a commit id of its own.
    pub fn lose_next(&self, mut races: u64) {
        self.before_commits(Some(Box::new(move |commit, inner| {
            let race = races > 0;
            races = races.saturating_sub(1);
            let instance = commit.instance.clone();
            Box::pin(async move {
                if race {
                    touch(&*inner, &instance).await;
                }
            })
        })));
    }

    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.0.script().log.len() as u64
    }

    /// How many calls of one kind there were.
    #[must_use]
    pub fn calls_of(&self, op: Op) -> u64 {
        self.0.script().counts.get(&op).copied().unwrap_or(0)
    }

    /// Every call there was and what happened to it.
    #[must_use]
    pub fn log(&self) -> Vec<(Call, Decision)> {
        self.0.script().log.clone()
    }

    /// The commit ids of all creates so far, done or not.
    #[must_use]
    pub fn creates(&self) -> Vec<CommitId> {
        self.0.script().creates.clone()
    }

    /// One call: counted and decided upon when its future is first polled.
    fn call<T: Send + 'static>(
        &self,
        op: Op,
        instance: Option<&InstanceId>,
        unknown: impl FnOnce(StoreError) -> T + Send + 'static,
        apply: impl FnOnce(Arc<Shared<S>>) -> PortFuture<T> + Send + 'static,
    ) -> PortFuture<T> {
        let (shared, instance) = (Arc::clone(&self.0), instance.cloned());
        Box::pin(async move {
            let decision = shared.decide(op, instance);
            match decision {
                Decision::Pass => apply(shared).await,
                Decision::FailBefore => unknown(StoreError::Unavailable("failed on purpose before anything was written".to_owned())),
                Decision::ApplyThenUnknown => {
                    drop(apply(shared).await);
                    unknown(StoreError::Unavailable("failed on purpose after the call was carried out".to_owned()))
                }
                Decision::Halt => std::future::pending().await,
                Decision::ApplyThenHalt => {
                    drop(apply(shared).await);
                    std::future::pending().await
                }
            }
        })
    }
}

impl<S: Store + ?Sized> Shared<S> {
    fn script(&self) -> MutexGuard<'_, Script<S>> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, op: Op, instance: Option<InstanceId>) -> Decision {
        let mut script = self.script();
        let count = script.counts.entry(op).or_default();
        let nth = *count;
        *count += 1;
        let call = Call { number: script.log.len() as u64, op, nth, instance };
        let decision = (script.plan.0)(&call);
        script.log.push((call, decision));
        decision
    }
}

/// Commits the stored state again, one revision later and under another commit id: what a rival driver does to whoever loaded before.
/// An instance that is not there stays so.
pub async fn touch<S: Store + ?Sized>(store: &S, instance: &InstanceId) {
    let Some(loaded) = store.load(instance, None).await.expect("the rival loads") else { return };
    let mut header = loaded.header;
    let base = header.revision;
    header.revision += 1;
    let mut commit_id = header.commit_id.0;
    commit_id[0] ^= 0x5a;
    commit_id[7] = commit_id[7].wrapping_add(1);
    header.commit_id = CommitId(commit_id);
    let commit = Commit {
        instance: instance.clone(),
        token: loaded.token,
        base,
        header,
        reset: false,
        append: Vec::new(),
        taken: 0,
        direct: Vec::new(),
        deliveries: Vec::new(),
        input: None,
        output: None,
        custom_status: None,
    };
    let outcome = store.commit(commit).await;
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "the rival commits: {outcome:?}");
}

impl<S: Store + ?Sized> Store for FaultyStore<S> {
    fn delivers_atomically(&self) -> bool {
        self.0.inner.delivers_atomically()
    }

    fn create(&self, create: Create) -> PortFuture<StoreResult<Created>> {
        let instance = create.instance.clone();
        self.0.script().creates.push(create.header.commit_id);
        self.call(Op::Create, Some(&instance), Err, |shared| shared.inner.create(create))
    }

    fn load(&self, instance: &InstanceId, known: Option<Known>) -> PortFuture<StoreResult<Option<Loaded>>> {
        let id = instance.clone();
        self.call(Op::Load, Some(instance), Err, move |shared| shared.inner.load(&id, known))
    }

    fn status(&self, instance: &InstanceId) -> PortFuture<StoreResult<Option<StatusRecord>>> {
        let id = instance.clone();
        self.call(Op::Status, Some(instance), Err, move |shared| shared.inner.status(&id))
    }

    fn commit(&self, commit: Commit) -> PortFuture<CommitOutcome> {
        let instance = commit.instance.clone();
        self.call(Op::Commit, Some(&instance), CommitOutcome::Unknown, |shared| {
            let inner = Arc::clone(&shared.inner);
            let rival = shared.script().rival.as_mut().map(|rival| rival(&commit, Arc::clone(&inner)));
            Box::pin(async move {
                if let Some(rival) = rival {
                    rival.await;
                }
                inner.commit(commit).await
            })
        })
    }

    fn deliver(&self, instance: &InstanceId, incarnation: Option<Incarnation>, message: Message) -> PortFuture<StoreResult<Delivered>> {
        let id = instance.clone();
        self.call(Op::Deliver, Some(instance), Err, move |shared| shared.inner.deliver(&id, incarnation, message))
    }

    fn list(&self, query: ListQuery, token: Option<PageToken>) -> PortFuture<StoreResult<Page>> {
        self.call(Op::List, None, Err, move |shared| shared.inner.list(query, token))
    }

    fn history(&self, instance: &InstanceId, incarnation: Incarnation, execution: u32, range: Range<u64>) -> PortFuture<StoreResult<Vec<EventBytes>>> {
        let id = instance.clone();
        self.call(Op::History, Some(instance), Err, move |shared| shared.inner.history(&id, incarnation, execution, range))
    }

    fn purge_begin(&self, instance: &InstanceId) -> PortFuture<StoreResult<Purge>> {
        let id = instance.clone();
        self.call(Op::PurgeBegin, Some(instance), Err, move |shared| shared.inner.purge_begin(&id))
    }

    fn purge_step(&self, instance: &InstanceId, incarnation: Incarnation) -> PortFuture<StoreResult<Purge>> {
        let id = instance.clone();
        self.call(Op::PurgeStep, Some(instance), Err, move |shared| shared.inner.purge_step(&id, incarnation))
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;
    use crate::MemoryStore;
    use crate::build::*;

    fn faulty(plan: Plan) -> FaultyStore<MemoryStore> {
        FaultyStore::new(Arc::new(MemoryStore::new(true)), plan)
    }

    #[test]
    fn a_call_that_fails_before_writes_nothing_and_one_that_fails_after_has_written() {
        block_on(async {
            let store = faulty(Plan::script([Decision::FailBefore, Decision::ApplyThenUnknown]));
            assert!(matches!(store.create(start("a", 1)).await, Err(StoreError::Unavailable(_))));
            assert!(store.inner().load(&id("a"), None).await.unwrap().is_none());
            assert!(matches!(store.create(start("a", 1)).await, Err(StoreError::Unavailable(_))));
            assert!(store.inner().load(&id("a"), None).await.unwrap().is_some());
            assert_eq!((store.calls(), store.calls_of(Op::Create), store.calls_of(Op::Load)), (2, 2, 0));
        });
    }

    #[test]
    fn a_halted_call_never_returns_and_only_the_one_after_the_call_has_written() {
        let poll_once = |future: PortFuture<StoreResult<Delivered>>| {
            let mut future = future;
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(future.as_mut().poll(&mut context).is_pending());
        };
        let store = faulty(Plan::by(|call| match (call.op, call.nth) {
            (Op::Deliver, 0) => Decision::Halt,
            (Op::Deliver, 1) => Decision::ApplyThenHalt,
            _ => Decision::Pass,
        }));
        block_on(created(&store, start("a", 1)));
        poll_once(store.deliver(&id("a"), None, raised(1)));
        assert_eq!(block_on(load(&store, "a")).inbox, []);
        poll_once(store.deliver(&id("a"), None, raised(1)));
        assert_eq!(block_on(load(&store, "a")).inbox, [raised(1)]);
    }

    #[test]
    fn a_rival_makes_as_many_commits_lose_as_are_asked_for() {
        block_on(async {
            let store = faulty(Plan::none());
            created(&store, start("a", 1)).await;
            store.lose_next(2);
            for _ in 0..2 {
                let before = load(&store, "a").await;
                let winner = Turn::on("a", &before).loses(&store).await.unwrap();
                assert_eq!(winner.header.revision, before.header.revision + 1);
            }
            let before = load(&store, "a").await;
            Turn::on("a", &before).lands(&store).await;
        });
    }

    #[test]
    fn the_same_seed_brings_the_same_faults() {
        let run = |seed| {
            block_on(async {
                let store = faulty(Plan::seeded(seed, 400, vec![Decision::FailBefore, Decision::ApplyThenUnknown]));
                for n in 0..50 {
                    let _ = store.create(start("a", n)).await;
                }
                store.log()
            })
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        assert!(run(7).iter().any(|(_, decision)| *decision == Decision::ApplyThenUnknown));
    }
}
