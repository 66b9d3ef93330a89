//! What is small and what is large: nothing may change where a store puts it elsewhere.

use durable::header::Header;
use durable::message::Message;
use durable::ports::{Create, Delivered, Known, ListQuery, Purge, Store};
use durable_tests::build::*;

/// Payloads, messages and events of every size around each border come back as they were given.
pub async fn nothing_changes_at_borders(store: &dyn Store, payloads: &[usize], messages: &[usize], new_events: &[usize]) {
    for (n, bytes) in payloads.iter().copied().enumerate() {
        let (instance, n) = (format!("payload-{bytes}"), n as u64);
        created(store, Create { input: large(bytes, n), ..start(&instance, n) }).await;
        let turn = Turn::on(&instance, &load(store, &instance).await).custom_status(large(bytes, n + 100)).completes(large(bytes, n + 200));
        turn.lands(store).await;
        let status = store.status(&id(&instance)).await.unwrap().unwrap();
        assert!(status.input == large(bytes, n) && status.output == Some(large(bytes, n + 200)), "{bytes}");
        assert!(status.custom_status == Some(large(bytes, n + 100)), "{bytes}");
    }
    created(store, start("messages", 1)).await;
    for (n, bytes) in messages.iter().enumerate() {
        assert_eq!(deliver(store, "messages", raised_with(n as u64, large(*bytes, n as u64))).await, Delivered::Delivered);
    }
    let loaded = load(store, "messages").await;
    assert!(loaded.inbox.iter().zip(messages).enumerate().all(|(n, (m, bytes))| *m == raised_with(n as u64, large(*bytes, n as u64))));
    let committed = Turn::on("messages", &loaded).takes(messages.len() - 2).lands(store).await;
    assert!(committed.inbox == loaded.inbox[messages.len() - 2..]);

    created(store, start("events", 1)).await;
    let mut expected = Vec::new();
    for (n, bytes) in new_events.iter().copied().enumerate() {
        let loaded = load(store, "events").await;
        let new = vec![large(bytes, n as u64).stored().clone(), event(n as u64)];
        expected.extend(new.clone());
        Turn::on("events", &loaded).append(new).lands(store).await;
        for known in [0, n, expected.len() - 2, expected.len() - 1, expected.len()] {
            let from = Known { incarnation: life(1), execution: 0, events: known as u64 };
            assert!(store.load(&id("events"), Some(from)).await.unwrap().unwrap().events == expected[known..], "after {bytes}, from {known}");
        }
    }
    let mut random = Random::new(1);
    for _ in 0..60 {
        let first = random.below(expected.len() as u64) as usize;
        let last = first + random.below((expected.len() - first) as u64 + 1) as usize;
        let found = store.history(&id("events"), life(1), 0, first as u64..last as u64).await.unwrap();
        assert!(found == expected[first..last], "{first}..{last}");
    }
}

/// Headers with outboxes of these sizes come back, by every way; `peeked` is one more.
pub async fn headers_come_back(store: &dyn Store, sizes: &[usize], peeked: impl AsyncFn() -> Header) {
    created(store, start("a", 1)).await;
    for (n, bytes) in sizes.iter().copied().enumerate() {
        let loaded = load(store, "a").await;
        let outbox = vec![to("b", None, raised_with(n as u64, large(bytes, n as u64)))];
        let turn = Turn::on("a", &loaded).with(|h| h.outbox = outbox);
        let header = turn.clone().build_commit().header;
        turn.lands(store).await;
        let status = store.status(&id("a")).await.unwrap().unwrap();
        assert!(load(store, "a").await.header == header && status.header == header, "{bytes}");
        let page = store.list(ListQuery::default(), None).await.unwrap();
        assert!(page.items.len() == 1 && page.items[0].header == header, "{bytes}");
        assert!(peeked().await == header, "{bytes}");
    }
}

/// More senders than the header has room for, `many` and some more: each keeps its numbers, whether its messages stood in the inbox or were
/// taken at once.
pub async fn many_senders_are_remembered(store: &dyn Store, many: u64) {
    created(store, start("a", 1)).await;
    let name = |n: u64| format!("sender-{n}");
    for n in 0..many {
        assert_eq!(deliver(store, "a", sent_by(&name(n), 1, 5)).await, Delivered::Delivered, "{n}");
        if n % 50 == 49 || n + 1 == many {
            Turn::on("a", &load(store, "a").await).takes_all().lands(store).await;
        }
    }
    // Old senders and new ones together, lower numbers and higher ones, in one turn.
    let mut turn = Turn::on("a", &load(store, "a").await);
    for n in many - 10..many + 10 {
        turn = turn.direct(sent_by(&name(n), 1, if n % 2 == 0 { 3 } else { 7 }));
    }
    turn.append(events(0..1)).lands(store).await;
    for n in 0..many + 10 {
        let highest = match n {
            _ if n < many - 10 => 5,
            _ if n < many && n % 2 == 0 => 5,
            _ if n % 2 == 0 => 3,
            _ => 7,
        };
        for (number, answer) in [(highest, Delivered::Duplicate), (highest - 1, Delivered::Duplicate), (highest + 1, Delivered::Delivered)] {
            assert_eq!(deliver(store, "a", sent_by(&name(n), 1, number)).await, answer, "sender {n}, number {number}");
        }
        if n % 50 == 49 {
            Turn::on("a", &load(store, "a").await).takes_all().lands(store).await;
        }
    }
    let loaded = load(store, "a").await;
    Turn::on("a", &loaded).takes_all().completes(text("1")).lands(store).await;
    for (number, answer) in [(8, Delivered::Duplicate), (9, Delivered::Finished)] {
        assert_eq!(deliver(store, "a", sent_by(&name(many - 5), 1, number)).await, answer);
    }
}

/// Ids whose keys are too long to be written out work like any other, with all that belongs to them.
pub async fn very_long_ids_work(store: &dyn Store) {
    let all: Vec<String> = ["🦀", "🐙"].iter().map(|last| format!("{}{last}", "🦀".repeat(255))).collect();
    for (n, instance) in all.iter().enumerate() {
        created(store, Create { input: large(5_000, n as u64), ..start(instance, n as u64 + 1) }).await;
        let keyed = Message { keyed: true, ..raised(1) };
        assert_eq!(deliver(store, instance, keyed.clone()).await, Delivered::Delivered);
        assert_eq!(deliver(store, instance, keyed).await, Delivered::Duplicate);
        let loaded = load(store, instance).await;
        Turn::on(instance, &loaded).takes_all().append(events(0..900)).completes(text("1")).lands(store).await;
    }
    let page = store.list(ListQuery { prefix: Some("🦀".into()), ..ListQuery::default() }, None).await.unwrap();
    let mut found: Vec<String> = page.items.iter().map(|item| item.instance.to_string()).collect();
    let mut expected = all.clone();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(purged(store, &all[0]).await, Purge::Done);
    assert_eq!(load(store, &all[1]).await.events, events(0..900));
}
