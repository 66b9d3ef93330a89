//! Large things: no cliff below the documented limits.

use durable::history::Event;
use durable::limits::{PAYLOAD_BYTES, RING_MOST};
use durable::ports::{CommitOutcome, Create, Delivered, Known};

use super::Subject;
use crate::build::*;

/// Ten thousand events in one commit, and more commits after it.
pub async fn ten_thousand_events_fit_into_one_commit(store: Subject) {
    created(&*store, start("a", 1)).await;
    Turn::on("a", &load(&*store, "a").await).append(events(0..5)).lands(&*store).await;
    Turn::on("a", &load(&*store, "a").await).append(events(5..10_005)).lands(&*store).await;
    Turn::on("a", &load(&*store, "a").await).append(events(10_005..10_010)).lands(&*store).await;
    let loaded = load(&*store, "a").await;
    assert_eq!(loaded.header.events, 10_010);
    assert!(loaded.events == events(0..10_010), "events differ");
    assert_eq!(store.history(&id("a"), life(1), 0, 9_990..10_007).await.unwrap(), events(9_990..10_007));
    let known = Known { incarnation: life(1), execution: 0, events: 10_000 };
    assert_eq!(store.load(&id("a"), Some(known)).await.unwrap().unwrap().events, events(10_000..10_010));
}

/// Input, custom status and output of the largest size come back as they were given.
pub async fn payloads_of_the_largest_size_come_back(store: Subject) {
    let (input, output, status) = (large(PAYLOAD_BYTES, 1), large(PAYLOAD_BYTES, 2), large(16 * 1024, 3));
    created(&*store, Create { input: input.clone(), ..start("a", 1) }).await;
    let loaded = load(&*store, "a").await;
    assert!(loaded.input == input, "the input differs");
    Turn::on("a", &loaded).custom_status(status.clone()).completes(output.clone()).lands(&*store).await;
    let loaded = load(&*store, "a").await;
    assert!(loaded.input == input && loaded.output == Some(output.clone()), "the payloads differ after the commit");
    assert_eq!(loaded.custom_status, Some(status));
    let status = store.status(&id("a")).await.unwrap().unwrap();
    assert!(status.input == input && status.output == Some(output), "the payloads differ in the status");
}

/// A message of the largest size fits into an empty inbox, and small ones come through behind it once it is taken.
pub async fn a_message_of_the_largest_size_comes_through(store: Subject) {
    created(&*store, start("a", 1)).await;
    let message = raised_with(1, large(PAYLOAD_BYTES, 1));
    assert_eq!(deliver(&*store, "a", message.clone()).await, Delivered::Delivered);
    assert_eq!(deliver(&*store, "a", message.clone()).await, Delivered::Duplicate);
    assert_eq!(deliver(&*store, "a", raised(2)).await, Delivered::Full);
    let loaded = load(&*store, "a").await;
    assert!(loaded.inbox == [message], "the message differs");
    let event = Event::EventRaised { message: message_id(1), name: "approval".into(), data: large(PAYLOAD_BYTES, 1) }.to_bytes();
    let committed = Turn::on("a", &loaded).takes(1).append(vec![event.clone()]).lands(&*store).await;
    assert_eq!(committed.inbox, []);
    assert_eq!(deliver(&*store, "a", raised(2)).await, Delivered::Delivered);
    let loaded = load(&*store, "a").await;
    assert!(loaded.events == [event], "the event differs");
    assert_eq!(loaded.inbox, [raised(2)]);
}

/// A message of the largest size can be taken in the very commit that stores its event.
pub async fn a_fused_message_of_the_largest_size_comes_through(store: Subject) {
    created(&*store, start("a", 1)).await;
    let message = raised_with(1, large(PAYLOAD_BYTES, 4));
    let event = Event::EventRaised { message: message_id(1), name: "approval".into(), data: large(PAYLOAD_BYTES, 4) }.to_bytes();
    Turn::on("a", &load(&*store, "a").await).direct(message.clone()).append(vec![event.clone()]).lands(&*store).await;
    assert!(load(&*store, "a").await.events == [event], "the event differs");
    assert_eq!(deliver(&*store, "a", message).await, Delivered::Duplicate);
}

/// Large and small events side by side stand in order.
pub async fn large_and_small_events_stand_in_order(store: Subject) {
    created(&*store, start("a", 1)).await;
    let mut expected = Vec::new();
    for n in 0..12 {
        let bytes = [10, 2_000, 70_000, 300_000, 1_500_000, 100][n % 6];
        let some = vec![event(n as u64), large(bytes, n as u64).stored().clone(), event(n as u64 + 100)];
        expected.extend(some.clone());
        Turn::on("a", &load(&*store, "a").await).append(some).lands(&*store).await;
    }
    assert!(load(&*store, "a").await.events == expected, "events differ");
    for first in [1, 10, 35] {
        let known = Known { incarnation: life(1), execution: 0, events: first };
        let loaded = store.load(&id("a"), Some(known)).await.unwrap().unwrap();
        assert!(loaded.events == expected[first as usize..], "events from {first} differ");
    }
}

/// A turn takes as many messages as a turn may, of which each made events, in one commit.
pub async fn a_turn_of_many_messages_is_one_commit(store: Subject) {
    created(&*store, start("a", 1)).await;
    for n in 0..32 {
        deliver(&*store, "a", raised(n)).await;
        deliver(&*store, "a", sent_by(&format!("s{n}"), 1, 1)).await;
    }
    let loaded = load(&*store, "a").await;
    let committed = Turn::on("a", &loaded).takes_all().append(events(0..640)).lands(&*store).await;
    assert_eq!(committed.inbox, []);
    for n in 0..32 {
        assert_eq!(deliver(&*store, "a", sent_by(&format!("s{n}"), 1, 1)).await, Delivered::Duplicate);
    }
    assert_eq!(load(&*store, "a").await.events, events(0..640));
}

/// A header near the largest that is allowed comes back as it was given.
pub async fn a_large_header_comes_back(store: Subject) {
    created(&*store, start("a", 1)).await;
    let outbox: Vec<_> = (0..40).map(|n| to("b", None, sent_by("a", 1, n))).collect();
    let turn = Turn::on("a", &load(&*store, "a").await).with(|h| {
        h.outbox.clone_from(&outbox);
        h.ring = (0..RING_MOST as u64).map(|n| (message_id(n), n)).collect();
        h.alarm = Some(vec![7; 200]);
    });
    let header = turn.clone().build_commit().header;
    turn.lands(&*store).await;
    assert_eq!(load(&*store, "a").await.header, header);
}

/// An empty payload is not the same as none.
pub async fn an_empty_payload_is_not_the_same_as_none(store: Subject) {
    created(&*store, Create { input: text(""), ..start("a", 1) }).await;
    let commit = Turn::on("a", &load(&*store, "a").await).custom_status(text("")).completes(text("")).build_commit();
    assert!(matches!(store.commit(commit).await, CommitOutcome::Committed(_)));
    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.input, loaded.custom_status, loaded.output), (text(""), Some(text("")), Some(text(""))));
}
