//! Calls whose outcome cannot be told: they are settled by ids, never guessed.

use std::sync::Arc;

use durable::ports::{CommitOutcome, Delivered, Store, StoreError};

use super::Subject;
use crate::build::*;
use crate::faulty::{Decision, FaultyStore, Op, Plan, touch};

/// The store, whose first call of a kind is carried out and reported as unknown.
fn losing_answers(store: &Subject, op: Op) -> FaultyStore<dyn Store> {
    FaultyStore::new(store.store(), Plan::nth_of(op, 0, Decision::ApplyThenUnknown))
}

/// A commit that landed and was reported as unknown is known as mine by its commit id; repeating it loses, and nothing is applied twice.
pub async fn an_applied_commit_of_unknown_outcome_is_known_by_its_commit_id(store: Subject) {
    let store = losing_answers(&store, Op::Commit);
    created(&store, start("a", 1)).await;
    let seen = load(&store, "a").await;
    let commit = Turn::on("a", &seen).named(77).direct(raised(1)).append(events(0..2)).build_commit();
    let outcome = store.commit(commit.clone()).await;
    assert!(matches!(outcome, CommitOutcome::Unknown(StoreError::Unavailable(_))), "{outcome:?}");

    let stands = load(&store, "a").await;
    assert_eq!((stands.header.commit_id, stands.header.revision), (commit_id(77), 2), "mine");
    assert!(stands.header.in_ring(&message_id(1)));
    let CommitOutcome::Lost(Some(winner)) = store.commit(commit).await else { panic!("the repeat should have lost") };
    assert_eq!((winner.header.commit_id, winner.events), (commit_id(77), events(0..2)));
    assert_eq!(store.deliver(&id("a"), None, raised(1)).await.unwrap(), Delivered::Duplicate);
    Turn::on("a", &stands).append(events(2..4)).lands(&store).await;
    assert_eq!(load(&store, "a").await.events, events(0..4));
}

/// A commit that landed, was reported as unknown and was followed by a rival's: the commit id is the rival's, the message id in the ring is mine.
pub async fn an_applied_commit_followed_by_a_rivals_is_known_by_the_ring(store: Subject) {
    let store = losing_answers(&store, Op::Commit);
    created(&store, start("a", 1)).await;
    let seen = load(&store, "a").await;
    let commit = Turn::on("a", &seen).named(77).direct(raised(1)).append(events(0..2)).build_commit();
    assert!(matches!(store.commit(commit).await, CommitOutcome::Unknown(_)));
    touch(&*store.inner(), &id("a")).await;

    let stands = load(&store, "a").await;
    assert_ne!(stands.header.commit_id, commit_id(77));
    assert_eq!(stands.header.ring, [(message_id(1), 2)]);
    assert_eq!((stands.header.revision, stands.events), (3, events(0..2)));
    assert_eq!(deliver(&store, "a", raised(1)).await, Delivered::Duplicate);
}

/// A commit that lost to a rival and was reported as unknown: neither commit id nor ring are mine, the ring reaches back to my base, and
/// another try from the present state is right.
pub async fn a_lost_commit_of_unknown_outcome_is_known_as_not_mine(store: Subject) {
    let store = losing_answers(&store, Op::Commit);
    created(&store, start("a", 1)).await;
    let seen = load(&store, "a").await;
    store.lose_next(1);
    let commit = Turn::on("a", &seen).named(77).direct(raised(1)).append(events(0..2)).build_commit();
    assert!(matches!(store.commit(commit).await, CommitOutcome::Unknown(_)));

    let stands = load(&store, "a").await;
    assert_ne!(stands.header.commit_id, commit_id(77));
    assert!(!stands.header.in_ring(&message_id(1)));
    assert_eq!((stands.header.revision, stands.events.len()), (2, 0));
    Turn::on("a", &stands).named(78).direct(raised(1)).append(events(0..2)).lands(&store).await;
    let stands = load(&store, "a").await;
    assert_eq!((stands.header.revision, stands.events, stands.header.ring), (3, events(0..2), vec![(message_id(1), 3)]));
}

