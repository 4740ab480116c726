//! A retry token. Bounded by the token, which has 128 bytes at most.

use super::record::{BorrowDecode, Encode, Kind};
use super::{Row, keys};

#[derive(Encode, BorrowDecode)]
pub(crate) struct TokenRow<'a> {
    pub(crate) sender: u64,
    pub(crate) conversation: u64,
    pub(crate) number: u64,
    /// When its message was accepted, in milliseconds.
    pub(crate) at: u64,
    pub(crate) id: [u8; 16],
    pub(crate) token: &'a str,
}

impl Row for TokenRow<'_> {
    const LETTER: u8 = b't';
    const KIND: Kind = Kind::Tokens;
}

impl TokenRow<'_> {
    /// `unique` tells apart the tokens of one millisecond.
    pub(crate) fn key(at: u64, unique: u64) -> Vec<u8> {
        keys::numbered(Self::LETTER, &[at, unique])
    }
}
