//! A deletion laid over the log: its key says it all.

use std::ops::Range;

use super::record::{BorrowDecode, Encode, Kind};
use super::{Row, keys};

#[derive(Encode, BorrowDecode)]
pub(crate) struct DeletionRow {
    nothing: u8,
}

impl Row for DeletionRow {
    const LETTER: u8 = b'x';
    const KIND: Kind = Kind::Overlay;
}

impl DeletionRow {
    pub(crate) const fn new() -> Self {
        Self { nothing: 0 }
    }

    /// The keys of those over some numbers of a log.
    pub(crate) fn range(conversation: u64, numbers: Range<u64>) -> Range<Vec<u8>> {
        Self::key(conversation, numbers.start)..Self::key(conversation, numbers.end)
    }

    pub(crate) fn key(conversation: u64, number: u64) -> Vec<u8> {
        keys::numbered(Self::LETTER, &[conversation, number])
    }
}
