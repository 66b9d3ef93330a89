//! A turn's commit: rows first, then one conditional write of the header's item, then what is not needed any more is removed.
//!
//! The condition is life and revision. Whatever stands in rows before it is named by nothing, so a crash in between leaves no trace; a lost
//! race removes its own rows again. Must never: decide anything by what the item was when it was read, but for what the condition guards.

use aws_sdk_dynamodb::types::TransactWriteItem;
use durable::Payload;
use durable::ids::InstanceId;
use durable::ports::{Commit, CommitOutcome, Committed, StoreError, StoreResult};
use durable_host::invoked::{busy_until, must_be_looked_at};
use durable_host::wakeups;

use super::attrs::{self, Attrs, binary, flag, number};
use super::capacity::Operation;
use super::expr::Expr;
use super::history::{self, Appended, Shape};
use super::item::{self, Item};
use super::load::{Seen, Whole, messages};
use super::senders::{self, InARow};
use super::spill::{self, Stored};
use super::write::{NotWritten, Refusal};
use super::{DynamoStore, RAISED, keys};

/// Payloads up to this size stand in the item.
pub(super) const PAYLOAD_IN_THE_ITEM: usize = 512;
/// A header up to this size stands in the item.
pub(super) const HEADER_IN_THE_ITEM: usize = 24 * 1024;
/// Messages that one commit takes at most: more removals would not fit into one request.
const TAKEN: usize = 200;
/// How often a commit is put together again because a sender's number has grown meanwhile.
const TRIES: usize = 8;

/// What a commit is made of, worked out before anything is written.
struct Prepared {
    history: Appended,
    header: Stored,
    input: Option<Stored>,
    output: Option<Stored>,
    custom_status: Option<Stored>,
    /// Rows that only this commit names.
    rows: Vec<Attrs>,
}

impl DynamoStore {
    /// Writes a turn. An error means that nothing was written.
    pub(super) async fn commit_now(&self, commit: Commit) -> StoreResult<CommitOutcome> {
        debug_assert!(commit.deliveries.is_empty(), "this store does not deliver in the commit: deliveries belong into the outbox");
        if commit.taken > TAKEN {
            return Err(StoreError::TooLarge { what: "the list of messages that a turn takes".to_owned(), bytes: commit.taken, max: TAKEN });
        }
        let pk = self.inner.hub.of(&commit.instance);
        let held;
        let seen = match self.seen(&commit) {
            Some(seen) => seen,
            None => match self.look(&pk, &commit.instance).await? {
                None => return Ok(CommitOutcome::Lost(None)),
                Some(found) => {
                    held = found;
                    &held
                }
            },
        };
        if seen.item.incarnation != commit.header.incarnation || seen.item.revision != commit.base {
            return self.lost(&commit.instance, seen.item.clone()).await;
        }
        let mut prepared = prepare(&pk, &commit, &seen.item);
        let own_rows: Vec<String> = prepared.rows.iter().filter_map(|row| attrs::text_in(row, "sk").map(str::to_owned)).collect();
        let before = prepared.history.seal.take().into_iter().chain(std::mem::take(&mut prepared.rows)).collect();
        self.put_rows(Operation::Commit, before).await?;
        if commit.header.fault.is_some() && !seen.faulted {
            self.note_fault(&commit.instance, &commit.header).await?;
        }
        self.write_commit(&pk, &commit, seen, &prepared, own_rows).await
    }

