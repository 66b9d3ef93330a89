//! Reading and writing rows of one partition: by ranges of keys, and in transactions as large as they may be. What is written here is never
//! changed once it is, so all of this is repeatable.

use durable::ports::{StoreError, StoreResult};

use super::TableStore;
use super::call::{Ask, Fail};
use crate::table::{Change, Entity, Filter, If, Next, OPERATIONS, Page};

/// Bytes of rows in one transaction, about: what the service takes, less room for a header.
pub(super) const BYTES: usize = 3584 * 1024;
/// What tells that a row is there, and which.
pub(super) const KEYS: &str = "PartitionKey,RowKey";

/// True if these go into one transaction.
pub(super) fn fit(changes: &[Change]) -> bool {
    changes.len() <= OPERATIONS && changes.iter().map(Change::wire_bytes).sum::<usize>() <= BYTES
}

impl TableStore {
    /// Reads one row, or some of its properties.
    pub(super) async fn get(&self, operation: &'static str, pk: &str, row: &str, only: Option<&str>) -> StoreResult<Option<Entity>> {
        Ok(self.call(Ask::again(operation), |ask| self.inner.table.get(ask, pk, row, only)).await?)
    }

    /// Reads one page.
    pub(super) async fn page(&self, operation: &'static str, filter: &Filter, only: Option<&str>, top: Option<usize>, from: Option<Next>) -> StoreResult<Page> {
        Ok(self.call(Ask::again(operation), |ask| self.inner.table.query(ask, filter, only, top, from.clone())).await?)
    }

    /// Reads all rows of a partition from one key to before another.
    pub(super) async fn range(&self, operation: &'static str, pk: &str, (from, to): (&str, &str), only: Option<&str>) -> StoreResult<Vec<Entity>> {
        let filter = Filter::partition(pk).from(from).before(to);
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let page = self.page(operation, &filter, only, None, next).await?;
            found.extend(page.rows);
            next = page.next;
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// Makes changes of one partition, all or none, once.
    pub(super) async fn transact(&self, operation: &'static str, changes: &[Change]) -> Result<Vec<Option<String>>, Fail> {
        self.call(Ask::once(operation), |ask| self.inner.table.transact(ask, changes)).await
    }

    /// Makes one change, once.
    pub(super) async fn change(&self, operation: &'static str, change: &Change) -> Result<Option<String>, Fail> {
        self.call(Ask::once(operation), |ask| self.inner.table.change(ask, change)).await
    }

    /// Makes one change that may be made twice.
    pub(super) async fn change_again(&self, operation: &'static str, change: &Change) -> Result<Option<String>, Fail> {
        self.call(Ask::again(operation), |ask| self.inner.table.change(ask, change)).await
    }

    /// Puts rows that nobody else writes behind changes that go into one transaction, or writes them before it if they do not fit.
    /// True if they have been written.
    pub(super) async fn put_along(&self, operation: &'static str, changes: &mut Vec<Change>, rows: Vec<Entity>) -> StoreResult<bool> {
        let begun = changes.len();
        changes.extend(rows.into_iter().map(Change::Insert));
        if fit(changes) {
            return Ok(false);
        }
        let rows = changes.split_off(begun);
        self.put_rows(operation, rows).await?;
        Ok(true)
    }

    /// Writes rows that nobody else writes.
    async fn put_rows(&self, operation: &'static str, rows: Vec<Change>) -> StoreResult<()> {
        let mut left = rows.as_slice();
        while !left.is_empty() {
            let most = (1..=left.len()).take_while(|n| *n == 1 || fit(&left[..*n])).last().unwrap_or(1);
            let (some, rest) = left.split_at(most);
            match self.call(Ask::again(operation), |ask| self.inner.table.transact(ask, some)).await {
                // Their keys are nobody else's: a request whose answer was lost has written them, all of them.
                Err(Fail::Refused(refusal)) if refusal.status == 409 => {}
                done => drop(done?),
            }
            left = rest;
        }
        Ok(())
    }

    /// Removes rows of one partition. Those that are gone already count as removed.
    pub(super) async fn delete_rows(&self, operation: &'static str, pk: &str, rows: impl IntoIterator<Item = String>) -> StoreResult<()> {
        let mut left: Vec<Change> = rows.into_iter().map(|row| Change::Delete(pk.to_owned(), row, If::Exists)).collect();
        while !left.is_empty() {
            let some = left.len().min(OPERATIONS);
            let done = match &left[..some] {
                [one] => self.change_again(operation, one).await.map(|_| ()),
                many => self.call(Ask::again(operation), |ask| self.inner.table.transact(ask, many)).await.map(|_| ()),
            };
            match done {
                Ok(()) => drop(left.drain(..some)),
                Err(Fail::Refused(refusal)) if refusal.status == 404 => {
                    // Nothing was removed, because this one is gone.
                    let gone = refusal.index.unwrap_or(0);
                    if gone >= some {
                        return Err(StoreError::Unavailable(format!("the table refused to remove rows ({refusal})")));
                    }
                    left.remove(gone);
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }
}
