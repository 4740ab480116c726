//! What was accepted and is not in the index rows yet.

use crate::rows::TokenRow;

/// Numbers of one entry of the index.
pub(crate) const INDEX_ENTRY: usize = 5;

/// What was accepted and is not in the index rows yet. The log itself tells it too: after a crash it is read back from there.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Position, time, conversation, number and sender of each message, by permanent numbers.
    pub(crate) entries: Vec<u64>,
    pub(crate) tokens: Vec<TokenRow>,
    /// Everything up to this position is in the index rows, and all cursors were written after it.
    pub(crate) written_to: u64,
}

impl Index {
    /// Entries that are written together.
    pub(crate) const ENTRIES: usize = 256;

    pub(crate) fn note(&mut self, entry: [u64; INDEX_ENTRY]) {
        self.entries.extend_from_slice(&entry);
    }
}
