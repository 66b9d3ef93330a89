//! Committing: all or nothing, on the revision it builds on, and never over somebody else's work.

use durable::Failure;
use durable::header::{Claim, Fault, FaultKind, RuntimeStatus};
use durable::ports::{CommitOutcome, ReusePolicy};

use super::Subject;
use crate::build::*;

/// Everything in the header is stored as it was given.
pub async fn every_field_of_the_header_reads_back(store: Subject) {
    created(&*store, start("a", 1)).await;
    let loaded = load(&*store, "a").await;
    let turn = Turn::on("a", &loaded).append(events(0..2)).with(|h| {
        h.epoch = 3;
        h.updated = at(60);
        h.last_now = at(61);
        h.open_activities = 2;
        h.timer_due = Some(at(3600));
        h.ring = vec![(message_id(1), 1), (message_id(2), 2)];
        h.sent = 9;
        h.claims = vec![Claim { owner: 7, until: at(30), from: 1, to: 4 }];
        h.alarm = Some(vec![0, 1, 255]);
        h.fault = Some(Fault {
            kind: FaultKind::NonDeterminism,
            build: "b1".into(),
            version: Some("2".into()),
            at_event: Some(1),
            expected: Some("x".into()),
            asked: None,
            message: "differs".into(),
            tries: 2,
            at: at(59),
            next_try: Some(at(3659)),
        });
    });
    let header = turn.clone().build_commit().header;
    turn.lands(&*store).await;
    assert_eq!(load(&*store, "a").await.header, header);
}

/// Commits follow one another with the token of the one before, without a load between.
pub async fn commits_can_follow_one_another_without_a_load(store: Subject) {
    created(&*store, start("a", 1)).await;
    let mut commit = Turn::on("a", &load(&*store, "a").await).append(events(0..3)).build_commit();
    for n in 1..10 {
        let CommitOutcome::Committed(committed) = store.commit(commit.clone()).await else { panic!("commit {n} should have landed") };
        commit = Turn::after(&commit, &committed).append(events(n * 3..n * 3 + 3)).build_commit();
    }
    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.header.revision, loaded.events), (10, events(0..27)));
}

/// A commit on an old revision loses, is given the state that won, and writes nothing at all.
pub async fn a_lost_race_gives_the_winners_state_and_overwrites_nothing(store: Subject) {
    created(&*store, start("a", 1)).await;
    deliver(&*store, "a", raised(1)).await;
    let seen = load(&*store, "a").await;
    Turn::on("a", &seen).named(100).takes(1).append(events(0..2)).custom_status(text("\"winner\"")).lands(&*store).await;
    deliver(&*store, "a", raised(2)).await;

    let late = Turn::on("a", &seen).named(200).takes(1).direct(raised(3)).append(events(50..60)).completes(text("0")).custom_status(text("\"loser\""));
    let winner = late.loses(&*store).await.unwrap();
    for stands in [winner, load(&*store, "a").await] {
        assert_eq!((stands.header.revision, stands.header.commit_id, stands.header.status), (2, commit_id(100), RuntimeStatus::Running));
        assert_eq!((&stands.events, stands.first_event), (&events(0..2), 0));
        assert_eq!((stands.inbox, stands.custom_status, stands.output), (vec![raised(2)], Some(text("\"winner\"")), None));
    }
    assert_eq!(store.status(&id("a")).await.unwrap().unwrap().header.commit_id, commit_id(100));
    let direct = deliver(&*store, "a", raised(3)).await;
    assert_eq!(direct, durable::ports::Delivered::Delivered, "the loser's own message was not consumed");
}

/// The state that a lost race gives is good for the next commit.
pub async fn a_loser_goes_on_from_the_state_it_was_given(store: Subject) {
    created(&*store, start("a", 1)).await;
    let seen = load(&*store, "a").await;
    Turn::on("a", &seen).append(events(0..2)).lands(&*store).await;
    let winner = Turn::on("a", &seen).append(events(7..9)).loses(&*store).await.unwrap();
    Turn::on("a", &winner).append(events(2..5)).lands(&*store).await;
    assert_eq!(load(&*store, "a").await.events, events(0..5));
}

/// A commit on a revision that is still to come loses like any other.
pub async fn a_commit_on_a_later_revision_loses(store: Subject) {
    created(&*store, start("a", 1)).await;
    let seen = load(&*store, "a").await;
    let mut ahead = Turn::on("a", &seen).append(events(0..1)).build_commit();
    ahead.base = 2;
    ahead.header.revision = 3;
    ahead.token = durable::ports::Token::default();
    let outcome = store.commit(ahead).await;
    assert!(matches!(outcome, CommitOutcome::Lost(Some(_))), "{outcome:?}");
    assert_eq!(load(&*store, "a").await.header.revision, 1);
}

