//! Bad days between the store and its table: see [`crate::stores::faults`]; here is what only this store can meet.

use std::time::{Duration, Instant};

use durable::header::RuntimeStatus;
use durable::message::Message;
use durable::ports::{Delivered, Store};
use durable_aws::store::{DynamoStore, Options};
use durable_tests::build::*;
use durable_tests::dynamodb::Local;
use durable_tests::proxy::{Dialect, Fate, Plan, Proxy};

use crate::stores::bad::{Bad, Cloud, ONE_SENDER_TOO_MANY, PATIENCE, Request};
use crate::stores::faults::bad_days;

bad_days!(Local);

impl Cloud for Local {
    type Store = DynamoStore;

    const COMMIT: &'static str = "UpdateItem";
    const CREATE: &'static str = "PutItem";
    const BESIDE: usize = 3_000;
    /// Whatever stands in rows is written before the item.
    const BEFORE: usize = 3_000;
    const ROWS: Request = ("BatchWriteItem", 0);
    const ROWS_BY_CREATE: u64 = 0;
    const EVENTS: u64 = 60;
    const SENDERS: u64 = 32;
    /// The mark, the rows, the item.
    const PURGE: &'static [Request] = &[("UpdateItem", 0), ("BatchWriteItem", 0), ("DeleteItem", 0)];
    const BUSY: &'static str = "Throughput";
    const DENIED: [&'static str; 2] = ["dynamodb:UpdateItem", "dynamodb:UpdateItem"];

    fn messages() -> Vec<(&'static str, Request, Message)> {
        let (update, transact) = (("UpdateItem", 0), ("TransactWriteItems", 0));
        vec![
            ("small", update, raised(1)),
            ("large", update, raised_with(1, large(400_000, 1))),
            ("keyed", transact, Message { keyed: true, ..raised(1) }),
            ("keyed and large", transact, Message { keyed: true, ..raised_with(1, large(5_000, 1)) }),
            ("of a sender", update, sent_by("s", 1, 4)),
            (ONE_SENDER_TOO_MANY, transact, sent_by("t", 1, 4)),
        ]
    }

    async fn bad(patience: Duration) -> Bad<Self> {
        let local = Self::get();
        let table = local.table();
        let proxy = Proxy::before(local.address(), Dialect::DYNAMO_DB, Plan::none()).await.unwrap();
        let options = Options { patience, attempt: Duration::from_secs(30), ..Options::new(&table, "hub") };
        let store = DynamoStore::new(&Self::client(&proxy.address()), options).unwrap();
        Bad { store, direct: Self::store(&Self::client(local.address()), &table, "hub"), proxy }
    }

    fn until(store: &DynamoStore, deadline: Instant) -> DynamoStore {
        store.with_deadline(deadline)
    }

    fn run<T>(story: impl Future<Output = T>) -> T {
        Self::get().run(story)
    }
}

/// A large message whose append was refused, and comes late once there is room, is whole.
#[test]
fn a_refused_message_that_comes_late_is_whole() {
    Local::get().run(async {
        let bad = Local::bad(PATIENCE).await;
        created(&bad.direct, start("a", 1)).await;
        let message = raised_with(1, large(400_000, 1));
        bad.proxy.follow(Plan::nth_of("UpdateItem", 0, Fate::Late));
        assert!(bad.store.deliver(&id("a"), Some(life(1)), message.clone()).await.is_err());
        Turn::on("a", &load(&bad.direct, "a").await).with(|h| h.status = RuntimeStatus::Failed).lands(&bad.direct).await;
        assert_eq!(bad.store.deliver(&id("a"), Some(life(1)), message.clone()).await.unwrap(), Delivered::Finished);
        // It is rewound.
        Turn::on("a", &load(&bad.direct, "a").await).with(|h| h.status = RuntimeStatus::Running).lands(&bad.direct).await;
        assert_eq!(bad.proxy.deliver_late().await.unwrap(), 1);
        assert!(load(&bad.direct, "a").await.inbox == [message]);
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
