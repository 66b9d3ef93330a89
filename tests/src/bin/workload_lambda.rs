//! A Lambda function whose orchestrators make work.
#![allow(missing_docs, clippy::panic, reason = "a program for tests")]

#[path = "common/workload.rs"]
mod workload;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing_subscriber::filter::LevelFilter::INFO).init();
    Ok(durable_aws::serve(workload::app().build()?)?)
}
