//! What came of all runs: the table, how long it took to go on after a death, and whether all was right.
//!
//! Must never: pass over a run that was not right.

use std::collections::BTreeMap;
use std::time::Duration;

use super::script::Kind;
use super::stories;
use super::told::Told;

/// How many runs that went wrong are shown in full.
const SHOWN: usize = 3;

/// What is wrong with a run.
enum Wrong {
    /// Something that must be there is not.
    Lost(String),
    /// Something is there more often than it must be.
    Doubled(String),
    /// It did not come to its end in time, or something else went wrong.
    Stuck(String),
}

/// The undisturbed runs, and all others.
pub struct Report {
    undisturbed: Vec<Told>,
    all: Vec<Told>,
    kinds: &'static [(Kind, &'static str)],
}

impl Report {
    /// What every run is compared with.
    pub fn new(mut undisturbed: Vec<Told>, kinds: &'static [(Kind, &'static str)]) -> Self {
        let place = |told: &Told| stories::ALL.iter().position(|story| story.name == told.of.name);
        undisturbed.sort_by_key(place);
        for told in &undisturbed {
            if let Err(wrong) = &told.facts {
                panic!("{} goes wrong without any fault: {wrong}", told.of.name);
            }
        }
        Self { undisturbed, all: Vec::new(), kinds }
    }

    fn of(&self, story: &str) -> &Told {
        self.undisturbed.iter().find(|told| told.of.name == story).expect("every story was told")
    }

    /// The calls that a story makes if nothing goes wrong.
    pub fn asked(&self, story: &str) -> &[String] {
        &self.of(story).asked
    }

    pub fn take(&mut self, told: Vec<Told>) {
        self.all.extend(told);
    }

    fn wrong(&self, told: &Told) -> Option<Wrong> {
        let facts = match &told.facts {
            Err(wrong) => return Some(Wrong::Stuck(wrong.clone())),
            Ok(facts) => counted(facts),
        };
        let expected = counted(self.of(told.of.name).facts.as_deref().unwrap_or_default());
        let more = |these: &BTreeMap<&str, usize>, those: &BTreeMap<&str, usize>| {
            these.iter().filter(|(fact, count)| those.get(*fact).is_none_or(|other| other < *count)).map(|(fact, _)| (*fact).to_owned()).collect::<Vec<_>>()
        };
        let (lost, doubled) = (more(&expected, &facts), more(&facts, &expected));
        let text = || format!("missing: {lost:#?}\ntoo many: {doubled:#?}\nasked: {:?}", told.asked);
        match (lost.is_empty(), doubled.is_empty()) {
            (true, true) => None,
            (false, _) => Some(Wrong::Lost(text())),
            (true, false) => Some(Wrong::Doubled(text())),
        }
    }

    /// The table, and the figures below it.
    pub fn print(&self, cloud: &str) {
        let names: Vec<&str> = self.kinds.iter().map(|(_, name)| *name).collect();
        println!("\n| {cloud}: story | calls | {} | pairs | struck nobody | passed |", names.join(" | "));
        println!("| --- | --- | {} --- | --- | --- |", "--- | ".repeat(names.len()));
        let mut sums = vec![0; names.len() + 4];
        for undisturbed in &self.undisturbed {
            let runs: Vec<&Told> = self.all.iter().filter(|told| told.of.name == undisturbed.of.name).collect();
            let single = |kind| runs.iter().filter(|told| told.faults.len() == 1 && told.struck.len() == 1 && told.faults[0].kind == kind).count();
            let pairs = runs.iter().filter(|told| told.faults.len() > 1 && !told.struck.is_empty()).count();
            let nobody = runs.iter().filter(|told| told.struck.is_empty()).count();
            let passed = runs.iter().filter(|told| self.wrong(told).is_none()).count();
            let mut row = vec![undisturbed.asked.len()];
            row.extend(self.kinds.iter().map(|(kind, _)| single(*kind)));
            row.extend([pairs, nobody, passed]);
            println!("| {} | {} of {} |", undisturbed.of.name, row.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "), runs.len());
            sums.iter_mut().zip(&row).for_each(|(sum, cell)| *sum += cell);
        }
        println!("| all | {} of {} |\n", sums.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "), self.all.len());
        self.print_recovery();
    }

    fn print_recovery(&self) {
        let deaths = || self.all.iter().filter(|told| told.since_death.is_some() && told.facts.is_ok());
        let late = |told: &Told| told.took.saturating_sub(self.of(told.of.name).took);
        for (who, of) in [("by the safety nets alone", false), ("with a client that sends its request again", true)] {
            let these = || deaths().filter(|told| (told.repeats > 0) == of);
            spread(&format!("from a process's death to the end of the story, {who}"), these().filter_map(|told| told.since_death).collect());
            spread(&format!("so much later than undisturbed, {who}"), these().map(late).collect());
        }
        spread("so much later after a cut, a throttling or a 5xx", self.all.iter().filter(|told| told.since_death.is_none()).map(late).collect());
        let alarms: usize = self.all.iter().map(|told| told.alarms).sum();
        println!("alarms that were not taken back and will ring for nothing: {alarms}");
    }

    /// Fails if anything was not right.
    pub fn check(&self) {
        let (mut lost, mut doubled, mut stuck, mut shown) = (0, 0, 0, 0);
        for told in &self.all {
            let (count, what, text) = match self.wrong(told) {
                None => continue,
                Some(Wrong::Lost(text)) => (&mut lost, "lost", text),
                Some(Wrong::Doubled(text)) => (&mut doubled, "doubled", text),
                Some(Wrong::Stuck(text)) => (&mut stuck, "stuck", text),
            };
            *count += 1;
            let first = text.lines().next().unwrap_or_default();
            println!(
                "{what}: {} with {:?}, struck {:?}: {first}",
                told.of.name,
                told.faults,
                told.struck.iter().map(|struck| &struck.asked).collect::<Vec<_>>()
            );
            if shown < SHOWN {
                println!("{text}");
                shown += 1;
            }
        }
        println!("{} runs: {lost} lost, {doubled} doubled, {stuck} stuck", self.all.len());
        assert_eq!((lost, doubled, stuck), (0, 0, 0), "these runs stand above");
    }
}

fn counted(facts: &[String]) -> BTreeMap<&str, usize> {
    let mut counted = BTreeMap::new();
    for fact in facts {
        *counted.entry(fact.as_str()).or_default() += 1;
    }
    counted
}

fn spread(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times.get((times.len().saturating_sub(1)) * share / 100).copied().unwrap_or_default().as_secs_f64();
    if !times.is_empty() {
        println!("{what}: p50 {:.1} s, p95 {:.1} s, most {:.1} s, in {} runs", at(50), at(95), at(100), times.len());
    }
}
