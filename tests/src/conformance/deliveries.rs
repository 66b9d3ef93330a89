//! What a commit asks of other instances, for the stores that do it in the commit. The others keep it in the outbox: there is nothing to
//! test here, and each test says so by an explicit return.

use durable::header::Delivery;
use durable::history::ParentRef;
use durable::message::{MessageBody, Outcome};
use durable::ports::{CommitOutcome, Create, Delivered};

use super::Subject;
use crate::build::*;

/// Stores a parent with id `p`, or tells that this store does not deliver in the commit.
async fn parent(store: &Subject) -> Option<durable::ports::Loaded> {
    if !store.delivers_atomically() {
        return None;
    }
    created(&**store, start("p", 1)).await;
    Some(load(&**store, "p").await)
}

/// A child is stored, pending, together with the commit that starts it.
pub async fn a_child_is_started_in_the_commit(store: Subject) {
    let Some(p) = parent(&store).await else { return };
    let committed = Turn::on("p", &p).append(events(0..1)).delivers(vec![child("c", 5, Some(raised(9)))]).lands(&*store).await;
    assert_eq!(committed.inbox, []);
    let loaded = load(&*store, "c").await;
    assert_eq!((loaded.header, loaded.input), (pending(5), text("\"input of child 5\"")));
    Turn::on("c", &load(&*store, "c").await).append(events(0..1)).lands(&*store).await;
}

/// A child that exists with the very incarnation counts as started: it is left as it stands, and nobody is told of a refusal.
pub async fn a_child_that_was_started_before_is_left_as_it_is(store: Subject) {
    let Some(p) = parent(&store).await else { return };
    let committed = Turn::on("p", &p).delivers(vec![child("c", 5, Some(raised(9)))]).lands(&*store).await;
    Turn::on("c", &load(&*store, "c").await).append(events(0..3)).completes(text("1")).lands(&*store).await;
    let mut p = load(&*store, "p").await;
    p.token = committed.token;
    let committed = Turn::on("p", &p).delivers(vec![child("c", 5, Some(raised(9)))]).lands(&*store).await;
    assert_eq!(committed.inbox, []);
    let loaded = load(&*store, "c").await;
    assert_eq!((loaded.header.revision, loaded.events, loaded.output), (2, events(0..3), Some(text("1"))));
}

/// A child that was started before and has ended since: its parent, which may have missed that, finds its end in its own inbox.
pub async fn a_child_that_has_ended_since_it_was_started_is_told_to_the_parent_again(store: Subject) {
    let Some(p) = parent(&store).await else { return };
    let mut start = child("c", 5, Some(raised(9)));
    if let Delivery::Start { header, .. } = &mut start {
        header.parent = Some(ParentRef { instance: id("p"), incarnation: p.header.incarnation, execution: 0, sequence: 4, awaited: true });
    }
    let committed = Turn::on("p", &p).delivers(vec![start.clone()]).lands(&*store).await;
    Turn::on("c", &load(&*store, "c").await).completes(text("1")).lands(&*store).await;
    let mut p = load(&*store, "p").await;
    p.token = committed.token;
    let committed = Turn::on("p", &p).delivers(vec![start]).lands(&*store).await;
    let told: Vec<_> = committed.inbox.iter().map(|message| &message.body).collect();
    assert_eq!(told, [&MessageBody::ChildEnded { execution: 0, sequence: 4, child: id("c"), outcome: Outcome::Completed(text("1")) }]);
    assert_eq!(load(&*store, "c").await.header.revision, 2);
}

/// A child whose id belongs to another live instance is refused: the parent finds the refusal in its own inbox, the other is unharmed.
pub async fn a_refused_child_is_told_to_the_parent(store: Subject) {
    let Some(p) = parent(&store).await else { return };
    created(&*store, start("c", 3)).await;
    deliver(&*store, "p", raised(1)).await;
    let committed = Turn::on("p", &p).delivers(vec![child("c", 5, Some(raised(9))), child("c", 6, None)]).lands(&*store).await;
    assert_eq!(committed.inbox, [raised(1), raised(9)]);
    assert_eq!(load(&*store, "p").await.inbox, [raised(1), raised(9)]);
    assert_eq!(load(&*store, "c").await.header, pending(3));
}

