//! The simplest activity.

use std::convert::Infallible;

use serde::{Deserialize, Serialize};

/// What to log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogInput {
    /// The line.
    pub message: String,
}

/// Logs a message, and returns `Processed: <message>`.
#[durable::activity]
pub async fn log_activity(input: LogInput) -> Result<String, Infallible> {
    tracing::info!(message = input.message);
    Ok(format!("Processed: {}", input.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_message_comes_back_as_processed() {
        assert_eq!(log_activity::call(LogInput { message: "Hello".to_owned() }).await, Ok("Processed: Hello".to_owned()));
    }
}
