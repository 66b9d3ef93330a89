//! What the tables hold after turns, deliveries and purges.

use durable::header::Delivery;
use durable::limits;
use durable::message::Sender;
use durable::ports::{Delivered, Known, Purge, StoreError};

use super::*;

#[test]
fn a_long_history_is_sealed_in_chunks_and_read_from_anywhere() {
    let fixture = Fixture::new();
    let create = create_of("a");
    let mut header = create.header.clone();
    let mut token = fixture.create(create).token;
    let mut all = Vec::new();
    for turn in 0..120_usize {
        let mut commit = next("a", &header, &token);
        commit.append = (0..turn % 4).map(|n| event([30, 500, 90_000][(turn + n) % 3])).collect();
        all.extend(commit.append.iter().cloned());
        commit.header.events = all.len() as u64;
        // Every third commit comes without its token, as after a restart.
        if turn % 3 == 0 {
            commit.token = Token::default();
        }
        header = commit.header.clone();
        token = fixture.commit(commit).token;
    }
    assert!(fixture.hands(|db| db.conn.query_row("SELECT count(*) FROM chunks", [], |row| row.get::<_, i64>(0)).unwrap()) > 10);
    assert_eq!(fixture.load("a").events, all);
    for from in [0, 1, 17, 100, all.len() - 1, all.len()] {
        let known = Known { incarnation: header.incarnation, execution: 0, events: from as u64 };
        let loaded = wait(fixture.store.load(&id("a"), Some(known))).unwrap().unwrap();
        assert_eq!((loaded.first_event, &loaded.events[..]), (from as u64, &all[from..]));
        let to = (from + 20).min(all.len());
        let range = wait(fixture.store.history(&id("a"), header.incarnation, 0, from as u64..from as u64 + 20)).unwrap();
        assert_eq!(range, all[from..to]);
    }
    let stranger = Known { incarnation: Incarnation([9; 8]), execution: 0, events: 5 };
    assert_eq!(wait(fixture.store.load(&id("a"), Some(stranger))).unwrap().unwrap().first_event, 0);
    assert!(wait(fixture.store.history(&id("a"), header.incarnation, 1, 0..9)).unwrap().is_empty());

    // Continue-as-new: history begins afresh, the inbox stays.
    wait(fixture.store.deliver(&id("a"), None, message(None))).unwrap();
    let mut commit = next("a", &header, &token);
    commit.reset = true;
    commit.header.execution = 1;
    commit.input = Some(large(b'n', 2000));
    let only = commit.append.clone();
    assert_eq!(fixture.commit(commit).inbox.len(), 1);
    let loaded = fixture.load("a");
    assert_eq!((loaded.events, loaded.input, loaded.inbox.len()), (only, large(b'n', 2000), 1));
    assert_eq!(fixture.rows(), 3, "the instance, its input, its message");
}

#[test]
fn payloads_move_between_the_row_and_their_own_row_and_stay_when_not_given() {
    let fixture = Fixture::new();
    let create = Create { input: large(b'i', 5000), custom_status: Some(payload("1")), ..create_of("a") };
    let mut header = create.header.clone();
    let mut token = fixture.create(create).token;
    for status in [Some(large(b's', 600)), None, Some(large(b't', 700)), Some(payload("2")), None] {
        let expected = status.clone().unwrap_or_else(|| fixture.load("a").custom_status.unwrap());
        let mut commit = next("a", &header, &token);
        commit.custom_status = status;
        header = commit.header.clone();
        token = fixture.commit(commit).token;
        let loaded = fixture.load("a");
        assert_eq!((loaded.input, loaded.custom_status, loaded.output), (large(b'i', 5000), Some(expected), None));
    }
    let mut commit = last("a", &header, &token);
    commit.output = Some(large(b'o', 10_000));
    fixture.commit(commit);
    let status = wait(fixture.store.status(&id("a"))).unwrap().unwrap();
    assert_eq!((status.output, status.custom_status), (Some(large(b'o', 10_000)), Some(payload("2"))));
    assert_eq!(fixture.rows(), 3);
}

#[test]
fn a_turn_that_loses_changes_no_payload() {
    let fixture = Fixture::new();
    let create = Create { custom_status: Some(large(b'a', 1000)), ..create_of("a") };
    let header = create.header.clone();
    let token = fixture.create(create).token;
    fixture.commit(next("a", &header, &token));
    let mut loser = next("a", &header, &token);
    loser.custom_status = Some(large(b'b', 1000));
    assert!(matches!(wait(fixture.store.commit(loser)), CommitOutcome::Lost(Some(_))));
    assert_eq!(fixture.load("a").custom_status, Some(large(b'a', 1000)));
    let nobody = next("nobody", &header, &token);
    assert!(matches!(wait(fixture.store.commit(nobody)), CommitOutcome::Lost(None)));
}

