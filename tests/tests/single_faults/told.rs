//! One telling of a story, and many at a time.
//!
//! Must never: let a run that goes wrong end the others, or count the time in which a run only waits for quiet as one of those at work.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use durable_tests::tools;

use super::script::{Fault, Script, Struck};
use super::stories::Story;
use super::teller::{Teller, outcome};
use super::{Job, Rig, Settings};

/// For each run at work so many more may wait for quiet.
const WAITING: usize = 3;

/// Between two looks at something that nobody tells.
const LOOK: Duration = Duration::from_millis(20);

/// What came of a run.
#[derive(Debug)]
pub struct Told {
    pub of: Story,
    pub faults: Vec<Fault>,
    pub struck: Vec<Struck>,
    /// What was asked of the services.
    pub asked: Vec<String>,
    /// From the client's first request until all had ended that it began.
    pub took: Duration,
    /// From the last time that a process was killed until then.
    pub since_death: Option<Duration>,
    /// How often the client sent something again.
    pub repeats: u32,
    /// Alarms that will ring for nothing.
    pub alarms: usize,
    /// All that can be seen in the end, fact by fact; or what is wrong.
    pub facts: Result<Vec<String>, String>,
}

/// So many may be at work at a time.
struct Slots {
    free: Mutex<usize>,
    changed: Condvar,
}

struct Slot<'a>(&'a Slots);

impl Slots {
    fn take(&self) -> Slot<'_> {
        let free = self.changed.wait_while(lock(&self.free), |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.changed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells them all, some at a time.
pub fn tell_all<R: Rig>(jobs: Vec<Job>, settings: &Settings) -> Vec<Told> {
    let (count, begun) = (jobs.len(), Instant::now());
    let (jobs, all) = (Mutex::new(VecDeque::from(jobs)), Mutex::new(Vec::with_capacity(count)));
    let slots = Slots { free: Mutex::new(settings.at_once), changed: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 0..(settings.at_once * (1 + WAITING)).min(count) {
            scope.spawn(|| {
                loop {
                    let slot = slots.take();
                    let Some(job) = lock(&jobs).pop_front().filter(|_| settings.until.is_none_or(|until| Instant::now() < until)) else { break };
                    let told = tell::<R>(&job, slot);
                    let mut all = lock(&all);
                    all.push(told);
                    if all.len() % 50 == 0 {
                        println!("{} of {count} told, {:.0?}", all.len(), begun.elapsed());
                    }
                }
            });
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn tell<R: Rig>(job: &Job, slot: Slot<'_>) -> Told {
    let script = Script::new(job.story.name, job.faults.clone());
    let mut told = Told {
        of: job.story,
        faults: job.faults.clone(),
        struck: Vec::new(),
        asked: Vec::new(),
        took: Duration::ZERO,
        since_death: None,
        repeats: 0,
        alarms: 0,
        facts: Ok(Vec::new()),
    };
    let mut rig = None;
    let run = AssertUnwindSafe(|| {
        let rig = rig.insert(R::start(&script, job.story.cold));
        script.begin();
        let (mut teller, begun) = (Teller::new(rig), Instant::now());
        (job.story.tell)(&mut teller);
        let ended = Instant::now();
        (told.took, told.repeats) = (ended - begun, teller.repeats);
        let deaths = script.struck().into_iter().filter(|struck| struck.fault.kind.kills());
        told.since_death = deaths.map(|struck| ended.saturating_duration_since(struck.at)).min();
        drop(slot);
        rig.rest();
        script.end();
        let facts = outcome(&mut rig.http());
        let mut left = rig.left();
        let to_be_killed = script.struck().iter().filter(|struck| struck.fault.kind.kills()).count() as u64;
        if !all_killed(rig, to_be_killed) {
            left.push(format!("{} processes were killed, and {to_be_killed} were to be", rig.killed()));
        }
        told.alarms = rig.alarms();
        if left.is_empty() { Ok(facts) } else { Err(format!("left over: {}", left.join("; "))) }
    });
    let told_so = catch_unwind(run).unwrap_or_else(|panic| Err(words(&*panic)));
    (told.struck, told.asked) = (script.struck(), script.asked());
    let log = || rig.as_ref().map(Rig::log).unwrap_or_default();
    told.facts = told_so.map_err(|wrong| format!("{wrong}\nasked: {:?}\nthe log says:\n{}", told.asked, log()));
    if let Err(wrong) = &told.facts {
        println!("{} goes wrong with {:?}: see {}", told.of.name, told.faults, kept(&told, wrong));
    }
    told
}

/// Where the words about a run that went wrong are kept.
fn kept(told: &Told, wrong: &str) -> String {
    let folder = tools::target().join("faults");
    let faults: Vec<String> = told.faults.iter().map(|fault| format!("{}-{:?}", fault.call, fault.kind)).collect();
    let file = folder.join(format!("{}-{}.log", told.of.name, faults.join("-")));
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, format!("{:#?}\n{wrong}", told.struck)));
    written.map_or_else(|e| format!("nothing ({e})"), |()| file.display().to_string())
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// A call that was the story's last may strike its process when everything is told: that is waited for.
fn all_killed<R: Rig>(rig: &R, to_be_killed: u64) -> bool {
    let begun = Instant::now();
    while rig.killed() < to_be_killed && begun.elapsed() < rig.bound() {
        std::thread::sleep(LOOK);
    }
    rig.killed() == to_be_killed
}
