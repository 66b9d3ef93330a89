//! Reads the shards of the table's stream, each from its oldest record, children after their parents.
//!
//! Must never: end because DynamoDB cannot be reached for a while.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::error::DisplayErrorContext;
use aws_sdk_dynamodbstreams::types::{Shard, ShardIteratorType};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::deliver::Lane;
use super::record::Record;
use super::{Mapping, Shared, StreamOptions};
use crate::lambda::Lambda;

/// How often new shards are looked for.
const DISCOVER: Duration = Duration::from_secs(10);

/// How long to wait after trouble.
const AFTER_TROUBLE: Duration = Duration::from_millis(500);

/// How long DynamoDB may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Records that wait in a lane.
const LANE: usize = 100;

/// A stream that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// DynamoDB does not answer, or does not know the table.
    #[error("table {table} cannot be found at {endpoint}: {why}; is DynamoDB Local running, and has the table been created?")]
    Table {
        /// The table.
        table: String,
        /// Where DynamoDB is.
        endpoint: String,
        /// What it says.
        why: String,
    },
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
    /// The table has no stream.
    #[error("table {0} has no stream: it must be created with StreamSpecification NEW_IMAGE")]
    NoStream(String),
}

/// One reader's view.
#[derive(Clone)]
struct Reader {
    client: Client,
    http: reqwest::Client,
    endpoint: String,
    arn: String,
    mapping: Arc<Mapping>,
    shared: Arc<Shared>,
    lambda: Arc<Lambda>,
}

/// Finds the table's stream and reads it. What is given back ends when it is dropped.
pub(crate) async fn start(options: StreamOptions, shared: Arc<Shared>, lambda: Arc<Lambda>) -> Result<JoinSet<()>, StreamError> {
    let StreamOptions { dynamodb, table, mapping } = options;
    let config = crate::client_config(&dynamodb).map_err(|e| StreamError::Client(e.to_string()))?;
    let described = aws_sdk_dynamodb::Client::new(&config).describe_table().table_name(&table).send().await;
    let described = described.map_err(|e| StreamError::Table { table: table.clone(), endpoint: dynamodb.clone(), why: DisplayErrorContext(&e).to_string() })?;
    let arn = described.table().and_then(|table| table.latest_stream_arn()).ok_or(StreamError::NoStream(table))?.to_owned();
    let http = crate::function::http_client(ANSWER).map_err(|e| StreamError::Client(e.to_string()))?;
    let reader = Reader { client: Client::new(&config), http, endpoint: dynamodb, arn, mapping: Arc::new(mapping), shared, lambda };
    let mut tasks = JoinSet::new();
    tasks.spawn(reader.run());
    Ok(tasks)
}

impl Reader {
    /// Starts a reader for each shard whose parent has been read.
    async fn run(self) {
        let mut known = BTreeSet::new();
        let mut done = BTreeSet::new();
        let mut readers = JoinSet::new();
        loop {
            self.shared.running().await;
            match self.shards().await {
                Ok(shards) => {
                    let ids: BTreeSet<_> = shards.iter().filter_map(|shard| shard.shard_id().map(str::to_owned)).collect();
                    for shard in &shards {
                        let Some(id) = shard.shard_id() else { continue };
                        // A parent that is no longer listed has left the stream.
                        let ready = shard.parent_shard_id().is_none_or(|parent| done.contains(parent) || !ids.contains(parent));
                        if ready && known.insert(id.to_owned()) {
                            self.shared.shards().get_or_insert_default().insert(id.to_owned(), None);
                            readers.spawn(self.clone().read(id.to_owned()));
                        }
                    }
                    self.shared.shards().get_or_insert_default();
                }
                Err(e) => tracing::warn!("the shards of the stream cannot be listed: {e}"),
            }
            tokio::select! {
                Some(ended) = readers.join_next(), if !readers.is_empty() => {
                    if let Ok(id) = ended {
                        done.insert(id);
                    }
                }
                () = tokio::time::sleep(DISCOVER) => {}
            }
        }
    }

