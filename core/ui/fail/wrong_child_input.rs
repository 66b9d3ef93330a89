#[durable::orchestrator]
async fn child(_ctx: durable::Context, number: u32) -> Result<u32, durable::Error> {
    Ok(number)
}

#[durable::orchestrator]
async fn parent(ctx: durable::Context) -> Result<u32, durable::Error> {
    ctx.sub_orchestration(child, "two").await
}

fn main() {}
