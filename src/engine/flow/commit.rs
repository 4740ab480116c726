//! From staged to durable: commits, the index of what was accepted, and the cursors that are written now and then.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::event::Event;
use crate::gate::Staged;
use crate::rows::meta;
use crate::store::{Store, StoreError};
use crate::time::Timestamp;
use crate::timers::Timer;

/// A batch on its way to the store, from [`Engine::begin_commit`]. Any thread may run it.
pub struct Commit {
    staged: Staged,
    store: Arc<dyn Store>,
}

/// What became of a [`Commit`], for [`Engine::finish_commit`].
#[must_use = "the gate opens only once the engine knows"]
pub struct Committed {
    staged: Staged,
    result: Result<(), StoreError>,
}

impl Commit {
    /// Writes the batch and waits until it is as durable as the store promises.
    pub fn run(self) -> Committed {
        let result = self.store.apply(&self.staged.batch);
        Committed { staged: self.staged, result }
    }

    /// The writes.
    #[must_use]
    pub fn batch(&self) -> &crate::store::Batch {
        &self.staged.batch
    }
}

impl Committed {
    /// Why it failed, if it did.
    #[must_use]
    pub fn error(&self) -> Option<&StoreError> {
        self.result.as_ref().err()
    }
}

impl std::fmt::Debug for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commit").field("number", &self.staged.number).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Committed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Committed")
            .field("number", &self.staged.number)
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

/// Peers whose cursors are staged in one step.
const PEERS_PER_STEP: usize = 64;

impl Engine {
    /// Takes the next staged batch. At most one is under way: the next comes after
    /// [`finish_commit`](Self::finish_commit).
    pub fn begin_commit(&mut self) -> Option<Commit> {
        let staged = self.gate.begin()?;
        Some(Commit { staged, store: Arc::clone(&self.store) })
    }

    /// Opens the gate for what rests on a durable batch; keeps a failed one to be tried again, unchanged.
    pub fn finish_commit(&mut self, committed: Committed, now: Timestamp) {
        self.advance(now);
        match committed.result {
            Ok(()) => {
                self.gate.done(&committed.staged);
                self.settle(&committed.staged);
                self.held.settle(committed.staged.number);
                if std::mem::take(&mut self.store_failed) {
                    self.tell(Event::StoreRecovered);
                }
            }
            Err(error) => {
                self.gate.failed(committed.staged);
                if !std::mem::replace(&mut self.store_failed, true) {
                    self.tell(Event::StoreFailed { error });
                }
            }
        }
        self.release_held();
    }

    /// What a commit made durable need not stay in memory, unless a read under way may want it.
    pub(crate) fn settle(&mut self, staged: &Staged) {
        let pinned = self.reads.pinned();
        for &(slot, number) in &staged.extended {
            let Some(conversation) = self.conversations.get(slot) else { continue };
            debug_assert!(conversation.durable_number < number);
            let conversation = &mut self.conversations[slot];
            conversation.durable_number = number;
            conversation.trim_tail(pinned);
            if !conversation.tail.is_empty() {
                self.reads.keep(slot);
            }
        }
        self.index.settle(staged.number);
        while let Some((_, conversation, number)) = self.deleted.pop_front_if(|(at, _, _)| *at <= staged.number) {
            if let Some(slot) = self.conversations.by_number(conversation) {
                self.conversations[slot].overlay.settle(number);
            }
        }
        let gate = &self.gate;
        while self.gated.pop_front_if(|gated| gate.is_durable(gated.commit)).is_some() {}
    }

    /// Whether anything waits for the store: a batch to write or a read to do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        (self.gate.has_work() && !self.gate.is_committing()) || self.reads.has_waiting()
    }

    /// Writes everything staged and does every waiting read, here and now: for a host that owns the engine and calls this
    /// once a tick.
    ///
    /// # Errors
    /// The store's; what was staged is kept and tried again at the next call.
    pub fn commit(&mut self, now: Timestamp) -> Result<(), StoreError> {
        loop {
            let mut worked = false;
            if let Some(commit) = self.begin_commit() {
                let committed = commit.run();
                let error = committed.error().cloned();
                self.finish_commit(committed, now);
                if let Some(error) = error {
                    return Err(error);
                }
                worked = true;
            }
            if let Some(read) = self.begin_read() {
                self.finish_read(read.run(), now);
                worked = true;
            }
            if !worked {
                return Ok(());
            }
        }
    }

    /// Stages cursors that moved, a bounded number at a time, and the index of what was accepted. Once all that had moved
    /// when the round began are staged, so is the position up to which nothing needs to be read back after a crash.
    pub(crate) fn write_cursors(&mut self) {
        if self.is_staged_full() {
            self.timers.set(Timer::Cursors, self.now + Duration::from_secs(1));
            return;
        }
        if self.round.is_empty() {
            self.write_index();
            self.round = std::mem::take(&mut self.dirty);
            self.round_position = self.position;
        }
        self.write_round(PEERS_PER_STEP);
        if !self.round.is_empty() {
            self.timers.set(Timer::Cursors, self.now + Duration::from_millis(1));
        } else if !self.dirty.is_empty() || !self.index.entries.is_empty() {
            self.timers.set_once(Timer::Cursors, self.now + self.config.cursors_every);
        }
    }

    /// Stages everything that moved, however much it is: before the end.
    pub(crate) fn write_all_cursors(&mut self) {
        self.write_index();
        self.round.append(&mut self.dirty);
        self.round_position = self.position;
        self.write_round(usize::MAX);
    }

    fn write_round(&mut self, peers_max: usize) {
        let from = self.round.len().saturating_sub(peers_max);
        for peer in self.round.split_off(from) {
            // All at the end, however much it is; else what finds no room waits for the next step.
            if peers_max < usize::MAX && self.is_staged_full() {
                self.round.push(peer);
                continue;
            }
            self.write_peer(peer);
            self.gate.end_operation();
        }
        if self.round.is_empty() && self.index.written_to < self.round_position {
            self.index.written_to = self.round_position;
            let position = self.round_position;
            self.gate.put(meta::WRITTEN_TO.key(), meta::WRITTEN_TO.seal(&position));
            self.reserve();
        }
    }
}