/// Of many drivers that commit on one revision at the same time exactly one wins; the others see its state.
pub async fn of_many_drivers_at_once_exactly_one_wins(store: Subject) {
    const DRIVERS: u64 = 8;
    created(&*store, start("a", 1)).await;
    for round in 1..=20 {
        let seen = load(&*store, "a").await;
        let commits: Vec<_> = (0..DRIVERS).map(|d| Turn::on("a", &seen).named(round * 100 + d).append(vec![event(round * 100 + d)]).build_commit()).collect();
        let outcomes = store.at_once(DRIVERS, |store, driver| store.commit(commits[driver as usize].clone()));
        let outcomes: Vec<_> = (round * 100..).zip(outcomes).collect();
        let winners: Vec<u64> = outcomes.iter().filter(|(_, o)| matches!(o, CommitOutcome::Committed(_))).map(|(n, _)| *n).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        for (n, outcome) in &outcomes {
            if let CommitOutcome::Lost(Some(winner)) = outcome {
                assert_eq!(winner.header.commit_id, commit_id(winners[0]), "driver {n}");
            } else {
                assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
            }
        }
        let stands = load(&*store, "a").await;
        assert_eq!((stands.header.revision, stands.header.commit_id), (round + 1, commit_id(winners[0])));
        assert_eq!((stands.events.len() as u64, stands.events.last()), (round, Some(&event(winners[0]))));
    }
}

/// A commit for an instance that is not there loses to nobody, and makes none.
pub async fn a_commit_for_an_unknown_instance_loses_and_stores_nothing(store: Subject) {
    created(&*store, start("a", 1)).await;
    let seen = load(&*store, "a").await;
    let mut commit = Turn::on("b", &seen).append(events(0..1)).build_commit();
    commit.token = durable::ports::Token::default();
    let outcome = store.commit(commit).await;
    assert!(matches!(outcome, CommitOutcome::Lost(None)), "{outcome:?}");
    assert!(store.load(&id("b"), None).await.unwrap().is_none());
}

/// A commit of a former life loses to the present one, even at an equal revision.
pub async fn a_commit_of_a_former_life_loses_to_the_present_one(store: Subject) {
    created(&*store, start("a", 1)).await;
    let seen = load(&*store, "a").await;
    created(&*store, durable::ports::Create { policy: ReusePolicy::ReplaceAny, ..start("a", 2) }).await;
    let winner = Turn::on("a", &seen).append(events(0..1)).completes(text("1")).loses(&*store).await.unwrap();
    assert_eq!(winner.header, pending(2));
    assert_eq!(load(&*store, "a").await.header, pending(2));
}

/// Input and custom status stay when a commit says nothing of them; a new custom status takes the place of the old.
pub async fn input_and_custom_status_stay_until_they_are_replaced(store: Subject) {
    created(&*store, start("a", 1)).await;
    let mut expected = None;
    for (n, status) in [(0, Some("\"one\"")), (1, None), (2, None), (3, Some("{}")), (4, None)] {
        let loaded = load(&*store, "a").await;
        let turn = Turn::on("a", &loaded).append(events(n..n + 1));
        let turn = if let Some(status) = status { turn.custom_status(text(status)) } else { turn };
        turn.lands(&*store).await;
        expected = status.map(text).or(expected);
        let loaded = load(&*store, "a").await;
        assert_eq!((&loaded.custom_status, loaded.input), (&expected, text("\"input of life 1\"")));
    }
}

/// The output of the commit that ends an instance is kept, also by a later commit that says nothing of it.
pub async fn the_output_is_kept_once_it_is_written(store: Subject) {
    ended(&*store, "a", 1).await;
    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.header.status, loaded.output.clone()), (RuntimeStatus::Completed, Some(text("\"done\""))));
    Turn::on("a", &loaded).append(events(3..4)).lands(&*store).await;
    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.output, loaded.events), (Some(text("\"done\"")), events(0..4)));
}

/// An instance that fails keeps its failure, and has no output.
pub async fn the_failure_is_kept_and_there_is_no_output(store: Subject) {
    created(&*store, start("a", 1)).await;
    let mut failure = Failure::new("CardDeclined", "no funds").non_retryable();
    failure.chain = vec!["the bank said no".into()];
    failure.attempts = 3;
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).append(events(0..1)).fails(failure.clone()).lands(&*store).await;
    let status = store.status(&id("a")).await.unwrap().unwrap();
    assert_eq!((status.header.status, status.header.failure, status.output), (RuntimeStatus::Failed, Some(failure), None));
}

/// A commit without events (a claim, a fault, a cleared outbox) changes the header and leaves the history alone.
pub async fn a_commit_without_events_leaves_history_and_inbox_alone(store: Subject) {
    created(&*store, start("a", 1)).await;
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).append(events(0..40)).with(|h| h.outbox = vec![to("b", None, sent_by("a", 1, 1))]).lands(&*store).await;
    deliver(&*store, "a", raised(1)).await;
    let loaded = load(&*store, "a").await;
    assert_eq!(loaded.header.outbox, [to("b", None, sent_by("a", 1, 1))]);
    let committed = Turn::on("a", &loaded).with(|h| h.outbox.clear()).lands(&*store).await;
    assert_eq!(committed.inbox, [raised(1)]);
    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.header.outbox.len(), loaded.header.revision, loaded.events, loaded.inbox), (0, 3, events(0..40), vec![raised(1)]));
}

/// Instances do not touch one another.
pub async fn a_commit_changes_no_other_instance(store: Subject) {
    for (instance, incarnation) in [("a", 1), ("a2", 2), ("A", 3)] {
        created(&*store, start(instance, incarnation)).await;
        deliver(&*store, instance, raised(incarnation)).await;
    }
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).takes(1).append(events(0..10)).completes(text("1")).lands(&*store).await;
    for (instance, incarnation) in [("a2", 2), ("A", 3)] {
        let loaded = load(&*store, instance).await;
        assert_eq!((loaded.header, loaded.inbox, loaded.events.len()), (pending(incarnation), vec![raised(incarnation)], 0));
    }
}
