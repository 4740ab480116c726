//! A store that forgets: a `BTreeMap` behind a lock.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, Range};

use parking_lot::RwLock;

use super::{Batch, Direction, Durability, Store, StoreError, StoreStatus, Visit, Write};

/// A [`Store`] in memory: for tests, for hosts that need no durability, and as the measure of the trait's narrowness.
#[derive(Debug, Default)]
pub struct MemoryStore {
    rows: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.read().get(key).cloned())
    }

    fn scan(&self, range: Range<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if range.start >= range.end {
            return Ok(());
        }
        let rows = self.rows.read();
        let mut found = rows.range::<[u8], _>((Bound::Included(range.start), Bound::Excluded(range.end)));
        let mut step = || match direction {
            Direction::Ascending => found.next(),
            Direction::Descending => found.next_back(),
        };
        while let Some((key, value)) = step() {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut rows = self.rows.write();
        for write in batch.writes() {
            match write {
                Write::Put { key, value } => drop(rows.insert(key.clone(), value.clone())),
                Write::Delete { key } => drop(rows.remove(key)),
            }
        }
        Ok(())
    }

    fn status(&self) -> StoreStatus {
        StoreStatus::new(Durability::Memory)
    }
}
