//! Short ways to write down headers, commits and messages, so that a test reads as a story.

use bytes::Bytes;
use durable::header::{Delivery, Header, RuntimeStatus};
use durable::history::{Event, EventBytes};
use durable::ids::{CommitId, Incarnation, MessageId};
use durable::message::{Message, MessageBody, Sender};
use durable::ports::{Commit, CommitOutcome, Committed, Create, Created, Delivered, Loaded, Purge, ReusePolicy, Store};
use durable::{Failure, InstanceId, Payload, Timestamp, limits};

/// The instance id with this text.
#[must_use]
pub fn id(text: &str) -> InstanceId {
    InstanceId::new(text).unwrap()
}

/// The `n`th life.
#[must_use]
pub const fn life(n: u64) -> Incarnation {
    Incarnation(n.to_be_bytes())
}

/// The `n`th commit id.
#[must_use]
pub const fn commit_id(n: u64) -> CommitId {
    CommitId(n.to_be_bytes())
}

/// The `n`th message id.
#[must_use]
pub const fn message_id(n: u64) -> MessageId {
    MessageId((n as u128).to_be_bytes())
}

/// So many seconds after a fixed time.
#[must_use]
pub const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
}

/// A payload with this text.
#[must_use]
pub fn text(json: &str) -> Payload {
    Payload::from_stored(Bytes::copy_from_slice(json.as_bytes()))
}

/// A payload of so many bytes in which no two parts are alike; another seed gives other bytes.
#[must_use]
pub fn large(bytes: usize, seed: u64) -> Payload {
    let mut random = Random::new(seed);
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        out.extend_from_slice(&random.next().to_le_bytes());
    }
    out.truncate(bytes);
    Payload::from_stored(out.into())
}

/// The `n`th event: a small one that tells which it is.
#[must_use]
pub fn event(n: u64) -> EventBytes {
    Event::Patched { id: format!("event-{n}") }.to_bytes()
}

/// Several events.
#[must_use]
pub fn events(range: std::ops::Range<u64>) -> Vec<EventBytes> {
    range.map(event).collect()
}

/// An external event with the `n`th message id.
#[must_use]
pub fn raised(n: u64) -> Message {
    raised_with(n, text(&format!("{{\"n\":{n}}}")))
}

/// An external event with the `n`th message id and this data.
#[must_use]
pub fn raised_with(n: u64, data: Payload) -> Message {
    Message { id: message_id(n), arrived: at(0), sender: None, keyed: false, body: MessageBody::EventRaised { name: "approval".into(), data } }
}

/// A message from another instance. Its id follows from sender and number, as with real ones.
#[must_use]
pub fn sent_by(instance: &str, incarnation: u64, number: u64) -> Message {
    let name = instance.bytes().fold(0_u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(b)));
    let mut bytes = [0xf0; 16];
    bytes[1..8].copy_from_slice(&name.to_be_bytes()[1..]);
    bytes[8..12].copy_from_slice(&(incarnation as u32).to_be_bytes());
    bytes[12..].copy_from_slice(&(number as u32).to_be_bytes());
    let sender = Sender { instance: id(instance), life: life(incarnation), number };
    Message { id: MessageId(bytes), sender: Some(sender), ..raised(0) }
}

/// The ids of messages.
#[must_use]
pub fn ids(messages: &[Message]) -> Vec<MessageId> {
    messages.iter().map(|m| m.id).collect()
}

/// The header of a life that has been accepted and has not begun.
#[must_use]
pub fn pending(incarnation: u64) -> Header {
    Header::pending("story".into(), Some("1".into()), life(incarnation), commit_id(incarnation << 32), at(0))
}

/// A start: life `incarnation` of `instance`, accepted and not begun, with the default policy.
#[must_use]
pub fn start(instance: &str, incarnation: u64) -> Create {
    Create {
        instance: id(instance),
        header: pending(incarnation),
        input: text(&format!("\"input of life {incarnation}\"")),
        output: None,
        custom_status: None,
        append: Vec::new(),
        deliveries: Vec::new(),
        policy: ReusePolicy::default(),
    }
}

/// A sub-orchestration as a turn starts it. `refusal` goes to the sender if another live instance has the id.
#[must_use]
pub fn child(instance: &str, incarnation: u64, refusal: Option<Message>) -> Delivery {
    Delivery::Start {
        instance: id(instance),
        header: Box::new(pending(incarnation)),
        input: text(&format!("\"input of child {incarnation}\"")),
        if_refused: refusal,
    }
}

/// A message to another instance as a turn sends it.
#[must_use]
pub fn to(instance: &str, incarnation: Option<u64>, message: Message) -> Delivery {
    Delivery::Message { to: id(instance), incarnation: incarnation.map(life), message }
}

/// A commit in the making.
#[derive(Debug, Clone)]
pub struct Turn(Commit, Vec<Message>);

impl Turn {
    /// A turn on what was loaded: running, with a fresh commit id, and nothing else yet.
    #[must_use]
    pub fn on(instance: &str, loaded: &Loaded) -> Self {
        Self::build(instance, &loaded.header, loaded.token.clone(), loaded.inbox.clone())
    }

    /// The turn after a commit that landed, without loading.
    #[must_use]
    pub fn after(before: &Commit, committed: &Committed) -> Self {
        Self::build(before.instance.as_str(), &before.header, committed.token.clone(), committed.inbox.clone())
    }

    fn build(instance: &str, stored: &Header, token: durable::ports::Token, inbox: Vec<Message>) -> Self {
        let mut header = stored.clone();
        header.revision += 1;
        header.commit_id = commit_id(u64::from_be_bytes(stored.commit_id.0).wrapping_add(1));
        if header.status == RuntimeStatus::Pending {
            header.status = RuntimeStatus::Running;
        }
        let commit = Commit {
            instance: id(instance),
            token,
            base: stored.revision,
            header,
            reset: false,
            append: Vec::new(),
            taken: 0,
            direct: Vec::new(),
            deliveries: Vec::new(),
            input: None,
            output: None,
            custom_status: None,
        };
        Self(commit, inbox)
    }

