//! A peer. Bounded by its id, which has 256 bytes at most.

use super::record::{BorrowDecode, Encode, Kind};
use super::{Row, keys};

#[derive(Encode, BorrowDecode)]
pub(crate) struct PeerRow<'a> {
    pub(crate) id: &'a str,
    /// Whether it closed its last session itself.
    pub(crate) logged_out: bool,
}

impl Row for PeerRow<'_> {
    const LETTER: u8 = b'p';
    const KIND: Kind = Kind::Peer;
}

impl PeerRow<'_> {
    pub(crate) fn key(peer: u64) -> Vec<u8> {
        keys::numbered(Self::LETTER, &[peer])
    }
}
