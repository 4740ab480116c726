//! What is laid over a log: deletions. Each is a row beside the chunks, read with the stretch that it lies in and gone with it;
//! in memory is only what the store does not have yet.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::rows::deletion::DeletionRow;
use crate::rows::keys;
use crate::store::{Direction, Store, StoreError};

/// What is laid over one conversation's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    /// Deleted, and not durable yet.
    staged: BTreeSet<u64>,
    /// Whether the store may have rows of it.
    in_store: bool,
}

impl Overlay {
    /// That of a log of which nothing is known: the store is asked.
    pub(crate) const fn unknown() -> Self {
        Self { staged: BTreeSet::new(), in_store: true }
    }

    /// The store has rows of it.
    pub(crate) fn is_in_store(&mut self) {
        self.in_store = true;
    }

    /// A message was deleted.
    pub(crate) fn delete(&mut self, number: u64) {
        self.staged.insert(number);
    }

    /// The store has a deletion now.
    pub(crate) fn settle(&mut self, number: u64) {
        self.in_store = true;
        self.staged.remove(&number);
    }

    /// Whether a message's deletion is not durable yet.
    pub(crate) fn is_staged(&self, number: u64) -> bool {
        self.staged.contains(&number)
    }

    /// The numbers from `first` to `last` whose messages were deleted.
    pub(super) fn deleted_in(
        &self,
        store: &dyn Store,
        conversation: u64,
        (first, last): (u64, u64),
    ) -> Result<BTreeSet<u64>, StoreError> {
        let mut deleted: BTreeSet<u64> = self.staged.range(first..=last).copied().collect();
        if self.in_store {
            let rows = DeletionRow::range(conversation, first..last.saturating_add(1));
            store.scan(&rows.start[..]..&rows.end[..], Direction::Ascending, &mut |key, _| {
                deleted.insert(keys::number(key, 1));
                ControlFlow::Continue(())
            })?;
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Batch;
    use crate::store::memory::MemoryStore;

    #[test]
    fn a_deletion_is_read_with_its_stretch_staged_or_stored() {
        let store = MemoryStore::new();
        let mut batch = Batch::default();
        for (conversation, number) in [(1, 9), (7, 3), (7, 5), (7, 8), (8, 4)] {
            batch.put(DeletionRow::key(conversation, number), vec![]);
        }
        store.apply(&batch).unwrap();
        let mut overlay = Overlay::default();
        assert!(
            overlay.deleted_in(&store, 7, (1, 9)).unwrap().is_empty(),
            "the store is not asked where it has nothing"
        );
        overlay.delete(4);
        overlay.delete(6);
        overlay.settle(4);
        assert!(overlay.is_staged(6) && !overlay.is_staged(4));
        assert_eq!(overlay.deleted_in(&store, 7, (4, 8)).unwrap(), BTreeSet::from([5, 6, 8]));
        assert_eq!(Overlay::unknown().deleted_in(&store, 8, (1, u64::MAX)).unwrap(), BTreeSet::from([4]));
    }
}
