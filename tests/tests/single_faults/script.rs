//! What goes wrong in a run, and when: calls are numbered over all services that a function talks to, from the moment the story begins.
//!
//! Must never: count what is not the function's own, or strike twice for one fault.

#![allow(dead_code, reason = "each host uses a part of it")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use durable_tests::proxy::{Fate, Plan};

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The process that makes it is killed with -9 before the call reaches the service.
    KillBefore,
    /// The process is killed with -9 once the service has done it, before it learns of that.
    KillAfter,
    /// The connection is cut once the service has done it.
    Cut,
    /// The service says that it is busy.
    Throttle,
    /// The service answers with an error of its own (5xx).
    Error,
}

impl Kind {
    const fn fate(self) -> Fate {
        match self {
            Self::KillBefore => Fate::KillBefore,
            Self::KillAfter => Fate::KillAfter,
            Self::Cut => Fate::LoseAnswer,
            Self::Throttle => Fate::Throttle,
            Self::Error => Fate::ServerError,
        }
    }

    pub const fn kills(self) -> bool {
        matches!(self, Self::KillBefore | Self::KillAfter)
    }
}

/// What may go wrong with a call of a service, and what it is called.
pub const OF_SERVICES: [(Kind, &str); 5] =
    [(Kind::KillBefore, "killed before"), (Kind::KillAfter, "killed after"), (Kind::Cut, "cut after"), (Kind::Throttle, "throttled"), (Kind::Error, "5xx")];

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// With which call, counted from 0.
    pub call: u64,
    pub kind: Kind,
}

/// A fault that has struck.
#[derive(Debug, Clone)]
pub struct Struck {
    pub fault: Fault,
    /// The service and what was asked of it, for example `table Transaction`.
    pub asked: String,
    pub at: Instant,
}

/// What goes wrong in one run, and what has been asked in it.
#[derive(Debug)]
pub struct Script {
    /// The story that is told.
    pub story: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The story is being told.
    told: bool,
    faults: Vec<Fault>,
    asked: Vec<String>,
    struck: Vec<Struck>,
}

impl Script {
    pub fn new(story: &'static str, faults: Vec<Fault>) -> Arc<Self> {
        Arc::new(Self { story, state: Mutex::new(State { told: false, faults, asked: Vec::new(), struck: Vec::new() }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the proxy before one of the services.
    pub fn plan(self: &Arc<Self>, service: &'static str) -> Plan {
        let script = Arc::clone(self);
        Plan::by(move |call| script.decide(format!("{service} {}", call.action)))
    }

    fn decide(&self, asked: String) -> Fate {
        let mut state = self.state();
        if !state.told {
            return Fate::Pass;
        }
        let call = state.asked.len() as u64;
        state.asked.push(asked.clone());
        let Some(fault) = state.faults.iter().copied().find(|fault| fault.call == call) else { return Fate::Pass };
        state.struck.push(Struck { fault, asked, at: Instant::now() });
        fault.kind.fate()
    }

    /// What is to go wrong, for a host whose calls no proxy sees.
    pub fn faults(&self) -> Vec<Fault> {
        self.state().faults.clone()
    }

    /// Notes what a host has asked whose calls no proxy sees.
    pub fn note(&self, asked: String) {
        self.state().asked.push(asked);
    }

    /// Notes that one of them went wrong.
    pub fn strike(&self, fault: Fault, asked: String) {
        self.state().struck.push(Struck { fault, asked, at: Instant::now() });
    }

    /// From now on calls count.
    pub fn begin(&self) {
        self.state().told = true;
    }

    /// From now on nothing counts, and nothing goes wrong.
    pub fn end(&self) {
        self.state().told = false;
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    /// What has gone wrong so far.
    pub fn struck(&self) -> Vec<Struck> {
        self.state().struck.clone()
    }
}
