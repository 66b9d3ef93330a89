//! What was measured: a row of the one table as it comes, and a line of JSON beside it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// One measurement. What does not apply is left out.
#[derive(Debug, Default)]
pub(crate) struct Row {
    what: String,
    n: u64,
    /// Named numbers, in the order of the table's columns: those that have a column of their own, and the others.
    values: Vec<(&'static str, f64)>,
}

/// The columns that have a place of their own: the name in JSON, the head in the table, and digits behind the point.
const COLUMNS: [(&str, &str, usize); 6] = [
    ("per_second", "per second", 0),
    ("engine_cpu_seconds_per_1000", "engine CPU s per 1000", 3),
    ("whole_cpu_seconds_per_1000", "with client", 3),
    ("fsyncs_each", "fsyncs each", 2),
    ("p50_ms", "p50 ms", 2),
    ("p99_ms", "p99 ms", 2),
];

impl Row {
    /// What was measured, with how many at a time or in all.
    pub fn new(what: impl Into<String>, n: u64) -> Self {
        Self { what: what.into(), n, values: Vec::new() }
    }

    /// Adds a number. Its name says the unit.
    pub fn value(mut self, name: &'static str, value: f64) -> Self {
        self.values.push((name, value));
        self
    }

    /// How many there were in this time.
    pub fn rate(self, count: u64, wall: Duration) -> Self {
        self.value("per_second", count as f64 / wall.as_secs_f64())
    }

    /// What so many cost in processor time: the engine alone, and with the client.
    pub fn cpu(self, count: u64, engine: Duration, whole: Duration) -> Self {
        let each = |cpu: Duration| cpu.as_secs_f64() * 1000.0 / (count as f64).max(1.0);
        self.value("engine_cpu_seconds_per_1000", each(engine)).value("whole_cpu_seconds_per_1000", each(whole))
    }

    /// Median and 99th percentile of a time.
    pub fn latency(self, times: Vec<Duration>) -> Self {
        let (p50, p99) = percentiles(times);
        self.value("p50_ms", p50.as_secs_f64() * 1e3).value("p99_ms", p99.as_secs_f64() * 1e3)
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(of, _)| *of == name).map(|(_, value)| *value)
    }

    fn table_line(&self) -> String {
        let cells = COLUMNS.iter().map(|(name, _, digits)| self.get(name).map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}")));
        let others = self.values.iter().filter(|(name, _)| COLUMNS.iter().all(|(column, ..)| column != name));
        let others: Vec<_> = others.map(|(name, value)| format!("{} {}", name.replace('_', " "), short(*value))).collect();
        format!("| {} | {} | {} | {} |", self.what, self.n, cells.collect::<Vec<_>>().join(" | "), others.join("; "))
    }

    fn json(&self) -> Value {
        let mut line = Map::new();
        line.insert("what".to_owned(), json!(self.what));
        line.insert("n".to_owned(), json!(self.n));
        line.extend(self.values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        Value::Object(line)
    }
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 || small == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn percentiles(mut all: Vec<Duration>) -> (Duration, Duration) {
    all.sort_unstable();
    let at = |share: f64| all.get(((all.len() as f64 * share) as usize).min(all.len().saturating_sub(1))).copied().unwrap_or_default();
    (at(0.5), at(0.99))
}

/// The table on standard output, and the lines of JSON.
pub(crate) struct Report {
    lines: Option<File>,
}

impl Report {
    /// Begins: `about` says on what machine and with what settings.
    pub fn begin(lines: Option<&Path>, about: &[(&str, String)]) -> std::io::Result<Self> {
        let mut report = Self { lines: lines.map(File::create).transpose()? };
        println!("{}\n", about.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(" · "));
        report.line(&Value::Object(about.iter().map(|(name, value)| ((*name).replace(' ', "_"), json!(value))).collect()))?;
        let heads = COLUMNS.map(|(_, head, _)| head).join(" | ");
        println!("| what | n | {heads} | also |\n| --- | --- |{} --- |", " --- |".repeat(COLUMNS.len()));
        Ok(report)
    }

    /// One more row.
    pub fn row(&mut self, row: &Row) -> std::io::Result<()> {
        println!("{}", row.table_line());
        self.line(&row.json())
    }

    fn line(&mut self, line: &Value) -> std::io::Result<()> {
        self.lines.as_mut().map_or(Ok(()), |file| writeln!(file, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_what_was_measured_and_leaves_the_rest_out() {
        let times = (1..=100).map(Duration::from_millis).collect();
        let row = Row::new("hello", 64).rate(300, Duration::from_secs(2)).latency(times).value("bytes_each", 512.0);
        assert_eq!(row.table_line(), "| hello | 64 | 150 | – | – | – | 51.00 | 100.00 | bytes each 512 |");
        assert_eq!(row.json(), json!({"what": "hello", "n": 64, "per_second": 150.0, "p50_ms": 51.0, "p99_ms": 100.0, "bytes_each": 512.0}));
    }
}
