//! The template: copy this crate, keep its shape, replace what it does.
//!
//! - [`base`]: an activity, a wait for an event, an activity.
//! - [`standing_intent`]: asks a person for approval and waits for it, for days if need be.
//! - [`activities`]: what touches the world. Orchestrators may not: `clippy.toml` and the lint below watch over that.
//!
//! A new orchestrator or activity is a function with its attribute, and one line in [`app`].

// The order of a hash map changes from run to run, and with it the order of calls: use a `BTreeMap`.
#![warn(clippy::iter_over_hash_type)]

pub mod activities;
pub mod base;
mod json;
pub mod standing_intent;

use durable::{App, AppError};

use crate::activities::log::log_activity;
use crate::activities::status_narrator::status_narrator_activity;
use crate::activities::webhook::Webhook;
use crate::base::base_orchestrator;
use crate::standing_intent::standing_intent_orchestrator;

/// All orchestrators and activities, and what the activities need. The environment is read here, once.
///
/// # Errors
/// [`AppError`] if two of them have the same name.
pub fn app() -> Result<App, AppError> {
    app_with(Webhook::from_env())
}

/// Like [`app`], with another webhook service.
///
/// # Errors
/// [`AppError`] if two orchestrators or activities have the same name.
pub fn app_with(webhook: Webhook) -> Result<App, AppError> {
    App::builder()
        .orchestrator(base_orchestrator)
        .orchestrator(standing_intent_orchestrator)
        .activity(log_activity)
        .activity(status_narrator_activity)
        .resource(webhook)
        .build()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_app_has_both_orchestrators() {
        assert_eq!(super::app().unwrap().orchestrator_names(), ["base_orchestrator", "standing_intent_orchestrator"]);
    }
}