#[test]
fn a_token_of_another_store_is_not_believed() {
    let (one, two) = (Fixture::new(), Fixture::new());
    two.create(create_of("first"));
    let create = create_of("a");
    let header = create.header.clone();
    let foreign = one.create(create.clone()).token;
    two.create(create);
    two.commit(next("a", &header, &foreign));
    assert_eq!(two.load("a").header.revision, 2);
}

#[test]
fn messages_are_taken_from_the_front_and_later_ones_stay() {
    let fixture = Fixture::new();
    let create = create_of("a");
    let header = create.header.clone();
    let token = fixture.create(create).token;
    let messages: Vec<_> = (0..5).map(|_| message(None)).collect();
    for message in &messages {
        assert_eq!(wait(fixture.store.deliver(&id("a"), Some(header.incarnation), message.clone())).unwrap(), Delivered::Delivered);
        assert_eq!(wait(fixture.store.deliver(&id("a"), None, message.clone())).unwrap(), Delivered::Duplicate);
    }
    assert_eq!(fixture.load("a").header.revision, 1, "a delivery never makes a turn lose");
    let mut commit = next("a", &header, &token);
    commit.taken = 2;
    commit.header.ring = vec![(messages[0].id, 2), (messages[1].id, 2)];
    assert_eq!(fixture.commit(commit).inbox, messages[2..]);
    assert_eq!(wait(fixture.store.deliver(&id("a"), None, messages[0].clone())).unwrap(), Delivered::Duplicate);
    assert_eq!(wait(fixture.store.deliver(&id("a"), Some(Incarnation([1; 8])), message(None))).unwrap(), Delivered::NotFound);
    assert_eq!(wait(fixture.store.deliver(&id("b"), None, message(None))).unwrap(), Delivered::NotFound);

    // A restart knows what waits.
    let Fixture { store, folder } = fixture;
    drop(store);
    let store = SqliteStore::open(Options::new(folder.path())).unwrap();
    assert_eq!(wait(store.runnable(0, 10)).unwrap().len(), 1);
    let fixture = Fixture { store, folder };
    assert_eq!(wait(fixture.store.deliver(&id("a"), None, messages[4].clone())).unwrap(), Delivered::Duplicate);
    let loaded = fixture.load("a");
    let mut commit = last("a", &loaded.header, &loaded.token);
    commit.taken = 3;
    assert!(fixture.commit(commit).inbox.is_empty());
    assert_eq!(wait(fixture.store.deliver(&id("a"), None, message(None))).unwrap(), Delivered::Finished);
}

#[test]
fn an_inbox_has_limits_and_one_message_of_the_largest_size_fits() {
    let fixture = Fixture::new();
    fixture.create(create_of("many"));
    let answers: Vec<_> = (0..limits::INBOX_MESSAGES + 1).map(|_| fixture.store.deliver(&id("many"), None, message(None))).collect();
    let answers: Vec<_> = answers.into_iter().map(|answer| wait(answer).unwrap()).collect();
    assert!(answers[..limits::INBOX_MESSAGES].iter().all(|answer| *answer == Delivered::Delivered));
    assert_eq!(answers[limits::INBOX_MESSAGES], Delivered::Full);

    fixture.create(create_of("large"));
    let huge = Message { body: MessageBody::EventRaised { name: "x".to_owned(), data: large(b'x', limits::PAYLOAD_BYTES) }, ..message(None) };
    assert_eq!(wait(fixture.store.deliver(&id("large"), None, huge)).unwrap(), Delivered::Delivered);
    assert_eq!(wait(fixture.store.deliver(&id("large"), None, message(None))).unwrap(), Delivered::Full);
}

#[test]
fn a_sender_is_heard_once_for_each_number() {
    let fixture = Fixture::new();
    let create = create_of("a");
    let header = create.header.clone();
    let token = fixture.create(create).token;
    let sender = |number| Some(Sender { instance: id("sender"), life: Incarnation([3; 8]), number });
    let deliver = |number| wait(fixture.store.deliver(&id("a"), None, message(sender(number)))).unwrap();
    assert_eq!(deliver(2), Delivered::Delivered);
    assert_eq!(deliver(2), Delivered::Duplicate);
    assert_eq!(deliver(1), Delivered::Duplicate);
    let mut commit = next("a", &header, &token);
    commit.taken = 1;
    commit.direct = vec![message(sender(5))];
    fixture.commit(commit);
    assert_eq!(deliver(5), Delivered::Duplicate);
    assert_eq!(deliver(6), Delivered::Delivered);
}

