//! Runs an execution through its states.
//!
//! Times of a `Wait` are whole seconds: what is below is cut off, so a wait may end up to a second early, as on AWS. Must never: go on from a state
//! without having said so first ([`Progress`]), since a restarted driver goes on from what was said.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::choice;
use super::definition::{Catch, Fail, Jitter, Machine, Pass, Retry, State, Task, Wait};
use super::path::{Path, Scope, fill};
use crate::function::{Event, Kind, Outcome, Refused};
use crate::lambda::{InvokeError, Lambda};
use crate::pulse::{later, sleep_until};

/// The longest an execution lasts: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The largest input or output of a state.
pub(super) const DATA_LIMIT: usize = 256 * 1024;

/// Where an execution stands: at the beginning of a state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) state: String,
    pub(super) data: Value,
    pub(super) entered: Timestamp,
}

/// How an execution ends by itself.
#[derive(Debug, Clone)]
pub(super) enum End {
    Succeeded(Value),
    Failed(Error),
    TimedOut,
}

/// An error of a state.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Error {
    pub(super) name: String,
    pub(super) cause: String,
}

impl Error {
    fn new(name: &str, cause: impl Into<String>) -> Self {
        Self { name: name.to_owned(), cause: cause.into() }
    }

    fn runtime(cause: String) -> Self {
        Self::new("States.Runtime", cause)
    }

    fn is(&self, names: &[String]) -> bool {
        // Neither of the two is caught by a wildcard.
        let fatal = self.name == "States.Runtime" || self.name == "States.DataLimitExceeded";
        names.iter().any(|name| match name.as_str() {
            "States.ALL" => !fatal,
            "States.TaskFailed" => !fatal && self.name != "States.Timeout",
            name => name == self.name,
        })
    }
}

/// What is the same for all states of an execution.
pub(super) struct Run {
    pub(super) machine: Arc<Machine>,
    pub(super) lambda: Arc<Lambda>,
    /// The context object without its `State`.
    pub(super) context: Value,
    pub(super) started: Timestamp,
    /// Retry intervals are multiplied by this.
    pub(super) retry_scale: f64,
}

enum Step {
    Next(String, Value),
    End(Value),
}

impl Run {
    /// Runs from a state to the end; `entering` is told of each state before it begins.
    pub(super) async fn run(&self, progress: Progress, entering: impl Fn(&Progress)) -> End {
        let limit = self.machine.timeout_seconds.map_or(LONGEST, |seconds| LONGEST.min(Duration::from_secs(seconds)));
        tokio::select! {
            end = self.walk(progress, entering) => end,
            () = sleep_until(later(self.started, limit)) => End::TimedOut,
        }
    }

    async fn walk(&self, mut progress: Progress, entering: impl Fn(&Progress)) -> End {
        loop {
            entering(&progress);
            let Some(state) = self.machine.states.get(&progress.state) else {
                return End::Failed(Error::runtime(format!("the definition has no state {:?}", progress.state)));
            };
            match self.step(state, &progress).await {
                Ok(Step::Next(state, data)) => progress = Progress { state, data, entered: Timestamp::now() },
                Ok(Step::End(data)) => return End::Succeeded(data),
                Err(error) => return End::Failed(error),
            }
        }
    }

    async fn step(&self, state: &State, progress: &Progress) -> Result<Step, Error> {
        let data = &progress.data;
        let step = match state {
            State::Wait(wait) => {
                sleep_until(self.wake_at(wait, progress)?).await;
                next(wait.next.as_deref(), data.clone())
            }
            State::Task(task) => return self.task(task, progress).await,
            State::Choice(choice) => {
                let context = self.context(progress, 0);
                let scope = Scope { data, context: &context };
                for rule in &choice.choices {
                    if choice::holds(rule, scope).map_err(Error::runtime)? {
                        let to = rule.get("Next").and_then(Value::as_str).unwrap_or_default();
                        return Ok(Step::Next(to.to_owned(), data.clone()));
                    }
                }
                let default = choice.default.as_ref().ok_or_else(|| Error::new("States.NoChoiceMatched", "no rule matched, and there is no Default"))?;
                Step::Next(default.clone(), data.clone())
            }
            State::Pass(pass) => next(pass.next.as_deref(), self.pass(pass, progress)?),
            State::Succeed(_) => Step::End(data.clone()),
            State::Fail(fail) => return Err(self.fail(fail, progress)),
        };
        Ok(step)
    }

    fn context(&self, progress: &Progress, retries: u32) -> Value {
        let mut context = self.context.clone();
        if let Some(fields) = context.as_object_mut() {
            let state = json!({"Name": progress.state, "EnteredTime": progress.entered, "RetryCount": retries});
            fields.insert("State".to_owned(), state);
        }
        context
    }

