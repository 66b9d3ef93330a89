//! Durable orchestrations as plain `async fn`: what a user programs against, and the pure state machine behind it.
//!
//! An [`orchestrator`] awaits what its [`Context`] gives; an [`activity`] touches the world; an [`App`] holds them. Adapters implement the
//! [`ports`]; the [`engine`] drives instances over them; the [`machine`] decides, and is pure. [`testing`] runs orchestrators in unit tests.
//!
//! Must never: do I/O, read a clock or a random source, or name a cloud.
//!
#![doc = include_str!("../docs/authoring.md")]

extern crate self as durable; // so that the attributes work inside this crate too

mod activity;
mod app;
pub mod codec;
mod context;
pub mod engine;
pub mod event_url;
mod failure;
pub mod header;
pub mod history;
pub mod ids;
pub mod limits;
pub mod machine;
pub mod message;
mod orchestrator;
mod payload;
pub mod ports;
mod retry;
pub mod testing;
mod time;
mod typed_client;

pub use activity::{Activity, ActivityContext, ActivityOptions};
pub use app::{App, AppBuilder, AppError, OnPanic};
#[doc(hidden)]
pub use context::branches;
pub use context::{
    ActivityCall, AsCompleted, ChildCall, Context, EventName, EventStream, EventWait, EventWaitWithTimeout, JoinAll, MapFutures, Race, Select, Timer,
    as_completed, boxed, join_all, race, select_boxed, try_join_all,
};
pub use durable_macros::{activity, orchestrator};
pub use engine::{Client, ClientError, Engine, EngineConfig, Ports, Shard, Start, Started};
pub use failure::{BoxError, Error, Failure, KIND_PANIC, KIND_PAYLOAD, KIND_TIMEOUT, panic_text};
pub use futures_util::future::{join, join3, join4, join5, try_join, try_join3, try_join4, try_join5};
pub use ids::InstanceId;
pub use orchestrator::{Next, Orchestrator};
pub use payload::{Payload, PayloadCodec, PayloadError, PlainJson, json_depth};
pub use retry::RetryPolicy;
pub use time::Timestamp;
pub use typed_client::{InstanceHandle, RunError};
