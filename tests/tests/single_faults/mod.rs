//! Exhaustive single faults on the real cloud hosts: between a function's processes and every service that they call stands a proxy. Each story
//! is told once undisturbed, which counts its calls, and then again for every call and every kind of fault (see [`Kind`]); then with pairs of
//! faults. A run is right if the client has all that it was promised, nothing came twice, and nothing is left to do; the safety nets alone see
//! to that, with short delays, and nobody looks after anything by hand.
//!
//! | variable | what |
//! | --- | --- |
//! | `DURABLE_FAULTS=all` | every call with every fault; a sample otherwise, with each story and each kind of fault in it |
//! | `DURABLE_FAULTS_SEED` | what the sample and the pairs are drawn from; printed, and the same each time if not said |
//! | `DURABLE_FAULTS_STORY` | only stories whose name contains this |
//! | `DURABLE_FAULTS_AT_ONCE` | how many stories are told at a time |
//! | `DURABLE_FAULTS_MINUTES` | after so long no further run is begun; the table says how many were not |
//!
//! `DURABLE_FAULTS=all cargo test -p durable-tests --test aws_faults -- --nocapture` runs all of it for one cloud.
//!
//! A call that does not come in a run (how many there are differs a little from run to run) strikes nobody; such runs are counted apart, and the
//! walk goes on behind the last call until one does not come. Must never: wake anybody up by looking, or take a run for right that was not looked at.

mod report;
mod script;
mod stories;
mod teller;
mod told;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durable::InstanceId;
use durable::ports::StatusRecord;
use durable_tests::build::Random;

use crate::support::Http;
use report::Report;
pub use script::{Fault, Kind, Script};
use stories::Story;
use told::{Told, tell_all};

/// The file whose being there says that what was broken outside is mended.
pub const MENDED: &str = "mended";

/// A host with a store of its own, whose calls go through proxies that follow a script.
pub trait Rig {
    /// Sets one up. Unless it is to be cold, its first process runs, and has nothing more to do.
    fn start(script: &Arc<Script>, cold: bool) -> Self
    where
        Self: Sized;
    /// What may go wrong with a call of this host, and what the table calls that.
    fn kinds() -> &'static [(Kind, &'static str)]
    where
        Self: Sized,
    {
        &script::OF_SERVICES
    }
    /// True if this may go wrong with that call.
    fn may(_asked: &str, _kind: Kind) -> bool
    where
        Self: Sized,
    {
        true
    }
    /// A client of its HTTP API.
    fn http(&self) -> Http;
    /// What the store has of an instance, read past the proxies.
    fn record(&self, instance: &InstanceId) -> Option<StatusRecord>;
    /// Waits until nothing runs and nothing waits to, but alarms that are not due.
    fn rest(&self);
    /// Waits until the queues and alarms are done with what has ended, and names what is wrong with them.
    fn left(&self) -> Vec<String>;
    /// How many alarms are still to ring for nothing.
    fn alarms(&self) -> usize;
    /// How long anything may take at most, whatever has died.
    fn bound(&self) -> Duration;
    /// How many processes the proxies have killed.
    fn killed(&self) -> u64;
    /// A folder of its own. The function finds the path of [`MENDED`] in it in the variable `MENDED`.
    fn folder(&self) -> &Path;
    /// What its processes have written.
    fn log(&self) -> String;
}

/// What is to be done.
struct Settings {
    all: bool,
    seed: u64,
    story: String,
    at_once: usize,
    /// No run begins after this.
    until: Option<Instant>,
}

impl Settings {
    fn from_env(at_once: usize) -> Self {
        let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let number = |name: &str| said(name).map(|value| value.parse::<u64>().unwrap_or_else(|_| panic!("{name} is {value:?}: it must be a number")));
        let all = said("DURABLE_FAULTS").is_some_and(|value| match value.as_str() {
            "all" => true,
            "sample" => false,
            _ => panic!("DURABLE_FAULTS is {value:?}: it may be `all` or `sample`"),
        });
        let at_once = number("DURABLE_FAULTS_AT_ONCE").map_or(at_once, |number| usize::try_from(number).unwrap_or(1)).max(1);
        let until = number("DURABLE_FAULTS_MINUTES").map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
        Self { until, all, seed: number("DURABLE_FAULTS_SEED").unwrap_or(1), story: said("DURABLE_FAULTS_STORY").unwrap_or_default(), at_once }
    }
}

/// Pairs of faults in each story, where everything is told.
const PAIRS: usize = 10;

/// One telling of a story, with what goes wrong in it.
pub struct Job {
    pub story: Story,
    pub faults: Vec<Fault>,
}

