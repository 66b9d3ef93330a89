//! The standing intent end to end, with a webhook service on this machine: what every host's stories do not tell (see `hosts`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod support;

use serde_json::{Value, json};
use support::{Folder, Http, Push, Server, Webhook, output_of, template, wait_where};

fn serve(folder: &Folder, webhook: &Webhook) -> Server {
    folder.launch(template()).env("WEBHOOK_SERVICE_URL", &webhook.url).start()
}

/// Starts an intent in a chat, and gives the question that was asked there.
fn ask(http: &mut Http, webhook: &Webhook, instance: &str, hours: f64) -> Push {
    let intent = json!({ "message": "Book the room", "approval_timeout_hours": hours, "platform": "teams", "thread_id": "19:a b@thread" });
    http.start("standing_intent_orchestrator", instance, &intent.to_string());
    webhook.wait(instance, 1).remove(0)
}

/// The outcome as it was told in the chat.
fn news(webhook: &Webhook, instance: &str) -> String {
    let pushes = webhook.wait(instance, 2);
    assert_eq!(pushes.len(), 2, "{pushes:?}");
    assert_eq!(pushes[1].body.get("adaptive_card"), None, "news asks nothing");
    assert_ne!(pushes[0].body["metadata"]["idempotency_key"], pushes[1].body["metadata"]["idempotency_key"]);
    pushes[1].body["text"].as_str().unwrap().to_owned()
}

#[test]
fn the_question_comes_with_a_card_whose_buttons_carry_the_event() {
    let (folder, webhook) = (Folder::new(), Webhook::new());
    let server = serve(&folder, &webhook);
    let question = ask(&mut server.http(), &webhook, "a", 1.0);
    assert_eq!(question.path, "/api/v1/webhooks/chat/teams/19%3Aa%20b%40thread");
    assert_eq!(question.body["text"], "Approval needed: Book the room");
    let data = |approved: bool| json!({ "event_name": "UserApproval", "approved": approved, "instance_id": "a" });
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "body": [{ "type": "TextBlock", "text": "Approval needed: Book the room", "wrap": true }],
        "actions": [
            { "type": "Action.Submit", "title": "Approve", "style": "positive", "data": data(true) },
            { "type": "Action.Submit", "title": "Reject", "style": "destructive", "data": data(false) },
        ],
    });
    assert_eq!(question.body["adaptive_card"], card);
}

#[test]
fn the_signed_url_that_comes_with_the_question_approves_without_the_key_over_a_restart() {
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let (folder, webhook) = (Folder::new(), Webhook::new());
    let launch = || folder.launch(template()).env("WEBHOOK_SERVICE_URL", &webhook.url).env("DURABLE_KEY", KEY).start();
    let server = launch();
    let intent = r#"{"message": "Book the room", "platform": "teams", "thread_id": "t"}"#;
    let started = server.http().post(&format!("/api/orchestrators/standing_intent_orchestrator/a?code={KEY}"), intent);
    assert_eq!(started.code, 202, "{started:?}");
    let url = webhook.wait("a", 1)[0].body["metadata"]["event_url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix(&format!("http://{}", server.address)).unwrap().to_owned();
    server.kill();
    let server = launch();
    let mut http = server.http();
    assert_eq!(http.get("/api/orchestrators/a/status").code, 401);
    assert_eq!(http.get(&path).code, 405);
    assert_eq!(http.post(&path.replace("sig=", "sig=A"), "true").code, 403);
    assert_eq!(http.post(&path, r#"{"approved": true}"#).code, 202);
    let shown = support::wait_for("the end", support::PATIENCE, || {
        let shown = http.get(&format!("/api/orchestrators/a/status?code={KEY}")).json();
        (shown["runtimeStatus"] == "Completed").then_some(shown)
    });
    assert_eq!(shown["output"], json!({"status": "approved", "approved": true}));
    // One URL is one event: used again, it is answered alike and changes nothing.
    assert_eq!(http.post(&path, "false").code, 202);
    assert_eq!(http.get(&format!("/api/orchestrators/a/status?code={KEY}")).json()["output"], json!({"status": "approved", "approved": true}));
    assert!(!folder.log().contains(KEY));
}

#[test]
fn an_intent_that_nobody_answers_expires() {
    let (folder, webhook) = (Folder::new(), Webhook::new());
    let server = serve(&folder, &webhook);
    let mut http = server.http();
    ask(&mut http, &webhook, "a", 0.0001);
    assert_eq!(output_of(&mut http, "a"), json!({"status": "timeout", "message": "Approval timeout - no response received"}));
    assert_eq!(news(&webhook, "a"), "Expired without an answer: Book the room");
}

#[test]
fn an_intent_without_a_chat_pushes_nothing_and_is_approved_all_the_same() {
    let (folder, webhook) = (Folder::new(), Webhook::new());
    let server = serve(&folder, &webhook);
    let mut http = server.http();
    http.start("standing_intent_orchestrator", "a", r#"{"message": "Book the room"}"#);
    wait_where(&mut http, "a", "to run", |shown| shown["runtimeStatus"] == "Running");
    http.raise("a", "userapproval", r#"{"approved": true, "by": "Ada"}"#);
    assert_eq!(output_of(&mut http, "a"), json!({"status": "approved", "approved": true}));
    let history = http.history("a");
    let narrated: Vec<&Value> =
        history.as_array().unwrap().iter().filter(|event| event["EventType"] == "TaskCompleted").map(|event| &event["Result"]).collect();
    assert_eq!(narrated, ["skipped"]);
    assert_eq!(webhook.pushes("a"), []);
}

#[test]
fn an_intent_survives_a_kill_while_it_waits_and_asks_only_once() {
    let (folder, webhook) = (Folder::new(), Webhook::new());
    let server = serve(&folder, &webhook);
    let mut http = server.http();
    ask(&mut http, &webhook, "a", 24.0);
    // Its answer is stored before the next step: a kill now must not ask again.
    support::wait_for("the delivery to be stored", support::PATIENCE, || {
        http.history("a").as_array().unwrap().iter().any(|event| event["EventType"] == "TaskCompleted").then_some(())
    });
    server.kill();
    let server = serve(&folder, &webhook);
    let mut http = server.http();
    http.raise("a", "UserApproval", "true");
    assert_eq!(output_of(&mut http, "a")["status"], "approved");
    assert_eq!(news(&webhook, "a"), "Approved: Book the room");
}
