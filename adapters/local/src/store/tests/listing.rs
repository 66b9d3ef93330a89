//! Lists, and what a restart has to drive.

use durable::header::{Fault, FaultKind};
use durable::ports::{ListQuery, PageToken, StoreError};

use super::*;

/// All ids that a query finds, and in how many pages.
fn all(fixture: &Fixture, query: &ListQuery) -> (Vec<String>, usize) {
    let (mut found, mut pages, mut token) = (Vec::new(), 0, None);
    loop {
        let page = wait(fixture.store.list(query.clone(), token)).unwrap();
        found.extend(page.items.iter().map(|item| item.instance.to_string()));
        pages += 1;
        token = page.next;
        if token.is_none() {
            return (found, pages);
        }
    }
}

#[test]
fn a_list_is_in_order_of_creation_and_its_filters_are_exact() {
    let fixture = Fixture::new();
    let names = ["b%1", "b_1", "B%2", "a", "b%2", "é1", "b%10", "é2"];
    for (n, name) in names.iter().enumerate() {
        let mut create = create_of(name);
        // Clocks need not be in the order of creation.
        create.header.created = Timestamp([50, 40, 30, 20, 60, 70, 10, 80][n]);
        fixture.create(create);
    }
    let query = ListQuery::default;
    assert_eq!(all(&fixture, &query()).0, names);
    assert_eq!(all(&fixture, &ListQuery { top: 3, ..query() }), (names.map(String::from).to_vec(), 3));
    assert_eq!(all(&fixture, &ListQuery { top: 4, ..query() }).1, 2, "no empty page at the end");
    let prefix = |text: &str| ListQuery { prefix: Some(text.to_owned()), ..query() };
    assert_eq!(all(&fixture, &prefix("b%")).0, ["b%1", "b%2", "b%10"]);
    assert_eq!(all(&fixture, &prefix("é")).0, ["é1", "é2"]);
    assert_eq!(all(&fixture, &prefix("b%1")).0, ["b%1", "b%10"]);
    assert_eq!(all(&fixture, &prefix("")).0.len(), names.len());
    assert_eq!(all(&fixture, &prefix("zz")), (vec![], 1));
    let created = |from, to| ListQuery { created_from: Some(Timestamp(from)), created_to: Some(Timestamp(to)), top: 2, ..query() };
    assert_eq!(all(&fixture, &created(20, 50)).0, ["b%1", "b_1", "B%2", "a"]);
    assert_eq!(all(&fixture, &ListQuery { created_to: Some(Timestamp(20)), ..query() }).0, ["a", "b%10"]);

    let loaded = fixture.load("a");
    fixture.commit(last("a", &loaded.header, &loaded.token));
    assert_eq!(all(&fixture, &ListQuery { status: vec![RuntimeStatus::Completed], ..query() }).0, ["a"]);
    let both = vec![RuntimeStatus::Completed, RuntimeStatus::Pending];
    assert_eq!(all(&fixture, &ListQuery { status: both, ..query() }).0.len(), names.len());
    assert_eq!(all(&fixture, &ListQuery { status: vec![RuntimeStatus::Failed], ..query() }), (vec![], 1));
}

#[test]
fn a_page_token_belongs_to_its_store() {
    let (one, two) = (Fixture::new(), Fixture::new());
    for n in 0..3 {
        one.create(create_of(&format!("i{n}")));
    }
    let token = wait(one.store.list(ListQuery { top: 1, ..ListQuery::default() }, None)).unwrap().next.unwrap();
    assert!(wait(one.store.list(ListQuery::default(), Some(token.clone()))).is_ok());
    for token in [token, PageToken("nonsense".to_owned()), PageToken(String::new())] {
        let error = wait(two.store.list(ListQuery::default(), Some(token))).unwrap_err();
        assert!(matches!(error, StoreError::BadPageToken), "{error}");
    }
}

