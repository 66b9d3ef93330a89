//! One run: the world, a host, its clients, and time.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use durable::header::RuntimeStatus;
use durable::history::Event;
use durable::ids::Incarnation;
use durable::ports::ReusePolicy;
use durable::{App, InstanceId, limits};
use durable_tests::build::{Random, at};
use durable_tests::sim::model::{Stand, follow};
use durable_tests::sim::program::{self, Generator, Program};

use crate::clients::{self, About, Asked, How, Step};
use crate::embedded::Embedded;
use crate::faults::{Fault, Faults, PLANNED, mix};
use crate::functions::Functions;
use crate::guard::guarded;
use crate::happening::Happening;
use crate::lambda::Lambda;
use crate::oracle;
use crate::process::{Around, Build, Host};
use crate::store::SimStore;
use crate::tasks::Tasks;
use crate::world::{MACHINES, World};

/// Which host is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flavour {
    /// One process at a time, and a store that it owns.
    Embedded,
    /// Short invocations, a stream, asynchronous events.
    Lambda,
    /// Up to three processes, and a queue.
    Functions,
}

impl Flavour {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Embedded, Self::Lambda, Self::Functions];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Lambda => "lambda",
            Self::Functions => "functions",
        }
    }
}

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// This host; the seed chooses if none is said.
    pub flavour: Option<Flavour>,
    /// Only these faults happen.
    pub only: Option<BTreeSet<u64>>,
    /// Write down what happens.
    pub trace: bool,
    /// So many of the clients' steps are left out, from the last on.
    pub without_steps: usize,
    /// So many of the instances are left out, from the last on.
    pub without_roots: usize,
}

/// How a run went.
#[derive(Debug)]
pub struct Report {
    /// The host that was simulated.
    pub flavour: Flavour,
    /// What did not hold; none if all did.
    pub failure: Option<String>,
    /// How many processes died.
    pub deaths: u64,
    /// How often each fault happened.
    pub tally: BTreeMap<Fault, u64>,
    /// Which chances were taken.
    pub injected: Vec<(u64, Fault)>,
    /// How many commits there were.
    pub events: u64,
    /// What happened, if it was to be written down.
    pub trace: Vec<String>,
    /// How many steps clients made, and how many instances they started, without those left out.
    pub size: (usize, usize),
}

/// A run under way.
pub struct Sim {
    pub(crate) around: Rc<Around>,
    host: Box<dyn Host>,
    tasks: Tasks,
    pub(crate) asked: Vec<Asked>,
    pub(crate) matching: Build,
    random: Random,
    steps: u64,
    polls: u64,
    raised: u64,
    lives: u64,
    skew: u64,
    builds: u32,
}

/// In seconds.
const HOUR: i64 = 3_600;

/// So many polls are more than any run needs.
const POLLS: u64 = 400_000;

impl Sim {
    fn new(plan: &Plan) -> (Self, Flavour) {
        let mut random = Random::new(plan.seed.wrapping_add(4242));
        // A weak seed of this generator has weak first numbers.
        random.next();
        let chosen = Flavour::ALL[random.below(3) as usize];
        let flavour = plan.flavour.unwrap_or(chosen);
        let storm = [20, 60, 300][random.below(3) as usize];
        let (per_mille, left) = if random.once_in(12) { (0, 0) } else { (2 + random.below(60), 3 + random.below(30) as u32) };
        // Some storms come late: over what sleeps for hours.
        let (storm, per_mille, from) = if plan.seed % 8 == 7 && per_mille > 0 { (30 * HOUR, 100 + 3 * per_mille, HOUR / 2) } else { (storm, per_mille, 0) };
        let faults = Faults::new(plan.seed, per_mille, left, (at(from), at(storm)), plan.only.clone());
        let world = World::new(plan.seed, faults, plan.trace);
        {
            let mut state = world.state();
            if random.once_in(2) {
                state.slowest_call = Duration::from_millis(1 << random.below(10));
            }
            let longest = if flavour == Flavour::Embedded { 14 } else { 17 };
            state.slowest_activity = Duration::from_millis(1 << random.below(longest));
        }
        // Some inboxes are small, so that they are full.
        let room = if plan.seed % 8 == 3 { 1 + (mix(plan.seed, 0) % 6) as usize } else { limits::INBOX_MESSAGES };
        let store = SimStore::new(world.clone(), flavour == Flavour::Embedded, flavour == Flavour::Lambda, flavour != Flavour::Embedded, room);
        let matching = Build { app: shared_app(), matching: true };
        let around = Rc::new(Around::new(world, store, matching.clone()));
        let host: Box<dyn Host> = match flavour {
            Flavour::Embedded => Box::new(Embedded::default()),
            Flavour::Lambda => Box::new(Lambda::new(Duration::from_secs([20, 60, 300][random.below(3) as usize]))),
            Flavour::Functions => Box::new(Functions::new(1 + random.below(3) as usize, Duration::from_secs([5, 60][random.below(2) as usize]))),
        };
        let skew = [0, 0, 1_000_000, 20_000_000][random.below(4) as usize];
        let mut sim =
            Self { around, host, tasks: Tasks::default(), asked: Vec::new(), matching, random, steps: 0, polls: 0, raised: 0, lives: 0, skew, builds: 0 };
        for machine in 0..MACHINES {
            sim.jump(machine as u64);
        }
        sim.plan_troubles(per_mille, storm as u64);
        sim.host.boot(&sim.around.clone());
        (sim, flavour)
    }

