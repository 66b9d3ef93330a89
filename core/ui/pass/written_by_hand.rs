//! What the attributes write can be written by hand.
#![deny(warnings)]

use durable::{Activity, ActivityContext, Context, Failure, Next, Orchestrator};

struct Double;

impl Activity for Double {
    const NAME: &'static str = "double";
    type Input = u32;
    type Output = u32;
    async fn run(_: ActivityContext, number: u32) -> Result<u32, Failure> {
        Ok(number * 2)
    }
}

struct Twice;

impl Orchestrator for Twice {
    const NAME: &'static str = "twice";
    const VERSION: Option<&'static str> = None;
    type Input = u32;
    type Output = u32;
    async fn run(ctx: Context, number: u32) -> Result<Next<u32, u32>, Failure> {
        let once = ctx.activity(Double, number).await.map_err(Failure::from_error)?;
        ctx.activity(Double, once).await.map(Next::Done).map_err(Failure::from_error)
    }
}

fn main() {
    assert!(durable::App::builder().activity(Double).orchestrator(Twice).build().is_ok());
}
