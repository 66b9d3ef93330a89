//! Purging: only what has ended and owes nothing, and then nothing is left.

use durable::ports::{CommitOutcome, Delivered, Known, ListQuery, Purge};

use super::Subject;
use crate::build::*;

/// What is not stored cannot be purged.
pub async fn an_unknown_instance_cannot_be_purged(store: Subject) {
    assert_eq!(purged(&*store, "a").await, Purge::NotFound);
}

/// A live instance is not purged, and is unharmed.
pub async fn a_live_instance_is_not_purged(store: Subject) {
    created(&*store, start("a", 1)).await;
    assert_eq!(purged(&*store, "a").await, Purge::NotFinished);
    Turn::on("a", &load(&*store, "a").await).append(events(0..3)).lands(&*store).await;
    assert_eq!(purged(&*store, "a").await, Purge::NotFinished);
    assert_eq!(load(&*store, "a").await.events, events(0..3));
}

/// An instance that has ended and still owes messages to others is not purged; once they are handed on, it is.
pub async fn an_ended_instance_with_an_outbox_is_not_purged(store: Subject) {
    created(&*store, start("a", 1)).await;
    let loaded = load(&*store, "a").await;
    let outbox = vec![to("b", None, sent_by("a", 1, 1))];
    Turn::on("a", &loaded).completes(text("1")).with(|h| h.outbox = outbox.clone()).lands(&*store).await;
    assert_eq!(purged(&*store, "a").await, Purge::Busy);
    let loaded = load(&*store, "a").await;
    assert_eq!((&loaded.header.outbox, &loaded.output), (&outbox, &Some(text("1"))));
    Turn::on("a", &loaded).with(|h| h.outbox.clear()).lands(&*store).await;
    assert_eq!(purged(&*store, "a").await, Purge::Done);
}

/// After a purge the instance is unknown to every call.
pub async fn a_purged_instance_is_unknown_to_every_call(store: Subject) {
    created(&*store, start("a", 1)).await;
    deliver(&*store, "a", raised(1)).await;
    deliver(&*store, "a", sent_by("s", 1, 1)).await;
    let seen = load(&*store, "a").await;
    let last = Turn::on("a", &seen).takes(1).append(events(0..500)).custom_status(text("1")).completes(large(100_000, 1)).build_commit();
    let CommitOutcome::Committed(committed) = store.commit(last.clone()).await else { panic!("the last commit should have landed") };
    assert_eq!(purged(&*store, "a").await, Purge::Done);

    assert!(store.load(&id("a"), None).await.unwrap().is_none());
    let known = Known { incarnation: life(1), execution: 0, events: 3 };
    assert!(store.load(&id("a"), Some(known)).await.unwrap().is_none());
    assert!(store.status(&id("a")).await.unwrap().is_none());
    assert_eq!(store.history(&id("a"), life(1), 0, 0..500).await.unwrap().len(), 0);
    assert_eq!(deliver(&*store, "a", raised(2)).await, Delivered::NotFound);
    assert_eq!(deliver_to(&*store, "a", 1, raised(2)).await, Delivered::NotFound);
    assert_eq!(store.list(ListQuery::default(), None).await.unwrap().items.len(), 0);
    assert_eq!(purged(&*store, "a").await, Purge::NotFound);
    let outcome = store.commit(Turn::after(&last, &committed).append(events(0..1)).build_commit()).await;
    assert!(matches!(outcome, CommitOutcome::Lost(None)), "{outcome:?}");
    assert!(store.load(&id("a"), None).await.unwrap().is_none());
}

/// From the first step of a purge on the instance is unknown, also while more is left to remove.
pub async fn an_instance_is_unknown_from_the_first_step_of_its_purge(store: Subject) {
    ended(&*store, "a", 1).await;
    assert!(matches!(store.purge_begin(&id("a")).await.unwrap(), Purge::Done | Purge::More(_)));
    assert!(store.load(&id("a"), None).await.unwrap().is_none());
    assert!(store.status(&id("a")).await.unwrap().is_none());
    assert_eq!(deliver(&*store, "a", raised(1)).await, Delivered::NotFound);
    assert_eq!(store.list(ListQuery::default(), None).await.unwrap().items.len(), 0);
    created(&*store, start("a", 2)).await;
    assert_eq!(load(&*store, "a").await.header, pending(2));
}

/// A step of an old purge does no harm to the life that came after.
pub async fn a_step_of_an_old_purge_does_not_harm_the_next_life(store: Subject) {
    ended(&*store, "a", 1).await;
    store.purge_begin(&id("a")).await.unwrap();
    created(&*store, start("a", 2)).await;
    Turn::on("a", &load(&*store, "a").await).append(events(0..300)).direct(sent_by("s", 1, 1)).lands(&*store).await;
    deliver(&*store, "a", raised(1)).await;
    let mut steps = 0;
    while let Purge::More(_) = store.purge_step(&id("a"), life(1)).await.unwrap() {
        steps += 1;
        assert!(steps < 10_000, "the purge has no end");
    }
    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.header.incarnation, loaded.events, loaded.inbox), (life(2), events(0..300), vec![raised(1)]));
    assert_eq!(deliver(&*store, "a", sent_by("s", 1, 1)).await, Delivered::Duplicate);
}

/// After a purge the id is free under any policy, and the new life has nothing of the old.
pub async fn a_purged_id_is_free_again_and_the_new_life_is_empty(store: Subject) {
    created(&*store, start("a", 1)).await;
    let first = Turn::on("a", &load(&*store, "a").await).direct(raised(1)).direct(sent_by("s", 1, 9)).append(events(0..300));
    first.custom_status(text("1")).completes(text("2")).lands(&*store).await;
    assert_eq!(purged(&*store, "a").await, Purge::Done);
    created(&*store, durable::ports::Create { policy: durable::ports::ReusePolicy::Never, ..start("a", 2) }).await;
    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.header, loaded.events.len(), loaded.inbox.len()), (pending(2), 0, 0));
    assert_eq!((loaded.custom_status, loaded.output), (None, None));
    for message in [raised(1), sent_by("s", 1, 9)] {
        assert_eq!(deliver(&*store, "a", message).await, Delivered::Delivered);
    }
    assert_eq!(store.history(&id("a"), life(1), 0, 0..300).await.unwrap().len(), 0);
}

/// A purge touches no other instance, not even one whose id begins alike.
pub async fn a_purge_touches_no_other_instance(store: Subject) {
    for (instance, incarnation) in [("a", 1), ("a1", 1), ("A", 2)] {
        ended(&*store, instance, incarnation).await;
    }
    assert_eq!(purged(&*store, "a").await, Purge::Done);
    for instance in ["a1", "A"] {
        let loaded = load(&*store, instance).await;
        assert_eq!((loaded.events, loaded.output), (events(0..3), Some(text("\"done\""))));
    }
}
