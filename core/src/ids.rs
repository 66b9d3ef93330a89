//! Who is who: instance ids, incarnations, and the deterministic ids of effects and messages.
//!
//! Must never: draw randomness (random bytes come in through [`crate::ports::Entropy`]).

use std::fmt;
use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::limits;

/// The id of an instance: 1 to 256 characters, used as given (no trimming, no change of letter case).
///
/// Not allowed, as in Durable Functions: `/`, `\`, `?`, `#`, control characters, and a leading `@` (that names an entity).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct InstanceId(#[cbor(with = "crate::codec::shared_str")] Arc<str>);

/// Why a text is not an instance id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadInstanceId {
    /// Empty text.
    #[error("an instance id must not be empty")]
    Empty,
    /// More than [`limits::INSTANCE_ID_CHARS`] characters.
    #[error("an instance id has at most {max} characters, this one has {0}", max = limits::INSTANCE_ID_CHARS)]
    TooLong(usize),
    /// A character that cannot be part of an id.
    #[error("an instance id must not hold {0:?}: no / \\ ? # and no control characters")]
    Forbidden(char),
    /// A leading `@`.
    #[error("an instance id must not begin with '@': those ids are kept for entities")]
    Entity,
}

impl InstanceId {
    /// Checks the text and makes it an id.
    ///
    /// # Errors
    /// [`BadInstanceId`] says which rule the text breaks.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, BadInstanceId> {
        let text = text.into();
        if text.is_empty() {
            return Err(BadInstanceId::Empty);
        }
        let chars = text.chars().count();
        if chars > limits::INSTANCE_ID_CHARS {
            return Err(BadInstanceId::TooLong(chars));
        }
        if text.starts_with('@') {
            return Err(BadInstanceId::Entity);
        }
        match text.chars().find(|c| matches!(c, '/' | '\\' | '?' | '#') || c.is_control()) {
            Some(c) => Err(BadInstanceId::Forbidden(c)),
            None => Ok(Self(text)),
        }
    }

    /// A fresh id of 32 lower-case hex digits, as Durable Functions generates them.
    #[must_use]
    pub fn generated(random: [u8; 16]) -> Self {
        Self(hex(&random).into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl AsRef<str> for InstanceId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(with = "minicbor::bytes")] pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

byte_id! {
    /// Random bytes drawn when an instance is created; part of every id below it, so that two lives of one instance id never meet.
    Incarnation, 8
}
byte_id! {
    /// Names one commit. The header keeps the last one, which settles a commit whose outcome is unknown.
    CommitId, 8
}
byte_id! {
    /// Names one message. A message whose id has been consumed, or already waits in the inbox, changes nothing.
    MessageId, 16
}

impl MessageId {
    /// The id of a message that follows from an effect: the same effect always sends the same message.
    #[must_use]
    pub fn of_effect(effect: &EffectId, attempt: u32) -> Self {
        let mut text = effect.to_string();
        text.push('#');
        text.push_str(&attempt.to_string());
        Self(xxhash_rust::xxh3::xxh3_128(text.as_bytes()).to_be_bytes())
    }
}

/// Names one effect of one instance for ever: `instance/incarnation/execution/epoch/sequence`.
///
/// This is the idempotency key that an activity sees: every attempt of one call shows the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EffectId {
    /// The instance that asked.
    pub instance: InstanceId,
    /// Its life.
    pub incarnation: Incarnation,
    /// How many times it had continued as new.
    pub execution: u32,
    /// How many times it had been rewound when it asked.
    pub epoch: u32,
    /// The number of the call on the context.
    pub sequence: u32,
}

impl EffectId {
    /// The life of the child that this effect starts. It follows from the call, so that starting it twice is starting it once.
    #[must_use]
    pub fn child_incarnation(&self) -> Incarnation {
        Incarnation(xxhash_rust::xxh3::xxh3_64(self.to_string().as_bytes()).to_be_bytes())
    }
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}/{}", self.instance, self.incarnation, self.execution, self.epoch, self.sequence)
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        // Writing to a String never fails.
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_id_is_kept_as_given_and_the_forbidden_ones_are_refused() {
        assert_eq!(InstanceId::new(" Ab c ").unwrap().as_str(), " Ab c ");
        assert_eq!(InstanceId::new(""), Err(BadInstanceId::Empty));
        assert_eq!(InstanceId::new("@counter@1"), Err(BadInstanceId::Entity));
        for c in ['/', '\\', '?', '#', '\n', '\u{7f}'] {
            assert_eq!(InstanceId::new(format!("a{c}b")), Err(BadInstanceId::Forbidden(c)));
        }
        assert!(InstanceId::new("é".repeat(256)).is_ok());
        assert_eq!(InstanceId::new("é".repeat(257)), Err(BadInstanceId::TooLong(257)));
    }

    #[test]
    fn two_lives_of_one_instance_id_never_share_an_effect_id() {
        let effect = |life| EffectId { instance: InstanceId::new("a").unwrap(), incarnation: Incarnation([life; 8]), execution: 0, epoch: 0, sequence: 1 };
        assert_ne!(effect(1).to_string(), effect(2).to_string());
        assert_ne!(MessageId::of_effect(&effect(1), 1), MessageId::of_effect(&effect(2), 1));
        assert_eq!(MessageId::of_effect(&effect(1), 1), MessageId::of_effect(&effect(1), 1));
    }
}
