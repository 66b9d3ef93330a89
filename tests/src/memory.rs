//! A store in memory: simple, and obviously right. Other stores are compared with it.
//!
//! One lock guards everything, so each call is one step. Headers and messages pass through their stored form, so that encoding is exercised.
//! A call that breaks the rules of the port (a wrong revision in the new header, a count of events that does not add up) panics with a
//! sentence, because that is a mistake of the caller which a real store could not notice.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use durable::header::{Delivery, Header};
use durable::history::EventBytes;
use durable::ids::{CommitId, Incarnation, MessageId};
use durable::machine::end_of_child;
use durable::message::{Message, Sender};
use durable::ports::{
    Commit, CommitOutcome, Committed, Create, Created, Delivered, Known, ListQuery, Loaded, Page, PageToken, PortFuture, Purge, ReusePolicy, StatusRecord,
    Store, StoreError, StoreResult, Token,
};
use durable::{InstanceId, Payload, Timestamp, limits};

/// A store in memory. Clones share what is stored.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    /// Tells tokens of one store from those of another.
    number: u64,
    delivers_atomically: bool,
    /// How many messages an inbox holds.
    room: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<InstanceId, Row>,
    /// Instances created so far, whatever became of them: the order of creation.
    created: u64,
}

#[derive(Debug)]
struct Row {
    order: u64,
    header: Bytes,
    input: Payload,
    output: Option<Payload>,
    custom_status: Option<Payload>,
    events: Vec<EventBytes>,
    inbox: Vec<Message>,
    /// The highest number consumed, for each sender and life of it.
    senders: BTreeMap<(InstanceId, Incarnation), u64>,
    /// Ids of keyed messages, oldest first.
    keys: Vec<(MessageId, Timestamp)>,
}

/// What a commit is handed back from the load or commit before.
struct Seen {
    store: u64,
    instance: InstanceId,
    incarnation: Incarnation,
    revision: u64,
    /// Tells a life that was started once more, after it had been replaced, from the one that was read.
    commit_id: CommitId,
}

impl MemoryStore {
    /// An empty store. With `delivers_atomically`, [`Commit::deliveries`] are carried out in the commit; without, they must be empty.
    #[must_use]
    pub fn new(delivers_atomically: bool) -> Self {
        static STORES: AtomicU64 = AtomicU64::new(1);
        Self { number: STORES.fetch_add(1, Ordering::Relaxed), delivers_atomically, room: limits::INBOX_MESSAGES, state: Arc::default() }
    }

    /// The same store, whose inboxes hold so many messages.
    #[must_use]
    pub fn with_room_for(self, messages: usize) -> Self {
        Self { room: messages, ..self }
    }

    /// Instances that somebody must drive now: something is left to do, or messages wait. In order of their ids.
    #[must_use]
    pub fn runnable(&self) -> Vec<InstanceId> {
        let state = self.lock();
        state.rows.iter().filter(|(_, row)| !row.inbox.is_empty() || row.header().has_work()).map(|(id, _)| id.clone()).collect()
    }

    /// Instances that must be looked at by the clock, the earliest first.
    #[must_use]
    pub fn due(&self) -> Vec<(Timestamp, InstanceId)> {
        let state = self.lock();
        let mut due: Vec<_> = state.rows.iter().filter_map(|(id, row)| Some((row.header().due()?, id.clone()))).collect();
        due.sort();
        due
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one step under the lock, when the future is polled.
    fn step<T: Send + 'static>(&self, step: impl FnOnce(&Self, &mut State) -> T + Send + 'static) -> PortFuture<T> {
        let store = self.clone();
        Box::pin(async move { step(&store, &mut store.lock()) })
    }

    fn token(&self, instance: &InstanceId, header: &Header) -> Token {
        let (incarnation, revision, commit_id) = (header.incarnation, header.revision, header.commit_id);
        let seen = Seen { store: self.number, instance: instance.clone(), incarnation, revision, commit_id };
        Token(Some(Arc::new(seen) as Arc<dyn Any + Send + Sync>))
    }

