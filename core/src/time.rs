//! Points in time as the engine writes them down: microseconds since 1970-01-01T00:00:00Z.
//!
//! Must never: read a clock. `now` always comes in through [`crate::ports::Clock`] or [`crate::Context::now`].

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use minicbor::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time, in microseconds since the Unix epoch. As JSON it is RFC 3339 text in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(transparent)]
pub struct Timestamp(#[n(0)] pub i64);

impl Timestamp {
    /// The latest time that can be written as a date (year 9999); additions stop here.
    pub const MAX: Self = Self(253_402_207_200_000_000);

    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time `after` later; stops at [`Timestamp::MAX`].
    #[must_use]
    pub fn after(self, after: Duration) -> Self {
        let micros = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros)).min(Self::MAX)
    }

    /// How long until `later`; zero if it has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_micros(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }

    /// Reads RFC 3339 text such as `2026-01-31T08:00:00.5Z`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_microsecond()))
    }

    fn date(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX })
    }

    /// `yyyy-MM-ddTHH:mm:ssZ`: whole seconds, rounded down, as Durable Functions writes the times of a status.
    #[must_use]
    pub fn to_seconds_text(self) -> String {
        self.date().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(t: SystemTime) -> Self {
        match t.duration_since(UNIX_EPOCH) {
            Ok(d) => Self(0).after(d),
            Err(e) => Self(i64::try_from(e.duration().as_micros()).unwrap_or(i64::MAX).saturating_neg()),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.date(), f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not an RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_and_read_back() {
        let t = Timestamp::parse("2026-01-31T10:00:00.25+02:00").unwrap();
        assert_eq!(t.to_string(), "2026-01-31T08:00:00.25Z");
        assert_eq!(t.to_seconds_text(), "2026-01-31T08:00:00Z");
        assert_eq!(serde_json::from_str::<Timestamp>(&serde_json::to_string(&t).unwrap()).unwrap(), t);
    }

    #[test]
    fn a_timer_longer_than_the_calendar_stops_at_its_end() {
        let t = Timestamp(0).after(Duration::MAX);
        assert_eq!(t, Timestamp::MAX);
        assert!(t.to_string().starts_with("9999-"));
        assert_eq!(Timestamp(5).until(Timestamp(3)), Duration::ZERO);
    }
}
