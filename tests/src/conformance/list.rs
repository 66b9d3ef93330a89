//! Listing: filters, order of creation, and pages that stay right while instances come and go.

use durable::header::RuntimeStatus;
use durable::ports::{Create, ListQuery, PageToken, ReusePolicy, Store};

use super::Subject;
use crate::build::*;

/// All pages of a query. Pages may be short or empty; one that never ends is a failure.
async fn all(store: &dyn Store, query: ListQuery) -> Vec<String> {
    let (mut found, mut token) = (Vec::new(), None);
    for _ in 0..10_000 {
        let page = store.list(query.clone(), token).await.unwrap();
        assert!(page.items.len() <= if query.top == 0 { 100 } else { query.top }, "a page of {} for top {}", page.items.len(), query.top);
        found.extend(page.items.iter().map(|item| item.instance.to_string()));
        token = page.next;
        if token.is_none() {
            return found;
        }
    }
    panic!("the listing has no end");
}

/// Creates instances one second apart.
async fn populate(store: &dyn Store, instances: &[&str]) {
    for (n, instance) in instances.iter().enumerate() {
        let mut create = start(instance, n as u64 + 1);
        create.header.created = at(n as i64);
        created(store, create).await;
    }
}

/// An empty store lists nothing.
pub async fn an_empty_store_lists_nothing(store: Subject) {
    assert_eq!(all(&*store, ListQuery::default()).await, Vec::<String>::new());
}

/// Instances stand in the order in which they were created, whatever they are called and however they changed since.
pub async fn instances_stand_in_the_order_of_creation(store: Subject) {
    populate(&*store, &["m", "z", "a", "B", "y"]).await;
    for instance in ["y", "m"] {
        Turn::on(instance, &load(&*store, instance).await).append(events(0..200)).lands(&*store).await;
    }
    assert_eq!(all(&*store, ListQuery::default()).await, ["m", "z", "a", "B", "y"]);
}

/// An item shows what the status of its instance shows.
pub async fn an_item_shows_what_the_status_shows(store: Subject) {
    populate(&*store, &["a"]).await;
    let loaded = load(&*store, "a").await;
    Turn::on("a", &loaded).append(events(0..3)).custom_status(text("[1]")).completes(text("\"out\"")).lands(&*store).await;
    let status = store.status(&id("a")).await.unwrap().unwrap();
    let page = store.list(ListQuery::default(), None).await.unwrap();
    let [item] = &page.items[..] else { panic!("{} items", page.items.len()) };
    assert_eq!((&item.instance, &item.header, &item.input), (&status.instance, &status.header, &status.input));
    assert_eq!((&item.output, &item.custom_status), (&Some(text("\"out\"")), &Some(text("[1]"))));
}

/// The prefix is taken to the letter, case and all: `%`, `_`, `*` and `[` stand for themselves.
pub async fn the_prefix_is_taken_to_the_letter(store: Subject) {
    populate(&*store, &["order-1", "order-2", "Order-3", "or%er", "or_er", "orxer", "o[r]", "or*", "größe", "gros", "order"]).await;
    for (prefix, expected) in [
        ("order-", vec!["order-1", "order-2"]),
        ("Order", vec!["Order-3"]),
        ("or%", vec!["or%er"]),
        ("or_", vec!["or_er"]),
        ("o[", vec!["o[r]"]),
        ("or*", vec!["or*"]),
        ("grö", vec!["größe"]),
        ("order", vec!["order-1", "order-2", "order"]),
        ("%", vec![]),
        ("order-11", vec![]),
    ] {
        assert_eq!(all(&*store, ListQuery { prefix: Some(prefix.into()), ..ListQuery::default() }).await, expected, "{prefix}");
    }
    assert_eq!(all(&*store, ListQuery { prefix: Some(String::new()), ..ListQuery::default() }).await.len(), 11);
}

