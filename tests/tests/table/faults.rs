//! Bad days between the store and its table: answers that get lost, requests that come late or twice, servers that are busy. Nothing is
//! applied twice, nothing that was acknowledged is lost, and what cannot be told is settled by ids.

use std::time::{Duration, Instant};

use durable::header::{Header, RuntimeStatus};
use durable::message::Message;
use durable::ports::{Commit, CommitOutcome, Create, Created, Delivered, ListQuery, Purge, ReusePolicy, Store, StoreError, Token};
use durable_azure::store::{Options, TableStore};
use durable_tests::azurite::Azurite;
use durable_tests::build::*;
use durable_tests::proxy::{Dialect, Fate, Plan, Proxy};

use crate::stores::network::{exactly_once, the_last_commit_tells_of_every_message};

/// Bytes of which rows must stand before a transaction: five rows, in two requests.
const HUGE: usize = 4_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of a request, and whether it was carried out and told.
const FATES: [(Fate, bool, bool); 8] = [
    (Fate::LoseAnswer, true, false),
    (Fate::BreakAnswer, true, false),
    (Fate::DoneButError, true, false),
    (Fate::Cut, false, false),
    (Fate::Late, false, false),
    (Fate::ServerError, false, false),
    (Fate::Throttle, true, true),
    (Fate::Twice, true, true),
];

/// A store behind a proxy, and the same table without one.
struct Bad {
    store: TableStore,
    direct: TableStore,
    proxy: Proxy,
}

async fn bad(patience: Duration) -> Bad {
    let (azurite, hub) = (Azurite::get(), Azurite::hub());
    let proxy = Proxy::before(&azurite.address("table"), Dialect::AZURE_TABLES, Plan::none()).await.unwrap();
    let direct = Azurite::store(azurite.storage(None), &hub);
    direct.create_table().await.unwrap();
    let store = TableStore::new(azurite.storage(Some(&proxy.address())), Options { patience, ..Options::new(&hub) }).unwrap();
    Bad { store, direct, proxy }
}

fn is_unknown(outcome: &CommitOutcome) -> bool {
    matches!(outcome, CommitOutcome::Unknown(StoreError::Unavailable(_)))
}

/// A commit with a chunk, something in a row of its own, a message from the inbox and one that comes with it.
async fn a_turn(store: &TableStore, n: u64) -> Commit {
    let loaded = load(store, "a").await;
    let turn = Turn::on("a", &loaded).named(n << 20).takes(loaded.inbox.len().min(1)).direct(raised(n)).direct(sent_by("s", 1, n));
    turn.append(events(n * 3000..n * 3000 + 2500)).custom_status(large(70_000, n)).build_commit()
}

async fn prepared(bad: &Bad) {
    created(&bad.direct, start("a", 1)).await;
    deliver(&bad.direct, "a", raised(900)).await;
}

/// What stands there after exactly the commits with these numbers.
async fn expect_turns(bad: &Bad, turns: &[u64], case: &str) {
    let loaded = load(&bad.direct, "a").await;
    assert_eq!(loaded.header.revision, 1 + turns.len() as u64, "{case}");
    assert!(loaded.events == turns.iter().flat_map(|n| events(n * 3000..n * 3000 + 2500)).collect::<Vec<_>>(), "{case}");
    assert_eq!(loaded.inbox.len(), usize::from(turns.is_empty()), "{case}");
    assert!(loaded.custom_status == turns.last().map(|n| large(70_000, *n)), "{case}");
}

