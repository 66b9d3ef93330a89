//! A store behind a proxy, and where kinds of stores differ on bad days.

use std::time::{Duration, Instant};

use durable::message::Message;
use durable::ports::{Commit, CommitOutcome, Store, StoreError};
use durable_tests::build::*;
use durable_tests::proxy::{Fate, Proxy};

/// Longer than any story takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of a request, and whether it was carried out and told.
pub const FATES: [(Fate, bool, bool); 8] = [
    (Fate::LoseAnswer, true, false),
    (Fate::BreakAnswer, true, false),
    (Fate::DoneButError, true, false),
    (Fate::Cut, false, false),
    (Fate::Late, false, false),
    (Fate::ServerError, false, false),
    (Fate::Throttle, true, true),
    (Fate::Twice, true, true),
];

/// The kind of message for which there must be senders that fill the header.
pub const ONE_SENDER_TOO_MANY: &str = "of one sender too many";

/// An action, and how many requests with it come before.
pub type Request = (&'static str, u64);

/// A kind of store, with the server that it is tested on.
pub trait Cloud: Sized {
    /// The store.
    type Store: Store;

    /// The action that writes a turn, and that stores a small message.
    const COMMIT: &'static str;
    /// The action that stores a new instance.
    const CREATE: &'static str;
    /// Bytes of something that stands in a row of its own.
    const BESIDE: usize;
    /// Bytes of something whose rows are written before what names them.
    const BEFORE: usize;
    /// The request that writes such rows before a commit; any later one does too.
    const ROWS: Request;
    /// Requests with [`Self::CREATE`] that write the rows of such an input.
    const ROWS_BY_CREATE: u64;
    /// Events of a turn that do not all stand in the header.
    const EVENTS: u64;
    /// Senders that the header has room for.
    const SENDERS: u64;
    /// The requests of a purge. The first one begins it.
    const PURGE: &'static [Request];
    /// What the server says if it is busy.
    const BUSY: &'static str;
    /// What is told of a commit, and of a delivery, that is not allowed.
    const DENIED: [&'static str; 2];

    /// Every kind of message, and the request that stores it.
    fn messages() -> Vec<(&'static str, Request, Message)>;
    /// A fresh table, with a proxy before it.
    async fn bad(patience: Duration) -> Bad<Self>;
    /// The same store with a deadline.
    fn until(store: &Self::Store, deadline: Instant) -> Self::Store;
    /// Runs a story.
    fn run<T>(story: impl Future<Output = T>) -> T;
}

/// A store behind a proxy, and the same table without one.
pub struct Bad<C: Cloud> {
    pub store: C::Store,
    pub direct: C::Store,
    pub proxy: Proxy,
}

impl<C: Cloud> Bad<C> {
    /// With an instance that has a message.
    pub async fn prepared(patience: Duration) -> Self {
        let bad = C::bad(patience).await;
        created(&bad.direct, start("a", 1)).await;
        deliver(&bad.direct, "a", raised(900)).await;
        bad
    }

    /// A commit with a chunk, something in a row of its own, a message from the inbox and one that comes with it.
    pub async fn turn(&self, store: &C::Store, n: u64) -> Commit {
        let loaded = load(store, "a").await;
        let turn = Turn::on("a", &loaded).named(n << 20).takes(loaded.inbox.len().min(1)).direct(raised(n)).direct(sent_by("s", 1, n));
        turn.append(Self::events_of(n)).custom_status(large(C::BESIDE, n)).build_commit()
    }

    fn events_of(n: u64) -> Vec<durable::history::EventBytes> {
        events(n * 3000..n * 3000 + C::EVENTS)
    }

    /// What stands there after exactly the turns with these numbers.
    pub async fn expect_turns(&self, turns: &[u64], case: &str) {
        let loaded = load(&self.direct, "a").await;
        assert_eq!(loaded.header.revision, 1 + turns.len() as u64, "{case}");
        assert!(loaded.events == turns.iter().flat_map(|n| Self::events_of(*n)).collect::<Vec<_>>(), "{case}");
        assert_eq!(loaded.inbox.len(), usize::from(turns.is_empty()), "{case}");
        assert!(loaded.custom_status == turns.last().map(|n| large(C::BESIDE, *n)), "{case}");
    }

    /// How many instances a listing shows.
    pub async fn listed(&self) -> usize {
        self.direct.list(durable::ports::ListQuery::default(), None).await.unwrap().items.len()
    }
}

/// True if a commit may have landed.
pub fn is_unknown(outcome: &CommitOutcome) -> bool {
    matches!(outcome, CommitOutcome::Unknown(StoreError::Unavailable(_)))
}
