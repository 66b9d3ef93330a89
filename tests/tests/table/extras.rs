//! What a host needs beside the port: looks, claims, the index of faulted instances.

use durable_tests::azurite::Azurite;
use durable_tests::conformance::cloud;

/// A look shows life, revision and whether there is work; nothing of what is unknown or purged.
#[test]
fn a_look_shows_whether_there_is_something_to_do() {
    Azurite::get().run(cloud::a_look_shows_whether_there_is_something_to_do(&Azurite::get().fresh()));
}

/// An attempt belongs to one run until its time is over, however often it is claimed.
#[test]
fn an_attempt_is_run_by_one_worker_at_a_time() {
    Azurite::get().run(cloud::an_attempt_is_run_by_one_worker_at_a_time(&Azurite::get().fresh()));
}

/// A faulted instance is named while its fault lasts.
#[test]
fn faulted_instances_are_named_until_they_are_cured_or_end() {
    Azurite::get().run(cloud::faulted_instances_are_named_until_they_are_cured_or_end(&Azurite::get().fresh()));
}

/// Each hub remembers the build that was noted last.
#[test]
fn the_build_that_was_noted_last_is_the_latest() {
    Azurite::get().run(cloud::the_build_that_was_noted_last_is_the_latest(&Azurite::get().fresh(), &Azurite::get().fresh()));
}
