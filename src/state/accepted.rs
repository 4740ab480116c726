//! What was accepted and is not in the index rows yet.

use crate::id::RetryToken;
use crate::rows::index::ENTRY;

/// What was accepted and is not in the index rows yet. The log itself tells it too: after a crash it is read back from there.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Position, time, conversation, number and sender of each message, by permanent numbers.
    pub(crate) entries: Vec<u64>,
    /// Senders and their tokens whose rows are still to be written.
    pub(crate) tokens: Vec<(u32, RetryToken)>,
    /// Everything up to this position is in the index rows, and all cursors were written after it.
    pub(crate) written_to: u64,
}

impl Index {
    pub(crate) fn note(&mut self, entry: [u64; ENTRY]) {
        self.entries.extend_from_slice(&entry);
    }
}
