//! Starting an instance, in both APIs.
//!
//! Must never look at the media type: the body is the input, whatever it is called.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use durable::{InstanceId, Start};

use crate::errors::Refused;
use crate::links::StartPayload;
use crate::serve::{Api, Call};
use crate::{answer, body, json};

/// Seconds after which a client may first ask how the instance stands.
const ASK_AFTER: &str = "10";

pub(crate) async fn start(api: &Api, call: &Call, sent: Body, name: String, id: Option<String>) -> Result<Response, Refused> {
    let instance = id.map(InstanceId::new).transpose()?;
    let mut text = body::read(&call.headers, sent).await?;
    if text.is_empty() {
        text = Bytes::from_static(b"null");
    } else {
        json::check(&text).map_err(Refused::NotJson)?;
    }
    let mut start = Start::new(name, api.client.app().encode_text(text)?);
    start.instance = instance;
    start.version = call.query.filled("version").map(ToOwned::to_owned);
    let started = api.client.start(start).await?;
    let payload = StartPayload::new(&api.options, &call.origin, &started.instance);
    let response = answer::with(answer::json(StatusCode::ACCEPTED, &payload), header::LOCATION, &payload.status_query_get_uri);
    Ok(answer::with(response, header::RETRY_AFTER, ASK_AFTER))
}
