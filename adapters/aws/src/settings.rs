//! What the function is told by its environment. Read once, at the start; must never show a key or a secret.

use std::fmt;
use std::time::Duration;

use durable_http::Key;

/// The limit of an attempt where neither the activity nor the environment names one.
const ATTEMPT: Duration = Duration::from_secs(30);

/// A driver that is late is not taken for dead at once.
const GRACE: Duration = Duration::from_secs(15);

/// An event usually begins within a second; where all is throttled it takes longer.
const QUEUED: Duration = Duration::from_secs(60);

/// Where timers wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timers {
    /// In an execution of this Step Functions state machine each.
    StepFunctions {
        /// Its ARN.
        state_machine: String,
    },
    /// In a one-time schedule of EventBridge Scheduler each.
    Scheduler {
        /// The group that the schedules belong to.
        group: String,
        /// The role that Scheduler takes on to invoke the function.
        role: String,
    },
}

/// Who may call the function's HTTP API.
#[derive(Clone)]
pub enum Access {
    /// Whoever the platform lets through (`AWS_IAM`): every request is signed, and was checked before it came here.
    Platform,
    /// Whoever has the key. The platform lets everybody through.
    Key(Key),
    /// Nobody: a key is to be asked for, and there is none that could be. The text says why.
    Nobody(String),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str("Platform"),
            Self::Key(_) => f.write_str("Key(..)"),
            Self::Nobody(why) => write!(f, "Nobody({why})"),
        }
    }
}

/// Everything that the environment says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `DURABLE_TABLE`: the table.
    pub table: String,
    /// `DURABLE_TASK_HUB`: the task hub; instances of different hubs share a table and never meet.
    pub hub: String,
    /// `DURABLE_TIMERS` (`STEP_FUNCTIONS`, the default, or `SCHEDULER`) with `DURABLE_TIMER_STATE_MACHINE_ARN`, or `DURABLE_SCHEDULER_GROUP`
    /// and `DURABLE_SCHEDULER_ROLE_ARN`.
    pub timers: Timers,
    /// `DURABLE_URL_AUTH` (`AWS_IAM`, the default, or `KEY`) with `DURABLE_KEY`.
    pub access: Access,
    /// `DURABLE_URL_SECRET`: signs the URLs for people outside.
    pub url_secret: Option<Secret>,
    /// `DURABLE_PUBLIC_URL`: where people reach the function; its own URL is asked for if this is not said.
    pub public_url: Option<String>,
    /// `DURABLE_ATTEMPT_SECONDS`: the limit of an attempt where the activity names none.
    pub attempt: Duration,
    /// `DURABLE_IN_PLACE`: attempts that one invocation runs at a time; more go to invocations of their own.
    pub in_place: usize,
    /// `DURABLE_GRACE_SECONDS`: for how long behind its deadline an invocation's word counts, before others take over what it was at.
    pub grace: Duration,
    /// `DURABLE_QUEUED_SECONDS`: how long an attempt that is handed on may wait until its invocation begins, before it is given to another one.
    pub queued: Duration,
    /// `DURABLE_METRICS` is not `OFF`: each invocation writes the capacity it used as a metric.
    pub metrics: bool,
    /// `AWS_LAMBDA_FUNCTION_NAME`: this function.
    pub function: String,
}

/// A secret that hides itself.
#[derive(Clone)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An environment in which the function cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A variable is missing.
    #[error("the environment variable {0} is not set: {1}")]
    Missing(&'static str, &'static str),
    /// A variable says something that it cannot.
    #[error("the environment variable {name} is {value:?}: it must be {expected}")]
    Wrong {
        /// Which.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        expected: &'static str,
    },
}

impl Settings {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// [`SettingsError`] says which variable, and what it must be.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads variables by name. An empty one counts as not set.
    ///
    /// # Errors
    /// [`SettingsError`] says which variable, and what it must be.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let need = |name: &'static str, what: &'static str| get(name).ok_or(SettingsError::Missing(name, what));
        let hub = get("DURABLE_TASK_HUB").unwrap_or_else(|| "TestHubName".to_owned());
        if hub.chars().any(|c| c == '|' || c.is_control()) || hub.len() > 128 {
            return Err(SettingsError::Wrong { name: "DURABLE_TASK_HUB", value: hub, expected: "at most 128 bytes without `|`" });
        }
        Ok(Self {
            table: need("DURABLE_TABLE", "name the DynamoDB table")?,
            hub,
            timers: timers(&get)?,
            access: access(&get)?,
            url_secret: get("DURABLE_URL_SECRET").map(|secret| Secret(secret.into_bytes())),
            public_url: get("DURABLE_PUBLIC_URL"),
            attempt: seconds(&get, "DURABLE_ATTEMPT_SECONDS")?.unwrap_or(ATTEMPT),
            in_place: number(&get, "DURABLE_IN_PLACE")?.unwrap_or(64),
            grace: seconds(&get, "DURABLE_GRACE_SECONDS")?.unwrap_or(GRACE),
            queued: seconds(&get, "DURABLE_QUEUED_SECONDS")?.unwrap_or(QUEUED),
            metrics: !get("DURABLE_METRICS").is_some_and(|value| value.eq_ignore_ascii_case("off")),
            function: need("AWS_LAMBDA_FUNCTION_NAME", "the Lambda service sets it")?,
        })
    }
}

