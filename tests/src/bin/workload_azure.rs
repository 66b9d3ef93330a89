//! A custom handler for Azure Functions whose orchestrators make work.
#![allow(missing_docs, clippy::panic, reason = "a program for tests")]

#[path = "common/workload.rs"]
mod workload;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_ansi(false).with_env_filter(tracing_subscriber::EnvFilter::new("info")).init();
    match durable_azure::serve(workload::app().build()?) {
        Ok(never) => match never {},
        Err(e) => {
            eprintln!("workload: {e}");
            Err(e.into())
        }
    }
}
