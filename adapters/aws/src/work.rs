//! What the function asks of itself: the events that timers, asynchronous invocations and the on-failure destination bring, as JSON.
//!
//! The field `durable` names the kind. Old ones may still be on their way when a new build is deployed: fields are added, never changed.

use durable::header::ActivityTask;
use durable::ids::{EffectId, Incarnation};
use durable::{InstanceId, Timestamp};
use serde::{Deserialize, Serialize};

/// Input of an activity that travels with its event at most; a longer one is read from the history. (An asynchronous event may have 1 MB.)
const INPUT_BYTES: usize = 200 * 1024;

/// An event of our own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "durable", rename_all = "camelCase")]
pub enum Work {
    /// A timer is due.
    Timer(Timer),
    /// An attempt of an activity is to be made.
    Activity(Attempt),
    /// Somebody was at it when this was sent: look again whether they still are.
    Check(Look),
    /// Drive this instance.
    Drive(Look),
    /// Look at the instances that bear a fault of another build.
    Faulted {
        /// Where the last page ended.
        #[serde(default)]
        after: Option<String>,
    },
}

/// An alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timer {
    /// Whose.
    pub instance: String,
    /// Of which life, in hex.
    pub life: String,
    /// The revision that the commit was to have that needed it.
    pub revision: u64,
    /// When it is due.
    pub due: Timestamp,
    /// When it was armed.
    pub armed: Timestamp,
}

/// An instance, as it stood when the event was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Look {
    /// Which.
    pub instance: String,
    /// Its life, in hex.
    pub life: String,
    /// Its revision.
    pub revision: u64,
    /// How many events like this one came before, one from the other, without any progress.
    #[serde(default)]
    pub hop: u32,
}

/// One attempt of one activity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Who asked for it.
    pub instance: String,
    /// In which life, in hex.
    pub life: String,
    /// In which execution.
    pub execution: u32,
    /// In which epoch.
    pub epoch: u32,
    /// With which call.
    pub sequence: u32,
    /// Name of the activity.
    pub name: String,
    /// Its input in stored form, in base64; none if it is too large for an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Its limit in milliseconds.
    pub limit_ms: u64,
    /// True if others were handed on beside it: then whoever takes their ends drives, and not every one of them.
    #[serde(default)]
    pub one_of_many: bool,
}

/// An event of ours that does not say what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event names {what} {value:?}, which is none")]
pub struct BadWork {
    what: &'static str,
    value: String,
}

/// Reads a life as it is written in events.
///
/// # Errors
/// [`BadWork`] if it is not 16 hex digits.
pub fn life(text: &str) -> Result<Incarnation, BadWork> {
    let bad = || BadWork { what: "the life", value: text.to_owned() };
    if text.len() != 16 || !text.is_ascii() {
        return Err(bad());
    }
    let number = u64::from_str_radix(text, 16).map_err(|_| bad())?;
    Ok(Incarnation(number.to_be_bytes()))
}

/// Reads an instance id.
///
/// # Errors
/// [`BadWork`] if it can be none.
pub fn instance(text: &str) -> Result<InstanceId, BadWork> {
    InstanceId::new(text).map_err(|_| BadWork { what: "the instance", value: text.to_owned() })
}

impl Attempt {
    /// The event for a task.
    #[must_use]
    pub fn of(task: &ActivityTask, limit_ms: u64, one_of_many: bool) -> Self {
        use base64::Engine;
        let stored = task.input.stored();
        let input = (stored.len() <= INPUT_BYTES).then(|| base64::engine::general_purpose::STANDARD.encode(stored));
        let effect = &task.effect;
        Self {
            instance: effect.instance.to_string(),
            life: effect.incarnation.to_string(),
            execution: effect.execution,
            epoch: effect.epoch,
            sequence: effect.sequence,
            name: task.name.clone(),
            input,
            attempt: task.attempt,
            limit_ms,
            one_of_many,
        }
    }

    /// The effect that it carries out.
    ///
    /// # Errors
    /// [`BadWork`] if it names none.
    pub fn effect(&self) -> Result<EffectId, BadWork> {
        let (instance, incarnation) = (instance(&self.instance)?, life(&self.life)?);
        Ok(EffectId { instance, incarnation, execution: self.execution, epoch: self.epoch, sequence: self.sequence })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test code")]
mod tests {
    use super::*;

    #[test]
    fn events_name_their_kind_and_read_back() {
        let timer = Work::Timer(Timer { instance: "a".into(), life: "00000000000000ff".into(), revision: 3, due: Timestamp(1_500_000), armed: Timestamp(0) });
        let text = serde_json::to_string(&timer).unwrap();
        assert!(text.starts_with(r#"{"durable":"timer","instance":"a","life":"00000000000000ff","revision":3,"due":"1970-01-01T00:00:01.5Z""#), "{text}");
        assert_eq!(serde_json::from_str::<Work>(&text).unwrap(), timer);
        let drive = r#"{"durable":"drive","instance":"a","life":"00000000000000ff","revision":3}"#;
        assert!(matches!(serde_json::from_str(drive).unwrap(), Work::Drive(Look { hop: 0, .. })));
        assert!(serde_json::from_str::<Work>(r#"{"durable":"dance"}"#).is_err());
    }

    #[test]
    fn lives_are_sixteen_hex_digits() {
        let of = Incarnation([0, 1, 2, 3, 4, 5, 6, 255]);
        assert_eq!(life(&of.to_string()), Ok(of));
        for bad in ["", "xyz", "00000000000000fff", "0000000000000é"] {
            assert!(life(bad).is_err(), "{bad}");
        }
    }
}
