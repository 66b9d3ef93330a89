//! New instances. The plain case is one conditional put of one item; whether the id is free is told by the put itself.
//!
//! An id that is in use is taken by a second put, on the condition that the old life still is what the first one met. Must never: take an id
//! from an instance that owes messages to others, or let a new life meet rows of an old one.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure};
use durable::Payload;
use durable::ports::{Committed, Create, Created, Loaded, StoreError, StoreResult};
use durable_host::invoked::{busy_until, must_be_looked_at};
use durable_host::stores::{FIRST_PAUSE, pause_before};

use super::attrs::{self, Attrs, binary, flag, number, text};
use super::call::{Ask, Fail};
use super::capacity::Operation;
use super::commit::{HEADER_IN_THE_ITEM, PAYLOAD_IN_THE_ITEM};
use super::expr::Expr;
use super::history::{self, Shape};
use super::item::{self, Item};
use super::load::Whole;
use super::spill::{self, Stored};
use super::{DynamoStore, RAISED, keys};

/// How often a start is tried again because what it met has changed.
const TRIES: usize = 8;

impl DynamoStore {
    /// Stores a new instance, if the policy lets it have the id.
    pub(super) async fn create_now(&self, create: Create) -> StoreResult<Created> {
        debug_assert!(create.deliveries.is_empty(), "this store does not deliver in the commit: deliveries belong into the outbox");
        let pk = self.inner.hub.of(&create.instance);
        let (item, rows) = self.new_item(&pk, &create);
        let own_rows: Vec<String> = rows.iter().filter_map(|row| attrs::text_in(row, "sk").map(str::to_owned)).collect();
        self.put_rows(Operation::Create, rows).await?;
        if create.header.fault.is_some() {
            self.note_fault(&create.instance, &create.header).await?;
        }
        let (mut old, mut tries): (Option<Item>, usize) = (None, 0);
        let (mut unclear, mut pause, end) = (false, FIRST_PAUSE, self.end());
        while tries < TRIES {
            let found = match self.put_new(&item, old.as_ref()).await {
                Ok(put) => return Ok(Created::Created(self.stored(&pk, &create, put).await?)),
                Err(Fail::Condition(found)) => found,
                // Sent again: if the first one has landed, this one meets it.
                Err(Fail::Unknown(error)) => {
                    if !pause_before(&mut pause, end).await {
                        return Err(error);
                    }
                    unclear = true;
                    continue;
                }
                Err(other) => return Err(other.into()),
            };
            tries += 1;
            old = found.map(Item::read).transpose()?;
            let Some(there) = &old else { continue };
            if unclear
                && there.incarnation == create.header.incarnation
                && let Some(stored) = self.stored_before(&create).await?
            {
                return Ok(Created::Created(stored));
            }
            if there.purging && there.incarnation == create.header.incarnation {
                // The very same life, on its way out: what is left of it must not be taken for the new one's.
                self.purge_to_the_end(&create.instance, there.incarnation).await?;
                old = None;
            } else if !there.holder().gives_way_to(&create) {
                // A try that may still come names its rows; those of any other are named by nothing.
                let unneeded = if unclear { Vec::new() } else { own_rows };
                return self.exists(&pk, &create, there.clone(), unneeded).await;
            }
        }
        Err(StoreError::Unavailable(format!("instance `{}` is started by too many at a time", create.instance)))
    }

