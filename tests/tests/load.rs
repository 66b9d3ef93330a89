//! Much at once, and for long, on the real server: its memory stays where it is, a herd of timers is woken whole, one instance takes many events in
//! order, and a slow disk costs time and nothing else.
//!
//! `DURABLE_LOAD=all cargo test --release -p durable-tests --test load -- --nocapture --test-threads 1` runs it at full size (a million lifecycles,
//! 100,000 timers, 10,000 events), otherwise it is a small part of that. What comes of it is printed; no time is asserted. Kills under load, for as
//! long as one likes, are in `kill.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod support;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use support::{Folder, Http, PATIENCE, Server, output_of, wait_for, workload};

/// Connections that ask side by side.
const CLIENTS: u64 = 16;

/// The size of a story: all of it, or what every run can afford.
fn size(all: u64, part: u64) -> u64 {
    match std::env::var("DURABLE_LOAD").as_deref() {
        Ok("all") => all,
        Ok("") | Err(_) => part,
        Ok(other) => panic!("DURABLE_LOAD is {other:?}: it may be `all`"),
    }
}

/// Asks for each number below `count`, from many connections.
fn side_by_side(address: SocketAddr, count: u64, ask: impl Fn(&mut Http, u64) + Sync) {
    let (next, ask) = (AtomicU64::new(0), &ask);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut http = Http::new(address);
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= count {
                        break;
                    }
                    ask(&mut http, number);
                }
            });
        }
    });
}

/// How many instances have completed, as the database says.
fn completed(folder: &Folder) -> u64 {
    let path = folder.data().join("durable.db");
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX).unwrap();
    conn.busy_timeout(PATIENCE).unwrap();
    conn.query_row("SELECT count(*) FROM instances WHERE status = 1", [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
}

/// Memory of a server in bytes.
fn memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// Runs whole lifecycles with these ids.
fn lifecycles(server: &Server, label: &str, count: u64) {
    side_by_side(server.address, count, |http, number| {
        let id = format!("{label}-{number}");
        http.start("base_orchestrator", &id, "null");
        http.raise(&id, "WakeUp", "1");
    });
}

#[test]
fn memory_stays_where_it_is_over_many_lifecycles() {
    let (folder, count) = (Folder::new(), size(1_000_000, 6_000));
    let server = folder.serve(workload());
    // By then there are as many in memory as stay there, and the database has as much of it as it takes.
    lifecycles(&server, "first", 6_000.max(count / 10));
    let (begun, before) = (Instant::now(), memory(&server));
    lifecycles(&server, "then", count);
    let (took, after) = (begun.elapsed(), memory(&server));
    wait_for("all to complete", PATIENCE, || (completed(&folder) == count + 6_000.max(count / 10)).then_some(()));
    println!("{count} lifecycles in {took:.1?}: memory {} MB before, {} MB after", before >> 20, after >> 20);
    assert!(after < before + (16 << 20), "memory grew from {before} to {after} bytes over {count} lifecycles");
}

#[test]
fn a_herd_of_timers_of_one_second_is_woken_whole() {
    let (folder, count) = (Folder::new(), size(100_000, 2_000));
    let server = folder.serve(workload());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    // Long enough for all of them to fall asleep before.
    let due = now() + 4.0 + count as f64 / 800.0;
    side_by_side(server.address, count, |http, number| drop(http.start("sleeper", &format!("sleeper-{number}"), &(due - now()).to_string())));
    let early = due - now();
    assert!(early > 0.0 && completed(&folder) == 0, "they fell asleep too late by {} s, or woke early", -early);
    let begun = Instant::now() + Duration::from_secs_f64(early);
    let patience = PATIENCE + Duration::from_secs_f64(early + count as f64 / 100.0);
    wait_for("all to wake", patience, || (completed(&folder) == count).then_some(()));
    println!("{count} timers of one second: all had ended {:.1?} after it", begun.elapsed());
    let mut http = server.http();
    for number in [0, count / 2, count - 1] {
        assert_eq!(output_of(&mut http, &format!("sleeper-{number}")), "woke");
    }
}

#[test]
fn one_instance_takes_many_events_once_each_and_in_order() {
    let (folder, count) = (Folder::new(), size(10_000, 600));
    let server = folder.serve(workload());
    let mut http = server.http();
    http.start("collect", "a", "null");
    let (begun, mut refused) = (Instant::now(), 0);
    let items: Vec<String> = (0..count).map(|number| format!("item {number}")).collect();
    for item in items.iter().map(String::as_str).chain([""]) {
        wait_for("an event to be taken", PATIENCE, || {
            let answer = http.post("/api/orchestrators/a/raise/Item", &json!(item).to_string());
            refused += u64::from(answer.code != 202);
            assert!(matches!(answer.code, 202 | 429 | 503), "{answer:?}");
            (answer.code == 202).then_some(())
        });
    }
    assert_eq!(output_of(&mut http, "a"), json!(items));
    println!("{count} events to one instance in {:.1?}, {refused} refused for a while", begun.elapsed());
}

/// Has each sync of a server take so much longer.
fn slow_disk(server: &Server, by: Duration) -> Child {
    let mut command = Command::new("strace");
    command.args(["-f", "-q", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e"]);
    command.arg(format!("inject=fsync,fdatasync:delay_exit={}", by.as_micros())).args(["-p", &server.pid().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("strace is missing: install the package strace")
}

#[test]
fn a_slow_disk_costs_time_and_nothing_else() {
    let (folder, count) = (Folder::new(), size(5_000, 300));
    let server = folder.serve(workload());
    let mut tracer = slow_disk(&server, Duration::from_millis(50));
    let traced = || std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap().lines().any(|line| line == "TracerPid:\t0");
    wait_for("the disk to be slow", PATIENCE, || (!traced()).then_some(()));
    let begun = Instant::now();
    lifecycles(&server, "slow", count);
    wait_for("all to complete", 2 * PATIENCE, || (completed(&folder) == count).then_some(()));
    println!("{count} lifecycles, each sync 50 ms longer: {:.1?}", begun.elapsed());
    drop(server);
    tracer.wait().expect("it ends with the server");
}
