//! What hosts in a cloud need beside the port ([`CloudStore`]): looks, claims, the index of faulted instances, the latest build.

use durable::Timestamp;
use durable::header::{Fault, FaultKind, RuntimeStatus};
use durable::ids::EffectId;
use durable_host::Peeked;
use durable_host::stores::CloudStore;

use crate::build::*;

async fn look(store: &impl CloudStore, instance: &str) -> Option<Peeked> {
    store.peek(&id(instance), false).await.unwrap()
}

async fn claim(store: &impl CloudStore, effect: &EffectId, attempt: u32, run: &str, until: Timestamp, now: Timestamp) -> bool {
    store.claim_run(effect, attempt, run, until, now).await.unwrap()
}

/// A look shows life, revision and whether there is work; nothing of what is unknown or purged.
pub async fn a_look_shows_whether_there_is_something_to_do(store: &impl CloudStore) {
    assert!(look(store, "a").await.is_none());
    created(store, start("a", 7)).await;
    let peeked = look(store, "a").await.unwrap();
    assert_eq!((peeked.incarnation(), peeked.header.revision, peeked.inbox_empty, peeked.is_idle()), (life(7), 1, true, false));
    Turn::on("a", &load(store, "a").await).lands(store).await;
    assert!(look(store, "a").await.unwrap().is_idle());
    deliver(store, "a", raised(1)).await;
    let peeked = look(store, "a").await.unwrap();
    assert_eq!((peeked.header.revision, peeked.inbox_empty, peeked.is_idle()), (2, false, false));
    Turn::on("a", &load(store, "a").await).takes_all().completes(text("1")).lands(store).await;
    store.purge_begin(&id("a")).await.unwrap();
    assert!(look(store, "a").await.is_none());
}

/// An attempt belongs to one run until its time is over, however often it is claimed.
pub async fn an_attempt_is_run_by_one_worker_at_a_time(store: &impl CloudStore) {
    let effect = |sequence| EffectId { instance: id("a"), incarnation: life(1), execution: 0, epoch: 0, sequence };
    assert!(claim(store, &effect(1), 1, "r1", at(60), at(0)).await);
    assert!(claim(store, &effect(1), 1, "r1", at(60), at(1)).await, "the same run, asked again");
    assert!(!claim(store, &effect(1), 1, "r2", at(60), at(60)).await);
    assert!(claim(store, &effect(1), 2, "r2", at(60), at(1)).await, "another attempt");
    assert!(claim(store, &effect(2), 1, "r2", at(60), at(1)).await, "another call");
    assert!(claim(store, &effect(1), 1, "r2", at(120), at(61)).await, "its time is over");
    let claims = (0..8).map(|n| async move { claim(store, &effect(9), 1, &format!("r{n}"), at(60), at(0)).await });
    assert_eq!(futures_util::future::join_all(claims).await.into_iter().filter(|granted| *granted).count(), 1);
}

/// A faulted instance is named while its fault lasts.
pub async fn faulted_instances_are_named_until_they_are_cured_or_end(store: &impl CloudStore) {
    for n in 0..130 {
        let instance = format!("i{n:03}");
        created(store, start(&instance, 1)).await;
        if n % 13 != 0 {
            Turn::on(&instance, &load(store, &instance).await).with(|h| h.fault = Some(fault())).lands(store).await;
        }
    }
    assert_eq!(all_faulted(store).await, (0..130).filter(|n| n % 13 != 0).map(|n| format!("i{n:03}")).collect::<Vec<_>>());
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
    assert_eq!(all_faulted(store).await[..4], ["i002", "i005", "i008", "i011"]);
}

async fn all_faulted(store: &impl CloudStore) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.faulted(after.as_ref()).await.unwrap();
        let Some(last) = page.last() else { return found };
        after = Some(last.clone());
        found.extend(page.iter().map(ToString::to_string));
    }
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
pub async fn the_build_that_was_noted_last_is_the_latest<S: CloudStore>(one: &S, two: &S) {
    assert!(!one.is_latest_build("b1").await.unwrap());
    for build in ["b1", "b1", "b2/ü", "b1"] {
        one.note_build(build).await.unwrap();
        for other in ["b1", "b2/ü", "b"] {
            assert_eq!(one.is_latest_build(other).await.unwrap(), other == build);
        }
    }
    assert!(!two.is_latest_build("b1").await.unwrap());
}
