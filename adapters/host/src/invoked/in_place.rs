//! Timers that a call waits for in place, as an instance's header tells of them: by the handle of its alarm. Pure.

use durable::Timestamp;
use durable::header::Header;

/// The first byte of an alarm's handle that stands for somebody who waits in place: whoever is told of writes must be told of this one, because
/// nothing else would wake the instance if that driver died. Handles of all other alarms begin with another byte.
pub const IN_PLACE: u8 = b'i';

/// Until when a call waits for an alarm in place, from the alarm's handle; none if the alarm waits in a service.
#[must_use]
pub fn in_place_until(handle: &[u8]) -> Option<Timestamp> {
    let (kind, until) = handle.split_first()?;
    (*kind == IN_PLACE).then_some(Timestamp(i64::from_be_bytes(until.try_into().ok()?)))
}

/// Until when somebody waits for an instance's timer in place.
pub(super) fn waits(header: &Header) -> Option<Timestamp> {
    header.alarm.as_deref().and_then(in_place_until)
}

/// Until when somebody sees to an instance with this header.
#[must_use]
pub fn busy_until(header: &Header) -> Option<Timestamp> {
    crate::busy_until(header, waits(header))
}

/// True if somebody must come back to an instance with this header, whatever its inbox holds: work is left, or a driver waits in place.
#[must_use]
pub fn must_be_looked_at(header: &Header) -> bool {
    let waits_in_place = header.alarm.as_ref().is_some_and(|handle| handle.first() == Some(&IN_PLACE));
    header.has_work() || (waits_in_place && (!header.status.is_terminal() || header.held.is_some()))
}
