//! What hosts need beside the port: looks, claims, the index of faulted instances.

use durable::Timestamp;
use durable::header::{Fault, FaultKind, RuntimeStatus};
use durable::ids::{EffectId, InstanceId};
use durable::ports::Store;
use durable_host::Peeked;
use durable_tests::build::*;

/// What a store can do beside the port.
pub trait Beside: Store + Sized {
    async fn look(&self, instance: &InstanceId) -> Option<Peeked>;
    async fn claim(&self, effect: &EffectId, attempt: u32, run: &str, until: Timestamp, now: Timestamp) -> bool;
    async fn give_back(&self, effect: &EffectId, attempt: u32, run: &str);
    async fn faulted_behind(&self, after: Option<&InstanceId>) -> Vec<InstanceId>;
    async fn is_latest(&self, build: &str) -> bool;
    async fn note(&self, build: &str);
}

/// Spells the trait for a store, whose methods have these names; a look may take more.
macro_rules! beside {
    ($store:ty $(, $how:expr)?) => {
        impl $crate::stores::extras::Beside for $store {
            async fn look(&self, instance: &durable::InstanceId) -> Option<durable_host::Peeked> {
                self.peek(instance $(, $how)?).await.unwrap()
            }

            async fn claim(&self, effect: &durable::ids::EffectId, attempt: u32, run: &str, until: durable::Timestamp, now: durable::Timestamp) -> bool {
                self.claim_run(effect, attempt, run, until, now).await.unwrap()
            }

            async fn give_back(&self, effect: &durable::ids::EffectId, attempt: u32, run: &str) {
                self.end_run(effect, attempt, run).await.unwrap();
            }

            async fn faulted_behind(&self, after: Option<&durable::InstanceId>) -> Vec<durable::InstanceId> {
                self.faulted(after).await.unwrap()
            }

            async fn is_latest(&self, build: &str) -> bool {
                self.is_latest_build(build).await.unwrap()
            }

            async fn note(&self, build: &str) {
                self.note_build(build).await.unwrap();
            }
        }
    };
}

pub(crate) use beside;

/// A look shows life, revision and whether there is work; nothing of what is unknown or purged.
pub async fn a_look_shows_whether_there_is_something_to_do(store: &impl Beside) {
    assert!(store.look(&id("a")).await.is_none());
    created(store, start("a", 7)).await;
    let peeked = store.look(&id("a")).await.unwrap();
    assert_eq!((peeked.incarnation(), peeked.header.revision, peeked.inbox_empty, peeked.is_idle()), (life(7), 1, true, false));
    Turn::on("a", &load(store, "a").await).lands(store).await;
    assert!(store.look(&id("a")).await.unwrap().is_idle());
    deliver(store, "a", raised(1)).await;
    let peeked = store.look(&id("a")).await.unwrap();
    assert_eq!((peeked.header.revision, peeked.inbox_empty, peeked.is_idle()), (2, false, false));
    Turn::on("a", &load(store, "a").await).takes_all().completes(text("1")).lands(store).await;
    store.purge_begin(&id("a")).await.unwrap();
    assert!(store.look(&id("a")).await.is_none());
}

/// An attempt belongs to one run until its time is over, however often it is claimed.
pub async fn an_attempt_is_run_by_one_worker_at_a_time(store: &impl Beside) {
    let effect = |sequence| EffectId { instance: id("a"), incarnation: life(1), execution: 0, epoch: 0, sequence };
    assert!(store.claim(&effect(1), 1, "r1", at(60), at(0)).await);
    assert!(store.claim(&effect(1), 1, "r1", at(60), at(1)).await, "the same run, asked again");
    assert!(!store.claim(&effect(1), 1, "r2", at(60), at(60)).await);
    assert!(store.claim(&effect(1), 2, "r2", at(60), at(1)).await, "another attempt");
    assert!(store.claim(&effect(2), 1, "r2", at(60), at(1)).await, "another call");
    assert!(store.claim(&effect(1), 1, "r2", at(120), at(61)).await, "its time is over");
    store.give_back(&effect(1), 1, "r1").await;
    assert!(!store.claim(&effect(1), 1, "r3", at(120), at(62)).await, "r1 has nothing to give back");
    store.give_back(&effect(1), 1, "r2").await;
    assert!(store.claim(&effect(1), 1, "r3", at(120), at(62)).await);
    let claims = (0..8).map(|n| async move { store.claim(&effect(9), 1, &format!("r{n}"), at(60), at(0)).await });
    assert_eq!(futures_util::future::join_all(claims).await.into_iter().filter(|granted| *granted).count(), 1);
}

/// A faulted instance is named while its fault lasts.
pub async fn faulted_instances_are_named_until_they_are_cured_or_end(store: &impl Beside) {
    for n in 0..130 {
        let instance = format!("i{n:03}");
        created(store, start(&instance, 1)).await;
        if n % 13 != 0 {
            Turn::on(&instance, &load(store, &instance).await).with(|h| h.fault = Some(fault())).lands(store).await;
        }
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.faulted_behind(after.as_ref()).await;
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        found.extend(page.iter().map(ToString::to_string));
    }
    assert_eq!(found, (0..130).filter(|n| n % 13 != 0).map(|n| format!("i{n:03}")).collect::<Vec<_>>());
    // Recorded again, cured, ended.
    for n in 1..13 {
        let instance = format!("i{n:03}");
        let again = Turn::on(&instance, &load(store, &instance).await).with(|h| h.fault = Some(Fault { tries: 2, ..fault() }));
        again.lands(store).await;
        let loaded = load(store, &instance).await;
        match n % 3 {
            0 => drop(Turn::on(&instance, &loaded).with(|h| h.fault = None).lands(store).await),
            1 => drop(Turn::on(&instance, &loaded).with(|h| h.status = RuntimeStatus::Terminated).lands(store).await),
            _ => {}
        }
    }
    let left: Vec<String> = store.faulted_behind(None).await.iter().take(4).map(ToString::to_string).collect();
    assert_eq!(left, ["i002", "i005", "i008", "i011"]);
}

fn fault() -> Fault {
    Fault {
        kind: FaultKind::Panic,
        build: "b1".into(),
        version: None,
        at_event: None,
        expected: None,
        asked: None,
        message: "it panicked".into(),
        tries: 1,
        at: at(1),
        next_try: None,
    }
}

/// Each hub remembers the build that was noted last, and only that one.
pub async fn the_build_that_was_noted_last_is_the_latest<S: Beside>(one: &S, two: &S) {
    assert!(!one.is_latest("b1").await);
    for build in ["b1", "b1", "b2/ü", "b1"] {
        one.note(build).await;
        for other in ["b1", "b2/ü", "b"] {
            assert_eq!(one.is_latest(other).await, other == build);
        }
    }
    assert!(!two.is_latest("b1").await);
}
