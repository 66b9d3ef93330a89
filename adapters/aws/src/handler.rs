//! Takes the platform's events: what each is about is told to [`durable_host::invoked::Call`], requests go to the HTTP API.
//!
//! Must never: acknowledge an event before what it asks for is done, or another durable wake-up stands behind it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use durable::ports::Clock;
use durable::{InstanceId, Timestamp};
use durable_host::invoked::{Call, CallError, Seen, Streamed};
use durable_host::{SystemClock, turns};
use lambda_runtime::{Context, Diagnostic};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::event::{Event, Record, UnknownEvent};
use crate::host::{Host, OnLambda, Parts};
use crate::http::{self, HttpEvent};
use crate::metrics;
use crate::settings::Access;

/// Something to be done once the answer is out. True if the process has to end then.
pub type Rest = Pin<Box<dyn Future<Output = bool>>>;

/// The answer to an event, and what is to be done behind it.
pub struct Handled {
    /// The answer.
    pub answer: Value,
    /// What goes on within the same invocation once the answer is out.
    pub rest: Rest,
}

impl std::fmt::Debug for Handled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handled").field("answer", &self.answer).finish_non_exhaustive()
    }
}

/// Why an event was not done. The platform tries it again as its kind is tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// What it asks for could not be done now.
    #[error(transparent)]
    Call(#[from] CallError),
    /// No such event.
    #[error(transparent)]
    Unknown(#[from] UnknownEvent),
    /// The function cannot begin.
    #[error("the function cannot begin: {0}")]
    Start(String),
}

impl From<HandlerError> for Diagnostic {
    fn from(error: HandlerError) -> Self {
        let kind = match &error {
            // The state machine of timers knows this one by its name.
            HandlerError::Call(CallError::NotYet(_)) => "Durable.NotYet",
            HandlerError::Call(CallError::StillClaimed(..)) => "Durable.StillClaimed",
            HandlerError::Call(CallError::Unfinished(_)) => "Durable.Unfinished",
            HandlerError::Call(CallError::Bad(_)) => "Durable.BadEvent",
            HandlerError::Call(_) => "Durable.Store",
            HandlerError::Unknown(_) => "Durable.UnknownEvent",
            HandlerError::Start(_) => "Durable.Start",
        };
        Self { error_type: kind.to_owned(), error_message: error.to_string() }
    }
}

/// What is told as an invocation's end and is earlier than this is its length.
const LONGEST_LENGTH: Timestamp = Timestamp(86_400 * 1_000_000);

/// When the platform ends an invocation. `cargo lambda watch` says how long it may take where Lambda says until when: that would be in 1970.
fn limit_of(told: Timestamp, now: Timestamp) -> Timestamp {
    if told < LONGEST_LENGTH { now.after(Timestamp(0).until(told)) } else { told }
}

/// Takes events, one at a time.
#[derive(Debug)]
pub struct Handler {
    parts: Parts,
    host: OnceCell<Arc<Host>>,
}

impl Handler {
    /// Takes events for this app.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { parts, host: OnceCell::new() }
    }

    /// Does what an event asks for.
    ///
    /// # Errors
    /// [`HandlerError`]: the event was not done, and may be sent again.
    pub async fn handle(&self, event: Value, context: Context) -> Result<Handled, HandlerError> {
        let event = Event::read(event).inspect_err(|unknown| tracing::error!("{unknown}"))?;
        let limit = limit_of(Timestamp::from(context.deadline()), SystemClock.now());
        if let Event::Http(event) = event {
            return self.http(HttpEvent::new(event), context, limit).await;
        }
        let call = self.call(&context, None, limit).await?;
        let (answer, stuck) = match event {
            Event::Http(_) => (Value::Null, false),
            Event::Stream(records) => stream(&call, &records).await?,
            Event::Work(work) => (Value::Null, call.work(work).await?),
            Event::GivenUp(work) => (Value::Null, call.given_up(work).await?),
        };
        let rest: Rest = Box::pin(async move {
            end(&call).await;
            stuck
        });
        Ok(Handled { answer, rest })
    }

    async fn call(&self, context: &Context, reached_at: Option<String>, limit: Timestamp) -> Result<Call<OnLambda>, HandlerError> {
        let host = self.host.get_or_try_init(|| async {
            let host = self.parts.host(&context.invoked_function_arn, reached_at).await?;
            Ok::<_, String>(Arc::new(host))
        });
        let host = host.await.map_err(HandlerError::Start)?.clone();
        let call = Call::new(OnLambda(host), context.request_id.clone(), limit);
        record_suspects(&call).await?;
        Ok(call)
    }

    async fn http(&self, event: HttpEvent, context: Context, limit: Timestamp) -> Result<Handled, HandlerError> {
        if let Access::Nobody(why) = &self.parts.settings().access {
            tracing::error!("requests are refused: {why}");
            let why = format!("This function refuses every request: {why}. Set it to at least {} random characters.", durable_http::KEY_CHARS);
            return Ok(Handled { answer: http::plain(axum::http::StatusCode::SERVICE_UNAVAILABLE, &why), rest: Box::pin(async { false }) });
        }
        let call = match self.call(&context, event.public_url(), limit).await {
            Ok(call) => call,
            Err(trouble) => {
                tracing::error!("{trouble}");
                let answer = http::plain(axum::http::StatusCode::SERVICE_UNAVAILABLE, &format!("{trouble}. Send the request again."));
                return Ok(Handled { answer, rest: Box::pin(async { false }) });
            }
        };
        let invocation = call.begin()?;
        let time = SystemClock.now().until(invocation.deadline());
        let router = durable_http::router(invocation.client(), event.options(&call.function().0.settings, time));
        let answer = event.answer(router, context, time).await;
        let rest: Rest = Box::pin(async move {
            let done = invocation.finish().await;
            let stuck = done.stuck;
            if let Err(trouble) = call.pass_on(done.unfinished, None).await {
                // What was committed bears the stream's marker: somebody else looks.
                tracing::error!("{trouble}");
            }
            end(&call).await;
            stuck
        });
        Ok(Handled { answer, rest })
    }
}