    /// The item as the turn found it, from the token.
    fn seen<'c>(&self, commit: &'c Commit) -> Option<&'c Seen> {
        let seen = commit.token.0.as_deref()?.downcast_ref::<Seen>()?;
        let fits = seen.store == self.inner.number
            && seen.instance == commit.instance
            && seen.item.incarnation == commit.header.incarnation
            && seen.item.revision == commit.base;
        fits.then_some(seen)
    }

    /// The item as it stands.
    async fn look(&self, pk: &str, instance: &InstanceId) -> StoreResult<Option<Seen>> {
        let item = self.get(Operation::Commit, pk, keys::HEADER, true, None).await?.map(Item::read).transpose()?;
        let Some(item) = item.filter(|item| !item.purging) else { return Ok(None) };
        let fetched = self.fetch(Operation::Commit, pk, item.incarnation, item.header.spilled().into_iter().collect()).await?;
        // A header that has gone meanwhile makes the commit lose in any case.
        let faulted = item.header_from(&fetched)?.is_some_and(|header| header.fault.is_some());
        Ok(Some(Seen { store: self.inner.number, instance: instance.clone(), item, faulted, cleaned: false }))
    }

    /// Writes the item, and follows up.
    async fn write_commit(&self, pk: &str, commit: &Commit, seen: &Seen, prepared: &Prepared, own_rows: Vec<String>) -> StoreResult<CommitOutcome> {
        let mut there = seen.item.clone();
        let mut higher: Vec<InARow> = Vec::new();
        for _ in 0..TRIES {
            let (expr, rows) = expression(commit, seen, &there, prepared);
            let rows: Vec<InARow> = rows.into_iter().filter(|row| !higher.contains(row)).collect();
            let writes: StoreResult<Vec<TransactWriteItem>> = rows.iter().map(|row| row.write(&self.inner.table, pk, there.incarnation)).collect();
            match self.write_item(Operation::Commit, pk, &expr, writes?, there.size).await {
                Ok(item) => return Ok(self.landed(pk, commit, seen, item).await),
                Err(NotWritten::NotDone(error)) => return Err(error),
                Err(NotWritten::Unknown(error)) => return Ok(CommitOutcome::Unknown(error)),
                Err(NotWritten::Refused(Refusal { by_the_item: false, by_rows, .. })) => {
                    // Those rows bear higher numbers already.
                    higher.extend(by_rows.into_iter().filter_map(|n| rows.get(n).cloned()));
                }
                Err(NotWritten::Refused(Refusal { item, .. })) => {
                    let winner = item.map(Item::read).transpose()?.filter(|winner| !winner.purging);
                    match winner {
                        // Only a sender's number has grown: the revision still is what the turn builds on.
                        Some(same) if seen.is(&same) => there = same,
                        winner => {
                            self.take_back(pk, commit, winner.as_ref(), own_rows).await;
                            return match winner {
                                Some(winner) => self.lost(&commit.instance, winner).await,
                                None => Ok(CommitOutcome::Lost(None)),
                            };
                        }
                    }
                }
            }
        }
        Err(StoreError::Unavailable(format!("instance `{}` is given too many messages at a time", commit.instance)))
    }

    /// Follows a commit up that has landed.
    async fn landed(&self, pk: &str, commit: &Commit, seen: &Seen, item: Option<Attrs>) -> CommitOutcome {
        let read = async {
            // A transaction does not tell what stands there now.
            let item = match item {
                Some(item) => Some(item),
                None => self.get(Operation::Commit, pk, keys::HEADER, true, None).await?,
            };
            let item = item.map(Item::read).transpose()?;
            let Some(item) = item.filter(|item| item.incarnation == commit.header.incarnation && item.revision == commit.header.revision) else {
                return Err(StoreError::Unavailable("somebody else has committed since".to_owned()));
            };
            let fetched = self.fetch(Operation::Commit, pk, item.incarnation, item.spilled_messages().collect()).await?;
            let inbox = messages(&item, &fetched)?.ok_or_else(|| StoreError::Unavailable("somebody else has committed since".to_owned()))?;
            Ok((item, inbox))
        };
        match read.await {
            Ok((item, inbox)) => {
                self.tidy(pk, commit, seen, &item).await;
                let token = self.token(&commit.instance, item, commit.header.fault.is_some(), seen.cleaned);
                CommitOutcome::Committed(Committed { token, inbox })
            }
            // It has landed, but what stands there cannot be told.
            Err(error) => CommitOutcome::Unknown(error),
        }
    }

    /// Removes rows that a commit has made unneeded. Best effort: a purge removes what is left.
    async fn tidy(&self, pk: &str, commit: &Commit, seen: &Seen, now: &Item) {
        let before = &seen.item;
        let payloads = [(&before.header, &now.header)].into_iter().map(|(old, new)| (Some(old), Some(new)));
        let others = [(&before.input, &now.input), (&before.output, &now.output), (&before.custom_status, &now.custom_status)];
        let replaced = payloads.chain(others.into_iter().map(|(old, new)| (old.as_ref(), new.as_ref()))).filter(|(old, new)| old != new);
        let taken = before.inbox.iter().take(commit.taken).map(|(_, body)| body);
        let gone = replaced.filter_map(|(old, _)| old).chain(taken).filter_map(Stored::spilled);
        let keys: Vec<String> = gone.flat_map(|spilled| spilled.keys(before.incarnation)).collect();
        let mut done = self.delete_rows(Operation::Commit, pk, keys).await;
        if done.is_ok() && commit.reset && before.sealed > 0 {
            done = self.remove_executions_before(Operation::Commit, pk, before.incarnation, commit.header.execution).await;
        }
        if done.is_ok() && seen.faulted && (commit.header.fault.is_none() || commit.header.status.is_terminal()) {
            done = self.forget_fault(&commit.instance, &commit.header).await;
        }
        if let Err(error) = done {
            tracing::warn!(instance = %commit.instance, %error, "rows that are not needed any more could not be removed");
        }
    }

    /// Removes the rows of a commit that lost, if it is sure that no commit ever named them. Best effort: a purge removes what is left.
    async fn take_back(&self, pk: &str, commit: &Commit, winner: Option<&Item>, own_rows: Vec<String>) {
        // A request can come through twice on its way: then the first may have landed, and others have built on it.
        let surely_lost = match winner {
            None => true,
            Some(winner) if winner.incarnation != commit.header.incarnation => true,
            Some(winner) => {
                let id = winner.header_from(&spill::Fetched::default()).ok().flatten().map(|header| header.commit_id);
                winner.revision == commit.header.revision && id.is_some_and(|id| id != commit.header.commit_id)
            }
        };
        if surely_lost && let Err(error) = self.delete_rows(Operation::Commit, pk, own_rows).await {
            tracing::warn!(instance = %commit.instance, %error, "rows of a commit that lost could not be removed");
        }
    }

    /// The commit has lost; this is what stands there.
    async fn lost(&self, instance: &InstanceId, winner: Item) -> StoreResult<CommitOutcome> {
        match self.complete(Operation::Commit, instance, winner, None, None).await? {
            Whole::Is(loaded) => Ok(CommitOutcome::Lost(Some(loaded))),
            Whole::Moved => Ok(CommitOutcome::Lost(self.load_now(instance, None).await?.map(Box::new))),
        }
    }
}

