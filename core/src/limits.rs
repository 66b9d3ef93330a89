//! Every limit of the engine, with its reason. What the wire or a store limits on top stands there.

use std::time::Duration;

/// Longest instance id in characters, as in Durable Functions (`MaxInstanceIdLength`).
pub const INSTANCE_ID_CHARS: usize = 256;

/// Custom status: 16 KB of UTF-16 JSON text, as in Durable Functions.
pub const CUSTOM_STATUS_UTF16_BYTES: usize = 16 * 1024;

/// Largest payload (input, output, event data) in stored form. Larger ones are refused where they enter: 413 at the wire.
pub const PAYLOAD_BYTES: usize = 16 * 1024 * 1024;

/// How deep arrays and objects may be nested in a value that code makes: an output, an activity's input, a custom status. Readers of JSON
/// commonly stop at 128, and answers show a value inside a list of objects.
pub const PAYLOAD_DEPTH: usize = 124;

/// How deep they may be nested in what comes from outside: a little less, so that code may wrap what it was sent.
pub const INPUT_DEPTH: usize = 120;

/// Messages that one turn takes at most: keeps a commit small enough for every store's transaction.
pub const MESSAGES_PER_TURN: usize = 64;

/// Bytes of messages that one turn takes at most (one larger message is taken alone).
pub const MESSAGE_BYTES_PER_TURN: usize = 1024 * 1024;

/// Calls on the context in one turn, as `MaxOrchestrationActions`: more means a loop that never sleeps.
pub const CALLS_PER_TURN: u32 = 100_000;

/// Events that the history of one execution may have, unless the app says otherwise (`AppBuilder::history_limit`). All of them are read, and kept
/// in memory, whenever the instance is loaded; past this it bears a fault until it is continued by code that allows more, or terminated.
pub const HISTORY_EVENTS: u64 = 250_000;

/// From this part of the limit on a history is warned of, once.
pub const HISTORY_WARNING: u64 = 10;

/// How long a request waits for the turn that takes its message, before the message is stored plainly and acknowledged.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long a request for a rewind waits: nothing is stored of it before it is done, and failed sub-orchestrations are rewound one after the other
/// before.
pub const REWOUND_WITHIN: Duration = Duration::from_secs(20);

/// A turn that runs longer is abandoned with its thread, and recorded as a fault.
pub const TURN_HARD_LIMIT: Duration = Duration::from_secs(10);

/// Unclaimed messages that an instance keeps at most; then senders are told to retry later.
pub const INBOX_MESSAGES: usize = 1_000;

/// Bytes of unclaimed messages that an instance keeps at most.
pub const INBOX_BYTES: usize = 16 * 1024 * 1024;

/// After this long what was handed on of an outbox is noted, before more of it is.
pub const OUTBOX_FOR: Duration = Duration::from_secs(5);

/// What an instance has no room for is sent again after this long, where its sender has to see to it; then after twice as long, and so on.
pub const ROOM_FIRST: Duration = Duration::from_secs(1);

/// The longest of these pauses.
pub const ROOM_LONGEST: Duration = Duration::from_secs(600);

/// Ids of external messages that the header remembers at least.
pub const RING: usize = 32;

/// All ids that were taken within so many revisions are remembered too: a message may be taken on its way while it is stored plainly, and then it
/// stands behind a whole inbox, which is taken in so many turns.
pub const RING_REVISIONS: u64 = 2 * (INBOX_MESSAGES / MESSAGES_PER_TURN) as u64;

/// Ids of external messages that the header remembers at most: what every store's record has room for.
pub const RING_MOST: usize = 2 * INBOX_MESSAGES;

/// How long ids of keyed messages are remembered.
pub const KEYED_FOR: Duration = Duration::from_secs(24 * 3600);

/// How many ids of keyed messages an instance remembers at least; a store may forget older ones.
pub const KEYED_IDS: usize = 1_000;

/// Automatic tries of a faulted instance on one build; then only another build or a person drives it.
pub const FAULT_TRIES: u32 = 10;