fn number(get: &impl Fn(&str) -> Option<String>, name: &'static str) -> Result<Option<usize>, SettingsError> {
    let Some(value) = get(name) else { return Ok(None) };
    match value.parse() {
        Ok(number @ 1..=100_000) => Ok(Some(number)),
        _ => Err(SettingsError::Wrong { name, value, expected: "a whole number from 1 to 100000" }),
    }
}

fn seconds(get: &impl Fn(&str) -> Option<String>, name: &'static str) -> Result<Option<Duration>, SettingsError> {
    Ok(number(get, name)?.map(|seconds| Duration::from_secs(seconds as u64)))
}

fn timers(get: &impl Fn(&str) -> Option<String>) -> Result<Timers, SettingsError> {
    let kind = get("DURABLE_TIMERS").unwrap_or_else(|| "STEP_FUNCTIONS".to_owned());
    let need = |name: &'static str, what: &'static str| get(name).ok_or(SettingsError::Missing(name, what));
    match kind.as_str() {
        "STEP_FUNCTIONS" => Ok(Timers::StepFunctions { state_machine: need("DURABLE_TIMER_STATE_MACHINE_ARN", "name the state machine that timers wait in")? }),
        "SCHEDULER" => Ok(Timers::Scheduler {
            group: get("DURABLE_SCHEDULER_GROUP").unwrap_or_else(|| "default".to_owned()),
            role: need("DURABLE_SCHEDULER_ROLE_ARN", "name the role that EventBridge Scheduler invokes the function with")?,
        }),
        _ => Err(SettingsError::Wrong { name: "DURABLE_TIMERS", value: kind, expected: "STEP_FUNCTIONS or SCHEDULER" }),
    }
}

fn access(get: &impl Fn(&str) -> Option<String>) -> Result<Access, SettingsError> {
    let auth = get("DURABLE_URL_AUTH").unwrap_or_else(|| "AWS_IAM".to_owned());
    match auth.as_str() {
        "AWS_IAM" => Ok(Access::Platform),
        "KEY" => Ok(match get("DURABLE_KEY") {
            None => Access::Nobody("DURABLE_KEY is not set".to_owned()),
            Some(text) => Key::new(text).map_or_else(|e| Access::Nobody(format!("DURABLE_KEY cannot be used: {e}")), Access::Key),
        }),
        _ => Err(SettingsError::Wrong { name: "DURABLE_URL_AUTH", value: auth, expected: "AWS_IAM or KEY" }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let least = [("DURABLE_TABLE", "t"), ("AWS_LAMBDA_FUNCTION_NAME", "f"), ("DURABLE_TIMER_STATE_MACHINE_ARN", "arn:m")];
        Settings::read(|name| pairs.iter().chain(&least).find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn little_has_to_be_said_and_what_is_missing_is_named() {
        let settings = read(&[]).unwrap();
        assert_eq!((settings.hub.as_str(), settings.attempt, settings.in_place), ("TestHubName", ATTEMPT, 64));
        assert!(matches!(settings.access, Access::Platform));
        for name in ["DURABLE_TABLE", "DURABLE_TIMER_STATE_MACHINE_ARN", "AWS_LAMBDA_FUNCTION_NAME"] {
            assert!(read(&[(name, "")]).unwrap_err().to_string().contains(name));
        }
        assert!(read(&[("DURABLE_TIMERS", "SCHEDULER")]).unwrap_err().to_string().contains("DURABLE_SCHEDULER_ROLE_ARN"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (name, value) in [("DURABLE_TIMERS", "cron"), ("DURABLE_URL_AUTH", "NONE"), ("DURABLE_TASK_HUB", "a|b"), ("DURABLE_IN_PLACE", "0")] {
            assert!(matches!(read(&[(name, value)]), Err(SettingsError::Wrong { .. })), "{name}");
        }
    }

    #[test]
    fn with_keys_asked_for_and_none_that_could_be_nobody_may_call() {
        assert!(matches!(read(&[("DURABLE_URL_AUTH", "KEY"), ("DURABLE_KEY", KEY)]).unwrap().access, Access::Key(_)));
        for key in ["", "short"] {
            assert!(matches!(read(&[("DURABLE_URL_AUTH", "KEY"), ("DURABLE_KEY", key)]).unwrap().access, Access::Nobody(_)));
        }
        let shown = format!("{:?}", read(&[("DURABLE_URL_AUTH", "KEY"), ("DURABLE_KEY", KEY), ("DURABLE_URL_SECRET", KEY)]).unwrap());
        assert!(!shown.contains(KEY), "{shown}");
    }
}
