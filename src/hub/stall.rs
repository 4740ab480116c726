//! How long calls of the host's code have been running: asked by the watchdog, which waits for none of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::Timestamp;

/// Since when one call runs, and whether that was reported, in one word.
#[derive(Debug, Default)]
pub(crate) struct StallTimer(AtomicU64);

impl StallTimer {
    const TOLD: u64 = 1;
    const RUNS: u64 = 2;

    /// A call begins. Returns whether none was running: if one was, that one goes on being timed.
    pub(crate) fn begin(&self, now: Timestamp) -> bool {
        let word = now.as_millis() << 2 | Self::RUNS;
        self.0.compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether the call that ends was reported.
    pub(crate) fn end(&self) -> bool {
        self.0.swap(0, Ordering::AcqRel) & Self::TOLD != 0
    }

    /// Whether the call now running has taken longer than `after`; true once a call.
    pub(crate) fn stalls(&self, after: Duration, now: Timestamp) -> bool {
        let seen = self.0.load(Ordering::Acquire);
        let idle_or_told = seen == 0 || seen & Self::TOLD != 0;
        !idle_or_told
            && now.since(Timestamp::from_millis(seen >> 2)) > after
            && self.0.compare_exchange(seen, seen | Self::TOLD, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// Timers for calls that run side by side. Where all are taken the next call goes untimed: a store with that many calls
/// that do not end is reported as it is.
#[derive(Debug, Default)]
pub(crate) struct StallTimers([StallTimer; 8]);

impl StallTimers {
    /// A timer for a call that begins.
    pub(crate) fn begin(&self, now: Timestamp) -> Option<&StallTimer> {
        self.0.iter().find(|timer| timer.begin(now))
    }

    /// How many of the calls have taken longer than `after` and were not reported before.
    pub(crate) fn stalled(&self, after: Duration, now: Timestamp) -> usize {
        self.0.iter().filter(|timer| timer.stalls(after, now)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stalled_call_is_reported_once_and_so_is_its_end() {
        let timer = StallTimer::default();
        let at = Timestamp::from_millis;
        let after = Duration::from_secs(5);
        assert!(!timer.stalls(after, at(9_000)), "nothing runs");
        assert!(timer.begin(at(1_000)));
        assert!(!timer.stalls(after, at(6_000)));
        assert!(timer.stalls(after, at(6_001)));
        assert!(!timer.stalls(after, at(9_000)));
        assert!(timer.end());
        assert!(timer.begin(at(10_000)));
        assert!(!timer.end());
    }

    #[test]
    fn calls_side_by_side_are_timed_each_for_itself() {
        let timers = StallTimers::default();
        let at = Timestamp::from_millis;
        let first = timers.begin(Timestamp::ZERO).unwrap();
        (1..8).for_each(|n| assert!(timers.begin(at(n * 1_000)).is_some()));
        assert!(timers.begin(at(9_000)).is_none());
        assert_eq!(timers.stalled(Duration::from_secs(5), at(7_500)), 3);
        assert_eq!(timers.stalled(Duration::from_secs(5), at(8_500)), 1);
        assert!(first.end());
        assert!(timers.begin(at(9_000)).is_some());
    }
}
