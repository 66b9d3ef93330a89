//! Durable Orchestrator on a laptop or one server: the embedded store, shard threads, in-process alarms.
//!
//! Nothing polls: a sleeping instance is a row and, if it is due soon, an entry in a bounded list; the threads wait. (Once in half a minute what
//! was left idle in memory is let go.) Must never: know
//! another host, or answer a write that is not durable.
//!
//! # Crash windows
//! The process can die between any two steps; a restart finds what is left by indexes of the store alone.
//!
//! | dies | durable then | who goes on |
//! | --- | --- | --- |
//! | before the commit of a start, raise, terminate … | nothing of it | the client, which has no answer, repeats it |
//! | after that commit, before the answer | all of it | the restart; the client's repeat finds it done |
//! | after a commit that scheduled activities, before or while they run | the schedule | the restart runs them (again) |
//! | after an activity ended, before its commit | the schedule | the restart runs it again, under the same idempotency key |
//! | after a commit that set a timer | the due time | the restart, from the index of due times |
//! | after a commit with messages to other instances | they are in that same transaction | the restart, from their inboxes |
//! | after a message was stored plainly | the message | the restart, from the inbox |
//! | in user code (stack overflow, abort) | all before it, and the name of the suspect | the restart records the fault, and tries again later |
//! | in the first turn of a start | what that turn is known by | the client repeats the start: it is stored with a fault, and tried later |

mod alarms;
mod host;
mod pace;
mod restart;
mod runtime;
mod secret;
mod server;
pub mod store;

pub use host::{LocalError, LocalHost, LocalOptions};
pub use secret::UrlSecret;
pub use server::{ServerError, ServerOptions, serve};
