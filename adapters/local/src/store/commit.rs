//! A turn's commit. The common one is one UPDATE of one row, guarded by life and revision, and nothing else.
//!
//! Must never: overwrite what another driver has written, or leave half of a turn.

use std::borrow::Cow;

use bytes::Bytes;
use durable::InstanceId;
use durable::header::Delivery;
use durable::machine::end_of_child;
use durable::ports::{Commit, CommitOutcome, Committed};
use rusqlite::params;

use super::create::Started;
use super::db::Db;
use super::error::Res;
use super::read::{self, Kind, RowState};
use super::record::{self, Appended};

impl Db {
    /// Writes a turn, if the instance is still where the turn began.
    pub fn commit(&mut self, commit: &Commit) -> Res<CommitOutcome> {
        let Some(state) = self.state_for(commit)? else { return self.lost(commit) };
        let (sealed, tail) = if commit.reset { (0, Bytes::new()) } else { (state.sealed, state.tail.clone()) };
        let history = record::append(sealed, &tail, &commit.append)?;
        let payloads = [(Kind::Input, commit.input.as_ref()), (Kind::Output, commit.output.as_ref()), (Kind::CustomStatus, commit.custom_status.as_ref())];
        let in_the_row = |(kind, payload): (Kind, _)| record::is_inline(payload) && (payload.is_none() || state.spilled & kind.bit() == 0);
        let one_row = !(commit.reset && state.sealed > 0)
            && history.chunks.is_empty()
            && commit.deliveries.is_empty()
            && (commit.taken == 0 || !self.inboxes.contains_key(&state.n))
            && commit.direct.iter().all(|message| message.sender.is_none())
            && payloads.into_iter().all(in_the_row);
        let done = if one_row {
            self.update(&state, commit, history)?
        } else {
            self.all_or_nothing(|db| {
                let updated = db.update(&state, commit, history)?;
                if updated.is_some() {
                    db.all_else(state.n, commit)?;
                }
                Ok(updated)
            })?
        };
        match done {
            Some(new) => {
                let inbox = self.waiting(new.n)?;
                Ok(CommitOutcome::Committed(Committed { token: new.into_token(), inbox }))
            }
            None => self.lost(commit),
        }
    }

    /// The row as the turn found it: from the token, or from the row if that is still there and still the same.
    fn state_for<'c>(&self, commit: &'c Commit) -> Res<Option<Cow<'c, RowState>>> {
        let fits = |state: &RowState| state.id == commit.instance && state.incarnation == commit.header.incarnation && state.revision == commit.base;
        let token = commit.token.0.as_deref().and_then(|any| any.downcast_ref::<RowState>());
        if let Some(state) = token.filter(|state| state.opening == self.opening && fits(state)) {
            return Ok(Some(Cow::Borrowed(state)));
        }
        Ok(self.row_state(&commit.instance)?.filter(fits).map(Cow::Owned))
    }

    fn lost(&self, commit: &Commit) -> Res<CommitOutcome> {
        Ok(CommitOutcome::Lost(self.load(&commit.instance)?.map(Box::new)))
    }

    /// Updates the row, if it still is as the turn found it. Payloads that are or become large have rows of their own.
    fn update(&mut self, state: &RowState, commit: &Commit, history: Appended) -> Res<Option<RowState>> {
        let header = &commit.header;
        let header_bytes = header.to_bytes();
        let guard = (state.n, state.incarnation.0, read::signed(commit.base));
        let unchanged = commit.input.is_none() && commit.output.is_none() && commit.custom_status.is_none();
        let mut spilled = state.spilled;
        let updated = if unchanged {
            let sql = "UPDATE instances SET status = ?4, due = ?5, work = ?6, fault = ?7, revision = ?8, sealed = ?9, header = ?10, tail = ?11
                       WHERE n = ?1 AND incarnation = ?2 AND revision = ?3";
            self.conn.prepare_cached(sql)?.execute(params![
                guard.0,
                guard.1,
                guard.2,
                header.status as i64,
                header.due().map(|due| due.0),
                header.has_work(),
                record::fault(header),
                read::signed(header.revision),
                read::signed(history.sealed),
                &header_bytes[..],
                &history.tail[..],
            ])?
        } else {
            // What is not given stays.
            let input = record::place(Kind::Input, commit.input.as_ref(), &mut spilled);
            let output = record::place(Kind::Output, commit.output.as_ref(), &mut spilled);
            let custom_status = record::place(Kind::CustomStatus, commit.custom_status.as_ref(), &mut spilled);
            let sql = "UPDATE instances SET status = ?4, due = ?5, work = ?6, fault = ?7, revision = ?8, sealed = ?9, header = ?10, tail = ?11,
                           spilled = ?12, input = iif(?13, ?14, input), output = iif(?15, ?16, output), custom_status = iif(?17, ?18, custom_status)
                       WHERE n = ?1 AND incarnation = ?2 AND revision = ?3";
            self.conn.prepare_cached(sql)?.execute(params![
                guard.0,
                guard.1,
                guard.2,
                header.status as i64,
                header.due().map(|due| due.0),
                header.has_work(),
                record::fault(header),
                read::signed(header.revision),
                read::signed(history.sealed),
                &header_bytes[..],
                &history.tail[..],
                spilled,
                commit.input.is_some(),
                input,
                commit.output.is_some(),
                output,
                commit.custom_status.is_some(),
                custom_status,
            ])?
        };
        if updated == 0 {
            return Ok(None);
        }
        for (kind, payload) in [(Kind::Input, &commit.input), (Kind::Output, &commit.output), (Kind::CustomStatus, &commit.custom_status)] {
            self.spill(state.n, kind, payload.as_ref(), state.spilled & kind.bit() != 0)?;
        }
        if commit.reset && state.sealed > 0 {
            self.conn.prepare_cached("DELETE FROM chunks WHERE instance = ?1")?.execute([state.n])?;
        }
        self.seal(state.n, &history.chunks)?;
        Ok(Some(RowState { revision: header.revision, sealed: history.sealed, spilled, tail: history.tail, ..state.clone() }))
    }

    /// What a turn does outside of its row and history.
    fn all_else(&mut self, n: i64, commit: &Commit) -> Res<()> {
        self.take(n, commit.taken)?;
        for sender in commit.direct.iter().filter_map(|message| message.sender.as_ref()) {
            self.note_sender(n, sender)?;
        }
        self.carry_out(&commit.instance, &commit.deliveries)
    }

    /// Does what a turn of the instance `from` asks of others, in order.
    pub fn carry_out(&mut self, from: &InstanceId, deliveries: &[Delivery]) -> Res<()> {
        for delivery in deliveries {
            match delivery {
                Delivery::Message { to, incarnation, message } => self.hand_over(to, *incarnation, message)?,
                Delivery::Start { instance, header, input, if_refused } => {
                    // An instance never replaces itself in its own last commit.
                    let started = if instance == from { Started::No } else { self.start(instance, header, input)? };
                    let told = match started {
                        Started::Yes => None,
                        Started::Before => self.load(instance)?.and_then(|there| end_of_child(instance, &there.header, there.output.as_ref())),
                        Started::No => if_refused.clone(),
                    };
                    if let Some(message) = told {
                        self.hand_over(from, None, &message)?;
                    }
                }
            }
        }
        Ok(())
    }
}
