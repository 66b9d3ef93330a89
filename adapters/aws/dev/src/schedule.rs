//! EventBridge Scheduler: one-time schedules that send an event to the function.
//!
//! A target that is a function is invoked asynchronously, so retries after errors are those of the asynchronous queue. AWS fires up to a minute late;
//! here it is exact unless a lateness is set. What a cloud may do with a time that has passed differs, so it is refused. Must never: take
//! a schedule of a kind that it does not run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::AbortHandle;

use crate::ids::uuid;
use crate::journal::Journal;
use crate::lambda::Lambda;
use crate::pulse::{Pulse, later, sleep_until};

/// The journal's word.
const KIND: &str = "schedule";

/// A request to create a schedule. What is not named here does not matter to a one-time schedule.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    schedule_expression: String,
    schedule_expression_timezone: Option<String>,
    flexible_time_window: Window,
    target: Target,
    action_after_completion: Option<String>,
    group_name: Option<String>,
    state: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Window {
    mode: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    arn: String,
    role_arn: String,
    input: Option<String>,
    retry_policy: Option<serde_json::Value>,
}

/// A schedule, for those who look.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// When it fires.
    pub at: Timestamp,
    /// It has fired, and was to be kept.
    pub fired: bool,
    asked: Asked,
}

/// An error of the API: its status, its name, and what it says.
type Refusal = (StatusCode, &'static str, String);

#[derive(Default)]
struct Schedules {
    all: BTreeMap<String, Schedule>,
    runs: BTreeMap<String, AbortHandle>,
}

/// The scheduler.
pub(crate) struct Scheduler {
    lambda: Arc<Lambda>,
    journal: Arc<Journal>,
    pulse: Pulse,
    lateness: Duration,
    schedules: Mutex<Schedules>,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("lateness", &self.lateness).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// Goes on with the schedules of the last run.
    pub(crate) fn open(lambda: Arc<Lambda>, journal: Arc<Journal>, pulse: Pulse, lateness: Duration) -> Arc<Self> {
        let scheduler = Arc::new(Self { lambda, journal, pulse, lateness, schedules: Mutex::default() });
        for (_, schedule) in scheduler.journal.all::<Schedule>(KIND) {
            scheduler.hold(&mut scheduler.schedules(), schedule);
        }
        scheduler
    }

    fn schedules(&self) -> MutexGuard<'_, Schedules> {
        self.schedules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(self: &Arc<Self>, name: &str, asked: Asked) -> Result<String, Refusal> {
        let now = Timestamp::now();
        let at = check(name, &asked, &self.lambda, now).map_err(|why| (StatusCode::BAD_REQUEST, "ValidationException", why))?;
        let mut schedules = self.schedules();
        if schedules.all.contains_key(name) {
            return Err((StatusCode::CONFLICT, "ConflictException", format!("Schedule {name} already exists.")));
        }
        let schedule = Schedule { name: name.to_owned(), at, fired: false, asked };
        self.journal.put(KIND, name, &schedule);
        self.hold(&mut schedules, schedule);
        Ok(arn(name))
    }

    fn hold(self: &Arc<Self>, schedules: &mut Schedules, schedule: Schedule) {
        let enabled = schedule.asked.state.as_deref() != Some("DISABLED");
        if enabled && !schedule.fired {
            let scheduler = self.clone();
            let run = tokio::spawn(scheduler.fire(schedule.clone()));
            schedules.runs.insert(schedule.name.clone(), run.abort_handle());
        }
        schedules.all.insert(schedule.name.clone(), schedule);
        self.pulse.beat();
    }

    async fn fire(self: Arc<Self>, schedule: Schedule) {
        sleep_until(later(schedule.at, self.lateness)).await;
        let input = schedule.asked.target.input.clone().unwrap_or_else(|| "{}".to_owned());
        let input = input
            .replace("<aws.scheduler.schedule-arn>", &arn(&schedule.name))
            .replace("<aws.scheduler.scheduled-time>", &format!("{:.0}", schedule.at))
            .replace("<aws.scheduler.execution-id>", &uuid())
            .replace("<aws.scheduler.attempt-number>", "1");
        if let Err(e) = self.lambda.enqueue_timer(input) {
            tracing::error!("schedule {}: {e}", schedule.name);
        }
        let mut schedules = self.schedules();
        schedules.runs.remove(&schedule.name);
        if schedule.asked.action_after_completion.as_deref() == Some("DELETE") {
            schedules.all.remove(&schedule.name);
            self.journal.remove(KIND, &schedule.name);
        } else if let Some(kept) = schedules.all.get_mut(&schedule.name) {
            kept.fired = true;
            self.journal.put(KIND, &schedule.name, kept);
        }
        self.pulse.beat();
    }

    fn delete(&self, name: &str) -> Result<(), Refusal> {
        let mut schedules = self.schedules();
        if let Some(run) = schedules.runs.remove(name) {
            run.abort();
        }
        schedules.all.remove(name).ok_or_else(|| missing(name))?;
        self.journal.remove(KIND, name);
        self.pulse.beat();
        Ok(())
    }

    /// All schedules there are.
    pub(crate) fn all(&self) -> Vec<Schedule> {
        self.schedules().all.values().cloned().collect()
    }

    /// Ends all runs. What is scheduled stays in the journal.
    pub(crate) fn stop(&self) {
        for (_, run) in std::mem::take(&mut self.schedules().runs) {
            run.abort();
        }
    }
}

fn arn(name: &str) -> String {
    format!("arn:aws:scheduler:{}:{}:schedule/default/{name}", crate::REGION, crate::ACCOUNT)
}

fn missing(name: &str) -> Refusal {
    (StatusCode::NOT_FOUND, "ResourceNotFoundException", format!("Schedule {name} does not exist."))
}

/// When a schedule fires, or why it cannot be taken.
fn check(name: &str, asked: &Asked, lambda: &Lambda, now: Timestamp) -> Result<Timestamp, String> {
    if name.is_empty() || name.len() > 64 || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return Err(format!("{name:?} is no name for a schedule: 1 to 64 of A-Z, a-z, 0-9, '-', '_' and '.'"));
    }
    if asked.flexible_time_window.mode != "OFF" {
        return Err("this driver knows FlexibleTimeWindow OFF only".to_owned());
    }
    if !matches!(asked.group_name.as_deref(), None | Some("default")) {
        return Err("this driver knows the group 'default' only".to_owned());
    }
    if !matches!(asked.schedule_expression_timezone.as_deref(), None | Some("UTC")) {
        return Err("this driver knows the time zone UTC only".to_owned());
    }
    if !matches!(asked.action_after_completion.as_deref(), None | Some("NONE" | "DELETE")) {
        return Err("ActionAfterCompletion is NONE or DELETE".to_owned());
    }
    if asked.target.arn.strip_suffix(":$LATEST").unwrap_or(&asked.target.arn) != lambda.arn {
        return Err(format!("this driver's only target is {}, not {}", lambda.arn, asked.target.arn));
    }
    if asked.target.input.as_deref().is_some_and(|input| serde_json::from_str::<serde::de::IgnoredAny>(input).is_err()) {
        return Err("Input is not JSON".to_owned());
    }
    let at = expression(&asked.schedule_expression).ok_or_else(|| {
        format!("Invalid Schedule Expression {}: this driver knows at(yyyy-mm-ddThh:mm:ss) only, in UTC and without a zone", asked.schedule_expression)
    })?;
    if at < now { Err(format!("{} has passed; this driver refuses what can no longer fire in time", asked.schedule_expression)) } else { Ok(at) }
}

