//! A server whose orchestrators make work.
#![allow(missing_docs, clippy::panic, reason = "a program for tests")]

#[path = "common/serve.rs"]
mod serve;
#[path = "common/workload.rs"]
mod workload;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    serve::serve(workload::app().build()?)
}
