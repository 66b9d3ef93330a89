//! Hands work on to another invocation of this very function: an asynchronous event, which the service keeps until it is done.

use std::sync::Arc;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use durable::ports::{PortFuture, StoreError};
use durable_host::invoked::{self, Work};
use tokio::sync::Semaphore;

use crate::clients::words;

/// Events that are sent at a time.
const AT_A_TIME: usize = 64;

/// Sends events to this function.
#[derive(Debug, Clone)]
pub struct Invoker {
    client: Client,
    function: String,
    at_a_time: Arc<Semaphore>,
}

impl Invoker {
    /// Events to the function of this name.
    #[must_use]
    pub fn new(client: Client, function: String) -> Self {
        Self { client, function, at_a_time: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// The service tries three times to have an event done.
    async fn send(&self, work: &Work) -> Result<(), StoreError> {
        let trouble = |what: String| StoreError::Unavailable(format!("work cannot be handed on (lambda:InvokeFunction on {}): {what}", self.function));
        let payload = serde_json::to_vec(work).map_err(|e| trouble(e.to_string()))?;
        // The semaphore is never closed.
        let _permit = self.at_a_time.acquire().await;
        let invoke = self.client.invoke().function_name(&self.function).invocation_type(InvocationType::Event).payload(Blob::new(payload));
        invoke.send().await.map(|_| ()).map_err(|e| trouble(words(&e)))
    }

    /// The function's own URL; none if it has none.
    ///
    /// # Errors
    /// What the service says.
    pub async fn function_url(&self) -> Result<Option<String>, String> {
        match self.client.get_function_url_config().function_name(&self.function).send().await {
            Ok(config) => Ok(Some(config.function_url().to_owned())),
            Err(e) if e.as_service_error().is_some_and(|e| e.is_resource_not_found_exception()) => Ok(None),
            Err(e) => Err(format!("the function's URL cannot be asked for (lambda:GetFunctionUrlConfig): {}; say it in DURABLE_PUBLIC_URL", words(&e))),
        }
    }
}

impl invoked::Invoker for Invoker {
    fn send(&self, work: Work) -> PortFuture<Result<(), StoreError>> {
        let invoker = self.clone();
        Box::pin(async move { Self::send(&invoker, &work).await })
    }
}
