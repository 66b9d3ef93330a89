//! Durable orchestrations as plain `async fn`.

pub mod codec;
mod failure;
pub mod header;
pub mod history;
pub mod ids;
pub mod limits;
pub mod machine;
pub mod message;
mod payload;
pub mod ports;
mod time;

pub use failure::{BoxError, Error, Failure, KIND_PANIC, KIND_PAYLOAD, KIND_TIMEOUT, panic_text};
pub use ids::InstanceId;
pub use payload::{Payload, PayloadCodec, PayloadError, PlainJson};
pub use time::Timestamp;