#[test]
fn what_a_turn_asks_of_others_is_done_in_its_own_transaction_or_not_at_all() {
    let fixture = Fixture::new();
    let create = create_of("parent");
    let parent = create.header.clone();
    let token = fixture.create(create).token;
    fixture.create(create_of("taken"));
    fixture.ended("ended");
    fixture.create(create_of("receiver"));
    let child = header();
    let start = |name: &str, header: &Header| Delivery::Start {
        instance: id(name),
        header: Box::new(header.clone()),
        input: large(b'c', 900),
        if_refused: Some(message(None)),
    };
    let tell = |to: &str, life| Delivery::Message { to: id(to), incarnation: life, message: message(None) };
    let mut commit = next("parent", &parent, &token);
    commit.deliveries = vec![
        start("child", &child),
        start("taken", &header()),
        start("ended", &header()),
        start("parent", &header()),
        tell("receiver", None),
        tell("receiver", Some(Incarnation([8; 8]))),
        tell("nobody", None),
        tell("child", Some(child.incarnation)),
    ];
    let before = fixture.store.stats();
    let committed = fixture.commit(commit.clone());
    assert_eq!(fixture.store.stats().transactions - before.transactions, 1);
    assert_eq!(committed.inbox.len(), 2, "the refusals of the two ids that are in use");
    assert_eq!(fixture.load("child").header, child);
    assert_eq!(fixture.load("child").inbox.len(), 1);
    assert_eq!(fixture.load("ended").header.status, RuntimeStatus::Pending);
    assert_eq!(fixture.load("receiver").inbox.len(), 1);

    // The same commit again has lost, and does nothing of that again.
    assert!(matches!(wait(fixture.store.commit(commit)), CommitOutcome::Lost(Some(_))));
    assert_eq!(fixture.load("receiver").inbox.len(), 1);

    // A start that comes twice is one start.
    let loaded = fixture.load("parent");
    let mut commit = next("parent", &loaded.header, &loaded.token);
    commit.deliveries = vec![start("child", &child)];
    assert_eq!(fixture.commit(commit).inbox.len(), 2);
    assert_eq!(fixture.load("child").inbox.len(), 1);
}

#[test]
fn an_id_is_given_again_only_as_the_policy_says() {
    let fixture = Fixture::new();
    let create = create_of("a");
    fixture.create(create.clone());
    let try_with = |policy| wait(fixture.store.create(Create { policy, ..create_of("a") })).unwrap();
    assert!(matches!(wait(fixture.store.create(create)).unwrap(), Created::Exists(_)));
    assert!(matches!(try_with(ReusePolicy::ReplaceEnded), Created::Exists(_)));
    assert!(matches!(try_with(ReusePolicy::Never), Created::Exists(_)));
    assert!(matches!(try_with(ReusePolicy::ReplaceAny), Created::Created(_)));

    let loaded = fixture.load("a");
    let mut commit = last("a", &loaded.header, &loaded.token);
    commit.append = vec![event(5000)];
    commit.output = Some(large(b'o', 5000));
    fixture.commit(commit);
    assert_eq!(fixture.rows(), 3);
    assert!(matches!(try_with(ReusePolicy::Never), Created::Exists(_)));
    assert!(matches!(try_with(ReusePolicy::ReplaceEnded), Created::Created(_)));
    assert_eq!(fixture.rows(), 1, "nothing of the former life is left");

    // One that still has messages to hand on keeps its id.
    let loaded = fixture.load("a");
    let mut commit = last("a", &loaded.header, &loaded.token);
    commit.header.outbox = vec![Delivery::Message { to: id("b"), incarnation: None, message: message(None) }];
    fixture.commit(commit);
    assert!(matches!(try_with(ReusePolicy::ReplaceAny), Created::Exists(_)));
    assert_eq!(wait(fixture.store.purge_begin(&id("a"))).unwrap(), Purge::Busy);
}

#[test]
fn a_purge_leaves_no_row_in_any_table() {
    let fixture = Fixture::new();
    assert_eq!(wait(fixture.store.purge_begin(&id("a"))).unwrap(), Purge::NotFound);
    let create = Create { input: large(b'i', 5000), ..create_of("a") };
    let header = create.header.clone();
    let token = fixture.create(create).token;
    assert_eq!(wait(fixture.store.purge_begin(&id("a"))).unwrap(), Purge::NotFinished);
    let sender = Sender { instance: id("s"), life: Incarnation([3; 8]), number: 1 };
    wait(fixture.store.deliver(&id("a"), None, message(Some(sender)))).unwrap();
    let mut commit = last("a", &header, &token);
    commit.append = vec![event(10_000); 3];
    commit.output = Some(large(b'o', 5000));
    fixture.commit(commit);
    assert_eq!(fixture.rows(), 6);
    assert_eq!(wait(fixture.store.purge_begin(&id("a"))).unwrap(), Purge::Done);
    assert_eq!(fixture.rows(), 0);
    assert_eq!(wait(fixture.store.purge_begin(&id("a"))).unwrap(), Purge::NotFound);
}

