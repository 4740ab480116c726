//! A page of one device's [cursors](super::cursors): as many pages as they take.

use super::record::{BorrowDecode, Encode, Kind};
use super::{Row, keys};

#[derive(Encode, BorrowDecode)]
pub(crate) struct DeviceRow<'a> {
    pub(crate) id: Option<&'a str>,
    /// When it was last seen, in milliseconds.
    pub(crate) seen_at: u64,
    pub(crate) cursors: Vec<u64>,
}

impl Row for DeviceRow<'_> {
    const LETTER: u8 = b'd';
    const KIND: Kind = Kind::Cursors;
}

impl DeviceRow<'_> {
    /// `device` is its place among its peer's.
    pub(crate) fn key(peer: u64, device: u64, page: u64) -> Vec<u8> {
        keys::numbered(Self::LETTER, &[peer, device, page])
    }
}
