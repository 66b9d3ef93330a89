//! A turn's commit: one transaction of the header, the gate, the rows of the messages that it takes, and what belongs to it.
//!
//! The header's tag guards it: a rival's commit makes it lose. The gate's tag tells whether a message has come since the inbox was read; then
//! the commit is made again without that condition, and the inbox is read behind it, for the caller must know what waits. Large things that do
//! not fit into the transaction stand in rows before it, named by nothing until it lands. Must never: answer a commit whose outcome is not
//! known as landed or as lost.

use durable::Payload;
use durable::header::Header;
use durable::ids::InstanceId;
use durable::limits;
use durable::ports::{Commit, CommitOutcome, Committed, Loaded, StoreError, StoreResult};

use super::call::Fail;
use super::history;
use super::item::{self, Item};
use super::load::{Kept, Seen, kept};
use super::look::Gate;
use super::stored::{self, Stored};
use super::{TableStore, keys, operation};
use crate::table::{Change, Entity, If, OPERATIONS};

/// How often a commit is put together again because messages have come, or something else is not as it was.
const TRIES: usize = 4;
/// Every so many executions what they have left is looked for, if the header does not tell that there is something.
const TIDIED_EVERY: u32 = 16;

/// What a commit writes, worked out before anything is written.
struct Prepared {
    /// The header's row as it will be.
    item: Item,
    /// Changes of rows that belong to it: a chunk, numbers of senders.
    beside: Vec<Change>,
    /// Rows that only this commit names.
    rows: Vec<Entity>,
}

impl TableStore {
    /// Writes a turn. An error means that nothing was written.
    pub(super) async fn commit_now(&self, commit: Commit) -> StoreResult<CommitOutcome> {
        debug_assert!(commit.deliveries.is_empty(), "this store does not deliver in the commit: deliveries belong into the outbox");
        let seen = match self.seen(&commit) {
            Some(seen) => seen.clone(),
            None => match self.load_now(operation::COMMIT, &commit.instance, None).await? {
                None => return Ok(CommitOutcome::Lost(None)),
                Some(there) => match seen_in(&there) {
                    Some(seen) if there.header.incarnation == commit.header.incarnation && there.header.revision == commit.base => seen.clone(),
                    _ => return Ok(CommitOutcome::Lost(Some(Box::new(there)))),
                },
            },
        };
        if seen.inbox.len() < commit.taken {
            return Err(StoreError::Unavailable(format!("a commit of `{}` takes {} of {} messages", commit.instance, commit.taken, seen.inbox.len())));
        }
        let pk = keys::partition(&commit.instance);
        let prepared = self.prepare(&pk, &commit, &seen).await?;
        if commit.header.fault.is_some() && !seen.faulted {
            self.note_fault(&commit.instance, &commit.header).await?;
        }
        self.write(&pk, &commit, seen, prepared).await
    }

