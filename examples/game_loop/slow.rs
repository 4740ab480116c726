//! A disk that is slower than it is.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use switchboard::store::{Batch, Direction, Store, StoreError, StoreStatus, Visit};

/// A store whose commits take longer by `span`.
pub(crate) struct Slow<S> {
    pub(crate) store: S,
    pub(crate) span: Duration,
}

impl<S: Store> Store for Slow<S> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(key)
    }

    fn scan(&self, range: Range<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.store.scan(range, direction, visit)
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        thread::sleep(self.span);
        self.store.apply(batch)
    }

    fn maintain(&self) -> Result<(), StoreError> {
        self.store.maintain()
    }

    fn status(&self) -> StoreStatus {
        self.store.status()
    }

    fn close(&self) -> Result<(), StoreError> {
        self.store.close()
    }
}
