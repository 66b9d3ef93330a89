//! Time spans as host.json has them: `hh:mm:ss`, with days and fractions where there are any.

use std::time::Duration;

/// The time span that a text means, if it means one.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) if !days.contains(':') => (days.parse::<u64>().ok()?, clock),
        _ => (0, text),
    };
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let parts: Vec<u64> = whole.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = parts[..] else { return None };
    if hours > 23 || minutes > 59 || seconds > 59 || fraction.len() > 7 {
        return None;
    }
    let nanos = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse().ok()? };
    Some(Duration::new(((days * 24 + hours) * 60 + minutes) * 60 + seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_span_has_hours_minutes_and_seconds_and_may_have_more() {
        assert_eq!(parse("00:10:00"), Some(Duration::from_secs(600)));
        assert_eq!(parse("1.02:03:04"), Some(Duration::from_secs(93_784)));
        assert_eq!(parse("00:00:00.2500000"), Some(Duration::from_millis(250)));
        for wrong in ["", "5", "10:00", "24:00:00", "00:60:00", "00:00:60", "-1", "00:00:00.x", "a.00:00:00", "1:2:3:4"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
