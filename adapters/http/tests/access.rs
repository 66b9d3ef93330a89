//! Who may call: every route, with no key, a wrong one and the right one, under every kind of name and from every kind of page, on a server
//! that asks for a key and on one that does not.

mod common;

use axum::body::Body;
use axum::http::Request;
use common::Server;
use durable_http::{Key, Options};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const WRONG: &str = "0123456789abcdef0123456789abcdeF";

/// Every operation, and nothing that needs more than to be routed.
const ROUTES: [(&str, &str); 20] = [
    ("GET", "/openapi.json"),
    ("POST", "/api/orchestrators/hello"),
    ("POST", "/api/orchestrators/hello/fixed"),
    ("GET", "/api/orchestrators/none/status"),
    ("POST", "/api/orchestrators/none/raise/Go"),
    ("POST", "/api/orchestrators/none/event-url/Go"),
    ("POST", "/runtime/webhooks/durabletask/orchestrators/hello"),
    ("POST", "/durabletask/orchestrators/hello"),
    ("GET", "/runtime/webhooks/durabletask/instances"),
    ("DELETE", "/runtime/webhooks/durabletask/instances"),
    ("GET", "/runtime/webhooks/durabletask/instances/none"),
    ("DELETE", "/runtime/webhooks/durabletask/instances/none"),
    ("POST", "/runtime/webhooks/durabletask/instances/none/raiseEvent/Go"),
    ("POST", "/runtime/webhooks/durabletask/instances/none/terminate"),
    ("POST", "/runtime/webhooks/durabletask/instances/none/suspend"),
    ("POST", "/runtime/webhooks/durabletask/instances/none/resume"),
    ("POST", "/runtime/webhooks/durabletask/instances/none/rewind"),
    ("POST", "/runtime/webhooks/durabletask/instances/none/restart"),
    ("GET", "/durabletask/instances/none"),
    ("GET", "/nowhere"),
];

const HOSTS: [&str; 3] = ["localhost:7071", "127.0.0.1", "evil.example"];
const PAGES: [(&str, &str); 4] = [("x-no", "page"), ("origin", "http://localhost:3000"), ("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];

/// How a key is sent: not at all, in the query, or as a header.
#[derive(Debug, Clone, Copy)]
enum Sent {
    Nothing,
    Query(&'static str),
    Header(&'static str),
}

const KEYS: [Sent; 6] = [Sent::Nothing, Sent::Query(""), Sent::Query(WRONG), Sent::Header(WRONG), Sent::Query(KEY), Sent::Header(KEY)];

fn asked(route: (&str, &str), sent: Sent, host: &str, page: (&str, &str)) -> Request<Body> {
    let uri = if let Sent::Query(key) = sent { format!("{}?code={key}", route.1) } else { route.1.to_owned() };
    let request = Request::builder().method(route.0).uri(uri).header("host", host).header("content-type", "application/json").header(page.0, page.1);
    let request = if let Sent::Header(key) = sent { request.header("x-functions-key", key) } else { request };
    request.body(Body::from("null")).unwrap_or_default()
}

#[tokio::test]
async fn a_server_with_a_key_lets_the_key_through_from_anywhere_and_nothing_else() {
    let server = Server::with(Options { key: Key::new(KEY.to_owned()).ok(), ..Options::default() });
    for route in ROUTES {
        for sent in KEYS {
            let opens = matches!(sent, Sent::Query(KEY) | Sent::Header(KEY));
            for host in HOSTS {
                for page in PAGES {
                    let code = server.send(asked(route, sent, host, page)).await.code();
                    assert_eq!(code == 401, !opens, "{route:?} {sent:?} {host} {page:?}: {code}");
                    assert_ne!(code, 403, "{route:?} {sent:?} {host} {page:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_server_without_a_key_answers_its_own_names_and_pages_only_whatever_key_is_sent() {
    let server = Server::new();
    for route in ROUTES {
        for sent in KEYS {
            for host in HOSTS {
                for page in PAGES {
                    let foreign = host == "evil.example" || matches!(page, ("origin", "https://evil.example") | ("sec-fetch-site", _));
                    let code = server.send(asked(route, sent, host, page)).await.code();
                    assert_eq!(code == 403, foreign, "{route:?} {sent:?} {host} {page:?}: {code}");
                    assert_ne!(code, 401, "{route:?} {sent:?} {host} {page:?}");
                }
            }
        }
    }
}
