//! The stories that every host must tell alike, told to a custom handler of Azure Functions on Azurite and a host that plays the real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod hosts;
mod support;

use std::sync::{Arc, Mutex, Weak};

use hosts::azure::Azure;
use support::workload_azure;

fn azure() -> Arc<Azure> {
    static AZURE: Mutex<Weak<Azure>> = Mutex::new(Weak::new());
    hosts::shared(&AZURE, || Azure::start(workload_azure(), |options| options))
}

hosts::stories!(azure());
