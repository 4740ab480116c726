//! The keys of stored rows, all built here: one letter for the kind, then big-endian integers, so that order is number order.
//!
//! Peers and conversations appear by their permanent 64-bit numbers, never by what a client named.
//!
//! | first byte | then | row |
//! |---|---|---|
//! | `m` | name | one of the store's own facts |
//! | `p` | peer | a peer |
//! | `d` | peer · device · page | one device's cursors |
//! | `r` | peer · 0 · page | what the peer has read |
//! | `c` | conversation | a conversation |
//! | `g` | conversation · peer | a membership in a group |
//! | `l` | conversation · first number | a chunk of the log |
//! | `x` | conversation · number | a deletion laid over the log |
//! | `i` | first position | which messages were accepted, for the whole application |
//! | `t` | time · unique | a retry token |
//! | `n` | end of use · hash | a nonce |

use std::ops::Range;

/// A fact of the store itself.
pub(crate) fn meta(name: &str) -> Vec<u8> {
    [b"m", name.as_bytes()].concat()
}

fn numbered(letter: u8, numbers: &[u64]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 8 * numbers.len());
    key.push(letter);
    numbers.iter().for_each(|number| key.extend_from_slice(&number.to_be_bytes()));
    key
}

/// A peer.
pub(crate) fn peer(peer: u64) -> Vec<u8> {
    numbered(b'p', &[peer])
}

/// A page of a device's cursors (`d`), or of what a peer has read (`r`).
pub(crate) fn page(letter: u8, peer: u64, device: u64, page: u64) -> Vec<u8> {
    numbered(letter, &[peer, device, page])
}

/// A conversation.
pub(crate) fn conversation(conversation: u64) -> Vec<u8> {
    numbered(b'c', &[conversation])
}

/// A membership.
pub(crate) fn member(conversation: u64, peer: u64) -> Vec<u8> {
    numbered(b'g', &[conversation, peer])
}

/// A chunk of a log.
pub(crate) fn chunk(conversation: u64, first: u64) -> Vec<u8> {
    numbered(b'l', &[conversation, first])
}

/// A deletion.
pub(crate) fn deletion(conversation: u64, number: u64) -> Vec<u8> {
    numbered(b'x', &[conversation, number])
}

/// Receipts of a conversation that a peer was not there to hear.
pub(crate) fn owed(peer: u64, conversation: u64) -> Vec<u8> {
    numbered(b'o', &[peer, conversation])
}

/// A run of accepted messages.
pub(crate) fn index(position: u64) -> Vec<u8> {
    numbered(b'i', &[position])
}

/// A retry token of a message accepted at `at`.
pub(crate) fn tokens(at: u64, unique: u64) -> Vec<u8> {
    numbered(b't', &[at, unique])
}

/// A nonce that may not be used again until `until`.
pub(crate) fn nonce(until: u64, hash: u64) -> Vec<u8> {
    numbered(b'n', &[until, hash])
}

/// All rows of a kind.
pub(crate) fn all(letter: u8) -> Range<Vec<u8>> {
    vec![letter]..vec![letter + 1]
}

/// The integer at place `at` of a numbered key; zero where the key is too short to have one.
pub(crate) fn number(key: &[u8], at: usize) -> u64 {
    let start = 1 + 8 * at;
    key.get(start..start + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_keys_is_order_of_numbers() {
        assert!(chunk(1, u64::MAX) < chunk(2, 0));
        assert!(chunk(7, 255) < chunk(7, 256));
        assert!(all(b'l').contains(&chunk(u64::MAX, u64::MAX)));
        assert_eq!((number(&chunk(3, 9), 0), number(&chunk(3, 9), 1), number(b"m", 0)), (3, 9, 0));
    }
}
