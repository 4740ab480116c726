//! A page of what a peer has read, as [cursors](super::cursors): up to where, and what does not count as unread beyond.

use super::record::{BorrowDecode, Encode, Kind};
use super::{Row, keys};

#[derive(Encode, BorrowDecode)]
pub(crate) struct ReadsRow {
    /// Zeros: where a device's row, which is of the same kind, has its name and its time.
    nothing: [u8; 2],
    pub(crate) cursors: Vec<u64>,
}

impl Row for ReadsRow {
    const LETTER: u8 = b'r';
    const KIND: Kind = Kind::Cursors;
}

impl ReadsRow {
    pub(crate) fn new(cursors: Vec<u64>) -> Self {
        Self { nothing: [0; 2], cursors }
    }

    pub(crate) fn key(peer: u64, page: u64) -> Vec<u8> {
        keys::numbered(Self::LETTER, &[peer, 0, page])
    }
}
