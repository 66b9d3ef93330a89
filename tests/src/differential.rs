//! Two stores, one random story: whatever the sequence of calls, both must show the same.
//!
//! Where the port leaves the answer open, both answers count as equal: a message that an ended instance has taken before may be told to be
//! a duplicate or too late.

use std::fmt::Debug;
use std::sync::Arc;

use durable::header::{Delivery, RuntimeStatus};
use durable::ports::{Commit, CommitOutcome, Created, Delivered, Known, ListQuery, Loaded, Purge, ReusePolicy, StatusRecord, Store, Token};
use durable::{Failure, limits};

use crate::build::*;

const INSTANCES: [&str; 5] = ["a", "b", "A", "ab", "o_1%"];
const SENDERS: [&str; 2] = ["s", "a"];

/// Plays the same `steps` random calls on both stores and compares every answer, and now and then everything that can be read.
/// Both must be empty, or hold nothing of the ids that are used here.
///
/// # Panics
/// At the first difference, with seed and step.
pub async fn differential(a: Arc<dyn Store>, b: Arc<dyn Store>, seed: u64, steps: u64) {
    let deliveries = a.delivers_atomically() && b.delivers_atomically();
    let mut story = Story { a, b, random: Random::new(seed), seed, step: 0, fresh: 0, deliveries, last_child: None, stale: Vec::new() };
    while story.step < steps {
        story.play().await;
        story.step += 1;
    }
    story.compare_all().await;
}

struct Story {
    a: Arc<dyn Store>,
    b: Arc<dyn Store>,
    random: Random,
    seed: u64,
    step: u64,
    /// Numbers for lives and commits, never used twice.
    fresh: u64,
    deliveries: bool,
    /// The last sub-orchestration that was started, until its life may have ended for good.
    last_child: Option<Delivery>,
    /// What was loaded some time ago, from both, to commit on it too late.
    stale: Vec<(&'static str, Loaded, Loaded)>,
}

/// What can be seen of a loaded instance.
fn seen(loaded: &Loaded) -> impl PartialEq + Debug + use<> {
    let Loaded { header, input, custom_status, output, inbox, first_event, events, token: _ } = loaded.clone();
    (header, input, custom_status, output, inbox, first_event, events)
}

fn shown(record: &StatusRecord) -> impl PartialEq + Debug + use<> {
    let StatusRecord { instance, header, input, output, custom_status } = record.clone();
    (instance, header, input, output, custom_status)
}

impl Story {
    fn same<T: PartialEq + Debug>(&self, what: &str, a: &T, b: &T) {
        assert!(a == b, "the stores differ in {what}, seed {}, step {}:\n first: {a:?}\nsecond: {b:?}", self.seed, self.step);
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.below(from.len() as u64) as usize]
    }

    fn number(&mut self) -> u64 {
        self.fresh += 1;
        self.fresh
    }

    async fn play(&mut self) {
        let instance = self.pick(&INSTANCES);
        match self.random.below(100) {
            0..10 => self.create(instance).await,
            10..40 => self.deliver(instance).await,
            40..75 => self.commit(instance).await,
            75..80 => self.commit_late().await,
            80..88 => self.load_known(instance).await,
            88..92 => self.history(instance).await,
            92..95 => self.purge(instance).await,
            95..98 => self.list().await,
            _ => self.compare_all().await,
        }
    }

    async fn load_both(&self, instance: &str, known: Option<Known>) -> Option<(Loaded, Loaded)> {
        let a = self.a.load(&id(instance), known).await.unwrap();
        let b = self.b.load(&id(instance), known).await.unwrap();
        self.same(&format!("load of {instance} with {known:?}"), &a.as_ref().map(seen), &b.as_ref().map(seen));
        a.zip(b)
    }

    async fn create(&mut self, instance: &'static str) {
        self.last_child = None;
        let present = self.load_both(instance, None).await;
        let incarnation = match &present {
            // Now and then the same life again.
            Some((there, _)) if self.random.once_in(4) => u64::from_be_bytes(there.header.incarnation.0),
            _ => self.number(),
        };
        let mut create = start(instance, incarnation);
        create.header.created = at(self.step as i64);
        create.policy = self.pick(&[ReusePolicy::ReplaceEnded, ReusePolicy::ReplaceEnded, ReusePolicy::ReplaceAny, ReusePolicy::Never]);
        if self.random.once_in(3) {
            create.append = events(0..self.random.below(60));
            create.header.events = create.append.len() as u64;
            create.header.status = self.pick(&[RuntimeStatus::Running, RuntimeStatus::Running, RuntimeStatus::Completed]);
            create.output = create.header.status.is_terminal().then(|| text("\"at once\""));
            create.custom_status = self.random.once_in(2).then(|| text("0"));
            create.deliveries = self.deliveries(instance);
        }
        let observe = |created: Created| match created {
            Created::Created(committed) => (Some(committed.inbox), None),
            Created::Exists(there) => (None, Some(seen(&there))),
        };
        let a = observe(self.a.create(create.clone()).await.unwrap());
        let b = observe(self.b.create(create.clone()).await.unwrap());
        self.same(&format!("create of {create:?}"), &a, &b);
    }

