//! The wire: the short API and the management API of Durable Functions, one axum router for every host.
//!
//! ```no_run
//! # fn serve(client: durable::Client) -> axum::Router {
//! durable_http::router(client, durable_http::Options::default())
//! # }
//! ```
//!
//! | request | does |
//! | --- | --- |
//! | `POST /api/orchestrators/{name}[/{id}]` | starts an instance; the body is its input, any JSON or nothing |
//! | `GET /api/orchestrators/{id}/status` | shows it |
//! | `POST /api/orchestrators/{id}/raise/{event}` | raises an event; the body is its data |
//! | `/runtime/webhooks/durabletask/…`, `/durabletask/…`, `/api/runtime/webhooks/durabletask/…` | the management API |
//! | `GET /`, `GET /healthz`, `GET /openapi.json` | a page for people, a health check, this API in OpenAPI 3.1 |
//!
//! Must never: know which store or cloud is behind the client, keep state of its own, or acknowledge what the client has not accepted.

mod answer;
mod body;
mod errors;
mod guard;
mod history;
mod instances;
mod json;
mod links;
mod list;
mod openapi;
mod page;
mod query;
mod rest;
mod route;
mod serve;
mod start;
mod status;
mod urlcode;

use std::sync::Arc;

use axum::Router;
use durable::Client;

pub use guard::AllowedHosts;

/// How a server appears to its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The name of the task hub. Requests that name another one get a 404.
    pub task_hub: String,
    /// The name of the connection, as links carry it. Requests may name any.
    pub connection: String,
    /// The scheme of links.
    pub link_scheme: String,
    /// The path that links lead to: one under which the host has the management API reachable.
    pub link_path: String,
    /// The names that the server answers to, for servers that ask for no key.
    pub allowed_hosts: AllowedHosts,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            task_hub: "TestHubName".to_owned(),
            connection: "AzureWebJobsStorage".to_owned(),
            link_scheme: "http".to_owned(),
            link_path: "/runtime/webhooks/durabletask".to_owned(),
            allowed_hosts: AllowedHosts::local(),
        }
    }
}

/// The router that every host mounts at its root.
pub fn router(client: Client, options: Options) -> Router {
    let allowed = Arc::new(options.allowed_hosts.clone());
    let api = Arc::new(serve::Api { client, options });
    let guarded = Router::new().fallback(serve::serve).with_state(api).layer(axum::middleware::from_fn_with_state(allowed, guard::check));
    guarded.layer(axum::middleware::from_fn(rest::take))
}
