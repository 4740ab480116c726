//! All that is stored: one file a kind of row, with its key, its fields, their bounds and their conversions.
//!
//! A key is one letter, then big-endian integers, so that order is number order. Peers and conversations appear by their
//! permanent 64-bit numbers, never by what a client named. No row can be larger than a [`record`] holds: each file says what
//! bounds its kind, and what would grow beyond that goes on in further rows.
//!
//! | first byte | then | row | file | kind | since format |
//! |---|---|---|---|---|---|
//! | `m` | name | one of the store's own facts | `meta` | 1 | 1 |
//! | `p` | peer | a peer | `peer` | 2 | 1 |
//! | `d` | peer · device · page | one device's cursors | `device` | 12 | 1 |
//! | `r` | peer · 0 · page | what the peer has read | `reads` | 12 | 1 |
//! | `c` | conversation | a conversation | `conversation` | 3 | 1 |
//! | `g` | conversation · peer | a membership in a group | `member` | 4 | 1 |
//! | `l` | conversation · first number | a chunk of the log | `entry` | 5 | 1 |
//! | `w` | conversation · number · page | whom a message is for, where that is a long list | `recipients` | 13 | 2 |
//! | `x` | conversation · number | a deletion laid over the log | `deletion` | 9 | 1 |
//! | `o` | peer · conversation | receipts that the peer was not there to hear | `owed` | 14 | 2 |
//! | `i` | first position | which messages were accepted, for the whole application | `index` | 6 | 1 |
//! | `t` | time · unique | a retry token | `token` | 7 | 1 |
//! | `n` | end of use · hash | a nonce | `nonce` | 8 | 1 |
//!
//! Format 2 has rows that grow at their end ([`record::Late`]), cursors whose runs go on from page to page, and the rows of
//! long recipient lists. `upgrade` brings a store of format 1 there.

pub(crate) mod conversation;
pub(crate) mod cursors;
pub(crate) mod deletion;
pub(crate) mod device;
pub(crate) mod entry;
pub(crate) mod index;
pub(crate) mod keys;
pub(crate) mod member;
pub(crate) mod meta;
pub(crate) mod nonce;
pub(crate) mod owed;
pub(crate) mod peer;
pub(crate) mod reads;
pub(crate) mod recipients;
pub mod record;
pub(crate) mod token;
pub(crate) mod upgrade;

use record::{BorrowDecode, Encode, Kind, RecordError};

/// Numbers in one row that holds a list of them: at most nine bytes each, so that the list takes 27 KB at most.
pub(crate) const LIST_MAX: usize = 3_000;

/// A kind of row, whose bounds make each of its rows fit a record.
pub(crate) trait Row: Encode {
    /// The first byte of its keys.
    const LETTER: u8;
    /// What its envelope says it is.
    const KIND: Kind;
}

/// The bytes of `row` under `key`.
pub(crate) fn seal<R: Row>(key: &[u8], row: &R) -> Vec<u8> {
    record::seal_fitting(R::KIND, key, row)
}

/// The row that was sealed under `key`.
pub(crate) fn open<'a, R: Row + BorrowDecode<'a, ()>>(key: &[u8], bytes: &'a [u8]) -> Result<R, RecordError> {
    record::open(R::KIND, key, bytes)
}
