//! What is billed: each request is one transaction, and no request is made that need not be.

use std::sync::Arc;

use durable::ports::{CommitOutcome, ListQuery, Store};
use durable_azure::store::{TableStore, operation};
use durable_host::stores::CloudStore;
use durable_tests::azurite::Azurite;
use durable_tests::build::*;

use crate::stores::engine::base_lifecycle;

#[test]
fn the_base_lifecycle_is_six_transactions() {
    let (azurite, hub) = (Azurite::get(), Azurite::hub());
    let (store, looks) = (Azurite::store(azurite.storage(None), &hub), Azurite::store(azurite.storage(None), &hub));
    azurite.run(looks.create_table()).unwrap();
    let mut asleep = store.transactions();
    azurite.run(base_lifecycle(Arc::new(store.clone()), &looks, || asleep = store.transactions()));
    let all = store.transactions();
    println!("asleep: {asleep:?}, in all: {all:?}");
    assert_eq!((asleep.of(operation::CREATE), asleep.of(operation::COMMIT), asleep.total()), (2, 1, 3), "the entry, the start, one turn");
    assert_eq!((all.of(operation::LOAD), all.of(operation::COMMIT), all.total()), (1, 3, 6), "one look, two turns more, and nothing else");
}

/// What each call is billed for a small instance.
#[test]
fn small_things_are_billed_as_little_as_can_be() {
    let (azurite, store) = (Azurite::get(), Azurite::get().fresh());
    azurite.run(async {
        let used = |before: &durable_azure::storage::Transactions| store.transactions().since(before).total();
        let mut at = store.transactions();
        created(&store, start("a", 1)).await;
        assert_eq!(used(&at), 2, "the entry of the index, and the start");
        at = store.transactions();
        deliver(&store, "a", raised(1)).await;
        assert_eq!(used(&at), 2, "a look, and the message");
        at = store.transactions();
        let loaded = load(&store, "a").await;
        assert_eq!(used(&at), 1);
        at = store.transactions();
        Turn::on("a", &loaded).takes_all().direct(sent_by("s", 1, 1)).append(events(0..3)).custom_status(text("1")).lands(&store).await;
        assert_eq!(used(&at), 1);
        at = store.transactions();
        store.status(&id("a")).await.unwrap();
        store.peek(&id("a"), true).await.unwrap();
        store.history(&id("a"), life(1), 0, 0..3).await.unwrap();
        assert_eq!(used(&at), 3);
        let loaded = load(&store, "a").await;
        deliver(&store, "a", durable::message::Message { keyed: true, ..raised(2) }).await;
        at = store.transactions();
        Turn::on("a", &loaded).append(events(3..4)).lands(&store).await;
        assert_eq!(used(&at), 3, "a message has come: the commit, again, and a look");
        at = store.transactions();
        deliver(&store, "a", raised(1)).await;
        assert_eq!(used(&at), 1, "a refusal is told by a look");
        at = store.transactions();
        assert_eq!(store.list(ListQuery::default(), None).await.unwrap().items.len(), 1);
        assert_eq!(used(&at), 3, "two parts of the index, and the instance");
        Turn::on("a", &load(&store, "a").await).takes_all().completes(text("1")).lands(&store).await;
        at = store.transactions();
        assert_eq!(purged(&store, "a").await, durable::ports::Purge::Done);
        assert_eq!(used(&at), 6, "a look, the mark, a look at its rows, the note of a key, the entry, the header");
    });
}

/// Each turn is one transaction, also one that seals a chunk of the history, and one that spills a payload.
#[test]
fn a_long_history_does_not_make_turns_dear() {
    let (azurite, store) = (Azurite::get(), Azurite::get().fresh());
    azurite.run(async {
        let mut commit = Turn::on("a", &{
            created(&store, start("a", 1)).await;
            load(&store, "a").await
        });
        let before = store.transactions();
        for n in 0..100 {
            let next = commit.append(events(n * 50..n * 50 + 50)).custom_status(large(if n == 50 { 100_000 } else { 10 }, n)).build_commit();
            let CommitOutcome::Committed(landed) = store.commit(next.clone()).await else { panic!("commit {n} should have landed") };
            commit = Turn::after(&next, &landed);
        }
        let used = store.transactions().since(&before);
        assert_eq!(used.total(), 101, "and one that removes what was spilled");
        let before = store.transactions();
        assert_eq!(load(&store, "a").await.events, events(0..5000));
        assert_eq!(store.transactions().since(&before).total(), 2, "the look, and the chunks");
    });
}

/// What a store is asked by one client is counted there.
#[test]
fn clones_count_together() {
    let (azurite, store) = (Azurite::get(), Azurite::get().fresh());
    let other: TableStore = store.clone();
    azurite.run(async {
        let before = store.transactions();
        created(&other, start("a", 1)).await;
        assert_eq!(store.transactions().since(&before).of(operation::CREATE), 2);
    });
}
