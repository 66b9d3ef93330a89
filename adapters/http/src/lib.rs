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
//! | `POST /api/orchestrators/{id}/event-url/{event}?validFor=SECONDS` | makes a signed URL for one event |
//! | `POST /api/events/{id}/{event}?expires=…&life=…&sig=…` | raises that event, without the key |
//! | `/runtime/webhooks/durabletask/…`, `/durabletask/…`, both also below `/api` | the management API |
//! | `GET /`, `GET /healthz`, `GET /openapi.json` | a page for people, a health check, this API in OpenAPI 3.1 |
//!
//! With the feature `client`, `remote` is the other side: a typed client of such a server.
//!
//! Must never: know which store or cloud is behind the client, keep state of its own, or acknowledge what the client has not accepted.

mod answer;
mod body;
mod errors;
mod guard;
mod history;
mod instances;
mod json;
mod key;
mod links;
mod list;
mod openapi;
mod page;
mod purge;
mod query;
#[cfg(feature = "client")]
pub mod remote;
mod rest;
mod route;
mod serve;
mod signed;
mod start;
mod status;
mod urlcode;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use durable::Client;

pub use guard::AllowedHosts;
pub use key::{BadKey, KEY_CHARS, Key};

/// How a server appears to its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The name of the task hub. Requests that name another one get a 404.
    pub task_hub: String,
    /// The name of the connection, as links carry it. Requests may name any.
    pub connection: String,
    /// The scheme of links.
    pub link_scheme: String,
    /// What stands in front of every path where the server lives below one (`/prod`, say): links carry it, and whoever mounts the router has taken
    /// it off. Usually empty.
    pub path_prefix: String,
    /// The path that links lead to: one under which the host has the management API reachable.
    pub link_path: String,
    /// The names that the server answers to, for servers that ask for no key.
    pub allowed_hosts: AllowedHosts,
    /// The key that every request must carry, as `?code=` or in `x-functions-key`; links then carry it too. The page, the health check and
    /// signed URLs need none.
    pub key: Option<Key>,
    /// The platform in front has checked the caller's key, as `?code=` or in `x-functions-key`: links carry it on. Counts where `key` is none.
    pub carry_code: bool,
    /// Takes scheme and authority of links from `X-Forwarded-Proto` and `X-Forwarded-Host`: only behind a proxy that sets both.
    pub trust_forwarded: bool,
    /// Where people outside reach the server, for the signed URLs that orchestrators hand out: hosts take their own address if none is said.
    pub public_url: Option<String>,
    /// How long a start waits for the end at most, whatever the request says: proxies cut off what lasts longer.
    pub wait_cap: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            task_hub: "TestHubName".to_owned(),
            connection: "AzureWebJobsStorage".to_owned(),
            link_scheme: "http".to_owned(),
            path_prefix: String::new(),
            link_path: "/runtime/webhooks/durabletask".to_owned(),
            allowed_hosts: AllowedHosts::local(),
            key: None,
            carry_code: false,
            trust_forwarded: false,
            public_url: None,
            wait_cap: Duration::from_secs(230),
        }
    }
}

/// The router that every host mounts at its root.
pub fn router(client: Client, options: Options) -> Router {
    let api = Arc::new(serve::Api { client, options });
    let guarded = Router::new().fallback(serve::serve).with_state(api.clone()).layer(axum::middleware::from_fn_with_state(api, guard::check));
    guarded.layer(axum::middleware::from_fn(rest::take))
}
