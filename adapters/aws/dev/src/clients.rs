//! What SDK clients are made of that speak to this machine's stand-ins. Must never: look for real credentials.

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider, StalledStreamProtectionConfig};
use aws_types::SdkConfig;

/// The configuration of a client of the stand-in at this endpoint. It waits for an answer however slow the machine is: no stand-in is given up for
/// having sent nothing for a second.
///
/// # Errors
/// What `reqwest` says, where TLS cannot be set up.
pub fn client_config(endpoint: &str) -> Result<SdkConfig, reqwest::Error> {
    Ok(SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::from_static(crate::REGION))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("local", "local", None, None, "local")))
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .http_client(durable_aws::http_client()?)
        .build())
}
