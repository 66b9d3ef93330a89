//! Delivering: the order of the inbox, and each message once however often it comes.

use std::sync::{Arc, Mutex};

use durable::header::Header;
use durable::ids::MessageId;
use durable::limits;
use durable::message::Message;
use durable::ports::Delivered::{Delivered, Duplicate, Finished, Full, NotFound};

use super::Subject;
use crate::build::*;

/// Messages stand in the inbox in the order in which they came, as they were given, and do not change the revision.
pub async fn messages_stand_in_the_inbox_in_the_order_in_which_they_came(store: Subject) {
    created(&*store, start("a", 1)).await;
    // Neither ids nor the clients' clocks are in order of arrival.
    let messages: Vec<Message> = (0..40).map(|n| Message { arrived: at(1000 - n as i64), ..raised(n * 7919 % 97) }).collect();
    for message in &messages {
        assert_eq!(deliver(&*store, "a", message.clone()).await, Delivered);
    }
    let loaded = load(&*store, "a").await;
    assert_eq!(loaded.inbox, messages);
    assert_eq!(loaded.header, pending(1));
}

/// A message for an instance that is not there is told so, and leaves nothing.
pub async fn a_message_for_an_unknown_instance_is_not_found(store: Subject) {
    assert_eq!(deliver(&*store, "a", raised(1)).await, NotFound);
    assert_eq!(deliver_to(&*store, "a", 1, raised(1)).await, NotFound);
    created(&*store, start("a", 1)).await;
    assert_eq!(load(&*store, "a").await.inbox, []);
    assert_eq!(deliver(&*store, "a", raised(1)).await, Delivered);
}

/// A message for an instance that has ended is told so, and leaves nothing.
pub async fn a_message_for_an_ended_instance_is_refused(store: Subject) {
    ended(&*store, "a", 1).await;
    assert_eq!(deliver(&*store, "a", raised(1)).await, Finished);
    assert_eq!(deliver_to(&*store, "a", 1, raised(1)).await, Finished);
    assert_eq!(deliver_to(&*store, "a", 2, raised(1)).await, NotFound);
    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.inbox.len(), loaded.header.revision), (0, 2));
}

/// A message that names a life is taken in by that one only.
pub async fn a_message_for_another_life_is_not_found(store: Subject) {
    created(&*store, start("a", 2)).await;
    assert_eq!(deliver_to(&*store, "a", 1, raised(1)).await, NotFound);
    assert_eq!(deliver_to(&*store, "a", 2, raised(2)).await, Delivered);
    assert_eq!(deliver(&*store, "a", raised(3)).await, Delivered);
    assert_eq!(load(&*store, "a").await.inbox, [raised(2), raised(3)]);
}

/// The same id again, while the first stands in the inbox, changes nothing, whatever it carries.
pub async fn a_message_that_stands_in_the_inbox_is_a_duplicate(store: Subject) {
    created(&*store, start("a", 1)).await;
    deliver(&*store, "a", raised(1)).await;
    deliver(&*store, "a", raised(2)).await;
    assert_eq!(deliver(&*store, "a", raised(1)).await, Duplicate);
    assert_eq!(deliver_to(&*store, "a", 1, raised_with(2, text("\"other\""))).await, Duplicate);
    assert_eq!(load(&*store, "a").await.inbox, [raised(1), raised(2)]);
}

/// The same id again, after it was consumed from the inbox, changes nothing.
pub async fn a_message_that_was_consumed_is_a_duplicate(store: Subject) {
    created(&*store, start("a", 1)).await;
    deliver(&*store, "a", raised(1)).await;
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).takes(1).lands(&*store).await;
    assert_eq!(deliver(&*store, "a", raised(1)).await, Duplicate);
    assert_eq!(load(&*store, "a").await.inbox, []);
}

/// The same id again, after it was taken in the very commit that stored it, changes nothing.
pub async fn a_message_that_was_fused_is_a_duplicate(store: Subject) {
    created(&*store, start("a", 1)).await;
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).direct(raised(1)).append(events(0..1)).lands(&*store).await;
    assert_eq!(deliver(&*store, "a", raised(1)).await, Duplicate);
    assert_eq!(load(&*store, "a").await.inbox, []);
}

