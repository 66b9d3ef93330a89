//! Bad days between the store and its table: answers that get lost, requests that come late or twice, servers that are busy. Nothing is
//! applied twice, nothing that was acknowledged is lost, and what cannot be told is settled by ids.

use std::time::Duration;

use durable::message::Message;
use durable::ports::{Commit, CommitOutcome, Create, Created, Delivered, Purge, ReusePolicy, Store, StoreError};
use durable_aws::store::{DynamoStore, Options};
use durable_tests::build::*;
use durable_tests::dynamodb::Local;
use durable_tests::proxy::{Dialect, Fate, Plan, Proxy};

use crate::stores::network::{exactly_once, the_last_commit_tells_of_every_message};

/// A store behind a proxy, and the same table without one.
struct Bad {
    store: DynamoStore,
    direct: DynamoStore,
    proxy: Proxy,
}

async fn bad(patience: Duration) -> Bad {
    let local = Local::get();
    let table = local.table();
    let proxy = Proxy::before(local.address(), Dialect::DYNAMO_DB, Plan::none()).await.unwrap();
    let options = Options { patience, attempt: Duration::from_secs(30), ..Options::new(&table, "hub") };
    let store = DynamoStore::new(&Local::client(&proxy.address()), options).unwrap();
    Bad { store, direct: Local::store(&Local::client(local.address()), &table, "hub"), proxy }
}

const PATIENCE: Duration = Duration::from_secs(60);

fn is_unknown(outcome: &CommitOutcome) -> bool {
    matches!(outcome, CommitOutcome::Unknown(StoreError::Unavailable(_)))
}

/// A commit with something in rows, a message from the inbox and one that comes with it.
async fn a_turn(store: &DynamoStore, n: u64) -> Commit {
    let loaded = load(store, "a").await;
    let turn = Turn::on("a", &loaded).named(n << 20).takes(loaded.inbox.len().min(1)).direct(raised(n)).direct(sent_by("s", 1, n));
    turn.append(events(n * 100..n * 100 + 60)).custom_status(large(3_000, n)).build_commit()
}

async fn prepared(bad: &Bad) {
    created(&bad.direct, start("a", 1)).await;
    deliver(&bad.direct, "a", raised(900)).await;
}

/// What stands there after exactly the commits with these numbers.
async fn expect_turns(bad: &Bad, turns: &[u64], case: &str) {
    let loaded = load(&bad.direct, "a").await;
    assert_eq!(loaded.header.revision, 1 + turns.len() as u64, "{case}");
    assert_eq!(loaded.events, turns.iter().flat_map(|n| events(n * 100..n * 100 + 60)).collect::<Vec<_>>(), "{case}");
    assert_eq!(loaded.inbox.len(), usize::from(turns.is_empty()), "{case}");
    assert_eq!(loaded.custom_status, turns.last().map(|n| large(3_000, *n)), "{case}");
}

/// Whatever becomes of a commit's one write, it is applied once or not at all; which of both is told, or can be found out by the commit id.
#[test]
fn a_commit_is_applied_once_or_not_at_all() {
    Local::get().run(async {
        for (fate, told, landed) in [
            (Fate::LoseAnswer, false, true),
            (Fate::Cut, false, false),
            (Fate::ServerError, false, false),
            (Fate::Throttle, true, true),
            (Fate::Twice, true, true),
        ] {
            let (bad, case) = (bad(PATIENCE).await, format!("{fate:?}"));
            prepared(&bad).await;
            let commit = a_turn(&bad.store, 1).await;
            bad.proxy.follow(Plan::nth_of("UpdateItem", 0, fate));
            let outcome = bad.store.commit(commit.clone()).await;
            assert_eq!(matches!(outcome, CommitOutcome::Committed(_)), told, "{case}: {outcome:?}");
            assert!(told || is_unknown(&outcome), "{case}: {outcome:?}");
            expect_turns(&bad, if landed { &[1] } else { &[] }, &case).await;
            // What a driver does that cannot tell: it looks, or asks again.
            match bad.store.commit(commit.clone()).await {
                CommitOutcome::Lost(Some(winner)) => assert!(landed && winner.header.commit_id == commit.header.commit_id, "{case}"),
                CommitOutcome::Committed(_) => assert!(!landed, "{case}"),
                other => panic!("{case}: {other:?}"),
            }
            expect_turns(&bad, &[1], &case).await;
            bad.proxy.deliver_late().await.unwrap();
            expect_turns(&bad, &[1], &case).await;
            // And it goes on.
            let next = a_turn(&bad.store, 2).await;
            assert!(matches!(bad.store.commit(next).await, CommitOutcome::Committed(_)), "{case}");
            expect_turns(&bad, &[1, 2], &case).await;
        }
    });
}

