//! What every operation answers, in every outcome: the whole answer, as text. Times and generated ids are replaced, nothing else.
//! (The status of an instance in every state is in `golden.rs`.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use common::{Answer, Server, request};
use durable::header::RuntimeStatus;
use durable::limits;
use durable_http::{Key, Options};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn at(path: &str) -> String {
    format!("/runtime/webhooks/durabletask/{path}")
}

/// A code without anything else.
fn bare(code: u16) -> String {
    format!("{code}\n\n")
}

/// An answer with a JSON body and no other header.
fn json(code: u16, body: &str) -> String {
    format!("{code}\ncontent-type: application/json; charset=utf-8\n\n{body}")
}

fn message(code: u16, text: &str) -> String {
    json(code, &format!(r#"{{"Message":"{text}"}}"#))
}

fn exception(code: u16, text: &str, exception: &str, kind: &str) -> String {
    json(code, &format!(r#"{{"Message":"{text}","ExceptionMessage":"{exception}","ExceptionType":"{kind}","StackTrace":""}}"#))
}

fn argument(exception_message: &str) -> String {
    exception(400, "One or more of the arguments submitted is incorrect", exception_message, "System.ArgumentException")
}

/// The answer to a start, by the id as links have it.
fn started(id: &str, encoded: &str, code: &str) -> String {
    let base = format!("http://localhost:7071/runtime/webhooks/durabletask/instances/{encoded}");
    let query = format!("taskHub=TestHubName&connection=AzureWebJobsStorage{code}");
    let links = [
        ("statusQueryGetUri", format!("{base}?{query}")),
        ("sendEventPostUri", format!("{base}/raiseEvent/{{eventName}}?{query}")),
        ("terminatePostUri", format!("{base}/terminate?reason={{text}}&{query}")),
        ("purgeHistoryDeleteUri", format!("{base}?{query}")),
        ("restartPostUri", format!("{base}/restart?{query}")),
        ("rewindPostUri", format!("{base}/rewind?reason={{text}}&{query}")),
        ("suspendPostUri", format!("{base}/suspend?reason={{text}}&{query}")),
        ("resumePostUri", format!("{base}/resume?reason={{text}}&{query}")),
        ("signedEventUrlPostUri", format!("http://localhost:7071/api/orchestrators/{encoded}/event-url/{{eventName}}?validFor={{seconds}}&{query}")),
    ];
    let links: String = links.iter().map(|(name, link)| format!(r#","{name}":"{link}""#)).collect();
    let headers = format!("content-type: application/json; charset=utf-8\nlocation: {base}?{query}\nretry-after: 10");
    format!("202\n{headers}\n\n{{\"id\":\"{id}\"{links}}}")
}

/// The answer with the id that was made for it replaced.
fn with_id(answer: &Answer) -> String {
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
    answer.exact().replace(&id, "ID")
}

async fn post(server: &Server, path: &str, body: &'static str) -> String {
    server.post(&at(path), body).await.exact()
}

#[tokio::test]
async fn a_start() {
    let server = Server::new();
    // Whichever base it comes in on, links lead to the public one.
    for base in ["/runtime/webhooks/durabletask", "/durabletask", "/api/runtime/webhooks/durabletask", "/api"] {
        assert_eq!(with_id(&server.post(&format!("{base}/orchestrators/waits"), "{}").await), started("ID", "ID", ""));
    }
    assert_eq!(post(&server, "orchestrators/waits/two%20words:%C3%A9", "").await, started("two words:é", "two+words%3A%C3%A9", ""));
    // A body of any media type, or of none, is the input.
    for media in ["text/plain", "application/json"] {
        let request = request("POST", &at("orchestrators/waits")).header("content-type", media).body(Body::from("1")).unwrap();
        assert_eq!(with_id(&server.send(request).await), started("ID", "ID", ""));
    }
    assert_eq!(with_id(&server.send(request("POST", &at("orchestrators/waits")).body(Body::from("1")).unwrap()).await), started("ID", "ID", ""));
}

#[tokio::test]
async fn a_start_that_is_refused() {
    let server = Server::new();
    server.started("waits", "used", "", RuntimeStatus::Running).await;
    let known = "known are: busy, deepens, fragile, hello, panics, parent, repeats, retries, sleeps, waits";
    let unknown = |text: &str| exception(400, text, text, "System.ArgumentException");
    assert_eq!(post(&server, "orchestrators/nobody", "").await, unknown(&format!("there is no orchestrator `nobody`; {known}")));
    let version = format!("there is no orchestrator `hello` in version 9; {known}");
    assert_eq!(post(&server, "orchestrators/hello?version=9", "").await, unknown(&version));
    let not_json = exception(400, "Invalid JSON content", "EOF while parsing an object at line 1 column 1", "Newtonsoft.Json.JsonReaderException");
    assert_eq!(post(&server, "orchestrators/hello", "{").await, not_json);
    assert_eq!(post(&server, "orchestrators/hello/used", "").await, message(409, "An Orchestration instance with the status Running already exists."));
    let forbidden = |c: &str| format!("an instance id must not hold {c}: no / \\\\ ? # and no control characters");
    for (id, why) in [
        ("@counter@1", "an instance id must not begin with '@': those ids are kept for entities".to_owned()),
        ("a%5Cb", forbidden(r"'\\\\'")),
        ("a%23b", forbidden("'#'")),
        ("a%3Fb", forbidden("'?'")),
        ("a%0Ab", forbidden(r"'\\n'")),
        (&"i".repeat(257), "an instance id has at most 256 characters, this one has 257".to_owned()),
    ] {
        assert_eq!(post(&server, &format!("orchestrators/hello/{id}"), "").await, argument(&why), "{id}");
    }
    let large = server.post(&at("orchestrators/hello"), vec![b' '; limits::PAYLOAD_BYTES + 1]).await;
    assert_eq!(large.exact(), message(413, "The body is larger than the 16777216 bytes that are allowed: send a reference to the data."));
}

#[tokio::test]
async fn a_start_that_waits() {
    let server = Server::new();
    assert_eq!(post(&server, "orchestrators/hello?timeout=20&pollingInterval=0.5", "{\"a\": 1}").await, json(200, "{\"a\":1}"));
    assert_eq!(post(&server, "orchestrators/hello?TIMEOUT=20&pollinginterval=1", "").await, json(200, "null"));
    let status = |name: &str, id: &str, state: &str, custom: &str, output: &str| {
        let body = format!(
            r#"{{"name":"{name}","instanceId":"{id}","runtimeStatus":"{state}","input":1,"customStatus":{custom},"output":{output},"createdTime":"SECONDS","lastUpdatedTime":"SECONDS"}}"#
        );
        json(200, &body)
    };
    let failed = post(&server, "orchestrators/fragile/f?timeout=20&pollingInterval=1&returnInternalServerErrorOnFailure=true", "1").await;
    assert_eq!(failed, status("fragile", "f", "Failed", "null", r#""Unhealthy: activity `check` failed: Unhealthy: not today: not today""#));
    let (waited, ()) = tokio::join!(post(&server, "orchestrators/waits/t?timeout=20&pollingInterval=1", "1"), async {
        while server.client.status(&durable::InstanceId::new("t").unwrap()).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(post(&server, "instances/t/terminate?reason=enough", "").await, bare(202));
    });
    assert_eq!(waited, status("waits", "t", "Terminated", "{\"asked\":1}", "\"enough\""));
}

#[tokio::test]
async fn a_start_that_waits_in_vain() {
    let server = Server::with(Options { wait_cap: Duration::ZERO, ..Options::default() });
    assert_eq!(post(&server, "orchestrators/waits/x?timeout=3600&pollingInterval=10", "").await, started("x", "x", ""));
    assert_eq!(post(&server, "orchestrators/waits/z?timeout=soon", "").await, started("z", "z", ""));
    let odd = "pollingInterval (2 s) is longer than timeout (1 s). Instance `y` has been started all the same.";
    assert_eq!(post(&server, "orchestrators/waits/y?timeout=1&pollingInterval=2", "").await, argument(odd));
}

#[tokio::test]
async fn a_status_of_nobody() {
    let server = Server::new();
    for path in
        ["instances/nobody", "instances/@counter@1", "instances/nobody?showHistory=true", "elsewhere", "orchestrators/hello", "instances/a/terminate", ""]
    {
        assert_eq!(server.get(&at(path)).await.exact(), bare(404), "{path}");
    }
    assert_eq!(server.get(&at("instances?taskHub=Other")).await.exact(), message(404, r#"This server has no task hub \"Other\"."#));
    assert_eq!(server.get("/api/orchestrators/nobody/status").await.exact(), message(404, "there is no instance `nobody`"));
    assert_eq!(server.get("/api/nowhere").await.exact(), message(404, "There is nothing at GET /api/nowhere: GET / lists what there is."));
}

#[tokio::test]
async fn a_list() {
    let server = Server::new();
    assert_eq!(server.get(&at("instances")).await.exact(), json(200, "[]"));
    for id in ["l1", "l2", "l3"] {
        server.started("hello", id, "[5]", RuntimeStatus::Completed).await;
    }
    server.started("waits", "w", "1", RuntimeStatus::Running).await;
    let item = |id: &str, input: &str| {
        format!(
            r#"{{"name":"hello","instanceId":"{id}","runtimeStatus":"Completed","input":{input},"customStatus":null,"output":[5],"createdTime":"SECONDS","lastUpdatedTime":"SECONDS"}}"#
        )
    };
    let first = server.get(&at("instances/?top=2&runtimeStatus=Completed&showHistory=true")).await;
    let token = first.header("x-ms-continuation-token").unwrap().to_owned();
    let page = format!("200\ncontent-type: application/json; charset=utf-8\nx-ms-continuation-token: {token}\n\n[{},{}]", item("l1", "[5]"), item("l2", "[5]"));
    assert_eq!(first.exact(), page);
    let next = |token: &str| {
        request("GET", &at("instances?top=2&runtimeStatus=Completed&showInput=False")).header("x-ms-continuation-token", token).body(Body::empty()).unwrap()
    };
    assert_eq!(server.send(next(&token)).await.exact(), json(200, &format!("[{}]", item("l3", "null"))));
    let bad = argument("the continuation token is not one of this store: list from the beginning, without it");
    assert_eq!(server.send(next("nonsense")).await.exact(), bad);

    let ids = async |query: &str| {
        let rows = server.get(&at(&format!("instances?{query}"))).await.json();
        rows.as_array().unwrap().iter().map(|row| row["instanceId"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    for (query, expected) in [
        ("runtimeStatus=Running,Failed", "w"),
        ("runtimeStatus=Failed&runtimeStatus=Running", "w"),
        ("runtimeStatus=0", "w"),
        // Names in another letter case are unknown; where no known one is left, there is no filter.
        ("runtimeStatus=running", "l1 l2 l3 w"),
        ("runtimeStatus=running,Completed", "l1 l2 l3"),
        ("instanceIdPrefix=l", "l1 l2 l3"),
        ("createdTimeFrom=2100-01-01T00:00:00Z", ""),
        ("createdTimeFrom=2100-01-01", ""),
        ("createdTimeTo=2000-01-01T00:00:00.000000Z", ""),
        ("createdTimeFrom=yesterday&createdTimeTo=&top=x", "l1 l2 l3 w"),
    ] {
        assert_eq!(ids(query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn a_purge() {
    let server = Server::new();
    for id in ["a", "b", "c"] {
        server.started("hello", id, "", RuntimeStatus::Completed).await;
    }
    server.started("waits", "w", "", RuntimeStatus::Running).await;
    assert_eq!(server.delete(&at("instances/a")).await.exact(), json(200, r#"{"instancesDeleted":1}"#));
    assert_eq!(server.delete(&at("instances/a")).await.exact(), bare(404));
    assert_eq!(server.delete(&at("instances/w")).await.exact(), json(412, r#""instance `w` has not ended (Running): terminate it first""#));
    let many = async |query: &str| server.delete(&at(&format!("instances{query}"))).await.exact();
    assert_eq!(many("").await, json(400, r#""Please provide value for 'createdTimeFrom' parameter.""#));
    let no_time = |name: &str| json(400, &format!(r#""The value of '{name}' is not a time: write it as 2026-01-31T08:00:00Z.""#));
    assert_eq!(many("?createdTimeFrom=yesterday").await, no_time("createdTimeFrom"));
    assert_eq!(many("?createdTimeFrom=2000-01-01T00:00:00Z&createdTimeTo=tomorrow").await, no_time("createdTimeTo"));
    assert_eq!(many("?createdTimeFrom=2000-01-01T00:00:00Z&runtimeStatus=Failed").await, bare(404));
    assert_eq!(many("?createdTimeFrom=2000-01-01").await, json(200, r#"{"instancesDeleted":2}"#));
    assert_eq!(many("/?createdTimeFrom=2000-01-01").await, bare(404));
}

#[tokio::test]
async fn an_event() {
    let server = Server::new();
    server.started("waits", "w", "", RuntimeStatus::Running).await;
    server.started("hello", "done", "", RuntimeStatus::Completed).await;
    let raise = |id: &str, media: &'static str, body: &'static str| {
        server.send(request("POST", &at(&format!("instances/{id}/raiseEvent/Go"))).header("content-type", media).body(Body::from(body)).unwrap())
    };
    assert_eq!(raise("nobody", "text/plain", "{").await.exact(), bare(404));
    assert_eq!(raise("done", "text/plain", "{").await.exact(), bare(410));
    assert_eq!(raise("w", "text/plain", "{").await.exact(), message(400, "Only application/json request content is supported"));
    let not_json = |why| exception(400, "Invalid JSON content", why, "Newtonsoft.Json.JsonReaderException");
    assert_eq!(raise("w", "application/json", "").await.exact(), not_json("EOF while parsing a value at line 1 column 0"));
    assert_eq!(raise("w", "application/json", "{").await.exact(), not_json("EOF while parsing an object at line 1 column 1"));
    let long = format!("instances/w/raiseEvent/{}", "e".repeat(257));
    assert_eq!(post(&server, &long, "1").await, argument("The name of an event has at most 256 characters."));
    assert_eq!(server.post("/api/orchestrators/done/raise/Go", "1").await.exact(), message(410, "instance `done` has ended (Completed)"));
    let said = json(202, r#"{"status":"event_raised","instance_id":"w","event":"Other"}"#);
    assert_eq!(server.post("/api/orchestrators/w/raise/Other", "1").await.exact(), said);
    // A suspended instance takes events too.
    assert_eq!(post(&server, "instances/w/suspend", "").await, bare(202));
    server.becomes("w", RuntimeStatus::Suspended).await;
    assert_eq!(raise("w", "application/json; charset=utf-8", "null").await.exact(), bare(202));

    server.started("panics", "full", "", RuntimeStatus::Running).await;
    let mut last = server.post(&at("instances/full/raiseEvent/Go"), "1").await;
    while last.code() == 202 {
        last = server.post(&at("instances/full/raiseEvent/Go"), "1").await;
    }
    let full = r#"{"Message":"instance `full` has too many messages that it has not taken yet: try again later"}"#;
    assert_eq!(last.exact(), format!("429\ncontent-type: application/json; charset=utf-8\nretry-after: 1\n\n{full}"));
}

#[tokio::test]
async fn a_pending_instance_takes_events_too() {
    let server = Server::asleep();
    assert_eq!(post(&server, "orchestrators/waits/p", "").await, started("p", "p", ""));
    assert_eq!(post(&server, "instances/p/raiseEvent/Go", "1").await, bare(202));
}

#[tokio::test]
async fn a_pause_and_an_end() {
    let server = Server::new();
    server.started("waits", "w", "", RuntimeStatus::Running).await;
    server.started("hello", "done", "", RuntimeStatus::Completed).await;
    server.started("fragile", "failed", "", RuntimeStatus::Failed).await;
    for operation in ["terminate", "suspend", "resume"] {
        assert_eq!(post(&server, &format!("instances/nobody/{operation}"), "").await, bare(404), "{operation}");
        assert_eq!(post(&server, &format!("instances/done/{operation}?reason=x"), "").await, bare(410), "{operation}");
        assert_eq!(post(&server, &format!("instances/failed/{operation}"), "").await, bare(410), "{operation}");
    }
    let wrong = |why| exception(500, "Something went wrong while processing your request", why, "System.InvalidOperationException");
    assert_eq!(post(&server, "instances/w/resume", "").await, wrong("instance `w` is Running: it cannot be resumed"));
    assert_eq!(post(&server, "instances/w/suspend?reason=a", "").await, bare(202));
    server.becomes("w", RuntimeStatus::Suspended).await;
    assert_eq!(post(&server, "instances/w/suspend?reason=b", "").await, wrong("instance `w` is Suspended: it cannot be suspended again"));
    assert_eq!(post(&server, "instances/w/resume?reason=c", "").await, bare(202));
    server.becomes("w", RuntimeStatus::Running).await;
    assert_eq!(post(&server, "instances/w/terminate?reason=d", "").await, bare(202));
    server.becomes("w", RuntimeStatus::Terminated).await;
    assert_eq!(post(&server, "instances/w/terminate?reason=d", "").await, bare(410));
}

#[tokio::test]
async fn a_rewind_and_a_restart() {
    let server = Server::new();
    server.started("fragile", "f", "7", RuntimeStatus::Failed).await;
    server.started("waits", "w", "", RuntimeStatus::Running).await;
    assert_eq!(post(&server, "instances/nobody/rewind", "").await, json(404, r#""there is no instance `nobody`""#));
    let not_failed = |id, state| json(412, &format!(r#""instance `{id}` is {state}: only a failed instance can be rewound""#));
    assert_eq!(post(&server, "instances/w/rewind?reason=x", "").await, not_failed("w", "Running"));
    server.healthy.0.store(true, Ordering::SeqCst);
    assert_eq!(post(&server, "instances/f/rewind?reason=mended", "").await, bare(202));
    server.becomes("f", RuntimeStatus::Completed).await;
    assert_eq!(post(&server, "instances/f/rewind?reason=again", "").await, not_failed("f", "Completed"));

    assert_eq!(post(&server, "instances/nobody/restart", "").await, argument("there is no instance `nobody` to restart"));
    let in_use = message(409, "An Orchestration instance with the status Running already exists.");
    assert_eq!(post(&server, "instances/w/restart?restartWithNewInstanceId=false", "").await, in_use);
    for query in ["", "?restartWithNewInstanceId=true", "?restartWithNewInstanceId=perhaps"] {
        assert_eq!(with_id(&server.post(&at(&format!("instances/f/restart{query}")), "").await), started("ID", "ID", ""), "{query}");
    }
    assert_eq!(post(&server, "instances/f/restart?restartWithNewInstanceId=False", "").await, started("f", "f", ""));
}

#[tokio::test]
async fn a_server_with_a_key() {
    let server = Server::with(Options { key: Some(Key::new(KEY).unwrap()), ..Options::default() });
    let code = format!("&code={KEY}");
    assert_eq!(post(&server, &format!("orchestrators/waits/w?code={KEY}"), "").await, started("w", "w", &code));
    for path in ["instances/w", "instances/nobody", "elsewhere", "instances?code=wrong"] {
        assert_eq!(server.get(&at(path)).await.exact(), bare(401), "{path}");
    }
    let said = "This server asks for its key: send it in the header x-functions-key, or as the query parameter code.";
    assert_eq!(server.get("/api/orchestrators/w/status").await.exact(), message(401, said));
    let status = server.get(&at(&format!("instances/w?code={KEY}"))).await;
    let here = format!("http://localhost:7071/runtime/webhooks/durabletask/instances/w?code={KEY}");
    assert_eq!(status.header("location"), Some(here.as_str()), "the link is the question, as it was asked");
}

#[tokio::test]
async fn a_foreign_name_and_a_server_that_stops() {
    let server = Server::new();
    let foreign = axum::http::Request::builder().uri(at("instances")).header("host", "evil.example").body(Body::empty()).unwrap();
    let said = r#"This server does not answer to the name \"evil.example\": call it as localhost, or add the name to its allowed hosts."#;
    assert_eq!(server.send(foreign).await.exact(), message(403, said));
    server.stop();
    let stopping = r#"{"Message":"this process is stopping: try again"}"#;
    assert_eq!(post(&server, "orchestrators/hello", "").await, format!("503\ncontent-type: application/json; charset=utf-8\nretry-after: 1\n\n{stopping}"));
}
