//! Links: the request's own authority, the public management path, and the id encoded in form style.
//!
//! Only links whose endpoints are served stand in the payload. Must never take a scheme or host from anywhere but the request and the options.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use durable::InstanceId;
use serde::Serialize;

use crate::Options;
use crate::urlcode;

/// Where the client reached this server: scheme and authority, without a slash at the end.
pub(crate) fn origin(options: &Options, uri: &Uri, headers: &HeaderMap) -> String {
    if options.trust_forwarded
        && let Some(origin) = forwarded(headers)
    {
        return origin;
    }
    let named = uri.authority().map(Authority::as_str).or_else(|| headers.get(header::HOST).and_then(|value| value.to_str().ok()));
    let authority = named.filter(|host| !host.contains('@') && host.parse::<Authority>().is_ok()).unwrap_or("localhost");
    format!("{}://{authority}", options.link_scheme)
}

/// What the nearest proxy says, if it says both halves and both make sense.
fn forwarded(headers: &HeaderMap) -> Option<String> {
    let first = |name: &str| headers.get(name)?.to_str().ok()?.split(',').next().map(str::trim);
    let (host, scheme) = (first("x-forwarded-host")?, first("x-forwarded-proto")?.to_ascii_lowercase());
    let sensible = matches!(scheme.as_str(), "http" | "https") && !host.contains('@') && host.parse::<Authority>().is_ok();
    sensible.then(|| format!("{scheme}://{host}"))
}

/// The payload of a start, in the order of the reference, and a field of ours behind it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartPayload {
    id: String,
    pub status_query_get_uri: String,
    send_event_post_uri: String,
    terminate_post_uri: String,
    purge_history_delete_uri: String,
    restart_post_uri: String,
    rewind_post_uri: String,
    suspend_post_uri: String,
    resume_post_uri: String,
    /// Ours: where a signed URL for one event is made, to be handed to people who must not have the key.
    signed_event_url_post_uri: String,
}

impl StartPayload {
    /// `code` is the key that links carry, if they carry one.
    pub fn new(options: &Options, base: &str, code: Option<&str>, instance: &InstanceId) -> Self {
        let mut common = format!("taskHub={}&connection={}", urlcode::encode(&options.task_hub), urlcode::encode(&options.connection));
        if let Some(code) = code {
            common.push_str("&code=");
            common.push_str(&urlcode::encode(code));
        }
        let one = format!("{base}{}/instances/{}", options.link_path.trim_end_matches('/'), urlcode::encode(instance.as_str()));
        let with_reason = |operation: &str| format!("{one}/{operation}?reason={{text}}&{common}");
        Self {
            id: instance.as_str().to_owned(),
            status_query_get_uri: format!("{one}?{common}"),
            send_event_post_uri: format!("{one}/raiseEvent/{{eventName}}?{common}"),
            terminate_post_uri: with_reason("terminate"),
            purge_history_delete_uri: format!("{one}?{common}"),
            restart_post_uri: format!("{one}/restart?{common}"),
            rewind_post_uri: with_reason("rewind"),
            suspend_post_uri: with_reason("suspend"),
            resume_post_uri: with_reason("resume"),
            signed_event_url_post_uri: format!(
                "{base}/api/orchestrators/{}/event-url/{{eventName}}?validFor={{seconds}}&{common}",
                urlcode::encode(instance.as_str())
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_name_the_authority_of_the_request_and_keep_their_braces() {
        let options = Options::default();
        let headers = HeaderMap::from_iter([(header::HOST, "127.0.0.1:7071".parse().unwrap())]);
        let origin = origin(&options, &Uri::from_static("/x"), &headers);
        let payload = StartPayload::new(&options, &origin, None, &InstanceId::new("a b").unwrap());
        let base = "http://127.0.0.1:7071/runtime/webhooks/durabletask/instances/a+b";
        let common = "taskHub=TestHubName&connection=AzureWebJobsStorage";
        assert_eq!(payload.status_query_get_uri, format!("{base}?{common}"));
        assert_eq!(payload.send_event_post_uri, format!("{base}/raiseEvent/{{eventName}}?{common}"));
        assert_eq!(payload.terminate_post_uri, format!("{base}/terminate?reason={{text}}&{common}"));
        let text = serde_json::to_string(&payload).unwrap();
        let order =
            ["\"id\"", "statusQuery", "sendEvent", "terminatePost", "purgeHistory", "restartPost", "rewindPost", "suspendPost", "resumePost", "signedEventUrl"];
        assert!(order.map(|key| text.find(key).unwrap()).is_sorted());
    }

    #[test]
    fn what_a_proxy_says_counts_only_if_it_is_trusted_and_says_both() {
        let trusting = Options { trust_forwarded: true, ..Options::default() };
        let of = |options: &Options, pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::from_iter([(header::HOST, "inner:1".parse().unwrap())]);
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            origin(options, &Uri::from_static("/"), &headers)
        };
        let both = [("x-forwarded-host", "outer.example, proxy"), ("x-forwarded-proto", "https")];
        assert_eq!(of(&trusting, &both), "https://outer.example");
        assert_eq!(of(&Options::default(), &both), "http://inner:1");
        for half in [&both[..1], &both[1..], &[both[1], ("x-forwarded-host", "a@b")], &[both[0], ("x-forwarded-proto", "javascript")]] {
            assert_eq!(of(&trusting, half), "http://inner:1");
        }
    }

    #[test]
    fn a_host_that_is_no_authority_does_not_get_into_links() {
        let headers = HeaderMap::from_iter([(header::HOST, "me@evil.example".parse().unwrap())]);
        assert_eq!(origin(&Options::default(), &Uri::from_static("/"), &headers), "http://localhost");
    }
}
