//! Runs the AWS host on one machine: what of AWS stands around one function and one DynamoDB table, over loopback, for people and for tests.
//!
//! | part | module | what it plays |
//! | --- | --- | --- |
//! | the function | [`function`] | sandboxes of a `bootstrap` behind the Runtime API, or a running `cargo lambda watch` |
//! | Lambda | [`lambda`] | `Invoke`, the asynchronous queue, the stop of recursive loops |
//! | function URL | [`url`] | HTTP in front of the function, and the event shapes of API Gateway and load balancers |
//! | stream | [`stream`] | the event source mapping from the table's stream |
//! | Step Functions | [`steps`] | one state machine for timers |
//! | Scheduler | [`schedule`] | one-time schedules |
//!
//! It refuses what AWS refuses: what is too large, too many at a time, too long in a chain, under a name that is taken. DynamoDB itself is not here: that is
//! DynamoDB Local. Must never: listen on, or send to, anything but loopback; check or need real credentials.

mod builder;
mod clients;
mod cloud;
mod control;
pub mod function;
mod ids;
mod journal;
pub mod lambda;
mod parts;
mod pulse;
pub mod schedule;
pub mod steps;
pub mod stream;
pub mod url;

pub use builder::{Builder, CloudError};
pub use clients::client_config;
pub use cloud::Cloud;
pub use ids::Trace;
pub use journal::JournalError;
pub use parts::NotQuiet;

/// The region that everything is in.
pub const REGION: &str = "us-east-1";

/// The account that everything belongs to.
pub const ACCOUNT: &str = "000000000000";

/// The ARN of the function with this name.
#[must_use]
pub fn function_arn(name: &str) -> String {
    format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")
}

/// The ARN of the state machine that belongs to the function with this name.
#[must_use]
pub fn state_machine_arn(name: &str) -> String {
    format!("arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{name}-timer")
}
