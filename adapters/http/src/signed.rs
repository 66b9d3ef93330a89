//! Signed URLs: given out to who has the key, and used by people who have not.
//!
//! A URL raises its event by POST alone: mail scanners and previews fetch every link with GET. Must never say whether an instance exists
//! before the signature fits.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use durable::event_url::Claimed;
use durable::{ClientError, InstanceId, Timestamp};
use serde::Serialize;

use crate::errors::Refused;
use crate::serve::{Api, Call};
use crate::{answer, instances};

/// In microseconds.
const SECOND: i64 = 1_000_000;

/// A URL, and when it ends.
#[derive(Serialize)]
struct Issued {
    url: String,
    expires: String,
}

/// Makes a URL for one event of an instance as it lives now.
pub(crate) async fn issue(api: &Api, call: &Call, instance: &InstanceId, event: &str) -> Result<Response, Refused> {
    let urls = api.client.app().event_urls().ok_or(Refused::NoEventUrls)?;
    let header = instances::record(api, instance).await?.header;
    if header.status.is_terminal() {
        return Err(ClientError::Ended { instance: instance.clone(), status: header.status }.into());
    }
    let valid_for = call.query.seconds("validFor").filter(|valid_for| !valid_for.is_zero());
    let valid_for = valid_for.ok_or_else(|| Refused::Argument("Say for how many seconds the URL is to be valid: `validFor`.".to_owned()))?;
    // A whole second, so that the URL and the answer say the same.
    let expires = Timestamp(api.client.now().after(valid_for).0.saturating_add(SECOND - 1).div_euclid(SECOND) * SECOND);
    let url = urls.url(instance, header.incarnation, event, expires).map_err(|e| Refused::Argument(e.to_string()))?;
    Ok(answer::json(StatusCode::OK, &Issued { url, expires: expires.to_seconds_text() }))
}

/// What a link that is merely looked at gets.
pub(crate) fn only_post() -> Response {
    let text = "This URL takes a POST request with a JSON body. Nothing has been raised.";
    answer::with(answer::message(StatusCode::METHOD_NOT_ALLOWED, text), header::ALLOW, "POST")
}

/// Raises the event that a URL is for.
pub(crate) async fn raise(api: &Api, call: &Call, sent: Body, id: &str, event: &str) -> Result<Response, Refused> {
    let urls = api.client.app().event_urls().ok_or(Refused::NoEventUrls)?;
    let said = |name: &str| call.query.text(name).unwrap_or_default();
    let claimed = Claimed { instance: id, event, expires: said("expires"), life: said("life"), signature: said("sig") };
    let life = urls.check(claimed, api.client.now()).map_err(Refused::EventUrl)?;
    let instance = InstanceId::new(id)?;
    let over = || Refused::Over(instance.clone());
    // One URL is one event: who uses it twice raises once, and is told the same again.
    let key = format!("{}\n{}", event.to_lowercase(), said("sig"));
    match api.client.status(&instance).await? {
        Some(record) if record.header.incarnation == life => {}
        _ => return Err(over()),
    }
    let data = instances::event_data(api, call, sent).await?;
    match api.client.raise_event_in(&instance, life, event, data, Some(&key)).await {
        Ok(()) => Ok(instances::raised(call, &instance, event)),
        // It has ended, or begun another life, since it was looked at.
        Err(ClientError::NotFound(_) | ClientError::Ended { .. }) => Err(over()),
        Err(other) => Err(other.into()),
    }
}
