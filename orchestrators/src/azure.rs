//! On Azure Functions, as a custom handler: the settings and `host.json` say everything, logs are lines that the Functions host takes over.

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

/// Serves the app until the Functions host ends the process.
pub fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("DURABLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Without times: the host puts its own before each line.
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).without_time().init();
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