/// Both bounds of the time of creation are inclusive, and each may be missing.
pub async fn the_bounds_of_creation_are_inclusive(store: Subject) {
    populate(&*store, &["t0", "t1", "t2", "t3", "t4"]).await;
    let just_after = durable::Timestamp(at(1).0 + 1);
    for (from, till, expected) in [
        (Some(at(1)), Some(at(3)), &["t1", "t2", "t3"][..]),
        (Some(at(2)), Some(at(2)), &["t2"]),
        (Some(at(3)), None, &["t3", "t4"]),
        (None, Some(at(0)), &["t0"]),
        (Some(just_after), Some(at(2)), &["t2"]),
        (Some(at(3)), Some(at(1)), &[]),
        (Some(at(5)), None, &[]),
    ] {
        assert_eq!(all(&*store, ListQuery { created_from: from, created_to: till, ..ListQuery::default() }).await, expected, "{from:?} {till:?}");
    }
}

/// Gives the instance a state.
async fn set(store: &dyn Store, instance: &str, status: RuntimeStatus) {
    Turn::on(instance, &load(store, instance).await).with(|h| h.status = status).lands(store).await;
}

/// Any set of states may be asked for; the state is the one stored now.
pub async fn any_set_of_states_can_be_asked_for(store: Subject) {
    populate(&*store, &["p", "r", "s", "c", "f", "t"]).await;
    for (instance, status) in [
        ("r", RuntimeStatus::Running),
        ("s", RuntimeStatus::Suspended),
        ("c", RuntimeStatus::Completed),
        ("f", RuntimeStatus::Failed),
        ("t", RuntimeStatus::Terminated),
    ] {
        set(&*store, instance, status).await;
    }
    let by = |status: &[RuntimeStatus]| ListQuery { status: status.to_vec(), ..ListQuery::default() };
    for (status, expected) in [
        (vec![], vec!["p", "r", "s", "c", "f", "t"]),
        (vec![RuntimeStatus::Pending], vec!["p"]),
        (vec![RuntimeStatus::Terminated, RuntimeStatus::Running, RuntimeStatus::Running], vec!["r", "t"]),
        (vec![RuntimeStatus::Canceled], vec![]),
        (RuntimeStatus::ALL.to_vec(), vec!["p", "r", "s", "c", "f", "t"]),
    ] {
        assert_eq!(all(&*store, by(&status)).await, expected, "{status:?}");
    }
    set(&*store, "r", RuntimeStatus::Completed).await;
    assert_eq!(all(&*store, by(&[RuntimeStatus::Running])).await, Vec::<String>::new());
    assert_eq!(all(&*store, by(&[RuntimeStatus::Completed])).await, ["r", "c"]);
}