/// The ring of the header is what is remembered: each of its ids is a duplicate, and those that fell out are not.
pub async fn the_whole_ring_is_remembered(store: Subject) {
    created(&*store, start("a", 1)).await;
    let taken = limits::RING as u64 + 4;
    for n in 1..=taken {
        let loaded = load(&*store, "a").await;
        Turn::on("a", &loaded).direct(raised(n)).lands(&*store).await;
    }
    for n in 5..=taken {
        assert_eq!(deliver(&*store, "a", raised(n)).await, Duplicate, "message {n}");
    }
    for n in 1..5 {
        assert_eq!(deliver(&*store, "a", raised(n)).await, Delivered, "message {n}");
    }
}

/// Of one sender, the number that waits and every lower one are duplicates; a higher one is not.
pub async fn a_senders_number_in_the_inbox_makes_lower_ones_duplicates(store: Subject) {
    created(&*store, start("a", 1)).await;
    for (number, answer) in [(2, Delivered), (2, Duplicate), (1, Duplicate), (5, Delivered), (3, Duplicate), (6, Delivered)] {
        assert_eq!(deliver(&*store, "a", sent_by("s", 1, number)).await, answer, "number {number}");
    }
    let numbers: Vec<u64> = load(&*store, "a").await.inbox.iter().map(|m| m.sender.as_ref().unwrap().number).collect();
    assert_eq!(numbers, [2, 5, 6]);
}

/// Of one sender, the number that was consumed and every lower one are duplicates, also many commits later and under another message id.
pub async fn a_senders_number_that_was_consumed_is_remembered(store: Subject) {
    created(&*store, start("a", 1)).await;
    deliver(&*store, "a", sent_by("s", 1, 4)).await;
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).takes(1).lands(&*store).await;
    for n in 0..40 {
        let loaded = load(&*store, "a").await;
        Turn::on("a", &loaded).direct(raised(n)).append(vec![event(n)]).lands(&*store).await;
    }
    let renamed = Message { id: MessageId([9; 16]), ..sent_by("s", 1, 3) };
    for (message, answer) in [(sent_by("s", 1, 4), Duplicate), (renamed, Duplicate), (sent_by("s", 1, 5), Delivered)] {
        assert_eq!(deliver(&*store, "a", message).await, answer);
    }
}

/// The id of a keyed message is remembered for a day, whatever was taken since; that of another message only as long as the ring does.
pub async fn a_key_is_remembered_for_a_day(store: Subject) {
    created(&*store, start("a", 1)).await;
    let keyed = |n, seconds| Message { keyed: true, arrived: at(seconds), ..raised(n) };
    let day = 24 * 3600;
    assert_eq!(deliver(&*store, "a", keyed(1, 1)).await, Delivered);
    for n in 100..140 {
        let loaded = load(&*store, "a").await;
        Turn::on("a", &loaded).takes(loaded.inbox.len()).direct(raised(n)).append(vec![event(n)]).lands(&*store).await;
    }
    assert!(!load(&*store, "a").await.header.in_ring(&message_id(1)), "the ring has long forgotten it");
    for (message, answer) in [(keyed(1, day), Duplicate), (keyed(2, day), Delivered), (keyed(1, day + 1), Delivered)] {
        assert_eq!(deliver(&*store, "a", message).await, answer);
    }
}

/// Of keyed messages at least the last thousand are remembered, and those of a former life are nobody's.
pub async fn a_thousand_keys_are_remembered(store: Subject) {
    created(&*store, start("a", 1)).await;
    let keyed = |n: u64| Message { keyed: true, arrived: at(n as i64), ..raised(n) };
    let count = limits::KEYED_IDS as u64 + 1;
    for n in 1..=count {
        assert_eq!(deliver(&*store, "a", keyed(n)).await, Delivered);
        if n % 50 == 0 || n == count {
            let loaded = load(&*store, "a").await;
            let mut turn = Turn::on("a", &loaded).takes(loaded.inbox.len()).append(vec![event(n)]);
            if n == count {
                turn = turn.completes(text("1"));
            }
            turn.lands(&*store).await;
        }
    }
    assert_eq!(deliver(&*store, "a", keyed(2)).await, Duplicate, "also when the instance has ended");
    let oldest = deliver(&*store, "a", keyed(1)).await;
    assert!(matches!(oldest, Finished | Duplicate), "{oldest:?}");
    created(&*store, start("a", 2)).await;
    assert_eq!(deliver(&*store, "a", keyed(2)).await, Delivered);
}

