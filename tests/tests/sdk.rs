//! The clients that people have already, against the real program: the Python and the JavaScript client of Durable Functions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod support;

use support::sdk::{javascript_suite, python_suite};
use support::{Folder, template};

#[test]
fn the_python_client_of_durable_functions_can_do_all_that_it_offers() {
    let data = Folder::new();
    let server = data.serve(template());
    python_suite(server.address, None);
}

#[test]
fn the_javascript_client_of_durable_functions_can_do_all_that_it_offers() {
    let data = Folder::new();
    let server = data.serve(template());
    javascript_suite(server.address, None);
}
