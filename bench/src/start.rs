//! From the start of a process to its first answer, with an empty store.

use std::path::Path;
use std::time::Instant;

use crate::Failed;
use crate::figures::Row;
use crate::http::Connection;
use crate::served::Served;

const TIMES: u64 = 20;

/// Starts a server again and again, each time in a new folder.
pub(crate) async fn first_answer(folder: &Path) -> Result<Row, Failed> {
    let (mut times, mut memory) = (Vec::new(), 0);
    for _ in 0..TIMES {
        let folder = tempfile::tempdir_in(folder)?;
        let begun = Instant::now();
        let server = Served::on(folder.path()).await?;
        Connection::open(server.http).await?.request("POST", "/api/orchestrators/hello", "\"Hello\"").await?;
        times.push(begun.elapsed());
        memory = server.memory().0;
        server.stop().await?;
    }
    Ok(Row::new("start of a process to its first 202", TIMES).latency(times).value("MB_in_all", memory as f64 / 1e6))
}
