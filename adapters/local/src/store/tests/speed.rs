//! How fast it is: `cargo test -p durable-local --release -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::*;

/// Processor time of this process so far.
fn processor() -> Duration {
    // Fields 14 and 15 count ticks of 10 ms; the second field, a name in brackets, may hold spaces.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    Duration::from_millis(fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}

#[test]
#[ignore = "a measurement"]
fn base_lifecycles_in_a_second() {
    for at_a_time in [1, 64, 512] {
        let fixture = Fixture::new();
        let rounds = if at_a_time == 1 { 500 } else { 40_000 / at_a_time };
        let (begin, used) = (Instant::now(), processor());
        for round in 0..rounds {
            let creates: Vec<_> = (0..at_a_time).map(|n| create_of(&format!("{round:016x}{n:016x}"))).collect();
            let mut live: Vec<_> = creates.iter().map(|create| (create.instance.to_string(), create.header.clone(), Token::default())).collect();
            let answers: Vec<_> = creates.into_iter().map(|create| fixture.store.create(create)).collect();
            for (answer, live) in answers.into_iter().zip(&mut live) {
                let Ok(Created::Created(committed)) = wait(answer) else { panic!("not created") };
                live.2 = committed.token;
            }
            for turn in 0..3 {
                let mut answers = Vec::new();
                for (name, header, token) in &mut live {
                    let mut commit = if turn < 2 { next(name, header, token) } else { last(name, header, token) };
                    commit.header.timer_due = (turn == 1).then_some(Timestamp(1_800_000_000_000_000));
                    commit.header.open_activities = u32::from(turn == 0);
                    *header = commit.header.clone();
                    answers.push(fixture.store.commit(commit));
                }
                for (answer, live) in answers.into_iter().zip(&mut live) {
                    let CommitOutcome::Committed(committed) = wait(answer) else { panic!("not committed") };
                    live.2 = committed.token;
                }
            }
        }
        let (took, used) = (begin.elapsed(), processor() - used);
        let (lifecycles, stats) = (rounds * at_a_time, fixture.store.stats());
        println!(
            "{at_a_time:4} at a time: {:6.0} lifecycles/s, {:4.1} commits per transaction, {:.3} s of processor per 1000, {:.0} us per transaction",
            lifecycles as f64 / took.as_secs_f64(),
            stats.commits as f64 / stats.transactions as f64,
            used.as_secs_f64() * 1000.0 / lifecycles as f64,
            took.as_secs_f64() * 1e6 / stats.transactions as f64,
        );
    }
}

#[test]
#[ignore = "a measurement, of ten seconds"]
fn a_store_that_is_asked_nothing_uses_no_processor() {
    let fixture = Fixture::new();
    fixture.create(create_of("a"));
    std::thread::sleep(Duration::from_secs(3));
    let switches = || -> u64 {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let status = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).ok());
        status
            .filter(|status| status.starts_with("Name:\tdurable-"))
            .flat_map(|status| status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|line| line.rsplit('\t').next().and_then(|n| n.parse::<u64>().ok()))
            .sum()
    };
    let before = switches();
    assert!(before > 0);
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(switches(), before, "no thread of the store has run");
}
