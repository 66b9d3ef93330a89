//! Far alarms as rows: partitions are hours (and a digit, so that a busy hour is spread), rows are times.
//!
//! Whoever knows an alarm's time and digest knows its keys. Must never: hold a row back because another one cannot be read.

use durable::Timestamp;
use durable::ports::{PortFuture, StoreError, StoreResult};
use durable_host::queued::{FarAlarm, FarAlarms};

use crate::retry::until_clear;
use crate::storage::SendError;
use crate::table::{Change, Entity, Filter, For, If, Table};

const HOUR: i64 = 3_600_000_000;

/// Before every partition of an hour, and no hour.
const BEGINNING: &str = "a";

/// The table that they stand in.
#[derive(Debug, Clone)]
pub struct AlarmTable(Table);

impl AlarmTable {
    /// Alarms in this table.
    #[must_use]
    pub const fn new(table: Table) -> Self {
        Self(table)
    }

    /// Makes the table, unless it is there.
    ///
    /// # Errors
    /// What the service says.
    pub async fn create(&self) -> Result<(), SendError> {
        until_clear(|within| self.0.create(For { operation: "alarms create", within })).await
    }

    async fn put_row(&self, alarm: FarAlarm) -> StoreResult<()> {
        let (partition, row) = keys(alarm.timer.due, alarm.digest);
        let text = serde_json::to_string(&alarm.timer).map_err(|e| StoreError::Damaged(format!("an alarm cannot be written: {e}")))?;
        let change = Change::Put(Entity::new(partition, row).with("timer", text));
        until_clear(|within| self.0.change(For { operation: "alarms put", within }, &change)).await.map(drop).map_err(StoreError::from)
    }

    async fn remove_row(&self, due: Timestamp, digest: u128) -> StoreResult<()> {
        let (partition, row) = keys(due, digest);
        let change = Change::Delete(partition, row, If::Exists);
        match until_clear(|within| self.0.change(For { operation: "alarms delete", within }, &change)).await {
            Err(error) if error.refusal().is_none_or(|refusal| refusal.code != "ResourceNotFound") => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn earliest_rows(&self, before: Timestamp) -> StoreResult<Vec<FarAlarm>> {
        let (filter, mut from) = (Filter::partitions_behind(BEGINNING, &last_partition(before)), None);
        loop {
            let page = until_clear(|within| self.0.query(For { operation: "alarms query", within }, &filter, None, None, from.clone())).await?;
            let alarms: Vec<_> = page.rows.iter().filter_map(read).collect();
            // A page may be empty, and more behind it.
            if !alarms.is_empty() || page.next.is_none() {
                return Ok(alarms);
            }
            from = page.next;
        }
    }
}

impl FarAlarms for AlarmTable {
    fn put(&self, alarm: FarAlarm) -> PortFuture<StoreResult<()>> {
        let table = self.clone();
        Box::pin(async move { table.put_row(alarm).await })
    }

    fn remove(&self, due: Timestamp, digest: u128) -> PortFuture<StoreResult<()>> {
        let table = self.clone();
        Box::pin(async move { table.remove_row(due, digest).await })
    }

    fn earliest(&self, before: Timestamp) -> PortFuture<StoreResult<Vec<FarAlarm>>> {
        let table = self.clone();
        Box::pin(async move { table.earliest_rows(before).await })
    }
}

/// Both are ordered as times are, and hold nothing that a key may not.
fn keys(due: Timestamp, digest: u128) -> (String, String) {
    (format!("a{:010}-{:x}", hour(due), digest & 15), format!("{:020}-{digest:032x}", due.0.max(0)))
}

/// The last partition of the hour that a time is in.
fn last_partition(of: Timestamp) -> String {
    format!("a{:010}-f", hour(of))
}

fn hour(at: Timestamp) -> i64 {
    at.0.max(0).div_euclid(HOUR)
}

/// None, and a word in the log, if it cannot be read: a later build may know it.
fn read(row: &Entity) -> Option<FarAlarm> {
    let digest = row.row.split_once('-').and_then(|(_, digest)| u128::from_str_radix(digest, 16).ok());
    let timer = row.text("timer").and_then(|text| serde_json::from_str(text).ok());
    if digest.is_none() || timer.is_none() {
        tracing::error!("the far alarm {}/{} cannot be read by this build, and is left where it is", row.partition, row.row);
    }
    Some(FarAlarm { digest: digest?, timer: timer? })
}

#[cfg(test)]
mod tests {
    use durable_host::work::Timer;

    use super::*;

    #[test]
    fn keys_are_ordered_as_times_are() {
        let of = |seconds: i64, digest| keys(Timestamp(seconds * 1_000_000), digest);
        assert!(of(3_599, 0).0 < of(3_600, 0).0 && of(10, 0).1 < of(100, 0).1);
        assert!(of(7_199, u128::MAX).0 <= last_partition(Timestamp(3_600_000_000)));
        assert!(of(7_200, 0).0 > last_partition(Timestamp(3_600_000_000)));
        assert_eq!(keys(Timestamp(-5), 1), keys(Timestamp(0), 1), "what is long due is due now");
        assert!(keys(Timestamp::MAX, u128::MAX).0.len() == of(0, 0).0.len());
        assert!(BEGINNING < of(0, 0).0.as_str());
    }

    #[test]
    fn a_row_that_cannot_be_read_is_none() {
        assert!(read(&Entity::new("a", "b")).is_none());
        let timer = Timer { instance: "a".into(), life: "00000000000000ff".into(), revision: 3, due: Timestamp(7), armed: Timestamp(0) };
        let (partition, row) = keys(timer.due, 9);
        let row = Entity::new(partition, row).with("timer", serde_json::to_string(&timer).unwrap());
        assert_eq!(read(&row), Some(FarAlarm { digest: 9, timer }));
    }
}
