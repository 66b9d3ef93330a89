//! An input is given by value or by reference, as the caller likes.
#![deny(warnings)]

use durable::{ActivityContext, Context, Error};

#[durable::activity]
async fn length(ctx: ActivityContext, text: String) -> Result<usize, std::io::Error> {
    let _ = ctx.attempt();
    Ok(text.len())
}

#[durable::activity]
async fn beep() -> Result<(), std::io::Error> {
    Ok(())
}

#[durable::activity]
async fn who(ctx: ActivityContext) -> Result<String, std::io::Error> {
    Ok(ctx.idempotency_key())
}

#[durable::orchestrator]
async fn child(_: Context) -> Result<(), Error> {
    Ok(())
}

#[durable::orchestrator]
async fn parent(ctx: Context, mut text: String) -> Result<usize, Error> {
    let first = ctx.activity(length, &text).await?;
    text.push('!');
    let second = ctx.activity(length, text).await?;
    ctx.activity(beep, ()).await?;
    let _: String = ctx.activity(who, &()).await?;
    ctx.sub_orchestration(child, ()).await?;
    Ok(first + second)
}

fn main() {
    let app = durable::App::builder().activity(length).activity(beep).activity(who).orchestrator(parent).orchestrator(child).build();
    assert_eq!(app.unwrap().orchestrator_names(), ["child", "parent"]);
}