    /// What a commit builds on, as its token says.
    fn check_token(&self, commit: &Commit) -> Option<CommitId> {
        let seen = commit.token.0.as_ref()?.downcast_ref::<Seen>().expect("the token of a commit is one that this kind of store gave");
        assert_eq!(seen.store, self.number, "the token of a commit comes from the same store");
        assert_eq!(seen.instance, commit.instance, "the token of a commit comes from the same instance");
        assert_eq!(seen.incarnation, commit.header.incarnation, "the token of a commit comes from the same life");
        assert_eq!(seen.revision, commit.base, "the token of a commit comes from the load or commit that it builds on");
        Some(seen.commit_id)
    }

    fn loaded(&self, instance: &InstanceId, row: &Row, known: Option<Known>) -> Loaded {
        let header = row.header();
        let first_event = match known {
            Some(k) if k.incarnation == header.incarnation && k.execution == header.execution && k.events <= row.events.len() as u64 => k.events,
            _ => 0,
        };
        Loaded {
            input: row.input.clone(),
            custom_status: row.custom_status.clone(),
            output: row.output.clone(),
            inbox: row.inbox.clone(),
            first_event,
            events: row.events[first_event as usize..].to_vec(),
            token: self.token(instance, &header),
            header,
        }
    }

    fn committed(&self, state: &State, instance: &InstanceId) -> Committed {
        let row = &state.rows[instance];
        Committed { token: self.token(instance, &row.header()), inbox: row.inbox.clone() }
    }

    fn create_now(&self, state: &mut State, create: Create) -> Created {
        assert_eq!(create.header.revision, 1, "a new instance has revision 1");
        assert_eq!(create.header.events, create.append.len() as u64, "a new header counts the events that come with it");
        self.check_deliveries(&create.deliveries);
        if let Some(row) = state.rows.get(&create.instance) {
            let header = row.header();
            let replace = match create.policy {
                ReusePolicy::ReplaceEnded => header.status.is_terminal(),
                ReusePolicy::ReplaceAny => true,
                ReusePolicy::Never => false,
            };
            if header.incarnation == create.header.incarnation || !replace || !header.outbox.is_empty() {
                return Created::Exists(Box::new(self.loaded(&create.instance, row, None)));
            }
        }
        let Create { instance, header, input, output, custom_status, append, deliveries, policy: _ } = create;
        let row = Row { output, custom_status, events: append, ..state.new_row(&header, input) };
        state.rows.insert(instance.clone(), row);
        state.hand_on(&instance, deliveries);
        Created::Created(self.committed(state, &instance))
    }

    fn commit_now(&self, state: &mut State, commit: Commit) -> CommitOutcome {
        let builds_on = self.check_token(&commit);
        self.check_deliveries(&commit.deliveries);
        assert_eq!(commit.header.revision, commit.base + 1, "a commit's header bears the revision after the one it builds on");
        assert!(commit.input.is_none() || commit.reset, "a new input comes only with a reset");
        assert!(commit.output.is_none() || commit.header.status.is_terminal(), "an output comes only with a terminal status");
        let Some(row) = state.rows.get_mut(&commit.instance) else { return CommitOutcome::Lost(None) };
        let stored = row.header();
        let same = stored.incarnation == commit.header.incarnation && stored.revision == commit.base;
        if !same || builds_on.is_some_and(|id| id != stored.commit_id) {
            return CommitOutcome::Lost(Some(Box::new(self.loaded(&commit.instance, row, None))));
        }
        assert_eq!(commit.reset, stored.execution != commit.header.execution, "history begins afresh exactly when the execution changes");
        assert!(commit.taken <= row.inbox.len(), "a turn takes what stands in the inbox");

        let taken: Vec<Message> = row.inbox.drain(..commit.taken).collect();
        for message in taken.iter().chain(&commit.direct) {
            row.remember_sender(message);
        }
        if commit.reset {
            row.events.clear();
        }
        row.events.extend(commit.append);
        assert_eq!(commit.header.events, row.events.len() as u64, "a commit's header counts the events of the execution");
        row.header = commit.header.to_bytes();
        row.input = commit.input.unwrap_or_else(|| row.input.clone());
        row.output = commit.output.or_else(|| row.output.take());
        row.custom_status = commit.custom_status.or_else(|| row.custom_status.take());
        state.hand_on(&commit.instance, commit.deliveries);
        CommitOutcome::Committed(self.committed(state, &commit.instance))
    }

