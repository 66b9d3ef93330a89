//! What keeps hubs and lives apart.

use durable::header::RuntimeStatus;
use durable::message::Message;
use durable::ports::{Create, ListQuery, Purge, Store};
use durable_tests::build::*;

/// Hubs never see each other, and tokens of one are nothing to the other.
pub async fn hubs_keep_apart(stores: &[impl Store]) {
    for (n, store) in stores.iter().enumerate() {
        for instance in ["a", "b", "c"] {
            created(store, start(instance, n as u64 * 10 + 1)).await;
            deliver(store, instance, raised(n as u64)).await;
        }
    }
    let top = |top| ListQuery { top, ..ListQuery::default() };
    let mut tokens = Vec::new();
    for (n, store) in stores.iter().enumerate() {
        let page = store.list(top(0), None).await.unwrap();
        assert!(page.items.len() == 3 && page.items.iter().all(|item| item.header.incarnation == life(n as u64 * 10 + 1)));
        assert_eq!(load(store, "a").await.inbox, [raised(n as u64)]);
        tokens.push(store.list(top(1), None).await.unwrap().next.unwrap());
    }
    for (n, store) in stores.iter().enumerate() {
        for (m, token) in tokens.iter().enumerate() {
            assert_eq!(store.list(top(1), Some(token.clone())).await.is_ok(), n == m, "hub {n}, token of {m}");
        }
    }
    // One end, one purge, in one hub only.
    Turn::on("a", &load(&stores[0], "a").await).takes_all().completes(text("1")).lands(&stores[0]).await;
    assert_eq!(purged(&stores[0], "a").await, Purge::Done);
    assert_eq!(load(&stores[1], "a").await.header.status, RuntimeStatus::Pending);
}

/// What an instance writes in each life before it is purged.
pub struct Much {
    /// Senders of one message each: more than the header has room for.
    pub senders: u64,
    /// Messages that one turn takes.
    pub taken: usize,
    /// Bytes of a custom status in rows, written before the commit.
    pub status: usize,
    /// Events of one turn.
    pub events: u64,
}

/// Whatever an instance was, nothing is left in the table once it is purged: not after many lives, large payloads, lost races and restarts.
/// `rows` are the keys of all rows of the table, within their partitions; `header` is that of the header.
pub async fn a_purge_leaves_nothing(store: &dyn Store, much: Much, header: &str, rows: impl AsyncFn() -> Vec<String>) {
    let Much { senders, taken, status, events: many } = much;
    for n in 1..=3 {
        created(store, Create { input: large(900_000, n), ..start("a", n) }).await;
        for m in 0..senders {
            deliver(store, "a", sent_by(&format!("s{m}"), 1, 1)).await;
        }
        deliver(store, "a", Message { keyed: true, ..raised_with(n, large(400_000, n)) }).await;
        let loaded = load(store, "a").await;
        Turn::on("a", &loaded).takes(taken).custom_status(large(status, n)).append(events(0..many)).lands(store).await;
        Turn::on("a", &loaded).named(n << 40).custom_status(large(status, n + 10)).append(events(0..700)).loses(store).await;
        let loaded = load(store, "a").await;
        Turn::on("a", &loaded).takes_all().continues_as_new(large(200_000, n)).append(events(0..3)).lands(store).await;
        let loaded = load(store, "a").await;
        Turn::on("a", &loaded).append(events(3..80)).completes(large(70_000, n)).lands(store).await;
    }
    let (found, life) = (rows().await, life(3).to_string());
    assert!(found.iter().all(|row| row == header || row.contains(&life)), "rows of former lives are left: {found:?}");
    assert!(found.len() > 1, "there is nothing to remove");
    assert_eq!(purged(store, "a").await, Purge::Done);
    assert_eq!(rows().await, [""; 0]);
}