/// A commit that comes late, when its driver has long given up, lands only if nobody has committed meanwhile.
#[test]
fn a_late_commit_never_lands_on_top_of_another() {
    Local::get().run(async {
        let bad = bad(PATIENCE).await;
        prepared(&bad).await;
        let commit = a_turn(&bad.store, 1).await;
        bad.proxy.follow(Plan::nth_of("UpdateItem", 0, Fate::Late));
        assert!(is_unknown(&bad.store.commit(commit.clone()).await));
        let rival = a_turn(&bad.direct, 2).await;
        assert!(matches!(bad.direct.commit(rival).await, CommitOutcome::Committed(_)));
        assert_eq!(bad.proxy.deliver_late().await.unwrap(), 1);
        expect_turns(&bad, &[2], "a rival was first").await;
        // Its own message was not consumed, and its sender's number was not noted.
        assert_eq!(deliver(&bad.store, "a", raised(1)).await, Delivered::Delivered);

        let commit = a_turn(&bad.store, 3).await;
        bad.proxy.follow(Plan::nth_of("UpdateItem", 0, Fate::Late));
        assert!(is_unknown(&bad.store.commit(commit.clone()).await));
        assert_eq!(bad.proxy.deliver_late().await.unwrap(), 1);
        let CommitOutcome::Lost(Some(winner)) = bad.store.commit(commit.clone()).await else { panic!("the repeat should have lost") };
        assert_eq!(winner.header.commit_id, commit.header.commit_id, "it has landed after all");
        expect_turns(&bad, &[2, 3], "nobody was first").await;
    });
}

/// Trouble with the rows that stand before a commit is repeated or reported; it is never half a commit.
#[test]
fn rows_before_a_commit_are_all_there_or_the_commit_is_not_made() {
    Local::get().run(async {
        for fate in [Fate::LoseAnswer, Fate::Cut, Fate::ServerError, Fate::Throttle, Fate::Twice] {
            let bad = bad(PATIENCE).await;
            prepared(&bad).await;
            let commit = a_turn(&bad.store, 1).await;
            bad.proxy.follow(Plan::nth_of("BatchWriteItem", 0, fate));
            assert!(matches!(bad.store.commit(commit).await, CommitOutcome::Committed(_)), "{fate:?}");
            bad.proxy.deliver_late().await.unwrap();
            expect_turns(&bad, &[1], &format!("{fate:?}")).await;
        }
        let bad = bad(Duration::from_millis(300)).await;
        prepared(&bad).await;
        let commit = a_turn(&bad.direct, 1).await;
        bad.proxy.follow(Plan::by(|call| if call.action == "BatchWriteItem" { Fate::Throttle } else { Fate::Pass }));
        let outcome = bad.store.commit(Commit { token: durable::ports::Token::default(), ..commit }).await;
        assert!(matches!(&outcome, CommitOutcome::Failed(StoreError::Unavailable(why)) if why.contains("in time")), "{outcome:?}");
        expect_turns(&bad, &[], "rows could not be written").await;
    });
}

