//! Time as the engine sees it: milliseconds since the Unix epoch, always an argument.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in time, in milliseconds since the Unix epoch.
///
/// The engine never reads a clock: every call that needs the time takes one as its last argument. Hosts get theirs from a
/// [`Clock`]; tests write their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch itself.
    pub const ZERO: Self = Self(0);

    /// The point `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was, zero where it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates at the end of time.
impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Saturates at the epoch.
impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The clock of a host: the wall's time at its start, then elapsed monotonic time.
///
/// A clock that is stepped by an operator or by NTP therefore never reaches the engine.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_at: Timestamp,
    started: Instant,
}

impl Clock {
    /// Reads the wall once.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clocks")]
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_at: Timestamp::ZERO + wall, started: Instant::now() }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.started_at + self.started.elapsed()
    }
}

/// The time that an engine was told, and the time that it runs on: the first may be set back, the second goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostTime {
    /// What the host's clock showed last.
    shown: Timestamp,
    /// By how much it was set back so far.
    set_back: Duration,
}

impl HostTime {
    /// Calls that took their time before another's and came after it are no step of the clock.
    const OUT_OF_ORDER_MAX: Duration = Duration::from_secs(1);

    /// A clock that shows `now`, and was never set back.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { shown: now, set_back: Duration::ZERO }
    }

    /// The host's clock shows `now`. Where it was set back, no time has passed.
    pub(crate) fn tell(&mut self, now: Timestamp) {
        let back = self.shown.since(now);
        if back > Self::OUT_OF_ORDER_MAX {
            self.set_back += back;
            self.shown = now;
        }
        self.shown = self.shown.max(now);
    }

    /// What the host's clock showed last: for what ends at a time of day, and for the age of what is stored.
    pub(crate) fn shown(&self) -> Timestamp {
        self.shown
    }

    /// The time that never goes back: for what ends after a span.
    pub(crate) fn running(&self) -> Timestamp {
        self.shown + self.set_back
    }

    /// What the host's clock shows at a running time.
    pub(crate) fn shown_at(&self, running: Timestamp) -> Timestamp {
        running - self.set_back
    }

    /// When the host's clock shows `shown`, unless it is set again.
    pub(crate) fn running_at(&self, shown: Timestamp) -> Timestamp {
        shown + self.set_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let at = Timestamp::from_millis;
        let mut time = HostTime::new(at(10_000_000));
        time.tell(at(6_400_000));
        assert_eq!((time.shown(), time.running()), (at(6_400_000), at(10_000_000)));
        time.tell(at(6_400_500));
        assert_eq!(time.running(), at(10_000_500));
        // A deadline in a minute of running time is a minute away by the clock of now.
        assert_eq!(time.shown_at(at(10_060_500)), at(6_460_500));
        assert_eq!(time.running_at(at(6_460_500)), at(10_060_500));
    }

    #[test]
    fn calls_that_overtook_each_other_are_no_step() {
        let at = Timestamp::from_millis;
        let mut time = HostTime::new(at(5_000));
        time.tell(at(4_001));
        time.tell(at(4_000));
        assert_eq!((time.shown(), time.running()), (at(5_000), at(5_000)));
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::from_millis(5) - Duration::from_secs(1), Timestamp::ZERO);
        assert_eq!(Timestamp::from_millis(u64::MAX) + Duration::from_secs(1), Timestamp::from_millis(u64::MAX));
        assert_eq!(Timestamp::from_millis(5).since(Timestamp::from_millis(9)), Duration::ZERO);
    }

    #[test]
    fn the_clock_moves_forward() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(clock.now() >= first && first > Timestamp::from_millis(1_700_000_000_000));
    }
}
