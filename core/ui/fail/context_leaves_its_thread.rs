use std::time::Duration;

// As those of task runtimes.
fn spawn<T: Send + 'static>(_future: T) {}

#[durable::orchestrator]
async fn in_a_thread(ctx: durable::Context) -> Result<(), durable::Error> {
    std::thread::spawn(move || ctx.now());
    Ok(())
}

#[durable::orchestrator]
async fn in_a_task(ctx: durable::Context) -> Result<(), durable::Error> {
    spawn(async move { ctx.timer(Duration::from_secs(1)).await });
    Ok(())
}

#[durable::orchestrator]
async fn only_the_call(ctx: durable::Context) -> Result<(), durable::Error> {
    spawn(ctx.timer(Duration::from_secs(1)));
    Ok(())
}

fn main() {}
