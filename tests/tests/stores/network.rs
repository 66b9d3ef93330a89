//! Senders and a driver, at the same time, and on a network that loses, delays and repeats.

use durable::ids::MessageId;
use durable::message::Message;
use durable::ports::{CommitOutcome, Delivered, Store};
use durable_tests::build::*;
use durable_tests::proxy::{Fate, Plan, Proxy};

const MESSAGES: u64 = 40;

/// Each message that was acknowledged is taken exactly once, and those that were sent one after the other in that order. `store` is behind the
/// proxy, `direct` is not.
pub async fn exactly_once(store: &dyn Store, direct: &dyn Store, proxy: &Proxy, seed: u64) {
    created(direct, start("a", 1)).await;
    let fates = vec![Fate::LoseAnswer, Fate::BreakAnswer, Fate::DoneButError, Fate::Cut, Fate::Late, Fate::ServerError, Fate::Throttle, Fate::Twice];
    proxy.follow(Plan::seeded(seed, 250, fates));
    let mut random = Random::new(seed);
    let (mut next, mut tries) = (0, 0);
    while next < MESSAGES {
        tries += 1;
        assert!(tries < 5_000, "seed {seed}: it does not end");
        if random.once_in(10) {
            proxy.deliver_late().await.unwrap();
        }
        if random.once_in(3) {
            drive(store, tries).await;
            continue;
        }
        // A sender asks again until it is told.
        if matches!(store.deliver(&id("a"), Some(life(1)), message(next)).await, Ok(Delivered::Delivered | Delivered::Duplicate)) {
            next += 1;
        }
    }
    proxy.deliver_late().await.unwrap();
    proxy.follow(Plan::none());
    drive(store, tries + 1).await;
    let loaded = load(direct, "a").await;
    assert_eq!(loaded.inbox, [], "seed {seed}");
    let taken: Vec<MessageId> = loaded.events.iter().map(|event| MessageId(event[..16].try_into().unwrap())).collect();
    assert_eq!(taken, (0..MESSAGES).map(|n| message(n).id).collect::<Vec<_>>(), "seed {seed}");
}

fn message(n: u64) -> Message {
    match n % 3 {
        0 => raised(n),
        1 => Message { keyed: true, ..raised_with(n, large(1_000, n)) },
        _ => sent_by("s", 1, n),
    }
}

/// Takes what waits, each message as an event that bears its id. Nobody repeats a commit: the next one goes on from what stands there.
async fn drive(store: &dyn Store, n: u64) {
    let Ok(Some(loaded)) = store.load(&id("a"), None).await else { return };
    if loaded.inbox.is_empty() {
        return;
    }
    let new = loaded.inbox.iter().map(|message| message.id.0.to_vec().into()).collect();
    let commit = Turn::on("a", &loaded).named(n << 20).takes_all().append(new).build_commit();
    // Whatever the answer says: the next look shows what stands there.
    drop(store.commit(commit).await);
}

/// Many senders while the instance ends: whoever was told that its message is stored finds it told of behind the last commit, and nobody else does.
pub async fn the_last_commit_tells_of_every_message(store: &dyn Store) {
    const SENDERS: u64 = 8;
    for round in 1..=15 {
        created(store, start("a", round)).await;
        deliver(store, "a", raised(100)).await;
        let seen = load(store, "a").await;
        let last = store.commit(Turn::on("a", &seen).takes(1).append(events(0..1)).completes(text("1")).build_commit());
        let senders = futures_util::future::join_all((0..SENDERS).map(|n| store.deliver(&id("a"), None, raised(n))));
        let (answers, outcome) = futures_util::future::join(senders, last).await;
        let CommitOutcome::Committed(committed) = outcome else { panic!("round {round}: {outcome:?}") };
        let mut stored: Vec<MessageId> =
            (0..SENDERS).zip(answers).filter(|(_, answer)| *answer.as_ref().unwrap() == Delivered::Delivered).map(|(n, _)| message_id(n)).collect();
        let (mut told, mut there) = (ids(&committed.inbox), ids(&load(store, "a").await.inbox));
        for all in [&mut stored, &mut told, &mut there] {
            all.sort();
        }
        assert_eq!((&told, &there), (&stored, &stored), "round {round}");
        assert_eq!(deliver(store, "a", raised(200)).await, Delivered::Finished);
    }
}
