//! What a handler is sent in payload mode, and what its answer means.
//!
//! Faithful to the host where that is awkward: texts are encoded twice, numbers are texts, the members of a message that is a JSON object
//! overwrite the metadata, and an answer without a body completes nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// A message as the queue gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id, which it keeps.
    pub id: String,
    /// What it can be renewed and deleted with, until somebody takes it again.
    pub receipt: String,
    /// How often it has been taken, this time included.
    pub dequeue_count: u64,
    /// When it was put in.
    pub inserted: Timestamp,
    /// When it is dropped.
    pub expires: Timestamp,
    /// When others see it again.
    pub visible: Timestamp,
    /// As it stands in the queue.
    pub text: String,
}

/// What a handler's answer means for its invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It succeeded, and has lines for the log.
    Succeeded(Vec<String>),
    /// It failed.
    Failed(String),
    /// Nothing completes it: it lasts until the function timeout.
    Hangs,
}

/// The body of a request for a message with these bytes. `random` is a text in the form of a GUID.
pub(super) fn queue(function: &str, binding: &str, binary: bool, message: &Message, body: &[u8], now: Timestamp, random: &str) -> Value {
    let item = if binary { Value::String(STANDARD.encode(body)) } else { encoded(&json!(String::from_utf8_lossy(body))) };
    let mut metadata = Map::new();
    metadata.insert("DequeueCount".to_owned(), encoded(&json!(message.dequeue_count)));
    metadata.insert("Id".to_owned(), encoded(&json!(message.id)));
    metadata.insert("PopReceipt".to_owned(), encoded(&json!(message.receipt)));
    metadata.insert("ExpirationTime".to_owned(), time(message.expires));
    metadata.insert("InsertionTime".to_owned(), time(message.inserted));
    metadata.insert("NextVisibleTime".to_owned(), time(message.visible));
    metadata.insert("sys".to_owned(), system(function, now, random));
    if !binary && let Ok(Value::Object(members)) = serde_json::from_slice(body) {
        merge(&mut metadata, members);
    }
    json!({"Data": {binding: item}, "Metadata": metadata})
}

/// The body of a request for a firing. `status` is none if the timer has no monitor.
pub(super) fn timer(function: &str, binding: &str, status: Option<Value>, past_due: bool, now: Timestamp, random: &str) -> Value {
    json!({
        "Data": {binding: {"Schedule": {"AdjustForDST": true}, "ScheduleStatus": status, "IsPastDue": past_due}},
        "Metadata": {"sys": system(function, now, random)},
    })
}

/// A value that is no object: its JSON text, in a JSON text.
fn encoded(value: &Value) -> Value {
    Value::String(value.to_string())
}

/// A time, in whole seconds.
fn time(at: Timestamp) -> Value {
    Value::String(at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string())
}

fn system(function: &str, now: Timestamp, random: &str) -> Value {
    json!({"MethodName": function, "UtcNow": now.strftime("%Y-%m-%dT%H:%M:%S%.7fZ").to_string(), "RandGuid": random})
}

/// Members of the message become metadata, and win.
fn merge(metadata: &mut Map<String, Value>, members: Map<String, Value>) {
    for (name, value) in members {
        if value.is_null() || value.is_array() || name.to_lowercase().ends_with("trigger") {
            continue;
        }
        let known = metadata.keys().find(|known| known.to_lowercase() == name.to_lowercase()).cloned();
        let value = if value.is_object() { value } else { encoded(&value) };
        metadata.insert(known.unwrap_or(name), value);
    }
}

/// What an answer means.
pub(super) fn verdict(status: u16, content_type: Option<&str>, body: &[u8]) -> Verdict {
    if !(200..300).contains(&status) {
        return Verdict::Failed(format!("the handler answered {status}"));
    }
    if body.is_empty() {
        return Verdict::Hangs;
    }
    let media = content_type.and_then(|text| text.split(';').next()).map(|text| text.trim().to_ascii_lowercase());
    if !matches!(media.as_deref(), Some("application/json" | "text/json")) {
        return Verdict::Failed(format!("the answer's Content-Type is {}, and has to be application/json", content_type.unwrap_or("missing")));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Null) => Verdict::Hangs,
        Ok(Value::Object(answer)) => object(&answer),
        Ok(_) => Verdict::Failed("the answer is JSON and no object".to_owned()),
        Err(e) => Verdict::Failed(format!("the answer is no JSON: {e}")),
    }
}

