//! What an instance that sleeps takes on disk.

use super::*;

#[test]
fn a_sleeping_instance_takes_few_bytes() {
    let fixture = Fixture::new();
    let empty = pages(&fixture);
    let sleepers = 1_000;
    let mut per_instance = (0, 0);
    for n in 0..sleepers {
        let name = format!("{:016x}{n:016x}", u64::from_be_bytes(draw()));
        let create = Create { input: payload(r#"{"customer":"c-1234","amount":12.5}"#), ..create_of(&name) };
        let header = create.header.clone();
        let token = fixture.create(create).token;
        // As after three turns: an activity has come and gone, and a timer of some days runs.
        let mut commit = next(&name, &header, &token);
        commit.header.timer_due = Some(Timestamp(1_700_600_000_000_000 + n));
        commit.header.ring = vec![(message(None).id, 2), (message(None).id, 3)];
        commit.append = vec![event(22), event(30), event(28), event(24), event(40)];
        per_instance = (commit.header.to_bytes().len(), commit.append.iter().map(Bytes::len).sum::<usize>());
        fixture.commit(commit);
    }
    let bytes = (pages(&fixture) - empty) * 4096 / sleepers;
    println!("a sleeping instance takes {bytes} bytes (header {} + events {} + input and id)", per_instance.0, per_instance.1);
    assert!(bytes <= 700, "{bytes} bytes");
}

fn pages(fixture: &Fixture) -> i64 {
    fixture.hands(|db| db.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap())
}
