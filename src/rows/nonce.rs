//! A nonce that may not be used again: 24 bytes, which the [`signature`](crate::signature) rules read.

use super::record::{BorrowDecode, Encode, Kind};
use super::{Row, keys};
use crate::signature::UsedNonce;

#[derive(Encode, BorrowDecode)]
pub(crate) struct NonceRow {
    bytes: [u8; UsedNonce::BYTES],
}

impl Row for NonceRow {
    const LETTER: u8 = b'n';
    const KIND: Kind = Kind::Nonces;
}

impl NonceRow {
    /// The row of a used nonce, with its key: the end of its use, and the first bytes of its hash.
    pub(crate) fn of(nonce: UsedNonce) -> (Vec<u8>, Self) {
        let bytes = nonce.to_bytes();
        let hash = bytes.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        (Self::key(nonce.until().as_millis(), hash), Self { bytes })
    }

    pub(crate) fn key(until: u64, hash: u64) -> Vec<u8> {
        keys::numbered(Self::LETTER, &[until, hash])
    }

    pub(crate) fn nonce(&self) -> UsedNonce {
        UsedNonce::from_bytes(&self.bytes)
    }
}