/// Filters hold together, on every page.
pub async fn filters_hold_together(store: Subject) {
    let names: Vec<String> = (0..60).map(|n| format!("{}-{n}", if n % 2 == 0 { "even" } else { "odd" })).collect();
    populate(&*store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for name in names.iter().step_by(3) {
        set(&*store, name, RuntimeStatus::Running).await;
    }
    let expected: Vec<String> = (10..=50).filter(|n| n % 6 == 0).map(|n| format!("even-{n}")).collect();
    for top in [0, 1, 2, 5, 100] {
        let query = ListQuery { prefix: Some("even-".into()), created_from: Some(at(10)), created_to: Some(at(50)), status: vec![RuntimeStatus::Running], top };
        assert_eq!(all(&*store, query).await, expected, "top {top}");
    }
}

/// Pages of any size tell of each instance once, in order; without a size a page has at most 100.
pub async fn pages_of_any_size_tell_of_each_instance_once(store: Subject) {
    let names: Vec<String> = (0..130).map(|n| format!("i{:03}", n * 37 % 130)).collect();
    populate(&*store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for top in [0, 1, 7, 64, 65, 129, 130, 131, 1000] {
        assert_eq!(all(&*store, ListQuery { top, ..ListQuery::default() }).await, names, "top {top}");
    }
}

/// While somebody pages, others create, end, replace and purge: nobody is told of twice, and nobody who stayed is missed.
pub async fn paging_stays_right_while_instances_come_and_go(store: Subject) {
    let names: Vec<String> = (0..40).map(|n| format!("i{n:02}")).collect();
    populate(&*store, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (mut found, mut token, mut round) = (Vec::new(), None, 0_usize);
    loop {
        let page = store.list(ListQuery { top: 3, ..ListQuery::default() }, token).await.unwrap();
        found.extend(page.items.iter().map(|item| item.instance.to_string()));
        token = page.next;
        round += 1;
        if token.is_none() {
            break;
        }
        assert!(round < 1000, "the listing has no end");
        if round <= 10 {
            // One behind the reader, one before it, a new one, and a change to one that stays.
            for name in [&names[round], &names[39 - round]] {
                if round % 2 == 0 && store.load(&id(name), None).await.unwrap().is_some() {
                    set(&*store, name, RuntimeStatus::Completed).await;
                    purged(&*store, name).await;
                }
            }
            let mut new = start(&format!("new{round}"), 1000 + round as u64);
            new.header.created = at(100 + round as i64);
            created(&*store, new).await;
            Turn::on("i15", &load(&*store, "i15").await).append(events(0..9)).lands(&*store).await;
        }
    }
    let mut once = found.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), found.len(), "somebody was told of twice: {found:?}");
    for (n, name) in names.iter().enumerate() {
        let purged = (n % 2 == 0 && (1..=10).contains(&n)) || ((39 - n) % 2 == 0 && (1..=10).contains(&(39 - n)));
        assert!(purged || found.contains(name), "{name} was missed: {found:?}");
    }
    let mut in_order: Vec<_> = found.iter().filter(|name| name.starts_with('i')).cloned().collect();
    in_order.sort();
    assert_eq!(in_order, found.iter().filter(|name| name.starts_with('i')).cloned().collect::<Vec<_>>());
}

/// A token stays good when the very instance that it points to is purged.
pub async fn a_token_outlives_the_instance_it_points_to(store: Subject) {
    for name in ["a", "b", "c", "d"] {
        ended(&*store, name, 1).await;
    }
    let first = store.list(ListQuery { top: 2, ..ListQuery::default() }, None).await.unwrap();
    for item in &first.items {
        purged(&*store, item.instance.as_str()).await;
    }
    let (mut found, mut token) = (first.items, first.next);
    while let Some(next) = token {
        let page = store.list(ListQuery { top: 2, ..ListQuery::default() }, Some(next)).await.unwrap();
        found.extend(page.items);
        assert!(found.len() < 100, "the listing has no end");
        token = page.next;
    }
    let names: Vec<&str> = found.iter().map(|item| item.instance.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
}

/// An instance that was replaced stands where its new life was created, once.
pub async fn a_replaced_instance_stands_where_its_new_life_was_created(store: Subject) {
    populate(&*store, &["a", "b", "c"]).await;
    let mut again = Create { policy: ReusePolicy::ReplaceAny, ..start("a", 9) };
    again.header.created = at(60);
    created(&*store, again).await;
    assert_eq!(all(&*store, ListQuery::default()).await, ["b", "c", "a"]);
}

/// A token of another store, and a text that is no token at all, are refused.
pub async fn a_token_of_another_store_is_refused(store: Subject) {
    let other = store.another();
    for subject in [&store, &other] {
        populate(&**subject, &["a", "b", "c", "d"]).await;
    }
    let one = ListQuery { top: 1, ..ListQuery::default() };
    let mut token = None;
    while token.is_none() {
        token = other.list(one.clone(), None).await.unwrap().next;
    }
    assert!(other.list(one.clone(), token.clone()).await.is_ok());
    assert!(store.list(one.clone(), token).await.is_err(), "the token of another store was taken");
    for nonsense in ["", "1", "x", "%00", "🦀", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        assert!(store.list(one.clone(), Some(PageToken(nonsense.into()))).await.is_err(), "{nonsense:?} was taken");
    }
}
