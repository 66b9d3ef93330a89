//! A state machine's definition (Amazon States Language), read and checked once, at the start.
//!
//! Only what a timer needs is known. Must never: run a definition of which a part is not understood; everything else is refused with a sentence.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::path::{Path, check_template};

/// A definition that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// It is not JSON, or holds something that is not known.
    #[error("the state machine's definition is not one that this driver runs: {0}")]
    Form(#[from] serde_json::Error),
    /// A state is not right.
    #[error("state {state:?} of the definition: {why}")]
    State {
        /// Which.
        state: String,
        /// What is wrong.
        why: String,
    },
    /// A `${…}` has no value.
    #[error("the definition names ${{{0}}}, for which no value was given")]
    Substitution(String),
}

/// A state machine.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Machine {
    pub(super) start_at: String,
    pub(super) states: BTreeMap<String, State>,
    pub(super) timeout_seconds: Option<u64>,
    #[serde(rename = "Comment")]
    _comment: Option<String>,
    #[serde(rename = "Version")]
    _version: Option<String>,
    query_language: Option<String>,
}

/// One state.
#[derive(Debug, Deserialize)]
#[serde(tag = "Type")]
pub(super) enum State {
    Wait(Wait),
    Task(Box<Task>),
    Choice(Choice),
    Pass(Pass),
    #[expect(dead_code, reason = "read only so that what it holds is checked")]
    Succeed(Plain),
    Fail(Fail),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Wait {
    pub(super) seconds: Option<u64>,
    pub(super) seconds_path: Option<Path>,
    pub(super) timestamp: Option<String>,
    pub(super) timestamp_path: Option<Path>,
    pub(super) next: Option<String>,
    #[serde(default)]
    end: bool,
    #[serde(rename = "Comment")]
    _comment: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Task {
    pub(super) resource: String,
    pub(super) parameters: Value,
    pub(super) result_selector: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub(super) result_path: Option<Option<Path>>,
    pub(super) timeout_seconds: Option<u64>,
    #[serde(default)]
    pub(super) retry: Vec<Retry>,
    #[serde(default)]
    pub(super) catch: Vec<Catch>,
    pub(super) next: Option<String>,
    #[serde(default)]
    end: bool,
    #[serde(rename = "Comment")]
    _comment: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Retry {
    pub(super) error_equals: Vec<String>,
    #[serde(default = "one")]
    pub(super) interval_seconds: u64,
    #[serde(default = "three")]
    pub(super) max_attempts: u32,
    #[serde(default = "two")]
    pub(super) backoff_rate: f64,
    pub(super) max_delay_seconds: Option<u64>,
    #[serde(default)]
    pub(super) jitter_strategy: Jitter,
    #[serde(rename = "Comment")]
    _comment: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Jitter {
    Full,
    #[default]
    None,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Catch {
    pub(super) error_equals: Vec<String>,
    #[serde(default, deserialize_with = "present")]
    pub(super) result_path: Option<Option<Path>>,
    pub(super) next: String,
    #[serde(rename = "Comment")]
    _comment: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Choice {
    pub(super) choices: Vec<Value>,
    pub(super) default: Option<String>,
    #[serde(rename = "Comment")]
    _comment: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Pass {
    pub(super) result: Option<Value>,
    pub(super) parameters: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    pub(super) result_path: Option<Option<Path>>,
    pub(super) next: Option<String>,
    #[serde(default)]
    end: bool,
    #[serde(rename = "Comment")]
    _comment: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Plain {
    #[serde(rename = "Comment")]
    _comment: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Fail {
    pub(super) error: Option<String>,
    pub(super) cause: Option<String>,
    pub(super) error_path: Option<Path>,
    pub(super) cause_path: Option<Path>,
    #[serde(rename = "Comment")]
    _comment: Option<String>,
}

/// `null` where the field stands is not the same as no field.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

const fn one() -> u64 {
    1
}

const fn three() -> u32 {
    3
}

const fn two() -> f64 {
    2.0
}

/// Puts the values of `${…}` into a definition.
pub(super) fn substitute(text: &str, values: &BTreeMap<String, String>) -> Result<String, DefinitionError> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, left) = after.split_once('}').ok_or_else(|| DefinitionError::Substitution(after.to_owned()))?;
        result.push_str(before);
        result.push_str(values.get(name).ok_or_else(|| DefinitionError::Substitution(name.to_owned()))?);
        rest = left;
    }
    result.push_str(rest);
    Ok(result)
}

impl Machine {
    /// Reads a definition whose values have been put in.
    pub(super) fn read(text: &str) -> Result<Self, DefinitionError> {
        let machine: Self = serde_json::from_str(text)?;
        let wrong = |state: &str, why: String| DefinitionError::State { state: state.to_owned(), why };
        if machine.query_language.as_deref().is_some_and(|language| language != "JSONPath") {
            return Err(wrong(&machine.start_at, "only the query language JSONPath is known".to_owned()));
        }
        machine.target(&machine.start_at).map_err(|why| wrong("StartAt", why))?;
        for (name, state) in &machine.states {
            machine.check(state).map_err(|why| wrong(name, why))?;
        }
        Ok(machine)
    }

    fn target(&self, name: &str) -> Result<(), String> {
        if self.states.contains_key(name) { Ok(()) } else { Err(format!("there is no state {name:?}")) }
    }

    fn check(&self, state: &State) -> Result<(), String> {
        match state {
            State::Wait(wait) => {
                self.check_next(wait.next.as_deref(), wait.end)?;
                let given = [wait.seconds.is_some(), wait.seconds_path.is_some(), wait.timestamp.is_some(), wait.timestamp_path.is_some()];
                if given.iter().filter(|given| **given).count() != 1 {
                    return Err("a Wait has exactly one of Seconds, SecondsPath, Timestamp and TimestampPath".to_owned());
                }
                Ok(())
            }
            State::Task(task) => self.check_task(task),
            State::Choice(choice) => {
                choice.default.iter().try_for_each(|next| self.target(next))?;
                choice.choices.iter().try_for_each(|rule| self.target(super::choice::check(rule)?))
            }
            State::Pass(pass) => {
                self.check_next(pass.next.as_deref(), pass.end)?;
                check_result_path(pass.result_path.as_ref())?;
                pass.parameters.iter().try_for_each(check_template)
            }
            State::Succeed(_) => Ok(()),
            State::Fail(fail) if fail.error.is_some() && fail.error_path.is_some() => Err("Error and ErrorPath exclude each other".to_owned()),
            State::Fail(fail) if fail.cause.is_some() && fail.cause_path.is_some() => Err("Cause and CausePath exclude each other".to_owned()),
            State::Fail(_) => Ok(()),
        }
    }

    fn check_task(&self, task: &Task) -> Result<(), String> {
        self.check_next(task.next.as_deref(), task.end)?;
        if task.resource != "arn:aws:states:::lambda:invoke" {
            return Err(format!("the only resource that this driver knows is arn:aws:states:::lambda:invoke, not {}", task.resource));
        }
        let known = ["FunctionName", "InvocationType", "Payload", "Qualifier"];
        let names = task.parameters.as_object().ok_or("Parameters must be an object")?;
        if let Some(name) = names.keys().find(|name| !known.contains(&name.trim_end_matches(".$"))) {
            return Err(format!("the parameter {name:?} of lambda:invoke is not known"));
        }
        if !names.contains_key("FunctionName") && !names.contains_key("FunctionName.$") {
            return Err("lambda:invoke needs FunctionName".to_owned());
        }
        check_template(&task.parameters)?;
        task.result_selector.iter().try_for_each(check_template)?;
        check_result_path(task.result_path.as_ref())?;
        check_errors(task.retry.iter().map(|retry| retry.error_equals.as_slice()))?;
        check_errors(task.catch.iter().map(|catch| catch.error_equals.as_slice()))?;
        if task.retry.iter().any(|retry| retry.interval_seconds == 0 || retry.backoff_rate < 1.0) {
            return Err("a retry needs an interval of at least one second and a back-off rate of at least 1".to_owned());
        }
        task.catch.iter().try_for_each(|catch| {
            check_result_path(catch.result_path.as_ref())?;
            self.target(&catch.next)
        })
    }

    fn check_next(&self, next: Option<&str>, end: bool) -> Result<(), String> {
        match (next, end) {
            (Some(next), false) => self.target(next),
            (None, true) => Ok(()),
            _ => Err("exactly one of Next and End is needed".to_owned()),
        }
    }
}

fn check_result_path(path: Option<&Option<Path>>) -> Result<(), String> {
    match path {
        Some(Some(path)) if !path.is_writable() => Err("a ResultPath leads from $ through names only".to_owned()),
        _ => Ok(()),
    }
}

/// `States.ALL` stands alone, and last.
fn check_errors<'a>(lists: impl Iterator<Item = &'a [String]>) -> Result<(), String> {
    let lists: Vec<_> = lists.collect();
    for (position, errors) in lists.iter().enumerate() {
        if errors.is_empty() {
            return Err("ErrorEquals is empty".to_owned());
        }
        let all = errors.iter().any(|error| error == "States.ALL");
        if all && (errors.len() > 1 || position + 1 < lists.len()) {
            return Err("States.ALL must stand alone, in the last Retry or Catch".to_owned());
        }
    }
    Ok(())
}
