//! The management API of Durable Functions, against a real engine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

mod common;

use std::sync::atomic::Ordering;

use axum::body::Body;
use common::{Answer, Server, request};
use durable::header::RuntimeStatus;
use serde_json::{Value, json};

const BASE: &str = "/runtime/webhooks/durabletask";

fn at(path: &str) -> String {
    format!("{BASE}/{path}")
}

#[tokio::test]
async fn an_instance_is_started_under_an_id_and_the_id_is_refused_while_it_lives() {
    let server = Server::new();
    let start = server.post(&at("orchestrators/waits/a%20b"), "").await;
    assert_eq!((start.code(), &start.json()["id"]), (202, &json!("a b")));
    assert!(start.json()["statusQueryGetUri"].as_str().unwrap().contains("/instances/a+b?"));
    server.becomes("a b", RuntimeStatus::Running).await;
    let again = server.post(&at("orchestrators/hello/a+b"), "").await;
    assert_eq!((again.code(), again.json()), (409, json!({"Message": "An Orchestration instance with the status Running already exists."})));
    assert!(server.post(&at("instances/a+b/raiseEvent/Go"), "1").await.is_bare(202));
    server.becomes("a b", RuntimeStatus::Completed).await;
    assert_eq!(server.post(&at("orchestrators/hello/a+b"), "").await.code(), 202);
}

#[tokio::test]
async fn every_link_of_a_start_leads_somewhere() {
    let server = Server::new();
    let links = server.post("/durabletask/orchestrators/waits/x", "").await.json();
    server.becomes("x", RuntimeStatus::Running).await;
    let path =
        |key: &str, text: &str| links[key].as_str().unwrap().trim_start_matches("http://localhost:7071").replace("{text}", text).replace("{eventName}", text);
    assert_eq!(server.get(&path("statusQueryGetUri", "")).await.code(), 202);
    assert!(server.post(&path("suspendPostUri", "wait"), "").await.is_bare(202));
    server.becomes("x", RuntimeStatus::Suspended).await;
    assert_eq!(server.get(&path("statusQueryGetUri", "")).await.code(), 202);
    assert!(server.post(&path("sendEventPostUri", "Other"), "1").await.is_bare(202));
    assert!(server.post(&path("resumePostUri", "go+on"), "").await.is_bare(202));
    server.becomes("x", RuntimeStatus::Running).await;
    assert_eq!(server.post(&path("rewindPostUri", "why"), "").await.code(), 412);
    assert!(server.post(&path("terminatePostUri", "enough+of+it"), "").await.is_bare(202));
    server.becomes("x", RuntimeStatus::Terminated).await;
    let status = server.get(&path("statusQueryGetUri", "")).await;
    assert_eq!((status.code(), &status.json()["output"]), (200, &json!("enough of it")));
    assert_eq!(server.delete(&path("purgeHistoryDeleteUri", "")).await.json(), json!({"instancesDeleted": 1}));
    assert!(server.get(&path("statusQueryGetUri", "")).await.is_bare(404));
}

#[tokio::test]
async fn the_status_object_has_every_field_and_hides_the_input_on_request() {
    let server = Server::new();
    server.started("hello", "s", "{\"b\": 1,\n \"a\":10000000000000000000000}", RuntimeStatus::Completed).await;
    let shown = server.get(&at("instances/s")).await;
    let fields = ["name", "instanceId", "runtimeStatus", "input", "customStatus", "output", "createdTime", "lastUpdatedTime"];
    assert!(fields.map(|field| shown.body.find(&format!("\"{field}\":")).unwrap()).is_sorted());
    assert!(shown.body.contains("\"input\":{\"b\": 1,\n \"a\":10000000000000000000000}"), "{}", shown.body);
    assert_eq!((&shown.json()["name"], &shown.json()["customStatus"]), (&json!("hello"), &Value::Null));
    let time = shown.json()["createdTime"].as_str().unwrap().to_owned();
    assert!(time.len() == 20 && time.ends_with('Z'));
    assert!(shown.json().get("historyEvents").is_none() && shown.json().get("fault").is_none());
    for flag in ["showInput=false", "SHOWINPUT=False"] {
        let hidden = server.get(&at(&format!("instances/s?{flag}"))).await.json();
        assert_eq!(hidden.get("input"), Some(&Value::Null));
    }
}

#[tokio::test]
async fn history_is_shown_on_request_and_its_outputs_on_another() {
    let server = Server::new();
    server.started("hello", "h", "[1]", RuntimeStatus::Completed).await;
    let events = |answer: Answer| answer.json()["historyEvents"].as_array().unwrap().clone();
    let bare = events(server.get(&at("instances/h?showHistory=true")).await);
    let names: Vec<_> = bare.iter().map(|event| event["EventType"].as_str().unwrap()).collect();
    assert_eq!(names, ["ExecutionStarted", "TaskCompleted", "ExecutionCompleted"]);
    assert_eq!((&bare[0]["FunctionName"], &bare[0]["Input"], bare[1].get("Result")), (&json!("hello"), &json!("[1]"), None));
    let full = events(server.get(&at("instances/h?showHistory=True&showHistoryOutput=True&showInput=false")).await);
    assert_eq!((&full[1]["Result"], &full[2]["Result"], full[0].get("Input")), (&json!([1]), &json!([1]), None));
}

