//! Bad days between a store and its table: answers that get lost, requests that come late or twice, servers that are busy. Nothing is applied
//! twice, nothing that was acknowledged is lost, and what cannot be told is settled by ids.

use std::time::{Duration, Instant};

use durable::header::Header;
use durable::ports::{Commit, CommitOutcome, Create, Created, Delivered, ListQuery, Purge, ReusePolicy, Store, StoreError, Token};
use durable_tests::build::*;
use durable_tests::proxy::{Fate, Plan};

use super::bad::{Bad, Cloud, FATES, ONE_SENDER_TOO_MANY, PATIENCE, is_unknown};
use super::network::{exactly_once, the_last_commit_tells_of_every_message};

/// Makes a `#[test]` of every story, for a kind of store.
macro_rules! bad_days {
    ($cloud:ty) => {
        $crate::stores::faults::bad_days! { $cloud:
            a_commit_is_applied_once_or_not_at_all
            a_late_commit_never_lands_on_top_of_another
            rows_before_a_commit_are_all_there_or_the_commit_is_not_made
            a_start_is_stored_once
            a_start_over_an_ended_life_is_stored_once
            a_refused_start_that_comes_late_is_whole
            a_message_is_taken_in_once
            a_purge_can_be_repeated_and_never_meets_the_next_life
            reads_are_repeated
            a_missing_permission_is_named
            every_acknowledged_message_is_taken_exactly_once
            no_message_is_lost_to_the_end_of_its_instance
        }
    };
    ($cloud:ty: $($story:ident)*) => {
        $(
            #[test]
            fn $story() {
                <$cloud as $crate::stores::bad::Cloud>::run($crate::stores::faults::$story::<$cloud>());
            }
        )*
    };
}

pub(crate) use bad_days;

/// Whatever becomes of a commit's one write, it is applied once or not at all; which of both is told, or can be found out by the commit id.
pub async fn a_commit_is_applied_once_or_not_at_all<C: Cloud>() {
    for (fate, landed, told) in FATES {
        let (bad, case) = (Bad::<C>::prepared(PATIENCE).await, format!("{fate:?}"));
        let commit = bad.turn(&bad.store, 1).await;
        bad.proxy.follow(Plan::nth_of(C::COMMIT, 0, fate));
        let outcome = bad.store.commit(commit.clone()).await;
        assert_eq!(matches!(outcome, CommitOutcome::Committed(_)), told, "{case}: {outcome:?}");
        assert!(told || is_unknown(&outcome), "{case}: {outcome:?}");
        bad.expect_turns(if landed { &[1] } else { &[] }, &case).await;
        // What a driver does that cannot tell: it looks, or asks again.
        match bad.store.commit(commit.clone()).await {
            CommitOutcome::Lost(Some(winner)) => assert!(landed && winner.header.commit_id == commit.header.commit_id, "{case}"),
            CommitOutcome::Committed(_) => assert!(!landed, "{case}"),
            other => panic!("{case}: {other:?}"),
        }
        bad.expect_turns(&[1], &case).await;
        bad.proxy.deliver_late().await.unwrap();
        bad.expect_turns(&[1], &case).await;
        // And it goes on.
        let next = bad.turn(&bad.store, 2).await;
        assert!(matches!(bad.store.commit(next).await, CommitOutcome::Committed(_)), "{case}");
        bad.expect_turns(&[1, 2], &case).await;
    }
}

/// A commit that comes late, when its driver has long given up, lands only if nobody has committed meanwhile.
pub async fn a_late_commit_never_lands_on_top_of_another<C: Cloud>() {
    let bad = Bad::<C>::prepared(PATIENCE).await;
    let commit = bad.turn(&bad.store, 1).await;
    bad.proxy.follow(Plan::nth_of(C::COMMIT, 0, Fate::Late));
    assert!(is_unknown(&bad.store.commit(commit).await));
    let rival = bad.turn(&bad.direct, 2).await;
    assert!(matches!(bad.direct.commit(rival).await, CommitOutcome::Committed(_)));
    assert_eq!(bad.proxy.deliver_late().await.unwrap(), 1);
    bad.expect_turns(&[2], "a rival was first").await;
    // Its own message was not consumed, and its sender's number was not noted.
    assert_eq!(deliver(&bad.store, "a", raised(1)).await, Delivered::Delivered);

    let commit = bad.turn(&bad.store, 3).await;
    bad.proxy.follow(Plan::nth_of(C::COMMIT, 0, Fate::Late));
    assert!(is_unknown(&bad.store.commit(commit.clone()).await));
    assert_eq!(bad.proxy.deliver_late().await.unwrap(), 1);
    let CommitOutcome::Lost(Some(winner)) = bad.store.commit(commit.clone()).await else { panic!("the repeat should have lost") };
    assert_eq!(winner.header.commit_id, commit.header.commit_id, "it has landed after all");
    bad.expect_turns(&[2, 3], "nobody was first").await;
}

