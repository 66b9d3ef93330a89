#![allow(unused_imports)]

use durable::{ActivityContext, Context};

type E = std::fmt::Error;

#[durable::activity]
fn not_async(number: u32) -> Result<u32, E> {
    Ok(number)
}

#[durable::activity]
async fn generic<T>(number: T) -> Result<T, E> {
    Ok(number)
}

#[durable::activity]
async fn too_many(ctx: ActivityContext, a: u32, b: u32) -> Result<u32, E> {
    Ok(a + b)
}

#[durable::activity]
async fn context_last(number: u32, ctx: ActivityContext) -> Result<u32, E> {
    Ok(number)
}

#[durable::activity]
async fn no_result(number: u32) -> u32 {
    number
}

#[durable::activity]
async fn nothing_returned() {}

#[durable::activity]
async fn borrowed(text: &str, anything: impl ToString) -> Result<u32, E> {
    Ok(1)
}

#[durable::activity]
const unsafe fn everything_at_once<'a>(&self) {}

#[durable::activity]
struct NotAFunction;

struct Host;

impl Host {
    #[durable::activity]
    async fn method(&self, number: u32) -> Result<u32, E> {
        Ok(number)
    }
}

#[durable::orchestrator]
async fn no_context() -> Result<(), E> {
    Ok(())
}

#[durable::orchestrator]
async fn three(ctx: Context, a: u32, b: u32) -> Result<(), E> {
    Ok(())
}

#[durable::orchestrator]
fn blocking(ctx: Context) -> Result<(), E> {
    Ok(())
}

#[durable::orchestrator]
async fn no_result_either(ctx: Context) {}

fn main() {}
