//! Messages of the app's queues, as the Functions host posts them to this app.
//!
//! Must never: take a message for ours that is not, or fail on one.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use durable_host::queued::{Letter, NotOurs};
use serde_json::Value;

/// Input of an activity that travels with its message at most: a message has 48 KiB, and base64 makes four bytes of three.
pub const INPUT_BYTES: usize = 30 * 1024;

/// Reads what the Functions host posts for a queue trigger whose binding has this name. The item is base64 where the binding says
/// `binary`, else text; encoded as JSON once, or twice.
///
/// # Errors
/// [`NotOurs`] says what it looks like, without its data.
pub fn letter(body: &[u8], binding: &str) -> Result<Letter, NotOurs> {
    let mut posted: Value = serde_json::from_slice(body).map_err(|_| NotOurs("an invocation that is no JSON".to_owned()))?;
    let item = posted.get_mut("Data").and_then(|data| data.get_mut(binding)).map(Value::take);
    let Some(item) = item else { return Err(NotOurs(format!("an invocation without Data.{binding}"))) };
    item_of(item)
}

fn item_of(item: Value) -> Result<Letter, NotOurs> {
    let Value::String(text) = item else { return Letter::of(item) };
    let once_more = serde_json::from_str::<Value>(&text).ok();
    let text = match once_more {
        Some(Value::String(inner)) => inner,
        Some(value @ Value::Array(_)) => return Letter::of(value),
        _ => text,
    };
    match BASE64_STANDARD.decode(&text) {
        Ok(bytes) => Letter::read(&bytes),
        Err(_) => Letter::read(text.as_bytes()),
    }
}

/// The id of the message that an invocation is about, as the host tells it beside the item; the same each time it is delivered. None if it does
/// not. Only what a message says in an object of its own could get in its place, and ours are arrays.
#[must_use]
pub fn message_id(posted: &[u8]) -> Option<String> {
    let posted: Value = serde_json::from_slice(posted).ok()?;
    let id = posted.get("Metadata")?.get("Id")?.as_str()?;
    Some(serde_json::from_str(id).unwrap_or_else(|_| id.to_owned())).filter(|id: &String| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use durable::Timestamp;
    use durable_host::queued::Work;
    use durable_host::work::{Attempt, Timer};
    use serde_json::json;

    use super::*;

    fn timer() -> Letter {
        Work::Timer(Timer { instance: "ä \"b".into(), life: "00000000000000ff".into(), revision: 3, due: Timestamp(1_500_000), armed: Timestamp(0) }).into()
    }

    #[test]
    fn an_item_is_read_however_the_host_has_encoded_it() {
        let body = timer().body();
        let base64 = BASE64_STANDARD.encode(&body);
        let twice = |text: &str| serde_json::to_string(text).unwrap();
        let array: Value = serde_json::from_str(&body).unwrap();
        for item in [json!(base64), json!(twice(&base64)), json!(body), json!(twice(&body)), array] {
            let posted = json!({"Data": {"item": item}, "Metadata": {"DequeueCount": "1"}}).to_string();
            assert_eq!(letter(posted.as_bytes(), "item"), Ok(timer()), "{posted}");
        }
    }

    #[test]
    fn the_id_of_a_message_is_encoded_once_or_twice_or_not_there() {
        let id = |metadata: Value| message_id(json!({"Data": {}, "Metadata": metadata}).to_string().as_bytes());
        assert_eq!(id(json!({"Id": "\"1-2\""})).as_deref(), Some("1-2"));
        assert_eq!(id(json!({"Id": "1-2"})).as_deref(), Some("1-2"));
        assert_eq!((id(json!({})), id(json!({"Id": 5})), id(json!({"Id": ""})), message_id(b"x")), (None, None, None, None));
    }

    #[test]
    fn what_is_not_ours_is_an_error_that_shows_no_data() {
        for body in ["", "secret", r#"{"durable":"hour"}"#, "[]", r#"["secret"]"#, r#"[{"durable":"secret"}]"#, r#"[{"durable":"look"}]"#] {
            for posted in [json!({"Data": {"item": BASE64_STANDARD.encode(body)}}), json!({"Data": {"item": body}})] {
                let error = letter(posted.to_string().as_bytes(), "item").unwrap_err().to_string();
                assert!(!error.contains("secret"), "{error}");
            }
        }
        for posted in ["", "null", "{}", r#"{"Data":{}}"#, r#"{"Data":{"item":null}}"#, r#"{"Data":{"other":"x"}}"#] {
            assert!(letter(posted.as_bytes(), "item").is_err(), "{posted}");
        }
    }

    #[test]
    fn a_message_with_the_largest_input_that_travels_fits() {
        use durable::header::ActivityTask;
        use durable::ids::{EffectId, Incarnation};
        use durable::{InstanceId, Payload};
        let instance = InstanceId::new("𝄞".repeat(256)).unwrap();
        let effect = EffectId { instance, incarnation: Incarnation([1; 8]), execution: 0, epoch: 0, sequence: 1 };
        let input = Payload::from_stored(vec![1; INPUT_BYTES].into());
        let task = ActivityTask { effect, name: "n".repeat(1_000), input, attempt: 1, timeout: None };
        let largest = Letter { work: Work::Activity(Attempt::of(&task, u64::MAX, true, INPUT_BYTES)), again: true };
        assert!(largest.body().len() <= crate::queue::BODY_BYTES, "{}", largest.body().len());
    }
}