    fn world(&self) -> &Arc<World> {
        &self.around.world
    }

    fn jump(&mut self, machine: u64) {
        let offset = if self.skew == 0 { 0 } else { self.random.below(2 * self.skew).cast_signed() - self.skew.cast_signed() };
        if let Some(there) = self.world().state().offsets.get_mut(machine as usize % MACHINES) {
            *there = offset;
        }
    }

    fn plan_troubles(&mut self, per_mille: u64, storm: u64) {
        if per_mille == 0 {
            return;
        }
        for number in 0..self.random.below(5) {
            let kinds = [Fault::Crash, Fault::Crash, Fault::Jump, Fault::Outage, Fault::Deploy, Fault::BadDeploy];
            let kind = kinds[self.random.below(6) as usize];
            let when = Duration::from_millis(self.random.below(storm * 1_000));
            self.world().plan(when, Happening::Planned(kind, number));
        }
    }

    fn ask_after(&mut self, after: Duration, asked: Asked) -> usize {
        self.asked.push(asked);
        let number = self.asked.len() - 1;
        self.world().plan(after, Happening::Request(number));
        number
    }

    fn soon(&mut self) -> Duration {
        Duration::from_millis(self.random.below(30_000))
    }

    fn start(&mut self, after: Duration, id: &InstanceId, program: &Program, policy: ReusePolicy) -> Incarnation {
        self.lives += 1;
        let life = Incarnation((0xc11e_0000_0000_0000 | self.lives).to_be_bytes());
        let asked = clients::start(&self.matching.app, id, life, program, policy);
        self.ask_after(after, asked);
        life
    }

    fn raise(&mut self, after: Duration, id: &InstanceId, name: &str, life: Option<Incarnation>) {
        self.raised += 1;
        let how = match (life, self.random.below(8)) {
            (_, 0) => How::Keyed,
            (Some(life), 1) => How::In(life),
            _ => How::Plain,
        };
        let asked = clients::raise(&self.matching.app, id, name, self.raised, how);
        self.ask_after(after, asked);
        if how != How::Plain || self.random.once_in(4) {
            // The same event comes twice.
            let again = after + Duration::from_millis(self.random.below(2_000));
            let asked = clients::raise(&self.matching.app, id, name, self.raised, how);
            self.ask_after(again, asked);
        }
    }

    fn control(&mut self, after: Duration, what: &'static str, id: &InstanceId, step: Step) {
        self.ask_after(after, clients::control(what, id, step));
    }

    /// Lets everything happen until nothing is left to happen.
    fn run(&mut self) -> Result<(), String> {
        loop {
            self.after_step()?;
            self.polls += 1;
            if self.polls > POLLS {
                return Err("it does not come to rest".to_owned());
            }
            let world = self.around.world.clone();
            if self.tasks.poll_one(|limit| world.below(limit)) {
                continue;
            }
            let Some(next) = world.next_due() else { return Ok(()) };
            for what in world.advance_to(next) {
                self.happen(what);
                self.after_step()?;
            }
        }
    }

