//! Schedules of timer triggers: NCRONTAB with seconds, in UTC.
//!
//! Day and day of the week are both asked for, as in NCRONTAB and unlike in cron.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// A schedule that never comes is found out after so many days: the 29th of February, on a given day of the week, comes every 28 years.
const DAYS: usize = 366 * 40;

/// When a timer fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    seconds: Vec<i8>,
    minutes: Vec<i8>,
    hours: Vec<i8>,
    days: Vec<i8>,
    months: Vec<i8>,
    weekdays: Vec<i8>,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    /// Reads a schedule of six fields, or of five, which fire at second 0.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() == 5 {
            fields.insert(0, "0");
        }
        let [seconds, minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!("the schedule {text:?} has no six fields"));
        };
        let read = |field: &str, low, high, names: &[&str], base| {
            values(field, low, high, names, base).ok_or_else(|| format!("{field:?} in the schedule {text:?} is no field"))
        };
        let mut weekdays = read(weekdays, 0, 7, &WEEKDAYS, 0)?;
        if weekdays.contains(&7) {
            weekdays.push(0);
        }
        Ok(Self {
            seconds: read(seconds, 0, 59, &[], 0)?,
            minutes: read(minutes, 0, 59, &[], 0)?,
            hours: read(hours, 0, 23, &[], 0)?,
            days: read(days, 1, 31, &[], 0)?,
            months: read(months, 1, 12, &MONTHS, 1)?,
            weekdays,
        })
    }

    /// The first time after this one. None: there is no such day.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = TimeZone::UTC.to_datetime(after);
        let mut date = after.date();
        for day in 0..DAYS {
            if self.on(date)
                && let Some(at) = self.first(date, (day == 0).then_some(after))
            {
                return TimeZone::UTC.to_timestamp(at).ok();
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn on(&self, date: Date) -> bool {
        let weekday = date.weekday().to_sunday_zero_offset();
        self.months.contains(&date.month()) && self.days.contains(&date.day()) && self.weekdays.contains(&weekday)
    }

    fn first(&self, date: Date, after: Option<DateTime>) -> Option<DateTime> {
        let times = self.hours.iter().flat_map(|hour| self.minutes.iter().map(move |minute| (*hour, *minute)));
        let mut times = times.flat_map(|(hour, minute)| self.seconds.iter().map(move |second| date.at(hour, minute, *second, 0)));
        times.find(|at| after.is_none_or(|after| *at > after))
    }
}

/// What a field allows: `*`, `a`, `a-b`, each with `/step`, and lists of these.
fn values(field: &str, low: i8, high: i8, names: &[&str], base: i8) -> Option<Vec<i8>> {
    let one = |text: &str| {
        let named = names.iter().position(|name| text.eq_ignore_ascii_case(name)).and_then(|at| i8::try_from(at).ok());
        named.map(|at| at + base).or_else(|| text.parse().ok()).filter(|value| (low..=high).contains(value))
    };
    let mut all = Vec::new();
    for part in field.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step = step.map_or(Some(1), |step| step.parse::<usize>().ok().filter(|step| *step > 0))?;
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (one(from)?, one(to)?),
            None if range == "*" => (low, high),
            None if part.contains('/') => (one(range)?, high),
            None => (one(range)?, one(range)?),
        };
        if from > to {
            return None;
        }
        all.extend((from..=to).step_by(step));
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str) -> String {
        let found = Schedule::parse(schedule).unwrap().next(after.parse().unwrap());
        found.map_or("never".to_owned(), |at| at.to_string())
    }

    #[test]
    fn the_next_time_is_after_the_last() {
        assert_eq!(next("0 0 * * * *", "2026-11-25T13:00:00Z"), "2026-11-25T14:00:00Z");
        assert_eq!(next("0 0 * * * *", "2026-12-31T23:59:59.5Z"), "2027-01-01T00:00:00Z");
        assert_eq!(next("*/5 * * * * *", "2026-11-25T13:00:04.9Z"), "2026-11-25T13:00:05Z");
        assert_eq!(next("0 30 9-17/4 * * Mon-Fri", "2026-11-27T17:30:00Z"), "2026-11-30T09:30:00Z");
        assert_eq!(next("15 3 * * *", "2026-11-25T00:00:00Z"), "2026-11-25T03:15:00Z");
    }

    #[test]
    fn day_and_weekday_are_both_asked_for() {
        assert_eq!(next("0 0 0 13 * 5", "2026-11-25T00:00:00Z"), "2027-08-13T00:00:00Z");
        assert_eq!(next("0 0 0 1 Jan 7", "2026-11-25T00:00:00Z"), "2034-01-01T00:00:00Z");
        assert_eq!(next("0 0 0 31 2 *", "2026-11-25T00:00:00Z"), "never");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for wrong in ["", "* * * *", "00:10:00", "60 * * * * *", "* * * 0 * *", "* * * * 13 *", "a * * * * *", "*/0 * * * * *", "5-1 * * * * *"] {
            assert!(Schedule::parse(wrong).is_err(), "{wrong}");
        }
    }
}
