//! What such a host asks of itself, as messages in its queues.
//!
//! A body is a JSON *array*: what is around the queue may merge the members of an object into what it tells about the message. Must never: take a
//! message for ours that is not, or fail on one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::work::{Attempt, Look, Timer};

/// Behind the work in a message that came back from the poison queue.
const AGAIN: &str = "again";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "durable", rename_all = "camelCase")]
pub enum Work {
    /// Look whether an instance has to be driven. An empty life means whichever it lives.
    Look(Look),
    /// An alarm is due.
    Timer(Timer),
    /// An attempt of an activity is to be made.
    Activity(Attempt),
    /// There are more far alarms to be moved than one run of the hourly function had time for.
    Hour,
    /// Instances that bear a fault of another build are to be tried by this one.
    Faulted {
        /// Where the last page ended.
        #[serde(default)]
        after: Option<String>,
    },
}

impl Work {
    /// The instance that it is about.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        match self {
            Self::Look(look) => Some(&look.instance),
            Self::Timer(timer) => Some(&timer.instance),
            Self::Activity(attempt) => Some(&attempt.instance),
            Self::Hour | Self::Faulted { .. } => None,
        }
    }
}

/// A message in one of the queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// What is asked.
    pub work: Work,
    /// True if it stood in a poison queue before.
    pub again: bool,
}

impl From<Work> for Letter {
    fn from(work: Work) -> Self {
        Self { work, again: false }
    }
}

/// A message that is not one of this app's. Says what it looks like, without its data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message is none of this app's: {0}")]
pub struct NotOurs(pub String);

impl Letter {
    /// The body of the message.
    #[must_use]
    pub fn body(&self) -> String {
        let work = serde_json::to_value(&self.work).unwrap_or(Value::Null);
        Value::Array(if self.again { vec![work, AGAIN.into()] } else { vec![work] }).to_string()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`NotOurs`] if it is none.
    pub fn read(body: &[u8]) -> Result<Self, NotOurs> {
        let value: Value = serde_json::from_slice(body).map_err(|_| NotOurs(format!("{} bytes that are no JSON", body.len())))?;
        Self::of(value)
    }

    /// Reads a body that was JSON.
    ///
    /// # Errors
    /// [`NotOurs`] if it is none.
    pub fn of(value: Value) -> Result<Self, NotOurs> {
        let Value::Array(mut parts) = value else { return Err(NotOurs("JSON that is no array".to_owned())) };
        let again = parts.get(1).is_some_and(|mark| mark == AGAIN);
        if parts.is_empty() {
            return Err(NotOurs("an empty array".to_owned()));
        }
        let work = serde_json::from_value(parts.swap_remove(0)).map_err(|_| NotOurs("an array that begins with no work that this build knows".to_owned()))?;
        Ok(Self { work, again })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use durable::Timestamp;

    use super::*;

    #[test]
    fn a_letter_is_an_array_that_names_its_kind_and_reads_back() {
        let timer = Timer { instance: "a".into(), life: "00000000000000ff".into(), revision: 3, due: Timestamp(1_500_000), armed: Timestamp(0) };
        let letter = Letter::from(Work::Timer(timer));
        assert!(letter.body().starts_with(r#"[{"#) && letter.body().contains(r#""durable":"timer""#), "{}", letter.body());
        assert_eq!(Letter::read(letter.body().as_bytes()), Ok(letter.clone()));
        let again = Letter { again: true, ..letter };
        assert_eq!(Letter::read(again.body().as_bytes()), Ok(again));
        assert_eq!(Letter::read(br#"[{"durable":"look","instance":"a","life":"","revision":0,"new":1}]"#).unwrap().work.instance(), Some("a"));
    }
}
