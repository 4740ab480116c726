//! The store's own facts: one value each, by name. A fact never grows: what is new is a new fact.

use std::marker::PhantomData;

use super::record::{self, BorrowDecode, Encode, Kind};
use crate::store::{Batch, Store, StoreError};

/// The first byte of its keys.
pub(crate) const LETTER: u8 = b'm';

/// The format of the rows: [`FORMAT`](super::upgrade::FORMAT) of the version that last wrote here.
pub(crate) const FORMAT: Fact<u32> = Fact::new("format");
/// How often this store was started on.
pub(crate) const STARTS: Fact<u32> = Fact::new("starts");
/// The key under which nonces are hashed.
pub(crate) const NONCE_KEY: Fact<[u8; 16]> = Fact::new("nonce_key");
/// Positions up to here may have been given, whatever a power cut left.
pub(crate) const RESERVED: Fact<u64> = Fact::new("reserved");
/// Everything up to this position is in the index rows, and all cursors were written after it.
pub(crate) const WRITTEN_TO: Fact<u64> = Fact::new("written_to");
/// The next permanent number of a conversation: that of one that ended is never given again, for tokens and the index of what
/// was accepted still name it.
pub(crate) const NEXT_CONVERSATION: Fact<u64> = Fact::new("next_conversation");
/// Whether any message that the store may have is not for all members of its conversation.
pub(crate) const NARROWS: Fact<bool> = Fact::new("narrows");
/// Rows with keys up to here have the format of today; absent where all have.
pub(crate) const UPGRADED_TO: Fact<Vec<u8>> = Fact::new("upgraded_to");

/// A fact, by its name and the type of its value.
pub(crate) struct Fact<T> {
    name: &'static str,
    value: PhantomData<T>,
}

impl<T> Fact<T> {
    const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }

    /// Where it is stored.
    pub(crate) fn key(&self) -> Vec<u8> {
        key(self.name)
    }
}

impl<T: Encode + for<'a> BorrowDecode<'a, ()>> Fact<T> {
    /// Its value, if the store has one.
    ///
    /// # Errors
    /// The store's, and [`StoreError::Corrupt`] where the value cannot be read: nothing can begin without it.
    pub(crate) fn read(&self, store: &dyn Store) -> Result<Option<T>, StoreError> {
        let key = self.key();
        let Some(row) = store.get(&key)? else { return Ok(None) };
        let corrupt =
            |error: record::RecordError| StoreError::Corrupt { path: self.name.into(), reason: error.to_string() };
        record::open(Kind::Meta, &key, &row).map(Some).map_err(corrupt)
    }

    /// The bytes of its value.
    pub(crate) fn seal(&self, value: &T) -> Vec<u8> {
        record::seal_fitting(Kind::Meta, &self.key(), value)
    }

    /// Sets it.
    pub(crate) fn put(&self, batch: &mut Batch, value: &T) {
        batch.put(self.key(), self.seal(value));
    }
}

/// The key of the fact of this name.
pub(crate) fn key(name: &str) -> Vec<u8> {
    [&[LETTER], name.as_bytes()].concat()
}
