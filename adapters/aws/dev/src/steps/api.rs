//! The API of Step Functions: JSON 1.0, the operation in `X-Amz-Target`.
//!
//! Must never: answer an operation that is not known with anything but `UnknownOperationException`.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::run::DATA_LIMIT;
use super::{Execution, Steps};
use crate::ids::uuid;

/// An answer that is an error: its name, and what it says.
type Refusal = (&'static str, String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    state_machine_arn: String,
    name: Option<String>,
    input: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stop {
    execution_arn: String,
    error: Option<String>,
    cause: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Describe {
    execution_arn: String,
}

/// Answers one call. Without a state machine there is none to be found.
pub(crate) fn call(steps: Option<&Arc<Steps>>, headers: &HeaderMap, body: &[u8]) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let answer = match target.strip_prefix("AWSStepFunctions.") {
        Some("StartExecution") => read(body).and_then(|asked| start(steps, asked)),
        Some("StopExecution") => read(body).and_then(|asked| stop(steps, asked)),
        Some("DescribeExecution") => read(body).and_then(|asked| describe(steps, &asked)),
        _ => Err(("UnknownOperationException", format!("this driver does not know the operation {target:?}"))),
    };
    let (status, name, body) = match answer {
        Ok(body) => (StatusCode::OK, None, body),
        Err((name, message)) => (StatusCode::BAD_REQUEST, Some(name), json!({"__type": name, "message": message})),
    };
    let mut response = (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.0")], body.to_string()).into_response();
    if let Some(name) = name {
        response.headers_mut().insert("x-amzn-errortype", header::HeaderValue::from_static(name));
    }
    response
}

fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|e| ("SerializationException", e.to_string()))
}

fn start(steps: Option<&Arc<Steps>>, asked: Start) -> Result<Value, Refusal> {
    let no_machine = || ("StateMachineDoesNotExist", format!("State Machine Does Not Exist: '{}'", asked.state_machine_arn));
    let steps = steps.filter(|steps| steps.arn == asked.state_machine_arn).ok_or_else(no_machine)?;
    let name = asked.name.unwrap_or_else(uuid);
    if name.is_empty() || name.chars().count() > 80 || name.contains(|c: char| c.is_whitespace() || c.is_control() || "<>{}[]?*\"#%\\^|~`$&,;:/".contains(c)) {
        return Err(("InvalidName", format!("Invalid Name: '{name}'")));
    }
    let input = asked.input.unwrap_or_else(|| "{}".to_owned());
    if input.len() > DATA_LIMIT {
        return Err(("ValidationException", format!("the input is larger than {DATA_LIMIT} bytes")));
    }
    let data = serde_json::from_str(&input).map_err(|e| ("InvalidExecutionInput", format!("Invalid State Machine Execution Input: '{e}'")))?;
    let arn = steps.execution_arn(&name);
    let execution = steps.start(&name, input, data).map_err(|_| ("ExecutionAlreadyExists", format!("Execution Already Exists: '{arn}'")))?;
    Ok(json!({"executionArn": arn, "startDate": seconds(execution.started)}))
}

fn stop(steps: Option<&Arc<Steps>>, asked: Stop) -> Result<Value, Refusal> {
    let (steps, name) = find(steps, &asked.execution_arn)?;
    let stopped = steps.stop_execution(name, asked.error, asked.cause).ok_or_else(|| missing(&asked.execution_arn))?;
    Ok(json!({"stopDate": stopped.stopped.map(seconds)}))
}

fn describe(steps: Option<&Arc<Steps>>, asked: &Describe) -> Result<Value, Refusal> {
    let (steps, name) = find(steps, &asked.execution_arn)?;
    let executions = steps.executions();
    let Execution { status, input, started, stopped, output, error, cause, .. } =
        executions.all.get(name).cloned().ok_or_else(|| missing(&asked.execution_arn))?;
    let mut answer = json!({
        "executionArn": asked.execution_arn,
        "stateMachineArn": steps.arn,
        "name": name,
        "status": status,
        "startDate": seconds(started),
        "input": input,
    });
    if let Some(fields) = answer.as_object_mut() {
        fields.extend(stopped.map(|at| ("stopDate".to_owned(), seconds(at).into())));
        for (field, value) in [("output", output), ("error", error), ("cause", cause)] {
            fields.extend(value.map(|value| (field.to_owned(), value.into())));
        }
    }
    Ok(answer)
}

fn find<'a>(steps: Option<&'a Arc<Steps>>, arn: &'a str) -> Result<(&'a Arc<Steps>, &'a str), Refusal> {
    let (machine, name) = arn.rsplit_once(':').ok_or_else(|| ("InvalidArn", format!("Invalid Arn: '{arn}'")))?;
    let ours = steps.filter(|steps| machine == steps.arn.replacen(":stateMachine:", ":execution:", 1));
    Ok((ours.ok_or_else(|| missing(arn))?, name))
}

fn missing(arn: &str) -> Refusal {
    ("ExecutionDoesNotExist", format!("Execution Does Not Exist: '{arn}'"))
}

/// A time as this API writes it: seconds with milliseconds.
fn seconds(at: Timestamp) -> f64 {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at).as_duration().as_secs_f64()
}
