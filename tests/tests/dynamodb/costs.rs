//! What the base lifecycle is billed, with the real engine and the template's orchestrator: four writes of one item.

use std::sync::Arc;

use durable::ports::Store;
use durable_aws::store::Operation;
use durable_host::stores::CloudStore;
use durable_tests::build::id;
use durable_tests::dynamodb::Local;

use crate::stores::engine::base_lifecycle;

#[test]
fn the_base_lifecycle_is_four_writes_and_six_units() {
    let local = Local::get();
    let (client, table) = (Local::client(local.address()), local.table());
    let (store, looks) = (Local::store(&client, &table, "hub"), Local::store(&client, &table, "hub"));
    let mut asleep = store.capacity();
    local.run(base_lifecycle(Arc::new(store.clone()), &looks, || asleep = store.capacity()));
    let all = store.capacity();
    for operation in Operation::ALL {
        println!("{operation:?}: {:?} asleep, {:?} in all", asleep.of(operation), all.of(operation));
    }
    let (create, commit, load) = (all.of(Operation::Create), all.of(Operation::Commit), all.of(Operation::Load));
    assert_eq!((create.calls, commit.calls), (1, 3), "four writes");
    assert!(create.write_units + commit.write_units <= 6.0, "{} write units", create.write_units + commit.write_units);
    assert_eq!(create.write_units, 2.0, "the item, and its entry in the index");
    assert!(load.read_units + create.read_units + commit.read_units <= 2.0, "{load:?}");
    assert_eq!(all.total().calls, create.calls + commit.calls + load.calls, "nothing else was asked");
}

/// What a start, a delivery, a look and a status are billed for a small instance.
#[test]
fn small_things_are_billed_as_little_as_can_be() {
    use durable_tests::build::{Turn, created, deliver, events, load, raised, start};
    let (local, store) = (Local::get(), Local::get().fresh());
    local.run(async {
        let used = |before: &durable_aws::store::Capacity| store.capacity().since(before).total();
        let mut at = store.capacity();
        created(&store, start("a", 1)).await;
        assert_eq!((used(&at).calls, used(&at).write_units), (1, 2.0));
        at = store.capacity();
        deliver(&store, "a", raised(1)).await;
        assert_eq!((used(&at).calls, used(&at).write_units, used(&at).read_units), (1, 1.0, 0.0));
        at = store.capacity();
        let loaded = load(&store, "a").await;
        assert_eq!((used(&at).calls, used(&at).read_units), (1, 1.0));
        at = store.capacity();
        Turn::on("a", &loaded).takes_all().append(events(0..3)).lands(&store).await;
        assert_eq!((used(&at).calls, used(&at).write_units, used(&at).read_units), (1, 1.0, 0.0));
        at = store.capacity();
        store.peek(&id("a"), false).await.unwrap();
        assert_eq!((used(&at).calls, used(&at).read_units), (1, 0.5));
        at = store.capacity();
        deliver(&store, "a", raised(1)).await;
        assert_eq!((used(&at).calls, used(&at).write_units), (1, 1.0), "a refusal is billed too");
    });
}

/// A history and a custom status of usual sizes never make the item large: old events go into rows, each once.
#[test]
fn a_long_history_does_not_make_writes_dear() {
    use durable_tests::build::{Turn, created, events, start};
    let (local, store) = (Local::get(), Local::get().fresh());
    local.run(async {
        let mut committed = created(&store, start("a", 1)).await;
        let mut commit = Turn::after(&durable::ports::Commit::header_only(id("a"), committed.token.clone(), 0, start("a", 1).header), &committed);
        let before = store.capacity();
        for n in 0..200 {
            let next = commit.append(events(n * 5..n * 5 + 5)).build_commit();
            let durable::ports::CommitOutcome::Committed(landed) = store.commit(next.clone()).await else { panic!("commit {n} should have landed") };
            committed = landed;
            commit = Turn::after(&next, &committed);
        }
        let used = store.capacity().since(&before).of(Operation::Commit);
        let each = used.write_units / 200.0;
        assert!(each < 2.5, "{each} write units for each commit");
        assert_eq!(store.load(&id("a"), None).await.unwrap().unwrap().events, events(0..1000));
    });
}
