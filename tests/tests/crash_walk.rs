//! The crash walk: every scenario is killed before and after each of its store calls, on a store that delivers in the commit and on one with
//! an outbox; then a new process goes on, clients ask again, and the scenario must end as if nothing had happened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test says that something is wrong")]

mod scenario;

use scenario::{Story, walk};

#[test]
fn a_start_and_an_activity_in_place_survive_a_crash_at_every_step() {
    walk(&Story { name: "base", roots: &["a"], begin: scenario::base, after: &[], outcome: &[("a", "[\"one\",7,\"two\"]")] });
}

#[test]
fn an_event_raised_while_nobody_drives_survives_a_crash_at_every_step() {
    walk(&Story { name: "raise", roots: &["a"], begin: scenario::started, after: &[scenario::event], outcome: &[("a", "[\"one\",7,\"two\"]")] });
}

#[test]
fn an_event_for_an_instance_that_bears_a_fault_is_stored_plainly_and_survives_a_crash_at_every_step() {
    walk(&Story {
        name: "raise plain",
        roots: &["a"],
        begin: scenario::faulted,
        after: &[scenario::event, scenario::cure],
        outcome: &[("a", "[\"one\",7,\"two\"]")],
    });
}

#[test]
fn a_timer_survives_a_crash_at_every_step() {
    walk(&Story { name: "timer", roots: &["a"], begin: scenario::timers, after: &[], outcome: &[("a", "\"slept twice\"")] });
}

#[test]
fn a_child_is_started_once_and_its_end_comes_once_whatever_dies() {
    walk(&Story { name: "child", roots: &["a"], begin: scenario::children, after: &[], outcome: &[("a", "[\"x\",\"y\",\"Asked\"]"), ("own", "\"y\"")] });
}

#[test]
fn an_event_from_one_instance_to_another_comes_once_whatever_dies() {
    walk(&Story { name: "send", roots: &["a", "b"], begin: scenario::sender, after: &[], outcome: &[("a", "\"sent\""), ("b", "[1,2,3]")] });
}

#[test]
fn messages_in_flight_survive_continue_as_new_whatever_dies() {
    walk(&Story { name: "again", roots: &["a"], begin: scenario::again, after: &[scenario::three_events], outcome: &[("a", "[1,2,3]")] });
}

#[test]
fn a_termination_reaches_the_children_whatever_dies() {
    walk(&Story {
        name: "terminate",
        roots: &["a"],
        begin: scenario::waiting_child,
        after: &[scenario::terminate],
        outcome: &[("a", "\"enough\""), ("own", "\"the parent instance `a` was terminated\"")],
    });
}

#[test]
fn what_comes_to_a_suspended_instance_is_taken_at_the_resume_whatever_dies() {
    walk(&Story {
        name: "suspend",
        roots: &["a"],
        begin: scenario::again,
        after: &[scenario::suspend, scenario::three_events, scenario::resume],
        outcome: &[("a", "[1,2,3]")],
    });
}

#[test]
fn a_rewind_runs_the_failed_activity_and_the_failed_child_again_whatever_dies() {
    walk(&Story {
        name: "rewind",
        roots: &["a"],
        begin: scenario::failing,
        after: &[scenario::mend, scenario::rewind],
        outcome: &[("a", "[\"mended\",\"mended\"]"), ("own", "\"mended\"")],
    });
}

#[test]
fn a_purge_removes_the_instance_whatever_dies() {
    walk(&Story { name: "purge", roots: &["a"], begin: scenario::timers, after: &[scenario::purge], outcome: &[] });
}

#[test]
fn a_second_life_takes_nothing_of_the_first_whatever_dies() {
    walk(&Story {
        name: "second life",
        roots: &["a"],
        begin: scenario::first_life,
        after: &[scenario::terminate, scenario::second_life],
        outcome: &[("a", "\"second\"")],
    });
}
