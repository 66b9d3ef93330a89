//! Versions of one orchestrator stand side by side, each in its module.
#![deny(warnings)]

mod v1 {
    #[durable::orchestrator(version = "1")]
    pub async fn place_order(_ctx: durable::Context, cents: u32) -> Result<u32, durable::Error> {
        Ok(cents)
    }
}

mod v2 {
    /// Its input has changed.
    #[durable::orchestrator(version = "2")]
    pub async fn place_order(_ctx: durable::Context, _lines: Vec<String>) -> Result<u32, durable::Error> {
        Ok(2)
    }
}

#[durable::orchestrator]
async fn starts_both(ctx: durable::Context) -> Result<u32, durable::Error> {
    Ok(ctx.sub_orchestration(v1::place_order, 5).await? + ctx.sub_orchestration(v2::place_order, vec![]).await?)
}

fn main() {
    let app = durable::App::builder().orchestrator(v1::place_order).orchestrator(v2::place_order).orchestrator(starts_both).build().unwrap();
    assert_eq!(app.resolve("place_order", None), Some(Some("2".to_owned())));
    assert_eq!(app.resolve("place_order", Some("1")), Some(Some("1".to_owned())));
    assert!(durable::App::builder().orchestrator(v1::place_order).orchestrator(v1::place_order).build().is_err());
}
