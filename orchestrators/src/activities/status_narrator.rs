//! Tells people in their chat how things stand, and asks for their approval.

use std::convert::Infallible;

use durable::ActivityContext;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::webhook::{Delivery, Webhook};
use crate::standing_intent::USER_APPROVAL;

/// What to tell, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narration {
    /// The chat platform.
    pub platform: Option<String>,
    /// The conversation on that platform.
    pub thread_id: Option<String>,
    /// The narrative.
    pub text: String,
    /// True adds a card with the buttons Approve and Reject.
    pub asks_approval: bool,
    /// The signed URL to which the answer can be posted, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_url: Option<String>,
}

/// Pushes a narration to the webhook service. It never fails the orchestration: what went wrong is its result, and in the log.
///
/// A repeated push carries the same `idempotency_key`, so that the service can drop it.
#[durable::activity]
pub async fn status_narrator_activity(ctx: ActivityContext, narration: Narration) -> Result<Delivery, Infallible> {
    let (Some(platform), Some(thread)) = (given(narration.platform.as_deref()), given(narration.thread_id.as_deref())) else {
        return Ok(Delivery::Skipped);
    };
    let instance = ctx.instance_id().as_str();
    let Some(webhook) = ctx.resource::<Webhook>() else {
        tracing::error!(instance, "nothing is pushed: the app has no `Webhook` resource");
        return Ok(Delivery::Failed);
    };
    let mut body = json!({
        "text": narration.text,
        "metadata": { "instance_id": instance, "idempotency_key": ctx.idempotency_key() },
    });
    if let Some(url) = &narration.event_url {
        body["metadata"]["event_url"] = json!(url);
    }
    if narration.asks_approval {
        body["adaptive_card"] = approval_card(&narration.text, instance);
    }
    match webhook.push(platform, thread, &body).await {
        Ok(()) => Ok(Delivery::Delivered),
        Err(error) => {
            tracing::warn!(instance, platform, thread, error = %error, "the push failed");
            Ok(Delivery::Failed)
        }
    }
}

/// Empty text is as good as none.
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// An Adaptive Card whose buttons submit what has to be raised as the event.
fn approval_card(text: &str, instance: &str) -> Value {
    let button = |title: &str, style: &str, approved: bool| {
        let data = json!({ "event_name": USER_APPROVAL.as_str(), "approved": approved, "instance_id": instance });
        json!({ "type": "Action.Submit", "title": title, "style": style, "data": data })
    };
    json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "body": [{ "type": "TextBlock", "text": text, "wrap": true }],
        "actions": [button("Approve", "positive", true), button("Reject", "destructive", false)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activities::stub;
    use durable::header::ActivityTask;
    use durable::ids::{EffectId, Incarnation};
    use durable::message::Outcome;
    use durable::{Activity as _, InstanceId};

    /// Runs the activity as a host does.
    async fn narrate(base_url: &str, narration: Narration) -> String {
        let app = crate::app_with(Webhook::new(base_url)).unwrap();
        let instance = InstanceId::new("intent-1").unwrap();
        let effect = EffectId { instance, incarnation: Incarnation([7; 8]), execution: 0, epoch: 0, sequence: 1 };
        let input = app.encode(&narration).unwrap();
        let task = ActivityTask { effect, name: status_narrator_activity::NAME.to_owned(), input, attempt: 1, timeout: None };
        match app.run_activity(task).await {
            Outcome::Completed(payload) => app.decode(&payload).unwrap(),
            Outcome::Failed(failure) => panic!("{failure}"),
        }
    }

    fn question() -> Narration {
        Narration { platform: Some("teams".into()), thread_id: Some("19:a/b c@thread".into()), text: "May I?".into(), asks_approval: true, event_url: None }
    }

    #[tokio::test]
    async fn a_question_is_delivered_with_its_card_to_the_person_s_thread() {
        let (base_url, requests) = stub::answering(204).await;
        assert_eq!(narrate(&format!("{base_url}/"), question()).await, "delivered");
        let request = requests.await.unwrap();
        assert_eq!(request.line, "POST /api/v1/webhooks/chat/teams/19%3Aa%2Fb%20c%40thread HTTP/1.1");
        let data = |approved: bool| json!({ "event_name": "UserApproval", "approved": approved, "instance_id": "intent-1" });
        assert_eq!(
            request.body,
            json!({
                "text": "May I?",
                "metadata": { "instance_id": "intent-1", "idempotency_key": format!("intent-1/{}/0/0/1", Incarnation([7; 8])) },
                "adaptive_card": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.5",
                    "body": [{ "type": "TextBlock", "text": "May I?", "wrap": true }],
                    "actions": [
                        { "type": "Action.Submit", "title": "Approve", "style": "positive", "data": data(true) },
                        { "type": "Action.Submit", "title": "Reject", "style": "destructive", "data": data(false) },
                    ],
                },
            })
        );
    }

    #[tokio::test]
    async fn a_question_with_a_url_says_where_the_answer_can_be_posted() {
        let (base_url, requests) = stub::answering(200).await;
        let url = "http://localhost:7071/api/events/intent-1/UserApproval?expires=1";
        assert_eq!(narrate(&base_url, Narration { event_url: Some(url.into()), ..question() }).await, "delivered");
        let body = requests.await.unwrap().body;
        assert_eq!((&body["metadata"]["event_url"], &body["metadata"]["instance_id"]), (&json!(url), &json!("intent-1")));
        assert_eq!(body["adaptive_card"], approval_card("May I?", "intent-1"));
    }

    #[tokio::test]
    async fn news_has_no_card() {
        let (base_url, requests) = stub::answering(200).await;
        assert_eq!(narrate(&base_url, Narration { asks_approval: false, ..question() }).await, "delivered");
        assert_eq!(requests.await.unwrap().body.get("adaptive_card"), None);
    }

    #[tokio::test]
    async fn an_answer_other_than_success_is_a_failed_delivery() {
        for status in [302, 404, 500] {
            let (base_url, _requests) = stub::answering(status).await;
            assert_eq!(narrate(&base_url, question()).await, "failed", "{status}");
        }
    }

    #[tokio::test]
    async fn a_service_that_is_not_there_is_a_failed_delivery() {
        let (base_url, _held) = stub::nobody();
        assert_eq!(narrate(&base_url, question()).await, "failed");
        assert_eq!(narrate("not a url", question()).await, "failed");
    }

    #[tokio::test]
    async fn without_a_platform_or_a_thread_nothing_is_pushed() {
        let (nobody, _held) = stub::nobody();
        assert_eq!(narrate(&nobody, Narration { platform: None, ..question() }).await, "skipped");
        assert_eq!(narrate(&nobody, Narration { thread_id: Some(String::new()), ..question() }).await, "skipped");
    }
}
