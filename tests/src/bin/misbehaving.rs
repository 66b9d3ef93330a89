//! A server whose orchestrators make trouble, unless `BUILD` is `fixed`: then the same orchestrators behave.
#![allow(missing_docs, clippy::panic, reason = "a program for tests")]

#[path = "common/serve.rs"]
mod serve;

use std::time::Duration;

use durable::{App, Context, Error, EventName, Failure, activity, orchestrator};
use durable_orchestrator::activities::log::log_activity;
use durable_orchestrator::base::base_orchestrator;

/// The build, as the environment says it: another one is another program, as far as anybody can tell.
fn build() -> String {
    std::env::var("BUILD").unwrap_or_else(|_| "broken".to_owned())
}

fn broken() -> bool {
    build() == "broken"
}

/// The same text again.
#[activity]
async fn echo(text: String) -> Result<String, Failure> {
    Ok(text)
}

#[activity(name = "charge_card")]
async fn charge_card(text: String) -> Result<String, Failure> {
    Ok(text)
}

#[activity(name = "charge_customer")]
async fn charge_customer(text: String) -> Result<String, Failure> {
    Ok(text)
}

/// Misbehaves at once (`start`), after an activity (`activity`), or after the event `Now` (`event`).
async fn come_to(ctx: &Context, place: &str) -> Result<(), Error> {
    if place != "start" {
        ctx.activity(echo, "before".to_owned()).await?;
    }
    if place == "event" {
        ctx.event::<serde_json::Value>(EventName::new("Now")).await?;
    }
    Ok(())
}

/// What the fixed build does instead.
async fn behave(ctx: &Context) -> Result<String, Error> {
    let data: String = ctx.event(EventName::new("Go")).await?;
    ctx.activity(echo, format!("went on with {data}")).await
}

#[orchestrator]
async fn panics(ctx: Context, place: String) -> Result<String, Error> {
    come_to(&ctx, &place).await?;
    if broken() {
        panic!("the till is empty");
    }
    behave(&ctx).await
}

#[orchestrator]
async fn loops(ctx: Context, place: String) -> Result<String, Error> {
    come_to(&ctx, &place).await?;
    while broken() {
        std::thread::sleep(Duration::from_millis(5));
    }
    behave(&ctx).await
}

#[orchestrator]
async fn calls_without_end(ctx: Context, place: String) -> Result<String, Error> {
    come_to(&ctx, &place).await?;
    while broken() {
        drop(ctx.timer(Duration::from_secs(1)));
    }
    behave(&ctx).await
}

#[allow(unconditional_recursion, reason = "that is its purpose")]
fn deeper(n: u64) -> u64 {
    let room = std::hint::black_box([n; 512]);
    deeper(n + 1) + room[0]
}

#[orchestrator]
async fn overflows(ctx: Context, place: String) -> Result<String, Error> {
    come_to(&ctx, &place).await?;
    if broken() {
        return Ok(deeper(0).to_string());
    }
    behave(&ctx).await
}

#[orchestrator]
async fn sleeps_elsewhere(ctx: Context, place: String) -> Result<String, Error> {
    come_to(&ctx, &place).await?;
    if broken() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    behave(&ctx).await
}

/// Calls an activity that has another name in the broken build.
#[orchestrator]
async fn renamed(ctx: Context, place: String) -> Result<String, Error> {
    if broken() {
        ctx.activity(charge_customer, place).await?;
    } else {
        ctx.activity(charge_card, place).await?;
    }
    behave(&ctx).await
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = App::builder()
        .build_id(std::env::var("BUILD_ID").unwrap_or_else(|_| build()))
        .orchestrator(base_orchestrator)
        .orchestrator(panics)
        .orchestrator(loops)
        .orchestrator(calls_without_end)
        .orchestrator(overflows)
        .orchestrator(sleeps_elsewhere)
        .orchestrator(renamed)
        .activity(log_activity)
        .activity(echo)
        .activity(charge_card)
        .activity(charge_customer);
    serve::serve(app.build()?)
}
