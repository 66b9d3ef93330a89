//! What a client asks for when it starts an instance, and what it is told.
//!
//! Must never: decide anything; the engine checks what stands here.

use crate::ids::{Incarnation, InstanceId};
use crate::payload::Payload;
use crate::ports::ReusePolicy;

/// A request to start an instance.
#[derive(Debug, Clone)]
pub struct Start {
    /// Name of the orchestrator.
    pub name: String,
    /// Its version; the latest if none.
    pub version: Option<String>,
    /// The instance id; a generated one if none.
    pub instance: Option<InstanceId>,
    /// The input.
    pub input: Payload,
    /// When an id in use may be taken.
    pub policy: ReusePolicy,
    /// This life of the instance; a random one if none. A start of a life that is there already is that start, repeated: it is accepted,
    /// and starts nothing. Name a life again only for the same start: after a purge it would meet what is left of its sub-orchestrations.
    pub incarnation: Option<Incarnation>,
}

impl Start {
    /// Starts an orchestrator by name, with an input as [`crate::App::encode`] or [`crate::App::encode_text`] made it.
    #[must_use]
    pub fn new(name: impl Into<String>, input: Payload) -> Self {
        Self { name: name.into(), version: None, instance: None, input, policy: ReusePolicy::default(), incarnation: None }
    }

    /// Under this instance id.
    #[must_use]
    pub fn id(mut self, instance: InstanceId) -> Self {
        self.instance = Some(instance);
        self
    }
}

/// An instance that has been started: durable, together with its wake-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub instance: InstanceId,
    /// This life of it.
    pub incarnation: Incarnation,
}