    fn check_deliveries(&self, deliveries: &[Delivery]) {
        assert!(self.delivers_atomically || deliveries.is_empty(), "this store does not deliver in the commit: deliveries belong into the outbox");
    }

    fn list_now(&self, state: &State, query: &ListQuery, token: Option<&PageToken>) -> StoreResult<Page> {
        let after = token.map_or(Ok(0), |t| self.read_page_token(t))?;
        let top = if query.top == 0 { 100 } else { query.top };
        let mut rows: Vec<_> = state.rows.iter().filter(|(id, row)| row.order > after && matches(query, id, &row.header())).collect();
        rows.sort_by_key(|(_, row)| row.order);
        let next = (rows.len() > top).then(|| PageToken(format!("memory-{}-{}", self.number, rows[top - 1].1.order)));
        rows.truncate(top);
        Ok(Page { items: rows.into_iter().map(|(id, row)| row.status(id)).collect(), next })
    }

    fn read_page_token(&self, token: &PageToken) -> StoreResult<u64> {
        let mine = format!("memory-{}-", self.number);
        token.0.strip_prefix(&mine).and_then(|order| order.parse().ok()).ok_or(StoreError::BadPageToken)
    }
}

fn matches(query: &ListQuery, id: &InstanceId, header: &Header) -> bool {
    query.prefix.as_ref().is_none_or(|prefix| id.as_str().starts_with(prefix.as_str()))
        && query.created_from.is_none_or(|from| from <= header.created)
        && query.created_to.is_none_or(|to| header.created <= to)
        && (query.status.is_empty() || query.status.contains(&header.status))
}

fn through_stored_form(message: &Message) -> Message {
    Message::from_bytes(&message.to_bytes()).expect("a message reads back from its stored form")
}

impl State {
    fn new_row(&mut self, header: &Header, input: Payload) -> Row {
        self.created += 1;
        Row {
            order: self.created,
            header: header.to_bytes(),
            input,
            output: None,
            custom_status: None,
            events: Vec::new(),
            inbox: Vec::new(),
            senders: BTreeMap::new(),
            keys: Vec::new(),
        }
    }

    /// Carries out what a commit of `from` asks of other instances, in order.
    fn hand_on(&mut self, from: &InstanceId, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            match delivery {
                Delivery::Message { to, incarnation, message } => self.drop_in(&to, incarnation, &message),
                Delivery::Start { instance, header, input, if_refused } => {
                    let there = self.rows.get(&instance).map(|row| (row.header(), row.output.clone()));
                    let free = match there {
                        None => true,
                        Some((there, output)) if there.incarnation == header.incarnation => {
                            if let Some(ended) = end_of_child(&instance, &there, output.as_ref()) {
                                self.drop_in(from, None, &ended);
                            }
                            continue;
                        }
                        // An instance never replaces itself in its own last commit: that would undo the commit.
                        Some((there, _)) => instance != *from && there.status.is_terminal() && there.outbox.is_empty(),
                    };
                    if free {
                        let row = self.new_row(&header, input);
                        self.rows.insert(instance, row);
                    } else if let Some(refusal) = if_refused {
                        self.drop_in(from, None, &refusal);
                    }
                }
            }
        }
    }

    /// A message from a commit: whoever cannot take it drops it, but a full inbox does not, for nobody would send it again.
    fn drop_in(&mut self, to: &InstanceId, incarnation: Option<Incarnation>, message: &Message) {
        if let Some(row) = self.rows.get_mut(to)
            && row.refuses(incarnation, message).is_none()
        {
            row.inbox.push(through_stored_form(message));
        }
    }

    fn deliver(&mut self, instance: &InstanceId, incarnation: Option<Incarnation>, message: &Message, room: usize) -> Delivered {
        let Some(row) = self.rows.get_mut(instance) else { return Delivered::NotFound };
        if let Some(refused) = row.refuses(incarnation, message) {
            return refused;
        }
        if row.is_full_for(message, room) {
            return Delivered::Full;
        }
        row.remember_key(message);
        row.inbox.push(through_stored_form(message));
        Delivered::Delivered
    }

    fn purge(&mut self, instance: &InstanceId) -> Purge {
        let Some(header) = self.rows.get(instance).map(Row::header) else { return Purge::NotFound };
        if !header.status.is_terminal() {
            return Purge::NotFinished;
        }
        if !header.outbox.is_empty() {
            return Purge::Busy;
        }
        self.rows.remove(instance);
        Purge::Done
    }
}

