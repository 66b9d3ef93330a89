//! The clients that people have already, against the real program on one machine, and against the custom handler behind a Functions host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod hosts;
mod support;

use hosts::azure::Azure;
use support::sdk::{Server, javascript, python};
use support::{Folder, template, workload_azure};

#[test]
fn the_python_client_of_durable_functions_can_do_all_that_it_offers() {
    let data = Folder::new();
    python(&Server::local(&data.serve(template()).address.to_string()));
}

#[test]
fn the_javascript_client_of_durable_functions_can_do_all_that_it_offers() {
    let data = Folder::new();
    javascript(&Server::local(&data.serve(template()).address.to_string()));
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
    python(&Server { hub: &azure.hub, ..Server::local(&server) });
}

#[test]
fn the_javascript_client_can_do_the_same_behind_a_functions_host() {
    let (azure, server) = without_keys();
    javascript(&Server { hub: &azure.hub, ..Server::local(&server) });
}