/// Tells all stories with all faults, or a sample of both, prints the table, and fails if any run was not right. `settings` says what the safety
/// nets were set to.
pub fn walk<R: Rig>(cloud: &str, settings_of_the_host: &str, at_once: usize) {
    let settings = Settings::from_env(at_once);
    println!("{cloud}: seed {}, {} stories at a time; {settings_of_the_host}", settings.seed, settings.at_once);
    let stories: Vec<Story> = stories::ALL.iter().copied().filter(|story| story.name.contains(&settings.story)).collect();
    assert!(!stories.is_empty(), "no story is called {:?}", settings.story);
    let undisturbed = tell_all::<R>(stories.iter().map(|story| Job { story: *story, faults: Vec::new() }).collect(), &settings);
    let mut report = Report::new(undisturbed, R::kinds());
    let mut random = Random::new(settings.seed);
    let mut jobs = Vec::new();
    for story in &stories {
        jobs.extend(singles::<R>(*story, report.asked(story.name), settings.all, &mut random));
        let pairs = if settings.all { PAIRS } else { 1 };
        jobs.extend((0..pairs).map(|_| pair::<R>(*story, report.asked(story.name), &mut random)));
    }
    // In any order: a part of them is then a sample of all.
    let mut jobs: Vec<(u64, Job)> = jobs.into_iter().map(|job| (random.below(u64::MAX), job)).collect();
    jobs.sort_by_key(|(place, _)| *place);
    let wanted = jobs.len();
    let told = tell_all::<R>(jobs.into_iter().map(|(_, job)| job).collect(), &settings);
    if told.len() < wanted {
        println!("the time was over: {} of {wanted} runs were not begun", wanted - told.len());
    }
    if settings.all {
        report.take(told);
        go_on_behind_the_end::<R>(&stories, &settings, &mut report);
    } else {
        strike::<R>(told, &settings, &mut report);
    }
    report.print(cloud);
    report.check();
}

/// One fault each: at every call, or one of each kind anywhere.
fn singles<R: Rig>(story: Story, asked: &[String], all: bool, random: &mut Random) -> Vec<Job> {
    let kinds = R::kinds().iter().map(|(kind, _)| *kind);
    let of_kind = kinds.map(|kind| (0..).zip(asked).filter(|(_, asked)| R::may(asked, kind)).map(|(call, _)| Fault { call, kind }).collect::<Vec<_>>());
    let mut faults: Vec<Fault> =
        if all { of_kind.flatten().collect() } else { of_kind.filter(|all| !all.is_empty()).map(|all| all[random.below(all.len() as u64) as usize]).collect() };
    faults.sort_by_key(|fault| fault.call);
    faults.into_iter().map(|fault| Job { story, faults: vec![fault] }).collect()
}

/// Two faults in one run. What recovers from the first makes more calls than the story alone.
fn pair<R: Rig>(story: Story, asked: &[String], random: &mut Random) -> Job {
    let calls = asked.len() as u64;
    let mut any = |below| loop {
        let fault = Fault { call: random.below(below), kind: R::kinds()[random.below(R::kinds().len() as u64) as usize].0 };
        if asked.get(fault.call as usize).is_none_or(|asked| R::may(asked, fault.kind)) {
            return fault;
        }
    };
    let (first, second) = (any(calls), any(calls + 4));
    Job { story, faults: if second.call == first.call { vec![first] } else { vec![first, second] } }
}

/// A sample strikes: what came too late for its run strikes earlier in another one.
fn strike<R: Rig>(mut told: Vec<Told>, settings: &Settings, report: &mut Report) {
    loop {
        let missed = told.iter().filter(|told| told.struck.is_empty());
        let earlier = missed.map(|told| {
            let faults = told.faults.iter().map(|fault| Fault { call: fault.call / 2, ..*fault }).collect();
            Job { story: told.of, faults }
        });
        let again: Vec<Job> = earlier.collect();
        report.take(told);
        if again.is_empty() {
            return;
        }
        told = tell_all::<R>(again, settings);
    }
}

/// As long as there are calls behind the last one that was struck.
fn go_on_behind_the_end<R: Rig>(stories: &[Story], settings: &Settings, report: &mut Report) {
    let mut open: Vec<(Story, u64)> = stories.iter().map(|story| (*story, report.asked(story.name).len() as u64)).collect();
    while !open.is_empty() {
        let jobs =
            open.iter().flat_map(|(story, call)| R::kinds().iter().map(|(kind, _)| Job { story: *story, faults: vec![Fault { call: *call, kind: *kind }] }));
        let told: Vec<Told> = tell_all::<R>(jobs.collect(), settings);
        open.retain_mut(|(story, call)| {
            *call += 1;
            told.iter().any(|told| told.of.name == story.name && !told.struck.is_empty())
        });
        report.take(told);
    }
}