/// The time in `at(yyyy-mm-ddThh:mm:ss)`: no zone, no fraction.
fn expression(text: &str) -> Option<Timestamp> {
    let inside = text.strip_prefix("at(")?.strip_suffix(')')?;
    let exact = inside.len() == "2026-01-31T12:00:00".len() && inside.as_bytes().get(10) == Some(&b'T');
    let at: DateTime = inside.parse().ok().filter(|_| exact)?;
    TimeZone::UTC.to_timestamp(at).ok()
}

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "groupName")]
    name: Option<String>,
}

/// The routes of the API.
pub(crate) fn router(scheduler: Arc<Scheduler>) -> Router {
    Router::new().route("/schedules/{name}", post(create).get(get).delete(delete)).with_state(scheduler)
}

async fn create(State(scheduler): State<Arc<Scheduler>>, Path(name): Path<String>, body: bytes::Bytes) -> Response {
    let asked = serde_json::from_slice(&body).map_err(|e| (StatusCode::BAD_REQUEST, "ValidationException", e.to_string()));
    answer(asked.and_then(|asked| scheduler.create(&name, asked)).map(|arn| json!({"ScheduleArn": arn})))
}

async fn get(State(scheduler): State<Arc<Scheduler>>, Path(name): Path<String>, Query(group): Query<Group>) -> Response {
    let found = scheduler.schedules().all.get(&name).filter(|_| is_default(&group)).cloned();
    answer(found.ok_or_else(|| missing(&name)).map(|schedule| {
        let Asked { schedule_expression, flexible_time_window, target, action_after_completion, state, .. } = schedule.asked;
        json!({
            "Arn": arn(&name),
            "Name": name,
            "GroupName": "default",
            "ScheduleExpression": schedule_expression,
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": flexible_time_window,
            "Target": target,
            "ActionAfterCompletion": action_after_completion.unwrap_or_else(|| "NONE".to_owned()),
            "State": state.unwrap_or_else(|| "ENABLED".to_owned()),
        })
    }))
}

async fn delete(State(scheduler): State<Arc<Scheduler>>, Path(name): Path<String>, Query(group): Query<Group>) -> Response {
    let deleted = if is_default(&group) { scheduler.delete(&name) } else { Err(missing(&name)) };
    answer(deleted.map(|()| json!({})))
}

fn is_default(group: &Group) -> bool {
    matches!(group.name.as_deref(), None | Some("default"))
}

fn answer(result: Result<serde_json::Value, Refusal>) -> Response {
    match result {
        Ok(body) => axum::Json(body).into_response(),
        Err((status, name, message)) => {
            (status, [(HeaderName::from_static("x-amzn-errortype"), name)], axum::Json(json!({"Message": message}))).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_time_expressions_are_read_to_the_second() {
        assert_eq!(expression("at(2026-01-31T12:00:05)").unwrap().to_string(), "2026-01-31T12:00:05Z");
        for text in [
            "at(2026-01-31T12:00:05Z)",
            "at(2026-01-31T12:00:05.5)",
            "at(2026-01-31T12:00)",
            "at(2026-02-31T12:00:00)",
            "rate(1 minute)",
            "at(2026-01-31 12:00:05)",
        ] {
            assert_eq!(expression(text), None, "{text}");
        }
    }
}
