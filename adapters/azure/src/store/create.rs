//! New instances: an entry in the index of all instances, then one transaction of the header and its gate.
//!
//! Whether the id is free is told by the transaction itself. One whose outcome is not known is sent again, and knows its own first try by its
//! life and commit id. An id that is in use is taken by another transaction, on the condition that the old life still is what was met; it takes
//! the old gate away, so whoever is about to deliver to the old life finds none. Must never: take an id from an instance that owes messages to
//! others, or let a new life meet rows of an old one.

use durable::Payload;
use durable::ids::Incarnation;
use durable::ports::{Committed, Create, Created, Loaded, StoreError, StoreResult};
use durable_host::stores::{FIRST_PAUSE, pause_before};

use super::call::Fail;
use super::commit::{place_header, seen_first};
use super::history;
use super::item::Item;
use super::look::{Gate, Look};
use super::senders::Senders;
use super::stored::{self, Stored};
use super::{TableStore, keys, operation};
use crate::table::{Change, Entity, If};

/// How often a start is tried again because what it met has changed.
const TRIES: usize = 8;

impl TableStore {
    /// Stores a new instance, if the policy lets it have the id.
    pub(super) async fn create_now(&self, create: Create) -> StoreResult<Created> {
        debug_assert!(create.deliveries.is_empty(), "this store does not deliver in the commit: deliveries belong into the outbox");
        let pk = keys::partition(&create.instance);
        let (item, chunk, rows) = new_item(&pk, &create);
        let own: Vec<String> = rows.iter().map(|row| row.row.clone()).collect();
        self.enter(&item).await?;
        if create.header.fault.is_some() {
            self.note_fault(&create.instance, &create.header).await?;
        }
        let (mut old, mut written, mut tries): (Option<Look>, bool, usize) = (None, false, 0);
        let (mut unclear, mut pause, end) = (false, FIRST_PAUSE, self.end());
        while tries < TRIES {
            let gate = (!item.ended).then(|| keys::gate(item.incarnation, item.revision));
            let item = Item { dead: old.as_ref().map(|old| lives_of(&old.item)).unwrap_or_default(), ..item.clone() };
            let mut changes = put_new(&pk, &item, gate.as_deref(), old.as_ref());
            changes.extend(chunk.clone().map(Change::Put));
            let along = if written { Vec::new() } else { rows.clone() };
            written |= self.put_along(operation::CREATE, &mut changes, along).await?;
            let refusal = match self.transact(operation::CREATE, &changes).await {
                Ok(tags) => {
                    let tag = |n: usize| tags.get(n).cloned().flatten().unwrap_or_default();
                    let gate = gate.map(|row| Gate { row, tag: tag(1) });
                    return self.stored(&pk, &create, New { item: Item { tag: tag(0), ..item }, gate }, old).await;
                }
                Err(Fail::Refused(refusal)) => refusal,
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
            tracing::debug!(instance = %create.instance, %refusal, "a start meets another life");
            let before = std::mem::replace(&mut old, self.look_at_all(operation::CREATE, &pk, None).await?);
            let Some(there) = &old else { continue };
            if unclear
                && there.item.incarnation == create.header.incarnation
                && let Some(stored) = self.stored_before(&create).await?
            {
                self.leave_old(&item, before).await;
                return Ok(Created::Created(stored));
            }
            if there.item.purging && there.item.incarnation == create.header.incarnation {
                // The very same life, on its way out: what is left of it must not be taken for the new one's.
                self.purge_to_the_end(&create.instance, there.item.incarnation).await?;
                self.enter(&item).await?;
                (old, written) = (None, false);
            } else if !there.item.holder().gives_way_to(&create)
                && let Some(there) = old.take()
            {
                // A try that may still come names its rows and its entry; any other leaves nothing.
                let own = if written { own } else { Vec::new() };
                return self.exists(&pk, &create, there, (!unclear).then_some((&item, own))).await;
            }
        }
        Err(StoreError::Unavailable(format!("instance `{}` is started by too many at a time", create.instance)))
    }

    async fn stored(&self, pk: &str, create: &Create, new: New, old: Option<Look>) -> StoreResult<Created> {
        let New { item, gate } = new;
        self.leave_old(&item, old).await;
        let cleaned = self.clean(operation::CREATE, pk, &item).await;
        let seen = seen_first(self.inner.number, &create.instance, item, gate, create.header.fault.is_some(), cleaned);
        Ok(Created::Created(Committed { token: seen.token(), inbox: Vec::new() }))
    }

    /// Takes a life out of the index that a new one has replaced.
    async fn leave_old(&self, new: &Item, old: Option<Look>) {
        if let Some(old) = old.filter(|old| old.item.position != new.position) {
            self.leave(operation::CREATE, &old.item).await;
        }
    }

    /// What stands there, if it still is what this start has written.
    async fn stored_before(&self, create: &Create) -> StoreResult<Option<Committed>> {
        let loaded = self.load_now(operation::CREATE, &create.instance, None).await?;
        let mine = |loaded: &Loaded| loaded.header.incarnation == create.header.incarnation && loaded.header.commit_id == create.header.commit_id;
        Ok(loaded.filter(mine).map(|loaded| Committed { token: loaded.token, inbox: loaded.inbox }))
    }

    /// The start is refused; this is who has the id. `unneeded`: its entry and rows, which nothing will ever name.
    async fn exists(&self, pk: &str, create: &Create, there: Look, unneeded: Option<(&Item, Vec<String>)>) -> StoreResult<Created> {
        // Those of this very life may be in use: the start has come twice.
        if let Some((item, own)) = unneeded.filter(|_| there.item.incarnation != create.header.incarnation) {
            if there.item.position != item.position {
                self.leave(operation::CREATE, item).await;
            }
            if let Err(error) = self.delete_rows(operation::CREATE, pk, own).await {
                tracing::warn!(instance = %create.instance, %error, "rows of a start that was refused could not be removed");
            }
        }
        let loaded = match self.complete(operation::CREATE, &create.instance, there, None).await? {
            Some(loaded) => Some(loaded),
            None => self.load_now(operation::CREATE, &create.instance, None).await?,
        };
        let gone = || StoreError::Unavailable(format!("instance `{}` was purged while it was started", create.instance));
        Ok(Created::Exists(Box::new(loaded.ok_or_else(gone)?)))
    }
}

/// A life that has been stored.
struct New {
    item: Item,
    gate: Option<Gate>,
}

/// The lives that an instance's rows may be of.
fn lives_of(old: &Item) -> Vec<Incarnation> {
    old.dead.iter().chain([&old.incarnation]).copied().collect()
}

/// The transaction that stores a life: where nothing stands, or in the place of an old one. Its header stands first, its gate second.
fn put_new(pk: &str, item: &Item, gate: Option<&str>, old: Option<&Look>) -> Vec<Change> {
    let row = item.row(pk);
    let mut changes = vec![match old {
        None => Change::Insert(row),
        Some(old) => Change::Replace(row, If::Tag(old.item.tag.clone())),
    }];
    changes.extend(gate.map(|gate| Change::Insert(Entity::new(pk, gate).with("s", 0_u64))));
    changes.extend(old.and_then(|old| old.gate.as_ref()).map(|gate| Change::Delete(pk.to_owned(), gate.row.clone(), If::Exists)));
    changes
}

/// The header's row of a new life, its chunk if it begins with many events, and rows that only it names.
fn new_item(pk: &str, create: &Create) -> (Item, Option<Entity>, Vec<Entity>) {
    let (header, nonce) = (&create.header, stored::nonce());
    let life = header.incarnation;
    let appended = history::append(pk, (life, header.execution), (&bytes::Bytes::new(), 0), &create.append, header.events);
    let mut rows = appended.rows;
    let placed = place_header(pk, header, &nonce, &mut rows);
    let mut payload =
        |kind: char, payload: Option<&Payload>| payload.map(|payload| Stored::place(payload.stored().clone(), (pk, life), format!("{nonce}{kind}"), &mut rows));
    let (input, output) = (payload('a', Some(&create.input)), payload('u', create.output.as_ref()));
    let custom_status = payload('f', create.custom_status.as_ref());
    let item = Item {
        tag: String::new(),
        incarnation: life,
        revision: header.revision,
        header: Some(placed),
        ring: header.ring.clone(),
        ended: header.status.is_terminal(),
        owes: !header.outbox.is_empty(),
        purging: false,
        tail: appended.tail,
        sealed: appended.sealed,
        senders: Senders::default(),
        input,
        output,
        custom_status,
        dead: Vec::new(),
        position: keys::position(header.created, &create.instance, life),
        id: create.instance.as_str().to_owned(),
    };
    (item, appended.chunk, rows)
}
