//! The clients that people have already, against the real program on one machine, and against the custom handler behind a Functions host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod hosts;
mod support;

use hosts::azure::Azure;
use support::{Folder, sdk, template, workload_azure};

#[test]
fn the_python_client_of_durable_functions_can_do_all_that_it_offers() {
    let data = Folder::new();
    sdk::python(&data.serve(template()).address.to_string(), "TestHubName");
}

#[test]
fn the_javascript_client_of_durable_functions_can_do_all_that_it_offers() {
    let data = Folder::new();
    sdk::javascript(&data.serve(template()).address.to_string(), "TestHubName");
}

/// On somebody's own machine, as `func start` runs it: no key is asked for.
fn without_keys() -> (Azure, String) {
    let azure = Azure::on_ones_own_machine(workload_azure());
    let server = format!("{}/api", azure.functions.address());
    (azure, server)
}

#[test]
fn the_python_client_can_do_the_same_behind_a_functions_host() {
    let (azure, server) = without_keys();
    sdk::python(&server, &azure.hub);
}

#[test]
fn the_javascript_client_can_do_the_same_behind_a_functions_host() {
    let (azure, server) = without_keys();
    sdk::javascript(&server, &azure.hub);
}
