//! The queues and the table of far alarms, on a real service.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

use std::time::Duration;

use durable::Timestamp;
use durable::ports::StoreError;
use durable_azure::alarms::AlarmTable;
use durable_azure::queue::{BODY_BYTES, LONGEST_DELAY, Queue};
use durable_azure::table::Table;
use durable_host::queued::{FarAlarm, FarAlarms, Letter, Post, Work};
use durable_host::work::Timer;
use durable_tests::azurite::Azurite;
use durable_tests::proxy::{Dialect, Fate, Plan, Proxy};

const HELD: Duration = Duration::from_secs(30);

fn run<T>(future: impl Future<Output = T>) -> T {
    Azurite::get().run(future)
}

/// A queue that is there, and that nobody else has.
fn queue() -> Queue {
    let queue = Queue::new(Azurite::get().storage(None), format!("{}-work", Azurite::hub()));
    run(async {
        queue.create().await.unwrap();
        queue.create().await.expect("making it again changes nothing");
    });
    queue
}

#[test]
fn what_is_put_is_given_out_once_as_it_was_put() {
    let queue = queue();
    run(async {
        let body = [&b"\0\xff<>&]]>"[..], "ü\u{1}".as_bytes()].concat();
        queue.put_body(&body, Duration::ZERO).await.unwrap();
        let given = queue.get(HELD).await.unwrap();
        assert_eq!((given.len(), &given[0].body), (1, &body));
        assert!(queue.get(HELD).await.unwrap().is_empty(), "it is held");
        queue.remove(&given[0].receipt).await.unwrap();
        assert_eq!(queue.length().await.unwrap(), 0);
    });
}

#[test]
fn the_largest_message_and_the_longest_delay_are_taken() {
    let queue = queue();
    run(async {
        queue.put_body(&vec![b'x'; BODY_BYTES], Duration::ZERO).await.unwrap();
        queue.put_body(b"late", LONGEST_DELAY * 2).await.unwrap();
        assert_eq!(queue.get(HELD).await.unwrap()[0].body.len(), BODY_BYTES);
        assert_eq!(queue.length().await.unwrap(), 2);
        assert!(queue.get(HELD).await.unwrap().is_empty());
    });
}

#[test]
fn a_message_is_taken_back_before_it_is_delivered_and_not_once_somebody_was_given_it() {
    let queue = queue();
    let hour = || Letter::from(Work::Hour);
    run(async {
        let later = queue.put(hour(), HELD).await.unwrap();
        queue.take_back(later).await;
        assert_eq!(queue.length().await.unwrap(), 0);
        let now = queue.put(hour(), Duration::ZERO).await.unwrap();
        let given = queue.get(HELD).await.unwrap();
        assert_eq!(Letter::read(&given[0].body), Ok(hour()));
        queue.take_back(now.clone()).await;
        assert_eq!(queue.length().await.unwrap(), 1, "whoever has it keeps it");
        let refused = queue.remove(&now).await.unwrap_err();
        assert!(refused.refusal().is_some(), "{refused}");
    });
}

#[test]
fn a_queue_that_is_missing_says_what_to_do() {
    let queue = Queue::new(Azurite::get().storage(None), "nobody-made-this");
    let error = run(queue.put_body(b"x", Duration::ZERO)).unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("nobody-made-this") && text.contains("restart the app")), "{error}");
}

#[test]
fn a_put_is_tried_until_it_is_known_to_stand() {
    let (azurite, queue) = (Azurite::get(), queue());
    let proxy = run(Proxy::before(&azurite.address("queue"), Dialect::AZURE_TABLES, Plan::none())).unwrap();
    let through = azurite.connection_string(None).replace(&azurite.address("queue"), &proxy.address());
    let account = durable_azure::storage::Account::from_connection_string("the tests", &through).unwrap();
    let storage = durable_azure::storage::Storage::new(account, durable_azure::storage::Options::default()).unwrap();
    let flaky = Queue::new(storage, queue.name());
    let mut fates = [Fate::Throttle, Fate::ServerError, Fate::Cut, Fate::LoseAnswer].into_iter();
    proxy.follow(Plan::by(move |_| fates.next().unwrap_or(Fate::Pass)));
    run(async {
        let receipt = flaky.put_body(b"x", Duration::ZERO).await.unwrap();
        assert_eq!(queue.length().await.unwrap(), 2, "the one whose answer was lost stands too, which is harmless");
        queue.remove(&receipt).await.unwrap();
    });
}

fn alarms() -> AlarmTable {
    let table = AlarmTable::new(Table::new(Azurite::get().storage(None), format!("DurableAlarms{}", Azurite::hub())).unwrap());
    run(async {
        table.create().await.unwrap();
        table.create().await.expect("making it again changes nothing");
    });
    table
}

fn alarm(due: Timestamp, digest: u128) -> FarAlarm {
    FarAlarm { digest, timer: Timer { instance: "it's\n\"ü\"".into(), life: "00000000000000ff".into(), revision: u64::MAX, due, armed: Timestamp(1) } }
}

#[test]
fn far_alarms_come_back_as_they_were_and_go_for_good() {
    let table = alarms();
    run(async {
        let one = alarm(Timestamp(7_200_000_001), u128::MAX);
        for _ in 0..2 {
            table.put(one.clone()).await.unwrap();
        }
        assert_eq!(table.earliest(one.timer.due).await.unwrap(), std::slice::from_ref(&one));
        assert!(table.earliest(Timestamp(3_600_000_000)).await.unwrap().is_empty(), "it is not due within that hour");
        for _ in 0..2 {
            table.remove(one.timer.due, one.digest).await.unwrap();
        }
        assert!(table.earliest(Timestamp::MAX).await.unwrap().is_empty());
    });
}

#[test]
fn many_far_alarms_are_given_out_until_none_is_left() {
    let table = alarms();
    run(async {
        let all = (0..60_u128).map(|n| alarm(Timestamp(i64::try_from(n).unwrap() * 1_800_000_000), n));
        futures_util::future::join_all(all.map(|one| table.put(one))).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
        let (mut seen, before) = (0, Timestamp(9 * 3_600_000_000));
        loop {
            let page = table.earliest(before).await.unwrap();
            if page.is_empty() {
                break;
            }
            for one in page {
                table.remove(one.timer.due, one.digest).await.unwrap();
                seen += 1;
            }
        }
        assert_eq!(seen, 20, "ten hours, two in each");
    });
}
