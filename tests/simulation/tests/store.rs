//! The simulated store, reached over the simulated network without trouble, passes the conformance suite that the real ones pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

use durable::limits;
use durable_simulation::book::Writer;
use durable_simulation::call::Caller;
use durable_simulation::faults::Faults;
use durable_simulation::store::{Line, SimStore};
use durable_simulation::world::World;
use durable_tests::build::at;
use durable_tests::conformance::Opened;

fn line(delivers_atomically: bool) -> Line {
    let world = World::new(1, Faults::new(1, 0, 0, (at(0), at(0)), None), false);
    let store = SimStore::new(world.clone(), delivers_atomically, !delivers_atomically, !delivers_atomically, limits::INBOX_MESSAGES);
    Line { caller: Caller { world, process: 1 }, writer: Writer { process: 1, matching: true }, store }
}

mod as_the_embedded_host_has_it {
    use super::*;
    durable_tests::conformance_suite!(|| Opened::new(line(true)));
}

mod as_the_cloud_hosts_have_it {
    use super::*;
    durable_tests::conformance_suite!(|| Opened::new(line(false)));
}

/// What hosts ask of a store beside the port.
mod as_the_cloud_hosts_ask_it {
    use durable_tests::conformance::cloud;
    use futures_util::FutureExt;

    use super::*;

    fn run(behaviour: impl Future<Output = ()>) {
        behaviour.now_or_never().expect("nothing takes time in a world without trouble");
    }

    #[test]
    fn a_look_shows_whether_there_is_something_to_do() {
        run(cloud::a_look_shows_whether_there_is_something_to_do(&line(false)));
    }

    #[test]
    fn an_attempt_is_run_by_one_worker_at_a_time() {
        run(cloud::an_attempt_is_run_by_one_worker_at_a_time(&line(false)));
    }

    #[test]
    fn faulted_instances_are_named_until_they_are_cured_or_end() {
        run(cloud::faulted_instances_are_named_until_they_are_cured_or_end(&line(false)));
    }

    #[test]
    fn the_build_that_was_noted_last_is_the_latest() {
        run(cloud::the_build_that_was_noted_last_is_the_latest(&line(false), &line(false)));
    }
}
