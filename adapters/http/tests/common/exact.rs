//! Answers, written down whole: the code, every header, and the text of the body. Only times are replaced.

use durable::Timestamp;

use super::Answer;

impl Answer {
    /// The code, each header but the length on a line, and the body after a blank line. Times of a status, which must be whole seconds, are `SECONDS`;
    /// others are `TIME`.
    pub fn exact(&self) -> String {
        let mut lines = vec![self.code().to_string()];
        if let Some(length) = self.header("content-length") {
            assert_eq!(length, self.body.len().to_string());
        }
        let told = self.headers.iter().filter(|(name, _)| *name != "content-length");
        let mut headers: Vec<String> = told.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        headers.sort_unstable();
        lines.extend(headers);
        format!("{}\n\n{}", lines.join("\n"), timeless(&self.body))
    }
}

fn timeless(body: &str) -> String {
    let mut before = "";
    let mut two_before = "";
    let pieces = body.split('"').map(|piece| {
        let name = two_before;
        (two_before, before) = (before, piece);
        if Timestamp::parse(piece).is_none() {
            return piece;
        }
        assert!(piece.ends_with('Z'), "a time that is not in UTC: {piece}");
        if matches!(name, "createdTime" | "lastUpdatedTime") {
            assert_eq!(piece.len(), "2026-01-31T08:00:00Z".len(), "the time of a status has whole seconds: {piece}");
            return "SECONDS";
        }
        "TIME"
    });
    pieces.collect::<Vec<_>>().join("\"")
}
