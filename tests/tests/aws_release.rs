//! The function as it is deployed: built by `infra/aws/build`, with fat link-time optimisation and without symbols, and asked for all that people's
//! clients can ask of it. What only a program for tests can show, a panic above all, is shown by one that is built in the same way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod hosts;
mod support;

use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

use durable_tests::tools::run;
use hosts::aws::{Aws, KEY};
use support::bootstrap;
use support::readme::walk;
use support::sdk::{Server, javascript, python};

/// It is loaded at each cold start.
const LARGEST: u64 = 7_000_000;

fn aws() -> Arc<Aws> {
    static AWS: Mutex<Weak<Aws>> = Mutex::new(Weak::new());
    hosts::shared(&AWS, || Aws::start(bootstrap(), |cloud| cloud.concurrency(64)))
}

#[test]
fn it_is_small() {
    let size = std::fs::metadata(bootstrap()).unwrap().len();
    assert!(size <= LARGEST, "{size} bytes, and {LARGEST} are allowed: find out what was linked, for example with `cargo bloat`");
}

#[test]
fn it_starts_on_the_functions_system() {
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/check/glibc.py");
    run(Command::new("python3").arg(check).arg(bootstrap()).arg("lambda"), "install Python 3.10 or later (for example `apt-get install python3`)");
}

#[test]
fn the_walk_of_the_readme_works_where_the_platform_guards_the_url() {
    let aws = Aws::start(bootstrap(), |cloud| cloud.env("DURABLE_URL_AUTH", "AWS_IAM"));
    walk(aws.address(), || aws.address());
}

hosts::stories! { aws();
    the_walk
    a_status_is_found_by_every_link_of_the_start
    an_intent_is_approved
    an_intent_is_rejected
    an_intent_is_approved_by_the_signed_url_of_its_question
    an_intent_expires_by_its_timer
    many_instances_at_once_come_to_their_ends
}

/// A function of its own: a suite lists and purges all that there is. Its clients send many requests at once.
fn asked_by(suite: fn(&Server)) {
    let aws = Aws::start(bootstrap(), |cloud| cloud.concurrency(128));
    suite(&Server { key: Some(KEY), ..Server::local(&aws.address().to_string()) });
    assert!(!aws.log().contains(KEY), "the key stands in the log");
}

#[test]
fn the_python_client_of_durable_functions_can_do_all_that_it_offers() {
    asked_by(python);
}

#[test]
fn the_javascript_client_of_durable_functions_can_do_all_that_it_offers() {
    asked_by(javascript);
}

/// The same stories, by a program that is built like the template's.
mod workload {
    use super::hosts::aws::Aws;
    use super::hosts::{self, Host};
    use super::support::{output_of, release_workload, wait_where};
    use super::{Arc, Mutex, Weak};

    fn aws() -> Arc<Aws> {
        static AWS: Mutex<Weak<Aws>> = Mutex::new(Weak::new());
        hosts::shared(&AWS, || Aws::start(release_workload(), |cloud| cloud.concurrency(64)))
    }

    hosts::stories!(aws());

    #[test]
    fn a_panic_leaves_its_process_alive() {
        let aws = Aws::start(release_workload(), |cloud| cloud);
        // Numbers are never used again, and the first event goes to the first process.
        let first = || aws.cloud.sandboxes().iter().find(|sandbox| sandbox.id == 1).and_then(|sandbox| sandbox.process);
        let mut http = aws.http();
        http.start("panics", "a", "null");
        let shown = wait_where(&mut http, "a", "to bear its fault", |shown| shown["fault"].is_object());
        assert_eq!(shown["fault"]["kind"], "Panic", "a process that died would show as Abort: {shown}");
        let process = first().expect("the process that took the panic lives");
        http.start("fan_out", "b", "3");
        assert_eq!(output_of(&mut http, "b"), 6);
        assert_eq!(first(), Some(process));
    }
}