/// Whatever becomes of a start's one write, it is repeated until it is known, and is one start.
#[test]
fn a_start_is_stored_once() {
    Local::get().run(async {
        for fate in [Fate::LoseAnswer, Fate::Cut, Fate::Late, Fate::ServerError, Fate::Throttle, Fate::Twice] {
            let (bad, case) = (bad(PATIENCE).await, format!("{fate:?}"));
            bad.proxy.follow(Plan::nth_of("PutItem", 0, fate));
            let create = Create { input: large(3_000, 1), append: events(0..200), ..start("a", 1) };
            let create = Create { header: durable::header::Header { events: 200, ..create.header.clone() }, ..create };
            let told = bad.store.create(create.clone()).await;
            assert!(matches!(told, Ok(Created::Created(_))), "{case}: {told:?}");
            let again = bad.store.create(create.clone()).await.unwrap();
            assert!(matches!(again, Created::Exists(_)), "{case}");
            let loaded = load(&bad.store, "a").await;
            let commit = Turn::on("a", &loaded).append(events(200..201)).build_commit();
            assert!(matches!(bad.store.commit(commit).await, CommitOutcome::Committed(_)), "{case}");
            bad.proxy.deliver_late().await.unwrap();
            let loaded = load(&bad.direct, "a").await;
            assert_eq!((loaded.header.revision, loaded.events), (2, events(0..201)), "{case}");
            assert!(loaded.input == large(3_000, 1), "{case}");
            // A late start does not undo the next life either.
            let next = Create { policy: ReusePolicy::ReplaceAny, ..start("a", 2) };
            created(&bad.direct, next).await;
            bad.proxy.follow(Plan::nth_of("PutItem", 0, Fate::Twice));
            refused(&bad.store, start("a", 3)).await;
            bad.proxy.deliver_late().await.unwrap();
            assert_eq!(load(&bad.direct, "a").await.header, pending(2), "{case}");
        }
    });
}

/// A start in the place of an ended life, whose second write gets lost or comes twice.
#[test]
fn a_start_over_an_ended_life_is_stored_once() {
    Local::get().run(async {
        for fate in [Fate::LoseAnswer, Fate::Cut, Fate::Late, Fate::ServerError, Fate::Throttle, Fate::Twice] {
            let (bad, case) = (bad(PATIENCE).await, format!("{fate:?}"));
            created(&bad.direct, start("a", 1)).await;
            Turn::on("a", &load(&bad.direct, "a").await).append(events(0..200)).completes(text("1")).lands(&bad.direct).await;
            bad.proxy.follow(Plan::nth_of("PutItem", 1, fate));
            let told = bad.store.create(start("a", 2)).await;
            assert!(matches!(told, Ok(Created::Created(_))), "{case}: {told:?}");
            assert!(matches!(bad.store.create(start("a", 2)).await, Ok(Created::Exists(_))), "{case}");
            Turn::on("a", &load(&bad.store, "a").await).append(events(7..9)).lands(&bad.store).await;
            bad.proxy.deliver_late().await.unwrap();
            let loaded = load(&bad.direct, "a").await;
            assert_eq!((loaded.header.incarnation, loaded.header.revision, loaded.events), (life(2), 2, events(7..9)), "{case}");
        }
    });
}

/// Every kind of message: small, large, keyed, keyed and large, of a known sender, of one sender too many.
fn messages() -> Vec<(&'static str, &'static str, Message)> {
    vec![
        ("small", "UpdateItem", raised(1)),
        ("large", "UpdateItem", raised_with(1, large(400_000, 1))),
        ("keyed", "TransactWriteItems", Message { keyed: true, ..raised(1) }),
        ("keyed and large", "TransactWriteItems", Message { keyed: true, ..raised_with(1, large(5_000, 1)) }),
        ("of a sender", "UpdateItem", sent_by("s", 1, 4)),
        ("of one sender too many", "TransactWriteItems", sent_by("t", 1, 4)),
    ]
}

