//! The commit gate: what is staged, what is on its way to the store, and the outputs that wait for it.
//!
//! The gate delays, it never reorders. Commits have rising numbers; an ordered output carries the number of the newest commit
//! that was staged when it was made, and is handed over once that is durable.

use std::collections::VecDeque;

use crate::output::Output;
use crate::rows::entry::{self, Entry};
use crate::rows::record::ChunkBuilder;
use crate::store::Batch;

/// The log entries that one commit adds to one conversation.
#[derive(Debug)]
struct OpenChunk {
    conversation: u64,
    first: u64,
    entries: ChunkBuilder,
    count: u64,
}

/// One commit's writes.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(crate) number: u64,
    pub(crate) batch: Batch,
    /// The last number of each conversation whose log it extends, by slot.
    pub(crate) extended: Vec<(u32, u64)>,
}

/// Staging and the two lanes of outputs.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The conversations with open chunks, in the order in which these were opened: at most a commit's rows, so that a look
    /// through them is cheaper than a map.
    slots: Vec<u32>,
    /// Their open chunks.
    chunks: Vec<OpenChunk>,
    chunk_bytes: usize,
    spare: Vec<ChunkBuilder>,
    open: Staged,
    sealed: VecDeque<Staged>,
    staged_bytes: usize,
    /// The newest durable commit.
    durable: u64,
    in_flight: bool,
    ordered: VecDeque<(u64, Output)>,
    immediate: VecDeque<Output>,
    rows_max: usize,
    bytes_max: usize,
    chunk_bytes_max: usize,
}

impl Gate {
    pub(crate) fn new(rows_max: usize, bytes_max: usize, chunk_bytes_max: usize) -> Self {
        Self {
            slots: Vec::new(),
            chunks: Vec::new(),
            chunk_bytes: 0,
            spare: Vec::new(),
            open: Staged { number: 1, ..Staged::default() },
            sealed: VecDeque::new(),
            staged_bytes: 0,
            durable: 0,
            in_flight: false,
            ordered: VecDeque::new(),
            immediate: VecDeque::new(),
            rows_max,
            bytes_max,
            chunk_bytes_max,
        }
    }

