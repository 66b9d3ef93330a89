type E = std::fmt::Error;

#[durable::activity(retries = 5)]
async fn unknown_key() -> Result<(), E> {
    Ok(())
}

#[durable::activity("name")]
async fn no_key() -> Result<(), E> {
    Ok(())
}

#[durable::activity(attempt_timeout = "30 seconds")]
async fn bad_time() -> Result<(), E> {
    Ok(())
}

#[durable::activity(attempt_timeout = 30)]
async fn time_without_unit() -> Result<(), E> {
    Ok(())
}

#[durable::activity(retry(first = "1s"))]
async fn no_attempts() -> Result<(), E> {
    Ok(())
}

#[durable::activity(retry(first = "1s", attempts = 3, jitter = 20))]
async fn bad_jitter() -> Result<(), E> {
    Ok(())
}

#[durable::activity(name = "a", name = "b")]
async fn twice() -> Result<(), E> {
    Ok(())
}

#[durable::orchestrator(version = 2)]
async fn version_is_text(_ctx: durable::Context) -> Result<(), E> {
    Ok(())
}

#[durable::orchestrator(retry(first = "1s", attempts = 3))]
async fn orchestrators_do_not_retry(_ctx: durable::Context) -> Result<(), E> {
    Ok(())
}

// No further errors: what has an argument that cannot be read is there all the same.
fn main() {
    let _ = durable::App::builder().activity(unknown_key).activity(bad_time).orchestrator(version_is_text);
}