impl Row {
    fn header(&self) -> Header {
        Header::from_bytes(&self.header).expect("a header reads back from its stored form")
    }

    /// Why a message cannot be taken in, whatever room there is.
    fn refuses(&self, incarnation: Option<Incarnation>, message: &Message) -> Option<Delivered> {
        let header = self.header();
        if incarnation.is_some_and(|life| life != header.incarnation) {
            Some(Delivered::NotFound)
        } else if header.in_ring(&message.id)
            || self.inbox.iter().any(|m| m.id == message.id)
            || self.has_number(message.sender.as_ref())
            || self.has_key(message)
        {
            Some(Delivered::Duplicate)
        } else if header.status.is_terminal() {
            Some(Delivered::Finished)
        } else {
            None
        }
    }

    /// True if this or a higher number of the sender has been taken or stands in the inbox.
    fn has_number(&self, sender: Option<&Sender>) -> bool {
        let Some(sender) = sender else { return false };
        let key = (sender.instance.clone(), sender.life);
        let consumed = self.senders.get(&key).is_some_and(|highest| sender.number <= *highest);
        consumed
            || self.inbox.iter().filter_map(|m| m.sender.as_ref()).any(|s| s.instance == sender.instance && s.life == sender.life && sender.number <= s.number)
    }

    fn has_key(&self, message: &Message) -> bool {
        message.keyed && self.keys.iter().any(|(id, at)| *id == message.id && message.arrived < at.after(limits::KEYED_FOR))
    }

    fn remember_key(&mut self, message: &Message) {
        if message.keyed {
            self.keys.push((message.id, message.arrived));
            self.keys.retain(|(_, at)| message.arrived < at.after(limits::KEYED_FOR));
            let surplus = self.keys.len().saturating_sub(limits::KEYED_IDS);
            self.keys.drain(..surplus);
        }
    }

    fn remember_sender(&mut self, message: &Message) {
        if let Some(sender) = &message.sender {
            let highest = self.senders.entry((sender.instance.clone(), sender.life)).or_default();
            *highest = sender.number.max(*highest);
        }
    }

    /// A message that alone is as large as the limit still fits into an empty inbox.
    fn is_full_for(&self, message: &Message, room: usize) -> bool {
        let bytes: usize = self.inbox.iter().map(Message::size).sum();
        self.inbox.len() >= room || (!self.inbox.is_empty() && bytes + message.size() > limits::INBOX_BYTES)
    }

    fn status(&self, instance: &InstanceId) -> StatusRecord {
        StatusRecord {
            instance: instance.clone(),
            header: self.header(),
            input: self.input.clone(),
            output: self.output.clone(),
            custom_status: self.custom_status.clone(),
        }
    }
}

impl Store for MemoryStore {
    fn delivers_atomically(&self) -> bool {
        self.delivers_atomically
    }

    fn create(&self, create: Create) -> PortFuture<StoreResult<Created>> {
        self.step(move |store, state| Ok(store.create_now(state, create)))
    }

    fn load(&self, instance: &InstanceId, known: Option<Known>) -> PortFuture<StoreResult<Option<Loaded>>> {
        let instance = instance.clone();
        self.step(move |store, state| Ok(state.rows.get(&instance).map(|row| store.loaded(&instance, row, known))))
    }

    fn status(&self, instance: &InstanceId) -> PortFuture<StoreResult<Option<StatusRecord>>> {
        let instance = instance.clone();
        self.step(move |_, state| Ok(state.rows.get(&instance).map(|row| row.status(&instance))))
    }

    fn commit(&self, commit: Commit) -> PortFuture<CommitOutcome> {
        self.step(move |store, state| store.commit_now(state, commit))
    }