/// Trouble with the rows that stand before a commit is repeated or reported; it is never half a commit.
pub async fn rows_before_a_commit_are_all_there_or_the_commit_is_not_made<C: Cloud>() {
    let (rows, nth) = C::ROWS;
    let spilling = |commit: Commit| Commit { custom_status: Some(large(C::BEFORE, 1)), ..commit };
    for (fate, ..) in FATES {
        let bad = Bad::<C>::prepared(PATIENCE).await;
        let commit = spilling(bad.turn(&bad.store, 1).await);
        bad.proxy.follow(Plan::nth_of(rows, nth, fate));
        assert!(matches!(bad.store.commit(commit).await, CommitOutcome::Committed(_)), "{fate:?}");
        bad.proxy.deliver_late().await.unwrap();
        let loaded = load(&bad.direct, "a").await;
        assert!(loaded.custom_status == Some(large(C::BEFORE, 1)) && loaded.header.revision == 2, "{fate:?}");
    }
    let bad = Bad::<C>::prepared(Duration::from_millis(300)).await;
    let commit = spilling(bad.turn(&bad.direct, 1).await);
    bad.proxy.follow(Plan::by(move |call| if call.action == rows { Fate::Throttle } else { Fate::Pass }));
    let outcome = bad.store.commit(Commit { token: Token::default(), ..commit }).await;
    assert!(matches!(&outcome, CommitOutcome::Failed(StoreError::Unavailable(why)) if why.contains("in time")), "{outcome:?}");
    bad.expect_turns(&[], "rows could not be written").await;
}

/// Whatever becomes of a start's one write, it is repeated until it is known, and is one start.
pub async fn a_start_is_stored_once<C: Cloud>() {
    for (fate, ..) in FATES {
        let (bad, case) = (C::bad(PATIENCE).await, format!("{fate:?}"));
        bad.proxy.follow(Plan::nth_of(C::CREATE, 0, fate));
        let create = Create { input: large(C::BESIDE, 1), append: events(0..200), ..start("a", 1) };
        let create = Create { header: Header { events: 200, ..create.header.clone() }, ..create };
        let told = bad.store.create(create.clone()).await;
        assert!(matches!(told, Ok(Created::Created(_))), "{case}: {told:?}");
        assert!(matches!(bad.store.create(create).await, Ok(Created::Exists(_))), "{case}");
        Turn::on("a", &load(&bad.store, "a").await).append(events(200..201)).lands(&bad.store).await;
        bad.proxy.deliver_late().await.unwrap();
        let loaded = load(&bad.direct, "a").await;
        assert_eq!((loaded.header.revision, loaded.events), (2, events(0..201)), "{case}");
        assert!(loaded.input == large(C::BESIDE, 1), "{case}");
        // A late start does not undo the next life either.
        created(&bad.direct, Create { policy: ReusePolicy::ReplaceAny, ..start("a", 2) }).await;
        bad.proxy.follow(Plan::nth_of(C::CREATE, 0, Fate::Twice));
        refused(&bad.store, start("a", 3)).await;
        bad.proxy.deliver_late().await.unwrap();
        assert_eq!(load(&bad.direct, "a").await.header, pending(2), "{case}");
        assert_eq!(bad.listed().await, 1, "{case}");
    }
}

