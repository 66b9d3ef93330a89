//! `durable::select!` over branches of different types; handlers await, return and use `?`.
#![deny(warnings)]

use std::time::Duration;

use durable::{Context, Error, EventName};

const APPROVAL: EventName<bool> = EventName::new("Approval");

#[durable::activity]
async fn answer(question: String) -> Result<usize, std::io::Error> {
    Ok(question.len())
}

#[durable::orchestrator]
async fn first_of_three(ctx: Context) -> Result<String, Error> {
    let text = durable::select! {
        approved = ctx.event(&APPROVAL) => if approved? { "yes".to_owned() } else { return Ok("no".to_owned()) },
        length = ctx.activity(answer, "why?".to_owned()) => length?.to_string(),
        _ = ctx.timer(Duration::from_secs(60)) => {
            ctx.activity(answer, String::new()).await?;
            "late".to_owned()
        },
    };
    Ok(text)
}

fn main() {
    let _ = (first_of_three, answer);
}
