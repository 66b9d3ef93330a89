//! On AWS Lambda: the environment says everything, logs are lines of JSON.

use std::process::ExitCode;

use tracing_subscriber::prelude::*;

use crate::logs::levels;

/// Serves the app until the platform ends the process.
pub fn main() -> ExitCode {
    let lines = tracing_subscriber::fmt::layer().json().with_ansi(false).with_current_span(true);
    tracing_subscriber::registry().with(lines).with(levels()).init();
    let served = durable_orchestrator::app().map_err(|e| e.to_string()).and_then(|app| durable_aws::serve(app).map_err(|e| e.to_string()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e}");
            ExitCode::FAILURE
        }
    }
}