    fn wake_at(&self, wait: &Wait, progress: &Progress) -> Result<Timestamp, Error> {
        let context = self.context(progress, 0);
        let scope = Scope { data: &progress.data, context: &context };
        let whole = |text: &str| {
            let at: Timestamp = text.parse().map_err(|_| Error::runtime(format!("{text:?} is not a time in the form 2026-01-31T12:00:00Z")))?;
            Timestamp::from_second(at.as_second()).map_err(|e| Error::runtime(e.to_string()))
        };
        let seconds = |seconds: u64| Ok(later(progress.entered, Duration::from_secs(seconds)));
        let get = |path: &Path| path.get(scope).map_err(Error::runtime);
        match wait {
            Wait { timestamp_path: Some(path), .. } => whole(get(path)?.as_str().unwrap_or_default()),
            Wait { timestamp: Some(text), .. } => whole(text),
            Wait { seconds_path: Some(path), .. } => {
                let value = get(path)?;
                seconds(value.as_u64().ok_or_else(|| Error::runtime(format!("{value} is not a number of whole seconds")))?)
            }
            Wait { seconds: given, .. } => seconds(given.unwrap_or_default()),
        }
    }

    fn pass(&self, pass: &Pass, progress: &Progress) -> Result<Value, Error> {
        let context = self.context(progress, 0);
        let scope = Scope { data: &progress.data, context: &context };
        let result = match (&pass.result, &pass.parameters) {
            (Some(result), _) => result.clone(),
            (None, Some(template)) => fill(template, scope).map_err(Error::runtime)?,
            (None, None) => progress.data.clone(),
        };
        put(pass.result_path.as_ref(), &progress.data, result)
    }

    fn fail(&self, fail: &Fail, progress: &Progress) -> Error {
        let context = self.context(progress, 0);
        let scope = Scope { data: &progress.data, context: &context };
        let text = |fixed: &Option<String>, path: &Option<Path>| {
            let found = path.as_ref().and_then(|path| path.find(scope)).and_then(Value::as_str).map(str::to_owned);
            fixed.clone().or(found).unwrap_or_default()
        };
        Error { name: text(&fail.error, &fail.error_path), cause: text(&fail.cause, &fail.cause_path) }
    }

    async fn task(&self, task: &Task, progress: &Progress) -> Result<Step, Error> {
        let mut used = vec![0_u32; task.retry.len()];
        loop {
            let error = match self.attempt(task, progress, used.iter().sum()).await {
                Ok(data) => return Ok(next(task.next.as_deref(), data)),
                Err(error) => error,
            };
            let retry = task.retry.iter().zip(&mut used).find(|(retry, _)| error.is(&retry.error_equals));
            if let Some((retry, used)) = retry
                && *used < retry.max_attempts
            {
                let wait = delay(retry, *used, unit()).mul_f64(self.retry_scale);
                *used += 1;
                tracing::debug!("state {}: {} ({}); again in {wait:?}", progress.state, error.name, error.cause);
                tokio::time::sleep(wait).await;
                continue;
            }
            return caught(&task.catch, progress, error);
        }
    }

    async fn attempt(&self, task: &Task, progress: &Progress, retries: u32) -> Result<Value, Error> {
        let context = self.context(progress, retries);
        let scope = Scope { data: &progress.data, context: &context };
        let parameters = fill(&task.parameters, scope).map_err(Error::runtime)?;
        let invoked = self.invoke(&parameters);
        let result = match task.timeout_seconds {
            Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds), invoked)
                .await
                .unwrap_or_else(|_| Err(Error::new("States.Timeout", format!("the task took longer than {seconds} seconds"))))?,
            None => invoked.await?,
        };
        let result = match &task.result_selector {
            Some(template) => fill(template, Scope { data: &result, context: &context }).map_err(Error::runtime)?,
            None => result,
        };
        put(task.result_path.as_ref(), &progress.data, result)
    }

    async fn invoke(&self, parameters: &Value) -> Result<Value, Error> {
        let function = parameters.get("FunctionName").and_then(Value::as_str).unwrap_or_default();
        if function.strip_suffix(":$LATEST").unwrap_or(function) != self.lambda.arn && function != self.lambda.name {
            return Err(Error::new("Lambda.ResourceNotFoundException", format!("Function not found: {function}")));
        }
        let event = Event::new(Kind::Timer, parameters.get("Payload").unwrap_or(&json!({})).to_string());
        let request_id = event.request_id.clone();
        let answer = |status: u16, payload: Value| {
            json!({
                "ExecutedVersion": "$LATEST",
                "Payload": payload,
                "SdkResponseMetadata": {"RequestId": request_id},
                "StatusCode": status,
            })
        };
        if parameters.get("InvocationType").and_then(Value::as_str) == Some("Event") {
            self.lambda.enqueue(event).map_err(|e| refusal(&e))?;
            return Ok(answer(202, json!("")));
        }
        match self.lambda.invoke(event).await {
            Ok(Outcome::Answered(payload)) => Ok(answer(200, text_or_json(&payload))),
            Ok(Outcome::Failed(payload)) => Err(function_error(&payload)),
            Err(e) => Err(refusal(&e)),
        }
    }
}

