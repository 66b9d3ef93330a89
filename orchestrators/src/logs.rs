//! Log levels in the clouds.

use tracing_subscriber::filter::Targets;

/// Levels by target, as `DURABLE_LOG` says (`info,durable=debug`). Filters of fields would bring the engine of regular expressions.
pub fn levels() -> Targets {
    let said = std::env::var("DURABLE_LOG").ok().and_then(|levels| levels.parse().ok());
    said.unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO))
}