/// A start in the place of an ended life, whose second write gets lost or comes twice.
pub async fn a_start_over_an_ended_life_is_stored_once<C: Cloud>() {
    for (fate, ..) in FATES {
        let (bad, case) = (C::bad(PATIENCE).await, format!("{fate:?}"));
        created(&bad.direct, start("a", 1)).await;
        Turn::on("a", &load(&bad.direct, "a").await).append(events(0..200)).completes(text("1")).lands(&bad.direct).await;
        bad.proxy.follow(Plan::nth_of(C::CREATE, 1, fate));
        let told = bad.store.create(start("a", 2)).await;
        assert!(matches!(told, Ok(Created::Created(_))), "{case}: {told:?}");
        assert!(matches!(bad.store.create(start("a", 2)).await, Ok(Created::Exists(_))), "{case}");
        Turn::on("a", &load(&bad.store, "a").await).append(events(7..9)).lands(&bad.store).await;
        bad.proxy.deliver_late().await.unwrap();
        let loaded = load(&bad.direct, "a").await;
        assert_eq!((loaded.header.incarnation, loaded.header.revision, loaded.events), (life(2), 2, events(7..9)), "{case}");
        assert_eq!(bad.listed().await, 1, "{case}");
    }
}

/// The first try of a start lingers on its way, the second one is refused. If the first comes once the id is free, it is whole.
pub async fn a_refused_start_that_comes_late_is_whole<C: Cloud>() {
    let bad = C::bad(PATIENCE).await;
    created(&bad.direct, start("a", 1)).await;
    bad.proxy.follow(Plan::nth_of(C::CREATE, C::ROWS_BY_CREATE, Fate::Late));
    refused(&bad.store, Create { input: large(C::BEFORE, 2), ..start("a", 2) }).await;
    Turn::on("a", &load(&bad.direct, "a").await).completes(text("1")).lands(&bad.direct).await;
    assert_eq!(purged(&bad.direct, "a").await, Purge::Done);
    assert_eq!(bad.proxy.deliver_late().await.unwrap(), 1);
    let loaded = load(&bad.direct, "a").await;
    assert!(loaded.header.incarnation == life(2) && loaded.input == large(C::BEFORE, 2));
    assert_eq!(bad.listed().await, 1);
}

/// Whatever becomes of a delivery's write, a repeat makes it one message, before it is taken and after.
pub async fn a_message_is_taken_in_once<C: Cloud>() {
    for (kind, (action, nth), message) in C::messages() {
        for (fate, landed, told) in FATES {
            let (bad, case) = (C::bad(PATIENCE).await, format!("{kind}, {fate:?}"));
            created(&bad.direct, start("a", 1)).await;
            if kind == ONE_SENDER_TOO_MANY {
                let turn = (0..C::SENDERS).fold(Turn::on("a", &load(&bad.direct, "a").await), |turn, n| turn.direct(sent_by(&format!("s{n}"), 1, 1)));
                turn.lands(&bad.direct).await;
            }
            bad.proxy.follow(Plan::nth_of(action, nth, fate));
            let answer = bad.store.deliver(&id("a"), None, message.clone()).await;
            assert_eq!(answer.is_ok(), told, "{case}: {answer:?}");
            let again = bad.store.deliver(&id("a"), None, message.clone()).await.unwrap();
            assert_eq!(again, if landed { Delivered::Duplicate } else { Delivered::Delivered }, "{case}");
            assert!(load(&bad.direct, "a").await.inbox == [message.clone()], "{case}");
            bad.proxy.deliver_late().await.unwrap();
            assert_eq!(load(&bad.direct, "a").await.inbox.len(), 1, "{case}: it came late while it stood there");
            Turn::on("a", &load(&bad.direct, "a").await).takes_all().lands(&bad.direct).await;
            bad.proxy.follow(Plan::nth_of(action, 0, Fate::Twice));
            assert_eq!(bad.store.deliver(&id("a"), None, message.clone()).await.unwrap(), Delivered::Duplicate, "{case}");
            bad.proxy.deliver_late().await.unwrap();
            assert_eq!(load(&bad.direct, "a").await.inbox.len(), 0, "{case}: it came late after it was taken");
        }
    }
}

