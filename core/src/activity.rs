//! Activities: the functions that touch the world. The attribute `#[activity]` writes [`Activity`]; everything it writes can be written by hand.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::ids::{EffectId, InstanceId};
use crate::retry::RetryPolicy;

/// An activity: a plain `async fn` with a name, typed input and output, and defaults for how it is tried again.
///
/// It may run more than once for one call (a crash between its end and its commit): use [`ActivityContext::idempotency_key`] where that matters.
#[diagnostic::on_unimplemented(message = "`{Self}` is not an activity", note = "write `#[durable::activity]` above the function")]
pub trait Activity: 'static {
    /// The name under which it is stored. Changing it breaks instances that are under way.
    const NAME: &'static str;
    /// What it takes.
    type Input: Serialize + DeserializeOwned + Send;
    /// What it returns.
    type Output: Serialize + DeserializeOwned;

    /// Defaults for every call.
    #[must_use]
    fn options() -> ActivityOptions {
        ActivityOptions::default()
    }

    /// One attempt.
    fn run(context: ActivityContext, input: Self::Input) -> impl Future<Output = Result<Self::Output, Failure>> + Send + 'static;
}

/// How the calls of an activity are tried.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ActivityOptions {
    /// When to try again.
    pub retry: RetryPolicy,
    /// An attempt is cut off after this long; that counts as a failure of kind [`crate::KIND_TIMEOUT`].
    pub attempt_timeout: Option<Duration>,
}

/// Values that an app gives to its activities, by type: clients, pools, settings.
pub(crate) type Resources = Arc<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>;

/// What an attempt of an activity knows of itself.
#[derive(Clone)]
pub struct ActivityContext {
    effect: Arc<EffectId>,
    attempt: u32,
    resources: Resources,
}

impl ActivityContext {
    pub(crate) fn new(effect: EffectId, attempt: u32, resources: Resources) -> Self {
        Self { effect: Arc::new(effect), attempt, resources }
    }

    /// A context for unit tests of an activity, outside of any engine: first attempt, no resources.
    #[must_use]
    pub fn for_test(instance: InstanceId) -> Self {
        Self::new(EffectId { instance, incarnation: crate::ids::Incarnation::default(), execution: 0, epoch: 0, sequence: 1 }, 1, Resources::default())
    }

    /// The same text for every attempt of this call, and never for another: give it to services that can recognise a repeated request.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        self.effect.to_string()
    }

    /// The instance that called.
    #[must_use]
    pub fn instance_id(&self) -> &InstanceId {
        &self.effect.instance
    }

    /// This attempt, from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The value of type `T` that the app was given with [`crate::AppBuilder::resource`].
    #[must_use]
    pub fn resource<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.resources.get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref())
    }
}

impl std::fmt::Debug for ActivityContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ActivityContext({} attempt {})", self.effect, self.attempt)
    }
}
