//! The base orchestrator: an activity, a wait for an external event, an activity.
//!
//! Each `await` is a checkpoint. Between two of them the process may end, the machine may change, or a year may pass.

use durable::{Context, Error, EventName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::activities::log::{LogInput, log_activity};
use crate::json::compact;

/// What to say, and which event to wait for. What is missing or null has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseInput {
    /// `Hello from orchestrator` if not given.
    pub message: Option<String>,
    /// `WakeUp` if not given.
    pub wait_event_name: Option<String>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseOutput {
    /// Always `completed`.
    pub status: String,
    /// What the second activity returned.
    pub final_result: String,
}

/// Logs the message, sleeps until somebody raises the event, logs what came with it.
///
/// The input may be left out altogether: that is why it is an `Option`. The event may carry any JSON, and is reported as it was sent: a string
/// that holds JSON stays that string, as nobody can tell whether its sender meant it so.
#[durable::orchestrator]
pub async fn base_orchestrator(ctx: Context, input: Option<BaseInput>) -> Result<BaseOutput, Error> {
    let input = input.unwrap_or_default();
    let message = input.message.unwrap_or_else(|| "Hello from orchestrator".to_owned());
    let wake_up: EventName<Box<RawValue>> = EventName::dynamic(input.wait_event_name.unwrap_or_else(|| "WakeUp".to_owned()));

    ctx.activity(log_activity, LogInput { message }).await?;

    // Nothing runs and nothing is paid for while it waits here.
    let payload = ctx.event(wake_up).await?;

    let message = format!("Resumed! Received: {}", compact(&payload));
    let final_result = ctx.activity(log_activity, LogInput { message }).await?;
    Ok(BaseOutput { status: "completed".to_owned(), final_result })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_may_be_absent_empty_or_partial() {
        let read = |text| serde_json::from_str::<Option<BaseInput>>(text).unwrap().unwrap_or_default();
        assert_eq!(read("null"), BaseInput::default());
        assert_eq!(read("{}"), BaseInput::default());
        assert_eq!(read(r#"{"message": null, "wait_event_name": "Go"}"#), BaseInput { message: None, wait_event_name: Some("Go".to_owned()) });
    }
}
