//! The app as it is published to Azure: built and staged by `infra/azure/stage`, with fat link-time optimisation, without symbols, and for the C
//! library of Azure's images; and asked for all that people's clients can ask of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod hosts;
mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use durable_tests::tools::run;
use hosts::azure::{Azure, KEY};
use support::published;
use support::sdk::{Server, javascript, python};

/// What the program may have.
const LARGEST: u64 = 12_000_000;

fn program() -> PathBuf {
    published().join("durable-orchestrator")
}

fn azure() -> Arc<Azure> {
    static AZURE: Mutex<Weak<Azure>> = Mutex::new(Weak::new());
    hosts::shared(&AZURE, || Azure::start(&program(), |options| options))
}

#[test]
fn it_is_small() {
    let size = std::fs::metadata(program()).unwrap().len();
    assert!(size <= LARGEST, "{size} bytes, and {LARGEST} are allowed: find out what was linked, for example with `cargo bloat`");
}

#[test]
fn it_starts_on_azures_images() {
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/check/glibc.py");
    run(Command::new("python3").arg(check).arg(program()).arg("azure"), "install Python 3.10 or later (for example `apt-get install python3`)");
}

hosts::stories! { azure();
    the_walk
    a_status_is_found_by_every_link_of_the_start
    an_intent_is_approved
    an_intent_is_rejected
    an_intent_is_approved_by_the_signed_url_of_its_question
    an_intent_expires_by_its_timer
    many_instances_at_once_come_to_their_ends
}

/// An app of its own: a suite lists and purges all that there is. The Functions host asks for the key.
fn asked_by(suite: fn(&Server)) {
    let azure = Azure::start(&program(), |options| options);
    let at = format!("{}/api", azure.functions.address());
    suite(&Server { at: &at, hub: &azure.hub, key: Some(KEY) });
}

#[test]
fn the_python_client_of_durable_functions_can_do_all_that_it_offers() {
    asked_by(python);
}

#[test]
fn the_javascript_client_of_durable_functions_can_do_all_that_it_offers() {
    asked_by(javascript);
}
