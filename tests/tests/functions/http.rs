//! Which function takes a request, who may call it, and what the handler sees of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Staged;

#[test]
fn a_functions_route_is_below_the_prefix_and_its_name_unless_it_says_another() {
    let app = Staged::new().http("Named", json!({})).http("Routed", json!({"route": "orders/{id:int}/{part?}"})).start();
    assert_eq!(app.sent("GET", "/api/Named")["path"], "/api/Named");
    assert_eq!(app.sent("GET", "/API/named/")["path"], "/API/named/");
    assert_eq!(app.sent("GET", "/api/orders/7")["path"], "/api/orders/7");
    for path in ["/Named", "/api/Routed", "/api/orders", "/api/orders/x", "/api/orders/7/a/b", "/api"] {
        assert_eq!(app.code("GET", path), 404, "{path}");
    }
    let empty = Staged::new().http("Named", json!({})).host(|host| host["extensions"]["http"] = json!({"routePrefix": ""})).start();
    assert_eq!(empty.sent("GET", "/named")["path"], "/named");
    assert_eq!(empty.code("GET", "/api/named"), 404);
}

#[test]
fn functions_are_tried_by_name_and_the_first_that_fits_wins() {
    let app =
        Staged::new().http("B", json!({"route": "{*path}"})).http("a", json!({"route": "a/{x}", "methods": ["POST"]})).http("c", json!({"route": "c"})).start();
    for (method, path) in [("POST", "/api/a/1"), ("GET", "/api/a/1"), ("GET", "/api/c")] {
        app.sent(method, path);
    }
    let started = |name| app.host.counts(name).started;
    assert_eq!((started("a"), started("B"), started("c")), (1, 2, 0), "a wrong verb goes on to the catch-all, and that hides what sorts behind it");
}

#[test]
fn a_wrong_verb_is_not_found() {
    let app = Staged::new().http("only", json!({"methods": ["post"]})).start();
    assert_eq!((app.code("POST", "/api/only"), app.code("GET", "/api/only")), (200, 404));
}

#[test]
fn reserved_paths_never_reach_a_function_and_are_served_below_the_prefix() {
    let empty = Staged::catch_all().host(|host| host["extensions"]["http"] = json!({"routePrefix": ""})).start_with(|options| options.master_key("m"));
    for path in ["/admin/host/status", "/Admin", "/runtime/webhooks/durabletask/instances/x", "/RUNTIME/WebHooks/x"] {
        let mut client = empty.client();
        assert_eq!((client.get(path).code, client.get(&format!("{path}?code=m")).code), (401, 404), "{path}");
    }
    assert_eq!(empty.sent("GET", "/runtime/other")["path"], "/runtime/other");
    let prefixed = Staged::catch_all().start();
    let path = "/api/runtime/webhooks/durabletask/instances/x";
    assert_eq!(prefixed.sent("GET", path)["path"], path);
    assert_eq!(prefixed.sent("GET", "/api/admin/x")["path"], "/api/admin/x");
}

#[test]
fn keys_are_asked_for_by_level() {
    let app = Staged::new()
        .http("open", json!({"authLevel": "anonymous"}))
        .http("keyed", json!({}))
        .http("mine", json!({"authLevel": "admin"}))
        .start_with(|options| options.cloud().function_key("f").master_key("m"));
    let code = |path: &str, key: &str| app.client().with_key(key).get(path).code;
    assert_eq!(app.code("GET", "/api/open"), 200);
    let refused = app.client().get("/api/keyed");
    assert_eq!((refused.code, refused.body.as_str()), (401, ""));
    assert_eq!((code("/api/keyed", "f"), code("/api/keyed", "m"), code("/api/keyed", "x")), (200, 200, 401));
    assert_eq!((code("/api/mine", "f"), code("/api/mine", "m")), (401, 200));
    let by_query = app.sent("GET", "/api/keyed?Code=f&a=1");
    assert_eq!(by_query["query"], "Code=f&a=1", "the handler sees the key");
    assert_eq!(by_query["headers"]["x-forwarded-proto"], "http");
    assert_eq!(app.code("GET", "/api/nowhere"), 404, "what is not there needs no key");
}

#[test]
fn without_the_cloud_nobody_asks_for_keys() {
    let app = Staged::catch_all().start();
    let environment = app.sent("GET", "/api/x?do=environment");
    assert_eq!(environment["AZURE_FUNCTIONS_ENVIRONMENT"], "Development");
    assert_eq!(environment["WEBSITE_HOSTNAME"], app.host.address().to_string());
}

