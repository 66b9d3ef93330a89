//! Restart, purge of many, start and wait, idempotency keys, the server's key, and bad input, against a real engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod common;

use std::time::Duration;

use axum::body::Body;
use common::{Answer, Server, request};
use durable::header::RuntimeStatus;
use durable::limits;
use durable_http::{Key, Options};
use serde_json::json;

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn at(path: &str) -> String {
    format!("/runtime/webhooks/durabletask/{path}")
}

/// Posts JSON under an idempotency key.
async fn post_once(server: &Server, path: &str, key: &str, body: &'static str) -> Answer {
    let request = request("POST", path).header("content-type", "application/json").header("idempotency-key", key);
    server.send(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn a_restart_runs_the_stored_input_under_a_new_id_or_under_its_own_once_it_has_ended() {
    let server = Server::new();
    server.started("hello", "r", "[1.50]", RuntimeStatus::Completed).await;
    let anew = server.post(&at("instances/r/restart"), "").await;
    assert_eq!((anew.code(), anew.header("retry-after")), (202, Some("10")));
    let id = anew.json()["id"].as_str().unwrap().to_owned();
    assert_ne!(id, "r");
    assert_eq!(server.becomes(&id, RuntimeStatus::Completed).await.input.stored().as_ref(), b"[1.50]");

    let before = server.becomes("r", RuntimeStatus::Completed).await.header.incarnation;
    let same = server.post(&at("instances/r/restart?restartWithNewInstanceId=False"), "").await;
    assert_eq!((same.code(), &same.json()["id"]), (202, &json!("r")));
    assert_ne!(server.becomes("r", RuntimeStatus::Completed).await.header.incarnation, before);
    let link = same.json()["restartPostUri"].as_str().unwrap().replace("http://localhost:7071", "");
    assert_eq!(server.post(&link, "").await.code(), 202);
}

#[tokio::test]
async fn a_restart_of_an_unknown_instance_is_400_and_of_a_live_one_under_its_id_409() {
    let server = Server::new();
    for id in ["nobody", "@counter@1"] {
        let unknown = server.post(&at(&format!("instances/{id}/restart")), "").await;
        assert_eq!((unknown.code(), &unknown.json()["ExceptionType"]), (400, &json!("System.ArgumentException")));
    }
    server.started("waits", "w", "", RuntimeStatus::Running).await;
    assert_eq!(server.post(&at("instances/w/restart?restartWithNewInstanceId=false"), "").await.code(), 409);
    assert_eq!(server.post(&at("instances/w/restart"), "").await.code(), 202);
}

#[tokio::test]
async fn many_ended_instances_are_purged_and_live_ones_stay() {
    let server = Server::new();
    for n in 0..103 {
        assert_eq!(server.post(&at(&format!("orchestrators/hello/p{n}?timeout=20")), "").await.code(), 200);
    }
    server.started("waits", "alive", "", RuntimeStatus::Running).await;
    server.started("fragile", "failed", "", RuntimeStatus::Failed).await;
    assert_eq!(server.delete(&at("instances?createdTimeFrom=2000-01-01T00:00:00Z&runtimeStatus=Failed")).await.json(), json!({"instancesDeleted": 1}));
    // A state by a wrong name, and one that no ended instance has, name nothing.
    for none in ["runtimeStatus=completed", "runtimeStatus=Running", "createdTimeTo=2000-01-02T00:00:00Z"] {
        assert!(server.delete(&at(&format!("instances?createdTimeFrom=2000-01-01T00:00:00Z&{none}"))).await.is_bare(404), "{none}");
    }
    let all = server.delete(&at("instances/?createdTimeFrom=2000-01-01T00:00:00Z")).await;
    assert_eq!((all.code(), all.body.as_str()), (200, r#"{"instancesDeleted":103}"#));
    assert!(server.delete(&at("instances?createdTimeFrom=2000-01-01T00:00:00Z")).await.is_bare(404));
    assert_eq!(server.get(&at("instances")).await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_purge_of_many_without_a_readable_time_is_refused_with_a_bare_string() {
    let server = Server::new();
    server.started("hello", "stays", "", RuntimeStatus::Completed).await;
    let without = server.delete(&at("instances")).await;
    assert_eq!((without.code(), without.json()), (400, json!("Please provide value for 'createdTimeFrom' parameter.")));
    for query in ["createdTimeFrom=yesterday", "createdTimeFrom=2000-01-01T00:00:00Z&createdTimeTo=tomorrow"] {
        let unreadable = server.delete(&at(&format!("instances?{query}"))).await;
        assert!(unreadable.code() == 400 && unreadable.json().is_string(), "{query}");
    }
    assert_eq!(server.get(&at("instances/stays")).await.code(), 200);
}

#[tokio::test]
async fn a_start_that_waits_gives_the_bare_output_or_the_status_of_what_failed() {
    let server = Server::new();
    let done = server.post(&at("orchestrators/hello?timeout=20&pollingInterval=0.5"), "{\"a\": 1.50}").await;
    assert_eq!((done.code(), done.body.as_str(), done.header("location")), (200, "{\"a\":1.5}", None));
    assert_eq!(server.post(&at("orchestrators/hello?timeout=20&pollingInterval=1"), "").await.body, "null");
    let failed = server.post(&at("orchestrators/fragile?timeout=20&pollingInterval=1&returnInternalServerErrorOnFailure=true"), "1").await;
    assert_eq!((failed.code(), &failed.json()["runtimeStatus"], &failed.json()["input"]), (200, &json!("Failed"), &json!(1)));
    let (waited, ()) = tokio::join!(server.post("/api/orchestrators/waits/later?timeout=20&pollingInterval=1", ""), async {
        while server.client.status(&durable::InstanceId::new("later").unwrap()).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.post("/api/orchestrators/later/raise/Go", "\"now\"").await.code(), 202);
    });
    assert_eq!((waited.code(), waited.body.as_str()), (200, "\"now\""));
}

#[tokio::test]
async fn a_start_that_waits_in_vain_gives_the_links_and_never_waits_longer_than_the_cap() {
    let server = Server::with(Options { wait_cap: Duration::ZERO, ..Options::default() });
    let start = server.post(&at("orchestrators/waits/x?timeout=3600&pollingInterval=10"), "").await;
    assert_eq!((start.code(), &start.json()["id"]), (202, &json!("x")));
    let odd = server.post(&at("orchestrators/waits/y?timeout=1&pollingInterval=2"), "").await;
    assert!(odd.code() == 400 && odd.json()["ExceptionMessage"].as_str().unwrap().contains("`y` has been started"), "{}", odd.body);
    assert_eq!(server.get(&at("instances/y")).await.code(), 202);
    // What cannot be read counts as absent.
    assert_eq!(server.post(&at("orchestrators/waits/z?timeout=soon&pollingInterval=2"), "").await.code(), 202);
}

#[tokio::test]
async fn a_start_under_a_key_is_one_start_however_often_it_is_sent() {
    let server = Server::new();
    let first = post_once(&server, &at("orchestrators/waits"), "order-1", "1").await;
    let id = first.json()["id"].as_str().unwrap().to_owned();
    assert_eq!((first.code(), id.len()), (202, 32));
    server.becomes(&id, RuntimeStatus::Running).await;
    let again = post_once(&server, &at("orchestrators/waits"), "order-1", "1").await;
    assert_eq!((again.code(), &again.body), (202, &first.body));
    assert_eq!(server.post(&at(&format!("instances/{id}/raiseEvent/Go")), "1").await.code(), 202);
    let ended = server.becomes(&id, RuntimeStatus::Completed).await.header.incarnation;
    assert_eq!(post_once(&server, &at("orchestrators/waits"), "order-1", "1").await.body, first.body);
    assert_eq!(server.becomes(&id, RuntimeStatus::Completed).await.header.incarnation, ended);
    // Restarted by hand, it is still what was started under the key.
    assert_eq!(server.post(&at(&format!("instances/{id}/restart?restartWithNewInstanceId=false")), "").await.code(), 202);
    assert_eq!(post_once(&server, &at("orchestrators/waits"), "order-1", "1").await.code(), 202);

    for (name, key) in [("waits", "order-2"), ("hello", "order-1")] {
        assert_ne!(post_once(&server, &at(&format!("orchestrators/{name}")), key, "1").await.json()["id"], json!(id));
    }
}

#[tokio::test]
async fn a_start_under_a_key_and_an_id_is_one_start_and_another_key_is_refused() {
    let server = Server::new();
    assert_eq!(post_once(&server, &at("orchestrators/waits/mine"), "k1", "").await.code(), 202);
    server.becomes("mine", RuntimeStatus::Running).await;
    assert_eq!(post_once(&server, &at("orchestrators/waits/mine"), "k1", "").await.json()["id"], "mine");
    assert_eq!(post_once(&server, &at("orchestrators/waits/mine"), "k2", "").await.code(), 409);
    assert_eq!(server.post(&at("orchestrators/waits/mine"), "").await.code(), 409);
    assert_eq!(server.post(&at("instances/mine/terminate"), "").await.code(), 202);
    server.becomes("mine", RuntimeStatus::Terminated).await;
    assert_eq!(post_once(&server, &at("orchestrators/waits/mine"), "k1", "").await.code(), 202);
    assert_eq!(server.get(&at("instances/mine")).await.json()["runtimeStatus"], "Terminated");
    // Another key is another start, and may take the id of what has ended.
    assert_eq!(post_once(&server, &at("orchestrators/waits/mine"), "k2", "").await.code(), 202);
    server.becomes("mine", RuntimeStatus::Running).await;
}

#[tokio::test]
async fn starts_under_one_key_at_the_same_time_are_one_start() {
    let server = Server::new();
    let path = at("orchestrators/waits");
    let starts = (0..20).map(|_| post_once(&server, &path, "at-once", "1"));
    let answers = futures_util::future::join_all(starts).await;
    assert!(answers.iter().all(|answer| answer.code() == 202 && answer.body == answers[0].body));
    assert_eq!(server.get(&at("instances")).await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_event_under_a_key_is_one_event_even_after_the_end() {
    let server = Server::new();
    server.started("waits", "e", "", RuntimeStatus::Running).await;
    let other = at("instances/e/raiseEvent/Other");
    for _ in 0..2 {
        assert!(post_once(&server, &other, "k1", "1").await.is_bare(202));
    }
    assert!(post_once(&server, &at("instances/e/raiseEvent/Go"), "k2", "2").await.is_bare(202));
    server.becomes("e", RuntimeStatus::Completed).await;
    assert!(post_once(&server, &at("instances/e/raiseEvent/Go"), "k2", "2").await.is_bare(202));
    assert!(post_once(&server, &at("instances/e/raiseEvent/Go"), "k3", "2").await.is_bare(410));
    let history = server.get(&at("instances/e?showHistory=true")).await.json();
    let raised = history["historyEvents"].as_array().unwrap().iter().filter(|event| event["EventType"] == "EventRaised");
    assert_eq!(raised.map(|event| event["Name"].as_str().unwrap()).collect::<Vec<_>>(), ["Other", "Go"]);
}

#[tokio::test]
async fn a_key_that_is_no_key_is_refused_and_nothing_is_done() {
    let server = Server::new();
    let long = "x".repeat(256);
    for key in ["", "a b", long.as_str()] {
        assert_eq!(post_once(&server, &at("orchestrators/hello/bad"), key, "").await.code(), 400, "{key:?}");
    }
    assert!(server.get(&at("instances/bad")).await.is_bare(404));
    server.started("waits", "w", "", RuntimeStatus::Running).await;
    assert_eq!(post_once(&server, &at("instances/w/raiseEvent/Go"), "a b", "1").await.code(), 400);
    assert_eq!(server.get(&at("instances/w")).await.code(), 202);
}

#[tokio::test]
async fn a_server_with_a_key_answers_nobody_without_it_and_puts_it_into_its_links() {
    let server = Server::with(Options { key: Some(Key::new(KEY).unwrap()), ..Options::default() });
    assert!(server.get(&at("instances")).await.is_bare(401));
    assert!(server.get(&at("nowhere?code=wrong")).await.is_bare(401));
    let short = server.post("/api/orchestrators/hello/h", "").await;
    assert!(short.code() == 401 && short.json()["Message"].as_str().unwrap().contains("x-functions-key"));
    let by_header = request("POST", "/api/orchestrators/hello/h").header("x-functions-key", KEY).body(Body::empty()).unwrap();
    let start = server.send(by_header).await;
    assert_eq!(start.code(), 202);
    let link = start.header("location").unwrap().replace("http://localhost:7071", "");
    assert!(link.ends_with(&format!("&code={KEY}")), "{link}");
    server.becomes("h", RuntimeStatus::Completed).await;
    assert_eq!(server.get(&link).await.code(), 200);
    assert_eq!(server.get("/healthz").await.code(), 200);
    let home = server.get("/").await;
    assert!(home.code() == 200 && !home.body.contains("hello"), "{}", home.body);
    assert!(server.get(&format!("/?code={KEY}")).await.body.contains("hello"));
    // Under any name: who has the key needs no other leave.
    let named =
        axum::http::Request::builder().uri(at(&format!("instances/h?code={KEY}"))).header("host", "build.example").header("origin", "https://a.example");
    assert_eq!(server.send(named.body(Body::empty()).unwrap()).await.code(), 200);
}

#[tokio::test]
async fn the_first_of_repeated_parameters_counts() {
    let server = Server::new();
    server.started("hello", "t", "5", RuntimeStatus::Completed).await;
    let shown = server.get(&at("instances/t?showInput=false&showInput=true&SHOWINPUT=true")).await;
    assert!(shown.json()["input"].is_null());
    server.started("waits", "w", "5", RuntimeStatus::Running).await;
    assert_eq!(server.post(&at("instances/w/terminate?reason=first&reason=second"), "").await.code(), 202);
    assert_eq!(server.becomes("w", RuntimeStatus::Terminated).await.output.unwrap().stored().as_ref(), b"\"first\"");
}

#[tokio::test]
async fn a_body_in_pieces_is_one_body_and_one_that_breaks_off_is_refused() {
    let server = Server::new();
    let pieces = |pieces: Vec<Result<&'static str, std::io::Error>>| {
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        server.send(request("POST", "/api/orchestrators/hello?timeout=20").header("transfer-encoding", "chunked").body(body).unwrap())
    };
    assert_eq!(pieces(vec![Ok("[1, "), Ok(""), Ok("2]")]).await.body, "[1,2]");
    let broken = pieces(vec![Ok("[1, "), Err(std::io::Error::other("gone"))]).await;
    assert!(broken.code() == 400 && broken.json()["Message"].as_str().unwrap().contains("could not be read"));
    assert_eq!(server.get(&at("instances")).await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_input_is_refused_with_its_code_and_stores_nothing() {
    let server = Server::new();
    server.started("waits", "w", "", RuntimeStatus::Running).await;
    let (event, start) = (at("instances/w/raiseEvent/Go"), at("orchestrators/hello"));
    let bomb = || "[".repeat(200_000) + &"]".repeat(200_000);
    for path in [&event, &start] {
        for body in [b"{".to_vec(), b"\"\xff\xfe\"".to_vec(), b"\"\\ud800\"".to_vec(), bomb().into_bytes()] {
            assert_eq!(server.post(path, body).await.code(), 400);
        }
        assert_eq!(server.post(path, vec![b' '; limits::PAYLOAD_BYTES + 1]).await.code(), 413);
    }
    for (path, code) in [
        (at(&format!("instances/w/raiseEvent/{}", "e".repeat(257))), 400),
        (at(&format!("instances/{}/raiseEvent/Go", "i".repeat(257))), 404),
        (at(&format!("orchestrators/hello/{}", "i".repeat(257))), 400),
        (at(&format!("orchestrators/{}", "n".repeat(5000))), 400),
        (at("orchestrators/hello/a%0Ab"), 400),
        (at("orchestrators/hello/a%3Fb"), 400),
    ] {
        assert_eq!(server.post(&path, "1").await.code(), code, "{path}");
    }
    assert_eq!(server.post(&at(&format!("instances/w/raiseEvent/{}", "é".repeat(256).replace('é', "%C3%A9"))), "1").await.code(), 202);
    let shown = server.get(&at("instances/w?showHistory=true")).await;
    assert_eq!(shown.code(), 202);
    assert_eq!(server.get(&at("instances")).await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_instance_whose_inbox_is_full_says_when_to_come_again() {
    let server = Server::new();
    server.started("panics", "full", "", RuntimeStatus::Running).await;
    assert_eq!(server.post(&at("instances/full/raiseEvent/Go"), "1").await.code(), 202);
    server.until("full", |record| record.header.fault.is_some()).await;
    let mut last = server.post(&at("instances/full/raiseEvent/Go"), "1").await;
    for _ in 0..=limits::INBOX_MESSAGES {
        if last.code() != 202 {
            break;
        }
        last = server.post(&at("instances/full/raiseEvent/Go"), "1").await;
    }
    assert_eq!((last.code(), last.header("retry-after")), (429, Some("1")));
    assert_eq!(server.post(&at("instances/full/terminate"), "").await.code(), 202);
}
