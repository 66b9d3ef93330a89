//! Starting an instance, in both APIs, and starting one anew; waiting for its end if that is asked.
//!
//! Must never look at the media type: the body is the input, whatever it is called. A wait holds no thread.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use durable::header::RuntimeStatus;
use durable::ids::Incarnation;
use durable::ports::ReusePolicy;
use durable::{ClientError, InstanceId, Start};

use crate::errors::Refused;
use crate::key::{digest, idempotency_key};
use crate::links::StartPayload;
use crate::serve::{Api, Call};
use crate::status::{StatusBody, output};
use crate::{answer, body, json};

/// Seconds after which a client may first ask how the instance stands.
const ASK_AFTER: &str = "10";

pub(crate) async fn start(api: &Api, call: &Call, sent: Body, name: String, id: Option<String>) -> Result<Response, Refused> {
    let instance = id.map(InstanceId::new).transpose()?;
    let key = idempotency_key(&call.headers)?;
    let mut text = body::read(&call.headers, sent).await?;
    if text.is_empty() {
        text = Bytes::from_static(b"null");
    } else {
        json::check(&text).map_err(Refused::NotJson)?;
    }
    let mut start = Start::new(name, api.client.app().encode_text(text)?);
    start.instance = instance;
    start.version = call.query.filled("version").map(ToOwned::to_owned);
    let Some(key) = key else {
        let started = api.client.start(start).await?;
        return wait(api, call, &started.instance, Some(started.incarnation)).await;
    };
    let (instance, life) = start_once(api, start, key).await?;
    wait(api, call, &instance, life).await
}

/// Starts what follows from the caller's key: the same key, orchestrator and id (if there is one) are one start. Under an id of the caller's
/// the life follows from the key; otherwise the id does, and whatever has that id is what was started.
async fn start_once(api: &Api, mut start: Start, key: &str) -> Result<(InstanceId, Option<Incarnation>), Refused> {
    let given = start.instance.as_ref().map_or("", InstanceId::as_str);
    let bytes = digest(&["start", &api.options.task_hub, &start.name, given, key]);
    if start.instance.is_some() {
        let mut life = [0; 8];
        life.copy_from_slice(&bytes[..8]);
        start.incarnation = Some(Incarnation(life));
        let started = api.client.start(start).await?;
        return Ok((started.instance, Some(started.incarnation)));
    }
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[..16]);
    let instance = InstanceId::generated(id);
    start.instance = Some(instance.clone());
    start.policy = ReusePolicy::Never;
    match api.client.start(start).await {
        Ok(started) => Ok((instance, Some(started.incarnation))),
        Err(ClientError::InUse { .. }) => Ok((instance, None)),
        Err(other) => Err(other.into()),
    }
}

/// Starts what is stored of an instance once more: under a new id, or under its own if it has ended.
pub(crate) async fn restart(api: &Api, call: &Call, id: String) -> Result<Response, Refused> {
    let Ok(instance) = InstanceId::new(id.as_str()) else { return Err(Refused::NoInstanceToRestart(id)) };
    let Some(record) = api.client.status(&instance).await? else { return Err(Refused::NoInstanceToRestart(id)) };
    let mut start = Start::new(record.header.name, record.input);
    start.version = record.header.version;
    if !call.query.flag("restartWithNewInstanceId").unwrap_or(true) {
        start.instance = Some(instance);
    }
    let started = api.client.start(start).await?;
    Ok(accepted(api, call, &started.instance))
}

fn accepted(api: &Api, call: &Call, instance: &InstanceId) -> Response {
    let payload = StartPayload::new(&api.options, &call.base, call.code.as_deref(), instance);
    let response = answer::with(answer::json(StatusCode::ACCEPTED, &payload), header::LOCATION, &payload.status_query_get_uri);
    answer::with(response, header::RETRY_AFTER, ASK_AFTER)
}

/// The answer to a start: at once, or when the instance has ended, if that is asked and comes in time. The engine tells of the end by
/// itself, so that the polling interval only has to make sense.
async fn wait(api: &Api, call: &Call, instance: &InstanceId, life: Option<Incarnation>) -> Result<Response, Refused> {
    let Some(timeout) = call.query.seconds("timeout") else { return Ok(accepted(api, call, instance)) };
    if let Some(interval) = call.query.seconds("pollingInterval").filter(|interval| *interval > timeout) {
        let (interval, timeout) = (interval.as_secs_f64(), timeout.as_secs_f64());
        let why = format!("pollingInterval ({interval} s) is longer than timeout ({timeout} s). Instance `{instance}` has been started all the same.");
        return Err(Refused::Argument(why));
    }
    let record = match api.client.wait_for_end_within(instance, timeout.min(api.options.wait_cap)).await {
        // The start was accepted, whatever became of it.
        Ok(None) | Err(ClientError::NotFound(_)) => None,
        Ok(record) => record.filter(|record| life.is_none_or(|life| life == record.header.incarnation)),
        Err(other) => return Err(other.into()),
    };
    let Some(record) = record else { return Ok(accepted(api, call, instance)) };
    if record.header.status == RuntimeStatus::Completed {
        return Ok(answer::json(StatusCode::OK, &output(api.client.app(), &record)?));
    }
    Ok(answer::json(StatusCode::OK, &StatusBody::new(api.client.app(), &record, true)?))
}
