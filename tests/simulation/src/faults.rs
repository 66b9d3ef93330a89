//! Where trouble comes from: each chance for it has a number, and what happens there follows from the seed and that number alone.
//!
//! So a failing run can be told as its seed and the numbers of the faults that it needs, and be made smaller by leaving some out.
//! Must never: draw from anything that the rest of the simulation draws from.

use std::collections::{BTreeMap, BTreeSet};

use durable::Timestamp;

/// What can go wrong at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A call fails, and nothing is written.
    FailBefore,
    /// A call is carried out, and its caller is told that it cannot be told.
    Unknown,
    /// A call is carried out long after its caller was told that it cannot be told.
    Late,
    /// The process dies before a call.
    DieBefore,
    /// The process dies after a call.
    DieAfter,
    /// A call takes seconds.
    Slow,
    /// A rival commits the stored state again, right before a commit.
    Rival,
    /// A read shows a time before the last writes.
    Stale,
    /// A message, event or alarm is delivered twice.
    Twice,
    /// It is delivered much later.
    Delayed,
    /// All processes die.
    Crash,
    /// The clock of a machine jumps.
    Jump,
    /// The store, the queue or both cannot be reached for a while.
    Outage,
    /// Another build is deployed that matches.
    Deploy,
    /// A build that does not match is deployed, and the former one again later.
    BadDeploy,
    /// An inbox has no room for a message. It follows from what was sent, and has no chance of its own.
    Full,
}

impl Fault {
    /// As tables name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FailBefore => "failed call",
            Self::Unknown => "unknown outcome",
            Self::Late => "late write",
            Self::DieBefore => "death before call",
            Self::DieAfter => "death after call",
            Self::Slow => "slow call",
            Self::Rival => "lost race",
            Self::Stale => "stale read",
            Self::Twice => "duplicate",
            Self::Delayed => "delay",
            Self::Crash => "crash of all",
            Self::Jump => "clock jump",
            Self::Outage => "outage",
            Self::Deploy => "deploy",
            Self::BadDeploy => "deploy that does not match",
            Self::Full => "full inbox",
        }
    }
}

/// Chances of faults planned ahead have numbers from here on.
pub const PLANNED: u64 = 1_000_000_000;

/// The faults of one run.
#[derive(Debug)]
pub struct Faults {
    seed: u64,
    per_mille: u64,
    left: u32,
    count: u64,
    from: Timestamp,
    until: Timestamp,
    /// Only these happen, if it is said.
    only: Option<BTreeSet<u64>>,
    /// Those that happened, with their numbers.
    pub injected: Vec<(u64, Fault)>,
    /// How often each was.
    pub tally: BTreeMap<Fault, u64>,
}

/// A number that follows from two others.
#[must_use]
pub const fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number.wrapping_mul(0xd1b5_4a32_d192_ed03)).wrapping_add(0x2545_f491_4f6c_dd1d);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Faults {
    /// About `per_mille` of a thousand chances are taken, `left` at most, none before the storm or after it.
    #[must_use]
    pub const fn new(seed: u64, per_mille: u64, left: u32, (from, until): (Timestamp, Timestamp), only: Option<BTreeSet<u64>>) -> Self {
        Self { seed, per_mille, left, count: 0, from, until, only, injected: Vec::new(), tally: BTreeMap::new() }
    }

    /// One chance: which of these happens, if any, and a number that says more about it.
    pub fn chance(&mut self, now: Timestamp, kinds: &[Fault]) -> Option<(Fault, u64)> {
        self.count += 1;
        let number = self.count;
        if self.left == 0 || now < self.from || now > self.until {
            return None;
        }
        let drawn = mix(self.seed, number);
        if drawn % 1000 >= self.per_mille || kinds.is_empty() {
            return None;
        }
        let fault = kinds[usize::try_from((drawn >> 10) % kinds.len() as u64).unwrap_or(0)];
        self.take(number, fault).then(|| (fault, mix(drawn, 1)))
    }

    /// There is a time for trouble again.
    pub const fn again(&mut self, until: Timestamp) {
        self.until = until;
    }

    /// True if a fault that was planned under this number happens.
    pub fn planned(&mut self, number: u64, fault: Fault) -> bool {
        self.take(PLANNED + number, fault)
    }

    /// Something went wrong that nobody drew.
    pub fn came_about(&mut self, fault: Fault) {
        *self.tally.entry(fault).or_default() += 1;
    }

    fn take(&mut self, number: u64, fault: Fault) -> bool {
        if self.only.as_ref().is_some_and(|only| !only.contains(&number)) {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        self.injected.push((number, fault));
        *self.tally.entry(fault).or_default() += 1;
        true
    }
}
