//! Caution with starts: a first turn that took the process with it left nothing in the store, and a client that repeats the start would end the
//! process each time.
//!
//! The host tells what ran when the last process died. Starts like that are stored before they are run, with a fault that has them tried a
//! little later: then they are acknowledged, and what they do to the process is counted against them. An orchestrator is trusted again once
//! a first turn of it comes back, a start with that very input once one with that input does; another build is trusted at once.
//! Must never: hold more marks than it was told, or cost anything while it holds none.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use xxhash_rust::xxh3::Xxh3;

use crate::header::FaultKind;
use crate::machine::TurnFault;
use crate::payload::Payload;
use crate::ports::FirstTurn;

/// The marks that are out.
#[derive(Default)]
pub(super) struct Caution {
    count: AtomicUsize,
    marks: Mutex<Vec<u64>>,
}

impl FirstTurn {
    pub(super) fn of(build: &str, name: &str, input: &Payload) -> Self {
        let mut hash = Xxh3::new();
        for part in [build, name] {
            hash.update(&part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        let orchestrator = hash.digest();
        hash.update(input.stored());
        Self { orchestrator, start: hash.digest() }
    }
}

impl Caution {
    /// The process died while this ran.
    pub fn mark(&self, died: FirstTurn) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        for mark in [died.orchestrator, died.start] {
            if !marks.contains(&mark) {
                marks.push(mark);
            }
        }
        self.count.store(marks.len(), Ordering::SeqCst);
    }

    /// The fault that a start is stored with instead of being run, if it is like one that the process died of.
    pub fn fault(&self, start: FirstTurn) -> Option<TurnFault> {
        if self.count.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if !marks.contains(&start.orchestrator) && !marks.contains(&start.start) {
            return None;
        }
        let message = "the process died in the first turn of this orchestrator (a stack overflow, an abort, or killed from outside): this start is \
                       stored, and tried a little later";
        Some(TurnFault::new(FaultKind::Abort, message))
    }

    /// A first turn has come back.
    pub fn came_back(&self, turn: FirstTurn) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.retain(|mark| *mark != turn.orchestrator && *mark != turn.start);
        self.count.store(marks.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(build: &str, name: &str, input: &'static str) -> FirstTurn {
        FirstTurn::of(build, name, &Payload::from_stored(bytes::Bytes::from_static(input.as_bytes())))
    }

    #[test]
    fn an_orchestrator_is_held_back_until_one_comes_through_and_the_very_start_until_that_one_does() {
        let caution = Caution::default();
        caution.mark(turn("b", "deadly", "1"));
        assert_eq!(caution.fault(turn("b", "deadly", "2")).unwrap().kind, FaultKind::Abort);
        assert_eq!(caution.fault(turn("b", "other", "1")), None);
        assert_eq!(caution.fault(turn("b2", "deadly", "1")), None, "another build is trusted");
        caution.came_back(turn("b", "deadly", "2"));
        assert_eq!(caution.fault(turn("b", "deadly", "2")), None);
        assert!(caution.fault(turn("b", "deadly", "1")).is_some());
        caution.came_back(turn("b", "deadly", "1"));
        assert_eq!(caution.fault(turn("b", "deadly", "1")), None);
    }

    #[test]
    fn a_mark_stands_once_and_names_and_inputs_do_not_run_into_each_other() {
        let caution = Caution::default();
        for _ in 0..3 {
            caution.mark(turn("b", "deadly", "1"));
        }
        assert_eq!(caution.marks.lock().unwrap().len(), 2);
        assert_ne!(turn("b", "ab", "c").start, turn("b", "a", "bc").start);
        assert_ne!(turn("ab", "c", "").orchestrator, turn("a", "bc", "").orchestrator);
    }
}
