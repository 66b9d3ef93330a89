//! What a refusal looks like on the wire: one table from reasons to codes and bodies.
//!
//! The management API answers with the bodies of Durable Functions, which are sometimes empty; the short API always says why.
//! Must never hide a reason that has a body to stand in.

use axum::http::{StatusCode, header};
use axum::response::Response;
use durable::event_url::EventUrlRefused;
use durable::ports::StoreError;
use durable::{ClientError, InstanceId, PayloadError, limits};

use crate::answer;
use crate::route::Face;

/// Seconds after which a request that met a busy or stopping server may be sent again.
const RETRY_AFTER: &str = "1";
const ARGUMENTS_WRONG: &str = "One or more of the arguments submitted is incorrect";
const SOMETHING_WRONG: &str = "Something went wrong while processing your request";

/// Why a request was not done.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The engine says no.
    Client(ClientError),
    /// No instance has, or can have, this id.
    NoInstance(String),
    /// A rewind of an instance that does not exist: the one 404 of the management API that has a body.
    NoInstanceToRewind(InstanceId),
    /// A restart of an instance that does not exist.
    NoInstanceToRestart(String),
    /// Something in the request that is not as it has to be, in a sentence.
    Argument(String),
    /// A signed URL that raises nothing.
    EventUrl(EventUrlRefused),
    /// The life of an instance that a signed URL is for has ended.
    Over(InstanceId),
    /// This app has no secret for signed URLs.
    NoEventUrls,
    /// The request lacks the key.
    NoKey,
    /// The body is larger than the largest payload.
    BodyTooLarge,
    /// The body could not be read to its end.
    BodyBroken(String),
    /// An event's data must be sent as JSON.
    MediaType,
    /// The body is not JSON.
    NotJson(String),
    /// Another task hub than ours.
    TaskHub(String),
}

impl<E: Into<ClientError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Client(error.into())
    }
}

impl Refused {
    pub fn answer(self, face: Face) -> Response {
        match self {
            Self::Client(error) => client(error, face),
            Self::NoInstance(id) => unless_management(face, StatusCode::NOT_FOUND, &format!("there is no instance `{id}`")),
            Self::NoInstanceToRewind(id) => text(face, StatusCode::NOT_FOUND, &ClientError::NotFound(id).to_string()),
            Self::NoInstanceToRestart(id) => bad(face, &format!("there is no instance `{id}` to restart")),
            Self::Argument(why) => bad(face, &why),
            Self::EventUrl(EventUrlRefused::Forged) => answer::message(StatusCode::FORBIDDEN, "The signature does not fit this URL."),
            Self::EventUrl(EventUrlRefused::Expired) => answer::message(StatusCode::GONE, "This URL has expired."),
            Self::Over(id) => answer::message(StatusCode::GONE, &format!("Instance `{id}` no longer takes this event: it has ended.")),
            Self::NoEventUrls => answer::message(StatusCode::NOT_IMPLEMENTED, "This server has no secret to sign URLs with."),
            Self::NoKey => unless_management(
                face,
                StatusCode::UNAUTHORIZED,
                "This server asks for its key: send it in the header x-functions-key, or as the query parameter code.",
            ),
            Self::BodyTooLarge => {
                let max = limits::PAYLOAD_BYTES;
                answer::message(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    &format!("The body is larger than the {max} bytes that are allowed: send a reference to the data."),
                )
            }
            Self::BodyBroken(why) => bad(face, &format!("The body could not be read: {why}")),
            Self::MediaType => answer::message(StatusCode::BAD_REQUEST, "Only application/json request content is supported"),
            Self::NotJson(why) => answer::exception(StatusCode::BAD_REQUEST, "Invalid JSON content", &why, "Newtonsoft.Json.JsonReaderException"),
            Self::TaskHub(hub) => answer::message(StatusCode::NOT_FOUND, &format!("This server has no task hub {hub:?}.")),
        }
    }
}

