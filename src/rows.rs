//! What the store holds beside logs: one struct a kind of row.

use crate::cursor::Cursor;
use crate::record::{BorrowDecode, Encode};

/// A peer in the store.
#[derive(Encode, BorrowDecode)]
pub(crate) struct PeerRow<'a> {
    pub(crate) id: &'a str,
    pub(crate) logged_out: bool,
    /// Whether it ever sent what is stored.
    pub(crate) wrote: bool,
}

/// A peer as stores have it that do not tell whether it wrote.
#[derive(Encode, BorrowDecode)]
pub(crate) struct OlderPeerRow<'a> {
    pub(crate) id: &'a str,
    pub(crate) logged_out: bool,
}

impl<'a> From<OlderPeerRow<'a>> for PeerRow<'a> {
    fn from(row: OlderPeerRow<'a>) -> Self {
        Self { id: row.id, logged_out: row.logged_out, wrote: true }
    }
}

/// Cursors in the store: of a device, or of what a peer has read.
#[derive(Encode, BorrowDecode)]
pub(crate) struct DeviceRow<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) seen_at: u64,
    pub(crate) cursors: Vec<u64>,
}

/// A conversation in the store.
#[derive(Encode, BorrowDecode)]
pub(crate) struct ConversationRow<'a> {
    pub(crate) id: &'a str,
    pub(crate) kind: u8,
    pub(crate) unique: bool,
    pub(crate) name: Option<&'a str>,
    pub(crate) attributes: &'a str,
    pub(crate) creator: u64,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    pub(crate) expires_at: Option<u64>,
    pub(crate) first_number: u64,
    pub(crate) lost: Vec<u64>,
    /// The members where they are fixed.
    pub(crate) members: Vec<u64>,
}

/// A membership of a group in the store.
#[derive(Encode, BorrowDecode)]
pub(crate) struct MemberRow {
    pub(crate) left_at: Option<u64>,
    /// Pairs: after which number, and up to which, `u64::MAX` where it is open.
    pub(crate) spans: Vec<u64>,
}

/// A retry token in the store.
#[derive(Debug, Encode, BorrowDecode)]
pub(crate) struct TokenRow {
    pub(crate) sender: u64,
    pub(crate) conversation: u64,
    pub(crate) number: u64,
    pub(crate) at: u64,
    pub(crate) id: [u8; 16],
    pub(crate) token: String,
}

/// A cursor as numbers: conversation, received, how many runs, and each run's ends.
pub(crate) fn flatten(numbers: &mut Vec<u64>, conversation: u64, cursor: &Cursor) {
    numbers.extend([conversation, cursor.received, cursor.beyond.len() as u64]);
    numbers.extend(cursor.beyond.iter().flat_map(|run| [run.0, run.1]));
}

/// The cursors that [`flatten`] made.
pub(crate) fn unflatten(mut numbers: &[u64]) -> Vec<(u64, Cursor)> {
    let mut cursors = Vec::new();
    while let [conversation, received, runs, rest @ ..] = numbers {
        let ends = usize::try_from(*runs).unwrap_or(usize::MAX).saturating_mul(2).min(rest.len() & !1);
        let (runs, after) = rest.split_at(ends);
        let mut cursor = Cursor::at(*received);
        runs.chunks_exact(2).for_each(|run| cursor.beyond.add(run[0], run[1]));
        cursors.push((*conversation, cursor));
        numbers = after;
    }
    cursors
}