    /// The instance as the turn found it, from the token.
    fn seen<'c>(&self, commit: &'c Commit) -> Option<&'c Seen> {
        let seen = commit.token.0.as_deref()?.downcast_ref::<Seen>()?;
        let fits = seen.store == self.inner.number
            && seen.instance == commit.instance
            && seen.item.incarnation == commit.header.incarnation
            && seen.item.revision == commit.base
            && !seen.item.tag.is_empty();
        fits.then_some(seen)
    }

    async fn prepare(&self, pk: &str, commit: &Commit, seen: &Seen) -> StoreResult<Prepared> {
        let (header, before) = (&commit.header, &seen.item);
        let life = before.incarnation;
        let (nothing, fresh) = (bytes::Bytes::new(), commit.reset);
        let shape = if fresh { (&nothing, 0) } else { (&before.tail, before.sealed) };
        let appended = history::append(pk, (life, header.execution), shape, &commit.append, header.events);
        let (mut rows, nonce) = (appended.rows, stored::nonce());
        let placed = place_header(pk, header, &nonce, &mut rows);
        let mut payload = |kind: char, payload: &Option<Payload>, before: &Option<Stored>| match payload {
            Some(payload) => Some(Stored::place(payload.stored().clone(), (pk, life), format!("{nonce}{kind}"), &mut rows)),
            None => before.clone(),
        };
        let (input, output, custom_status) = (
            payload('a', &commit.input, &before.input),
            payload('u', &commit.output, &before.output),
            payload('f', &commit.custom_status, &before.custom_status),
        );
        let mut senders = before.senders.clone();
        let taken = seen.inbox.iter().take(commit.taken).map(|kept| &kept.message);
        let others = senders.note(taken.chain(&commit.direct).filter_map(|message| message.sender.as_ref()));
        let mut beside = self.note_in_rows(operation::COMMIT, pk, life, others).await?;
        beside.extend(appended.chunk.map(Change::Put));
        let item = Item {
            tag: String::new(),
            revision: header.revision,
            header: Some(placed),
            ring: header.ring.clone(),
            ended: header.status.is_terminal(),
            owes: !header.outbox.is_empty(),
            tail: appended.tail,
            sealed: appended.sealed,
            senders,
            input,
            output,
            custom_status,
            dead: if seen.cleaned { Vec::new() } else { before.dead.clone() },
            ..before.clone()
        };
        let operations = 3 + commit.taken + beside.len();
        if operations > OPERATIONS {
            return Err(StoreError::TooLarge { what: "the list of rows that a turn changes".to_owned(), bytes: operations, max: OPERATIONS });
        }
        Ok(Prepared { item, beside, rows })
    }

    async fn write(&self, pk: &str, commit: &Commit, seen: Seen, prepared: Prepared) -> StoreResult<CommitOutcome> {
        let Prepared { item, beside, mut rows } = prepared;
        let own: Vec<String> = rows.iter().map(|row| row.row.clone()).collect();
        let (mut gate, mut written) = (seen.gate.clone(), false);
        // Without its tag the gate does not tell whether a message has come.
        let mut exactly = gate.as_ref().is_none_or(|gate| !gate.tag.is_empty());
        for _ in 0..TRIES {
            let new_gate = (!item.ended).then(|| keys::gate(item.incarnation, item.revision));
            let mut changes = vec![Change::Merge(item.since(&seen.item, pk), If::Tag(seen.item.tag.clone()))];
            if let Some(gate) = &gate {
                let condition = if exactly { If::Tag(gate.tag.clone()) } else { If::Exists };
                changes.push(Change::Delete(pk.to_owned(), gate.row.clone(), condition));
            }
            let of_new_gate = new_gate.as_ref().map(|row| {
                changes.push(Change::Insert(Entity::new(pk, row.as_str()).with("s", 0_u64)));
                changes.len() - 1
            });
            let taken = seen.inbox.iter().take(commit.taken);
            changes.extend(taken.map(|kept| Change::Delete(pk.to_owned(), kept.row.clone(), If::Exists)));
            changes.extend(beside.iter().cloned());
            // Rows that have been written need not be written again; others go with each try.
            let along = if written { Vec::new() } else { rows.clone() };
            if self.put_along(operation::COMMIT, &mut changes, along).await? {
                (written, rows) = (true, Vec::new());
            }
            let refusal = match self.transact(operation::COMMIT, &changes).await {
                Ok(tags) => {
                    let tag = |n: usize| tags.get(n).cloned().flatten();
                    let gate = of_new_gate.and_then(&tag).zip(new_gate).map(|(tag, row)| Gate { row, tag });
                    let known = (exactly && (item.ended || gate.is_some())).then(|| tag(0)).flatten();
                    let now = known.map(|tag| (Item { tag, ..item.clone() }, gate));
                    return Ok(self.landed(pk, commit, seen, now).await);
                }
                Err(Fail::Refused(refusal)) => refusal,
                Err(Fail::NotDone(error)) => return Err(error),
                Err(Fail::Unknown(error)) => return Ok(CommitOutcome::Unknown(error)),
            };
            match refusal.index {
                Some(1) if gate.is_some() && refusal.status == 412 => exactly = false,
                // The header has changed, or something that only a commit changes.
                _ => match self.load_now(operation::COMMIT, &commit.instance, None).await? {
                    Some(there) if seen_in(&there).is_some_and(|now| now.item.tag == seen.item.tag) => {
                        tracing::warn!(instance = %commit.instance, %refusal, "a commit is put together again");
                        (gate, exactly) = (seen_in(&there).and_then(|seen| seen.gate.clone()), true);
                    }
                    there => {
                        if written {
                            self.take_back(pk, commit, there.as_ref(), own).await;
                        }
                        return Ok(CommitOutcome::Lost(there.map(Box::new)));
                    }
                },
            }
        }
        Err(StoreError::Unavailable(format!("instance `{}` does not stand still for a commit", commit.instance)))
    }

    /// Follows a commit up that has landed. `now`: what stands there, if the commit told that nothing has come meanwhile.
    async fn landed(&self, pk: &str, commit: &Commit, seen: Seen, now: Option<(Item, Option<Gate>)>) -> CommitOutcome {
        let faulted = commit.header.fault.is_some();
        let found = match now {
            Some((item, gate)) => Ok((item, gate, seen.inbox[commit.taken..].to_vec())),
            None => self.what_stands(pk, commit).await,
        };
        match found {
            Ok((item, gate, inbox)) => {
                self.tidy(pk, commit, &seen, &item).await;
                let cleaned = seen.cleaned || item.dead.is_empty();
                let seen = Seen { item, gate, inbox, faulted, cleaned, ..seen };
                CommitOutcome::Committed(Committed { inbox: seen.messages(), token: seen.token() })
            }
            // It has landed, but what stands there cannot be told.
            Err(error) => CommitOutcome::Unknown(error),
        }
    }

    /// What stands there behind a commit.
    async fn what_stands(&self, pk: &str, commit: &Commit) -> StoreResult<(Item, Option<Gate>, Vec<Kept>)> {
        let gone = || StoreError::Unavailable("somebody else has committed since".to_owned());
        let look = self.look(operation::COMMIT, &commit.instance, None).await?.ok_or_else(gone)?;
        if look.item.incarnation != commit.header.incarnation || look.item.revision != commit.header.revision {
            return Err(gone());
        }
        let bodies = look.inbox.iter().filter_map(|waiting| waiting.body.as_ref()?.spilled()).collect();
        let fetched = self.fetch(operation::COMMIT, pk, look.item.incarnation, bodies).await?;
        let inbox = kept(&look, &fetched)?.ok_or_else(gone)?;
        Ok((look.item, look.gate, inbox))
    }

    /// Removes rows that a commit has made unneeded. Best effort: a purge removes what is left.
    async fn tidy(&self, pk: &str, commit: &Commit, seen: &Seen, now: &Item) {
        let before = &seen.item;
        let pairs = [(&before.header, &now.header), (&before.input, &now.input), (&before.output, &now.output), (&before.custom_status, &now.custom_status)];
        let replaced = pairs.into_iter().filter(|(old, new)| old != new).filter_map(|(old, _)| old.as_ref());
        let taken = seen.inbox.iter().take(commit.taken).map(|kept| &kept.body);
        let gone: Vec<String> = replaced.chain(taken).filter_map(Stored::spilled).flat_map(|spilled| spilled.rows(before.incarnation)).collect();
        let mut done = self.delete_rows(operation::COMMIT, pk, gone).await;
        if done.is_ok() && commit.reset && (before.sealed > 0 || commit.header.execution.is_multiple_of(TIDIED_EVERY)) {
            let forgotten = commit.header.last_now.0.saturating_sub(i64::try_from(limits::KEYED_FOR.as_micros()).unwrap_or(i64::MAX));
            done = self.remove_before(operation::COMMIT, pk, before.incarnation, commit.header.execution, forgotten).await;
        }
        if done.is_ok() && seen.faulted && (commit.header.fault.is_none() || commit.header.status.is_terminal()) {
            done = self.forget_fault(&commit.instance, &commit.header).await;
        }
        if let Err(error) = done {
            tracing::warn!(instance = %commit.instance, %error, "rows that are not needed any more could not be removed");
        }
    }

    /// Removes the rows of a commit that lost, if it is sure that no commit ever named them. Best effort: a purge removes what is left.
    async fn take_back(&self, pk: &str, commit: &Commit, winner: Option<&Loaded>, own: Vec<String>) {
        // A request can come through twice on its way: then the first may have landed, and others have built on it.
        let surely_lost = winner.is_none_or(|winner| {
            let (there, mine) = (&winner.header, &commit.header);
            there.incarnation != mine.incarnation || (there.revision == mine.revision && there.commit_id != mine.commit_id)
        });
        if surely_lost && let Err(error) = self.delete_rows(operation::COMMIT, pk, own).await {
            tracing::warn!(instance = %commit.instance, %error, "rows of a commit that lost could not be removed");
        }
    }
}

/// What a load has put into its token.
fn seen_in(loaded: &Loaded) -> Option<&Seen> {
    loaded.token.0.as_deref()?.downcast_ref::<Seen>()
}

/// The core's header, in the row or in rows.
pub(super) fn place_header(pk: &str, header: &Header, nonce: &str, rows: &mut Vec<Entity>) -> Stored {
    Stored::place(item::header(header), (pk, header.incarnation), format!("{nonce}h"), rows)
}

/// An instance that has not been seen by anybody before it was stored.
pub(super) fn seen_first(store: u64, instance: &InstanceId, item: Item, gate: Option<Gate>, faulted: bool, cleaned: bool) -> Seen {
    Seen { store, instance: instance.clone(), item, gate, inbox: Vec::new(), faulted, cleaned }
}
