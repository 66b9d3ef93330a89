//! What a host needs beside the port: looks, claims, the index of faulted instances.

use durable::header::{Fault, FaultKind, RuntimeStatus};
use durable::ids::EffectId;
use durable::ports::Store;
use durable_tests::azurite::Azurite;
use durable_tests::build::*;

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

/// A look shows life, revision and whether there is work; nothing of what is unknown or purged.
#[test]
fn a_look_shows_whether_there_is_something_to_do() {
    let (azurite, store) = (Azurite::get(), Azurite::get().fresh());
    azurite.run(async {
        assert!(store.peek(&id("a")).await.unwrap().is_none());
        created(&store, start("a", 7)).await;
        let peeked = store.peek(&id("a")).await.unwrap().unwrap();
        assert_eq!((peeked.incarnation(), peeked.header.revision, peeked.inbox_empty, peeked.is_idle()), (life(7), 1, true, false));
        Turn::on("a", &load(&store, "a").await).lands(&store).await;
        assert!(store.peek(&id("a")).await.unwrap().unwrap().is_idle());
        deliver(&store, "a", raised(1)).await;
        let peeked = store.peek(&id("a")).await.unwrap().unwrap();
        assert_eq!((peeked.header.revision, peeked.inbox_empty, peeked.is_idle()), (2, false, false));
        Turn::on("a", &load(&store, "a").await).takes_all().completes(text("1")).lands(&store).await;
        store.purge_begin(&id("a")).await.unwrap();
        assert!(store.peek(&id("a")).await.unwrap().is_none());
    });
}

/// An attempt belongs to one run until its time is over, however often it is claimed.
#[test]
fn an_attempt_is_run_by_one_worker_at_a_time() {
    let (azurite, store) = (Azurite::get(), Azurite::get().fresh());
    let effect = |sequence| EffectId { instance: id("a"), incarnation: life(1), execution: 0, epoch: 0, sequence };
    azurite.run(async {
        assert!(store.claim_run(&effect(1), 1, "r1", at(60), at(0)).await.unwrap());
        assert!(store.claim_run(&effect(1), 1, "r1", at(60), at(1)).await.unwrap(), "the same run, asked again");
        assert!(!store.claim_run(&effect(1), 1, "r2", at(60), at(60)).await.unwrap());
        assert!(store.claim_run(&effect(1), 2, "r2", at(60), at(1)).await.unwrap(), "another attempt");
        assert!(store.claim_run(&effect(2), 1, "r2", at(60), at(1)).await.unwrap(), "another call");
        assert!(store.claim_run(&effect(1), 1, "r2", at(120), at(61)).await.unwrap(), "its time is over");
        store.end_run(&effect(1), 1, "r1").await.unwrap();
        assert!(!store.claim_run(&effect(1), 1, "r3", at(120), at(62)).await.unwrap(), "r1 has nothing to give back");
        store.end_run(&effect(1), 1, "r2").await.unwrap();
        assert!(store.claim_run(&effect(1), 1, "r3", at(120), at(62)).await.unwrap());
        let claims = futures_util::future::join_all((0..8).map(|n| {
            let store = store.clone();
            async move { store.claim_run(&effect(9), 1, &format!("r{n}"), at(60), at(0)).await.unwrap() }
        }));
        assert_eq!(claims.await.into_iter().filter(|granted| *granted).count(), 1);
    });
}

/// A faulted instance is named while its fault lasts.
#[test]
fn faulted_instances_are_named_until_they_are_cured_or_end() {
    let (azurite, store) = (Azurite::get(), Azurite::get().fresh());
    azurite.run(async {
        for n in 0..130 {
            let instance = format!("i{n:03}");
            created(&store, start(&instance, 1)).await;
            if n % 13 != 0 {
                Turn::on(&instance, &load(&store, &instance).await).with(|h| h.fault = Some(fault())).lands(&store).await;
            }
        }
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.faulted(after.as_ref()).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            found.extend(page.iter().map(ToString::to_string));
        }
        assert_eq!(found, (0..130).filter(|n| n % 13 != 0).map(|n| format!("i{n:03}")).collect::<Vec<_>>());
        // Recorded again, cured, ended.
        for n in 1..13 {
            let instance = format!("i{n:03}");
            let again = Turn::on(&instance, &load(&store, &instance).await).with(|h| h.fault = Some(Fault { tries: 2, ..fault() }));
            again.lands(&store).await;
            let loaded = load(&store, &instance).await;
            match n % 3 {
                0 => drop(Turn::on(&instance, &loaded).with(|h| h.fault = None).lands(&store).await),
                1 => drop(Turn::on(&instance, &loaded).with(|h| h.status = RuntimeStatus::Terminated).lands(&store).await),
                _ => {}
            }
        }
        let left: Vec<String> = store.faulted(None).await.unwrap().iter().take(4).map(ToString::to_string).collect();
        assert_eq!(left, ["i002", "i005", "i008", "i011"]);
    });
}

/// Each build is claimed once in each hub.
#[test]
fn a_build_is_claimed_once() {
    let (azurite, one, two) = (Azurite::get(), Azurite::get().fresh(), Azurite::get().fresh());
    azurite.run(async {
        let answers = futures_util::future::join_all((0..8).map(|_| one.claim_build("b1"))).await;
        assert_eq!(answers.into_iter().filter(|answer| *answer.as_ref().unwrap()).count(), 1);
        assert!(two.claim_build("b1").await.unwrap());
        assert!(one.claim_build("b2/ü").await.unwrap());
        assert!(!one.claim_build("b2/ü").await.unwrap());
    });
}
