//! The HTTP client of every SDK client: one `reqwest` client, the one that the program has for its own requests too.
//!
//! The SDK's own client brings a second HTTP stack with HTTP/2, half a megabyte that every cold start loads; its services are spoken to by HTTP/1.1.
//! Must never: repeat a request, follow a redirection, or go through a proxy that the environment names for others.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);

/// An HTTP client for the configuration of SDK clients. TLS is by ring, with the system's certificates.
///
/// # Errors
/// What `reqwest` says, where TLS cannot be set up.
pub fn http_client() -> Result<SharedHttpClient, reqwest::Error> {
    // Fails only if there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().connect_timeout(CONNECT).redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
    Ok(SharedHttpClient::new(Http(client)))
}

#[derive(Debug, Clone)]
struct Http(reqwest::Client);

impl HttpClient for Http {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|e| ConnectorError::user(e.into()))?;
            let (parts, body) = request.into_parts();
            let body = body.bytes().map(Bytes::copy_from_slice).ok_or_else(|| ConnectorError::user("a body that is a stream".into()))?;
            let request = reqwest::Request::try_from(axum::http::Request::from_parts(parts, body)).map_err(|e| ConnectorError::user(e.into()))?;
            let response = client.execute(request).await.map_err(failed)?;
            let (status, headers) = (response.status(), response.headers().clone());
            let mut answer = axum::http::Response::new(SdkBody::from(response.bytes().await.map_err(failed)?));
            (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
            HttpResponse::try_from(answer).map_err(|e| ConnectorError::other(e.into(), None))
        })
    }
}

fn failed(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else if error.is_builder() {
        ConnectorError::user(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}