    fn message(&mut self) -> durable::message::Message {
        let n = self.step.saturating_sub(self.random.below(30));
        match self.random.below(4) {
            0 | 2 => {
                let (sender, incarnation) = (self.pick(&SENDERS), u64::from(self.random.once_in(4)));
                let window = self.pick(&[5, 200]);
                let back = self.random.below(window);
                sent_by(sender, incarnation, self.step.saturating_sub(back))
            }
            1 if self.random.once_in(10) => raised_with(n, large(self.random.below(300_000) as usize, n)),
            _ => raised(n),
        }
    }

    fn deliveries(&mut self, from: &str) -> Vec<Delivery> {
        if !self.deliveries || !self.random.once_in(2) {
            return Vec::new();
        }
        let count = self.random.below(4);
        (0..count)
            .map(|_| {
                let target = self.pick(&INSTANCES);
                if self.random.once_in(3) {
                    let refusal = self.random.once_in(2).then(|| self.message());
                    let mut start = child(target, self.number(), refusal);
                    if let Delivery::Start { header, .. } = &mut start {
                        header.created = at(self.step as i64);
                    }
                    // Now and then the same child again, as a driver that goes on after a crash would start it.
                    let again = self.random.once_in(3);
                    match &self.last_child {
                        Some(last) if again => last.clone(),
                        _ => self.last_child.insert(start).clone(),
                    }
                } else {
                    let incarnation = if self.random.once_in(2) { Some(self.fresh.saturating_sub(self.random.below(6))) } else { None };
                    to(target, incarnation, self.message())
                }
            })
            // An instance that starts another under its own id while it ends is left out: the port does not say who wins.
            .filter(|delivery| !(matches!(delivery, Delivery::Start { .. }) && delivery.target().as_str() == from))
            .collect()
    }

    async fn deliver(&mut self, instance: &'static str) {
        let message = self.message();
        let present = self.load_both(instance, None).await;
        let incarnation = match &present {
            Some((there, _)) if self.random.once_in(2) => Some(there.header.incarnation),
            _ if self.random.once_in(4) => Some(life(self.random.below(self.fresh + 1))),
            _ => None,
        };
        // Limits are the affair of tests of their own; two stores need not agree on where exactly an inbox is full.
        if present.as_ref().is_some_and(|(there, _)| there.inbox.len() >= limits::MESSAGES_PER_TURN - 8) {
            return;
        }
        let ended = present.is_some_and(|(there, _)| there.header.status.is_terminal());
        let told = |answer| if ended && answer == Delivered::Duplicate { Delivered::Finished } else { answer };
        let a = told(self.a.deliver(&id(instance), incarnation, message.clone()).await.unwrap());
        let b = told(self.b.deliver(&id(instance), incarnation, message.clone()).await.unwrap());
        self.same(&format!("delivery of {message:?} to {instance} of life {incarnation:?}"), &a, &b);
        self.load_both(instance, None).await;
    }

    /// A random turn on what was loaded.
    fn turn(&mut self, instance: &'static str, loaded: &Loaded) -> Commit {
        let mut turn = Turn::on(instance, loaded).named(self.number() << 16);
        if !loaded.header.status.is_terminal() && self.random.once_in(12) {
            turn = turn.continues_as_new(text(&format!("\"again {}\"", self.step)));
        }
        let count = self.pick(&[0, 1, 2, 3, 10, 70, 300]);
        turn = turn.append(events(self.step * 1000..self.step * 1000 + count));
        if self.random.once_in(20) {
            let bytes = self.random.below(400_000) as usize;
            turn = turn.append(vec![large(bytes, self.step).stored().clone()]);
        }
        turn = turn.takes(self.random.below(loaded.inbox.len() as u64 + 1) as usize);
        if self.random.once_in(2) {
            let message = self.message();
            turn = turn.direct(message);
        }
        if self.random.once_in(3) {
            turn = turn.custom_status(text(&self.step.to_string()));
        }
        if !loaded.header.status.is_terminal() {
            turn = match self.random.below(12) {
                0 => turn.completes(text(&format!("\"out {}\"", self.step))),
                1 => turn.fails(Failure::new("Kind", "message")),
                2 => turn.with(|h| h.status = RuntimeStatus::Suspended),
                _ => turn.with(|h| h.status = RuntimeStatus::Running),
            };
        }
        let outbox = self.random.once_in(10).then(|| to("nobody", None, sent_by("a", 1, self.step)));
        turn = turn.with(|h| h.outbox = outbox.into_iter().collect());
        let mut commit = turn.build_commit();
        commit.deliveries = self.deliveries(instance);
        commit
    }

