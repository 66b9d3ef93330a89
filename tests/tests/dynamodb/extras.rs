//! What a host needs beside the port: looks, claims, the index of faulted instances, walks.

use durable::header::{Fault, FaultKind, RuntimeStatus};
use durable::ids::EffectId;
use durable::ports::{Purge, Store};
use durable_aws::store::{IN_PLACE, WORK};
use durable_tests::build::*;
use durable_tests::dynamodb::{Local, attribute as av};

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

/// The mark of work stands in the item exactly while somebody must come back.
#[test]
fn the_mark_of_work_is_there_while_something_is_left_to_do() {
    let local = Local::get();
    let (client, table) = (Local::client(local.address()), local.table());
    let store = Local::store(&client, &table, "hub");
    let marked = async || {
        let row = client.get_item().table_name(&table).key("pk", av("hub|a")).key("sk", av("0"));
        row.send().await.unwrap().item.unwrap().contains_key(WORK)
    };
    local.run(async {
        created(&store, start("a", 1)).await;
        assert!(marked().await, "it has not begun");
        Turn::on("a", &load(&store, "a").await).append(events(0..1)).lands(&store).await;
        assert!(!marked().await, "it sleeps");
        deliver(&store, "a", raised(1)).await;
        deliver(&store, "a", raised(2)).await;
        assert!(marked().await, "messages wait");
        Turn::on("a", &load(&store, "a").await).takes(1).lands(&store).await;
        assert!(marked().await, "one still waits");
        Turn::on("a", &load(&store, "a").await).takes(1).lands(&store).await;
        assert!(!marked().await, "none waits");
        Turn::on("a", &load(&store, "a").await).with(|h| h.open_activities = 1).lands(&store).await;
        assert!(marked().await, "an activity is to be run");
        Turn::on("a", &load(&store, "a").await).with(|h| (h.open_activities, h.alarm) = (0, Some(vec![IN_PLACE, 1, 2]))).lands(&store).await;
        assert!(marked().await, "somebody waits in place");
        Turn::on("a", &load(&store, "a").await).with(|h| h.alarm = Some(vec![b's', 1, 2])).lands(&store).await;
        assert!(!marked().await, "an alarm will wake it");
        Turn::on("a", &load(&store, "a").await).completes(text("1")).lands(&store).await;
        assert!(!marked().await, "it has ended");
    });
}

/// A look shows life, revision and whether there is work; nothing of what is unknown, purged or of another hub.
#[test]
fn a_look_shows_what_a_stream_record_needs() {
    let (local, store) = (Local::get(), Local::get().fresh());
    local.run(async {
        assert!(store.peek(&id("a"), false).await.unwrap().is_none());
        created(&store, start("a", 7)).await;
        let peeked = store.peek(&id("a"), false).await.unwrap().unwrap();
        assert_eq!((peeked.incarnation(), peeked.header.revision, peeked.inbox_empty, peeked.is_idle()), (life(7), 1, true, false));
        Turn::on("a", &load(&store, "a").await).lands(&store).await;
        assert!(store.peek(&id("a"), false).await.unwrap().unwrap().is_idle());
        deliver(&store, "a", raised(1)).await;
        let peeked = store.peek(&id("a"), false).await.unwrap().unwrap();
        assert_eq!((peeked.header.revision, peeked.inbox_empty, peeked.is_idle()), (2, false, false));
        Turn::on("a", &load(&store, "a").await).takes_all().completes(text("1")).lands(&store).await;
        store.purge_begin(&id("a")).await.unwrap();
        assert!(store.peek(&id("a"), false).await.unwrap().is_none());
    });
    assert_eq!(store.instance_of_record("hub|a|b", "0", None), Some(id("a|b")));
    assert_eq!(store.instance_of_record("hub|a", "2#x", None), None);
    assert_eq!(store.instance_of_record("other|a", "0", None), None);
}

/// An attempt belongs to one run until its time is over, however often it is claimed.
#[test]
fn an_attempt_is_run_by_one_worker_at_a_time() {
    let (local, store) = (Local::get(), Local::get().fresh());
    let effect = |sequence| EffectId { instance: id("a"), incarnation: life(1), execution: 0, epoch: 0, sequence };
    local.run(async {
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
    });
}

/// A faulted instance is named while its fault lasts.
#[test]
fn faulted_instances_are_named_until_they_are_cured_or_end() {
    let (local, store) = (Local::get(), Local::get().fresh());
    local.run(async {
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
    let local = Local::get();
    let (client, table) = (Local::client(local.address()), local.table());
    let (one, two) = (Local::store(&client, &table, "one"), Local::store(&client, &table, "two"));
    local.run(async {
        let answers = futures_util::future::join_all((0..8).map(|_| one.claim_build("b1"))).await;
        assert_eq!(answers.into_iter().filter(|answer| *answer.as_ref().unwrap()).count(), 1);
        assert!(two.claim_build("b1").await.unwrap());
        assert!(one.claim_build("b2").await.unwrap());
        assert!(!one.claim_build("b2").await.unwrap());
    });
}

/// A walk meets every instance, and removes what a purge that was broken off has left.
#[test]
fn a_walk_meets_everybody_and_finishes_purges() {
    let local = Local::get();
    let (client, table) = (Local::client(local.address()), local.table());
    let store = Local::store(&client, &table, "hub");
    local.run(async {
        for n in 0..230 {
            created(&store, start(&format!("i{n:03}"), 1)).await;
        }
        // A purge whose first request came through, and nothing after it.
        Turn::on("i100", &load(&store, "i100").await).append(events(0..600)).completes(text("1")).lands(&store).await;
        let mark = client.update_item().table_name(&table).key("pk", av("hub|i100")).key("sk", av("0")).update_expression("SET p = r");
        mark.send().await.unwrap();
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let (page, next) = store.walk(token.as_ref()).await.unwrap();
            found.extend(page.into_iter().map(|peeked| peeked.instance.to_string()));
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(found, (0..230).filter(|n| *n != 100).map(|n| format!("i{n:03}")).collect::<Vec<_>>());
        assert_eq!(store.purge_begin(&id("i100")).await.unwrap(), Purge::NotFound);
        let left = client.scan().table_name(&table).filter_expression("pk = :p").expression_attribute_values(":p", av("hub|i100"));
        assert_eq!(left.send().await.unwrap().items.unwrap(), []);
    });
}
