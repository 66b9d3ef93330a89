//! Alarms in Step Functions: one execution of a standard state machine each, which waits and then calls the function.
//!
//! The execution's input is `{"fireAt": "2026-01-31T08:00:00Z", "event": {…}}`. Executions live for a year at most: a longer wait is armed again
//! by whoever the first one calls (see `Work::Timer`).

use std::time::Duration;

use aws_sdk_sfn::Client;
use durable::Timestamp;
use durable::ports::{Clock, PortFuture, StoreError};
use durable_host::SystemClock;
use durable_host::invoked::{AlarmService, Work};

use super::whole_seconds_up;
use crate::clients::words;

/// Longest wait of one execution: a standard workflow ends after 365 days.
const LONGEST: Duration = Duration::from_secs(360 * 86_400);

/// Timers as executions of a state machine.
#[derive(Debug, Clone)]
pub struct StepFunctions {
    client: Client,
    state_machine: String,
}

impl StepFunctions {
    /// Timers in this state machine.
    #[must_use]
    pub const fn new(client: Client, state_machine: String) -> Self {
        Self { client, state_machine }
    }

    /// The ARN of an execution, as the service makes it from its name.
    fn execution(&self, name: &str) -> String {
        format!("{}:{name}", self.state_machine.replacen(":stateMachine:", ":execution:", 1))
    }
}

impl AlarmService for StepFunctions {
    fn arm(&self, name: String, at: Timestamp, event: Work) -> PortFuture<Result<(), StoreError>> {
        let fire_at = whole_seconds_up(at.min(SystemClock.now().after(LONGEST))).to_seconds_text();
        let input = serde_json::json!({ "fireAt": fire_at, "event": event }).to_string();
        let (start, state_machine) = (self.client.start_execution().state_machine_arn(&self.state_machine).name(name).input(input), self.state_machine.clone());
        Box::pin(async move {
            match start.send().await {
                Ok(_) => Ok(()),
                // Names are never used for two alarms: this one exists.
                Err(e) if e.as_service_error().is_some_and(|e| e.is_execution_already_exists()) => Ok(()),
                Err(e) => Err(StoreError::Unavailable(format!("a timer cannot be started (states:StartExecution on {state_machine}): {}", words(&e)))),
            }
        })
    }

    fn disarm(&self, name: String) -> PortFuture<()> {
        let stop = self.client.stop_execution().execution_arn(self.execution(&name));
        Box::pin(async move {
            if let Err(e) = stop.send().await {
                tracing::warn!("timer {name} cannot be stopped, and will ring for nothing: {}", words(&e));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_s_arn_follows_from_the_machine_and_the_name() {
        let config = aws_sdk_sfn::Config::builder().behavior_version(aws_sdk_sfn::config::BehaviorVersion::latest()).build();
        let timers = StepFunctions::new(Client::from_conf(config), "arn:aws:states:eu-west-1:123456789012:stateMachine:timer".to_owned());
        assert_eq!(timers.execution("n"), "arn:aws:states:eu-west-1:123456789012:execution:timer:n");
    }
}
