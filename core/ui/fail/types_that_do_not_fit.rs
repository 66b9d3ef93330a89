use durable::{Context, Error, Next};

#[durable::activity]
async fn error_is_no_error() -> Result<(), u32> {
    Err(1)
}

#[durable::activity]
async fn not_send() -> Result<(), Error> {
    let cell = std::rc::Rc::new(1);
    std::future::ready(()).await;
    drop(cell);
    Ok(())
}

#[durable::orchestrator]
async fn input_alone(_number: u32) -> Result<(), Error> {
    Ok(())
}

#[durable::orchestrator]
async fn again_with_another_type(_ctx: Context, _number: u32) -> Result<Next<(), String>, Error> {
    Ok(Next::done(()))
}

#[durable::orchestrator]
async fn same_name(same_name: Context) -> Result<(), Error> {
    Ok(())
}

fn main() {}
