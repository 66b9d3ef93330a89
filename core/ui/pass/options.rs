//! Defaults that an activity states, and their replacement at a call.
#![deny(warnings)]

use std::time::Duration;

use durable::{Activity as _, ActivityOptions, Context, Error, RetryPolicy};

#[durable::activity(
    name = "charge-card",
    retry(first = "1s", attempts = 5, factor = 1.5, cap = "1m", jitter = 0.2, except = ["CardDeclined"]),
    attempt_timeout = "30s",
)]
async fn charge((order, cents): (String, u32)) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    Ok(format!("{order}: {cents}"))
}

#[durable::activity(attempt_timeout = "250ms")]
async fn quick() -> Result<(), std::fmt::Error> {
    Ok(())
}

#[durable::orchestrator(name = "shop", version = "2")]
async fn place_order(ctx: Context, order: (String, u32)) -> Result<String, Error> {
    ctx.activity(quick, ()).retry(RetryPolicy::none()).attempt_timeout(Duration::from_secs(1)).await?;
    ctx.activity(charge, order).retry(RetryPolicy::fixed(Duration::from_secs(1), 3)).await
}

fn main() {
    let retry = RetryPolicy::exponential(Duration::from_secs(1), 5).factor(1.5).cap(Duration::from_secs(60)).jitter(0.2).except(["CardDeclined"]);
    assert_eq!(charge::options(), ActivityOptions { retry, attempt_timeout: Some(Duration::from_secs(30)) });
    assert_eq!(quick::options(), ActivityOptions { retry: RetryPolicy::none(), attempt_timeout: Some(Duration::from_millis(250)) });
    assert_eq!((charge::NAME, quick::NAME), ("charge-card", "quick"));
    let app = durable::App::builder().activity(charge).activity(quick).orchestrator(place_order).build().unwrap();
    assert_eq!(app.resolve("shop", None), Some(Some("2".to_owned())));
}
