//! What the machine can do at best, measured in the same run: syncs of the disk, rows of SQLite under the store's own settings, and requests
//! that no engine answers.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection as Database;

use crate::Failed;
use crate::clients::for_so_long;
use crate::figures::{Report, Row};
use crate::http::Connection;
use crate::machine;
use crate::served::Served;

/// The limits that were measured, each with how many at a time.
#[derive(Default)]
pub(crate) struct Limits {
    rows: Vec<(usize, f64)>,
    http: Vec<(usize, f64)>,
}

impl Limits {
    /// Measures them.
    pub async fn measure(folder: &Path, at_a_time: &[usize], time: Duration, report: &mut Report) -> Result<Self, Failed> {
        let mut limits = Self::default();
        let (syncs, took) = fdatasyncs(folder, time)?;
        report.row(&Row::new("limit: fdatasync of a 4 KiB append", 1).rate(syncs, took))?;
        for at_a_time in at_a_time {
            let (rows, took) = rows(folder, *at_a_time, time)?;
            report.row(&Row::new("limit: SQLite rows of 300 bytes, so many in a transaction", *at_a_time as u64).rate(rows, took))?;
            limits.rows.push((*at_a_time, rows as f64 / took.as_secs_f64()));
        }
        for at_a_time in at_a_time {
            let row = http(*at_a_time, time, &mut limits).await?;
            report.row(&row)?;
        }
        Ok(limits)
    }

    /// Rows that SQLite can write in a second, so many in a transaction.
    pub fn rows(&self, at_a_time: usize) -> Option<f64> {
        self.rows.iter().find(|(of, _)| *of == at_a_time).map(|(_, limit)| *limit)
    }

    /// Requests in a second, on so many connections.
    pub fn http(&self, at_a_time: usize) -> Option<f64> {
        self.http.iter().find(|(of, _)| *of == at_a_time).map(|(_, limit)| *limit)
    }
}

/// 4 KiB appends with an fdatasync each, one after the other.
fn fdatasyncs(folder: &Path, time: Duration) -> Result<(u64, Duration), Failed> {
    let folder = tempfile::tempdir_in(folder)?;
    let mut file = File::create(folder.path().join("sync"))?;
    let block = [0x5a; 4096];
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < time {
        file.write_all(&block)?;
        file.sync_data()?;
        count += 1;
    }
    Ok((count, begun.elapsed()))
}

/// Rows with one index, in transactions of so many, each durable.
fn rows(folder: &Path, in_one: usize, time: Duration) -> Result<(u64, Duration), Failed> {
    let folder = tempfile::tempdir_in(folder)?;
    let db = Database::open(folder.path().join("rows.db"))?;
    db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    db.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -16384; CREATE TABLE t (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, data BLOB)")?;
    db.pragma_update_and_check(None, "wal_autocheckpoint", 4096, |_| Ok(()))?;
    let data = [0x5a_u8; 300];
    let begun = Instant::now();
    let mut count = 0_u64;
    while begun.elapsed() < time {
        db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for _ in 0..in_one {
            count += 1;
            // As random as instance ids are.
            let id = format!("{:016x}", count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            db.prepare_cached("INSERT INTO t VALUES (?1, ?2, ?3)")?.execute(rusqlite::params![count.cast_signed(), id, &data[..]])?;
        }
        db.prepare_cached("COMMIT")?.execute([])?;
    }
    Ok((count, begun.elapsed()))
}

/// Requests to a server that only says hello, from the client that measures the engine.
async fn http(connections: usize, time: Duration, limits: &mut Limits) -> Result<Row, Failed> {
    let server = Served::nothing().await?;
    let open = || Connection::open(server.http);
    let (engine, own) = (server.cpu(), machine::own_cpu().1);
    let ran = for_so_long(connections, time, open, |mut connection| async move {
        let asked = Instant::now();
        connection.request("GET", "/hello", "").await?;
        Ok((connection, asked.elapsed()))
    })
    .await?;
    let (engine, own) = (server.cpu() - engine, machine::own_cpu().1 - own);
    limits.http.push((connections, ran.done as f64 / ran.wall.as_secs_f64()));
    let row = Row::new("limit: HTTP requests on loopback", connections as u64).rate(ran.done, ran.wall).cpu(ran.done, engine, engine + own).latency(ran.times);
    server.stop().await?;
    Ok(row)
}