fn text_or_json(payload: &[u8]) -> Value {
    serde_json::from_slice(payload).unwrap_or_else(|_| String::from_utf8_lossy(payload).into())
}

/// A function's error carries the name that it gave itself.
fn function_error(payload: &[u8]) -> Error {
    let value = text_or_json(payload);
    let name = value.get("errorType").and_then(Value::as_str).unwrap_or("Lambda.Unknown");
    Error::new(name, String::from_utf8_lossy(payload))
}

fn refusal(error: &InvokeError) -> Error {
    let name = match error {
        InvokeError::TooLarge { .. } => "Lambda.RequestTooLargeException",
        InvokeError::Loop => "Lambda.RecursiveInvocationException",
        InvokeError::Refused(Refused::Throttled) => "Lambda.TooManyRequestsException",
        InvokeError::Refused(Refused::Unavailable(_)) => "Lambda.ServiceException",
    };
    Error::new(name, error.to_string())
}

fn next(next: Option<&str>, data: Value) -> Step {
    match next {
        Some(next) => Step::Next(next.to_owned(), data),
        None => Step::End(data),
    }
}

/// The state's output: its result, put where the path says. No path is the whole; null keeps the input.
fn put(path: Option<&Option<Path>>, data: &Value, result: Value) -> Result<Value, Error> {
    let output = match path {
        None => result,
        Some(None) => data.clone(),
        Some(Some(path)) => {
            let mut output = data.clone();
            path.put(&mut output, result).map_err(|cause| Error::new("States.ResultPathMatchFailure", cause))?;
            output
        }
    };
    if output.to_string().len() > DATA_LIMIT {
        return Err(Error::new("States.DataLimitExceeded", format!("the state's output is larger than {DATA_LIMIT} bytes")));
    }
    Ok(output)
}

fn caught(catches: &[Catch], progress: &Progress, error: Error) -> Result<Step, Error> {
    let Some(catch) = catches.iter().find(|catch| error.is(&catch.error_equals)) else { return Err(error) };
    let result = json!({"Error": error.name, "Cause": error.cause});
    Ok(Step::Next(catch.next.clone(), put(catch.result_path.as_ref(), &progress.data, result)?))
}

/// How long a retry waits. `random` lies between 0 and 1.
fn delay(retry: &Retry, used: u32, random: f64) -> Duration {
    let grown = retry.backoff_rate.powi(i32::try_from(used).unwrap_or(i32::MAX)) * Duration::from_secs(retry.interval_seconds).as_secs_f64();
    let most = retry.max_delay_seconds.map_or(LONGEST, Duration::from_secs);
    let whole = Duration::try_from_secs_f64(grown).unwrap_or(LONGEST).min(most).min(LONGEST);
    match retry.jitter_strategy {
        Jitter::None => whole,
        Jitter::Full => whole.mul_f64(random),
    }
}

fn unit() -> f64 {
    let digits = crate::ids::hex(8);
    f64::from(u32::from_str_radix(&digits, 16).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(text: &str) -> Retry {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn retries_back_off_up_to_their_most() {
        let plain = retry(r#"{"ErrorEquals": ["States.ALL"]}"#);
        assert_eq!([0, 1, 2].map(|used| delay(&plain, used, 0.5).as_secs()), [1, 2, 4]);
        let bounded = retry(r#"{"ErrorEquals": ["x"], "IntervalSeconds": 5, "BackoffRate": 3, "MaxDelaySeconds": 30, "JitterStrategy": "FULL"}"#);
        assert_eq!([0, 1, 2, 900].map(|used| delay(&bounded, used, 1.0).as_secs()), [5, 15, 30, 30]);
        assert_eq!(delay(&bounded, 1, 0.0), Duration::ZERO);
    }

    #[test]
    fn errors_match_by_name_and_wildcard() {
        let names = |name: &str| vec![name.to_owned()];
        assert!(Error::new("Boom", "").is(&names("States.ALL")));
        assert!(Error::new("Boom", "").is(&names("States.TaskFailed")));
        assert!(!Error::new("States.Timeout", "").is(&names("States.TaskFailed")));
        assert!(!Error::runtime(String::new()).is(&names("States.ALL")));
        assert!(!Error::new("Boom", "").is(&names("Bang")));
    }

    #[test]
    fn a_function_error_is_named_as_the_function_named_it() {
        assert_eq!(function_error(br#"{"errorType":"Boom","errorMessage":"m"}"#).name, "Boom");
        assert_eq!(function_error(b"null").name, "Lambda.Unknown");
    }
}
