//! A peer. Bounded by its id, which has 256 bytes at most.

use super::record::{BorrowDecode, Encode, Kind, Late};
use super::{Row, keys};

#[derive(Encode, BorrowDecode)]
pub(crate) struct PeerRow<'a> {
    pub(crate) id: &'a str,
    /// Whether it closed its last session itself.
    pub(crate) logged_out: bool,
    /// Whether it never sent what is stored: then it is forgotten when nothing else of it remains. Rows of format 1 do not
    /// tell, and so say that it did.
    silent: Late<bool>,
}

impl Row for PeerRow<'_> {
    const LETTER: u8 = b'p';
    const KIND: Kind = Kind::Peer;
}

impl<'a> PeerRow<'a> {
    pub(crate) fn new(id: &'a str, logged_out: bool, wrote: bool) -> Self {
        Self { id, logged_out, silent: Late(!wrote) }
    }

    /// Whether it ever sent what is stored.
    pub(crate) fn wrote(&self) -> bool {
        !self.silent.0
    }

    pub(crate) fn key(peer: u64) -> Vec<u8> {
        keys::numbered(Self::LETTER, &[peer])
    }
}
