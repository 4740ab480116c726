//! Deadlines in order. The variants of [`Timer`] are the complete list of reasons for the engine to wake by itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Timestamp;

/// A reason to wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Changes of presence were gathered long enough.
    Presence,
    /// Cursors that moved are to be written, and the index of accepted messages with them.
    Cursors,
    /// The oldest gated reply has waited long enough.
    Gated,
    /// A deferred hook has not answered.
    Hook(u64),
    /// A paused session ends: its place and its tenant.
    Resume(u32, u32),
    /// A conversation ends: a temporary one by itself, another by the host.
    Temporary(u32),
    /// Nonces, retry tokens, former members and old log chunks are swept, a bounded step at a time.
    Sweep,
    /// A minute's counts are compared with their thresholds.
    Alarms,
}

/// Deadlines, each set at most once.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Timestamp, Timer)>,
    by_timer: BTreeMap<Timer, Timestamp>,
}

impl Timers {
    /// Sets `timer` to go off at `at`, instead of whenever it was set before.
    pub(crate) fn set(&mut self, timer: Timer, at: Timestamp) {
        if let Some(before) = self.by_timer.insert(timer, at) {
            self.by_time.remove(&(before, timer));
        }
        self.by_time.insert((at, timer));
    }

    /// Sets `timer`, unless it is set already.
    pub(crate) fn set_once(&mut self, timer: Timer, at: Timestamp) {
        if !self.by_timer.contains_key(&timer) {
            self.set(timer, at);
        }
    }

    /// Forgets `timer`.
    pub(crate) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.by_timer.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    /// The next deadline.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the earliest deadline that is due.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<Timer> {
        let (at, timer) = *self.by_time.first()?;
        (at <= now).then(|| {
            self.cancel(timer);
            timer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_only_once() {
        let at = Timestamp::from_millis;
        let mut timers = Timers::default();
        timers.set(Timer::Hook(1), at(30));
        timers.set(Timer::Presence, at(20));
        timers.set(Timer::Hook(1), at(10));
        timers.set_once(Timer::Presence, at(5));
        assert_eq!(timers.next_at(), Some(at(10)));
        assert_eq!(timers.take_due(at(9)), None);
        assert_eq!(timers.take_due(at(99)), Some(Timer::Hook(1)));
        timers.cancel(Timer::Presence);
        assert_eq!(timers.take_due(at(99)), None);
    }
}
