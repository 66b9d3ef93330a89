//! Creating: what is stored, when an id may be used again, and that nothing of a former life is left.

use durable::header::RuntimeStatus;
use durable::ports::{Create, Created, Delivered, ListQuery, ReusePolicy};

use super::Subject;
use crate::build::*;

/// A new instance reads back as it was given, at revision 1 and with an empty inbox.
pub async fn a_new_instance_reads_back_as_it_was_given(store: Subject) {
    let create = start("a", 1);
    let committed = created(&*store, create.clone()).await;
    assert_eq!(committed.inbox, []);
    let loaded = load(&*store, "a").await;
    assert_eq!((&loaded.header, &loaded.input), (&create.header, &create.input));
    assert_eq!((loaded.custom_status, loaded.output, loaded.inbox), (None, None, vec![]));
    assert_eq!((loaded.first_event, loaded.events.len()), (0, 0));
}

/// A start that was run already is stored with its events, custom status and output.
pub async fn a_new_instance_is_stored_with_what_its_first_turn_did(store: Subject) {
    let mut create = Create { append: events(0..4), custom_status: Some(text("\"half\"")), output: Some(text("\"out\"")), ..start("a", 1) };
    create.header.events = 4;
    create.header.status = RuntimeStatus::Completed;
    created(&*store, create.clone()).await;
    let loaded = load(&*store, "a").await;
    assert_eq!(loaded.header, create.header);
    assert_eq!(loaded.events, events(0..4));
    assert_eq!((loaded.custom_status, loaded.output), (create.custom_status, create.output));
}

/// The token of a create is good for the next commit.
pub async fn the_first_commit_can_follow_a_create_without_a_load(store: Subject) {
    let committed = created(&*store, start("a", 1)).await;
    let mut loaded = load(&*store, "a").await;
    loaded.token = committed.token;
    Turn::on("a", &loaded).append(events(0..2)).lands(&*store).await;
    assert_eq!(load(&*store, "a").await.events, events(0..2));
}

/// By default a live instance refuses a start with its id, and the caller sees it as it stands.
pub async fn a_live_instance_refuses_a_second_start_and_is_shown(store: Subject) {
    created(&*store, start("a", 1)).await;
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).append(events(0..3)).custom_status(text("7")).lands(&*store).await;
    deliver(&*store, "a", raised(1)).await;
    let there = refused(&*store, start("a", 2)).await;
    assert_eq!((there.header.incarnation, there.header.revision), (life(1), 2));
    assert_eq!((there.events, there.inbox, there.custom_status), (events(0..3), vec![raised(1)], Some(text("7"))));
    Turn::on("a", &load(&*store, "a").await).takes(1).lands(&*store).await;
}

/// What a refused start shows is good for the next commit.
pub async fn a_refused_start_gives_a_state_to_go_on_from(store: Subject) {
    created(&*store, start("a", 1)).await;
    let there = refused(&*store, start("a", 2)).await;
    Turn::on("a", &there).append(events(0..1)).lands(&*store).await;
}

/// By default an ended instance is replaced.
pub async fn an_ended_instance_is_replaced_by_a_start(store: Subject) {
    ended(&*store, "a", 1).await;
    created(&*store, start("a", 2)).await;
    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.header, loaded.input), (pending(2), text("\"input of life 2\"")));
    assert_eq!((loaded.output, loaded.custom_status, loaded.events.len(), loaded.inbox.len()), (None, None, 0, 0));
}

/// `Never` refuses live and ended ones alike, and takes a free id.
pub async fn the_policy_never_refuses_live_and_ended_ones(store: Subject) {
    let never = |incarnation| Create { policy: ReusePolicy::Never, ..start("a", incarnation) };
    created(&*store, never(1)).await;
    refused(&*store, never(2)).await;
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).completes(text("1")).lands(&*store).await;
    assert_eq!(refused(&*store, never(2)).await.header.incarnation, life(1));
}

/// `ReplaceAny` replaces live and ended ones alike.
pub async fn the_policy_replace_any_replaces_live_and_ended_ones(store: Subject) {
    let any = |incarnation| Create { policy: ReusePolicy::ReplaceAny, ..start("a", incarnation) };
    created(&*store, any(1)).await;
    created(&*store, any(2)).await;
    let loaded = load(&*store, "a").await;
    assert_eq!(loaded.header.incarnation, life(2));
    Turn::on("a", &loaded).completes(text("1")).lands(&*store).await;
    created(&*store, any(3)).await;
    assert_eq!(load(&*store, "a").await.header, pending(3));
}

