//! The runtime's loop: takes an event, answers it, and then does what is left of it before it asks for the next one.
//!
//! A custom runtime may work on after it has answered, until it asks for the next event: the caller has its answer, the invocation still lasts. So
//! whoever starts an instance has the 202 as soon as the start is durable, and the same invocation drives on. Must never: ask for the next event
//! with anything still under way.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll};

use lambda_runtime::{Diagnostic, LambdaEvent, LambdaInvocation, Runtime, service_fn, tower};
use serde_json::Value;
use tracing::Instrument;

use crate::handler::{Handler, Rest};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is left of the event that was answered last.
type Left = Rc<RefCell<Option<Rest>>>;

/// Takes events until the platform ends the process.
///
/// # Errors
/// What the platform's API says, if it cannot be reached.
pub async fn run(handler: Handler) -> Result<(), BoxError> {
    let left = Left::default();
    let handler = Rc::new(handler);
    let take = {
        let left = left.clone();
        service_fn(move |event: LambdaEvent<Value>| {
            let (handler, left) = (handler.clone(), left.clone());
            async move {
                let (payload, context) = event.into_parts();
                let span = tracing::info_span!("invocation", request = %context.request_id);
                let handled = handler.handle(payload, context).instrument(span.clone()).await.map_err(|error| {
                    tracing::warn!(parent: &span, "{error}");
                    Diagnostic::from(error)
                })?;
                *left.borrow_mut() = Some(Box::pin(handled.rest.instrument(span)));
                Ok::<Value, Diagnostic>(handled.answer)
            }
        })
    };
    Runtime::new(take).layer(tower::layer::layer_fn(|inner| AfterAnswer { inner, left: left.clone() })).run().await
}

/// Runs what is left of an event once its answer is out.
struct AfterAnswer<S> {
    inner: S,
    left: Left,
}

impl<S> tower::Service<LambdaInvocation> for AfterAnswer<S>
where
    S: tower::Service<LambdaInvocation, Response = (), Error = BoxError>,
    S::Future: 'static,
{
    type Response = ();
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxError>>>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let (answering, left) = (self.inner.call(invocation), self.left.clone());
        Box::pin(async move {
            let answered = answering.await;
            let rest = left.borrow_mut().take();
            if let Some(rest) = rest
                && rest.await
            {
                tracing::error!("a thread of this process is lost in user code: the process ends, and the platform begins another");
                std::process::exit(1);
            }
            answered
        })
    }
}
