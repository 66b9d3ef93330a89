//! The SDK's clients: built once, before the first invocation, over one HTTP client with one TLS stack.
//!
//! Must never: retry a write of the store behind its back (the store counts, and knows what may be sent again).

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::{Builder, tls};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);

/// How long one try of a call may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Region, credentials and endpoints as the environment has them (`AWS_REGION`, `AWS_ENDPOINT_URL_DYNAMODB`, …).
pub async fn config() -> SdkConfig {
    let http = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts)
        // What is started twice by a retry is started once: executions, schedules and events carry their names.
        .retry_config(RetryConfig::standard().with_max_attempts(4))
        .load()
        .await
}

/// What is said of a call that failed, in one sentence: the service's own words if it answered, else the whole chain of causes.
pub(crate) fn words<E, R>(error: &aws_smithy_runtime_api::client::result::SdkError<E, R>) -> String
where
    R: std::fmt::Debug + 'static,
    E: aws_smithy_types::error::metadata::ProvideErrorMetadata + std::error::Error + 'static,
{
    let code = error.as_service_error().and_then(|service| Some(format!("{}: {}", service.meta().code()?, service.meta().message().unwrap_or("no message"))));
    code.unwrap_or_else(|| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        text
    })
}