/// A start that is repeated with its own incarnation changes nothing under any policy, and shows what became of the first.
pub async fn a_repeated_start_of_the_same_life_changes_nothing(store: Subject) {
    for policy in [ReusePolicy::ReplaceEnded, ReusePolicy::ReplaceAny, ReusePolicy::Never] {
        let instance = format!("{policy:?}");
        let again = Create { policy, ..start(&instance, 1) };
        created(&*store, again.clone()).await;
        assert_eq!(refused(&*store, again.clone()).await.header.commit_id, again.header.commit_id);
        let loaded = load(&*store, &instance).await;
        Turn::on(&instance, &loaded).append(events(0..2)).completes(text("\"out\"")).lands(&*store).await;
        let there = refused(&*store, again).await;
        assert_eq!((there.header.revision, there.events, there.output), (2, events(0..2), Some(text("\"out\""))));
    }
}

/// An ended instance that still has something to hand on is not replaced; once it is handed on, it is.
pub async fn an_ended_instance_with_an_outbox_is_not_replaced(store: Subject) {
    created(&*store, start("a", 1)).await;
    let loaded = load(&*store, "a").await;
    let outbox = vec![to("b", None, sent_by("a", 1, 1))];
    Turn::on("a", &loaded).completes(text("1")).with(|h| h.outbox = outbox.clone()).lands(&*store).await;
    for policy in [ReusePolicy::ReplaceEnded, ReusePolicy::ReplaceAny] {
        let there = refused(&*store, Create { policy, ..start("a", 2) }).await;
        assert_eq!((there.header.incarnation, &there.header.outbox), (life(1), &outbox));
    }
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).with(|h| h.outbox.clear()).lands(&*store).await;
    created(&*store, start("a", 2)).await;
}

/// A new life has no history, inbox, remembered message or remembered sender of the former one, and stands once in the listing.
pub async fn a_replaced_life_leaves_nothing_behind(store: Subject) {
    created(&*store, start("a", 1)).await;
    for message in [raised(1), sent_by("s", 1, 5), raised(2)] {
        assert_eq!(deliver(&*store, "a", message).await, Delivered::Delivered);
    }
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).takes(2).append(events(0..200)).custom_status(text("1")).lands(&*store).await;
    created(&*store, Create { policy: ReusePolicy::ReplaceAny, ..start("a", 2) }).await;

    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.events.len(), loaded.inbox.len(), loaded.custom_status, loaded.output), (0, 0, None, None));
    assert_eq!(store.history(&id("a"), life(1), 0, 0..200).await.unwrap().len(), 0);
    assert_eq!(store.history(&id("a"), life(2), 0, 0..200).await.unwrap().len(), 0);
    for message in [raised(1), sent_by("s", 1, 4), sent_by("s", 1, 5), raised(2)] {
        assert_eq!(deliver(&*store, "a", message).await, Delivered::Delivered);
    }
    assert_eq!(store.list(ListQuery::default(), None).await.unwrap().items.len(), 1);
}

/// Ids are kept to the letter: case, spaces and characters beyond ASCII make different instances.
pub async fn ids_are_kept_to_the_letter(store: Subject) {
    let long = "é".repeat(256);
    let all = ["a", "A", "a ", " a", "ä", "a|b", "a'b", "a%b", "a_b", "🦀", &long];
    for (n, instance) in all.iter().enumerate() {
        created(&*store, start(instance, n as u64 + 1)).await;
    }
    for (n, instance) in all.iter().enumerate() {
        assert_eq!(load(&*store, instance).await.header.incarnation, life(n as u64 + 1));
        assert_eq!(store.status(&id(instance)).await.unwrap().unwrap().instance, id(instance));
    }
}

/// Of many starts of one id at the same time exactly one wins, on a free id and on an ended one; the others are shown the winner.
pub async fn of_many_starts_at_once_exactly_one_wins(store: Subject) {
    const STARTS: u64 = 8;
    for round in 1..=10 {
        let answers = store.at_once(STARTS, |store, n| store.create(start("a", round * 100 + n)));
        let stands = load(&*store, "a").await;
        let mut winners = 0;
        for (n, answer) in (round * 100..).zip(answers) {
            match answer.unwrap() {
                Created::Created(_) => {
                    winners += 1;
                    assert_eq!(stands.header.incarnation, life(n));
                }
                Created::Exists(there) => assert_eq!(there.header.incarnation, stands.header.incarnation),
            }
        }
        assert_eq!((winners, stands.header.revision), (1, 1));
        Turn::on("a", &stands).completes(text("1")).lands(&*store).await;
    }
}

/// The same start many times at once is one instance, created once.
pub async fn of_the_same_start_many_times_at_once_one_is_stored(store: Subject) {
    let again = Create { policy: ReusePolicy::ReplaceAny, ..start("a", 1) };
    let answers = store.at_once(8, |store, _| store.create(again.clone()));
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(Created::Created(_)))).count(), 1);
    assert_eq!(load(&*store, "a").await.header, pending(1));
}
