#[durable::activity]
async fn double(number: u32) -> Result<u32, std::fmt::Error> {
    Ok(number * 2)
}

#[durable::orchestrator]
async fn flow(ctx: durable::Context) -> Result<String, durable::Error> {
    let text: String = ctx.activity(double, 2).await?;
    Ok(text)
}

fn main() {}