/// Works out what a commit writes.
fn prepare(pk: &str, commit: &Commit, there: &Item) -> Prepared {
    let life = there.incarnation;
    let shape = if commit.reset { Shape::default() } else { Shape { tail: there.tail.clone(), sealed: there.sealed, big: there.big.clone() } };
    let mut history = history::append(pk, (life, commit.header.execution), shape, &commit.append, commit.header.events);
    let mut rows = std::mem::take(&mut history.rows);
    let nonce = spill::nonce();
    let header = Stored::place(item::header(&commit.header), HEADER_IN_THE_ITEM, (pk, life), format!("{nonce}h"), &mut rows);
    let mut payload = |kind: char, payload: &Option<Payload>| {
        payload.as_ref().map(|p| Stored::place(p.stored().clone(), PAYLOAD_IN_THE_ITEM, (pk, life), format!("{nonce}{kind}"), &mut rows))
    };
    let (input, output, custom_status) = (payload('a', &commit.input), payload('u', &commit.output), payload('f', &commit.custom_status));
    Prepared { history, header, input, output, custom_status, rows }
}

/// The write of the item, and the senders whose numbers must go into rows with it.
fn expression(commit: &Commit, seen: &Seen, there: &Item, prepared: &Prepared) -> (Expr, Vec<InARow>) {
    let (header, mut expr) = (&commit.header, Expr::default());
    let (life, base) = (expr.value(binary(header.incarnation.0)), expr.value(number(commit.base)));
    // A life that was replaced can be started once more, by a client that had no answer: its header then bears another commit's id.
    let found = expr.value(seen.item.header.attribute());
    expr.only_if(format!("i = {life} AND r = {base} AND h = {found} AND attribute_not_exists(p)"));
    let rows = senders::note(commit.direct.iter().filter_map(|message| message.sender.as_ref()), &there.senders, &mut expr);
    expr.set("r", number(header.revision));
    expr.set("h", prepared.header.attribute());
    let (ids, revisions) = item::ring(&header.ring);
    expr.set("g", ids);
    expr.set("e", revisions);
    let shape = &prepared.history.shape;
    expr.set_or_remove("y", (!shape.tail.is_empty()).then(|| binary(shape.tail.to_vec())));
    expr.set_or_remove("z", (shape.sealed > 0).then(|| number(shape.sealed)));
    expr.set_or_remove("k", shape.big.as_ref().map(|big| attrs::text(big.text())));
    for (name, payload) in [("a", &prepared.input), ("u", &prepared.output), ("f", &prepared.custom_status)] {
        if let Some(payload) = payload {
            expr.set(name, payload.attribute());
        }
    }
    for (name, is) in [("t", header.status.is_terminal()), ("o", !header.outbox.is_empty()), ("w", leaves_work(commit, there))] {
        expr.set_or_remove(name, is.then(flag));
    }
    let busy = busy_until(header);
    expr.set_or_remove("x", busy.map(|until| number(until.0)));
    expr.set_or_remove(RAISED, wakeups::raised(there.busy, busy).then(flag));
    let mut bytes = 0;
    for (n, (_, body)) in seen.item.inbox.iter().take(commit.taken).enumerate() {
        bytes += body.len();
        expr.remove(format!("q[{n}]"));
        expr.remove(format!("b[{n}]"));
    }
    if bytes > 0 {
        expr.add("s", number(-(bytes as i64)));
    }
    if seen.cleaned && !seen.item.dead.is_empty() {
        expr.remove("d");
    }
    (expr, rows)
}

/// True if somebody must come back, as far as this driver can tell. What slips in meanwhile says so by its own write.
fn leaves_work(commit: &Commit, there: &Item) -> bool {
    must_be_looked_at(&commit.header) || there.inbox.len() > commit.taken
}
