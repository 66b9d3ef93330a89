//! History: every event in order, whatever the store seals and where, and a fresh one at continue-as-new.

use durable::ports::{CommitOutcome, Delivered, Known};

use super::Subject;
use crate::build::*;

/// Many small commits, then a load: every event is there, in order, and as it was given.
pub async fn events_of_many_small_commits_stand_in_order(store: Subject) {
    created(&*store, start("a", 1)).await;
    let mut commit = Turn::on("a", &load(&*store, "a").await).append(vec![event(0)]).build_commit();
    for n in 1..400 {
        let CommitOutcome::Committed(committed) = store.commit(commit.clone()).await else { panic!("commit {n} should have landed") };
        commit = Turn::after(&commit, &committed).append(vec![event(n)]).build_commit();
    }
    assert!(matches!(store.commit(commit).await, CommitOutcome::Committed(_)));
    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.header.events, loaded.events), (400, events(0..400)));
}

/// Commits of every size, each larger or smaller than what a store seals at a time, leave no seam.
pub async fn events_of_commits_of_every_size_leave_no_seam(store: Subject) {
    created(&*store, start("a", 1)).await;
    let (mut random, mut total) = (Random::new(3), 0);
    for round in 0..60 {
        let count = [0, 1, 2, 7, 40, 130][random.below(6) as usize];
        let loaded = load(&*store, "a").await;
        Turn::on("a", &loaded).append(events(total..total + count)).lands(&*store).await;
        total += count;
        let known = Known { incarnation: life(1), execution: 0, events: random.below(total + 1) };
        let later = store.load(&id("a"), Some(known)).await.unwrap().unwrap();
        assert_eq!((later.first_event, later.events), (known.events, events(known.events..total)), "round {round}");
    }
    assert_eq!(load(&*store, "a").await.events, events(0..total));
}

/// Events are bytes to the store: empty ones, ones of one byte and ones that look like nothing at all come back as they were given.
pub async fn events_are_bytes_that_nobody_looks_into(store: Subject) {
    created(&*store, start("a", 1)).await;
    let odd: Vec<bytes::Bytes> = vec![
        bytes::Bytes::new(),
        bytes::Bytes::from_static(&[0]),
        bytes::Bytes::from_static(&[255; 300]),
        large(5000, 1).stored().clone(),
        bytes::Bytes::new(),
        bytes::Bytes::from_static(b"'; drop table instances; --"),
    ];
    for _ in 0..4 {
        let loaded = load(&*store, "a").await;
        Turn::on("a", &loaded).append(odd.clone()).lands(&*store).await;
    }
    assert_eq!(load(&*store, "a").await.events, [&odd[..]; 4].concat());
}

/// A range of the history is cut to what there is.
pub async fn a_range_of_history_is_cut_to_what_there_is(store: Subject) {
    created(&*store, start("a", 1)).await;
    for n in 0..20 {
        let loaded = load(&*store, "a").await;
        Turn::on("a", &loaded).append(events(n * 10..n * 10 + 10)).lands(&*store).await;
    }
    for (range, expected) in [(0..200, 0..200), (0..1, 0..1), (55..143, 55..143), (199..200, 199..200), (150..999, 150..200), (200..300, 0..0), (7..7, 0..0)] {
        let found = store.history(&id("a"), life(1), 0, range.clone()).await.unwrap();
        assert_eq!(found, events(expected), "{range:?}");
    }
    assert_eq!(store.history(&id("a"), life(1), 0, 0..u64::MAX).await.unwrap(), events(0..200));
}

/// The history of another life or execution is empty.
pub async fn the_history_of_another_life_or_execution_is_empty(store: Subject) {
    created(&*store, start("a", 1)).await;
    Turn::on("a", &load(&*store, "a").await).append(events(0..10)).lands(&*store).await;
    for (incarnation, execution) in [(2, 0), (1, 1)] {
        assert_eq!(store.history(&id("a"), life(incarnation), execution, 0..10).await.unwrap().len(), 0);
    }
}

/// Continue-as-new drops the old events and takes the new input; the inbox stays.
pub async fn continue_as_new_drops_the_old_events_and_keeps_the_inbox(store: Subject) {
    created(&*store, start("a", 1)).await;
    for n in 0..10 {
        let loaded = load(&*store, "a").await;
        Turn::on("a", &loaded).append(events(n * 30..n * 30 + 30)).custom_status(text("\"kept\"")).lands(&*store).await;
    }
    for n in 1..=3 {
        deliver(&*store, "a", raised(n)).await;
    }
    let loaded = load(&*store, "a").await;
    deliver(&*store, "a", raised(4)).await;
    let committed = Turn::on("a", &loaded).takes(1).continues_as_new(text("\"second\"")).append(events(1000..1002)).lands(&*store).await;
    assert_eq!(ids(&committed.inbox), [2, 3, 4].map(message_id));

    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.header.execution, loaded.header.events, loaded.header.revision), (1, 2, 12));
    assert_eq!((loaded.events, loaded.input, loaded.custom_status), (events(1000..1002), text("\"second\""), Some(text("\"kept\""))));
    assert_eq!(ids(&loaded.inbox), [2, 3, 4].map(message_id));
    assert_eq!(store.history(&id("a"), life(1), 0, 0..300).await.unwrap().len(), 0);
    assert_eq!(store.history(&id("a"), life(1), 1, 0..300).await.unwrap(), events(1000..1002));
    let known = Known { incarnation: life(1), execution: 0, events: 1 };
    let loaded = store.load(&id("a"), Some(known)).await.unwrap().unwrap();
    assert_eq!((loaded.first_event, loaded.events), (0, events(1000..1002)));
}

/// What was consumed before continue-as-new is still remembered after it.
pub async fn continue_as_new_forgets_no_message(store: Subject) {
    created(&*store, start("a", 1)).await;
    Turn::on("a", &load(&*store, "a").await).direct(raised(1)).direct(sent_by("s", 1, 5)).lands(&*store).await;
    Turn::on("a", &load(&*store, "a").await).continues_as_new(text("2")).lands(&*store).await;
    for (message, answer) in [(raised(1), Delivered::Duplicate), (sent_by("s", 1, 5), Delivered::Duplicate), (sent_by("s", 1, 6), Delivered::Delivered)] {
        assert_eq!(deliver(&*store, "a", message).await, answer);
    }
}

/// Continue-as-new again and again, each with a history of its own.
pub async fn many_executions_follow_one_another(store: Subject) {
    created(&*store, start("a", 1)).await;
    for execution in 0..40 {
        for n in 0..3 {
            let loaded = load(&*store, "a").await;
            assert_eq!((loaded.header.execution as u64, &loaded.events), (execution, &events(0..n * 25)));
            Turn::on("a", &loaded).append(events(n * 25..n * 25 + 25)).lands(&*store).await;
        }
        Turn::on("a", &load(&*store, "a").await).continues_as_new(text("1")).lands(&*store).await;
    }
    assert_eq!(load(&*store, "a").await.events.len(), 0);
}

/// A continue-as-new that loses its race drops nothing.
pub async fn a_lost_continue_as_new_drops_nothing(store: Subject) {
    created(&*store, start("a", 1)).await;
    let seen = load(&*store, "a").await;
    Turn::on("a", &seen).append(events(0..80)).lands(&*store).await;
    let winner = Turn::on("a", &seen).continues_as_new(text("2")).append(events(7..8)).loses(&*store).await.unwrap();
    for stands in [winner, load(&*store, "a").await] {
        assert_eq!((stands.header.execution, stands.events, stands.input), (0, events(0..80), text("\"input of life 1\"")));
    }
}
