//! Two lives of one id: what was meant for the first never reaches the second.

use durable::ports::{CommitOutcome, Create, Delivered, ReusePolicy, Store};

use super::Subject;
use crate::build::*;

/// Delivers everything that was sent to the first life, in many shapes, and checks that the second is as it was.
async fn everything_of_life_1_misses_life_2(store: &dyn Store) {
    let before = load(store, "a").await;
    assert_eq!(before.header.incarnation, life(2));
    for message in [raised(1), raised(2), raised(3), sent_by("s", 1, 1), sent_by("s", 1, 2), sent_by("a", 1, 1), sent_by("a", 2, 7)] {
        assert_eq!(deliver_to(store, "a", 1, message.clone()).await, Delivered::NotFound, "{message:?}");
    }
    let after = load(store, "a").await;
    assert_eq!((&after.header, &after.inbox, &after.events), (&before.header, &before.inbox, &before.events));
    assert_eq!((after.custom_status, after.output), (before.custom_status, before.output));
}

/// A first life with messages taken, messages waiting, and events.
async fn first_life(store: &dyn Store) -> durable::ports::Loaded {
    created(store, start("a", 1)).await;
    for message in [raised(1), sent_by("s", 1, 1), raised(2)] {
        deliver(store, "a", message).await;
    }
    Turn::on("a", &load(store, "a").await).takes(2).append(events(0..60)).lands(store).await;
    load(store, "a").await
}

/// The first life ends and is replaced; all of its messages come again, late.
pub async fn messages_of_an_ended_life_never_reach_the_next(store: Subject) {
    let seen = first_life(&*store).await;
    Turn::on("a", &seen).takes_all().completes(text("1")).lands(&*store).await;
    created(&*store, start("a", 2)).await;
    everything_of_life_1_misses_life_2(&*store).await;
}

/// The first life is replaced while it is alive; all of its messages come again, late.
pub async fn messages_of_a_replaced_life_never_reach_the_next(store: Subject) {
    first_life(&*store).await;
    created(&*store, Create { policy: ReusePolicy::ReplaceAny, ..start("a", 2) }).await;
    everything_of_life_1_misses_life_2(&*store).await;
}

/// The first life is purged; all of its messages come again, late, to nobody and then to the second life.
pub async fn messages_of_a_purged_life_never_reach_the_next(store: Subject) {
    let seen = first_life(&*store).await;
    Turn::on("a", &seen).completes(text("1")).lands(&*store).await;
    purged(&*store, "a").await;
    assert_eq!(deliver_to(&*store, "a", 1, raised(1)).await, Delivered::NotFound);
    created(&*store, start("a", 2)).await;
    everything_of_life_1_misses_life_2(&*store).await;
}

/// A second life that has worked is as safe as a fresh one.
pub async fn messages_of_a_former_life_never_reach_one_that_has_worked(store: Subject) {
    ended(&*store, "a", 1).await;
    created(&*store, start("a", 2)).await;
    deliver_to(&*store, "a", 2, raised(1)).await;
    deliver_to(&*store, "a", 2, raised(8)).await;
    Turn::on("a", &load(&*store, "a").await).takes(1).append(events(0..9)).custom_status(text("5")).lands(&*store).await;
    everything_of_life_1_misses_life_2(&*store).await;
}

/// A driver of the first life whose commit comes late loses, also when both lives are at the same revision.
pub async fn a_late_commit_of_a_former_life_changes_nothing(store: Subject) {
    let seen = first_life(&*store).await;
    created(&*store, Create { policy: ReusePolicy::ReplaceAny, ..start("a", 2) }).await;
    let second = Turn::on("a", &load(&*store, "a").await).append(events(500..503));
    second.lands(&*store).await;
    assert_eq!(load(&*store, "a").await.header.revision, seen.header.revision);
    let late = Turn::on("a", &seen).takes(1).direct(raised(5)).append(events(60..70)).completes(text("0"));
    let winner = late.loses(&*store).await.unwrap();
    for stands in [winner, load(&*store, "a").await] {
        assert_eq!((stands.header.incarnation, stands.header.revision, stands.events), (life(2), 2, events(500..503)));
        assert_eq!((stands.inbox, stands.output), (vec![], None));
    }
}

/// A driver of a life that was replaced, and whose start then came once more, builds on what is not there any more: life and revision are the same.
pub async fn a_commit_on_a_life_that_has_begun_anew_changes_nothing(store: Subject) {
    let any = |incarnation| Create { policy: ReusePolicy::ReplaceAny, ..start("a", incarnation) };
    created(&*store, any(1)).await;
    let before = load(&*store, "a").await;
    created(&*store, any(2)).await;
    let mut again = any(1);
    again.header.commit_id = commit_id(77);
    created(&*store, again).await;
    let late = Turn::on("a", &before).append(events(0..3)).completes(text("0"));
    let winner = late.loses(&*store).await.unwrap();
    for stands in [winner, load(&*store, "a").await] {
        assert_eq!((stands.header.revision, stands.header.commit_id, stands.events, stands.output), (1, commit_id(77), vec![], None));
    }
}

/// A start of the first life that is repeated late is refused while the second is alive; by default nothing replaces a live one.
pub async fn a_late_start_of_a_former_life_is_refused_by_the_live_one(store: Subject) {
    ended(&*store, "a", 1).await;
    created(&*store, start("a", 2)).await;
    assert_eq!(refused(&*store, start("a", 1)).await.header, pending(2));
}

/// Many lives, each with the same message ids and sender numbers: each takes them once.
pub async fn many_lives_of_one_id_keep_apart(store: Subject) {
    for n in 1..=15 {
        created(&*store, start("a", n)).await;
        for message in [raised(1), sent_by("s", 1, 1)] {
            assert_eq!(deliver_to(&*store, "a", n, message.clone()).await, Delivered::Delivered);
            assert_eq!(deliver_to(&*store, "a", n, message).await, Delivered::Duplicate);
        }
        let loaded = load(&*store, "a").await;
        let commit = Turn::on("a", &loaded).takes(2).append(events(n * 100..n * 100 + 50)).completes(text("1")).build_commit();
        assert!(matches!(store.commit(commit).await, CommitOutcome::Committed(_)));
        assert_eq!(load(&*store, "a").await.events, events(n * 100..n * 100 + 50));
        if n % 3 == 0 {
            purged(&*store, "a").await;
        }
    }
}