#[test]
fn the_root_is_the_hosts_unless_a_function_takes_it() {
    let app = Staged::catch_all().start();
    assert!(app.client().get("/").expect(200).body.contains("up and running"));
    let off = Staged::catch_all().start_with(|options| options.setting("AzureWebJobsDisableHomepage", "true"));
    assert_eq!(off.client().get("/").expect(204).body, "");
    let own = Staged::catch_all().host(|host| host["extensions"]["http"] = json!({"routePrefix": ""})).start();
    assert_eq!(own.code("GET", "/"), 404, "the handler's own answer");
    assert_eq!(own.host.counts("zz").succeeded, 1);
}

#[test]
fn a_request_is_built_again_for_the_handler() {
    let app = Staged::catch_all().start();
    let headers = [("User-Agent", "curl/8"), ("X-Mine", "1"), ("Connection", "keep-alive")];
    let sent = app.client().request_with("PUT", "/api/a%20b/%2F?x=1&y=a+b&X=2&z", &headers, Some(r#"{"a":1}"#)).unwrap().expect(200).json();
    assert_eq!((&sent["method"], &sent["path"], &sent["body"]), (&json!("PUT"), &json!("/api/a%20b/%2F"), &json!(r#"{"a":1}"#)));
    assert_eq!(sent["query"], "x=1%2C2&y=a%20b&z=", "repeated names become one value");
    let headers = &sent["headers"];
    assert_eq!((&headers["x-mine"], &headers["content-type"]), (&json!("1"), &json!("application/json")));
    assert_eq!(headers["host"], app.host.address().to_string(), "the public name");
    assert_eq!(headers["user-agent"], "curl/8 Azure-Functions-Host/4.1037.0.0");
    assert_eq!(headers["x-azure-functions-invocationid"].as_str().unwrap().len(), 36);
    assert!(headers["x-azure-functions-hostversion"].is_string());
    assert_eq!(app.sent("GET", "/api/x")["query"], json!(null));
}

#[test]
fn a_body_of_unknown_length_arrives_empty() {
    let app = Staged::catch_all().start();
    let mut stream = TcpStream::connect(app.host.address()).unwrap();
    let request =
        format!("POST /api/x HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", app.host.address());
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""body":"""#), "{answer}");
}

#[test]
fn what_is_too_large_is_refused() {
    let app = Staged::catch_all().start_with(|options| options.body_limit(10));
    assert_eq!(app.client().post("/api/x", r#""12345678""#).code, 200);
    assert_eq!(app.client().post("/api/x", r#""123456789""#).code, 413);
    assert_eq!(app.host.counts("zz").started, 1);
}

#[test]
fn an_answer_goes_back_unchanged_and_is_a_success() {
    let app = Staged::catch_all().start();
    let teapot = app.client().get("/api/x?do=status%3D418");
    assert_eq!((teapot.code, teapot.body.as_str()), (418, "as asked"));
    assert!(teapot.head.to_lowercase().contains("content-type: text/plain"), "{teapot:?}");
    assert_eq!(app.code("GET", "/api/x?do=status%3D500"), 500);
    let moved = app.client().get("/api/x?do=redirect");
    assert!(moved.code == 302 && moved.head.contains("location: /elsewhere"), "not followed: {moved:?}");
    let counts = app.host.counts("zz");
    assert_eq!((counts.succeeded, counts.failed), (3, 0));
}

#[test]
fn answers_without_a_body_go_back_too() {
    let app = Staged::catch_all().start();
    for (method, path, code) in [("HEAD", "/api/x", 200), ("GET", "/api/x?do=status%3D204", 204), ("GET", "/api/x?do=status%3D304", 304)] {
        let answer = app.client().request(method, path, None).unwrap();
        assert_eq!((answer.code, answer.body.as_str()), (code, ""), "{method} {path}");
    }
    assert_eq!(app.host.counts("zz").succeeded, 3);
}

#[test]
fn a_caller_waits_no_longer_than_the_platform_lets_it_and_the_work_goes_on() {
    let app = Staged::catch_all().start_with(|options| options.caller_cap(Duration::from_millis(300)));
    app.until_running();
    let begun = Instant::now();
    assert_eq!(app.code("GET", "/api/x?do=sleep%3D1200"), 504);
    assert!(begun.elapsed() < Duration::from_millis(1200));
    assert_eq!(app.host.counts("zz").succeeded, 0);
    app.until("the execution ends", |host| host.counts("zz").succeeded == 1);
}
