//! Query parameters, read as leniently as Durable Functions does.
//!
//! Names match without regard to case, and a value that cannot be read counts as absent. Must never refuse a request.

use std::time::Duration;

use durable::Timestamp;

use crate::urlcode;

/// The parameters of one request, in order.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(raw: Option<&str>) -> Self {
        let pairs = raw.unwrap_or_default().split('&').filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (urlcode::decode(name).into_owned(), urlcode::decode(value).into_owned())
        });
        Self(pairs.collect())
    }

    /// Every value of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first value of a name, as it was sent.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first value of a name, if it is not blank.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|value| !value.trim().is_empty())
    }

    /// `true` or `false` in any case; anything else counts as absent.
    pub fn flag(&self, name: &str) -> Option<bool> {
        let value = self.text(name)?.trim();
        if value.eq_ignore_ascii_case("true") {
            return Some(true);
        }
        value.eq_ignore_ascii_case("false").then_some(false)
    }

    /// A whole number above zero.
    pub fn count(&self, name: &str) -> Option<usize> {
        self.text(name)?.trim().parse().ok().filter(|count| *count > 0)
    }

    /// A number of seconds, fractions allowed; not negative.
    pub fn seconds(&self, name: &str) -> Option<Duration> {
        Duration::try_from_secs_f64(self.text(name)?.trim().parse().ok()?).ok()
    }

    /// A time. One without a zone is in UTC, and a day begins at midnight.
    pub fn time(&self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?.trim();
        ["", "Z", "T00:00:00Z"].iter().find_map(|rest| Timestamp::parse(&format!("{text}{rest}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_any_case_and_values_are_form_decoded() {
        let query = Query::parse(Some("Reason=no+more%21&showinput=True&top=x&&flag"));
        assert_eq!(query.text("reason"), Some("no more!"));
        assert_eq!(query.flag("showInput"), Some(true));
        assert_eq!(query.text("flag"), Some(""));
        assert_eq!(query.filled("flag"), None);
    }

    #[test]
    fn what_cannot_be_read_counts_as_absent() {
        let query = Query::parse(Some("showInput=1&top=-3&createdTimeFrom=yesterday&showHistory="));
        assert_eq!((query.flag("showInput"), query.flag("showHistory")), (None, None));
        assert_eq!(query.count("top"), None);
        let seconds = Query::parse(Some("a=0.5&b=-1&c=NaN&d=inf&e=1e300&f=soon&g=2"));
        assert_eq!(seconds.seconds("a"), Some(Duration::from_millis(500)));
        assert_eq!(["b", "c", "d", "e", "f", "h"].map(|name| seconds.seconds(name)), [None; 6]);
        assert_eq!(seconds.seconds("g"), Some(Duration::from_secs(2)));
        assert_eq!(query.time("createdTimeFrom"), None);
        let times = Query::parse(Some("a=2026-01-31&b=2026-01-31T00:00:00&c=2026-01-31T02:00:00%2B02:00&d=2026-01-31T00:00:00.000Z&e=2026&f="));
        assert_eq!(["a", "b", "c", "d"].map(|name| times.time(name)), [Timestamp::parse("2026-01-31T00:00:00Z"); 4]);
        assert_eq!(["e", "f"].map(|name| times.time(name)), [None; 2]);
        assert_eq!(Query::parse(None).text("x"), None);
    }
}
