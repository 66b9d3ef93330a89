//! A bounded run of the simulation on each host, and the seeds that once failed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

use durable_simulation::{Flavour, Plan, run};

fn holds(plan: &Plan) {
    let report = run(plan);
    assert_eq!(report.failure, None, "seed {} ({}): run it with --seed {0}", plan.seed, report.flavour.name());
}

fn holds_for(flavour: Flavour) {
    for seed in 0..60 {
        holds(&Plan { seed, flavour: Some(flavour), ..Plan::default() });
    }
}

#[test]
fn what_must_hold_holds_on_the_embedded_host() {
    holds_for(Flavour::Embedded);
}

#[test]
fn what_must_hold_holds_on_lambda() {
    holds_for(Flavour::Lambda);
}

#[test]
fn what_must_hold_holds_on_functions() {
    holds_for(Flavour::Functions);
}

#[test]
fn one_seed_is_one_story() {
    for flavour in Flavour::ALL {
        let story = |seed| run(&Plan { seed, flavour: Some(flavour), trace: true, ..Plan::default() }).trace;
        let first = story(5);
        assert!(first.len() > 20);
        assert_eq!(first, story(5));
        assert_ne!(first, story(6));
    }
}

/// Seeds that failed once, with what they found.
const FOUND: &[(u64, Flavour, &str)] = &[
    (1056, Flavour::Functions, "an attempt that was lost on its way was not made again by a process that had the instance in memory"),
    (969, Flavour::Lambda, "a build that came back did not look at what another one could not run"),
    (1267, Flavour::Functions, "the same, with ten tries in vain"),
    (110, Flavour::Embedded, "a child that failed again at once after a rewind left its word in the outbox"),
    (364, Flavour::Functions, "a rewind of an instance whose child was to have its own id waited for itself"),
    (822, Flavour::Functions, "an attempt that a rewind asked for again was not wanted, for its former end still stands in the history"),
    (568, Flavour::Lambda, "a check drove an instance with a fault again and again, without a pause"),
    (17046, Flavour::Functions, "an alarm that was kept for a later timer rang, and nobody armed the next one"),
    (12617, Flavour::Embedded, "an event that was stored plainly while its instance was loaded was taken behind a later one"),
    (13180, Flavour::Lambda, "a cheap read that showed the life before was taken for the end of the one that was told of"),
    (14641, Flavour::Lambda, "a rewind asked again for a child whose id has another life now, and waited for it for ever"),
    (1647, Flavour::Functions, "an event was taken before one that another process had acknowledged before it was sent"),
    (4523, Flavour::Embedded, "a child that was purged while a rewind asked for it again said what counted as said before"),
    (7406, Flavour::Functions, "the same for two children of one id"),
    (127_599, Flavour::Functions, "the same"),
    (200_046, Flavour::Lambda, "the same"),
    (338_906, Flavour::Lambda, "a child that was begun once more sent its events once more"),
    (45891, Flavour::Embedded, "a child that was begun once more found its own child ended, and was not told"),
    (105_422, Flavour::Embedded, "the same after a repeated start"),
    (61764, Flavour::Lambda, "a cheap read that lacked the message that was told of was taken for the end of it"),
    (96918, Flavour::Lambda, "the same"),
    (86969, Flavour::Embedded, "a clock was put back while an alarm rang, and the timer was forgotten"),
    (336_948, Flavour::Functions, "the same"),
    (128_677, Flavour::Lambda, "a rewind of what had failed at a resume was refused, for code went on from there"),
    (172_580, Flavour::Lambda, "a check left an instance to its fault for which somebody still waited in place"),
    (897_211, Flavour::Functions, "code that ended once a failure was undone ended as if it were replayed: a patch marker said no"),
    (703_822, Flavour::Lambda, "a commit was put upon a life that had been replaced and begun anew since it was read"),
    (996_966, Flavour::Functions, "a build was noted as announced by a process that died before it had announced it"),
    (860_441, Flavour::Functions, "an alarm that had rung was put off to a machine whose clock was behind, which found nothing to do"),
    (883_194, Flavour::Functions, "the same"),
    (155_274, Flavour::Functions, "an earlier try of an event landed in the life that had begun since nobody was there to take it"),
    (373_111, Flavour::Functions, "a queue that answered late had its wake-up seen before the message that it was for"),
    (2_004_051, Flavour::Lambda, "a parent without room for the refusals of its children began those anew that had been replaced meanwhile, for ever"),
    (2_032_587, Flavour::Functions, "the same"),
    (3_236_727, Flavour::Functions, "an event that was stored plainly beside the turn that took it stood twice in its history, among many others"),
    (5_204_227, Flavour::Lambda, "an outbox that took longer than an invocation has was begun anew by each, for hours"),
    (267, Flavour::Functions, "an outbox that had been emptied was held back all the same, under an alarm that had rung"),
];

#[test]
fn seeds_that_failed_once_hold() {
    for (seed, flavour, found) in FOUND {
        let report = run(&Plan { seed: *seed, flavour: Some(*flavour), ..Plan::default() });
        assert_eq!(report.failure, None, "{found}");
    }
}

#[test]
fn the_bugs_that_are_planted_to_see_what_it_notices_still_apply() {
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("planted.py");
    let checked = std::process::Command::new("python3").arg(script).arg("--check").output().expect("python3 can be run: install it");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