/// The last process of this sandbox died in user code: that is recorded before anything else is driven.
async fn record_suspects(call: &Call<OnLambda>) -> Result<(), CallError> {
    let host = &call.function().0;
    let suspects = host.take_suspects();
    if suspects.is_empty() {
        return Ok(());
    }
    let invocation = call.begin()?;
    for suspect in suspects {
        invocation.engine().record_fault(&suspect.instance, suspect.incarnation, &turns::died()).await?;
    }
    invocation.finish().await;
    host.watchdog.clear();
    Ok(())
}

/// What every invocation does at its end.
async fn end(call: &Call<OnLambda>) {
    let host = &call.function().0;
    if host.is_new()
        && let Err(trouble) = call.announce_build().await
    {
        tracing::warn!("instances with a fault of another build wait for their next try: {trouble}");
    }
    if host.settings.metrics {
        metrics::write(&host.settings, &host.used_since());
    }
}

/// Changes of the table. The platform gives those again that are answered by their numbers, and all behind the first of them.
async fn stream(call: &Call<OnLambda>, records: &[Record]) -> Result<(Value, bool), CallError> {
    let seen = records.iter().filter_map(|record| Some((record.seen(&call.function().0.store)?, &*record.sequence_number)));
    let (batch, numbers): (Vec<Seen>, Vec<&str>) = seen.unzip();
    let instances: Vec<InstanceId> = batch.iter().map(|seen| seen.instance.clone()).collect();
    let Streamed { failed, stuck } = call.stream(batch).await?;
    let failures: Vec<Value> = first_of(&failed, &instances, &numbers).map(|number| json!({ "itemIdentifier": number })).collect();
    Ok((json!({ "batchItemFailures": failures }), stuck))
}

/// The numbers of the first records of some instances in a batch. A later one may not say what an earlier one did.
fn first_of<'a>(failed: &'a [InstanceId], instances: &'a [InstanceId], numbers: &'a [&str]) -> impl Iterator<Item = &'a str> {
    failed.iter().filter_map(|of| numbers.get(instances.iter().position(|instance| instance == of)?).copied())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_failed_is_told_again_from_its_first_record_on() {
        let id = |text: &str| InstanceId::new(text).unwrap();
        let (instances, numbers) = (["a", "b", "a", "c", "b"].map(id), ["1", "2", "3", "4", "5"]);
        assert_eq!(first_of(&[id("b"), id("c")], &instances, &numbers).collect::<Vec<_>>(), ["2", "4"]);
        assert_eq!(first_of(&[id("d")], &instances, &numbers).count(), 0);
    }

    #[test]
    fn an_invocation_ends_when_the_platform_says_or_after_the_time_that_it_says() {
        let now = Timestamp(1_800_000_000_000_000);
        let soon = now.after(Duration::from_secs(60));
        assert_eq!(limit_of(soon, now), soon);
        assert_eq!(limit_of(Timestamp(600_000_000), now), now.after(Duration::from_secs(600)));
    }
}
