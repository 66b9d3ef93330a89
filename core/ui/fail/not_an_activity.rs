async fn plain(number: u32) -> Result<u32, std::fmt::Error> {
    Ok(number)
}

struct Other;

#[durable::orchestrator]
async fn flow(ctx: durable::Context) -> Result<(), durable::Error> {
    ctx.activity(plain, 1).await?;
    ctx.activity(Other, 1).await?;
    ctx.sub_orchestration(Other, 1).await?;
    Ok(())
}

fn main() {}
