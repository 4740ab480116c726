//! Faults of a client, counted over the last minute.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Timestamp;

/// Points in time of the faults that still count. The host's limit bounds them: who reaches it is closed.
#[derive(Debug, Default)]
pub(super) struct Strikes(VecDeque<Timestamp>);

impl Strikes {
    /// Counts one fault, and says how many there were within the last `span`, this one included.
    pub(super) fn strike(&mut self, span: Duration, now: Timestamp) -> usize {
        while self.0.front().is_some_and(|at| now.since(*at) >= span) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Timestamp>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_forgotten_after_the_span() {
        let mut strikes = Strikes::default();
        let counts = [0, 10, 59, 60, 69, 70, 200]
            .map(|second| strikes.strike(Duration::from_secs(60), Timestamp::from_millis(second * 1_000)));
        assert_eq!(counts, [1, 2, 3, 3, 4, 4, 1]);
    }
}