    fn deliver(&self, instance: &InstanceId, incarnation: Option<Incarnation>, message: Message) -> PortFuture<StoreResult<Delivered>> {
        let instance = instance.clone();
        self.step(move |store, state| Ok(state.deliver(&instance, incarnation, &message, store.room)))
    }

    fn list(&self, query: ListQuery, token: Option<PageToken>) -> PortFuture<StoreResult<Page>> {
        self.step(move |store, state| store.list_now(state, &query, token.as_ref()))
    }

    fn history(&self, instance: &InstanceId, incarnation: Incarnation, execution: u32, range: Range<u64>) -> PortFuture<StoreResult<Vec<EventBytes>>> {
        let instance = instance.clone();
        self.step(move |_, state| {
            let Some(row) = state.rows.get(&instance) else { return Ok(Vec::new()) };
            let header = row.header();
            if header.incarnation != incarnation || header.execution != execution {
                return Ok(Vec::new());
            }
            let end = range.end.min(row.events.len() as u64);
            let start = range.start.min(end);
            Ok(row.events[start as usize..end as usize].to_vec())
        })
    }

    fn purge_begin(&self, instance: &InstanceId) -> PortFuture<StoreResult<Purge>> {
        let instance = instance.clone();
        self.step(move |_, state| Ok(state.purge(&instance)))
    }

    fn purge_step(&self, _instance: &InstanceId, _incarnation: Incarnation) -> PortFuture<StoreResult<Purge>> {
        // `purge_begin` leaves nothing.
        self.step(|_, _| Ok(Purge::Done))
    }
}

#[cfg(test)]
mod tests {
    use durable::header::RuntimeStatus;
    use futures_executor::block_on;

    use super::*;
    use crate::build::*;

    #[test]
    fn what_must_be_driven_is_named_until_it_is_done() {
        block_on(async {
            let store = MemoryStore::new(true);
            created(&store, start("new", 1)).await;
            created(&store, start("idle", 2)).await;
            Turn::on("idle", &load(&store, "idle").await).lands(&store).await;
            assert_eq!(store.runnable(), [id("new")]);
            deliver(&store, "idle", raised(1)).await;
            assert_eq!(store.runnable(), [id("idle"), id("new")]);
            Turn::on("idle", &load(&store, "idle").await).takes(1).lands(&store).await;
            Turn::on("new", &load(&store, "new").await).completes(text("1")).lands(&store).await;
            assert_eq!(store.runnable(), []);
        });
    }

    #[test]
    fn what_is_due_is_named_the_earliest_first_and_not_while_it_is_suspended() {
        block_on(async {
            let store = MemoryStore::new(true);
            for (instance, seconds) in [("a", 30), ("b", 10), ("c", 20)] {
                created(&store, start(instance, 1)).await;
                Turn::on(instance, &load(&store, instance).await).with(|h| h.timer_due = Some(at(seconds))).lands(&store).await;
            }
            Turn::on("c", &load(&store, "c").await).with(|h| h.status = RuntimeStatus::Suspended).lands(&store).await;
            assert_eq!(store.due(), [(at(10), id("b")), (at(30), id("a"))]);
        });
    }

    #[test]
    fn only_so_many_keys_are_kept() {
        block_on(async {
            let store = MemoryStore::new(true);
            created(&store, start("a", 1)).await;
            let keyed = |n: u64| Message { keyed: true, arrived: at(n as i64), ..raised(n) };
            for n in 0..=limits::KEYED_IDS as u64 {
                deliver(&store, "a", keyed(n)).await;
                let loaded = load(&store, "a").await;
                Turn::on("a", &loaded).takes_all().with(|h| h.ring.clear()).lands(&store).await;
            }
            assert_eq!(deliver(&store, "a", keyed(1)).await, Delivered::Duplicate);
            assert_eq!(deliver(&store, "a", keyed(0)).await, Delivered::Delivered);
        });
    }

    #[test]
    #[should_panic(expected = "counts the events")]
    fn a_header_that_does_not_add_up_is_a_mistake_of_the_caller() {
        block_on(async {
            let store = MemoryStore::new(true);
            created(&store, start("a", 1)).await;
            Turn::on("a", &load(&store, "a").await).append(events(0..2)).with(|h| h.events = 1).lands(&store).await;
        });
    }
}
