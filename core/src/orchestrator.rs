//! Orchestrators. The attribute `#[orchestrator]` writes [`Orchestrator`]; everything it writes can be written by hand.

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::failure::Failure;

/// An orchestrator: an `async fn` that awaits only what the [`Context`] and the combinators of this crate give, and is otherwise deterministic.
#[diagnostic::on_unimplemented(message = "`{Self}` is not an orchestrator", note = "write `#[durable::orchestrator]` above the function")]
pub trait Orchestrator: 'static {
    /// The name by which it is started.
    const NAME: &'static str;
    /// Its version, if several stand side by side. An instance stays on the version that it started with.
    const VERSION: Option<&'static str>;
    /// What it takes.
    type Input: Serialize + DeserializeOwned + 'static;
    /// What it returns.
    type Output: Serialize + DeserializeOwned + 'static;

    /// The body.
    fn run(context: Context, input: Self::Input) -> impl Future<Output = Result<Next<Self::Output, Self::Input>, Failure>> + 'static;
}

/// How an execution ends well: with a value, or by beginning again with a new input and an empty history (continue-as-new).
///
/// Events that nobody has claimed are carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<Output, Input> {
    /// The orchestration is done.
    Done(Output),
    /// Begin again with this input.
    Again(Input),
}

impl<Output, Input> Next<Output, Input> {
    /// The orchestration is done.
    pub const fn done(output: Output) -> Self {
        Self::Done(output)
    }

    /// Begin again with this input: history stays short, for loops that never end.
    pub const fn again(input: Input) -> Self {
        Self::Again(input)
    }
}