    /// Stages a row.
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.open.batch.put(key, value);
    }

    /// Stages the removal of a row.
    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        self.open.batch.delete(key);
    }

    /// Stages the next message of a conversation's log: one with the number `number`.
    pub(crate) fn append(&mut self, slot: u32, conversation: u64, number: u64, entry: &Entry<'_>) {
        let open = self.slots.iter().position(|open| *open == slot);
        let goes_on = open.is_some_and(|at| self.extend_chunk(at, number, entry));
        if goes_on {
            return;
        }
        if let Some(at) = open {
            self.slots.remove(at);
            let chunk = self.chunks.remove(at);
            self.close_chunk(slot, chunk);
        }
        let mut entries = self.spare.pop().unwrap_or_default();
        let begun = entries.push(entry);
        debug_assert_eq!(begun, Ok(()), "an entry alone fits a chunk");
        self.chunk_bytes += entries.bytes();
        self.slots.push(slot);
        self.chunks.push(OpenChunk { conversation, first: number, entries, count: 1 });
    }

    /// Adds an entry to an open chunk; false where it is full, or ends elsewhere.
    fn extend_chunk(&mut self, at: usize, number: u64, entry: &Entry<'_>) -> bool {
        let chunk = &mut self.chunks[at];
        let before = chunk.entries.bytes();
        let is_next = before < self.chunk_bytes_max && chunk.first + chunk.count == number;
        if !is_next || chunk.entries.push(entry).is_err() {
            return false;
        }
        chunk.count += 1;
        self.chunk_bytes += chunk.entries.bytes() - before;
        true
    }

    fn close_chunk(&mut self, slot: u32, mut chunk: OpenChunk) {
        self.chunk_bytes -= chunk.entries.bytes();
        let key = entry::key(chunk.conversation, chunk.first);
        let row = chunk.entries.finish(&key);
        self.open.batch.put(key, row);
        self.open.extended.push((slot, chunk.first + chunk.count - 1));
        if self.spare.len() < 16 {
            self.spare.push(chunk.entries);
        }
    }

    /// An operation ends here: a commit that is large enough is closed.
    pub(crate) fn end_operation(&mut self) {
        let rows = self.open.batch.len() + self.chunks.len();
        if rows >= self.rows_max || self.open.batch.bytes() + self.chunk_bytes >= self.bytes_max {
            self.seal();
        }
    }

    fn seal(&mut self) {
        let (mut slots, mut chunks) = (std::mem::take(&mut self.slots), std::mem::take(&mut self.chunks));
        for (slot, chunk) in slots.drain(..).zip(chunks.drain(..)) {
            self.close_chunk(slot, chunk);
        }
        // The lists keep their memory for the next commit.
        (self.slots, self.chunks) = (slots, chunks);
        if self.open.batch.is_empty() {
            return;
        }
        let next = Staged { number: self.open.number + 1, ..Staged::default() };
        let sealed = std::mem::replace(&mut self.open, next);
        self.staged_bytes += sealed.batch.bytes();
        self.sealed.push_back(sealed);
    }

    /// The next commit, if none is under way.
    pub(crate) fn begin(&mut self) -> Option<Staged> {
        if self.in_flight {
            return None;
        }
        if self.sealed.is_empty() {
            self.seal();
        }
        let staged = self.sealed.pop_front()?;
        self.in_flight = true;
        Some(staged)
    }

    /// The commit that was under way is durable: its outputs may go.
    pub(crate) fn done(&mut self, staged: &Staged) {
        self.in_flight = false;
        self.durable = staged.number;
        self.staged_bytes = self.staged_bytes.saturating_sub(staged.batch.bytes());
    }

    /// The commit that was under way failed: it comes again, before any other, unchanged.
    pub(crate) fn failed(&mut self, staged: Staged) {
        self.in_flight = false;
        self.sealed.push_front(staged);
    }

    /// Whether anything waits to be committed.
    pub(crate) fn has_work(&self) -> bool {
        !self.sealed.is_empty() || !self.open.batch.is_empty() || !self.chunks.is_empty()
    }

    /// Whether a commit is under way.
    pub(crate) fn is_committing(&self) -> bool {
        self.in_flight
    }

    /// Bytes that wait for the store.
    pub(crate) fn staged_bytes(&self) -> usize {
        self.staged_bytes + self.open.batch.bytes() + self.chunk_bytes
    }

    /// The newest commit that an output made now rests on.
    pub(crate) fn newest(&self) -> u64 {
        let open = !self.open.batch.is_empty() || !self.chunks.is_empty();
        if open { self.open.number } else { self.open.number - 1 }
    }

    /// Whether a commit is durable.
    pub(crate) fn is_durable(&self, commit: u64) -> bool {
        commit <= self.durable
    }

    /// An output that goes once everything staged so far is durable.
    pub(crate) fn emit(&mut self, output: Output) {
        self.ordered.push_back((self.newest(), output));
    }

    /// An output that goes at once.
    pub(crate) fn emit_now(&mut self, output: Output) {
        self.immediate.push_back(output);
    }

    /// The next output that waits for nothing.
    pub(crate) fn next_immediate(&mut self) -> Option<Output> {
        self.immediate.pop_front()
    }

    /// The next output whose commit is durable.
    pub(crate) fn next_ordered(&mut self) -> Option<Output> {
        let durable = self.durable;
        self.ordered.pop_front_if(|(commit, _)| *commit <= durable).map(|(_, output)| output)
    }

    /// Outputs that wait, in both lanes.
    pub(crate) fn outputs(&self) -> usize {
        self.ordered.len() + self.immediate.len()
    }
}