    /// Puts the item of a new life: where nothing stands, or in the place of an old life that has not changed since it was read.
    async fn put_new(&self, item: &Attrs, old: Option<&Item>) -> Result<Attrs, Fail> {
        let (mut item, mut expr) = (item.clone(), Expr::default());
        match old {
            None => expr.only_if("attribute_not_exists(pk)"),
            Some(old) => {
                let dead: Vec<u8> = old.dead.iter().chain([&old.incarnation]).flat_map(|life| life.0).collect();
                item.insert("d".to_owned(), binary(dead));
                let (life, revision) = (expr.value(binary(old.incarnation.0)), expr.value(number(old.revision)));
                expr.only_if(format!("i = {life} AND r = {revision}"));
            }
        }
        let request = self
            .inner
            .client
            .put_item()
            .table_name(&self.inner.table)
            .set_item(Some(item.clone()))
            .condition_expression(expr.condition())
            .set_expression_attribute_values(expr.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let ask = Ask { operation: Operation::Create, action: "PutItem", repeatable: false };
        self.call(ask, || request.clone().send()).await?;
        Ok(item)
    }

    async fn stored(&self, pk: &str, create: &Create, put: Attrs) -> StoreResult<Committed> {
        let item = Item::read(put)?;
        let cleaned = self.clean(Operation::Create, pk, &item).await;
        Ok(Committed { token: self.token(&create.instance, item, create.header.fault.is_some(), cleaned), inbox: Vec::new() })
    }

    /// What stands there, if it still is what this start has written.
    async fn stored_before(&self, create: &Create) -> StoreResult<Option<Committed>> {
        let loaded = self.load_now(&create.instance, None).await?;
        let mine = |loaded: &Loaded| loaded.header.incarnation == create.header.incarnation && loaded.header.commit_id == create.header.commit_id;
        Ok(loaded.filter(mine).map(|loaded| Committed { token: loaded.token, inbox: loaded.inbox }))
    }

    /// The start is refused; this is who has the id. `unneeded`: rows of the start that nothing will ever name.
    async fn exists(&self, pk: &str, create: &Create, there: Item, unneeded: Vec<String>) -> StoreResult<Created> {
        // Rows of this very life may be in use: the start has come twice.
        if there.incarnation != create.header.incarnation
            && let Err(error) = self.delete_rows(Operation::Create, pk, unneeded).await
        {
            tracing::warn!(instance = %create.instance, %error, "rows of a start that was refused could not be removed");
        }
        let loaded = match self.complete(Operation::Create, &create.instance, there, None, None).await? {
            Whole::Is(loaded) => Some(*loaded),
            Whole::Moved => self.load_now(&create.instance, None).await?,
        };
        let gone = || StoreError::Unavailable(format!("instance `{}` was purged while it was started", create.instance));
        Ok(Created::Exists(Box::new(loaded.ok_or_else(gone)?)))
    }

    /// The item of a new life, and the rows that must stand before it.
    fn new_item(&self, pk: &str, create: &Create) -> (Attrs, Vec<Attrs>) {
        let (header, nonce) = (&create.header, spill::nonce());
        let life = header.incarnation;
        let history = history::append(pk, (life, header.execution), Shape::default(), &create.append, header.events);
        let mut rows = history.rows;
        let mut item = attrs::key(pk, keys::HEADER);
        let mut insert = |name: &str, value: AttributeValue| item.insert(name.to_owned(), value);
        if pk != format!("{}|{}", self.inner.hub.name(), create.instance) {
            insert("n", text(create.instance.as_str()));
        }
        insert("i", binary(life.0));
        insert("r", number(header.revision));
        insert("h", Stored::place(item::header(header), HEADER_IN_THE_ITEM, (pk, life), format!("{nonce}h"), &mut rows).attribute());
        let (ids, revisions) = item::ring(&header.ring);
        insert("g", ids);
        insert("e", revisions);
        insert("q", AttributeValue::L(Vec::new()));
        insert("b", AttributeValue::L(Vec::new()));
        insert("m", AttributeValue::M(HashMap::new()));
        insert("l", text(self.inner.hub.shard_of(&create.instance)));
        insert("c", text(keys::position(header.created, &create.instance)));
        if !history.shape.tail.is_empty() {
            insert("y", binary(history.shape.tail.to_vec()));
        }
        if let Some(big) = &history.shape.big {
            insert("z", number(history.shape.sealed));
            insert("k", text(big.text()));
        }
        for (name, payload) in [("a", Some(&create.input)), ("u", create.output.as_ref()), ("f", create.custom_status.as_ref())] {
            if let Some(payload) = payload.map(Payload::stored) {
                insert(name, Stored::place(payload.clone(), PAYLOAD_IN_THE_ITEM, (pk, life), format!("{nonce}{name}"), &mut rows).attribute());
            }
        }
        let busy = busy_until(header);
        if let Some(until) = busy {
            insert("x", number(until.0));
        }
        for (name, is) in [(RAISED, busy.is_some()), ("t", header.status.is_terminal()), ("o", !header.outbox.is_empty()), ("w", must_be_looked_at(header))] {
            if is {
                insert(name, flag());
            }
        }
        (item, rows)
    }
}
