//! Receipts that a peer was not there to hear, of one conversation: at most 100 of them.

use super::record::{BorrowDecode, Encode, Kind};
use super::{Row, keys};

#[derive(Encode, BorrowDecode)]
pub(crate) struct OwedRow {
    /// The number of who received.
    pub(crate) by: u64,
    /// Number and time of each message.
    pub(crate) arrived: Vec<u64>,
    /// Their ids, in the same order.
    pub(crate) ids: Vec<[u8; 16]>,
}

impl Row for OwedRow {
    const LETTER: u8 = b'o';
    const KIND: Kind = Kind::Owed;
}

impl OwedRow {
    pub(crate) fn key(peer: u64, conversation: u64) -> Vec<u8> {
        keys::numbered(Self::LETTER, &[peer, conversation])
    }
}