    /// What was begun is begun, who is to die dies, who was answered is told; and what must hold is looked at.
    fn after_step(&mut self) -> Result<(), String> {
        loop {
            for process in self.world().take_killed() {
                self.end_process(process);
            }
            let spawned = self.around.take_spawned();
            if spawned.is_empty() {
                break;
            }
            for (process, future) in spawned {
                self.tasks.spawn(process, future);
            }
        }
        for (number, answer) in self.around.take_answers() {
            self.answered(number, answer);
        }
        match self.around.store.book().violations.first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    fn end_process(&mut self, process: u32) {
        self.world().note(|| format!("p{process} ends"));
        self.world().state().deaths += 1;
        self.tasks.end_process(process);
        // What it had begun in its last moment never begins.
        for (of, future) in self.around.take_spawned() {
            if of != process {
                self.tasks.spawn(of, future);
            }
        }
        self.host.died(&self.around.clone(), process);
        for number in 0..self.asked.len() {
            if self.asked[number].by == Some(process) && self.asked[number].answer.is_none() {
                self.ask_again(number);
            }
        }
    }

    fn ask_again(&mut self, number: usize) {
        let asked = &mut self.asked[number];
        asked.by = None;
        let pause = asked.pause();
        self.world().plan(pause, Happening::Request(number));
    }

    fn answered(&mut self, number: usize, answer: Result<(), durable::ClientError>) {
        self.world().note(|| format!("ANSWER {number} {:?}: {answer:?}", self.asked[number].about));
        if clients::is_trouble(&answer) {
            self.ask_again(number);
            return;
        }
        self.steps += 1;
        let asked = &mut self.asked[number];
        asked.by = None;
        asked.answered = self.steps;
        asked.answer.get_or_insert(answer);
    }

    fn happen(&mut self, what: Happening) {
        let around = self.around.clone();
        match what {
            Happening::Late(write) => {
                self.world().note(|| "a late write lands".to_owned());
                write();
            }
            Happening::Request(number) => {
                if self.asked[number].answer.is_some() || self.asked[number].by.is_some() {
                    return;
                }
                if let About::Start(id, life) = self.asked[number].about.clone()
                    && self.around.store.book().gone.contains(&(id.clone(), life))
                {
                    // Somebody else has replaced it before its client was told: to name that life again would be another start.
                    self.asked[number].answer = Some(Err(durable::ClientError::NotFound(id)));
                    return;
                }
                self.steps += 1;
                let steps = self.steps;
                let asked = &mut self.asked[number];
                asked.tries += 1;
                if asked.tries == 1 {
                    asked.sent = steps;
                }
                let (request, about) = (asked.request.clone(), asked.about.clone());
                let by = self.host.request(&around, number, &request);
                self.world().note(|| format!("REQUEST {number} {about:?} by {by:?}"));
                self.asked[number].by = by;
                if by.is_none() {
                    self.ask_again(number);
                }
            }
            Happening::Planned(fault, number) => self.planned(fault, number),
            Happening::Back => {
                self.world().note(|| "the matching build is back".to_owned());
                *around.build.borrow_mut() = self.matching.clone();
                self.host.deployed(&around);
            }
            other => self.host.happen(&around, other),
        }
    }

    fn planned(&mut self, fault: Fault, number: u64) {
        // Drawn in any case, so that what is left out changes nothing else.
        let (more, machine) = (self.random.next() >> 8, self.random.next() >> 8);
        if !self.world().state().faults.planned(number, fault) {
            return;
        }
        self.world().note(|| format!("PLANNED {}: {}", PLANNED + number, fault.name()));
        let around = self.around.clone();
        match fault {
            Fault::Crash => {
                for process in self.host.alive() {
                    self.world().kill(process);
                }
            }
            Fault::Jump => self.jump(machine),
            Fault::Outage => {
                let mut state = self.world().state();
                // Services are promised to be there again before what is tried is given up: one outage does not follow another at once.
                if state.now < state.outage.0.max(state.outage.1).after(Duration::from_secs(600)) {
                    return;
                }
                let until = state.now.after(Duration::from_secs(1 + more % 150));
                match machine % 3 {
                    0 => state.outage.0 = until,
                    1 => state.outage.1 = until,
                    _ => state.outage = (until, until),
                }
            }
            Fault::Deploy => {
                self.builds += 1;
                let app = Arc::new(program::build(&format!("model {}", self.builds)));
                self.matching = Build { app, matching: true };
                *around.build.borrow_mut() = self.matching.clone();
                self.host.deployed(&around);
            }
            _ => {
                self.builds += 1;
                let app = program::other_build(&format!("other {}", self.builds), machine.is_multiple_of(2));
                *around.build.borrow_mut() = Build { app: Arc::new(app), matching: false };
                self.host.deployed(&around);
                let hold = Duration::from_secs([5, 60, 3_000, 9_000][(more % 4) as usize] + more % 5);
                self.world().plan(hold, Happening::Back);
            }
        }
    }

    /// What the clients do by themselves.
    fn clients(&mut self, roots: &[(InstanceId, Incarnation)], plan: &Plan) -> usize {
        type Step = Box<dyn Fn(&mut Sim)>;
        let mut made: Vec<Step> = Vec::new();
        for (id, life) in roots {
            for _ in 0..self.random.below(6) {
                let (after, name, id, life) = (self.soon(), ["a", "B", "c"][self.random.below(3) as usize], id.clone(), *life);
                made.push(Box::new(move |sim| sim.raise(after, &id, name, Some(life))));
            }
            if self.random.once_in(3) {
                let (after, id) = (self.soon(), id.clone());
                made.push(Box::new(move |sim| sim.control(after, "read", &id, clients::read)));
            }
            if self.random.once_in(12) {
                let (after, id, seed) = (self.soon(), id.clone(), self.random.next());
                made.push(Box::new(move |sim| {
                    let program = Generator::new(&mut Random::new(seed), vec!["p0".to_owned()]).program();
                    sim.start(after, &id, &program, ReusePolicy::ReplaceAny);
                }));
            }
            if self.random.once_in(4) {
                let (after, id) = (self.soon(), id.clone());
                made.push(Box::new(move |sim| sim.control(after, "suspend", &id, |client, id| Box::pin(async move { client.suspend(&id, "hold").await }))));
            }
            if self.random.once_in(10) {
                let (after, id) = (self.soon(), id.clone());
                made.push(Box::new(move |sim| {
                    sim.control(after, "terminate", &id, |client, id| Box::pin(async move { client.terminate(&id, "enough").await }));
                }));
            }
        }
        let count = made.len();
        for make in made.into_iter().take(count.saturating_sub(plan.without_steps)) {
            make(self);
        }
        count
    }

    /// What has ended is rewound, purged, or begun again, in trouble once more.
    fn second_act(&mut self) -> Result<(), String> {
        if self.random.once_in(2) {
            let mut state = self.world().state();
            let until = state.now.after(Duration::from_secs(60));
            state.faults.again(until);
        }
        let ids = self.around.store.all();
        for id in ids {
            let Some(loaded) = self.around.store.load_now(&id) else { continue };
            let (after, chance) = (Duration::from_millis(self.random.below(5_000)), self.random.below(12));
            match loaded.header.status {
                RuntimeStatus::Failed if chance < 7 => {
                    self.control(after, "rewind", &id, |client, id| Box::pin(async move { client.rewind(&id, "again").await }));
                }
                _ if chance == 9 => self.control(after, "purge", &id, |client, id| Box::pin(async move { client.purge(&id).await })),
                _ if chance == 10 => {
                    let program = Generator::new(&mut self.random.clone(), vec!["p0".to_owned()]).program();
                    self.start(after, &id, &program, ReusePolicy::ReplaceEnded);
                    self.raise(after + Duration::from_secs(1), &id, "a", None);
                }
                _ => {}
            }
        }
        self.live_on()
    }

    /// Runs on, and gives every instance that waits for an event one, until all have ended.
    fn live_on(&mut self) -> Result<(), String> {
        for _ in 0..300 {
            self.run()?;
            oracle::check_quiet(self)?;
            let mut asleep = 0;
            for id in self.around.store.all() {
                let Some(loaded) = self.around.store.load_now(&id) else { continue };
                let header = &loaded.header;
                if header.status.is_terminal() {
                    continue;
                }
                asleep += 1;
                if header.status == RuntimeStatus::Suspended {
                    self.control(Duration::ZERO, "resume", &id, |client, id| Box::pin(async move { client.resume(&id, "go on").await }));
                    continue;
                }
                let program: Program = self.matching.app.decode(&loaded.input).map_err(|e| e.to_string())?;
                let events: Vec<Event> = loaded.events.iter().filter_map(|bytes| Event::from_bytes(bytes).ok()).collect();
                match follow(&program, &events) {
                    Stand::Waiting { events: names, .. } if !names.is_empty() => {
                        let name = names[self.random.below(names.len() as u64) as usize].clone();
                        self.raise(Duration::ZERO, &id, &name, None);
                    }
                    // A parent waits for its children, which wait for events.
                    Stand::Waiting { .. } if events.iter().any(|e| matches!(e, Event::SubOrchestrationCreated { .. })) => {}
                    stand => return Err(format!("STUCK: {id} where its program is {stand:?}: {header:#?} {program:#?} {events:#?}")),
                }
            }
            if asleep == 0 {
                return Ok(());
            }
        }
        Err("STUCK: it does not end".to_owned())
    }
}

thread_local! {
    static APP: Arc<App> = Arc::new(program::app());
}

fn shared_app() -> Arc<App> {
    APP.with(Arc::clone)
}

/// Runs one seed to its end, and judges it.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    let (mut sim, flavour) = Sim::new(plan);
    let judged = guarded(|| live(&mut sim, plan));
    let (judged, size) = match judged {
        Ok((judged, size)) => (judged, size),
        Err(panic) => (Err(panic), (0, 0)),
    };
    let world = sim.around.world.clone();
    let trace = world.take_trace();
    let mut state = world.state();
    Report {
        flavour,
        failure: judged.err(),
        deaths: state.deaths,
        tally: std::mem::take(&mut state.faults.tally),
        injected: std::mem::take(&mut state.faults.injected),
        events: sim.around.store.book().executions.values().map(|execution| execution.events.len() as u64).sum(),
        trace,
        size,
    }
}