    /// With this commit id.
    #[must_use]
    pub const fn named(mut self, n: u64) -> Self {
        self.0.header.commit_id = commit_id(n);
        self
    }

    /// Appends events.
    #[must_use]
    pub fn append(mut self, events: Vec<EventBytes>) -> Self {
        self.0.header.events += events.len() as u64;
        self.0.append.extend(events);
        self
    }

    /// Takes so many messages from the front of the inbox that was seen, and notes the external ones in the ring.
    #[must_use]
    pub fn takes(mut self, taken: usize) -> Self {
        self.0.taken = taken;
        let Self(commit, inbox) = &mut self;
        inbox[..taken].iter().for_each(|message| note(&mut commit.header, message));
        self
    }

    /// Takes everything that was seen in the inbox.
    #[must_use]
    pub fn takes_all(self) -> Self {
        let all = self.1.len();
        self.takes(all)
    }

    /// Takes a message that never stood in the inbox, and notes it in the ring if it is external.
    #[must_use]
    pub fn direct(mut self, message: Message) -> Self {
        note(&mut self.0.header, &message);
        self.0.direct.push(message);
        self
    }

    /// Continues as new, with a new input and no events yet.
    #[must_use]
    pub fn continues_as_new(mut self, input: Payload) -> Self {
        self.0.reset = true;
        self.0.header.execution += 1;
        self.0.header.events = self.0.append.len() as u64;
        self.0.input = Some(input);
        self
    }

    /// Completes with this output.
    #[must_use]
    pub fn completes(mut self, output: Payload) -> Self {
        self.0.header.status = RuntimeStatus::Completed;
        self.0.output = Some(output);
        self
    }

    /// Fails.
    #[must_use]
    pub fn fails(mut self, failure: Failure) -> Self {
        self.0.header.status = RuntimeStatus::Failed;
        self.0.header.failure = Some(failure);
        self
    }

    /// Sets the custom status.
    #[must_use]
    pub fn custom_status(mut self, status: Payload) -> Self {
        self.0.custom_status = Some(status);
        self
    }

    /// Asks this of other instances, in the same transaction.
    #[must_use]
    pub fn delivers(mut self, deliveries: Vec<Delivery>) -> Self {
        self.0.deliveries = deliveries;
        self
    }

    /// Changes the header in any other way.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.0.header);
        self
    }

    /// The commit.
    #[must_use]
    pub fn build_commit(self) -> Commit {
        self.0
    }

    /// Commits; a panic if it does not land.
    pub async fn lands(self, store: &dyn Store) -> Committed {
        match store.commit(self.0).await {
            CommitOutcome::Committed(committed) => committed,
            other => panic!("the commit should have landed: {other:?}"),
        }
    }

    /// Commits; a panic if it does not lose. Gives the state that won.
    pub async fn loses(self, store: &dyn Store) -> Option<Loaded> {
        match store.commit(self.0).await {
            CommitOutcome::Lost(winner) => winner.map(|w| *w),
            other => panic!("the commit should have lost: {other:?}"),
        }
    }
}

/// Remembers an external message in the ring, as the engine does.
fn note(header: &mut Header, message: &Message) {
    if message.sender.is_none() {
        if header.ring.len() == limits::RING {
            header.ring.remove(0);
        }
        header.ring.push((message.id, header.revision));
    }
}

/// Stores a new instance; a panic if that is refused.
pub async fn created(store: &dyn Store, create: Create) -> Committed {
    match store.create(create).await.unwrap() {
        Created::Created(committed) => committed,
        Created::Exists(there) => panic!("the start should not have been refused by {there:?}"),
    }
}

/// Tries to store a new instance; a panic if that is not refused. Gives what is there.
pub async fn refused(store: &dyn Store, create: Create) -> Loaded {
    match store.create(create).await.unwrap() {
        Created::Exists(there) => *there,
        Created::Created(_) => panic!("the start should have been refused"),
    }
}

/// Loads an instance that is there, with all its events.
pub async fn load(store: &dyn Store, instance: &str) -> Loaded {
    store.load(&id(instance), None).await.unwrap().unwrap_or_else(|| panic!("{instance} should be stored"))
}

/// Stores a new instance and ends it at once.
pub async fn ended(store: &dyn Store, instance: &str, incarnation: u64) {
    created(store, start(instance, incarnation)).await;
    let loaded = load(store, instance).await;
    Turn::on(instance, &loaded).append(events(0..3)).completes(text("\"done\"")).lands(store).await;
}

/// A small generator of random numbers (xorshift), the same on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Begins a sequence.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub const fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    /// True about once in `times`.
    pub const fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// Purges to the end, however many steps it takes, and says what came of it.
pub async fn purged(store: &dyn Store, instance: &str) -> Purge {
    let mut answer = store.purge_begin(&id(instance)).await.unwrap();
    while let Purge::More(incarnation) = answer {
        answer = store.purge_step(&id(instance), incarnation).await.unwrap();
    }
    answer
}

/// Delivers to whichever life there is.
pub async fn deliver(store: &dyn Store, instance: &str, message: Message) -> Delivered {
    store.deliver(&id(instance), None, message).await.unwrap()
}

/// Delivers to this life only.
pub async fn deliver_to(store: &dyn Store, instance: &str, incarnation: u64, message: Message) -> Delivered {
    store.deliver(&id(instance), Some(life(incarnation)), message).await.unwrap()
}
