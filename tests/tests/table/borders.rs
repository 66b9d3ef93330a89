//! Where things move from the header's row into others, and what keeps hubs, ids and lives apart.

use std::time::Duration;

use durable::limits;
use durable::ports::{Create, Delivered, ListQuery, Store};
use durable_azure::store::TableStore;
use durable_azure::table::{Entity, Filter, For, Table};
use durable_host::stores::CloudStore;
use durable_tests::azurite::Azurite;
use durable_tests::build::*;

use crate::stores::hubs::{self, Much};
use crate::stores::sizes;

/// Payloads, messages and events of every size around each border come back as they were given.
#[test]
fn nothing_changes_at_the_borders_of_sizes() {
    const HERE: usize = 60 * 1024;
    const PART: usize = 14 * HERE;
    let around = |border: usize| [border - 100, border - 60, border - 1, border, border + 1];
    let messages: Vec<usize> = [0, 1].into_iter().chain(around(HERE)).chain(around(PART)).collect();
    let new_events = [1, 2000, 20_000, 12_000, 40_000, 10, 30, HERE - 20, 5, HERE, PART, 5000, 3 * PART, 1];
    let payloads = [0, 1, HERE - 1, HERE, HERE + 1, PART - 1, PART, PART + 1, 2 * PART];
    Azurite::get().run(sizes::nothing_changes_at_borders(&Azurite::get().fresh(), &payloads, &messages, &new_events));
}

/// A header with an outbox of many kilobytes, or megabytes, stands in rows; smaller ones after it in the header's row again.
#[test]
fn headers_of_every_size_come_back() {
    let (azurite, store) = (Azurite::get(), Azurite::get().fresh());
    let peeked = async || store.peek(&id("a"), true).await.unwrap().unwrap().header;
    azurite.run(sizes::headers_come_back(&store, &[100, 60_000, 62_000, 2_000_000, 500, 5_000_000, 0], peeked));
}

/// More senders than the header has room for: each keeps its numbers.
#[test]
fn a_hundred_senders_are_remembered_each() {
    Azurite::get().run(sizes::many_senders_are_remembered(&Azurite::get().fresh(), 100));
}

/// Ids whose keys are too long to be written out work like any other.
#[test]
fn very_long_ids_work_like_any_other() {
    Azurite::get().run(sizes::very_long_ids_work(&Azurite::get().fresh()));
}

/// As many messages as a turn may take go in one commit, from a long inbox, also if each has a sender for whom the header has no room.
#[test]
fn sixty_four_messages_are_removed_in_one_commit() {
    let (azurite, store) = (Azurite::get(), Azurite::get().fresh());
    azurite.run(async {
        created(&store, start("a", 1)).await;
        let first = (0..64).fold(Turn::on("a", &load(&store, "a").await), |turn, n| turn.direct(sent_by(&format!("first-{n}"), 1, 1)));
        first.lands(&store).await;
        for n in 0..150 {
            deliver(&store, "a", sent_by(&format!("sender-{n}"), 1, 1)).await;
        }
        let loaded = load(&store, "a").await;
        let committed = Turn::on("a", &loaded).takes(limits::MESSAGES_PER_TURN).append(events(0..3000)).lands(&store).await;
        assert_eq!(committed.inbox, loaded.inbox[limits::MESSAGES_PER_TURN..]);
        assert_eq!(deliver(&store, "a", sent_by("sender-63", 1, 1)).await, Delivered::Duplicate);
        assert_eq!(load(&store, "a").await.events, events(0..3000));
    });
}

/// Hubs never see each other, also if their names differ in case alone, and tokens of one are nothing to the other.
#[test]
fn hubs_of_one_account_keep_apart() {
    let azurite = Azurite::get();
    let stores = ["case", "Case", "ca-se"].map(|hub| Azurite::store(azurite.storage(None), hub));
    azurite.run(async {
        for store in &stores {
            store.create_table().await.unwrap();
            store.create_table().await.unwrap();
        }
        hubs::hubs_keep_apart(&stores).await;
    });
}

/// Two hosts on one hub: what one has loaded the other can go on from, by its own look.
#[test]
fn a_token_of_another_host_is_not_trusted() {
    let (azurite, hub) = (Azurite::get(), Azurite::hub());
    let (one, two) = (Azurite::store(azurite.storage(None), &hub), Azurite::store(azurite.storage(None), &hub));
    azurite.run(async {
        one.create_table().await.unwrap();
        created(&one, start("a", 1)).await;
        deliver(&two, "a", raised(1)).await;
        let loaded = load(&one, "a").await;
        Turn::on("a", &loaded).takes(1).append(events(0..2)).lands(&two).await;
        Turn::on("a", &loaded).takes(1).append(events(5..7)).loses(&one).await;
        assert_eq!(load(&one, "a").await.events, events(0..2));
        // Listing goes on at the other host.
        created(&one, start("b", 1)).await;
        let query = ListQuery { top: 1, ..ListQuery::default() };
        let first = one.list(query.clone(), None).await.unwrap();
        let second = two.list(query, first.next).await.unwrap();
        assert_eq!([&first.items[0].instance, &second.items[0].instance], [&id("a"), &id("b")]);
    });
}

/// The keys of all rows of a hub.
async fn rows(store: &TableStore) -> Vec<(String, String)> {
    let ask = For { operation: "tests", within: Duration::from_secs(60) };
    let table = Table::new(Azurite::get().storage(None), store.table_name()).unwrap();
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let page = table.query(ask, &Filter::default(), Some("PartitionKey,RowKey"), None, next).await.unwrap();
        found.extend(page.rows.into_iter().map(|row: Entity| (row.partition, row.row)));
        next = page.next;
        if next.is_none() {
            return found;
        }
    }
}

/// Whatever an instance was, nothing is left in the table once it is purged.
#[test]
fn a_purge_leaves_nothing_in_the_table() {
    let (azurite, store) = (Azurite::get(), Azurite::get().fresh());
    let keys = async || rows(&store).await.into_iter().map(|(_, row)| row).collect();
    azurite.run(hubs::a_purge_leaves_nothing(&store, Much { senders: 75, taken: 70, status: 5_000_000, events: 7000 }, "h", keys));
}

/// Starts that are refused leave nothing behind.
#[test]
fn a_refused_start_leaves_nothing_in_the_table() {
    let (azurite, store) = (Azurite::get(), Azurite::get().fresh());
    azurite.run(async {
        created(&store, start("a", 1)).await;
        let before = rows(&store).await;
        refused(&store, Create { input: large(4_000_000, 1), ..start("a", 2) }).await;
        refused(&store, start("a", 1)).await;
        assert_eq!(rows(&store).await, before);
    });
}
