//! Random orchestrator programs under random faults, compared with a sequential model.
//!
//! Each case is a seed: programs, events, order of tasks, how long calls take, lost races, unknown outcomes, crashes before and after every
//! store call all follow from it. `DURABLE_MODEL_CASES` sets how many cases are run, `DURABLE_MODEL_SEED` runs one seed alone (it is printed
//! when a case fails), `DURABLE_MODEL_FROM` is the first seed of a long run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that something is wrong")]

use std::sync::Arc;
use std::time::Duration;

use durable::header::RuntimeStatus;
use durable::history::Event;
use durable::ids::MessageId;
use durable::{Client, ClientError, InstanceId, limits};
use durable_tests::build::Random;
use durable_tests::faulty::{Decision, Plan, touch};
use durable_tests::sim::model::{FAILED, Stand, follow};
use durable_tests::sim::program::{Generator, Program, app};
use durable_tests::sim::{Setup, Sim};
use serde_json::Value;

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs `case` for many seeds; a seed that fails is printed.
fn cases(default: u64, case: fn(u64)) {
    let one = env("DURABLE_MODEL_SEED");
    let first = one.or_else(|| env("DURABLE_MODEL_FROM")).unwrap_or(0);
    let count = if one.is_some() { 1 } else { env("DURABLE_MODEL_CASES").unwrap_or(default) };
    for seed in first..first + count {
        if let Err(panic) = std::panic::catch_unwind(|| case(seed)) {
            eprintln!("this case fails with DURABLE_MODEL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Which troubles a case meets.
#[derive(Clone, Copy, PartialEq)]
enum Weather {
    Fair,
    /// Calls fail, and their outcome may be unknown; races are lost.
    Rough,
    /// The process dies as well, before and after calls.
    Deadly,
}

struct Case {
    sim: Sim,
    random: Random,
    messages: u64,
    /// Events that clients raise: instance, message, request.
    raised: Vec<(String, MessageId, usize)>,
}

impl Case {
    fn new(seed: u64, weather: Weather) -> Self {
        let mut random = Random::new(seed.wrapping_add(4242));
        let setup = Setup {
            seed,
            delivers_atomically: random.once_in(2),
            shards: 1 + random.below(3) as usize,
            live: [1, 2, 100][random.below(3) as usize],
            exclusive: !random.once_in(4),
            hands_on: 0,
            // Some inboxes are small, so that they are full.
            room: if seed % 4 == 3 { 1 + (seed / 4 % 6) as usize } else { limits::INBOX_MESSAGES },
        };
        let setup = Setup { hands_on: if setup.exclusive { 0 } else { random.below(4) }, ..setup };
        let sim = Sim::new(app(), setup);
        if random.once_in(2) {
            sim.world.slow_calls(Duration::from_millis(1 << random.below(10)));
        }
        sim.world.slow_activities(Duration::from_millis(1 << random.below(14)));
        let mut case = Self { sim, random, messages: 0, raised: Vec::new() };
        if weather != Weather::Fair {
            case.trouble(seed, weather);
        }
        case
    }

    fn trouble(&mut self, seed: u64, weather: Weather) {
        let mut random = Random::new(seed ^ 0xfa17);
        let (mut left, per_mille) = (5 + random.below(25), 10 + random.below(120));
        let world = Arc::downgrade(&self.sim.world);
        self.sim.store.follow(Plan::by(move |_| {
            if left == 0 || random.below(1000) >= per_mille {
                return Decision::Pass;
            }
            left -= 1;
            let kinds = if weather == Weather::Deadly { 4 } else { 2 };
            let decision = [Decision::FailBefore, Decision::ApplyThenUnknown, Decision::Halt, Decision::ApplyThenHalt][random.below(kinds) as usize];
            if matches!(decision, Decision::Halt | Decision::ApplyThenHalt)
                && let Some(world) = world.upgrade()
            {
                world.ask_for_crash();
            }
            decision
        }));
        let mut races = Random::new(seed ^ 0x4ace);
        let mut left = 20;
        self.sim.store.before_commits(Some(Box::new(move |commit, inner| {
            let race = left > 0 && races.once_in(12);
            left -= u32::from(race);
            let instance = commit.instance.clone();
            Box::pin(async move {
                if race {
                    touch(&*inner, &instance).await;
                }
            })
        })));
    }

    fn raise(&mut self, after: Duration, id: &str, name: &str) {
        self.messages += 1;
        let message = MessageId((1_u128 << 100 | u128::from(self.messages)).to_be_bytes());
        let request = self.sim.raise(after, id, name, &self.messages, message);
        self.raised.push((id.to_owned(), message, request));
        if self.random.once_in(3) {
            // The same message comes twice.
            let again = after + Duration::from_millis(self.random.below(2_000));
            self.sim.raise(again, id, name, &self.messages, message);
        }
    }

    fn control(&mut self, after: Duration, id: &str, what: fn(Client, InstanceId) -> durable_tests::sim::Attempt) {
        let id = InstanceId::new(id).unwrap();
        self.sim.ask(after, move |client| what(client, id.clone()));
    }

    fn soon(&mut self) -> Duration {
        Duration::from_millis(self.random.below(30_000))
    }

    /// What the clients do by themselves.
    fn clients(&mut self, roots: &[String]) {
        for id in roots {
            for _ in 0..self.random.below(6) {
                let (after, name) = (self.soon(), ["a", "B", "c"][self.random.below(3) as usize]);
                self.raise(after, id, name);
            }
            if self.random.once_in(4) {
                let after = self.soon();
                self.control(after, id, |client, id| Box::pin(async move { client.suspend(&id, "hold").await }));
            }
            if self.random.once_in(10) {
                let after = self.soon();
                self.control(after, id, |client, id| Box::pin(async move { client.terminate(&id, "enough").await }));
            }
        }
    }

    /// Runs on, and gives every instance that waits for an event one, until all have ended.
    fn live_on(&mut self) {
        for round in 0..400 {
            self.sim.run();
            self.sim.check_quiet();
            let mut asleep = 0;
            for (id, loaded) in self.sim.all() {
                let header = &loaded.header;
                if header.status.is_terminal() {
                    continue;
                }
                assert!(header.fault.is_none(), "{id} bears a fault: {:?}", header.fault);
                asleep += 1;
                if header.status == RuntimeStatus::Suspended {
                    self.control(Duration::ZERO, id.as_str(), |client, id| Box::pin(async move { client.resume(&id, "go on").await }));
                    continue;
                }
                let program: Program = self.sim.app().decode(&loaded.input).unwrap();
                let events: Vec<Event> = loaded.events.iter().map(|bytes| Event::from_bytes(bytes).unwrap()).collect();
                match follow(&program, &events) {
                    Stand::Waiting { events: names, .. } if !names.is_empty() => {
                        let name = names[self.random.below(names.len() as u64) as usize].clone();
                        self.raise(Duration::ZERO, id.as_str(), &name);
                    }
                    // A parent waits for its children, which wait for events.
                    Stand::Waiting { .. } if events.iter().any(|e| matches!(e, Event::SubOrchestrationCreated { .. })) => {}
                    stand => panic!("{id} is stuck where its program is {stand:?}: {header:#?} {program:#?} {events:#?} alarms: {:?}", self.sim.world.alarms()),
                }
            }
            if asleep == 0 {
                return;
            }
            assert!(round < 399, "it does not end");
        }
    }

    /// Every instance came to what the model says.
    fn check_against_the_model(&self) {
        for (id, loaded) in self.sim.all() {
            let program: Program = self.sim.app().decode(&loaded.input).unwrap();
            let events: Vec<Event> = loaded.events.iter().map(|bytes| Event::from_bytes(bytes).unwrap()).collect();
            let output: Value = self.sim.app().decode(&loaded.output.clone().unwrap()).unwrap();
            let stand = follow(&program, &events);
            match loaded.header.status {
                RuntimeStatus::Completed => {
                    assert_eq!(stand, Stand::Done(output["last"].clone()), "{id}: {program:#?} {events:#?}");
                    assert_eq!(output["log"], Value::from(program.log.clone()), "{id}");
                    assert!(!program.fails && program.again == 0);
                }
                RuntimeStatus::Failed => {
                    assert!(
                        stand == Stand::Done(FAILED.into()) || (program.fails && matches!(stand, Stand::Done(_))),
                        "{id}: {output} {program:#?} {events:#?}"
                    );
                }
                RuntimeStatus::Terminated => assert!(!matches!(stand, Stand::Done(_)), "{id}: {program:#?} {events:#?}"),
                other => panic!("{id} is {other:?}"),
            }
        }
    }

    /// An event that was acknowledged stands in one place, and one that was refused in none.
    fn check_messages(&self) {
        let book = self.sim.store.inner().executions();
        for (id, message, request) in &self.raised {
            let places: Vec<_> = book
                .iter()
                .filter(|((instance, ..), execution)| {
                    instance.as_str() == id
                        && execution
                            .events
                            .iter()
                            .any(|e| matches!(e, Event::EventRaised { message: m, .. } | Event::EventUnprocessed { message: m, .. } if m == message))
                })
                .collect();
            let executions = book.iter().filter(|((instance, ..), _)| instance.as_str() == id).count();
            match self.sim.answer(*request) {
                Some(Ok(())) if executions == 1 => assert_eq!(places.len(), 1, "{id}: the acknowledged message {message} is in no history"),
                Some(Ok(()) | Err(ClientError::Ended { .. } | ClientError::NotFound(_))) => {}
                other => panic!("{id}: {message} was answered by {other:?}"),
            }
            // What continued as new carried it over, or consumed it: it was never taken by two.
            if executions > 1 && !places.is_empty() {
                let used: usize = self.sim.all().iter().filter(|(i, _)| i.as_str() == id).map(|(_, loaded)| uses(loaded, self.data_of(message))).sum();
                assert!(used <= 1, "{id}: the data of {message} was used {used} times");
            }
        }
    }

    fn data_of(&self, message: &MessageId) -> u64 {
        (u128::from_be_bytes(message.0) & u128::from(u64::MAX)) as u64
    }
}

/// How often an instance's output shows this event's data.
fn uses(loaded: &durable::ports::Loaded, data: u64) -> usize {
    fn count(value: &Value, data: u64) -> usize {
        match value {
            Value::Object(map) if map.get("e") == Some(&Value::from(data)) => 1,
            Value::Object(map) => map.values().map(|v| count(v, data)).sum(),
            Value::Array(all) => all.iter().map(|v| count(v, data)).sum(),
            _ => 0,
        }
    }
    let output = loaded.output.as_ref().and_then(|output| serde_json::from_slice::<Value>(output.stored()).ok());
    output.map_or(0, |output| count(&output, data))
}

fn run(seed: u64, weather: Weather) {
    let mut case = Case::new(seed, weather);
    let roots: Vec<String> = (0..1 + case.random.below(3)).map(|n| format!("p{n}")).collect();
    let mut random = Random::new(seed ^ 0x9106);
    for id in &roots {
        let program = Generator::new(&mut random, roots.clone()).program();
        let after = Duration::from_millis(case.random.below(3_000));
        case.sim.start_after(after, "interpret", id, &program);
    }
    case.clients(&roots);
    case.live_on();
    case.sim.check_quiet();
    case.check_against_the_model();
    case.check_messages();
    // Where workers are about, a driver may end before them and leave its net to ring once more, for nothing; and where an outcome was not known.
    if weather == Weather::Fair && case.sim.hands_on() == 0 {
        assert_eq!(case.sim.world.covers(), [], "a safety net is left up");
    }
}

#[test]
fn programs_come_to_what_the_model_says_in_fair_weather() {
    cases(400, |seed| run(seed, Weather::Fair));
}

#[test]
fn programs_come_to_what_the_model_says_where_calls_fail_and_races_are_lost() {
    cases(600, |seed| run(seed, Weather::Rough));
}

#[test]
fn programs_come_to_what_the_model_says_where_the_process_dies_at_any_call() {
    cases(1_000, |seed| run(seed, Weather::Deadly));
}

#[test]
fn one_seed_is_one_story() {
    let story = |seed| {
        let mut case = Case::new(seed, Weather::Deadly);
        let mut random = Random::new(seed);
        let program = Generator::new(&mut random, vec!["p0".into()]).program();
        case.sim.start("interpret", "p0", &program);
        case.clients(&["p0".to_owned()]);
        case.live_on();
        case.sim.store.log()
    };
    assert_eq!(story(5), story(5));
    assert_ne!(story(5), story(6));
}
