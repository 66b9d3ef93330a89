#[durable::activity]
async fn double(number: u32) -> Result<u32, std::fmt::Error> {
    Ok(number * 2)
}

#[durable::orchestrator]
async fn flow(ctx: durable::Context) -> Result<u32, durable::Error> {
    ctx.activity(double, "two").await
}

fn main() {}