fn client(error: ClientError, face: Face) -> Response {
    let text_of = error.to_string();
    match error {
        ClientError::UnknownOrchestrator { .. } => argument(&text_of, &text_of),
        ClientError::InstanceId(_) | ClientError::Payload(PayloadError::Encode { .. }) | ClientError::Store(StoreError::BadPageToken) => bad(face, &text_of),
        ClientError::NotFound(_) => unless_management(face, StatusCode::NOT_FOUND, &text_of),
        ClientError::Ended { .. } => unless_management(face, StatusCode::GONE, &text_of),
        ClientError::InUse { .. } => answer::message(StatusCode::CONFLICT, &text_of),
        ClientError::NotEnded { .. } | ClientError::NotFailed { .. } | ClientError::ChildPurged { .. } => text(face, StatusCode::PRECONDITION_FAILED, &text_of),
        ClientError::WrongState { .. } => wrong(&text_of, "System.InvalidOperationException"),
        ClientError::TooManyMessages(_) => later(StatusCode::TOO_MANY_REQUESTS, &text_of),
        ClientError::TooLarge { .. } | ClientError::Store(StoreError::TooLarge { .. }) => answer::message(StatusCode::PAYLOAD_TOO_LARGE, &text_of),
        ClientError::Store(StoreError::Unavailable(_)) | ClientError::Stopping => later(StatusCode::SERVICE_UNAVAILABLE, &text_of),
        ClientError::Store(StoreError::Full(_)) => answer::message(StatusCode::INSUFFICIENT_STORAGE, &text_of),
        _ => wrong(&text_of, "System.Exception"),
    }
}

/// The management API has a general sentence before the reason here, which stands in `ExceptionMessage`.
fn bad(face: Face, why: &str) -> Response {
    argument(if face == Face::Management { ARGUMENTS_WRONG } else { why }, why)
}

/// Clients in Python read `ExceptionMessage`, people and others `Message`.
fn argument(text: &str, why: &str) -> Response {
    answer::exception(StatusCode::BAD_REQUEST, text, why, "System.ArgumentException")
}

fn wrong(why: &str, exception_type: &str) -> Response {
    answer::exception(StatusCode::INTERNAL_SERVER_ERROR, SOMETHING_WRONG, why, exception_type)
}

fn later(status: StatusCode, why: &str) -> Response {
    answer::with(answer::message(status, why), header::RETRY_AFTER, RETRY_AFTER)
}

/// The management API has an empty body here.
fn unless_management(face: Face, status: StatusCode, why: &str) -> Response {
    match face {
        Face::Management => answer::empty(status),
        Face::Short => answer::message(status, why),
    }
}

/// The management API has a bare JSON string here.
fn text(face: Face, status: StatusCode, why: &str) -> Response {
    match face {
        Face::Management => answer::json(status, why),
        Face::Short => answer::message(status, why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use durable::header::RuntimeStatus;
    use durable::ids::BadInstanceId;

    #[test]
    fn every_refusal_has_its_code_and_those_that_pass_by_themselves_say_when() {
        let id = || InstanceId::new("a").unwrap();
        let status = RuntimeStatus::Running;
        let unavailable = || StoreError::Unavailable("busy".into());
        for (error, code, again) in [
            (ClientError::UnknownOrchestrator { name: "x".into(), version: None, known: vec![] }, 400, false),
            (ClientError::InstanceId(BadInstanceId::Empty), 400, false),
            (ClientError::NotFound(id()), 404, false),
            (ClientError::Ended { instance: id(), status }, 410, false),
            (ClientError::InUse { instance: id(), status }, 409, false),
            (ClientError::NotEnded { instance: id(), status }, 412, false),
            (ClientError::NotFailed { instance: id(), status }, 412, false),
            (ClientError::ChildPurged { instance: id(), child: id() }, 412, false),
            (ClientError::WrongState { instance: id(), status, wanted: "resumed" }, 500, false),
            (ClientError::TooManyMessages(id()), 429, true),
            (ClientError::TooLarge { what: "x", bytes: 2, max: 1 }, 413, false),
            (ClientError::Store(unavailable()), 503, true),
            (ClientError::Store(StoreError::Full("disk".into())), 507, false),
            (ClientError::Store(StoreError::Damaged("x".into())), 500, false),
            (ClientError::Store(StoreError::BadPageToken), 400, false),
            (ClientError::Stopping, 503, true),
        ] {
            let response = Refused::Client(error.clone()).answer(Face::Management);
            assert_eq!(response.status().as_u16(), code, "{error}");
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), again, "{error}");
        }
    }

    #[tokio::test]
    async fn a_plain_404_is_empty_in_the_management_api_and_says_why_in_the_short_one() {
        let read = |face| async move {
            let body = Refused::NoInstance("a".into()).answer(face).into_body();
            String::from_utf8(axum::body::to_bytes(body, 1000).await.unwrap().to_vec()).unwrap()
        };
        assert_eq!(read(Face::Management).await, "");
        assert_eq!(read(Face::Short).await, r#"{"Message":"there is no instance `a`"}"#);
    }
}
