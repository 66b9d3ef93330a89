//! Signed URLs for one event of one instance, against a real engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod common;

use axum::body::Body;
use common::{Server, request};
use durable::event_url::EventUrls;
use durable::header::RuntimeStatus;
use durable::{InstanceId, Timestamp};
use durable_http::{Key, Options};
use serde_json::json;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A URL for the event `Go`, without its origin.
async fn url_for(server: &Server, id: &str) -> String {
    let issued = server.post(&format!("/api/orchestrators/{id}/event-url/Go?validFor=60&code={KEY}"), "").await;
    assert_eq!(issued.code(), 200, "{}", issued.body);
    issued.json()["url"].as_str().unwrap().strip_prefix("http://localhost:7071").unwrap().to_owned()
}

#[tokio::test]
async fn a_signed_url_raises_its_event_without_the_key_from_any_page_and_only_by_post() {
    let server = Server::with(Options { key: Some(Key::new(KEY).unwrap()), ..Options::default() });
    server.post(&format!("/api/orchestrators/waits/a%20b?code={KEY}"), "").await;
    server.becomes("a b", RuntimeStatus::Running).await;
    assert_eq!(server.post("/api/orchestrators/a+b/event-url/Go?validFor=60", "").await.code(), 401);
    let url = url_for(&server, "a+b").await;
    for method in ["GET", "HEAD", "PUT"] {
        let looked = server.send(request(method, &url).body(Body::empty()).unwrap()).await;
        assert_eq!((looked.code(), looked.header("allow")), (405, Some("POST")), "{method}");
    }
    let from_outside = axum::http::Request::builder().method("POST").uri(&url).header("host", "outer.example").header("origin", "https://mail.example");
    let raised = server.send(from_outside.header("content-type", "application/json").body(Body::from("{\"yes\":1}")).unwrap()).await;
    assert_eq!((raised.code(), raised.json()), (202, json!({"status": "event_raised", "instance_id": "a b", "event": "Go"})));
    assert_eq!(server.becomes("a b", RuntimeStatus::Completed).await.output.unwrap().stored().as_ref(), b"{\"yes\":1}");
    assert_eq!(server.post(&url, "1").await.code(), 202, "the same URL again is the same event, which was taken");
}

#[tokio::test]
async fn a_forged_url_is_403_and_an_expired_one_or_one_of_another_life_410() {
    let server = Server::new();
    server.started("waits", "f", "", RuntimeStatus::Running).await;
    let url = url_for(&server, "f").await;
    let forged = [url.replace("/Go?", "/Other?"), url.replace("/f/", "/g/"), url.replace("expires=1", "expires=9"), url.split('?').next().unwrap().to_owned()];
    for forged in forged {
        assert_eq!(server.post(&forged, "1").await.code(), 403, "{forged}");
    }
    let life = server.becomes("f", RuntimeStatus::Running).await.header.incarnation;
    let urls = EventUrls::new("", [7; 32]).unwrap();
    let expired = urls.url(&InstanceId::new("f").unwrap(), life, "Go", Timestamp(1)).unwrap();
    assert_eq!(server.post(&expired, "1").await.json(), json!({"Message": "This URL has expired."}));
    let never = urls.url(&InstanceId::new("nobody").unwrap(), life, "Go", Timestamp::MAX).unwrap();
    assert_eq!(server.post(&never, "1").await.code(), 410);

    assert_eq!(server.post("/durabletask/instances/f/terminate", "").await.code(), 202);
    server.becomes("f", RuntimeStatus::Terminated).await;
    assert_eq!(server.post(&url, "1").await.code(), 410);
    server.started("waits", "f", "", RuntimeStatus::Running).await;
    assert_eq!(server.post(&url, "1").await.code(), 410);
    assert_eq!(server.get("/durabletask/instances/f").await.json()["runtimeStatus"], "Running");
}

#[tokio::test]
async fn a_signed_url_takes_json_alone_and_raises_its_event_once_however_often_it_is_used() {
    let server = Server::new();
    server.started("waits", "k", "", RuntimeStatus::Running).await;
    let url = url_for(&server, "k").await;
    assert_eq!(server.post(&url, "{").await.code(), 400);
    let form = request("POST", &url).header("content-type", "application/x-www-form-urlencoded").body(Body::from("a=b")).unwrap();
    assert_eq!(server.send(form).await.code(), 400);
    let url = url.replace("/Go?", "/go?");
    for key in ["click-1", "click-2", "click-3"] {
        let again = request("POST", &url).header("content-type", "application/json").header("idempotency-key", key);
        assert_eq!(server.send(again.body(Body::from("true")).unwrap()).await.code(), 202);
        server.becomes("k", RuntimeStatus::Completed).await;
    }
    let shown = server.get("/durabletask/instances/k?showHistory=true").await.json();
    assert_eq!(shown["historyEvents"].as_array().unwrap().iter().filter(|event| event["EventType"] == "EventRaised").count(), 1, "{shown}");
}

#[tokio::test]
async fn a_url_is_made_for_a_live_instance_and_a_time_only() {
    let server = Server::new();
    server.started("waits", "u", "", RuntimeStatus::Running).await;
    server.started("hello", "done", "", RuntimeStatus::Completed).await;
    for (path, code) in
        [("u/event-url/Go", 400), ("u/event-url/Go?validFor=0", 400), ("done/event-url/Go?validFor=1", 410), ("nobody/event-url/Go?validFor=1", 404)]
    {
        assert_eq!(server.post(&format!("/api/orchestrators/{path}"), "").await.code(), code, "{path}");
    }
    let issued = server.post("/api/orchestrators/u/event-url/Go?validFor=3600", "").await.json();
    let expires = Timestamp::parse(issued["expires"].as_str().unwrap()).unwrap();
    assert!(expires >= server.client.now().after(std::time::Duration::from_secs(3500)));
    assert!(issued["url"].as_str().unwrap().contains(&format!("?expires={}&", expires.as_millis() / 1000)), "{issued}");
}

#[tokio::test]
async fn the_answer_to_a_start_says_where_a_url_is_made() {
    let server = Server::with(Options { key: Some(Key::new(KEY).unwrap()), ..Options::default() });
    let started = server.post(&format!("/api/orchestrators/waits/a%20b?code={KEY}"), "").await.json();
    let link = started["signedEventUrlPostUri"].as_str().unwrap().replace("http://localhost:7071", "");
    let issued = server.post(&link.replace("{eventName}", "Go").replace("{seconds}", "60"), "").await;
    assert_eq!(issued.code(), 200, "{}", issued.body);
    assert!(!issued.body.contains(KEY), "the key is not in what goes out");
}
