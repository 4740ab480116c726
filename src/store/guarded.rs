//! A store whose panics are failed calls.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Batch, Direction, Store, StoreError, StoreStatus, Visit};

/// Passes every call on to a host's store, and answers [`StoreError::Panicked`] where that panics: so a panic is retried,
/// reported and counted like any other failure, and unwinds through nobody who holds a batch.
pub(crate) struct Guarded {
    store: Arc<dyn Store>,
    /// What the store last said of itself, for the time when it cannot.
    status: Mutex<StoreStatus>,
}

impl Guarded {
    /// Guards `store`.
    ///
    /// # Errors
    /// [`StoreError::Panicked`] where it cannot even say what it promises.
    pub(crate) fn new(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let status = guard(|| Ok(store.status()))?;
        Ok(Self { store, status: Mutex::new(status) })
    }
}

impl Store for Guarded {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        guard(|| self.store.get(key))
    }

    fn scan(&self, range: Range<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        guard(|| self.store.scan(range, direction, visit))
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        guard(|| self.store.apply(batch))
    }

    fn maintain(&self) -> Result<(), StoreError> {
        guard(|| self.store.maintain())
    }

    fn status(&self) -> StoreStatus {
        let said = guard(|| Ok(self.store.status()));
        let mut last = self.status.lock();
        if let Ok(status) = said {
            *last = status;
        }
        last.clone()
    }

    fn close(&self) -> Result<(), StoreError> {
        guard(|| self.store.close())
    }
}

/// Makes a call of the host's code. What the call holds of ours is thrown away with its answer, or not touched by it.
fn guard<T>(call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(StoreError::Panicked(words(&*panic))))
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a word").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Durability;

    struct Broken;

    impl Store for Broken {
        fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            panic!("get of {}", 7)
        }
        fn scan(&self, _: Range<&[u8]>, _: Direction, _: &mut Visit<'_>) -> Result<(), StoreError> {
            panic!("scan")
        }
        fn apply(&self, _: &Batch) -> Result<(), StoreError> {
            std::panic::panic_any(7)
        }
        fn maintain(&self) -> Result<(), StoreError> {
            panic!("maintain")
        }
        fn status(&self) -> StoreStatus {
            StoreStatus::new(Durability::Process)
        }
        fn close(&self) -> Result<(), StoreError> {
            panic!("close")
        }
    }

    #[test]
    fn each_call_that_panics_is_a_call_that_failed() {
        let store = Guarded::new(Arc::new(Broken)).unwrap();
        let panicked = |words: &str| StoreError::Panicked(words.to_owned());
        assert_eq!(store.get(b""), Err(panicked("get of 7")));
        let mut visit = |_: &[u8], _: &[u8]| std::ops::ControlFlow::Continue(());
        assert_eq!(store.scan(b"".as_slice()..b"z", Direction::Ascending, &mut visit), Err(panicked("scan")));
        assert_eq!(store.apply(&Batch::default()), Err(panicked("without a word")));
        assert_eq!(store.maintain(), Err(panicked("maintain")));
        assert_eq!(store.close(), Err(panicked("close")));
        assert!(panicked("").may_be_stored());
    }
}
