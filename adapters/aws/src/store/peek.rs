//! A cheap look at an instance for whoever was told that there may be something to do: half a read unit and perhaps a moment behind, or one unit.

use durable::ids::InstanceId;
use durable::ports::{StoreError, StoreResult};
use durable_host::Peeked;

use super::capacity::Operation;
use super::item::{Item, SHOWN};
use super::{DynamoStore, keys};

/// How often an item that changes under the reader is read again.
const READS: usize = 8;

impl DynamoStore {
    /// As it is (`strongly`), or as it was a moment ago, for half of that.
    pub(super) async fn look_at(&self, instance: &InstanceId, strongly: bool) -> StoreResult<Option<Peeked>> {
        let pk = self.inner.hub.of(instance);
        for _ in 0..READS {
            let item = self.get(Operation::Peek, &pk, keys::HEADER, strongly, Some(SHOWN)).await?;
            let Some(item) = item.map(Item::read).transpose()?.filter(|item| !item.purging) else { return Ok(None) };
            if let Some(peeked) = self.peeked(instance, item).await? {
                return Ok(Some(peeked));
            }
        }
        Err(StoreError::Damaged(format!("rows of {pk} are missing")))
    }

    /// From an item. None if it has changed since it was read.
    pub(super) async fn peeked(&self, instance: &InstanceId, item: Item) -> StoreResult<Option<Peeked>> {
        let rows = item.header.spilled().into_iter().collect();
        let fetched = self.fetch(Operation::Peek, &self.inner.hub.of(instance), item.incarnation, rows).await?;
        let inbox_empty = item.inbox.is_empty();
        Ok(item.header_from(&fetched)?.map(|header| Peeked { instance: instance.clone(), header, inbox_empty }))
    }

    /// The partition of an instance, and its id if that stands in an attribute.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn keys_of(&self, instance: &InstanceId) -> (String, Option<String>) {
        let pk = self.inner.hub.of(instance);
        let plain = pk == format!("{}|{instance}", self.inner.hub.name());
        (pk, (!plain).then(|| instance.to_string()))
    }

    /// The instance that a record of the table's stream is about: from its keys, and from [`super::ID`] if the record has that attribute. None
    /// for rows that are no headers, and for other hubs.
    #[must_use]
    pub fn instance_of_record(&self, pk: &str, sk: &str, id: Option<&str>) -> Option<InstanceId> {
        (sk == keys::HEADER).then(|| self.inner.hub.instance(pk, id)).flatten()
    }
}