/// A child whose id belongs to an instance that has ended replaces it, with nothing left of it.
pub async fn a_child_replaces_an_ended_instance(store: Subject) {
    let Some(p) = parent(&store).await else { return };
    created(&*store, start("c", 3)).await;
    Turn::on("c", &load(&*store, "c").await).direct(sent_by("p", 1, 4)).append(events(0..50)).completes(text("1")).lands(&*store).await;
    let committed = Turn::on("p", &p).delivers(vec![child("c", 5, Some(raised(9))), to("c", Some(5), sent_by("p", 1, 4))]).lands(&*store).await;
    assert_eq!(committed.inbox, []);
    let loaded = load(&*store, "c").await;
    assert_eq!((loaded.header, loaded.events.len(), loaded.output), (pending(5), 0, None));
    assert_eq!(loaded.inbox, [sent_by("p", 1, 4)], "numbers of the ended life do not count for the new one");
    assert_eq!(store.history(&id("c"), life(3), 0, 0..50).await.unwrap().len(), 0);
}

/// Messages go behind the inboxes of others, in order, and do not change their revisions.
pub async fn messages_to_others_are_delivered_in_the_commit(store: Subject) {
    let Some(p) = parent(&store).await else { return };
    created(&*store, start("b", 2)).await;
    let b = load(&*store, "b").await;
    deliver(&*store, "b", raised(1)).await;
    let messages = vec![to("b", None, sent_by("p", 1, 1)), child("c", 5, None), to("c", Some(5), sent_by("p", 1, 2)), to("b", Some(2), sent_by("p", 1, 3))];
    Turn::on("p", &p).delivers(messages).lands(&*store).await;
    assert_eq!(load(&*store, "b").await.inbox, [raised(1), sent_by("p", 1, 1), sent_by("p", 1, 3)]);
    assert_eq!(load(&*store, "c").await.inbox, [sent_by("p", 1, 2)]);
    let committed = Turn::on("b", &b).append(events(0..1)).lands(&*store).await;
    assert_eq!(committed.inbox.len(), 3);
}

/// A message to itself stands in the instance's own inbox, behind what waits there, and is told of by the commit.
pub async fn a_message_to_itself_is_delivered_in_the_commit(store: Subject) {
    let Some(p) = parent(&store).await else { return };
    deliver(&*store, "p", raised(1)).await;
    let committed = Turn::on("p", &p).delivers(vec![to("p", Some(1), sent_by("p", 1, 1))]).lands(&*store).await;
    assert_eq!(committed.inbox, [raised(1), sent_by("p", 1, 1)]);
    let loaded = load(&*store, "p").await;
    assert_eq!(loaded.inbox, [raised(1), sent_by("p", 1, 1)]);
    Turn::on("p", &loaded).takes_all().lands(&*store).await;
    assert_eq!(deliver(&*store, "p", sent_by("p", 1, 1)).await, Delivered::Duplicate);
}

/// Messages to those who are unknown, ended or of another life are dropped, and the commit stands.
pub async fn messages_that_nobody_can_take_are_dropped(store: Subject) {
    let Some(p) = parent(&store).await else { return };
    ended(&*store, "e", 2).await;
    created(&*store, start("b", 3)).await;
    let nobody = vec![to("nobody", None, sent_by("p", 1, 1)), to("e", None, sent_by("p", 1, 2)), to("b", Some(2), sent_by("p", 1, 3))];
    let committed = Turn::on("p", &p).append(events(0..1)).delivers(nobody).lands(&*store).await;
    assert_eq!(committed.inbox, []);
    assert!(store.load(&id("nobody"), None).await.unwrap().is_none());
    for (instance, revision) in [("e", 2), ("b", 1), ("p", 2)] {
        let loaded = load(&*store, instance).await;
        assert_eq!((loaded.inbox.len(), loaded.header.revision), (0, revision), "{instance}");
    }
}

