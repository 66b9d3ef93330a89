//! What a host needs beside the port: looks, claims, the index of faulted instances, walks.

use durable::ports::{Purge, Store};
use durable_aws::store::WORK;
use durable_host::invoked::IN_PLACE;
use durable_tests::build::*;
use durable_tests::conformance::cloud;
use durable_tests::dynamodb::{Local, attribute as av};

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
    local.run(cloud::a_look_shows_whether_there_is_something_to_do(&store));
    assert_eq!(store.instance_of_record("hub|a|b", "0", None), Some(id("a|b")));
    assert_eq!(store.instance_of_record("hub|a", "2#x", None), None);
    assert_eq!(store.instance_of_record("other|a", "0", None), None);
}

/// An attempt belongs to one run until its time is over, however often it is claimed.
#[test]
fn an_attempt_is_run_by_one_worker_at_a_time() {
    Local::get().run(cloud::an_attempt_is_run_by_one_worker_at_a_time(&Local::get().fresh()));
}

/// A faulted instance is named while its fault lasts.
#[test]
fn faulted_instances_are_named_until_they_are_cured_or_end() {
    Local::get().run(cloud::faulted_instances_are_named_until_they_are_cured_or_end(&Local::get().fresh()));
}

/// Each hub remembers the build that was noted last.
#[test]
fn the_build_that_was_noted_last_is_the_latest() {
    let local = Local::get();
    let (client, table) = (Local::client(local.address()), local.table());
    let [one, two] = ["one", "two"].map(|hub| Local::store(&client, &table, hub));
    local.run(cloud::the_build_that_was_noted_last_is_the_latest(&one, &two));
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