/// Whatever becomes of a delivery's write, a repeat makes it one message, before it is taken and after.
#[test]
fn a_message_is_taken_in_once() {
    Local::get().run(async {
        for (kind, action, message) in messages() {
            for fate in [Fate::LoseAnswer, Fate::Cut, Fate::Late, Fate::ServerError, Fate::Throttle, Fate::Twice] {
                let (bad, case) = (bad(PATIENCE).await, format!("{kind}, {fate:?}"));
                created(&bad.direct, start("a", 1)).await;
                if kind == "of one sender too many" {
                    let turn = (0..32).fold(Turn::on("a", &load(&bad.direct, "a").await), |turn, n| turn.direct(sent_by(&format!("s{n}"), 1, 1)));
                    turn.lands(&bad.direct).await;
                }
                bad.proxy.follow(Plan::nth_of(action, 0, fate));
                let told = bad.store.deliver(&id("a"), None, message.clone()).await;
                assert_eq!(told.is_ok(), matches!(fate, Fate::Throttle | Fate::Twice), "{case}: {told:?}");
                let again = bad.store.deliver(&id("a"), None, message.clone()).await.unwrap();
                let was_lost = matches!(fate, Fate::Cut | Fate::Late | Fate::ServerError);
                assert_eq!(again, if was_lost { Delivered::Delivered } else { Delivered::Duplicate }, "{case}");
                let loaded = load(&bad.direct, "a").await;
                assert!(loaded.inbox == [message.clone()], "{case}");
                bad.proxy.deliver_late().await.unwrap();
                assert_eq!(load(&bad.direct, "a").await.inbox.len(), 1, "{case}: it came late while it stood there");
                Turn::on("a", &load(&bad.direct, "a").await).takes_all().lands(&bad.direct).await;
                bad.proxy.follow(Plan::nth_of(action, 0, Fate::Twice));
                assert_eq!(bad.store.deliver(&id("a"), None, message.clone()).await.unwrap(), Delivered::Duplicate, "{case}");
                bad.proxy.deliver_late().await.unwrap();
                assert_eq!(load(&bad.direct, "a").await.inbox.len(), 0, "{case}: it came late after it was taken");
            }
        }
    });
}

/// A large message whose append was refused, and comes late once there is room, is whole.
#[test]
fn a_refused_message_that_comes_late_is_whole() {
    Local::get().run(async {
        let bad = bad(PATIENCE).await;
        created(&bad.direct, start("a", 1)).await;
        let message = raised_with(1, large(400_000, 1));
        bad.proxy.follow(Plan::nth_of("UpdateItem", 0, Fate::Late));
        assert!(bad.store.deliver(&id("a"), Some(life(1)), message.clone()).await.is_err());
        Turn::on("a", &load(&bad.direct, "a").await).with(|h| h.status = durable::header::RuntimeStatus::Failed).lands(&bad.direct).await;
        assert_eq!(bad.store.deliver(&id("a"), Some(life(1)), message.clone()).await.unwrap(), Delivered::Finished);
        // It is rewound.
        Turn::on("a", &load(&bad.direct, "a").await).with(|h| h.status = durable::header::RuntimeStatus::Running).lands(&bad.direct).await;
        assert_eq!(bad.proxy.deliver_late().await.unwrap(), 1);
        assert!(load(&bad.direct, "a").await.inbox == [message]);
    });
}

/// Whatever becomes of a purge's writes, it can be repeated, and a late one does no harm to the next life.
#[test]
fn a_purge_can_be_repeated_and_never_meets_the_next_life() {
    Local::get().run(async {
        for action in ["UpdateItem", "BatchWriteItem", "DeleteItem"] {
            for fate in [Fate::LoseAnswer, Fate::Cut, Fate::Late, Fate::ServerError, Fate::Throttle, Fate::Twice] {
                let (bad, case) = (bad(PATIENCE).await, format!("{action}, {fate:?}"));
                let end = async |n| {
                    created(&bad.direct, start("a", n)).await;
                    Turn::on("a", &load(&bad.direct, "a").await).append(events(0..300)).completes(large(2_000, n)).lands(&bad.direct).await;
                };
                end(1).await;
                bad.proxy.follow(Plan::nth_of(action, 0, fate));
                let told = bad.store.purge_begin(&id("a")).await;
                assert!(told.is_ok() || action == "UpdateItem", "{case}: {told:?}");
                let again = purged(&bad.store, "a").await;
                assert!(matches!(again, Purge::Done | Purge::NotFound), "{case}: {again:?}");
                assert!(bad.direct.load(&id("a"), None).await.unwrap().is_none(), "{case}");
                end(2).await;
                bad.proxy.deliver_late().await.unwrap();
                let loaded = load(&bad.direct, "a").await;
                assert!(loaded.events == events(0..300) && loaded.output == Some(large(2_000, 2)), "{case}");
            }
        }
    });
}