/// A message that its receiver has taken, or that waits there, is dropped.
pub async fn duplicates_among_deliveries_are_dropped(store: Subject) {
    let Some(p) = parent(&store).await else { return };
    created(&*store, start("b", 2)).await;
    Turn::on("b", &load(&*store, "b").await).direct(sent_by("p", 1, 2)).direct(raised(7)).lands(&*store).await;
    let b = [sent_by("p", 1, 1), sent_by("p", 1, 2), raised(7), sent_by("p", 1, 3), sent_by("p", 1, 3)];
    Turn::on("p", &p).delivers(b.into_iter().map(|m| to("b", None, m)).collect()).lands(&*store).await;
    assert_eq!(load(&*store, "b").await.inbox, [sent_by("p", 1, 3)]);
}

/// A commit that ends an instance delivers like any other; what it sends to itself is dropped.
pub async fn the_last_commit_delivers_too(store: Subject) {
    let Some(p) = parent(&store).await else { return };
    created(&*store, start("b", 2)).await;
    let last = vec![to("b", Some(2), sent_by("p", 1, 1)), to("p", Some(1), sent_by("p", 1, 2)), child("c", 5, None)];
    let committed = Turn::on("p", &p).completes(text("1")).delivers(last).lands(&*store).await;
    assert_eq!(committed.inbox, []);
    assert_eq!(load(&*store, "b").await.inbox, [sent_by("p", 1, 1)]);
    assert_eq!(load(&*store, "c").await.header, pending(5));
    assert_eq!(load(&*store, "p").await.inbox, []);
}

/// A commit that loses delivers nothing.
pub async fn a_lost_commit_delivers_nothing(store: Subject) {
    let Some(p) = parent(&store).await else { return };
    created(&*store, start("b", 2)).await;
    Turn::on("p", &p).lands(&*store).await;
    Turn::on("p", &p).delivers(vec![child("c", 5, None), to("b", None, sent_by("p", 1, 1))]).loses(&*store).await;
    assert!(store.load(&id("c"), None).await.unwrap().is_none());
    assert_eq!(load(&*store, "b").await.inbox, []);
}

/// A create that comes with its first turn delivers what that turn asks for; one that is refused delivers nothing.
pub async fn a_create_with_its_first_turn_delivers(store: Subject) {
    if !store.delivers_atomically() {
        return;
    }
    created(&*store, start("b", 2)).await;
    let deliveries = vec![child("c", 5, None), child("b", 6, Some(raised(9))), to("b", None, sent_by("p", 1, 1))];
    let committed = created(&*store, Create { deliveries, ..start("p", 1) }).await;
    assert_eq!(committed.inbox, [raised(9)]);
    assert_eq!(load(&*store, "c").await.header, pending(5));
    assert_eq!(load(&*store, "b").await.inbox, [sent_by("p", 1, 1)]);

    let again = vec![child("d", 7, None), to("b", None, sent_by("p", 2, 1))];
    refused(&*store, Create { deliveries: again, ..start("p", 2) }).await;
    assert!(store.load(&id("d"), None).await.unwrap().is_none());
    assert_eq!(load(&*store, "b").await.inbox.len(), 1);
}

/// A message from a commit goes into an inbox that is full for others: nobody would send it again.
pub async fn a_message_from_a_commit_is_not_lost_to_a_full_inbox(store: Subject) {
    let Some(p) = parent(&store).await else { return };
    created(&*store, start("b", 2)).await;
    let mut stored = 0;
    while deliver(&*store, "b", raised(stored)).await == Delivered::Delivered {
        stored += 1;
        assert!(stored <= durable::limits::INBOX_MESSAGES as u64, "more than the limit");
    }
    assert_eq!(deliver(&*store, "b", sent_by("p", 1, 1)).await, Delivered::Full);
    let outcome = store.commit(Turn::on("p", &p).delivers(vec![to("b", None, sent_by("p", 1, 1))]).build_commit()).await;
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    assert_eq!(load(&*store, "b").await.inbox.last(), Some(&sent_by("p", 1, 1)));
}
