//! On Azure Functions, as a custom handler: the settings and `host.json` say everything, logs are lines that the Functions host takes over.

use std::process::ExitCode;

use tracing_subscriber::prelude::*;

use crate::logs::levels;

/// Serves the app until the Functions host ends the process.
pub fn main() -> ExitCode {
    // Without times: the host puts its own before each line.
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).without_time();
    tracing_subscriber::registry().with(lines).with(levels()).init();
    let served = durable_orchestrator::app().map_err(|e| e.to_string()).and_then(|app| durable_azure::serve(app).map_err(|e| e.to_string()));
    match served {
        Ok(never) => match never {},
        Err(e) => {
            // The host shows what stands here as an error. It starts the program twice more, and gives up then.
            eprintln!("durable-orchestrator: {e}");
            ExitCode::FAILURE
        }
    }
}
