//! How far a device has received: a position that only moves forward, with what was taken out of order beyond it.

use crate::runs::Runs;

/// What one device has acknowledged in one conversation. The greater of two is the one that has received further.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor {
    /// The end of the acknowledged prefix.
    pub(crate) received: u64,
    /// What was acknowledged beyond a hole.
    pub(crate) beyond: Runs,
}

impl Cursor {
    /// A cursor that has received everything up to `received`.
    pub(crate) fn at(received: u64) -> Self {
        Self { received, beyond: Runs::default() }
    }

    /// Whether `number` was acknowledged.
    pub(crate) fn has(&self, number: u64) -> bool {
        number <= self.received || self.beyond.has(number)
    }

    /// Adds what another says of the same log: they are pages of one.
    pub(crate) fn join(&mut self, other: Self) {
        self.received = self.received.max(other.received);
        other.beyond.iter().for_each(|run| self.beyond.add(run.0, run.1));
    }

    /// Takes the numbers from `first` to `last` as acknowledged; the prefix moves over what has no hole. Of what lies beyond
    /// a hole at most `beyond_max` runs are remembered: past that the rest is delivered again.
    pub(crate) fn acknowledge(&mut self, first: u64, last: u64, beyond_max: usize) {
        if first <= self.received + 1 {
            self.received = self.received.max(last);
        } else {
            self.beyond.add(first, last);
        }
        self.beyond.forget_to(self.received);
        if let Some(next) = self.beyond.first_run().filter(|run| run.0 == self.received + 1) {
            self.received = next.1;
            self.beyond.forget_to(self.received);
        }
        self.beyond.truncate(beyond_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_stops_at_a_hole_and_jumps_when_it_is_filled() {
        let mut cursor = Cursor::at(3);
        cursor.acknowledge(5, 6, 64);
        assert_eq!(cursor.received, 3);
        assert!(cursor.has(5) && !cursor.has(4));
        cursor.acknowledge(4, 4, 64);
        assert_eq!(cursor, Cursor::at(6));
    }

    #[test]
    fn beyond_the_limit_the_furthest_is_forgotten() {
        let mut cursor = Cursor::at(0);
        (1..10).for_each(|n| cursor.acknowledge(2 * n + 1, 2 * n + 1, 3));
        assert_eq!(cursor.beyond.len(), 3);
        assert!(cursor.has(3) && cursor.has(7) && !cursor.has(9));
    }
}