#[test]
fn a_long_history_is_purged_in_steps_and_its_id_is_free_at_once() {
    let fixture = Fixture::new();
    let create = create_of("a");
    let first_life = create.header.incarnation;
    let mut header = create.header.clone();
    let mut token = fixture.create(create).token;
    for _ in 0..200 {
        let mut commit = next("a", &header, &token);
        commit.append = vec![event(2100)];
        header = commit.header.clone();
        token = fixture.commit(commit).token;
    }
    fixture.commit(last("a", &header, &token));
    // Kept busy, so that the writer does not sweep between the calls.
    let (go, gate) = std::sync::mpsc::channel::<()>();
    fixture.store.inner.writer.send(Request::Hands(Box::new(move |_| gate.recv().unwrap()))).unwrap();
    let begun = fixture.store.purge_begin(&id("a"));
    let again = fixture.store.create(create_of("a"));
    let stepped = fixture.store.purge_step(&id("a"), first_life);
    go.send(()).unwrap();
    assert_eq!(wait(begun).unwrap(), Purge::More(first_life));
    assert!(matches!(wait(again).unwrap(), Created::Created(_)));
    assert_eq!(wait(stepped).unwrap(), Purge::More(first_life));
    while let Purge::More(life) = wait(fixture.store.purge_step(&id("a"), first_life)).unwrap() {
        assert_eq!(life, first_life);
    }
    assert_eq!(fixture.rows(), 1, "the new life");
    assert!(fixture.load("a").events.is_empty());
}

#[test]
fn what_a_purge_has_left_is_swept_without_anybody_asking() {
    let fixture = Fixture::new();
    let header = fixture.ended("a");
    let loaded = fixture.load("a");
    let mut commit = last("a", &header, &loaded.token);
    commit.append = vec![event(300_000); 150];
    fixture.commit(commit);
    assert!(matches!(wait(fixture.store.purge_begin(&id("a"))).unwrap(), Purge::More(_)));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while fixture.rows() > 0 {
        assert!(std::time::Instant::now() < until, "not swept");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_record_of_a_newer_build_is_an_error_and_stays_as_it_is() {
    let fixture = Fixture::new();
    fixture.ended("a");
    fixture.create(create_of("b"));
    let newer = |db: &mut Db| {
        let header: Vec<u8> = db.conn.query_row("SELECT header FROM instances WHERE id = 'a'", [], |row| row.get(0)).unwrap();
        let header: Vec<u8> = std::iter::once(durable::codec::FORMAT + 1).chain(header.into_iter().skip(1)).collect();
        db.conn.execute("UPDATE instances SET header = ?1 WHERE id = 'a'", [&header]).unwrap();
        header
    };
    let header = fixture.hands(newer);
    let errors = [
        wait(fixture.store.load(&id("a"), None)).map(|_| ()),
        wait(fixture.store.status(&id("a"))).map(|_| ()),
        wait(fixture.store.create(create_of("a"))).map(|_| ()),
        wait(fixture.store.deliver(&id("a"), None, message(None))).map(|_| ()),
        wait(fixture.store.purge_begin(&id("a"))).map(|_| ()),
    ];
    for error in errors {
        let error = error.unwrap_err();
        assert!(matches!(error, StoreError::Format(_)) && error.to_string().contains("deploy a newer build"), "{error}");
    }
    let after = fixture.hands(|db| db.conn.query_row("SELECT header FROM instances WHERE id = 'a'", [], |row| row.get::<_, Vec<u8>>(0)).unwrap());
    assert_eq!(after, header);
    fixture.load("b");
}

#[test]
fn only_so_many_keys_are_kept() {
    let fixture = Fixture::new();
    fixture.create(create_of("a"));
    let n = limits::KEYED_IDS as i64 + 5;
    for at in 0..n {
        let keyed = durable::message::Message { keyed: true, arrived: durable::Timestamp::from_millis(at), ..message(None) };
        if wait(fixture.store.deliver(&id("a"), None, keyed)).unwrap() == Delivered::Full {
            let loaded = fixture.load("a");
            let mut commit = next("a", &loaded.header, &loaded.token);
            commit.taken = loaded.inbox.len();
            fixture.commit(commit);
        }
    }
    let kept = fixture.hands(|db| db.conn.query_row("SELECT count(*) FROM keys", [], |row| row.get::<_, i64>(0)).unwrap());
    assert_eq!(kept, limits::KEYED_IDS as i64);
}
