//! A custom handler for Azure Functions whose orchestrators make work.
#![allow(missing_docs, clippy::panic, reason = "a program for tests")]

#[path = "common/workload.rs"]
mod workload;

use std::process::ExitCode;

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_ansi(false).with_env_filter(tracing_subscriber::EnvFilter::new("info")).init();
    let served = workload::app().build().map_err(|e| e.to_string()).and_then(|app| durable_azure::serve(app).map_err(|e| e.to_string()));
    match served {
        Ok(never) => match never {},
        Err(e) => {
            eprintln!("workload: {e}");
            ExitCode::FAILURE
        }
    }
}
