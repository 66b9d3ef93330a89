//! What the SDK's clients are made of: the environment that Lambda gives a function, and one HTTP client for all of them.
//!
//! The chain of places where `aws-config` looks for credentials is left out on purpose: a function has them in its environment for as long as its
//! process lives, and the chain (files, roles, metadata services, a client of its own) is loaded at each cold start. Must never: retry a write of
//! the store behind its back (the store counts, and knows what may be sent again).

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_async::time::{SharedTimeSource, SystemTimeSource};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::http_client::http_client;

/// How long one try of a call may take.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Why no client can be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientsError {
    /// A variable is missing that Lambda sets.
    #[error("{0} is not set: Lambda sets it for every function; set it yourself where you run this program elsewhere")]
    Missing(&'static str),
    /// There can be no HTTP client.
    #[error("the HTTP client cannot be made: {0}")]
    Http(#[from] reqwest::Error),
}

/// Region, credentials and endpoints as the environment has them (`AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL_DYNAMODB`, …).
///
/// # Errors
/// [`ClientsError`] names what is missing.
pub fn config() -> Result<SdkConfig, ClientsError> {
    let needed = |name: &'static str| variable(name).ok_or(ClientsError::Missing(name));
    let credentials = Credentials::new(needed("AWS_ACCESS_KEY_ID")?, needed("AWS_SECRET_ACCESS_KEY")?, variable("AWS_SESSION_TOKEN"), None, "environment");
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build();
    Ok(SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(needed("AWS_REGION")?))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .service_config(Environment)
        .http_client(http_client()?)
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .time_source(SharedTimeSource::new(SystemTimeSource::new()))
        .timeout_config(timeouts)
        // What is started twice by a retry is started once: executions, schedules and events carry their names.
        .retry_config(RetryConfig::standard().with_max_attempts(4))
        .build())
}

/// What the environment says for one service (`AWS_ENDPOINT_URL_SFN`), or for all of them (`AWS_ENDPOINT_URL`).
#[derive(Debug)]
struct Environment;

impl LoadServiceConfig for Environment {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_ascii_uppercase().replace(' ', "_");
        variable(&format!("{}_{service}", key.env())).or_else(|| variable(key.env()))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
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
