//! Receipts that came while their peer was away, until it is back.

use std::collections::BTreeMap;

use crate::id::MessageId;
use crate::rows::owed::OwedRow;
use crate::time::Timestamp;

/// A message that was sent with a receipt and has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) number: u64,
    pub(crate) id: MessageId,
    /// When it was first acknowledged.
    pub(crate) at: Timestamp,
}

/// What a peer is owed of one conversation.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    /// Who has received.
    pub(crate) by: u32,
    arrived: BTreeMap<u64, (MessageId, Timestamp)>,
    /// Whether the store has an older state.
    pub(crate) dirty: bool,
    /// Whether the store has any.
    pub(crate) written: bool,
}

impl Owed {
    /// Messages beyond a hole in what was received that are told one by one, at most; the oldest go.
    pub(crate) const BEYOND_MAX: usize = 100;

    pub(crate) fn new(by: u32) -> Self {
        Self { by, arrived: BTreeMap::new(), dirty: false, written: false }
    }

    /// Its row in the store, with the permanent number of who has received.
    pub(crate) fn row(&self, by: u64) -> OwedRow {
        OwedRow {
            by,
            arrived: self.arrived.iter().flat_map(|(number, (_, at))| [*number, at.as_millis()]).collect(),
            ids: self.arrived.values().map(|(id, _)| *id.as_bytes()).collect(),
        }
    }

    /// What its row tells.
    pub(crate) fn from_row(by: u32, row: &OwedRow) -> Self {
        let arrived = row.arrived.chunks_exact(2).zip(&row.ids);
        let arrived =
            arrived.map(|(numbers, id)| (numbers[0], (MessageId::from_bytes(*id), Timestamp::from_millis(numbers[1]))));
        Self { arrived: arrived.collect(), written: true, ..Self::new(by) }
    }

    /// Notes a message that has arrived at `by`, where everything up to `received` has: of that only the newest is to be told.
    pub(crate) fn note(&mut self, by: u32, arrived: Arrived, received: u64) {
        self.dirty = true;
        // In a group of two another may have come in the place of who left.
        if std::mem::replace(&mut self.by, by) != by {
            self.arrived.clear();
        }
        self.arrived.insert(arrived.number, (arrived.id, arrived.at));
        let newest = self.arrived.range(..=received).next_back().map(|(number, _)| *number);
        self.arrived.retain(|number, _| *number > received || Some(*number) == newest);
        if self.arrived.len() > Self::BEYOND_MAX {
            self.arrived.pop_first();
        }
    }

    /// The newest message of those that arrived without a hole, where everything up to `received` has; and those beyond.
    pub(crate) fn split(&self, received: u64) -> (Option<Arrived>, Vec<Arrived>) {
        let arrived =
            |(number, (id, at)): (&u64, &(MessageId, Timestamp))| Arrived { number: *number, id: *id, at: *at };
        let newest = self.arrived.range(..=received).next_back().map(arrived);
        (newest, self.arrived.range(received.saturating_add(1)..).map(arrived).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_arrived_without_a_hole_the_newest_is_kept() {
        let arrived = |number| {
            let id = MessageId::from_bytes([number as u8; 16]);
            Arrived { number, id, at: Timestamp::from_millis(number) }
        };
        let mut owed = Owed::new(7);
        owed.note(7, arrived(1), 1);
        owed.note(7, arrived(2), 2);
        owed.note(7, arrived(5), 2);
        assert_eq!(owed.split(2), (Some(arrived(2)), vec![arrived(5)]));
        assert_eq!(owed.split(5), (Some(arrived(5)), Vec::new()));
        (6..300).for_each(|number| owed.note(7, arrived(2 * number), 2));
        assert_eq!(owed.split(2).1.len(), Owed::BEYOND_MAX);
    }
}
