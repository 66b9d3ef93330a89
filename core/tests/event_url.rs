//! Signed URLs, as orchestrators make them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::time::Duration;

use durable::event_url::EventUrls;
use durable::{App, AppBuilder, Context, Error, EventName, orchestrator};

const GO: EventName<bool> = EventName::new("Go");
const MINUTE: Duration = Duration::from_secs(60);

/// Two URLs, a second apart.
#[orchestrator]
async fn asks(ctx: Context) -> Result<(String, String), Error> {
    let first = ctx.event_url(GO, MINUTE)?;
    ctx.timer(Duration::from_secs(1)).await;
    Ok((first, ctx.event_url(GO, MINUTE)?))
}

fn app() -> AppBuilder {
    App::builder().orchestrator(asks).check_turns().strict_inputs()
}

#[test]
fn a_url_follows_from_the_time_of_the_turn_and_is_the_same_on_every_replay() {
    let app = app().event_urls(EventUrls::new("https://host.example", [7; 32]).unwrap()).build().unwrap();
    let (first, second): (String, String) = durable::testing::run(app, "asks", (), &[]).unwrap();
    let expires = |url: &str| url.split("expires=").nth(1).unwrap().split('&').next().unwrap().parse::<i64>().unwrap();
    assert_eq!(expires(&second), expires(&first) + 1);
    assert!(first.starts_with("https://host.example/api/events/") && first.contains("/Go?expires="), "{first}");
}

#[test]
fn without_a_secret_there_is_no_url_and_the_error_says_what_to_do() {
    let failure = durable::testing::run::<(String, String)>(app().build().unwrap(), "asks", (), &[]).unwrap_err();
    assert_eq!(failure.kind, "EventUrl");
    assert!(failure.message.contains("AppBuilder::event_urls"), "{failure}");
}
