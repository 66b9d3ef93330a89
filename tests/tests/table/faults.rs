//! Bad days between the store and its table: see [`crate::stores::faults`]; here is what only this store can meet.

use std::time::{Duration, Instant};

use durable::header::RuntimeStatus;
use durable::message::Message;
use durable::ports::{CommitOutcome, Create, Delivered, ReusePolicy, Store};
use durable_azure::store::{Options, TableStore};
use durable_tests::azurite::Azurite;
use durable_tests::build::*;
use durable_tests::proxy::{Dialect, Fate, Plan, Proxy};

use crate::stores::bad::{Bad, Cloud, FATES, ONE_SENDER_TOO_MANY, PATIENCE, Request, is_unknown};
use crate::stores::faults::bad_days;

bad_days!(Azurite);

impl Cloud for Azurite {
    type Store = TableStore;

    const COMMIT: &'static str = "Transaction";
    const CREATE: &'static str = "Transaction";
    const BESIDE: usize = 70_000;
    /// Five rows, in two requests.
    const BEFORE: usize = 4_000_000;
    const ROWS: Request = ("Transaction", 1);
    const ROWS_BY_CREATE: u64 = 2;
    const EVENTS: u64 = 2500;
    const SENDERS: u64 = 64;
    /// The mark, the rows, the entry, the header.
    const PURGE: &'static [Request] = &[("Merge", 0), ("Transaction", 0), ("Delete", 0), ("Delete", 1)];
    const BUSY: &'static str = "ServerBusy";
    const DENIED: [&'static str; 2] = ["Storage Table Data Contributor", "connection string"];

    fn messages() -> Vec<(&'static str, Request, Message)> {
        let first = ("Transaction", 0);
        vec![
            ("small", first, raised(1)),
            ("large", first, raised_with(1, large(400_000, 1))),
            ("huge", ("Transaction", 2), raised_with(1, large(Self::BEFORE, 1))),
            ("keyed", first, Message { keyed: true, ..raised(1) }),
            ("keyed and large", first, Message { keyed: true, ..raised_with(1, large(70_000, 1)) }),
            ("of a sender", first, sent_by("s", 1, 4)),
            (ONE_SENDER_TOO_MANY, first, sent_by("t", 1, 4)),
        ]
    }

    async fn bad(patience: Duration) -> Bad<Self> {
        let (azurite, hub) = (Self::get(), Self::hub());
        let proxy = Proxy::before(&azurite.address("table"), Dialect::AZURE_TABLES, Plan::none()).await.unwrap();
        let direct = Self::store(azurite.storage(None), &hub);
        direct.create_table().await.unwrap();
        let store = TableStore::new(azurite.storage(Some(&proxy.address())), Options { patience, ..Options::new(&hub) }).unwrap();
        Bad { store, direct, proxy }
    }

    fn until(store: &TableStore, deadline: Instant) -> TableStore {
        store.with_deadline(deadline)
    }

    fn run<T>(story: impl Future<Output = T>) -> T {
        Self::get().run(story)
    }
}

/// A message that comes while a turn is committed is told of, whatever becomes of the second try or of the look behind it.
#[test]
fn a_commit_that_meets_a_message_is_applied_once() {
    Azurite::get().run(async {
        for (action, nth) in [("Transaction", 0), ("Transaction", 1), ("Query", 0)] {
            for (fate, landed, told) in FATES {
                let (bad, case) = (Bad::<Azurite>::prepared(PATIENCE).await, format!("{action} {nth}, {fate:?}"));
                let commit = bad.turn(&bad.store, 1).await;
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

/// The entry of the index is written before the start, however often that takes.
#[test]
fn no_start_is_missing_in_a_listing() {
    Azurite::get().run(async {
        for (fate, ..) in FATES {
            let bad = Azurite::bad(PATIENCE).await;
            bad.proxy.follow(Plan::nth_of("Put", 0, fate));
            created(&bad.store, start("a", 1)).await;
            bad.proxy.deliver_late().await.unwrap();
            assert_eq!(bad.listed().await, 1, "{fate:?}");
        }
    });
}

/// A delivery that lingers on its way until its message was taken, its instance has ended, was rewound, or lives again, changes nothing.
#[test]
fn a_delivery_that_comes_late_meets_no_gate() {
    Azurite::get().run(async {
        for message in [raised(1), Message { keyed: true, ..raised(1) }, sent_by("s", 1, 1)] {
            let bad = Azurite::bad(PATIENCE).await;
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