/// A number that was taken in the very commit that stored it is remembered as well, and the highest of a commit counts.
pub async fn a_senders_number_that_was_fused_is_remembered(store: Subject) {
    created(&*store, start("a", 1)).await;
    deliver(&*store, "a", sent_by("s", 1, 6)).await;
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).takes(1).direct(sent_by("t", 1, 2)).direct(sent_by("s", 1, 7)).lands(&*store).await;
    for (sender, number, answer) in [("s", 6, Duplicate), ("s", 7, Duplicate), ("s", 8, Delivered), ("t", 2, Duplicate), ("t", 3, Delivered)] {
        assert_eq!(deliver(&*store, "a", sent_by(sender, 1, number)).await, answer, "{sender} {number}");
    }
}

/// A remembered number never goes down, in whatever order a caller consumes.
pub async fn a_remembered_number_never_goes_down(store: Subject) {
    created(&*store, start("a", 1)).await;
    for number in [7, 3] {
        let loaded = load(&*store, "a").await;
        Turn::on("a", &loaded).direct(sent_by("s", 1, number)).lands(&*store).await;
    }
    assert_eq!(deliver(&*store, "a", sent_by("s", 1, 7)).await, Duplicate);
}

/// Numbers of other senders, of other lives of a sender, and of a sender whose name begins alike are their own.
pub async fn each_sender_and_each_life_of_it_has_its_own_numbers(store: Subject) {
    created(&*store, start("a", 1)).await;
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).direct(sent_by("s", 1, 9)).lands(&*store).await;
    for message in [sent_by("s", 2, 1), sent_by("t", 1, 1), sent_by("S", 1, 1), sent_by("s1", 1, 1)] {
        assert_eq!(deliver(&*store, "a", message.clone()).await, Delivered, "{message:?}");
    }
}

/// A message that comes between load and commit does not make the commit lose; the commit tells of it, and it stays.
pub async fn a_delivery_between_load_and_commit_never_makes_the_commit_lose(store: Subject) {
    created(&*store, start("a", 1)).await;
    let loaded = load(&*store, "a").await;
    deliver(&*store, "a", raised(1)).await;
    deliver(&*store, "a", raised(2)).await;
    let committed = Turn::on("a", &loaded).append(events(0..1)).lands(&*store).await;
    assert_eq!(committed.inbox, [raised(1), raised(2)]);
    assert_eq!(load(&*store, "a").await.inbox, [raised(1), raised(2)]);
}

/// A commit takes the messages that it read; those that came later stay, in order, and are told of.
pub async fn later_messages_survive_a_commit_that_took_what_it_had_read(store: Subject) {
    created(&*store, start("a", 1)).await;
    for n in 1..=3 {
        deliver(&*store, "a", raised(n)).await;
    }
    let loaded = load(&*store, "a").await;
    for n in 4..=6 {
        deliver(&*store, "a", raised(n)).await;
    }
    let committed = Turn::on("a", &loaded).takes(2).lands(&*store).await;
    assert_eq!(ids(&committed.inbox), [3, 4, 5, 6].map(message_id));
    deliver(&*store, "a", raised(7)).await;
    let loaded = load(&*store, "a").await;
    assert_eq!(ids(&loaded.inbox), [3, 4, 5, 6, 7].map(message_id));
    Turn::on("a", &loaded).takes_all().lands(&*store).await;
    assert_eq!(load(&*store, "a").await.inbox, []);
}

