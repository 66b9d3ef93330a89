//! Reading and writing rows: one by one, in batches, and by ranges of keys. Rows are never changed once written, so all of this is repeatable.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{DeleteRequest, KeysAndAttributes, PutRequest, ReturnConsumedCapacity, WriteRequest};
use durable::ports::{StoreError, StoreResult};
use durable_host::stores::pause_before;

use super::DynamoStore;
use super::attrs::{self, Attrs, text};
use super::call::Ask;
use super::capacity::Operation;

/// Rows in one batch of writes, at most.
const WRITES_IN_A_BATCH: usize = 25;
/// Rows in one batch of reads, at most.
const READS_IN_A_BATCH: usize = 100;

/// A range of sort keys, both ends included.
#[derive(Debug, Clone)]
pub(super) struct Range {
    pub from: String,
    pub to: String,
}

/// One page of a range of rows.
pub(super) struct Rows {
    pub items: Vec<Attrs>,
    pub next: Option<Attrs>,
}

impl DynamoStore {
    /// Reads one row. With `only`, some of its attributes.
    pub(super) async fn get(&self, operation: Operation, pk: &str, sk: &str, strong: bool, only: Option<&str>) -> StoreResult<Option<Attrs>> {
        let request = self.inner.client.get_item().table_name(&self.inner.table).set_key(Some(attrs::key(pk, sk))).consistent_read(strong);
        let request = request.set_projection_expression(only.map(str::to_owned)).return_consumed_capacity(ReturnConsumedCapacity::Total);
        let ask = Ask { operation, action: "GetItem", repeatable: true };
        Ok(self.call(ask, || request.clone().send()).await?.item)
    }

    /// Reads one page of the rows of a partition, in the order of their keys.
    pub(super) async fn page(&self, operation: Operation, pk: &str, range: &Range, from: Option<Attrs>, read: Read) -> StoreResult<Rows> {
        let request = self
            .inner
            .client
            .query()
            .table_name(&self.inner.table)
            .key_condition_expression("pk = :p AND sk BETWEEN :f AND :t")
            .expression_attribute_values(":p", text(pk))
            .expression_attribute_values(":f", text(&range.from))
            .expression_attribute_values(":t", text(&range.to))
            .consistent_read(read.strong)
            .set_projection_expression(read.keys_only.then(|| "pk, sk".to_owned()))
            .set_limit(read.limit)
            .set_exclusive_start_key(from)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let ask = Ask { operation, action: "Query", repeatable: true };
        let answer = self.call(ask, || request.clone().send()).await?;
        Ok(Rows { items: answer.items.unwrap_or_default(), next: answer.last_evaluated_key })
    }

    /// Reads all rows of a range, strongly consistent.
    pub(super) async fn range(&self, operation: Operation, pk: &str, range: &Range) -> StoreResult<Vec<Attrs>> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let rows = self.page(operation, pk, range, from, Read::strong()).await?;
            found.extend(rows.items);
            from = rows.next;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    /// Reads many rows by their keys, strongly consistent, in no order. What is not there is left out.
    pub(super) async fn get_all(&self, operation: Operation, keys: Vec<Attrs>, only: Option<&str>) -> StoreResult<Vec<Attrs>> {
        let mut found = Vec::with_capacity(keys.len());
        let (mut left, end, mut pause) = (keys, self.end(), Duration::from_millis(10));
        while !left.is_empty() {
            let now: Vec<Attrs> = left.drain(..left.len().min(READS_IN_A_BATCH)).collect();
            let wanted = KeysAndAttributes::builder().set_keys(Some(now)).consistent_read(true).set_projection_expression(only.map(str::to_owned));
            let wanted = wanted.build().map_err(|e| StoreError::Unavailable(e.to_string()))?;
            let request = self.inner.client.batch_get_item().request_items(&self.inner.table, wanted).return_consumed_capacity(ReturnConsumedCapacity::Total);
            let ask = Ask { operation, action: "BatchGetItem", repeatable: true };
            let mut answer = self.call(ask, || request.clone().send()).await?;
            let read = answer.responses.as_mut().and_then(|tables| tables.remove(&self.inner.table)).unwrap_or_default();
            let unread = answer.unprocessed_keys.as_mut().and_then(|tables| tables.remove(&self.inner.table)).map(|unread| unread.keys).unwrap_or_default();
            // A full answer (16 MB) leaves keys over without any trouble; one that brought nothing is a sign to wait.
            if read.is_empty() && !unread.is_empty() && !pause_before(&mut pause, end).await {
                return Err(busy("rows"));
            }
            found.extend(read);
            left.extend(unread);
        }
        Ok(found)
    }

    /// Writes rows.
    pub(super) async fn put_rows(&self, operation: Operation, rows: Vec<Attrs>) -> StoreResult<()> {
        let puts = rows.into_iter().map(|row| Ok(WriteRequest::builder().put_request(PutRequest::builder().set_item(Some(row)).build()?).build()));
        let puts: Result<Vec<_>, aws_sdk_dynamodb::error::BuildError> = puts.collect();
        self.write(operation, puts.map_err(|e| StoreError::Unavailable(e.to_string()))?).await
    }

    /// Removes rows of one partition.
    pub(super) async fn delete_rows(&self, operation: Operation, pk: &str, sks: impl IntoIterator<Item = String>) -> StoreResult<()> {
        let deletes = sks.into_iter().map(|sk| {
            let delete = DeleteRequest::builder().set_key(Some(attrs::key(pk, &sk))).build()?;
            Ok(WriteRequest::builder().delete_request(delete).build())
        });
        let deletes: Result<Vec<_>, aws_sdk_dynamodb::error::BuildError> = deletes.collect();
        self.write(operation, deletes.map_err(|e| StoreError::Unavailable(e.to_string()))?).await
    }

    async fn write(&self, operation: Operation, requests: Vec<WriteRequest>) -> StoreResult<()> {
        let (mut left, end, mut pause) = (requests, self.end(), Duration::from_millis(10));
        while !left.is_empty() {
            let now: Vec<WriteRequest> = left.drain(..left.len().min(WRITES_IN_A_BATCH)).collect();
            let request = self.inner.client.batch_write_item().set_request_items(Some(HashMap::from([(self.inner.table.clone(), now)])));
            let request = request.return_consumed_capacity(ReturnConsumedCapacity::Total);
            let ask = Ask { operation, action: "BatchWriteItem", repeatable: true };
            let mut answer = self.call(ask, || request.clone().send()).await?;
            let unwritten = answer.unprocessed_items.as_mut().and_then(|tables| tables.remove(&self.inner.table)).unwrap_or_default();
            if !unwritten.is_empty() {
                left.extend(unwritten);
                if !pause_before(&mut pause, end).await {
                    return Err(busy("rows"));
                }
            }
        }
        Ok(())
    }
}

/// How a range is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read {
    pub strong: bool,
    pub keys_only: bool,
    pub limit: Option<i32>,
}

impl Read {
    /// Every attribute, as of now.
    pub(super) const fn strong() -> Self {
        Self { strong: true, keys_only: false, limit: None }
    }
}

fn busy(what: &str) -> StoreError {
    StoreError::Unavailable(format!("the table is busy: not all {what} could be read or written in time"))
}
