//! The attributes `#[durable::activity]` and `#[durable::orchestrator]`.
//!
//! They only spell out what can be written by hand: a unit struct that stands for the function, the function itself as its `call`,
//! and the trait `durable::Activity` or `durable::Orchestrator`. What each of them means is said there.

mod activity;
mod args;
mod duration;
mod function;
mod orchestrator;

use proc_macro::TokenStream;

/// Makes an `async fn` an activity: a function that touches the world, called by orchestrators with `ctx.activity(name, input)`.
///
/// The function takes nothing, its input, its `ActivityContext`, or the context and then the input. It returns a `Result`, with any
/// error that `?` can turn into a boxed error.
///
/// ```
/// use durable::ActivityContext;
///
/// /// Adds up an order.
/// #[durable::activity]
/// async fn total(prices: Vec<u32>) -> Result<u32, std::convert::Infallible> {
///     Ok(prices.iter().sum())
/// }
///
/// /// Charges a card; the payment service recognises a repeated request by its key.
/// #[durable::activity(
///     name = "charge-card",
///     retry(first = "1s", attempts = 5, factor = 2.0, cap = "1m", jitter = 0.2, except = ["CardDeclined"]),
///     attempt_timeout = "30s",
/// )]
/// async fn charge(ctx: ActivityContext, cents: u32) -> Result<String, std::io::Error> {
///     Ok(format!("{} {cents}", ctx.idempotency_key()))
/// }
/// # use durable::Activity as _;
/// # assert_eq!((total::NAME, charge::NAME), ("total", "charge-card"));
/// ```
///
/// # Arguments
/// All are optional.
///
/// | argument | meaning |
/// | --- | --- |
/// | `name = ".."` | the name that is stored; that of the function if not given. Changing it breaks instances that are under way |
/// | `retry(first = "1s", attempts = 5)` | at most five attempts in all, the second one a second after the first has failed |
/// | `retry(.., factor = 2.0)` | how much longer each further interval is; 2 if not given |
/// | `retry(.., cap = "1m")` | no interval is longer than this |
/// | `retry(.., jitter = 0.2)` | takes away up to this share of each interval, so that many instances do not retry at once |
/// | `retry(.., except = ["CardDeclined"])` | errors of these types are final |
/// | `attempt_timeout = "30s"` | an attempt is cut off after this long |
///
/// A time is a whole number and `ms`, `s`, `m`, `h` or `d`. Without `retry` there is one attempt.
///
/// # What it writes
/// A unit struct with the name, visibility and documentation of the function, `durable::Activity` for it, and the function itself as
/// `call`, which is how a unit test runs it:
///
/// ```
/// # #[durable::activity]
/// # async fn total(prices: Vec<u32>) -> Result<u32, std::convert::Infallible> {
/// #     Ok(prices.iter().sum())
/// # }
/// # async fn test() {
/// assert_eq!(total::call(vec![1, 2, 3]).await, Ok(6));
/// # }
/// ```
///
/// As the name is that of a unit struct, a variable in the same scope cannot have it: write `let sum = ctx.activity(total, ..)`.
#[proc_macro_attribute]
pub fn activity(args: TokenStream, item: TokenStream) -> TokenStream {
    activity::expand(args.into(), item.into()).into()
}

/// Makes an `async fn` an orchestrator: it checkpoints at every `await`, and may wait for years.
///
/// The function takes its `Context`, or the context and then the input. It returns a `Result`, with any error that `?` can turn into a
/// boxed error.
///
/// ```
/// use std::time::Duration;
/// use durable::{Context, Error, EventName};
///
/// const APPROVAL: EventName<bool> = EventName::new("Approval");
///
/// #[durable::orchestrator]
/// async fn publish(ctx: Context, article: String) -> Result<String, Error> {
///     let approved = ctx.event(&APPROVAL).timeout(Duration::from_secs(86_400)).await?;
///     Ok(format!("{article}: {}", if approved { "published" } else { "sent back" }))
/// }
/// ```
///
/// It may return `Next<Output, Input>` to begin again with a new input and an empty history (continue-as-new):
///
/// ```
/// use durable::{Context, Error, Next};
///
/// #[durable::orchestrator]
/// async fn countdown(ctx: Context, from: u32) -> Result<Next<String, u32>, Error> {
///     ctx.timer(std::time::Duration::from_secs(1)).await;
///     Ok(if from == 0 { Next::done("lift-off".to_owned()) } else { Next::again(from - 1) })
/// }
/// ```
///
/// # Arguments
/// Both are optional.
///
/// | argument | meaning |
/// | --- | --- |
/// | `name = ".."` | the name by which it is started; that of the function if not given |
/// | `version = "2"` | its version, where several of one name stand side by side, in modules of their own. An instance stays on the version that it started with |
///
/// # What it writes
/// A unit struct with the name, visibility and documentation of the function, `durable::Orchestrator` for it, and the function itself
/// as `call`, for helpers and other orchestrators that want it inside their own execution. A variable in the same scope cannot have
/// its name.
#[proc_macro_attribute]
pub fn orchestrator(args: TokenStream, item: TokenStream) -> TokenStream {
    orchestrator::expand(args.into(), item.into()).into()
}
