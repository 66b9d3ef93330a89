//! Keeps web pages of other sites away from a server that asks for no key: checks `Host`, `Origin` and `Sec-Fetch-Site`.
//!
//! A page that resolves its own name to 127.0.0.1, or posts a form across sites, is refused before anything else is looked at.
//! Must never let a request through because a header is missing or cannot be read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::answer;
use crate::route::{Route, route};
use crate::serve::Api;

/// The names under which a server may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHosts(Option<Vec<String>>);

impl Default for AllowedHosts {
    fn default() -> Self {
        Self::local()
    }
}

impl AllowedHosts {
    /// `localhost`, `127.0.0.1` and `[::1]`, on any port.
    #[must_use]
    pub fn local() -> Self {
        Self(Some(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec()))
    }

    /// Any name, and requests from any page: only for hosts that authorise every request in another way.
    #[must_use]
    pub const fn any() -> Self {
        Self(None)
    }

    /// This name too: on any port, or with a port on that one only (`build.example:8080`).
    #[must_use]
    pub fn and(mut self, host: impl Into<String>) -> Self {
        if let Some(hosts) = &mut self.0 {
            hosts.push(host.into());
        }
        self
    }

    fn allows(&self, authority: &str) -> bool {
        let Some(hosts) = &self.0 else { return true };
        let Ok(parsed) = authority.parse::<Authority>() else { return false };
        !authority.contains('@') && hosts.iter().any(|host| host.eq_ignore_ascii_case(authority) || host.eq_ignore_ascii_case(parsed.host()))
    }

    /// Why a request is refused; none if it is not.
    fn refusal(&self, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        self.0.as_ref()?;
        let mut named = false;
        let hosts = headers.get_all(header::HOST).iter().map(|value| value.to_str().unwrap_or_default());
        for host in hosts.chain(uri.authority().map(Authority::as_str)) {
            named = true;
            if !self.allows(host) {
                return Some(format!("This server does not answer to the name {host:?}: call it as localhost, or add the name to its allowed hosts."));
            }
        }
        if !named {
            return Some("The request names no host: send a Host header.".to_owned());
        }
        for origin in headers.get_all(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if !authority.is_some_and(|authority| self.allows(authority)) {
                return Some(format!("Requests from pages of {origin:?} are refused: add its host to the allowed hosts of this server."));
            }
        }
        let cross_site = headers.get_all("sec-fetch-site").iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"cross-site"));
        cross_site.then(|| "Requests from pages of other sites are refused.".to_owned())
    }
}

/// Why the middleware refuses a request; none if it does not.
fn refusal(api: &Api, request: &Request) -> Option<String> {
    let why = api.options.allowed_hosts.refusal(request.uri(), request.headers())?;
    // A key, or a signature, is nothing that a browser adds by itself (there are no cookies here): a page of another site that has none gets
    // nowhere, under whatever name it calls.
    let asks_otherwise = api.options.key.is_some() || matches!(route(request.method(), request.uri().path()), Route::Event { .. });
    (!asks_otherwise).then_some(why)
}

/// The middleware.
pub(crate) async fn check(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    match refusal(&api, &request) {
        Some(why) => answer::message(StatusCode::FORBIDDEN, &why),
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn refused(allowed: &AllowedHosts, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        allowed.refusal(&Uri::from_static("/"), &map).is_some()
    }

    #[test]
    fn the_names_of_this_machine_are_answered_on_any_port() {
        let local = AllowedHosts::local();
        for host in ["localhost", "LocalHost:7071", "127.0.0.1:80", "[::1]:7071", "[::1]"] {
            assert!(!refused(&local, &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn foreign_missing_and_unreadable_names_are_refused() {
        let local = AllowedHosts::local();
        for host in ["evil.example", "localhost.evil.example", "localhost@evil.example", "user@localhost", "", "127.0.0.2", "a b"] {
            assert!(refused(&local, &[("host", host)]), "{host}");
        }
        assert!(refused(&local, &[]));
        assert!(refused(&local, &[("host", "localhost"), ("host", "evil.example")]));
    }

    #[test]
    fn a_page_of_another_site_is_refused_and_one_of_this_machine_is_not() {
        let local = AllowedHosts::local();
        for (name, value) in [("origin", "https://evil.example"), ("origin", "null"), ("origin", "file://localhost"), ("sec-fetch-site", "cross-site")] {
            assert!(refused(&local, &[("host", "localhost"), (name, value)]), "{name}: {value}");
        }
        for (name, value) in [("origin", "http://localhost:3000"), ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none")] {
            assert!(!refused(&local, &[("host", "localhost"), (name, value)]), "{name}: {value}");
        }
    }

    #[test]
    fn names_can_be_added_with_or_without_a_port_and_the_check_can_be_left_to_the_platform() {
        let more = AllowedHosts::local().and("build.example").and("other.example:8080");
        assert!(!refused(&more, &[("host", "build.example:1")]));
        assert!(!refused(&more, &[("host", "other.example:8080")]));
        assert!(refused(&more, &[("host", "other.example:8081")]));
        assert!(!refused(&AllowedHosts::any(), &[]));
    }
}