/// Whatever becomes of a commit's one transaction, it is applied once or not at all; which of both is told, or can be found out by the commit id.
#[test]
fn a_commit_is_applied_once_or_not_at_all() {
    Azurite::get().run(async {
        for (fate, landed, told) in FATES {
            let (bad, case) = (bad(PATIENCE).await, format!("{fate:?}"));
            prepared(&bad).await;
            let commit = a_turn(&bad.store, 1).await;
            bad.proxy.follow(Plan::nth_of("Transaction", 0, fate));
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
    Azurite::get().run(async {
        let bad = bad(PATIENCE).await;
        prepared(&bad).await;
        let commit = a_turn(&bad.store, 1).await;
        bad.proxy.follow(Plan::nth_of("Transaction", 0, Fate::Late));
        assert!(is_unknown(&bad.store.commit(commit.clone()).await));
        let rival = a_turn(&bad.direct, 2).await;
        assert!(matches!(bad.direct.commit(rival).await, CommitOutcome::Committed(_)));
        assert_eq!(bad.proxy.deliver_late().await.unwrap(), 1);
        expect_turns(&bad, &[2], "a rival was first").await;
        // Its own message was not consumed, and its sender's number was not noted.
        assert_eq!(deliver(&bad.store, "a", raised(1)).await, Delivered::Delivered);

        let commit = a_turn(&bad.store, 3).await;
        bad.proxy.follow(Plan::nth_of("Transaction", 0, Fate::Late));
        assert!(is_unknown(&bad.store.commit(commit.clone()).await));
        assert_eq!(bad.proxy.deliver_late().await.unwrap(), 1);
        let CommitOutcome::Lost(Some(winner)) = bad.store.commit(commit.clone()).await else { panic!("the repeat should have lost") };
        assert_eq!(winner.header.commit_id, commit.header.commit_id, "it has landed after all");
        expect_turns(&bad, &[2, 3], "nobody was first").await;
    });
}

/// A message that comes while a turn is committed is told of, whatever becomes of the second try or of the look behind it.
#[test]
fn a_commit_that_meets_a_message_is_applied_once() {
    Azurite::get().run(async {
        for (action, nth) in [("Transaction", 0), ("Transaction", 1), ("Query", 0)] {
            for (fate, landed, told) in FATES {
                let (bad, case) = (bad(PATIENCE).await, format!("{action} {nth}, {fate:?}"));
                prepared(&bad).await;
                let commit = a_turn(&bad.store, 1).await;
                deliver(&bad.direct, "a", raised(901)).await;
                bad.proxy.follow(Plan::nth_of(action, nth, fate));
                let outcome = bad.store.commit(commit.clone()).await;
                // The first try is refused, whatever is told of it; a look may be repeated.
                let told = told || action == "Query";
                let landed = if (action, nth) == ("Transaction", 0) { told } else { landed || action == "Query" };
                match outcome {
                    CommitOutcome::Committed(committed) => assert!(told && committed.inbox == [raised(901)], "{case}"),
                    other => assert!(!told && is_unknown(&other), "{case}: {other:?}"),
                }
                let loaded = load(&bad.direct, "a").await;
                assert_eq!((loaded.header.revision, loaded.inbox.len()), if landed { (2, 1) } else { (1, 2) }, "{case}");
                bad.proxy.follow(Plan::none());
                drop(bad.store.commit(commit).await);
                bad.proxy.deliver_late().await.unwrap();
                let loaded = load(&bad.direct, "a").await;
                assert_eq!((loaded.header.revision, loaded.inbox), (2, vec![raised(901)]), "{case}");
            }
        }
    });
}

/// Trouble with the rows that stand before a commit is repeated or reported; it is never half a commit.
#[test]
fn rows_before_a_commit_are_all_there_or_the_commit_is_not_made() {
    let huge = |commit: Commit| Commit { custom_status: Some(large(HUGE, 1)), ..commit };
    Azurite::get().run(async {
        for (fate, ..) in FATES {
            let bad = bad(PATIENCE).await;
            prepared(&bad).await;
            let commit = huge(a_turn(&bad.store, 1).await);
            bad.proxy.follow(Plan::nth_of("Transaction", 1, fate));
            assert!(matches!(bad.store.commit(commit).await, CommitOutcome::Committed(_)), "{fate:?}");
            bad.proxy.deliver_late().await.unwrap();
            let loaded = load(&bad.direct, "a").await;
            assert!(loaded.custom_status == Some(large(HUGE, 1)) && loaded.header.revision == 2, "{fate:?}");
        }
        let bad = bad(Duration::from_millis(300)).await;
        prepared(&bad).await;
        let commit = huge(a_turn(&bad.direct, 1).await);
        bad.proxy.follow(Plan::by(|call| if call.action == "Transaction" { Fate::Throttle } else { Fate::Pass }));
        let outcome = bad.store.commit(Commit { token: Token::default(), ..commit }).await;
        assert!(matches!(&outcome, CommitOutcome::Failed(StoreError::Unavailable(why)) if why.contains("in time")), "{outcome:?}");
        expect_turns(&bad, &[], "rows could not be written").await;
    });
}

/// Whatever becomes of a start's transaction, a repeat makes it one start.
#[test]
fn a_start_is_stored_once() {
    Azurite::get().run(async {
        for (fate, landed, told) in FATES {
            let (bad, case) = (bad(PATIENCE).await, format!("{fate:?}"));
            bad.proxy.follow(Plan::nth_of("Transaction", 0, fate));
            let create = Create { input: large(70_000, 1), append: events(0..200), ..start("a", 1) };
            let create = Create { header: Header { events: 200, ..create.header.clone() }, ..create };
            let answer = bad.store.create(create.clone()).await;
            assert_eq!(answer.is_ok(), told, "{case}: {answer:?}");
            let again = bad.store.create(create.clone()).await.unwrap();
            assert_eq!(matches!(again, Created::Created(_)), !landed, "{case}");
            let loaded = load(&bad.store, "a").await;
            let commit = Turn::on("a", &loaded).append(events(200..201)).build_commit();
            assert!(matches!(bad.store.commit(commit).await, CommitOutcome::Committed(_)), "{case}");
            bad.proxy.deliver_late().await.unwrap();
            let loaded = load(&bad.direct, "a").await;
            assert_eq!((loaded.header.revision, loaded.events), (2, events(0..201)), "{case}");
            assert!(loaded.input == large(70_000, 1), "{case}");
            // A late start does not undo the next life either.
            let next = Create { policy: ReusePolicy::ReplaceAny, ..start("a", 2) };
            created(&bad.direct, next).await;
            bad.proxy.follow(Plan::nth_of("Transaction", 0, Fate::Twice));
            refused(&bad.store, start("a", 3)).await;
            bad.proxy.deliver_late().await.unwrap();
            assert_eq!(load(&bad.direct, "a").await.header, pending(2), "{case}");
            assert_eq!(bad.direct.list(ListQuery::default(), None).await.unwrap().items.len(), 1, "{case}");
        }
    });
}

/// The entry of the index is written before the start, however often that takes.
#[test]
fn no_start_is_missing_in_a_listing() {
    Azurite::get().run(async {
        for (fate, ..) in FATES {
            let bad = bad(PATIENCE).await;
            bad.proxy.follow(Plan::nth_of("Put", 0, fate));
            created(&bad.store, start("a", 1)).await;
            bad.proxy.deliver_late().await.unwrap();
            assert_eq!(bad.direct.list(ListQuery::default(), None).await.unwrap().items.len(), 1, "{fate:?}");
        }
    });
}

/// A start in the place of an ended life, whose second transaction gets lost or comes twice.
#[test]
fn a_start_over_an_ended_life_is_stored_once() {
    Azurite::get().run(async {
        for (fate, _, told) in FATES {
            let (bad, case) = (bad(PATIENCE).await, format!("{fate:?}"));
            created(&bad.direct, start("a", 1)).await;
            Turn::on("a", &load(&bad.direct, "a").await).append(events(0..200)).completes(text("1")).lands(&bad.direct).await;
            bad.proxy.follow(Plan::nth_of("Transaction", 1, fate));
            let answer = bad.store.create(start("a", 2)).await;
            assert_eq!(answer.is_ok(), told, "{case}: {answer:?}");
            bad.store.create(start("a", 2)).await.unwrap();
            Turn::on("a", &load(&bad.store, "a").await).append(events(7..9)).lands(&bad.store).await;
            bad.proxy.deliver_late().await.unwrap();
            let loaded = load(&bad.direct, "a").await;
            assert_eq!((loaded.header.incarnation, loaded.header.revision, loaded.events), (life(2), 2, events(7..9)), "{case}");
            assert_eq!(bad.direct.list(ListQuery::default(), None).await.unwrap().items.len(), 1, "{case}");
        }
    });
}

/// Every kind of message: small, large, huge, keyed, of a known sender, of one sender too many; and which of the transactions stores it.
fn messages() -> Vec<(&'static str, u64, Message)> {
    vec![
        ("small", 0, raised(1)),
        ("large", 0, raised_with(1, large(400_000, 1))),
        ("huge", 2, raised_with(1, large(HUGE, 1))),
        ("keyed", 0, Message { keyed: true, ..raised(1) }),
        ("keyed and large", 0, Message { keyed: true, ..raised_with(1, large(70_000, 1)) }),
        ("of a sender", 0, sent_by("s", 1, 4)),
        ("of one sender too many", 0, sent_by("t", 1, 4)),
    ]
}

/// Whatever becomes of a delivery's transaction, a repeat makes it one message, before it is taken and after.
#[test]
fn a_message_is_taken_in_once() {
    Azurite::get().run(async {
        for (kind, nth, message) in messages() {
            for (fate, landed, told) in FATES {
                let (bad, case) = (bad(PATIENCE).await, format!("{kind}, {fate:?}"));
                created(&bad.direct, start("a", 1)).await;
                if kind == "of one sender too many" {
                    let turn = (0..64).fold(Turn::on("a", &load(&bad.direct, "a").await), |turn, n| turn.direct(sent_by(&format!("s{n}"), 1, 1)));
                    turn.lands(&bad.direct).await;
                }
                bad.proxy.follow(Plan::nth_of("Transaction", nth, fate));
                let answer = bad.store.deliver(&id("a"), None, message.clone()).await;
                assert_eq!(answer.is_ok(), told, "{case}: {answer:?}");
                let again = bad.store.deliver(&id("a"), None, message.clone()).await.unwrap();
                assert_eq!(again, if landed { Delivered::Duplicate } else { Delivered::Delivered }, "{case}");
                let loaded = load(&bad.direct, "a").await;
                assert!(loaded.inbox == [message.clone()], "{case}");
                bad.proxy.deliver_late().await.unwrap();
                assert_eq!(load(&bad.direct, "a").await.inbox.len(), 1, "{case}: it came late while it stood there");
                // One that was on its way when the message was taken.
                bad.proxy.follow(Plan::none());
                Turn::on("a", &load(&bad.direct, "a").await).takes_all().lands(&bad.direct).await;
                assert_eq!(bad.store.deliver(&id("a"), None, message.clone()).await.unwrap(), Delivered::Duplicate, "{case}");
                assert_eq!(load(&bad.direct, "a").await.inbox.len(), 0, "{case}: it came again after it was taken");
            }
        }
    });
}

/// A delivery that lingers on its way until its message was taken, its instance has ended, was rewound, or lives again, changes nothing.
#[test]
fn a_delivery_that_comes_late_meets_no_gate() {
    Azurite::get().run(async {
        for message in [raised(1), Message { keyed: true, ..raised(1) }, sent_by("s", 1, 1)] {
            let bad = bad(PATIENCE).await;
            created(&bad.direct, start("a", 1)).await;
            bad.proxy.follow(Plan::nth_of("Transaction", 0, Fate::Late));
            assert!(bad.store.deliver(&id("a"), Some(life(1)), message.clone()).await.is_err());
            assert_eq!(bad.store.deliver(&id("a"), Some(life(1)), message.clone()).await.unwrap(), Delivered::Delivered);
            Turn::on("a", &load(&bad.direct, "a").await).takes_all().with(|h| h.ring.clear()).lands(&bad.direct).await;
            assert_eq!(bad.proxy.deliver_late().await.unwrap(), 1);
            assert_eq!(load(&bad.direct, "a").await.inbox, [], "it was taken");

            bad.proxy.follow(Plan::nth_of("Transaction", 0, Fate::Late));
            assert!(bad.store.deliver(&id("a"), None, raised(2)).await.is_err());
            Turn::on("a", &load(&bad.direct, "a").await).with(|h| h.status = RuntimeStatus::Failed).lands(&bad.direct).await;
            assert_eq!(bad.store.deliver(&id("a"), None, raised(2)).await.unwrap(), Delivered::Finished);
            // It is rewound.
            Turn::on("a", &load(&bad.direct, "a").await).with(|h| h.status = RuntimeStatus::Running).lands(&bad.direct).await;
            assert_eq!(bad.proxy.deliver_late().await.unwrap(), 1);
            assert_eq!(load(&bad.direct, "a").await.inbox, [], "its sender was told that it is too late");

            bad.proxy.follow(Plan::nth_of("Transaction", 0, Fate::Late));
            assert!(bad.store.deliver(&id("a"), None, raised(3)).await.is_err());
            created(&bad.direct, Create { policy: ReusePolicy::ReplaceAny, ..start("a", 2) }).await;
            assert_eq!(bad.proxy.deliver_late().await.unwrap(), 1);
            assert_eq!(load(&bad.direct, "a").await.inbox, [], "it was for the life before");
        }
    });
}

/// Whatever becomes of a purge's requests, it can be repeated, and a late one does no harm to the next life.
#[test]
fn a_purge_can_be_repeated_and_never_meets_the_next_life() {
    Azurite::get().run(async {
        // The mark, the rows, the entry, the header.
        for (action, nth) in [("Merge", 0), ("Transaction", 0), ("Delete", 0), ("Delete", 1)] {
            for (fate, ..) in FATES {
                let (bad, case) = (bad(PATIENCE).await, format!("{action} {nth}, {fate:?}"));
                let end = async |n| {
                    created(&bad.direct, start("a", n)).await;
                    let turn = Turn::on("a", &load(&bad.direct, "a").await).append(events(0..300)).custom_status(large(70_000, n));
                    turn.completes(large(80_000, n)).lands(&bad.direct).await;
                };
                end(1).await;
                bad.proxy.follow(Plan::nth_of(action, nth, fate));
                let told = bad.store.purge_begin(&id("a")).await;
                assert!(told.is_ok() || action == "Merge", "{case}: {told:?}");
                let again = purged(&bad.store, "a").await;
                assert!(matches!(again, Purge::Done | Purge::NotFound), "{case}: {again:?}");
                assert!(bad.direct.load(&id("a"), None).await.unwrap().is_none(), "{case}");
                end(2).await;
                bad.proxy.deliver_late().await.unwrap();
                let loaded = load(&bad.direct, "a").await;
                assert!(loaded.events == events(0..300) && loaded.output == Some(large(80_000, 2)), "{case}");
                assert_eq!(bad.direct.list(ListQuery::default(), None).await.unwrap().items.len(), 1, "{case}");
            }
        }
    });
}

/// Reads are repeated until the patience is over, and then say so.
#[test]
fn reads_are_repeated() {
    Azurite::get().run(async {
        let bad = bad(PATIENCE).await;
        prepared(&bad).await;
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
        let hurried = bad.store.with_deadline(Instant::now() + Duration::from_millis(200));
        let error = hurried.load(&id("a"), None).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable(why) if why.contains("ServerBusy")), "{error}");
        let before = bad.proxy.calls().len();
        assert!(hurried.with_deadline(Instant::now()).load(&id("a"), None).await.is_err());
        assert_eq!(bad.proxy.calls().len(), before, "no call starts after the deadline");
    });
}

/// A table that is not there is told in one sentence.
#[test]
fn a_missing_table_is_named() {
    let azurite = Azurite::get();
    let store = Azurite::store(azurite.storage(None), &Azurite::hub());
    azurite.run(async {
        for error in [
            store.load(&id("a"), None).await.unwrap_err(),
            store.create(start("a", 1)).await.unwrap_err(),
            store.deliver(&id("a"), None, raised(1)).await.unwrap_err(),
            store.status(&id("a")).await.unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains(store.table_name()) && error.contains("devstoreaccount1") && error.contains("restart"), "{error}");
        }
    });
}