/// A commit of unknown outcome that was never carried out leaves everything as it was, and can be made again.
pub async fn a_commit_that_never_arrived_can_be_made_again(store: Subject) {
    let store = FaultyStore::new(store.store(), Plan::nth_of(Op::Commit, 0, Decision::FailBefore));
    created(&store, start("a", 1)).await;
    deliver(&store, "a", raised(1)).await;
    let commit = Turn::on("a", &load(&store, "a").await).named(77).takes(1).append(events(0..2)).build_commit();
    assert!(matches!(store.commit(commit.clone()).await, CommitOutcome::Unknown(_)));
    let stands = load(&store, "a").await;
    assert_eq!((stands.header, stands.inbox, stands.events.len()), (pending(1), vec![raised(1)], 0));
    assert!(matches!(store.commit(commit).await, CommitOutcome::Committed(_)));
    assert_eq!(load(&store, "a").await.header.commit_id, commit_id(77));
}

/// A commit of unknown outcome on an instance that is then purged and started again: the second life is not taken for mine.
pub async fn a_commit_of_unknown_outcome_is_not_found_in_the_next_life(store: Subject) {
    let store = losing_answers(&store, Op::Commit);
    created(&store, start("a", 1)).await;
    let seen = load(&store, "a").await;
    let commit = Turn::on("a", &seen).named(77).completes(text("1")).build_commit();
    assert!(matches!(store.commit(commit.clone()).await, CommitOutcome::Unknown(_)));
    purged(&store, "a").await;
    created(&store, start("a", 2)).await;
    let CommitOutcome::Lost(Some(winner)) = store.commit(commit).await else { panic!("the repeat should have lost") };
    assert_eq!(winner.header, pending(2));
}

/// A start that was stored and reported as unknown can be repeated: it is found by its incarnation.
pub async fn a_start_of_unknown_outcome_can_be_repeated(store: Subject) {
    let store = losing_answers(&store, Op::Create);
    assert!(matches!(store.create(start("a", 1)).await, Err(StoreError::Unavailable(_))));
    let there = refused(&store, start("a", 1)).await;
    assert_eq!(there.header, pending(1));
    assert_eq!(refused(&store, start("a", 2)).await.header.incarnation, life(1));
}

/// A delivery that was stored and reported as unknown can be repeated: it stands once.
pub async fn a_delivery_of_unknown_outcome_can_be_repeated(store: Subject) {
    let store = losing_answers(&store, Op::Deliver);
    created(&store, start("a", 1)).await;
    assert!(store.deliver(&id("a"), None, raised(1)).await.is_err());
    assert_eq!(deliver(&store, "a", raised(1)).await, Delivered::Duplicate);
    let loaded = load(&store, "a").await;
    assert_eq!(loaded.inbox, [raised(1)]);
    Turn::on("a", &loaded).takes(1).lands(&store).await;
    assert_eq!(deliver(&store, "a", raised(1)).await, Delivered::Duplicate);
}

/// A purge that was begun and reported as unknown can be repeated.
pub async fn a_purge_of_unknown_outcome_can_be_repeated(store: Subject) {
    ended(&*store, "a", 1).await;
    let faulty = losing_answers(&store, Op::PurgeBegin);
    assert!(faulty.purge_begin(&id("a")).await.is_err());
    let again = purged(&faulty, "a").await;
    assert!(matches!(again, durable::ports::Purge::NotFound | durable::ports::Purge::Done), "{again:?}");
    created(&faulty, start("a", 2)).await;
}

/// A call whose future is dropped, before or after it was carried out, leaves a store that works.
pub async fn a_dropped_call_leaves_a_store_that_works(store: Subject) {
    created(&*store, start("a", 1)).await;
    let seen = load(&*store, "a").await;
    let inner: Arc<dyn Store> = store.store();
    drop(inner.commit(Turn::on("a", &seen).named(77).append(events(0..2)).build_commit()));
    drop(inner.deliver(&id("a"), None, raised(1)));
    drop(inner.load(&id("a"), None));
    // Whether a call that nobody awaited was carried out is the store's affair; whatever it was, it was all or nothing.
    let mut stands = load(&*store, "a").await;
    loop {
        match stands.header.revision {
            1 => assert_eq!(stands.events.len(), 0),
            2 => assert_eq!((stands.header.commit_id, &stands.events), (commit_id(77), &events(0..2))),
            other => panic!("revision {other}"),
        }
        match store.commit(Turn::on("a", &stands).named(78).append(events(5..6)).build_commit()).await {
            CommitOutcome::Committed(_) => break,
            CommitOutcome::Lost(Some(winner)) => stands = *winner,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(load(&*store, "a").await.header.commit_id, commit_id(78));
}
