//! Seams for those who try to break what this crate reads (`fuzz/`). Must never: be part of a program that serves.

use aws_sdk_dynamodb::config::BehaviorVersion;
use durable::InstanceId;
use serde_json::Value;

use crate::event::{Event, Record};
use crate::store::{DynamoStore, ID, INCARNATION, Options, REVISION};

/// A store that is never asked.
fn store() -> Option<DynamoStore> {
    let config = aws_sdk_dynamodb::Config::builder().behavior_version(BehaviorVersion::latest()).build();
    DynamoStore::new(&aws_sdk_dynamodb::Client::from_conf(config), Options::new("table", "hub")).ok()
}

/// Reads an invocation's event as the handler does. What it is, if it is one.
#[must_use]
pub fn event(bytes: &[u8]) -> Option<String> {
    let event = Event::read(serde_json::from_slice(bytes).ok()?).ok()?;
    if let (Event::Stream(records), Some(store)) = (&event, store()) {
        records.iter().for_each(|record| drop(record.seen(&store)));
    }
    Some(format!("{event:?}"))
}

/// The instance that a record of the stream is about, read from the keys that an instance with this id has.
#[must_use]
pub fn from_its_keys(id: &InstanceId) -> Option<InstanceId> {
    let store = store()?;
    let (pk, written) = store.keys_of(id);
    let image = serde_json::json!({
        "pk": { "S": pk }, "sk": { "S": "0" }, ID: { "S": written.unwrap_or_default() }, INCARNATION: { "B": "AAAAAAAAAAE=" }, REVISION: { "N": "1" },
    });
    let record = Record { sequence_number: String::new(), image: Value::clone(&image) };
    record.seen(&store).map(|seen| seen.instance)
}