#[tokio::test]
async fn raising_an_event_looks_at_the_instance_before_it_looks_at_the_body() {
    let server = Server::new();
    server.started("waits", "r", "", RuntimeStatus::Running).await;
    server.started("hello", "done", "", RuntimeStatus::Completed).await;
    let raise = |id: &'static str, media: &'static str, body: &'static str| {
        let request = request("POST", &at(&format!("instances/{id}/raiseEvent/go"))).header("content-type", media);
        server.send(request.body(Body::from(body)).unwrap())
    };
    assert!(raise("nobody", "text/plain", "{").await.is_bare(404));
    assert!(raise("@counter@1", "text/plain", "{").await.is_bare(404));
    assert!(raise("done", "text/plain", "{").await.is_bare(410));
    let media = raise("r", "text/plain", "{").await;
    assert_eq!((media.code(), media.json()), (400, json!({"Message": "Only application/json request content is supported"})));
    for body in ["{", ""] {
        let json = raise("r", "application/json", body).await;
        assert_eq!((json.code(), &json.json()["Message"]), (400, &json!("Invalid JSON content")));
    }
    assert!(raise("r", "Application/Json;charset=utf-8", "\"{\\\"twice\\\": 1}\"").await.is_bare(202));
    server.becomes("r", RuntimeStatus::Completed).await;
    assert_eq!(server.get(&at("instances/r")).await.json()["output"], "{\"twice\": 1}");
}

#[tokio::test]
async fn operations_on_unknown_and_ended_instances_and_in_the_wrong_state_are_refused() {
    let server = Server::new();
    server.started("waits", "w", "", RuntimeStatus::Running).await;
    server.started("hello", "done", "", RuntimeStatus::Completed).await;
    for operation in ["terminate", "suspend", "resume"] {
        assert!(server.post(&at(&format!("instances/nobody/{operation}")), "").await.is_bare(404), "{operation}");
        assert!(server.post(&at(&format!("instances/done/{operation}?reason=x")), "").await.is_bare(410), "{operation}");
    }
    let resume = server.post(&at("instances/w/resume"), "").await;
    assert_eq!((resume.code(), &resume.json()["ExceptionType"]), (500, &json!("System.InvalidOperationException")));
    assert!(server.post(&at("instances/w/suspend"), "").await.is_bare(202));
    assert_eq!(server.post(&at("instances/w/suspend"), "").await.code(), 500);
    let purge = server.delete(&at("instances/w")).await;
    assert_eq!((purge.code(), purge.json()), (412, json!("instance `w` has not ended (Suspended): terminate it first")));
    assert!(server.delete(&at("instances/nobody")).await.is_bare(404));
}

#[tokio::test]
async fn a_failed_instance_is_500_on_request_and_goes_on_after_a_rewind() {
    let server = Server::new();
    server.started("fragile", "f", "7", RuntimeStatus::Failed).await;
    let shown = server.get(&at("instances/f")).await;
    assert_eq!((shown.code(), shown.header("location")), (200, None));
    assert!(shown.json()["output"].as_str().unwrap().contains("not today"), "{}", shown.body);
    let on_request = server.get(&at("instances/f?returnInternalServerErrorOnFailure=true")).await;
    assert_eq!((on_request.code(), &on_request.json()["runtimeStatus"]), (500, &json!("Failed")));

    server.healthy.0.store(true, Ordering::SeqCst);
    let unknown = server.post(&at("instances/nobody/rewind"), "").await;
    assert_eq!((unknown.code(), unknown.json()), (404, json!("there is no instance `nobody`")));
    assert!(server.post(&at("instances/f/rewind?reason=repaired"), "").await.is_bare(202));
    server.becomes("f", RuntimeStatus::Completed).await;
    assert_eq!(server.get(&at("instances/f")).await.json()["output"], 7);
    let again = server.post(&at("instances/f/rewind"), "").await;
    assert_eq!(again.code(), 412);
    assert!(again.json().is_string());
}

#[tokio::test]
async fn a_request_for_another_task_hub_is_refused_and_a_blank_one_is_not() {
    let server = Server::new();
    server.started("hello", "t", "", RuntimeStatus::Completed).await;
    assert_eq!(server.get(&at("instances/t?taskHub=Other")).await.code(), 404);
    for query in ["taskHub=", "taskhub=testhubname&connection=Anything&code=x", "TASKHUB=%20"] {
        assert_eq!(server.get(&at(&format!("instances/t?{query}"))).await.code(), 200, "{query}");
    }
    assert!(server.get(&at("instances/t/terminate")).await.is_bare(404));
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let server = Server::new();
    assert_eq!(server.get(&at("instances")).await.body, "[]");
    for id in ["l1", "l2", "l3"] {
        server.started("hello", id, "5", RuntimeStatus::Completed).await;
    }
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let request = request("GET", &at("instances/?top=2&showInput=false&showHistory=true")).header("x-ms-continuation-token", &token);
        let page = server.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(page.code(), 200);
        for item in page.json().as_array().unwrap() {
            assert!(item["input"].is_null() && item["output"] == 5 && item.get("historyEvents").is_none());
            seen.push(item["instanceId"].as_str().unwrap().to_owned());
        }
        match page.header("x-ms-continuation-token") {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["l1", "l2", "l3"]);
    let foreign = request("GET", &at("instances")).header("x-ms-continuation-token", "nonsense").body(Body::empty()).unwrap();
    assert_eq!(server.send(foreign).await.code(), 400);
    assert_eq!(server.get(&at("instances?runtimeStatus=Running")).await.body, "[]");
    assert_eq!(server.get(&at("instances?instanceIdPrefix=l2")).await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_stopping_server_says_that_it_may_be_asked_again() {
    let server = Server::new();
    server.stop();
    let refused = server.post(&at("orchestrators/hello"), "").await;
    assert_eq!((refused.code(), refused.header("retry-after")), (503, Some("1")));
}
