//! On AWS Lambda: the environment says everything, logs are lines of JSON.

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

/// Serves the app until the platform ends the process.
pub fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("DURABLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_ansi(false).with_current_span(true).init();
    let served = durable_orchestrator::app().map_err(|e| e.to_string()).and_then(|app| durable_aws::serve(app).map_err(|e| e.to_string()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!("{e}");
            ExitCode::FAILURE
        }
    }
}