    async fn commit(&mut self, instance: &'static str) {
        let Some((a, b)) = self.load_both(instance, None).await else { return };
        let commit = self.turn(instance, &a);
        if self.random.once_in(3) {
            self.stale.push((instance, a, b.clone()));
        }
        // Messages that come between change nothing for the commit.
        if self.random.once_in(4) {
            self.deliver(instance).await;
        }
        self.commit_both(commit, b.token).await;
    }

    async fn commit_late(&mut self) {
        if self.stale.is_empty() {
            return;
        }
        let index = self.random.below(self.stale.len() as u64) as usize;
        let (instance, a, b) = self.stale.swap_remove(index);
        let commit = self.turn(instance, &a);
        self.commit_both(commit, b.token).await;
    }

    async fn commit_both(&self, commit: Commit, token_of_b: Token) {
        let observe = |outcome| match outcome {
            CommitOutcome::Committed(committed) => (Some(committed.inbox), None),
            CommitOutcome::Lost(winner) => (None, Some(winner.map(|w| seen(&w)))),
            CommitOutcome::Failed(error) | CommitOutcome::Unknown(error) => panic!("a store in a test answers: {error}"),
        };
        let what = format!("commit on {} at {} with {} taken", commit.instance, commit.base, commit.taken);
        let a = observe(self.a.commit(commit.clone()).await);
        let b = observe(self.b.commit(Commit { token: token_of_b, ..commit.clone() }).await);
        self.same(&what, &a, &b);
        self.load_both(commit.instance.as_str(), None).await;
    }

    async fn load_known(&mut self, instance: &'static str) {
        let Some((there, _)) = self.load_both(instance, None).await else { return };
        let incarnation = if self.random.once_in(4) { life(self.fresh) } else { there.header.incarnation };
        let execution = if self.random.once_in(4) { there.header.execution + 1 } else { there.header.execution };
        let known = Known { incarnation, execution, events: self.random.below(there.header.events + 1) };
        self.load_both(instance, Some(known)).await;
    }

    async fn history(&mut self, instance: &'static str) {
        let Some((there, _)) = self.load_both(instance, None).await else { return };
        let from = self.random.below(there.header.events + 2);
        let range = from..from + self.random.below(200);
        for execution in [there.header.execution, there.header.execution.saturating_sub(1)] {
            let a = self.a.history(&id(instance), there.header.incarnation, execution, range.clone()).await.unwrap();
            let b = self.b.history(&id(instance), there.header.incarnation, execution, range.clone()).await.unwrap();
            self.same(&format!("history {range:?} of {instance}"), &a, &b);
        }
    }

    async fn purge(&mut self, instance: &'static str) {
        self.last_child = None;
        let (a, b): (Purge, Purge) = (purged(&*self.a, instance).await, purged(&*self.b, instance).await);
        self.same(&format!("purge of {instance}"), &a, &b);
    }

    async fn list(&mut self) {
        let from = self.random.below(self.step + 1) as i64;
        let query = ListQuery {
            prefix: self.pick(&[None, Some("a"), Some("o_"), Some("%")]).map(ToOwned::to_owned),
            created_from: self.random.once_in(3).then(|| at(from)),
            created_to: self.random.once_in(3).then(|| at(from + 50)),
            status: self.pick(&[&[][..], &[RuntimeStatus::Running], &[RuntimeStatus::Completed, RuntimeStatus::Pending]]).to_vec(),
            top: self.random.below(4) as usize,
        };
        self.compare_listing(query).await;
    }

    async fn compare_listing(&self, query: ListQuery) {
        let mut found = Vec::new();
        for store in [&self.a, &self.b] {
            let (mut items, mut token) = (Vec::<StatusRecord>::new(), None);
            loop {
                let page = store.list(query.clone(), token).await.unwrap();
                items.extend(page.items);
                assert!(items.len() <= INSTANCES.len(), "a listing tells of an instance twice, seed {}, step {}", self.seed, self.step);
                token = page.next;
                if token.is_none() {
                    break;
                }
            }
            assert!(items.is_sorted_by_key(|item| item.header.created), "a listing is not in order of creation, seed {}, step {}", self.seed, self.step);
            // Children that one commit starts have been created at the same time: those may stand in any order.
            items.sort_by_key(|item| (item.header.created, item.instance.clone()));
            found.push(items.iter().map(shown).collect::<Vec<_>>());
        }
        self.same(&format!("listing of {query:?}"), &found[0], &found[1]);
    }

    async fn compare_all(&self) {
        for instance in INSTANCES {
            self.load_both(instance, None).await;
            let a = self.a.status(&id(instance)).await.unwrap();
            let b = self.b.status(&id(instance)).await.unwrap();
            self.same(&format!("status of {instance}"), &a.as_ref().map(shown), &b.as_ref().map(shown));
        }
        self.compare_listing(ListQuery::default()).await;
    }
}
