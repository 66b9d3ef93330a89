//! Which instances a build could not go on with, and which build has looked after them.
//!
//! A row that names an instance is written before the commit that records its fault, and removed after the one that cures or ends it. So a
//! row may be there without a fault (whoever finds it looks), and no fault is without a row.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use durable::header::Header;
use durable::ids::InstanceId;
use durable::ports::StoreResult;

use super::attrs::{self, binary, number, text, text_in};
use super::call::Ask;
use super::capacity::Operation;
use super::rows::{Range, Read};
use super::runs::granted;
use super::{DynamoStore, keys};

/// Instances in a page.
const PAGE: i32 = 100;

impl DynamoStore {
    pub(super) async fn faults(&self, after: Option<&InstanceId>) -> StoreResult<Vec<InstanceId>> {
        let pk = self.inner.hub.faults();
        let range = Range { from: " ".to_owned(), to: "\u{10FFFF}".to_owned() };
        let from = after.map(|id| attrs::key(&pk, id.as_str()));
        let page = self.page(Operation::Fault, &pk, &range, from, Read { keys_only: true, limit: Some(PAGE), ..Read::strong() }).await?;
        Ok(page.items.iter().filter_map(|row| InstanceId::new(text_in(row, "sk")?).ok()).collect())
    }

    /// Names an instance that is about to bear a fault.
    pub(super) async fn note_fault(&self, instance: &InstanceId, header: &Header) -> StoreResult<()> {
        let mut row = attrs::key(&self.inner.hub.faults(), instance.as_str());
        row.insert("i".to_owned(), binary(header.incarnation.0));
        row.insert("r".to_owned(), number(header.revision));
        self.put_rows(Operation::Fault, vec![row]).await
    }

    /// Takes the name of an instance away, unless it bears a later fault.
    pub(super) async fn forget_fault(&self, instance: &InstanceId, header: &Header) -> StoreResult<()> {
        let request = self
            .inner
            .client
            .delete_item()
            .table_name(&self.inner.table)
            .set_key(Some(attrs::key(&self.inner.hub.faults(), instance.as_str())))
            .condition_expression("attribute_not_exists(pk) OR i <> :i OR r <= :r")
            .expression_attribute_values(":i", binary(header.incarnation.0))
            .expression_attribute_values(":r", number(header.revision))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let ask = Ask { operation: Operation::Fault, action: "DeleteItem", repeatable: true };
        granted(self.call(ask, || request.clone().send()).await).map(|_| ())
    }

    pub(super) async fn is_latest(&self, build: &str) -> StoreResult<bool> {
        let row = self.get(Operation::Build, &self.inner.hub.builds(), keys::LATEST, true, None).await?;
        Ok(row.is_some_and(|row| text_in(&row, "n") == Some(build)))
    }

    pub(super) async fn note(&self, build: &str) -> StoreResult<()> {
        let mut row = attrs::key(&self.inner.hub.builds(), keys::LATEST);
        row.insert("n".to_owned(), text(build));
        self.put_rows(Operation::Build, vec![row]).await
    }
}
