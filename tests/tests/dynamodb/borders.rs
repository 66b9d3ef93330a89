//! Where things move from the item into rows, and what keeps hubs, ids and senders apart.

use durable::limits;
use durable::ports::Delivered;
use durable_host::stores::CloudStore;
use durable_tests::build::*;
use durable_tests::dynamodb::Local;

use crate::stores::hubs::{self, Much};
use crate::stores::sizes;

/// Payloads, messages, headers and events of every size around each border come back as they were given.
#[test]
fn nothing_changes_at_the_borders_of_sizes() {
    const PART: usize = 350 * 1024;
    // The stored form of a message is longer than its data.
    let messages: Vec<usize> = (180..260).step_by(3).chain([PART - 100, PART - 60, PART, PART + 1]).collect();
    let new_events = [1, 2000, 2040, 2050, 4000, 4090, 4093, 4100, 10, 30, PART, 5, 5000, 2046];
    let payloads = [0, 1, 511, 512, 513, PART - 1, PART, PART + 1, 2 * PART];
    Local::get().run(sizes::nothing_changes_at_borders(&Local::get().fresh(), &payloads, &messages, &new_events));
}

/// A header with an outbox of many kilobytes, or megabytes, stands in rows; smaller ones after it in the item again.
#[test]
fn headers_of_every_size_come_back() {
    let (local, store) = (Local::get(), Local::get().fresh());
    let peeked = async || store.peek(&id("a"), false).await.unwrap().unwrap().header;
    local.run(sizes::headers_come_back(&store, &[100, 20_000, 30_000, 2_000_000, 500, 800_000, 0], peeked));
}

/// More senders than the item has room for: each keeps its numbers.
#[test]
fn fifty_senders_are_remembered_each() {
    Local::get().run(sizes::many_senders_are_remembered(&Local::get().fresh(), 50));
}

/// Ids whose keys are too long to be written out work like any other.
#[test]
fn very_long_ids_work_like_any_other() {
    Local::get().run(sizes::very_long_ids_work(&Local::get().fresh()));
}

/// As many messages as a turn may take go in one commit, also from a long inbox.
#[test]
fn sixty_four_messages_are_removed_in_one_commit() {
    let (local, store) = (Local::get(), Local::get().fresh());
    local.run(async {
        created(&store, start("a", 1)).await;
        for n in 0..150 {
            deliver(&store, "a", raised(n)).await;
        }
        let before = store.capacity();
        let loaded = load(&store, "a").await;
        let committed = Turn::on("a", &loaded).takes(limits::MESSAGES_PER_TURN).lands(&store).await;
        assert_eq!(store.capacity().since(&before).total().calls, 2, "one load, one commit");
        assert_eq!(ids(&committed.inbox), (64..150).map(message_id).collect::<Vec<_>>());
    });
}

/// A turn that takes messages of many senders at once while others deliver: numbers never go down, and nothing is lost.
#[test]
fn numbers_that_grow_while_a_turn_is_committed_stay() {
    let (local, store) = (Local::get(), Local::get().fresh());
    local.run(async {
        created(&store, start("a", 1)).await;
        let seen = load(&store, "a").await;
        for n in 0..40 {
            deliver(&store, "a", sent_by(&format!("s{n}"), 1, 9)).await;
        }
        let mut turn = Turn::on("a", &seen);
        for n in 0..60 {
            turn = turn.direct(sent_by(&format!("s{n}"), 1, 4));
        }
        let committed = turn.lands(&store).await;
        assert_eq!(committed.inbox.len(), 40);
        for n in 0..60 {
            let highest = if n < 40 { 9 } else { 4 };
            assert_eq!(deliver(&store, "a", sent_by(&format!("s{n}"), 1, highest)).await, Delivered::Duplicate, "{n}");
            assert_eq!(deliver(&store, "a", sent_by(&format!("s{n}"), 1, highest + 1)).await, Delivered::Delivered, "{n}");
        }
    });
}

/// Two hubs in one table never see each other, and tokens of one are nothing to the other.
#[test]
fn hubs_in_one_table_keep_apart() {
    let local = Local::get();
    let (client, table) = (Local::client(local.address()), local.table());
    local.run(hubs::hubs_keep_apart(&["one", "two", "one-two"].map(|hub| Local::store(&client, &table, hub))));
}

/// Whatever an instance was, nothing is left in the table once it is purged.
#[test]
fn a_purge_leaves_nothing_in_the_table() {
    let local = Local::get();
    let (client, table) = (Local::client(local.address()), local.table());
    let store = Local::store(&client, &table, "hub");
    let keys = async || {
        let rows: Result<Vec<_>, _> = client.scan().table_name(&table).into_paginator().items().send().collect().await;
        rows.unwrap().iter().map(|row| row["sk"].as_s().unwrap().clone()).collect()
    };
    local.run(hubs::a_purge_leaves_nothing(&store, Much { senders: 40, taken: 20, status: 3_000, events: 700 }, "0", keys));
}
