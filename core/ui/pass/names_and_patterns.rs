//! Parameters are named as the author likes; attributes and comments stay where they were; the function can be called by itself.
#![deny(warnings, missing_docs)]

use durable::ActivityContext as Cx;

/// Parameters named like those of what is written.
#[durable::activity]
pub async fn context((__input, __outcome): (u32, u32)) -> Result<u32, std::fmt::Error> {
    Ok(__input + __outcome)
}

/// A function named like one of them.
#[durable::activity]
pub async fn input(mut number: u32) -> Result<u32, std::fmt::Error> {
    number += 1;
    Ok(number)
}

/// A raw name, and a context under another name.
#[durable::activity]
pub async fn r#match(_: Cx, [first, ..]: [u32; 3]) -> Result<u32, std::fmt::Error> {
    Ok(first)
}

/// Only in another build.
#[durable::activity]
#[cfg(any())]
pub async fn absent(missing: Missing) -> Result<u32, std::fmt::Error> {
    Ok(missing)
}

/// Shadows what the prelude has.
#[allow(missing_docs)]
pub mod shadows {
    pub struct Ok;
    pub struct Some;
    pub struct None;
    pub struct Option;
    pub struct Future;

    #[durable::orchestrator(version = "1")]
    #[deprecated]
    pub async fn __start(ctx: ::durable::Context, _: ()) -> Result<(), durable::Error> {
        ctx.timer(std::time::Duration::ZERO).await;
        Result::Ok(())
    }
}

fn main() {
    assert_eq!(now(input::call(1)), Ok(2));
    assert_eq!(now(context::call((1, 2))), Ok(3));
    assert_eq!(<r#match as durable::Activity>::NAME, "match");
}

fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("it waits for nothing"),
    }
}
