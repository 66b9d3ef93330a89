//! What is asked of one instance: its status, an event, its end, a pause, another try.
//!
//! Whether the instance is there and has ended is settled before a body is looked at. Must never answer 2xx before the client has accepted.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use durable::event_url::EVENT_NAME_CHARS;
use durable::header::RuntimeStatus;
use durable::history::Event;
use durable::ports::StatusRecord;
use durable::{ClientError, InstanceId, Payload};
use serde::Serialize;

use crate::errors::Refused;
use crate::history::{HistoryEvent, Recorded, Show, reshape};
use crate::key::idempotency_key;
use crate::route::Face;
use crate::serve::{Api, Call};
use crate::status::{StatusBody, code};
use crate::{answer, body, json};

/// Seconds after which a client may ask again how an instance stands.
const ASK_AGAIN_AFTER: &str = "5";

pub(crate) async fn status(api: &Api, call: &Call, instance: &InstanceId) -> Result<Response, Refused> {
    let query = &call.query;
    let record = record(api, instance).await?;
    let show = Show { input: query.flag("showInput").unwrap_or(true), output: query.flag("showHistoryOutput").unwrap_or(false) };
    let mut shown = StatusBody::new(api.client.app(), &record, show.input)?;
    if query.flag("showHistory").unwrap_or(false) && record.header.status != RuntimeStatus::Pending {
        shown.history_events = Some(history(api, &record, show).await?);
    }
    let code = code(record.header.status, query.flag("returnInternalServerErrorOnFailure").unwrap_or(false));
    let response = answer::json(code, &shown);
    if code != StatusCode::ACCEPTED {
        return Ok(response);
    }
    let here = format!("{}{}", call.origin, call.target);
    Ok(answer::with(answer::with(response, header::LOCATION, &here), header::RETRY_AFTER, ASK_AGAIN_AFTER))
}

pub(crate) async fn record(api: &Api, instance: &InstanceId) -> Result<StatusRecord, Refused> {
    Ok(api.client.status(instance).await?.ok_or_else(|| ClientError::NotFound(instance.clone()))?)
}

async fn history(api: &Api, record: &StatusRecord, show: Show) -> Result<Vec<HistoryEvent>, Refused> {
    let stored = api.client.history(&record.instance).await?;
    let events: Result<Vec<Event>, _> = stored.iter().map(|bytes| Event::from_bytes(bytes)).collect();
    let events = events.map_err(durable::ports::StoreError::from)?;
    let recorded = Recorded { input: &record.input, output: record.output.as_ref(), created: record.header.created };
    Ok(reshape(api.client.app(), &events, recorded, show)?)
}

/// The short API's answer to an event that was accepted.
#[derive(Serialize)]
struct Raised<'a> {
    status: &'static str,
    instance_id: &'a str,
    event: &'a str,
}

pub(crate) async fn raise(api: &Api, call: &Call, sent: Body, instance: &InstanceId, event: &str) -> Result<Response, Refused> {
    let status = record(api, instance).await?.header.status;
    // Under a key of the caller's, an ended instance may still know that it took this very event.
    let key = idempotency_key(&call.headers);
    if status.is_terminal() && !matches!(key, Ok(Some(_))) {
        return Err(ClientError::Ended { instance: instance.clone(), status }.into());
    }
    let key = key?;
    if event.chars().nth(EVENT_NAME_CHARS).is_some() {
        return Err(Refused::Argument(format!("The name of an event has at most {EVENT_NAME_CHARS} characters.")));
    }
    let data = event_data(api, call, sent).await?;
    match key {
        Some(key) => api.client.raise_event_once(instance, event, data, key).await?,
        None => api.client.raise_event(instance, event, data, None).await?,
    }
    Ok(raised(call, instance, event))
}

/// The data of an event: JSON, and said to be JSON.
pub(crate) async fn event_data(api: &Api, call: &Call, sent: Body) -> Result<Payload, Refused> {
    let bare = call.face == Face::Short && !call.headers.contains_key(header::CONTENT_TYPE);
    if !bare && !body::says_json(&call.headers) {
        return Err(Refused::MediaType);
    }
    let mut text = body::read(&call.headers, sent).await?;
    if bare {
        // `curl -X POST` without a body: an event without data. A body must say that it is JSON.
        if !text.is_empty() {
            return Err(Refused::MediaType);
        }
        text = Bytes::from_static(b"null");
    }
    json::check(&text).map_err(Refused::NotJson)?;
    Ok(api.client.app().encode_text(text)?)
}

pub(crate) fn raised(call: &Call, instance: &InstanceId, event: &str) -> Response {
    match call.face {
        Face::Management => answer::empty(StatusCode::ACCEPTED),
        Face::Short => answer::json(StatusCode::ACCEPTED, &Raised { status: "event_raised", instance_id: instance.as_str(), event }),
    }
}

fn reason(call: &Call) -> &str {
    call.query.text("reason").unwrap_or_default()
}

fn accepted(result: Result<(), ClientError>) -> Result<Response, Refused> {
    Ok(result.map(|()| answer::empty(StatusCode::ACCEPTED))?)
}

pub(crate) async fn terminate(api: &Api, call: &Call, instance: &InstanceId) -> Result<Response, Refused> {
    accepted(api.client.terminate(instance, reason(call)).await)
}

pub(crate) async fn suspend(api: &Api, call: &Call, instance: &InstanceId) -> Result<Response, Refused> {
    accepted(api.client.suspend(instance, reason(call)).await)
}

pub(crate) async fn resume(api: &Api, call: &Call, instance: &InstanceId) -> Result<Response, Refused> {
    accepted(api.client.resume(instance, reason(call)).await)
}

pub(crate) async fn rewind(api: &Api, call: &Call, instance: &InstanceId) -> Result<Response, Refused> {
    let Some(record) = api.client.status(instance).await? else { return Err(Refused::NoInstanceToRewind(instance.clone())) };
    let status = record.header.status;
    if status != RuntimeStatus::Failed {
        return Err(ClientError::NotFailed { instance: instance.clone(), status }.into());
    }
    accepted(api.client.rewind(instance, reason(call)).await)
}