    async fn shards(&self) -> Result<Vec<Shard>, String> {
        let mut shards = Vec::new();
        let mut from = None;
        loop {
            let page = self.client.describe_stream().stream_arn(&self.arn).set_exclusive_start_shard_id(from).send().await;
            let page = page.map_err(|e| DisplayErrorContext(&e).to_string())?;
            let Some(description) = page.stream_description() else { return Ok(shards) };
            shards.extend_from_slice(description.shards());
            from = description.last_evaluated_shard_id().map(str::to_owned);
            if from.is_none() {
                return Ok(shards);
            }
        }
    }

    /// Reads one shard to its end, and gives its id when all of it has been delivered.
    async fn read(self, id: String) -> String {
        let mut lanes = Vec::new();
        let mut deliveries = JoinSet::new();
        for _ in 0..self.mapping.parallelization.max(1) {
            let (records, taken) = mpsc::channel(LANE);
            lanes.push(records);
            let lane = Lane { mapping: self.mapping.clone(), shared: self.shared.clone(), lambda: self.lambda.clone() };
            deliveries.spawn(lane.run(taken));
        }
        let mut last = None;
        let mut iterator = None;
        loop {
            self.shared.running().await;
            let begun = Instant::now();
            match self.page(&id, &mut iterator, last.as_deref()).await {
                Ok(records) => {
                    let empty = records.is_empty();
                    for record in records {
                        last = Some(record.sequence.clone());
                        self.hand_on(record, &lanes).await;
                    }
                    if empty && let Some(looked) = self.shared.shards().get_or_insert_default().get_mut(&id) {
                        *looked = Some(begun);
                    }
                    self.shared.pulse.beat();
                    if iterator.is_none() {
                        break;
                    }
                    if empty {
                        tokio::time::sleep(self.mapping.poll).await;
                    }
                }
                Err(e) => {
                    tracing::warn!("shard {id} of the stream cannot be read: {e}");
                    // It may have been too old: the next one starts behind what was read.
                    iterator = None;
                    tokio::time::sleep(AFTER_TROUBLE).await;
                }
            }
        }
        drop(lanes);
        while deliveries.join_next().await.is_some() {}
        self.shared.shards().get_or_insert_default().remove(&id);
        id
    }

    async fn page(&self, shard: &str, iterator: &mut Option<String>, after: Option<&str>) -> Result<Vec<Record>, String> {
        let from = match iterator.take() {
            Some(iterator) => iterator,
            None => {
                let kind = if after.is_some() { ShardIteratorType::AfterSequenceNumber } else { ShardIteratorType::TrimHorizon };
                let asked = self.client.get_shard_iterator().stream_arn(&self.arn).shard_id(shard).shard_iterator_type(kind);
                let given = asked.set_sequence_number(after.map(str::to_owned)).send().await.map_err(|e| DisplayErrorContext(&e).to_string())?;
                given.shard_iterator().ok_or("the shard gives no iterator")?.to_owned()
            }
        };
        let page = self.records(&from).await?;
        *iterator = page.get("NextShardIterator").and_then(Value::as_str).map(str::to_owned);
        let records = page.get("Records").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(records.into_iter().map(|record| Record::new(record, &self.arn)).collect())
    }

    /// `GetRecords` without the SDK, which does not read what DynamoDB Local writes for empty lists. It takes any signature.
    async fn records(&self, iterator: &str) -> Result<Value, String> {
        let authorization = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";
        let asked = self
            .http
            .post(&self.endpoint)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", "DynamoDBStreams_20120810.GetRecords")
            .header("authorization", authorization)
            .json(&serde_json::json!({ "ShardIterator": iterator }));
        let answer = asked.send().await.map_err(|e| e.to_string())?;
        let status = answer.status();
        let body: Value = answer.json().await.map_err(|e| e.to_string())?;
        if status.is_success() { Ok(body) } else { Err(format!("{status}: {body}")) }
    }

    async fn hand_on(&self, record: Record, lanes: &[mpsc::Sender<Record>]) {
        if !self.mapping.filter.passes(&record.json) {
            return;
        }
        let Some(lane) = lanes.get(record.lane(lanes.len())) else { return };
        self.shared.backlog.fetch_add(1, Ordering::SeqCst);
        if lane.send(record).await.is_err() {
            self.shared.backlog.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