/// A message stored plainly, then one that is fused: one commit takes the inbox and the fused one behind it, and what comes after is behind both.
pub async fn a_fused_message_goes_behind_the_inbox(store: Subject) {
    created(&*store, start("a", 1)).await;
    deliver(&*store, "a", raised(1)).await;
    deliver(&*store, "a", sent_by("s", 1, 1)).await;
    let loaded = load(&*store, "a").await;
    let turn = Turn::on("a", &loaded).takes_all().direct(raised(2)).append(events(0..3));
    assert_eq!(turn.clone().build_commit().header.ring, [(message_id(1), 2), (message_id(2), 2)]);
    let committed = turn.lands(&*store).await;
    assert_eq!(committed.inbox, []);
    deliver(&*store, "a", raised(3)).await;
    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.inbox, loaded.events), (vec![raised(3)], events(0..3)));
    for message in [raised(1), raised(2), sent_by("s", 1, 1)] {
        assert_eq!(deliver(&*store, "a", message).await, Duplicate);
    }
}

/// A message that came between is not touched by a fused one that did not see it.
pub async fn a_fused_message_takes_nothing_that_its_turn_did_not_see(store: Subject) {
    created(&*store, start("a", 1)).await;
    let loaded = load(&*store, "a").await;
    deliver(&*store, "a", raised(1)).await;
    let committed = Turn::on("a", &loaded).direct(raised(2)).append(events(0..1)).lands(&*store).await;
    assert_eq!(committed.inbox, [raised(1)]);
    assert_eq!(deliver(&*store, "a", raised(2)).await, Duplicate);
}

/// A message that came while the turn ran that ended the instance is told of, and a last commit can take it.
pub async fn a_message_that_came_during_the_last_turn_is_told_of(store: Subject) {
    created(&*store, start("a", 1)).await;
    let loaded = load(&*store, "a").await;
    deliver(&*store, "a", raised(1)).await;
    let committed = Turn::on("a", &loaded).append(events(0..1)).completes(text("1")).lands(&*store).await;
    assert_eq!(committed.inbox, [raised(1)]);
    let loaded = load(&*store, "a").await;
    assert_eq!(loaded.inbox, [raised(1)]);
    Turn::on("a", &loaded).takes(1).append(events(1..2)).lands(&*store).await;
    let loaded = load(&*store, "a").await;
    assert_eq!((loaded.inbox.len(), loaded.events, loaded.output), (0, events(0..2), Some(text("1"))));
}

/// A suspended or faulted instance collects messages like any other.
pub async fn a_suspended_instance_collects_messages(store: Subject) {
    created(&*store, start("a", 1)).await;
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).with(|h| h.status = durable::header::RuntimeStatus::Suspended).lands(&*store).await;
    assert_eq!(deliver(&*store, "a", raised(1)).await, Delivered);
    assert_eq!(load(&*store, "a").await.inbox, [raised(1)]);
}

/// An inbox holds so many messages and no more, beside all that a header may remember; what waits is kept, a repeat is still a duplicate, and after a
/// commit there is room again.
pub async fn an_inbox_full_of_messages_refuses_and_drains(store: Subject) {
    created(&*store, start("a", 1)).await;
    let remembers = |h: &mut Header| h.ring = (0..limits::RING_MOST as u64).map(|n| (message_id(1_000_000 + n), 9_999)).collect();
    Turn::on("a", &load(&*store, "a").await).append(events(0..100)).with(remembers).lands(&*store).await;
    let message = |n| raised_with(n, large(200, n));
    let mut stored = 0;
    while deliver(&*store, "a", message(stored)).await == Delivered {
        stored += 1;
        assert!(stored <= limits::INBOX_MESSAGES as u64, "more than the limit");
    }
    assert!(stored >= limits::MESSAGES_PER_TURN as u64, "{stored} are too few");
    assert_eq!(deliver(&*store, "a", message(stored)).await, Full);
    for taken_or_waiting in [0, 1_000_000] {
        assert_eq!(deliver(&*store, "a", message(taken_or_waiting)).await, Duplicate);
    }
    let loaded = load(&*store, "a").await;
    assert_eq!(ids(&loaded.inbox), (0..stored).map(message_id).collect::<Vec<_>>());

    let committed = Turn::on("a", &loaded).takes(limits::MESSAGES_PER_TURN).append(events(100..164)).with(remembers).lands(&*store).await;
    assert_eq!(committed.inbox.len() as u64, stored - limits::MESSAGES_PER_TURN as u64);
    assert_eq!(deliver(&*store, "a", message(stored)).await, Delivered);
    assert_eq!(load(&*store, "a").await.inbox.last(), Some(&message(stored)));
}

