//! Listing instances, page by page, in order of creation; and what a restart has to drive.
//!
//! Must never: read without bound for one page. A page ends early, with a token, rather than keep a reader busy.

use durable::Timestamp;
use durable::ids::InstanceId;
use durable::ports::{ListQuery, Page, PageToken, StoreError};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql, params};

use super::error::Res;
use super::read;

/// Instances in a page if the query does not say.
const TOP: usize = 100;

/// Rows looked at for one page.
const ROWS_PER_PAGE: usize = 10_000;

/// Bytes of payloads after which a page ends.
const BYTES_PER_PAGE: usize = 8 * 1024 * 1024;

/// One page.
pub(super) fn list(conn: &Connection, hub: i64, query: &ListQuery, token: Option<&PageToken>) -> Res<Page> {
    let after = match token {
        Some(token) => read_token(hub, token)?,
        None => 0,
    };
    let filter = Filter::new(query);
    let top = if query.top == 0 { TOP } else { query.top };
    let mut pager = Pager { page: Page::default(), hub, top, last: after, looked_at: 0, bytes: 0 };
    match few(conn, &filter, after)? {
        // An index tells that few rows come into question: only those are looked at.
        Some(few) => {
            let mut select = conn.prepare_cached(SELECT_ONE)?;
            for n in few {
                let mut rows = select.query([n])?;
                if let Some(row) = rows.next()?
                    && !pager.visit(conn, &filter, row)?
                {
                    break;
                }
            }
        }
        None => {
            let mut select = conn.prepare_cached(SELECT_FROM)?;
            let mut rows = select.query([filter.start(conn, after)?])?;
            while let Some(row) = rows.next()? {
                if !pager.visit(conn, &filter, row)? {
                    break;
                }
            }
        }
    }
    Ok(pager.page)
}

/// A page in the making.
struct Pager {
    page: Page,
    hub: i64,
    top: usize,
    /// The last row that this page has dealt with.
    last: i64,
    looked_at: usize,
    bytes: usize,
}

impl Pager {
    /// Takes a row into the page if it is wanted. False once the page has ended before this row.
    fn visit(&mut self, conn: &Connection, filter: &Filter<'_>, row: &Row<'_>) -> Res<bool> {
        let wanted = filter.accepts(row.get(6)?, row.get(7)?, row.get_ref(8)?);
        let full = wanted && (self.page.items.len() >= self.top || self.bytes >= BYTES_PER_PAGE);
        if full || self.looked_at >= ROWS_PER_PAGE {
            self.page.next = Some(write_token(self.hub, self.last));
            return Ok(false);
        }
        if wanted {
            let item = read::record(conn, row, 0, read::instance_id(row, 8)?)?;
            self.bytes += item.input.len() + [&item.output, &item.custom_status].into_iter().flatten().map(durable::Payload::len).sum::<usize>();
            self.page.items.push(item);
        }
        self.looked_at += 1;
        self.last = row.get(0)?;
        Ok(true)
    }
}

const SELECT_FROM: &str = "SELECT n, spilled, header, input, output, custom_status, status, created, id FROM instances WHERE n > ?1 ORDER BY n";
const SELECT_ONE: &str = "SELECT n, spilled, header, input, output, custom_status, status, created, id FROM instances WHERE n = ?1";

/// A query, made ready to be asked of many rows.
struct Filter<'q> {
    prefix: Option<&'q str>,
    from: Option<i64>,
    to: Option<i64>,
    /// One bit for each status that is wanted.
    statuses: u64,
}

impl<'q> Filter<'q> {
    fn new(query: &'q ListQuery) -> Self {
        let statuses = if query.status.is_empty() { u64::MAX } else { query.status.iter().fold(0, |bits, status| bits | 1 << *status as u64) };
        Self {
            prefix: query.prefix.as_deref().filter(|prefix| !prefix.is_empty()),
            from: query.created_from.map(|t| t.0),
            to: query.created_to.map(|t| t.0),
            statuses,
        }
    }

    fn accepts(&self, status: i64, created: i64, id: ValueRef<'_>) -> bool {
        let prefix = |prefix: &str| id.as_bytes().is_ok_and(|id| id.starts_with(prefix.as_bytes()));
        (0..64).contains(&status)
            && self.statuses >> status & 1 == 1
            && self.from.is_none_or(|from| created >= from)
            && self.to.is_none_or(|to| created <= to)
            && self.prefix.is_none_or(prefix)
    }

    /// Behind which row a walk over all rows may begin.
    fn start(&self, conn: &Connection, after: i64) -> Res<i64> {
        let Some(from) = self.from else { return Ok(after) };
        // Clocks are not quite in the order of creation, so this cannot be found by halving; but the index is small and read in order.
        let mut select = conn.prepare_cached("SELECT min(n) FROM instances INDEXED BY instances_created WHERE created >= ?1 AND +n > ?2")?;
        let first: Option<i64> = select.query_row([from, after], |row| row.get(0))?;
        Ok(first.map_or(i64::MAX, |n| n - 1))
    }
}

