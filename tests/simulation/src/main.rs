//! Runs many seeds of the simulation on all cores, or one with its trace. A seed that fails is made smaller, and told how to be run again.
//!
//! `cargo run --release -p durable-simulation -- --seconds 120`

#![allow(clippy::print_stdout, reason = "this is what it is for")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use durable_simulation::faults::Fault;
use durable_simulation::{Flavour, Plan, Report, kind, run, shrink};

const USAGE: &str = "\
durable-simulation: the whole system on virtual time, under faults, from one seed

  --seeds N       so many seeds (1000)
  --seconds T     as many as the time allows, instead
  --from S        the first seed (0)
  --flavour F     embedded, lambda or functions; the seed chooses if none is said
  --threads N     so many at a time (as many as there are cores)
  --keep-going    do not end at the first seed that fails
  --seed S        one seed, with its trace
    --only A,B    with these faults only
    --without-steps N --without-roots N
                  without so many steps of clients, so many instances";

struct Options {
    plan: Plan,
    one: bool,
    seeds: u64,
    seconds: Option<u64>,
    from: u64,
    threads: usize,
    keep_going: bool,
}

fn options() -> Result<Options, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options { plan: Plan::default(), one: false, seeds: 1_000, seconds: None, from: 0, threads, keep_going: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        fn number<T: std::str::FromStr>(text: String) -> Result<T, String> {
            text.parse().map_err(|_| format!("{text:?} is no number"))
        }
        match word.as_str() {
            "--seeds" => options.seeds = number(value()?)?,
            "--seconds" => options.seconds = Some(number(value()?)?),
            "--from" => options.from = number(value()?)?,
            "--threads" => options.threads = number::<usize>(value()?)?.max(1),
            "--keep-going" => options.keep_going = true,
            "--seed" => (options.plan.seed, options.one) = (number(value()?)?, true),
            "--without-steps" => options.plan.without_steps = number(value()?)?,
            "--without-roots" => options.plan.without_roots = number(value()?)?,
            "--only" => {
                let text = value()?;
                let numbers = text.split(',').filter(|part| !part.is_empty()).map(|part| number(part.to_owned()));
                options.plan.only = Some(numbers.collect::<Result<BTreeSet<u64>, String>>()?);
            }
            "--flavour" => {
                let name = value()?;
                let found = Flavour::ALL.into_iter().find(|flavour| flavour.name() == name);
                options.plan.flavour = Some(found.ok_or_else(|| format!("there is no flavour {name:?}"))?);
            }
            _ => return Err(format!("{word:?} is not known\n\n{USAGE}")),
        }
    }
    Ok(options)
}

/// What was counted of one flavour.
#[derive(Default)]
struct Counted {
    seeds: u64,
    events: u64,
    deaths: u64,
    failures: BTreeMap<String, u64>,
    tally: BTreeMap<Fault, u64>,
}

#[derive(Default)]
struct All {
    flavours: BTreeMap<Flavour, Counted>,
    failed: Vec<u64>,
}

impl All {
    fn add(&mut self, seed: u64, report: &Report) {
        let counted = self.flavours.entry(report.flavour).or_default();
        counted.seeds += 1;
        counted.events += report.events;
        counted.deaths += report.deaths;
        for (fault, times) in &report.tally {
            *counted.tally.entry(*fault).or_default() += times;
        }
        if let Some(failure) = &report.failure {
            *counted.failures.entry(kind(failure).to_owned()).or_default() += 1;
            self.failed.push(seed);
        }
    }

