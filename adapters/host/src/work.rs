//! What a host asks of itself, kept by some queue until it is done: look at an instance, ring its alarm, make an attempt of an activity. As JSON.
//!
//! Old ones may still be on their way when a new build is deployed: fields are added, never changed. Must never: know how they travel.

use std::time::Duration;

use durable::header::ActivityTask;
use durable::history::Event;
use durable::ids::{EffectId, Incarnation};
use durable::ports::{Store, StoreResult};
use durable::{Failure, InstanceId, Payload, Timestamp};
use serde::{Deserialize, Serialize};

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
    /// When the alarm was due that it goes on for, if any: that has rung, and by a clock that is behind there would be nothing to do yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
}

impl Look {
    /// How long it is by this clock until the alarm is due that it goes on for. It must not be done before.
    #[must_use]
    pub fn early(&self, now: Timestamp) -> Option<Duration> {
        self.due.filter(|due| now < *due).map(|due| now.until(due))
    }
}

impl Timer {
    /// What goes on for an alarm that has rung.
    #[must_use]
    pub fn look(&self) -> Look {
        Look { instance: self.instance.clone(), life: self.life.clone(), revision: self.revision, hop: 0, due: Some(self.due) }
    }
}

/// An instance that somebody is seeing to: look again once they must be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// The instance.
    #[serde(flatten)]
    pub look: Look,
    /// When they must be done. Whoever has work to do for longer by then is another check's. One that does not say stays until all is done.
    #[serde(default = "for_ever")]
    pub until: Timestamp,
}

const fn for_ever() -> Timestamp {
    Timestamp::MAX
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
    /// Its input in stored form, in base64; none if it is too large to travel.
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

/// Something of ours that does not say what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it names {what} {value:?}, which is none")]
pub struct BadWork {
    what: &'static str,
    value: String,
}

/// Reads a life as it is written there.
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
    /// What is asked for a task. An input of more than `input_bytes` does not travel: [`Attempt::input`] reads it from the history.
    #[must_use]
    pub fn of(task: &ActivityTask, limit_ms: u64, one_of_many: bool, input_bytes: usize) -> Self {
        use base64::Engine;
        let stored = task.input.stored();
        let input = (stored.len() <= input_bytes).then(|| base64::engine::general_purpose::STANDARD.encode(stored));
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

    /// What it comes to if it was begun again and again and never ended.
    #[must_use]
    pub fn lost(&self) -> Failure {
        let text = format!("attempt {} of activity `{}` was begun and never ended: its worker died each time", self.attempt, self.name);
        Failure { attempts: self.attempt, ..Failure::new("Lost", text) }
    }

    /// Its input: it came along, or stands in the history. None if the execution that asked has ended and its history is gone: nobody waits.
    ///
    /// # Errors
    /// Store trouble.
    pub async fn input(&self, effect: &EffectId, store: &dyn Store) -> StoreResult<Option<Payload>> {
        use base64::Engine;
        if let Some(text) = &self.input {
            let stored = base64::engine::general_purpose::STANDARD.decode(text);
            return Ok(stored.ok().map(|stored| Payload::from_stored(stored.into())));
        }
        let history = store.history(&effect.instance, effect.incarnation, effect.execution, 0..u64::MAX).await?;
        let scheduled = history.iter().rev().find_map(|bytes| match Event::from_bytes(bytes) {
            Ok(Event::ActivityScheduled { sequence, input, .. }) if sequence == effect.sequence => Some(input),
            _ => None,
        });
        Ok(scheduled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_for_an_alarm_keeps_to_its_time_by_any_clock() {
        let timer = Timer { instance: "a".into(), life: "00000000000000ff".into(), revision: 3, due: Timestamp(2_000_000), armed: Timestamp(0) };
        let sent = serde_json::to_string(&timer.look()).unwrap();
        let look: Look = serde_json::from_str(&sent).unwrap();
        assert_eq!(look.early(Timestamp(1_500_000)), Some(Duration::from_millis(500)));
        assert_eq!(look.early(Timestamp(2_000_000)), None);
        let other: Look = serde_json::from_str(r#"{"instance":"a","life":"","revision":0}"#).unwrap();
        assert_eq!(other.early(Timestamp(0)), None);
    }

    #[test]
    fn lives_are_sixteen_hex_digits() {
        let of = Incarnation([0, 1, 2, 3, 4, 5, 6, 255]);
        assert_eq!(life(&of.to_string()), Ok(of));
        for bad in ["", "xyz", "00000000000000fff", "0000000000000é"] {
            assert!(life(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_input_that_is_too_large_does_not_travel() {
        let effect = EffectId { instance: InstanceId::new("a").unwrap(), incarnation: Incarnation([1; 8]), execution: 0, epoch: 0, sequence: 1 };
        let input = Payload::from_stored(bytes::Bytes::from_static(b"0123456789"));
        let task = ActivityTask { effect: effect.clone(), name: "a".into(), input, attempt: 1, timeout: None };
        assert!(Attempt::of(&task, 1, false, 9).input.is_none());
        let attempt = Attempt::of(&task, 1, false, 10);
        assert!(attempt.input.is_some());
        assert_eq!(attempt.effect(), Ok(effect));
    }
}
