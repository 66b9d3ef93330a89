//! A record of the stream, in the form in which the function gets it.
//!
//! Must never: change a value on the way. Numbers stay text, binary becomes base64, as in DynamoDB's own JSON.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use aws_sdk_dynamodbstreams::types::{AttributeValue, Record as Sdk};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

/// One record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// As the function gets it.
    pub(super) json: Value,
    pub(super) sequence: String,
    /// Seconds of the epoch.
    pub(super) created: f64,
    /// When this driver saw it.
    pub(super) seen: Instant,
}

impl Record {
    /// Reads what the SDK gives.
    pub(super) fn new(record: &Sdk, stream_arn: &str) -> Self {
        let mut dynamodb = Map::new();
        let mut sequence = String::new();
        let mut created = 0.0;
        if let Some(change) = record.dynamodb() {
            created = change.approximate_creation_date_time().map_or(0.0, aws_sdk_dynamodbstreams::primitives::DateTime::as_secs_f64);
            change.sequence_number().unwrap_or_default().clone_into(&mut sequence);
            dynamodb.insert("ApproximateCreationDateTime".to_owned(), json!(created));
            for (name, item) in [("Keys", change.keys()), ("NewImage", change.new_image()), ("OldImage", change.old_image())] {
                dynamodb.extend(item.map(|item| (name.to_owned(), item_json(item))));
            }
            dynamodb.insert("SequenceNumber".to_owned(), sequence.clone().into());
            dynamodb.extend(change.size_bytes().map(|size| ("SizeBytes".to_owned(), size.into())));
            dynamodb.extend(change.stream_view_type().map(|view| ("StreamViewType".to_owned(), view.as_str().into())));
        }
        let mut json = json!({
            "eventID": record.event_id(),
            "eventName": record.event_name().map(aws_sdk_dynamodbstreams::types::OperationType::as_str),
            "eventVersion": record.event_version().unwrap_or("1.1"),
            "eventSource": "aws:dynamodb",
            "awsRegion": record.aws_region().unwrap_or(crate::REGION),
            "dynamodb": dynamodb,
            "eventSourceARN": stream_arn,
        });
        if let (Some(identity), Some(fields)) = (record.user_identity(), json.as_object_mut()) {
            let identity = json!({"principalId": identity.principal_id(), "type": identity.r#type()});
            fields.insert("userIdentity".to_owned(), identity);
        }
        Self { json, sequence, created, seen: Instant::now() }
    }

    /// Which of so many lanes it goes through: one item always takes the same.
    pub(super) fn lane(&self, lanes: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        // Objects are sorted by name, so equal keys are equal text.
        self.json.pointer("/dynamodb/Keys").map(Value::to_string).hash(&mut hasher);
        usize::try_from(hasher.finish() % (lanes.max(1) as u64)).unwrap_or_default()
    }
}

fn item_json(item: &HashMap<String, AttributeValue>) -> Value {
    Value::Object(item.iter().map(|(name, value)| (name.clone(), attribute(value))).collect())
}

fn attribute(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::B(bytes) => json!({"B": STANDARD.encode(bytes.as_ref())}),
        AttributeValue::Bool(value) => json!({"BOOL": value}),
        AttributeValue::Bs(all) => json!({"BS": all.iter().map(|bytes| STANDARD.encode(bytes.as_ref())).collect::<Vec<_>>()}),
        AttributeValue::L(all) => json!({"L": all.iter().map(attribute).collect::<Vec<_>>()}),
        AttributeValue::M(item) => json!({"M": item_json(item)}),
        AttributeValue::N(number) => json!({"N": number}),
        AttributeValue::Ns(all) => json!({"NS": all}),
        AttributeValue::Null(_) => json!({"NULL": true}),
        AttributeValue::S(text) => json!({"S": text}),
        AttributeValue::Ss(all) => json!({"SS": all}),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodbstreams::primitives::{Blob, DateTime};
    use aws_sdk_dynamodbstreams::types::{OperationType, StreamRecord, StreamViewType};

    use super::*;

    #[test]
    fn a_record_has_the_documented_form() {
        let change = StreamRecord::builder()
            .approximate_creation_date_time(DateTime::from_secs(1_700_000_000))
            .keys("pk", AttributeValue::S("h|i".to_owned()))
            .new_image("pk", AttributeValue::S("h|i".to_owned()))
            .new_image("tail", AttributeValue::B(Blob::new([1_u8, 2, 255])))
            .new_image("rev", AttributeValue::N("12345678901234567890".to_owned()))
            .new_image("inbox", AttributeValue::L(vec![AttributeValue::Bool(true), AttributeValue::Null(true)]))
            .sequence_number("111")
            .size_bytes(26)
            .stream_view_type(StreamViewType::NewImage);
        let sdk = Sdk::builder().event_id("e").event_name(OperationType::Modify).dynamodb(change.build()).build();
        let record = Record::new(&sdk, "arn:stream");
        let expected = json!({
            "eventID": "e", "eventName": "MODIFY", "eventVersion": "1.1", "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
            "eventSourceARN": "arn:stream",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_700_000_000.0,
                "Keys": {"pk": {"S": "h|i"}},
                "NewImage": {
                    "pk": {"S": "h|i"}, "tail": {"B": "AQL/"}, "rev": {"N": "12345678901234567890"},
                    "inbox": {"L": [{"BOOL": true}, {"NULL": true}]},
                },
                "SequenceNumber": "111", "SizeBytes": 26, "StreamViewType": "NEW_IMAGE",
            },
        });
        assert_eq!(record.json, expected);
        assert_eq!(record.lane(7), Record::new(&sdk, "another").lane(7));
    }
}
