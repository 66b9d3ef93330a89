//! Alarms in EventBridge Scheduler: one schedule each, which calls the function once and removes itself. Cheaper than Step Functions, and up to a
//! minute late.

use std::time::Duration;

use aws_sdk_scheduler::Client;
use aws_sdk_scheduler::types::{ActionAfterCompletion, FlexibleTimeWindow, FlexibleTimeWindowMode, RetryPolicy, Target};
use durable::Timestamp;
use durable::ports::{Clock, PortFuture, StoreError};
use durable_host::SystemClock;
use durable_host::invoked::{AlarmService, Work};

use super::whole_seconds_up;
use crate::clients::words;

/// A schedule in the past is refused, so the next one is this far ahead at least.
const AHEAD: Duration = Duration::from_secs(5);

/// How often the service calls again where the function fails, and for how long.
const TRIES: i32 = 20;
const TRY_FOR_SECONDS: i32 = 6 * 3_600;

/// Timers as one-shot schedules.
#[derive(Debug, Clone)]
pub struct Scheduler {
    client: Client,
    group: String,
    role: String,
    function: String,
}

impl Scheduler {
    /// Timers in this group, which call this function (an ARN) by this role.
    #[must_use]
    pub const fn new(client: Client, group: String, role: String, function: String) -> Self {
        Self { client, group, role, function }
    }
}

impl AlarmService for Scheduler {
    fn arm(&self, name: String, at: Timestamp, event: Work) -> PortFuture<Result<(), StoreError>> {
        let at = whole_seconds_up(at.max(SystemClock.now().after(AHEAD))).to_seconds_text();
        let (client, group, role, function) = (self.client.clone(), self.group.clone(), self.role.clone(), self.function.clone());
        Box::pin(async move {
            let trouble = |what: String| StoreError::Unavailable(format!("a timer cannot be scheduled (scheduler:CreateSchedule in group {group}): {what}"));
            let input = serde_json::to_string(&event).map_err(|e| trouble(e.to_string()))?;
            let retry = RetryPolicy::builder().maximum_retry_attempts(TRIES).maximum_event_age_in_seconds(TRY_FOR_SECONDS).build();
            let target = Target::builder().arn(function).role_arn(role).input(input).retry_policy(retry).build().map_err(|e| trouble(e.to_string()))?;
            let window = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build().map_err(|e| trouble(e.to_string()))?;
            let create = client
                .create_schedule()
                .name(name)
                .group_name(&group)
                .schedule_expression(format!("at({})", at.trim_end_matches('Z')))
                .flexible_time_window(window)
                .action_after_completion(ActionAfterCompletion::Delete)
                .target(target);
            match create.send().await {
                Ok(_) => Ok(()),
                Err(e) if e.as_service_error().is_some_and(|e| e.is_conflict_exception()) => Ok(()),
                Err(e) => Err(trouble(words(&e))),
            }
        })
    }

    fn disarm(&self, name: String) -> PortFuture<()> {
        let delete = self.client.delete_schedule().name(&name).group_name(&self.group);
        Box::pin(async move {
            match delete.send().await {
                Ok(_) => {}
                Err(e) if e.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => {}
                Err(e) => tracing::warn!("timer {name} cannot be removed, and will ring for nothing: {}", words(&e)),
            }
        })
    }
}