fn object(answer: &Map<String, Value>) -> Verdict {
    let member = |name: &str| answer.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).filter(|value| !value.is_null());
    if member("Outputs").is_some_and(|outputs| !outputs.is_object()) {
        return Verdict::Failed("Outputs is no object".to_owned());
    }
    let logs = match member("Logs") {
        None => Some(Vec::new()),
        Some(logs) => logs.as_array().and_then(|lines| lines.iter().map(|line| line.as_str().map(ToOwned::to_owned)).collect()),
    };
    logs.map_or_else(|| Verdict::Failed("Logs is no list of texts".to_owned()), Verdict::Succeeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(binary: bool, body: &str) -> Value {
        let at = "2026-11-23T05:00:00.7Z".parse().unwrap();
        let message = Message { id: "i-1".into(), receipt: "r".into(), dequeue_count: 3, inserted: at, expires: at, visible: at, text: String::new() };
        queue("work", "item", binary, &message, body.as_bytes(), at, "guid")
    }

    #[test]
    fn texts_are_encoded_twice_and_numbers_are_texts() {
        let sent = sent(false, "hello");
        assert_eq!(sent["Data"]["item"], r#""hello""#);
        assert_eq!((&sent["Metadata"]["DequeueCount"], &sent["Metadata"]["Id"]), (&json!("3"), &json!(r#""i-1""#)));
        assert_eq!(sent["Metadata"]["InsertionTime"], "2026-11-23T05:00:00+00:00");
        assert_eq!(sent["Metadata"]["sys"], json!({"MethodName": "work", "UtcNow": "2026-11-23T05:00:00.7000000Z", "RandGuid": "guid"}));
    }

    #[test]
    fn members_of_a_message_overwrite_the_metadata() {
        let sent = sent(false, r#"{"id": "forged", "dequeuecount": 0, "more": {"a": 1}, "none": null, "list": [1], "QueueTrigger": "x", "flag": true}"#);
        let metadata = sent["Metadata"].as_object().unwrap();
        assert_eq!((&metadata["Id"], &metadata["DequeueCount"]), (&json!(r#""forged""#), &json!("0")));
        assert_eq!((&metadata["more"], &metadata["flag"]), (&json!({"a": 1}), &json!("true")));
        assert!(["none", "list", "QueueTrigger", "id"].iter().all(|name| !metadata.contains_key(*name)), "{metadata:?}");
        let item: String = serde_json::from_str(sent["Data"]["item"].as_str().unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&item).unwrap()["id"], "forged");
    }

    #[test]
    fn bytes_are_encoded_once_and_overwrite_nothing() {
        let sent = sent(true, r#"{"id": "forged"}"#);
        assert_eq!(sent["Data"]["item"], STANDARD.encode(r#"{"id": "forged"}"#));
        assert_eq!(sent["Metadata"]["Id"], r#""i-1""#);
    }

    #[test]
    fn a_firing_is_an_object() {
        let sent = timer("hourly", "timer", None, true, "2026-11-23T05:00:00Z".parse().unwrap(), "guid");
        assert_eq!(sent["Data"]["timer"], json!({"Schedule": {"AdjustForDST": true}, "ScheduleStatus": null, "IsPastDue": true}));
    }

    #[test]
    fn only_an_object_in_json_succeeds() {
        let json = Some("application/json; charset=utf-8");
        assert_eq!(verdict(200, json, b"{}"), Verdict::Succeeded(vec![]));
        assert_eq!(verdict(202, json, br#"{"Outputs": {"x": 1}, "Logs": ["a"], "ReturnValue": null}"#), Verdict::Succeeded(vec!["a".into()]));
        for (status, kind, body) in
            [(500, json, "{}"), (302, json, "{}"), (404, json, ""), (200, None, "{}"), (200, Some("text/plain"), "{}"), (200, json, "{"), (200, json, "[]")]
        {
            assert!(matches!(verdict(status, kind, body.as_bytes()), Verdict::Failed(_)), "{status} {kind:?} {body}");
        }
        assert!(matches!(verdict(200, json, br#"{"Outputs": 1}"#), Verdict::Failed(_)));
        assert!(matches!(verdict(200, json, br#"{"Logs": "a"}"#), Verdict::Failed(_)));
    }

    #[test]
    fn an_answer_without_a_body_completes_nothing() {
        for (status, kind, body) in [(200, None, ""), (204, None, ""), (200, Some("application/json"), ""), (200, Some("application/json"), "null")] {
            assert_eq!(verdict(status, kind, body.as_bytes()), Verdict::Hangs, "{status} {body}");
        }
    }
}
