//! A standing intent: something that a person wants done once they have agreed to it.
//!
//! It asks in the person's chat, and waits for the answer until the timeout, asleep.

use std::time::Duration;

use durable::{Context, Error, EventName, Failure};
use serde::{Deserialize, Serialize};

use crate::activities::status_narrator::{Narration, status_narrator_activity};

/// The event that carries the person's decision.
pub const USER_APPROVAL: EventName<Decision> = EventName::new("UserApproval");

/// How long to wait if the input does not say.
const DEFAULT_TIMEOUT_HOURS: f64 = 24.0;

/// What is asked of whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandingIntent {
    /// What is to be approved.
    pub message: String,
    /// How long to wait for the answer; 24 if not given. Fractions are fine.
    pub approval_timeout_hours: Option<f64>,
    /// The chat platform, for example `teams`. Without it, or without a thread, nothing is pushed.
    pub platform: Option<String>,
    /// The conversation on that platform.
    pub thread_id: Option<String>,
}

/// The data of the event: `{"approved": true}`, with whatever else is in there, or just `true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Decision {
    /// Just `true` or `false`.
    Plain(bool),
    /// An object, as the card sends it.
    Answer {
        /// The decision.
        approved: bool,
    },
}

impl Decision {
    const fn approved(self) -> bool {
        match self {
            Self::Plain(approved) | Self::Answer { approved } => approved,
        }
    }
}

/// How it ended. As JSON: `{"status": "approved", "approved": true}`, and so on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Verdict {
    /// The person agreed.
    Approved {
        /// Always true.
        approved: bool,
    },
    /// The person refused, or what came was no decision.
    Rejected {
        /// Always false.
        approved: bool,
    },
    /// Nobody answered in time.
    Timeout {
        /// Says so.
        message: String,
    },
}

/// Asks for approval, waits for it, tells the outcome.
///
/// An event that holds no decision counts as a refusal: nothing happens without a clear yes.
#[durable::orchestrator]
pub async fn standing_intent_orchestrator(ctx: Context, intent: StandingIntent) -> Result<Verdict, Error> {
    let timeout = approval_timeout(intent.approval_timeout_hours.unwrap_or(DEFAULT_TIMEOUT_HOURS))?;

    // Whoever gets the card can answer through this URL, without the server's key. A host without a secret for it goes without.
    let event_url = ctx.event_url(USER_APPROVAL, timeout).ok();
    let question = Narration { text: format!("Approval needed: {}", intent.message), asks_approval: true, event_url, ..to(&intent) };
    ctx.activity(status_narrator_activity, question).await?;

    let verdict = match ctx.event(&USER_APPROVAL).timeout(timeout).await {
        Ok(decision) if decision.approved() => Verdict::Approved { approved: true },
        Ok(_) | Err(Error::Payload(_)) => Verdict::Rejected { approved: false },
        Err(Error::TimedOut { .. }) => Verdict::Timeout { message: "Approval timeout - no response received".to_owned() },
        Err(other) => return Err(other),
    };

    if intent.platform.is_some() && intent.thread_id.is_some() {
        let outcome = match verdict {
            Verdict::Approved { .. } => "Approved",
            Verdict::Rejected { .. } => "Rejected",
            Verdict::Timeout { .. } => "Expired without an answer",
        };
        let news = Narration { text: format!("{outcome}: {}", intent.message), asks_approval: false, ..to(&intent) };
        ctx.activity(status_narrator_activity, news).await?;
    }
    Ok(verdict)
}

/// An empty narration to the person's conversation.
fn to(intent: &StandingIntent) -> Narration {
    Narration { platform: intent.platform.clone(), thread_id: intent.thread_id.clone(), ..Narration::default() }
}

fn approval_timeout(hours: f64) -> Result<Duration, Failure> {
    if !hours.is_finite() || hours < 0.0 {
        return Err(Failure::new("InvalidInput", format!("approval_timeout_hours is {hours}: give a number of hours that is not negative")));
    }
    // What is too long to be counted in seconds is for ever, as far as anybody will see.
    Ok(Duration::try_from_secs_f64(hours * 3600.0).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(verdict: &Verdict) -> String {
        serde_json::to_string(verdict).unwrap()
    }

    #[test]
    fn a_decision_is_an_object_or_a_bare_bool_and_nothing_else() {
        let read = |text| serde_json::from_str(text).ok().map(Decision::approved);
        assert_eq!(read(r#"{"approved": true, "by": "Ada"}"#), Some(true));
        assert_eq!(read("false"), Some(false));
        for text in ["null", "{}", r#""yes""#, "1", r#"{"approved": "true"}"#] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn verdicts_are_written_as_callers_expect_them() {
        assert_eq!(json(&Verdict::Approved { approved: true }), r#"{"status":"approved","approved":true}"#);
        assert_eq!(json(&Verdict::Rejected { approved: false }), r#"{"status":"rejected","approved":false}"#);
        assert_eq!(json(&Verdict::Timeout { message: "m".to_owned() }), r#"{"status":"timeout","message":"m"}"#);
    }

    #[test]
    fn hours_may_be_fractions_but_not_negative_or_endless() {
        assert_eq!(approval_timeout(0.5), Ok(Duration::from_mins(30)));
        assert_eq!([0.0, -0.0].map(approval_timeout), [Ok(Duration::ZERO), Ok(Duration::ZERO)]);
        assert_eq!(approval_timeout(1e300), Ok(Duration::MAX));
        for hours in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(approval_timeout(hours).unwrap_err().kind, "InvalidInput");
        }
    }

    #[test]
    fn only_the_message_has_to_be_given() {
        let intent: StandingIntent = serde_json::from_str(r#"{"message": "Book it"}"#).unwrap();
        assert_eq!(intent, StandingIntent { message: "Book it".to_owned(), approval_timeout_hours: None, platform: None, thread_id: None });
    }
}