/// An inbox holds so many bytes and no more; what waits is kept, and after a commit there is room again.
pub async fn an_inbox_full_of_bytes_refuses_and_drains(store: Subject) {
    const MEGABYTE: usize = 1024 * 1024;
    created(&*store, start("a", 1)).await;
    let message = |n| raised_with(n, large(MEGABYTE, n));
    let mut stored = 0;
    while deliver(&*store, "a", message(stored)).await == Delivered {
        stored += 1;
        assert!(stored as usize * MEGABYTE <= limits::INBOX_BYTES, "more than the limit");
    }
    assert!(stored >= 15, "{stored} are too few");
    assert_eq!(deliver(&*store, "a", message(stored)).await, Full);
    let loaded = load(&*store, "a").await;
    assert_eq!(loaded.inbox, (0..stored).map(message).collect::<Vec<_>>());
    Turn::on("a", &loaded).takes(1).lands(&*store).await;
    assert_eq!(deliver(&*store, "a", message(stored)).await, Delivered);
}

/// The same message many times at once stands in the inbox once, and exactly one caller is told that it is new.
pub async fn of_the_same_message_many_times_at_once_one_is_stored(store: Subject) {
    created(&*store, start("a", 1)).await;
    for n in 0..10 {
        let answers = store.at_once(8, |store, _| store.deliver(&id("a"), None, raised(n)));
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|answer| **answer == Delivered).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| **answer == Duplicate).count(), 7, "{answers:?}");
    }
    assert_eq!(ids(&load(&*store, "a").await.inbox), (0..10).map(message_id).collect::<Vec<_>>());
}

/// Messages that arrive from many sides at once while a driver works are each taken once, and none is lost.
pub async fn of_many_messages_at_once_none_is_lost_or_taken_twice(store: Subject) {
    const SENDERS: u64 = 4;
    const EACH: u64 = 25;
    created(&*store, start("a", 1)).await;
    let taken = Arc::new(Mutex::new(Vec::new()));
    // Held by every sender, so that the driver sees when the last one has gone, also if it panicked.
    let at_work = Arc::new(());
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (subject, at_work) = (store.clone(), Arc::clone(&at_work));
            scope.spawn(move || {
                let inner = subject.store();
                subject.run(async move {
                    for n in 0..EACH {
                        // A store with a small inbox may ask for a new try.
                        while deliver(&*inner, "a", raised(sender * 1000 + n)).await == Full {
                            std::thread::yield_now();
                        }
                    }
                    drop(at_work);
                });
            });
        }
        let (subject, taken) = (store.clone(), Arc::clone(&taken));
        scope.spawn(move || {
            let inner = subject.store();
            subject.run(async move {
                loop {
                    let last = Arc::strong_count(&at_work) == 1;
                    let loaded = load(&*inner, "a").await;
                    if !loaded.inbox.is_empty() {
                        taken.lock().unwrap().extend(ids(&loaded.inbox));
                        Turn::on("a", &loaded).takes_all().lands(&*inner).await;
                    } else if last {
                        break;
                    }
                    std::thread::yield_now();
                }
            });
        });
    });
    let taken = std::mem::take(&mut *taken.lock().unwrap());
    for sender in 0..SENDERS {
        let of_sender = |m: &&MessageId| (0..EACH).any(|n| **m == message_id(sender * 1000 + n));
        let in_order: Vec<MessageId> = taken.iter().filter(of_sender).copied().collect();
        assert_eq!(in_order, (0..EACH).map(|n| message_id(sender * 1000 + n)).collect::<Vec<_>>());
    }
    assert_eq!(taken.len() as u64, SENDERS * EACH);
    assert_eq!(load(&*store, "a").await.inbox, []);
}
