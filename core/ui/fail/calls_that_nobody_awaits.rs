#![deny(unused_must_use)]

use std::time::Duration;

use durable::{Context, Error, EventName};

const APPROVAL: EventName<bool> = EventName::new("Approval");

#[durable::activity]
async fn double(number: u32) -> Result<u32, std::fmt::Error> {
    Ok(number * 2)
}

#[durable::orchestrator]
async fn flow(ctx: Context) -> Result<(), Error> {
    ctx.activity(double, 1);
    ctx.timer(Duration::from_secs(1));
    ctx.event(&APPROVAL);
    ctx.event(&APPROVAL).timeout(Duration::from_secs(1));
    ctx.sub_orchestration(flow, ());
    Ok(())
}

fn main() {}