#[test]
fn a_page_looks_at_a_bounded_number_of_rows() {
    let fixture = Fixture::new();
    let answers: Vec<_> = (0..10_050)
        .map(|n| {
            let mut create = create_of(&format!("i{n}"));
            create.header.created = Timestamp(n);
            fixture.store.create(create)
        })
        .collect();
    answers.into_iter().for_each(|answer| assert!(wait(answer).is_ok()));
    let none = ListQuery { status: vec![RuntimeStatus::Failed], ..ListQuery::default() };
    assert_eq!(all(&fixture, &none), (vec![], 2));
    let late = ListQuery { created_from: Some(Timestamp(10_048)), ..ListQuery::default() };
    assert_eq!(all(&fixture, &late), (vec!["i10048".to_owned(), "i10049".to_owned()], 1));
    let most = ListQuery { created_from: Some(Timestamp(20)), prefix: Some("i".to_owned()), ..ListQuery::default() };
    assert_eq!(all(&fixture, &most).0.len(), 10_030);
    assert!(fixture.store.stats().transactions < 2_000, "creates queue up: {:?}", fixture.store.stats());
}

#[test]
fn a_restart_is_told_what_to_drive_page_by_page_from_indexes() {
    let fixture = Fixture::new();
    for n in 0..10_i64 {
        let create = create_of(&format!("i{n}"));
        let header = create.header.clone();
        let token = fixture.create(create).token;
        let mut commit = next(&format!("i{n}"), &header, &token);
        commit.header.open_activities = u32::from(n < 3);
        commit.header.timer_due = (n >= 5).then_some(Timestamp(1000 - n / 2));
        if n == 4 {
            commit.header.fault = Some(Fault {
                kind: FaultKind::Panic,
                build: "build-7".to_owned(),
                version: None,
                at_event: None,
                expected: None,
                asked: None,
                message: "it panicked".to_owned(),
                tries: 1,
                at: Timestamp(1),
                next_try: Some(Timestamp(5)),
            });
        }
        fixture.commit(commit);
    }
    wait(fixture.store.deliver(&id("i8"), None, message(None))).unwrap();
    wait(fixture.store.deliver(&id("i1"), None, message(None))).unwrap();
    let names = |found: &[(i64, InstanceId)]| found.iter().map(|(_, id)| id.to_string()).collect::<Vec<_>>();
    let first = wait(fixture.store.runnable(0, 3)).unwrap();
    assert_eq!(names(&first), ["i0", "i1", "i2"]);
    let second = wait(fixture.store.runnable(first[2].0, 3)).unwrap();
    assert_eq!(names(&second), ["i8"]);

    let (mut after, mut order) = (None, Vec::new());
    loop {
        let page = wait(fixture.store.due(after, 2)).unwrap();
        let Some((at, n, _)) = page.last() else { break };
        after = Some((*at, *n));
        order.extend(page.iter().map(|(_, _, id)| id.to_string()));
    }
    assert_eq!(order, ["i4", "i8", "i9", "i6", "i7", "i5"]);
    let faulted = wait(fixture.store.faulted(0, 10)).unwrap();
    assert_eq!((faulted.len(), faulted[0].1.as_str(), faulted[0].2.as_str()), (1, "i4", "build-7"));
    let counts = wait(fixture.store.counts()).unwrap();
    assert_eq!((counts.instances, counts.with_work, counts.with_due, counts.faulted, counts.messages), (10, 3, 6, 1, 2));

    for (sql, index) in [
        ("SELECT n FROM instances WHERE work = 1 AND n > 5 ORDER BY n LIMIT 3", "instances_work"),
        ("SELECT DISTINCT instance FROM inbox WHERE instance > 5 ORDER BY instance LIMIT 3", "inbox_instance"),
        ("SELECT due, n, id FROM instances WHERE due IS NOT NULL AND (due, n) > (5, 6) ORDER BY due, n LIMIT 3", "instances_due (due>"),
        ("SELECT n FROM instances WHERE id >= 'a' AND id < 'b' AND +n > 5 LIMIT 3", "COVERING INDEX sqlite_autoindex_instances_1 (id>? AND id<?)"),
        ("SELECT min(n) FROM instances INDEXED BY instances_created WHERE created >= 5 AND +n > 6", "COVERING INDEX instances_created"),
        ("SELECT n, id, fault FROM instances WHERE fault IS NOT NULL AND n > 5 ORDER BY n LIMIT 3", "instances_fault"),
    ] {
        let plan = fixture.hands(move |db| {
            let mut explain = db.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps = explain.query_map([], |row| row.get::<_, String>(3)).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
            steps.join("; ")
        });
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}
