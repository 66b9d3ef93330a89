//! The program: recognises where it runs, and serves the app there.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "the host around the orchestrators is not replayed")]

#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "local")]
mod cli;
#[cfg(feature = "aws")]
mod lambda;
#[cfg(feature = "local")]
mod local;
#[cfg(any(feature = "aws", feature = "azure"))]
mod logs;

use std::process::ExitCode;

#[cfg(not(any(feature = "local", feature = "aws", feature = "azure")))]
compile_error!("choose at least one host: the feature `local`, `aws` or `azure`");

/// A sixth less processor time than the system's under load. In the cloud, where each process serves few at a time, a smaller program starts sooner.
#[cfg(feature = "local")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(feature = "aws")]
    if durable_aws::is_here() {
        return lambda::main();
    }
    #[cfg(feature = "azure")]
    if durable_azure::is_here() {
        return azure::main();
    }
    elsewhere()
}

#[cfg(feature = "local")]
fn elsewhere() -> ExitCode {
    local::main()
}

#[cfg(not(feature = "local"))]
fn elsewhere() -> ExitCode {
    eprintln!("durable-orchestrator: this build serves in the cloud only (AWS Lambda, Azure Functions); build it with the feature `local` to serve here");
    ExitCode::FAILURE
}