/// The story of a run: what did not hold, and its size.
fn live(sim: &mut Sim, plan: &Plan) -> (Result<(), String>, (usize, usize)) {
    let roots: Vec<InstanceId> = (0..1 + sim.random.below(3)).filter_map(|n| InstanceId::new(format!("p{n}")).ok()).collect();
    let count = roots.len();
    let roots: Vec<InstanceId> = roots.into_iter().take(count.saturating_sub(plan.without_roots).max(1)).collect();
    let mut random = Random::new(plan.seed ^ 0x9106);
    random.next();
    let peers: Vec<String> = (0..count).map(|n| format!("p{n}")).collect();
    let mut begun = Vec::new();
    for id in roots {
        let program = Generator::new(&mut random, peers.clone()).program();
        let after = Duration::from_millis(sim.random.below(3_000));
        let life = sim.start(after, &id, &program, ReusePolicy::ReplaceEnded);
        begun.push((id, life));
    }
    let steps = sim.clients(&begun, plan);
    let judged = sim.live_on().and_then(|()| if sim.random.once_in(2) { sim.second_act() } else { Ok(()) }).and_then(|()| oracle::check_end(sim));
    (judged, (steps, count))
}

impl Sim {
    /// What clients were told of events: instance, number, sent, answered; only what was acknowledged.
    pub(crate) fn acknowledged_events(&self) -> Vec<(InstanceId, u64, u64, u64)> {
        let mut all: Vec<(InstanceId, u64, u64, u64)> = Vec::new();
        for asked in &self.asked {
            let About::Event(id, number) = &asked.about else { continue };
            let answered = if matches!(asked.answer, Some(Ok(()))) { asked.answered } else { u64::MAX };
            // The same event may have been sent by two clients: it was sent when the first did, and acknowledged when the first was told.
            match all.iter_mut().find(|(_, there, ..)| there == number) {
                Some((.., sent, first)) => (*sent, *first) = ((*sent).min(asked.sent), (*first).min(answered)),
                None => all.push((id.clone(), *number, asked.sent, answered)),
            }
        }
        all.retain(|(.., answered)| *answered != u64::MAX);
        all
    }
}
