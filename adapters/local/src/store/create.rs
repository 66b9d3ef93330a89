//! New instances: from outside, and as sub-orchestrations in the commit of their parent.
//!
//! The plain case is one INSERT and nothing else; whether the id is free is told by the insert itself.
//!
//! Must never: take an id from an instance that still has messages to hand on, or leave anything of a former life.

use bytes::Bytes;
use durable::Payload;
use durable::header::Header;
use durable::ids::InstanceId;
use durable::ports::{Committed, Create, Created, ReusePolicy};
use rusqlite::params;

use super::db::{Db, Found};
use super::error::{Res, Trouble};
use super::read::{self, Kind, RowState};
use super::record::{self, Appended};

/// A row to be inserted.
struct NewRow<'a> {
    id: &'a InstanceId,
    header: &'a Header,
    input: &'a Payload,
    output: Option<&'a Payload>,
    custom_status: Option<&'a Payload>,
    history: Appended,
}

/// What came of the start of a sub-orchestration.
pub(super) enum Started {
    /// It is new.
    Yes,
    /// It has been started before; it may have ended.
    Before,
    /// Another instance keeps the id.
    No,
}

impl Db {
    /// Stores a new instance, if the policy lets it have the id.
    pub fn create(&mut self, create: &Create) -> Res<Created> {
        if let Some(committed) = self.try_create(create)? {
            return Ok(Created::Created(committed));
        }
        let Some(old) = self.find(&create.instance)? else { return Err(Trouble::damaged("an id is in use by no instance")) };
        if !may_replace(&old, &create.header, create.policy) {
            return self.exists(&create.instance);
        }
        self.all_or_nothing(|db| {
            db.remove(&create.instance, &old)?;
            match db.try_create(create)? {
                Some(committed) => Ok(Created::Created(committed)),
                None => Err(Trouble::damaged("an id is in use by no instance")),
            }
        })
    }

    /// Stores a new instance if the id is free.
    fn try_create(&mut self, create: &Create) -> Res<Option<Committed>> {
        let payloads = [Some(&create.input), create.output.as_ref(), create.custom_status.as_ref()];
        let row = NewRow {
            id: &create.instance,
            header: &create.header,
            input: &create.input,
            output: create.output.as_ref(),
            custom_status: create.custom_status.as_ref(),
            history: record::append(0, &Bytes::new(), &create.append)?,
        };
        if create.deliveries.is_empty() && row.history.chunks.is_empty() && payloads.into_iter().all(record::is_inline) {
            let state = self.insert(row)?;
            return Ok(state.map(|state| Committed { token: state.into_token(), inbox: Vec::new() }));
        }
        self.all_or_nothing(|db| {
            let Some(state) = db.insert(row)? else { return Ok(None) };
            db.carry_out(&create.instance, &create.deliveries)?;
            let inbox = db.waiting(state.n)?;
            Ok(Some(Committed { token: state.into_token(), inbox }))
        })
    }

    /// Starts a sub-orchestration.
    pub fn start(&mut self, id: &InstanceId, header: &Header, input: &Payload) -> Res<Started> {
        let row = || NewRow { id, header, input, output: None, custom_status: None, history: Appended { sealed: 0, tail: Bytes::new(), chunks: Vec::new() } };
        if self.insert(row())?.is_some() {
            return Ok(Started::Yes);
        }
        let Some(old) = self.find(id)? else { return Err(Trouble::damaged("an id is in use by no instance")) };
        if old.header.incarnation == header.incarnation {
            return Ok(Started::Before);
        }
        if !may_replace(&old, header, ReusePolicy::ReplaceEnded) {
            return Ok(Started::No);
        }
        self.remove(id, &old)?;
        Ok(if self.insert(row())?.is_some() { Started::Yes } else { Started::No })
    }

    fn exists(&self, id: &InstanceId) -> Res<Created> {
        match self.load(id)? {
            Some(loaded) => Ok(Created::Exists(Box::new(loaded))),
            None => Err(Trouble::damaged("an id is in use by no instance")),
        }
    }

    /// Inserts a row with what belongs to it, unless the id is in use. More than one row is written only if something is large.
    fn insert(&mut self, row: NewRow<'_>) -> Res<Option<RowState>> {
        let n = self.take_number();
        let header = row.header;
        let mut spilled = 0;
        let input = record::place(Kind::Input, Some(row.input), &mut spilled);
        let output = record::place(Kind::Output, row.output, &mut spilled);
        let custom_status = record::place(Kind::CustomStatus, row.custom_status, &mut spilled);
        let sql = "INSERT INTO instances
                       (n, id, status, created, due, work, fault, incarnation, revision, sealed, spilled, header, tail, input, output, custom_status)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) ON CONFLICT (id) DO NOTHING";
        let inserted = self.conn.prepare_cached(sql)?.execute(params![
            n,
            row.id.as_str(),
            header.status as i64,
            header.created.0,
            header.due().map(|due| due.0),
            header.has_work(),
            record::fault(header),
            header.incarnation.0,
            read::signed(header.revision),
            read::signed(row.history.sealed),
            spilled,
            &header.to_bytes()[..],
            &row.history.tail[..],
            input,
            output,
            custom_status,
        ])?;
        if inserted == 0 {
            return Ok(None);
        }
        self.spill(n, Kind::Input, Some(row.input), false)?;
        self.spill(n, Kind::Output, row.output, false)?;
        self.spill(n, Kind::CustomStatus, row.custom_status, false)?;
        self.seal(n, &row.history.chunks)?;
        Ok(Some(RowState {
            opening: self.opening,
            id: row.id.clone(),
            n,
            incarnation: header.incarnation,
            revision: header.revision,
            sealed: row.history.sealed,
            spilled,
            tail: row.history.tail,
        }))
    }
}

/// True if a new instance may take the id of an old one.
fn may_replace(old: &Found, new: &Header, policy: ReusePolicy) -> bool {
    // The very same life: the start came twice. And nobody may be cut off from handing on what it owes to others.
    if old.header.incarnation == new.incarnation || !old.header.outbox.is_empty() {
        return false;
    }
    match policy {
        ReusePolicy::ReplaceEnded => old.header.status.is_terminal(),
        ReusePolicy::ReplaceAny => true,
        ReusePolicy::Never => false,
    }
}
