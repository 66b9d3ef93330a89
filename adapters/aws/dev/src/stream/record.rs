//! A record of the stream, in the form in which the function gets it: as DynamoDB writes it on the wire, with the stream's ARN beside it.
//!
//! Must never: change a value on the way. (DynamoDB Local writes empty lists and maps as `{}`, which is no attribute value that the SDK would read;
//! whoever reads an image must leave such fields alone.)

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;
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
    /// Reads what DynamoDB gives.
    pub(super) fn new(mut json: Value, stream_arn: &str) -> Self {
        let change = json.get("dynamodb");
        let sequence = change.and_then(|change| change.get("SequenceNumber")?.as_str()).unwrap_or_default().to_owned();
        let created = change.and_then(|change| change.get("ApproximateCreationDateTime")?.as_f64()).unwrap_or_default();
        if let Some(fields) = json.as_object_mut() {
            fields.insert("eventSource".to_owned(), "aws:dynamodb".into());
            fields.insert("eventSourceARN".to_owned(), stream_arn.into());
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_is_what_dynamodb_wrote_with_the_stream_s_name() {
        let wire = json!({
            "eventID": "e", "eventName": "MODIFY", "eventVersion": "1.1", "eventSource": "aws:dynamodb", "awsRegion": "ddblocal",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_700_000_000, "Keys": {"pk": {"S": "h|i"}}, "NewImage": {"pk": {"S": "h|i"}, "q": {}, "r": {"N": "12345678901234567890"}},
                "SequenceNumber": "111", "SizeBytes": 26, "StreamViewType": "NEW_IMAGE",
            },
        });
        let record = Record::new(wire.clone(), "arn:stream");
        assert_eq!((record.sequence.as_str(), record.created), ("111", 1_700_000_000.0));
        assert_eq!(record.json["dynamodb"], wire["dynamodb"]);
        assert_eq!(record.json["eventSourceARN"], "arn:stream");
        assert_eq!(record.lane(7), Record::new(wire, "another").lane(7));
    }
}