/// Whatever becomes of a purge's requests, it can be repeated, and a late one does no harm to the next life.
pub async fn a_purge_can_be_repeated_and_never_meets_the_next_life<C: Cloud>() {
    for request @ (action, nth) in C::PURGE.iter().copied() {
        for (fate, ..) in FATES {
            let (bad, case) = (C::bad(PATIENCE).await, format!("{action} {nth}, {fate:?}"));
            let end = async |n| {
                created(&bad.direct, start("a", n)).await;
                let turn = Turn::on("a", &load(&bad.direct, "a").await).append(events(0..300)).custom_status(large(C::BESIDE, n));
                turn.completes(large(C::BESIDE, n + 10)).lands(&bad.direct).await;
            };
            end(1).await;
            bad.proxy.follow(Plan::nth_of(action, nth, fate));
            let told = bad.store.purge_begin(&id("a")).await;
            assert!(told.is_ok() || request == C::PURGE[0], "{case}: {told:?}");
            let again = purged(&bad.store, "a").await;
            assert!(matches!(again, Purge::Done | Purge::NotFound), "{case}: {again:?}");
            assert!(bad.direct.load(&id("a"), None).await.unwrap().is_none(), "{case}");
            end(2).await;
            bad.proxy.deliver_late().await.unwrap();
            let loaded = load(&bad.direct, "a").await;
            assert!(loaded.events == events(0..300) && loaded.output == Some(large(C::BESIDE, 12)), "{case}");
            assert_eq!(bad.listed().await, 1, "{case}");
        }
    }
}

/// Reads are repeated until the patience is over, and then say so.
pub async fn reads_are_repeated<C: Cloud>() {
    let bad = Bad::<C>::prepared(PATIENCE).await;
    let mut n = 0;
    bad.proxy.follow(Plan::by(move |_| {
        n += 1;
        [Fate::Cut, Fate::ServerError, Fate::Throttle, Fate::LoseAnswer, Fate::BreakAnswer, Fate::Pass][n % 6]
    }));
    let loaded = load(&bad.store, "a").await;
    assert_eq!((loaded.header.revision, loaded.inbox.len()), (1, 1));
    assert!(bad.store.status(&id("a")).await.unwrap().is_some());
    assert_eq!(bad.store.list(ListQuery::default(), None).await.unwrap().items.len(), 1);

    bad.proxy.follow(Plan::by(|_| Fate::Throttle));
    let hurried = C::until(&bad.store, Instant::now() + Duration::from_millis(200));
    let error = hurried.load(&id("a"), None).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(why) if why.contains(C::BUSY)), "{error}");
    let before = bad.proxy.calls().len();
    assert!(C::until(&hurried, Instant::now()).load(&id("a"), None).await.is_err());
    assert_eq!(bad.proxy.calls().len(), before, "no call starts after the deadline");
}

/// What is not allowed is named with what to do, is not repeated, and counts as not done.
pub async fn a_missing_permission_is_named<C: Cloud>() {
    let bad = Bad::<C>::prepared(PATIENCE).await;
    let commit = bad.turn(&bad.direct, 1).await;
    bad.proxy.follow(Plan::by(|call| if call.action == C::COMMIT { Fate::Deny } else { Fate::Pass }));
    let outcome = bad.store.commit(Commit { token: Token::default(), ..commit }).await;
    assert!(matches!(&outcome, CommitOutcome::Failed(StoreError::Unavailable(why)) if why.contains(C::DENIED[0])), "{outcome:?}");
    assert!(bad.store.deliver(&id("a"), None, raised(1)).await.unwrap_err().to_string().contains(C::DENIED[1]));
    assert_eq!(bad.proxy.calls().iter().filter(|call| call.action == C::COMMIT).count(), 2);
    bad.expect_turns(&[], "denied").await;
}

/// Senders and a driver on a network that loses, delays and repeats: each message that was acknowledged is taken exactly once, in order of its
/// sender, and no message twice.
pub async fn every_acknowledged_message_is_taken_exactly_once<C: Cloud>() {
    for seed in 1..=3 {
        let bad = C::bad(PATIENCE).await;
        exactly_once(&bad.store, &bad.direct, &bad.proxy, seed).await;
    }
}

/// A message that is acknowledged while its instance ends is told of.
pub async fn no_message_is_lost_to_the_end_of_its_instance<C: Cloud>() {
    the_last_commit_tells_of_every_message(&C::bad(PATIENCE).await.direct).await;
}