/// The rows that come into question, in order, if an index tells that they are few. (`+n` keeps SQLite from walking the rows instead.)
fn few(conn: &Connection, filter: &Filter<'_>, after: i64) -> Res<Option<Vec<i64>>> {
    let limit = ROWS_PER_PAGE as i64 + 1;
    let found = |sql: &str, params: &[&dyn ToSql]| -> Res<Option<Vec<i64>>> {
        let mut select = conn.prepare_cached(sql)?;
        let mut rows = select.query_map(params, |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
        rows.sort_unstable();
        Ok((rows.len() <= ROWS_PER_PAGE).then_some(rows))
    };
    if let Some(prefix) = filter.prefix {
        // Ids are compared byte by byte, and no text has a byte 0xff: this is where those with the prefix end.
        let mut end = prefix.as_bytes().to_vec();
        end.push(0xff);
        let rows = found("SELECT n FROM instances WHERE id >= ?1 AND id < ?2 AND +n > ?3 LIMIT ?4", &[&prefix, &RawText(&end), &after, &limit])?;
        if rows.is_some() {
            return Ok(rows);
        }
    }
    if filter.from.is_some() || filter.to.is_some() {
        let (from, to) = (filter.from.unwrap_or(i64::MIN), filter.to.unwrap_or(i64::MAX));
        return found(
            "SELECT n FROM instances INDEXED BY instances_created WHERE created >= ?1 AND created <= ?2 AND +n > ?3 LIMIT ?4",
            &[&from, &to, &after, &limit],
        );
    }
    Ok(None)
}

/// Bytes that are compared as text, and need not be text.
struct RawText<'a>(&'a [u8]);

impl ToSql for RawText<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

fn write_token(hub: i64, last: i64) -> PageToken {
    PageToken(format!("{hub:016x}-{last}"))
}

fn read_token(hub: i64, token: &PageToken) -> Res<i64> {
    let number = token.0.strip_prefix(&format!("{hub:016x}-")).and_then(|text| text.parse().ok());
    Ok(number.ok_or(StoreError::BadPageToken)?)
}

/// The number of the newest instance; 0 if there is none.
pub(super) fn newest(conn: &Connection) -> Res<i64> {
    Ok(conn.prepare_cached("SELECT coalesce(max(n), 0) FROM instances")?.query_row([], |row| row.get(0))?)
}

/// Instances that a restart has to drive: something is left to do, or messages wait. In order, behind `after`.
pub(super) fn runnable(conn: &Connection, after: i64, limit: usize) -> Res<Vec<(i64, InstanceId)>> {
    let sql = "SELECT n, id FROM instances WHERE n IN (
                   SELECT n FROM (SELECT n FROM instances WHERE work = 1 AND n > ?1 ORDER BY n LIMIT ?2)
                   UNION SELECT instance FROM (SELECT DISTINCT instance FROM inbox WHERE instance > ?1 ORDER BY instance LIMIT ?2)
               ) ORDER BY n LIMIT ?2";
    let mut select = conn.prepare_cached(sql)?;
    let mut rows = select.query(params![after, rows_at_most(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((row.get(0)?, read::instance_id(row, 1)?));
    }
    Ok(found)
}

/// Instances that the clock must look at, the earliest first, behind `after`.
pub(super) fn due(conn: &Connection, after: Option<(Timestamp, i64)>, limit: usize) -> Res<Vec<(Timestamp, i64, InstanceId)>> {
    let (at, n) = after.map_or((i64::MIN, 0), |(at, n)| (at.0, n));
    let sql = "SELECT due, n, id FROM instances WHERE due IS NOT NULL AND (due, n) > (?1, ?2) ORDER BY due, n LIMIT ?3";
    let mut select = conn.prepare_cached(sql)?;
    let mut rows = select.query(params![at, n, rows_at_most(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((Timestamp(row.get(0)?), row.get(1)?, read::instance_id(row, 2)?));
    }
    Ok(found)
}

/// Instances that a build could not go on with, with that build. In order, behind `after`.
pub(super) fn faulted(conn: &Connection, after: i64, limit: usize) -> Res<Vec<(i64, InstanceId, String)>> {
    let mut select = conn.prepare_cached("SELECT n, id, fault FROM instances WHERE fault IS NOT NULL AND n > ?1 ORDER BY n LIMIT ?2")?;
    let mut rows = select.query(params![after, rows_at_most(limit)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((row.get(0)?, read::instance_id(row, 1)?, row.get(2)?));
    }
    Ok(found)
}

fn rows_at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// How much there is of what. Read from indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Instances, ended ones too.
    pub instances: u64,
    /// Instances with something left to do now.
    pub with_work: u64,
    /// Instances that wait for a time.
    pub with_due: u64,
    /// Instances that a build could not go on with.
    pub faulted: u64,
    /// Messages that nobody has taken.
    pub messages: u64,
}

pub(super) fn counts(conn: &Connection) -> Res<Counts> {
    let sql = "SELECT (SELECT count(*) FROM instances), (SELECT count(*) FROM instances WHERE work = 1),
                      (SELECT count(*) FROM instances WHERE due IS NOT NULL), (SELECT count(*) FROM instances WHERE fault IS NOT NULL),
                      (SELECT count(*) FROM inbox)";
    let mut select = conn.prepare_cached(sql)?;
    let mut rows = select.query([])?;
    let Some(row) = rows.next()? else { return Ok(Counts::default()) };
    Ok(Counts {
        instances: read::unsigned(row, 0)?,
        with_work: read::unsigned(row, 1)?,
        with_due: read::unsigned(row, 2)?,
        faulted: read::unsigned(row, 3)?,
        messages: read::unsigned(row, 4)?,
    })
}
