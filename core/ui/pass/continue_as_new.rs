//! `Next`, however its path and that of `Result` are written.
#![deny(warnings)]

use durable::{Context, Error, Next, Orchestrator};

type Attempt<T> = std::result::Result<T, Error>;

mod short {
    pub type Result<T> = std::result::Result<T, durable::BoxError>;
}

#[durable::orchestrator]
async fn countdown(ctx: Context, from: u32) -> Result<Next<String, u32>, Error> {
    ctx.timer(std::time::Duration::from_secs(1)).await;
    Ok(if from == 0 { Next::done("lift-off".to_owned()) } else { Next::again(from - 1) })
}

#[durable::orchestrator]
async fn for_ever(_ctx: Context) -> short::Result<durable::Next<(), ()>> {
    helper().await?;
    Ok(durable::Next::again(()))
}

async fn helper() -> Attempt<()> {
    Ok(())
}

fn output_of<O: Orchestrator<Output = T>, T>(_: O) {}

fn main() {
    output_of::<_, String>(countdown);
    output_of::<_, ()>(for_ever);
}