    fn show(&self, taken: Duration) {
        let seeds: u64 = self.flavours.values().map(|counted| counted.seeds).sum();
        println!("\n{:<10} {:>10} {:>12} {:>12} {:>8}  failures", "flavour", "seeds", "events", "deaths", "faults");
        for (flavour, counted) in &self.flavours {
            let faults: u64 = counted.tally.values().sum();
            let failures: Vec<String> = counted.failures.iter().map(|(kind, times)| format!("{kind} {times}")).collect();
            let failures = if failures.is_empty() { "0 lost, 0 doubled, 0 stuck, 0 differ".to_owned() } else { failures.join(", ") };
            println!("{:<10} {:>10} {:>12} {:>12} {:>8}  {failures}", flavour.name(), counted.seeds, counted.events, counted.deaths, faults);
        }
        println!("\n{:<26} {}", "fault", Flavour::ALL.map(|flavour| format!("{:>12}", flavour.name())).join(""));
        let kinds: BTreeSet<Fault> = self.flavours.values().flat_map(|counted| counted.tally.keys().copied()).collect();
        for fault in kinds {
            let times = |flavour| self.flavours.get(&flavour).and_then(|counted| counted.tally.get(&fault)).copied().unwrap_or(0);
            println!("{:<26} {}", fault.name(), Flavour::ALL.map(|flavour| format!("{:>12}", times(flavour))).join(""));
        }
        println!("\n{seeds} seeds in {:.1} s: {:.0} seeds per second", taken.as_secs_f64(), seeds as f64 / taken.as_secs_f64().max(0.001));
    }
}

/// Says how a run failed, with the smallest trace, and how to run it again.
fn explain(plan: &Plan, report: Report) {
    let (plan, report) = shrink(plan, report);
    println!("\nseed {} ({}) fails; the smallest run that was found:\n", plan.seed, report.flavour.name());
    report.trace.iter().for_each(|line| println!("{line}"));
    println!("\n{}\n", report.failure.unwrap_or_else(|| "it fails no more: this run is not deterministic".to_owned()));
    println!("run it again: cargo run --release -p durable-simulation -- {}", command(&plan));
}

fn command(plan: &Plan) -> String {
    let mut text = format!("--seed {}", plan.seed);
    if let Some(flavour) = plan.flavour {
        text += &format!(" --flavour {}", flavour.name());
    }
    if let Some(only) = &plan.only {
        text += &format!(" --only {}", if only.is_empty() { ",".to_owned() } else { only.iter().map(u64::to_string).collect::<Vec<_>>().join(",") });
    }
    if plan.without_steps > 0 {
        text += &format!(" --without-steps {}", plan.without_steps);
    }
    if plan.without_roots > 0 {
        text += &format!(" --without-roots {}", plan.without_roots);
    }
    text
}

fn one(plan: &Plan) -> ExitCode {
    let report = run(&Plan { trace: true, ..plan.clone() });
    report.trace.iter().for_each(|line| println!("{line}"));
    match report.failure {
        None => {
            println!("seed {} ({}): all that must hold holds", plan.seed, report.flavour.name());
            ExitCode::SUCCESS
        }
        Some(failure) => {
            println!("seed {} ({}): {failure}", plan.seed, report.flavour.name());
            ExitCode::FAILURE
        }
    }
}

fn many(options: &Options) -> ExitCode {
    let (begun, next, all) = (Instant::now(), AtomicU64::new(options.from), Mutex::new(All::default()));
    let time = options.seconds.map(Duration::from_secs);
    let last = if time.is_some() { u64::MAX } else { options.from.saturating_add(options.seeds) };
    let all_now = || all.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    let over = time.is_some_and(|time| begun.elapsed() >= time) || (!options.keep_going && !all_now().failed.is_empty());
                    if seed >= last || over {
                        return;
                    }
                    let report = run(&Plan { seed, ..options.plan.clone() });
                    if let Some(failure) = &report.failure {
                        let line: String = failure.chars().take(160).collect();
                        println!("seed {seed} ({}): {}", report.flavour.name(), line.replace('\n', " "));
                    }
                    all_now().add(seed, &report);
                    if seed > options.from && (seed - options.from).is_multiple_of(100_000) {
                        println!("{} seeds, {:.0} s", seed - options.from, begun.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    let taken = begun.elapsed();
    let all = all_now();
    let first = all.failed.iter().min().copied();
    if let Some(seed) = first {
        let plan = Plan { seed, ..options.plan.clone() };
        explain(&plan, run(&plan));
    }
    all.show(taken);
    if first.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn main() -> ExitCode {
    match options() {
        Ok(options) if options.one => one(&options.plan),
        Ok(options) => many(&options),
        Err(wrong) => {
            println!("{wrong}");
            ExitCode::from(2)
        }
    }
}