/// What is not allowed is named with what to do, is not repeated, and counts as not done.
#[test]
fn a_missing_permission_is_named() {
    Azurite::get().run(async {
        let bad = bad(PATIENCE).await;
        prepared(&bad).await;
        let commit = a_turn(&bad.direct, 1).await;
        bad.proxy.follow(Plan::by(|call| if call.action == "Transaction" { Fate::Deny } else { Fate::Pass }));
        let outcome = bad.store.commit(Commit { token: Token::default(), ..commit }).await;
        assert!(matches!(&outcome, CommitOutcome::Failed(StoreError::Unavailable(why)) if why.contains("Storage Table Data Contributor")), "{outcome:?}");
        assert!(bad.store.deliver(&id("a"), None, raised(1)).await.unwrap_err().to_string().contains("connection string"));
        assert_eq!(bad.proxy.calls().iter().filter(|call| call.action == "Transaction").count(), 2);
        expect_turns(&bad, &[], "denied").await;
    });
}

/// Each message that was acknowledged is taken exactly once, in order, on a network that loses, delays and repeats.
#[test]
fn every_acknowledged_message_is_taken_exactly_once() {
    for seed in 1..=3 {
        Azurite::get().run(async {
            let bad = bad(PATIENCE).await;
            exactly_once(&bad.store, &bad.direct, &bad.proxy, seed).await;
        });
    }
}

/// A message that is acknowledged while its instance ends is told of.
#[test]
fn no_message_is_lost_to_the_end_of_its_instance() {
    Azurite::get().run(the_last_commit_tells_of_every_message(&Azurite::get().fresh()));
}
