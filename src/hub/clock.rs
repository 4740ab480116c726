//! Where a hub gets its time from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::{Clock, Timestamp};

/// Where a hub gets its time from.
#[derive(Clone, Debug)]
pub enum HubClock {
    /// The system: wall time once, then elapsed monotonic time.
    System(Clock),
    /// A clock that a test moves.
    Manual(ManualClock),
}

impl HubClock {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System(clock) => clock.now(),
            Self::Manual(clock) => clock.now(),
        }
    }

    /// How long a thread may sleep towards a time that is `ahead`: a manual clock may be moved meanwhile.
    pub(crate) fn sleep(&self, ahead: Duration) -> Duration {
        match self {
            Self::System(_) => ahead,
            Self::Manual(_) => ahead.min(Duration::from_millis(5)),
        }
    }
}

impl Default for HubClock {
    fn default() -> Self {
        Self::System(Clock::start())
    }
}

/// A clock that stands still until it is moved. Its clones show the same time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that shows `at`.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self(Arc::new(AtomicU64::new(at.as_millis())))
    }

    /// The time it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Acquire))
    }

    /// Moves it ahead. The hub's timer notices within a few milliseconds.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }
}
