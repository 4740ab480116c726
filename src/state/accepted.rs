//! What was accepted and is not in the index rows yet.

use std::collections::VecDeque;

use crate::id::RetryToken;
use crate::rows::index::ENTRY;

/// What was accepted and is not in the index rows yet. The log itself tells it too: after a crash it is read back from there.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Position, time, conversation, number and sender of each message, by permanent numbers.
    pub(crate) entries: Vec<u64>,
    /// Rows of them that are staged, oldest first, each with its commit: until that is durable, a read finds them here.
    staged: VecDeque<(u64, Vec<u64>)>,
    /// Senders and their tokens whose rows are still to be written.
    pub(crate) tokens: Vec<(u32, RetryToken)>,
    /// Everything up to this position is in the index rows, and all cursors were written after it.
    pub(crate) written_to: u64,
}

impl Index {
    /// Entries are staged as a row, with this commit.
    pub(crate) fn stage(&mut self, commit: u64, entries: Vec<u64>) {
        self.staged.push_back((commit, entries));
    }

    /// The store has every row up to this commit.
    pub(crate) fn settle(&mut self, durable: u64) {
        while self.staged.pop_front_if(|(commit, _)| *commit <= durable).is_some() {}
    }

    /// The entries that the store may not have as rows, oldest first.
    pub(crate) fn unwritten(&self) -> impl Iterator<Item = &[u64]> {
        let staged = self.staged.iter().map(|(_, entries)| entries);
        staged.chain([&self.entries]).flat_map(|entries| entries.chunks_exact(ENTRY))
    }

    pub(crate) fn note(&mut self, entry: [u64; ENTRY]) {
        self.entries.extend_from_slice(&entry);
    }
}
