//! What an invocation brings, told apart by its shape. Pure: must never do anything about it.

use base64::Engine;
use durable::ids::Incarnation;
use durable_host::invoked::{Seen, Work};
use serde::Deserialize;
use serde_json::Value;

use crate::store::{self, DynamoStore};

/// What an invocation is about.
#[derive(Debug)]
pub enum Event {
    /// An HTTP request: of a function URL, an API Gateway (payload 1.0 or 2.0) or a load balancer.
    Http(Value),
    /// Changes of the table.
    Stream(Vec<Record>),
    /// An event of our own.
    Work(Work),
    /// An event of our own that was tried in vain as often as the platform tries, and comes to the on-failure destination.
    GivenUp(Work),
}

/// One change of one item of the table, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Names it in the answer to a batch.
    pub sequence_number: String,
    /// The item as it was written, in DynamoDB's JSON.
    pub image: Value,
}

impl Record {
    /// Reads the image. None if it is no instance of this store's hub, or none that this build can read: then a repetition would not help.
    #[must_use]
    pub fn seen(&self, store: &DynamoStore) -> Option<Seen> {
        let field = |name: &str, kind: &str| self.image.get(name)?.get(kind)?.as_str();
        let instance = store.instance_of_record(field("pk", "S")?, field("sk", "S")?, field(store::ID, "S"))?;
        let life = base64::engine::general_purpose::STANDARD.decode(field(store::INCARNATION, "B")?).ok()?;
        let revision = field(store::REVISION, "N")?.parse().ok()?;
        let messages = self.has_messages();
        let raised = self.image.get(store::RAISED).is_some();
        Some(Seen { instance, life: Incarnation(life.try_into().ok()?), revision, messages, raised })
    }

    fn has_messages(&self) -> bool {
        self.image.pointer(store::INBOX).and_then(Value::as_array).is_some_and(|inbox| !inbox.is_empty())
    }
}

/// An event of no shape that this function knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this function knows no event of this shape: {0}")]
pub struct UnknownEvent(pub String);

#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Records")]
    records: Vec<RawRecord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRecord {
    event_source: String,
    dynamodb: Option<Change>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    sequence_number: String,
    new_image: Option<Value>,
}

impl Event {
    /// Tells what came.
    ///
    /// # Errors
    /// [`UnknownEvent`] says what it looks like.
    pub fn read(mut event: Value) -> Result<Self, UnknownEvent> {
        if let Some(payload) = event.get_mut("requestPayload").map(Value::take) {
            return own(payload).map(Self::GivenUp);
        }
        if event.get("durable").is_some() {
            return own(event).map(Self::Work);
        }
        if event.get("Records").is_some() {
            return records(event).map(Self::Stream);
        }
        let context = event.get("requestContext");
        let is_http = event.get("httpMethod").is_some() || context.is_some_and(|context| context.get("http").is_some());
        if is_http && context.is_some() { Ok(Self::Http(event)) } else { Err(UnknownEvent(outline(&event))) }
    }
}

fn own(event: Value) -> Result<Work, UnknownEvent> {
    let seen = outline(&event);
    serde_json::from_value(event).map_err(|e| UnknownEvent(format!("{seen}: {e}")))
}

fn records(event: Value) -> Result<Vec<Record>, UnknownEvent> {
    let seen = outline(&event);
    let batch: Batch = serde_json::from_value(event).map_err(|e| UnknownEvent(format!("{seen}: {e}")))?;
    let mut records = Vec::with_capacity(batch.records.len());
    for raw in batch.records {
        match raw.dynamodb.filter(|_| raw.event_source == "aws:dynamodb") {
            Some(Change { sequence_number, new_image: Some(image) }) => records.push(Record { sequence_number, image }),
            // What was removed has nothing to do any more.
            Some(Change { new_image: None, .. }) => {}
            None => return Err(UnknownEvent(format!("a batch from {}", raw.event_source))),
        }
    }
    Ok(records)
}

/// The names of an event's fields, without their values: those may be anybody's data.
fn outline(event: &Value) -> String {
    match event {
        Value::Object(fields) => format!("an object with {:?}", fields.keys().take(12).collect::<Vec<_>>()),
        Value::Array(items) => format!("an array of {}", items.len()),
        _ => "neither an object nor an array".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_of_event_is_known_by_its_shape() {
        let read = |event| Event::read(event).unwrap();
        let v2 = json!({"version": "2.0", "rawPath": "/", "requestContext": {"http": {"method": "GET"}}});
        assert!(matches!(read(v2), Event::Http(_)));
        let v1 = json!({"httpMethod": "GET", "path": "/", "requestContext": {"stage": "prod"}});
        assert!(matches!(read(v1), Event::Http(_)));
        let alb = json!({"httpMethod": "GET", "path": "/", "requestContext": {"elb": {}}});
        assert!(matches!(read(alb), Event::Http(_)));
        let own = json!({"durable": "drive", "instance": "a", "life": "00", "revision": 1});
        assert!(matches!(read(own.clone()), Event::Work(Work::Drive(_))));
        let given_up = json!({"version": "1.0", "requestContext": {"condition": "RetriesExhausted"}, "requestPayload": own, "responsePayload": {}});
        assert!(matches!(read(given_up), Event::GivenUp(Work::Drive(_))));
    }

    #[test]
    fn a_batch_is_its_images_and_removals_are_nothing() {
        let record = |n: &str, image: Value| json!({"eventSource": "aws:dynamodb", "dynamodb": {"SequenceNumber": n, "NewImage": image}});
        let removal = json!({"eventSource": "aws:dynamodb", "dynamodb": {"SequenceNumber": "2"}});
        let Event::Stream(records) = Event::read(json!({"Records": [record("1", json!({"pk": {"S": "h|a"}})), removal]})).unwrap() else { panic!() };
        assert_eq!(records, [Record { sequence_number: "1".into(), image: json!({"pk": {"S": "h|a"}}) }]);
    }

    #[test]
    fn an_image_tells_whether_messages_wait() {
        let waits = |image| Record { sequence_number: "1".into(), image }.has_messages();
        assert!(waits(json!({"q": {"L": [{"B": "AAAA"}]}})));
        assert!(!waits(json!({"q": {"L": []}})) && !waits(json!({})));
    }

    #[test]
    fn anything_else_is_an_error_that_shows_no_data() {
        let queue = json!({"Records": [{"eventSource": "aws:sqs", "body": "secret"}]});
        for event in [json!({}), json!([1]), json!("x"), json!({"durable": "dance"}), json!({"requestContext": {}}), json!({"token": "secret"}), queue] {
            let error = Event::read(event).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