/// Reads are repeated until the patience is over, and then say so.
#[test]
fn reads_are_repeated() {
    Local::get().run(async {
        let bad = bad(PATIENCE).await;
        prepared(&bad).await;
        let mut n = 0;
        bad.proxy.follow(Plan::by(move |_| {
            n += 1;
            [Fate::Cut, Fate::ServerError, Fate::Throttle, Fate::LoseAnswer, Fate::Pass][n % 5]
        }));
        let loaded = load(&bad.store, "a").await;
        assert_eq!((loaded.header.revision, loaded.inbox.len()), (1, 1));
        assert!(bad.store.status(&id("a")).await.unwrap().is_some());
        assert_eq!(bad.store.list(durable::ports::ListQuery::default(), None).await.unwrap().items.len(), 1);

        bad.proxy.follow(Plan::by(|_| Fate::Throttle));
        let hurried = bad.store.with_deadline(std::time::Instant::now() + Duration::from_millis(200));
        let error = hurried.load(&id("a"), None).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable(why) if why.contains("Throughput")), "{error}");
        let before = bad.proxy.calls().len();
        assert!(hurried.with_deadline(std::time::Instant::now()).load(&id("a"), None).await.is_err());
        assert_eq!(bad.proxy.calls().len(), before, "no call starts after the deadline");
    });
}

/// A table that is not there is told in one sentence.
#[test]
fn a_missing_table_is_named() {
    let local = Local::get();
    let store = Local::store(&Local::client(local.address()), "no-such-table", "hub");
    local.run(async {
        let error = store.load(&id("a"), None).await.unwrap_err().to_string();
        assert!(error.contains("no-such-table") && error.contains("DURABLE_TABLE"), "{error}");
        let error = store.create(start("a", 1)).await.unwrap_err().to_string();
        assert!(error.contains("no-such-table"), "{error}");
    });
}

/// What the policy does not allow is named, is not repeated, and counts as not done.
#[test]
fn a_missing_permission_is_named() {
    Local::get().run(async {
        let bad = bad(PATIENCE).await;
        prepared(&bad).await;
        let commit = a_turn(&bad.direct, 1).await;
        bad.proxy.follow(Plan::by(|call| if call.action == "UpdateItem" { Fate::Deny } else { Fate::Pass }));
        let outcome = bad.store.commit(Commit { token: durable::ports::Token::default(), ..commit }).await;
        assert!(matches!(&outcome, CommitOutcome::Failed(StoreError::Unavailable(why)) if why.contains("dynamodb:UpdateItem")), "{outcome:?}");
        assert!(bad.store.deliver(&id("a"), None, raised(1)).await.unwrap_err().to_string().contains("dynamodb:UpdateItem"));
        assert_eq!(bad.proxy.calls().iter().filter(|call| call.action == "UpdateItem").count(), 2);
        expect_turns(&bad, &[], "denied").await;
    });
}

/// Senders and a driver on a network that loses, delays and repeats: each message that was acknowledged is taken exactly once, in order of its
/// sender, and no message twice.
#[test]
fn every_acknowledged_message_is_taken_exactly_once() {
    for seed in 1..=3 {
        Local::get().run(async {
            let bad = bad(PATIENCE).await;
            exactly_once(&bad.store, &bad.direct, &bad.proxy, seed).await;
        });
    }
}

/// A message that is acknowledged while its instance ends is told of.
#[test]
fn no_message_is_lost_to_the_end_of_its_instance() {
    Local::get().run(the_last_commit_tells_of_every_message(&Local::get().fresh()));
}
