//! From staged to durable: commits, the index of what was accepted, and the cursors that are written now and then.

use std::sync::Arc;
use std::time::Duration;

use crate::cursor::Cursor;
use crate::gate::Staged;
use crate::id::RetryToken;
use crate::keys;
use crate::message::Message;
use crate::output::Event;
use crate::record::{self, Kind};
use crate::store::{Store, StoreError};
use crate::time::Timestamp;
use crate::timers::Timer;

use super::Engine;
use super::load::{ConversationRow, DeviceRow, MemberRow, PeerRow, TokenRow};

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

/// Numbers of one entry of the index.
pub(super) const INDEX_ENTRY: usize = 5;

/// What was accepted and is not in the index rows yet. The log itself tells it too: after a crash it is read back from there.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Position, time, conversation, number and sender of each message, by permanent numbers.
    pub(super) entries: Vec<u64>,
    pub(super) tokens: Vec<TokenRow>,
    /// Everything up to this position is in the index rows, and all cursors were written after it.
    pub(super) written_to: u64,
}

impl Index {
    /// Entries that are written together.
    const ENTRIES: usize = 256;

    fn note(&mut self, entry: [u64; INDEX_ENTRY]) {
        self.entries.extend_from_slice(&entry);
    }
}

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
    }

    /// What a commit made durable need not stay in memory, unless a read under way may want it.
    fn settle(&mut self, staged: &Staged) {
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
        let gate = &self.gate;
        while self.gated.pop_front_if(|gated| gate.is_durable(gated.commit)).is_some() {}
        self.settle_copies();
    }

    /// Copies that are durable count as received by the sessions that are still there.
    fn settle_copies(&mut self) {
        for (session, slot, number) in std::mem::take(&mut self.copies) {
            if self.sessions.get(session.slot).is_some_and(|held| held.is_attached(session)) {
                self.count_copy(session.slot, slot, number);
            }
        }
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

    /// Notes an accepted message for the index, and its retry token.
    pub(super) fn note_accepted(&mut self, message: &Message, slot: u32, number: u64, sender: u64) {
        let conversation = self.conversations[slot].number;
        let at = message.timestamp.as_millis();
        self.index.note([message.position, at, conversation, number, sender]);
        if self.index.entries.len() >= Index::ENTRIES * INDEX_ENTRY {
            self.write_index();
        }
        self.timers.set_once(Timer::Cursors, self.now + self.config.cursors_every);
    }

    /// Notes a retry token for the store.
    pub(super) fn note_token(&mut self, message: &Message, slot: u32, number: u64, sender: u64, token: &RetryToken) {
        self.index.tokens.push(TokenRow {
            sender,
            conversation: self.conversations[slot].number,
            number,
            at: message.timestamp.as_millis(),
            id: *message.id.as_bytes(),
            token: token.as_str().to_owned(),
        });
    }

    /// Stages the index of what was accepted since it was last written.
    fn write_index(&mut self) {
        let entries = std::mem::take(&mut self.index.entries);
        if let Some(first) = entries.first() {
            self.put_row(Kind::Index, keys::index(*first), &entries);
        }
        for (at, token) in (0..).zip(std::mem::take(&mut self.index.tokens)) {
            self.put_row(Kind::Tokens, keys::tokens(token.at, self.position << 16 | at), &token);
        }
    }

    /// Stages cursors that moved, a bounded number at a time, and the index of what was accepted. Once all that had moved
    /// when the round began are staged, so is the position up to which nothing needs to be read back after a crash.
    pub(super) fn write_cursors(&mut self) {
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
    pub(super) fn write_all_cursors(&mut self) {
        self.write_index();
        self.round.append(&mut self.dirty);
        self.round_position = self.position;
        self.write_round(usize::MAX);
    }

    fn write_round(&mut self, peers_max: usize) {
        let from = self.round.len().saturating_sub(peers_max);
        for peer in self.round.split_off(from) {
            self.write_peer(peer);
            self.gate.end_operation();
        }
        if self.round.is_empty() && self.index.written_to < self.round_position {
            self.index.written_to = self.round_position;
            let position = self.round_position;
            self.put_row(Kind::Meta, keys::meta("written_to"), &position);
            self.reserve();
        }
    }

    /// Notes that a peer's rows in the store are behind.
    pub(super) fn mark_dirty(&mut self, peer: u32) {
        let held = &mut self.peers[peer];
        if held.number != 0 && !std::mem::replace(&mut held.queued, true) {
            self.dirty.push(peer);
            self.timers.set_once(Timer::Cursors, self.now + self.config.cursors_every);
        }
    }

    /// Stages what changed of a peer.
    pub(super) fn write_peer(&mut self, slot: u32) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.queued = false;
        if peer.number == 0 {
            return;
        }
        let peer = &self.peers[slot];
        if peer.dirty {
            let row = PeerRow { id: peer.id.as_str(), logged_out: peer.logged_out };
            let key = keys::peer(peer.number);
            let value = record::seal(Kind::Peer, &key, &row);
            let (number, reads, written) = (peer.number, self.reads_of(slot), peer.read_pages);
            self.put_sealed(key, value);
            self.peers[slot].read_pages = self.write_pages(b'r', number, 0, None, 0, &reads, written);
            self.peers[slot].dirty = false;
        }
        for at in 0..self.peers[slot].devices.len() {
            self.write_device(slot, at);
        }
    }

    fn write_device(&mut self, slot: u32, at: usize) {
        let peer = &self.peers[slot];
        let Some(device) = peer.devices.get(at).filter(|device| device.dirty) else { return };
        let named = device
            .cursors
            .iter()
            .filter_map(|(conversation, cursor)| Some((self.conversations.get(*conversation)?.number, cursor.clone())));
        let mut cursors: Vec<_> = named.collect();
        cursors.sort_unstable_by_key(|(conversation, _)| *conversation);
        let (number, id, seen_at, written) = (peer.number, device.id.clone(), device.seen_at, device.pages);
        let id = id.as_ref().map(crate::id::DeviceId::as_str);
        let pages = self.write_pages(b'd', number, at as u64, id, seen_at.as_millis(), &cursors, written);
        let device = &mut self.peers[slot].devices[at];
        device.pages = pages;
        device.dirty = false;
    }

    /// Stages cursors in pages, so that no row grows with the number of conversations; pages that are not needed any more
    /// are emptied. Returns how many are in use.
    #[expect(clippy::too_many_arguments, reason = "the fields of one row")]
    fn write_pages(
        &mut self,
        letter: u8,
        peer: u64,
        device: u64,
        id: Option<&str>,
        seen_at: u64,
        cursors: &[(u64, Cursor)],
        written: u64,
    ) -> u64 {
        const NUMBERS_MAX: usize = 8_192;
        let mut pages = vec![Vec::new()];
        for (conversation, cursor) in cursors {
            if pages.last().is_some_and(|page| page.len() >= NUMBERS_MAX) {
                pages.push(Vec::new());
            }
            pages.last_mut().into_iter().for_each(|page| flatten(page, *conversation, cursor));
        }
        let used = pages.len() as u64;
        for (page, cursors) in (0..).zip(pages) {
            let row = DeviceRow { id, seen_at, cursors };
            self.put_row(Kind::Cursors, keys::page(letter, peer, device, page), &row);
        }
        (used..written).for_each(|page| self.gate.delete(keys::page(letter, peer, device, page)));
        used
    }

    /// How far a peer has read, conversation by conversation.
    fn reads_of(&self, slot: u32) -> Vec<(u64, Cursor)> {
        let conversations =
            self.peers[slot].conversations.iter().map(|conversation| &self.conversations[*conversation]);
        let read = conversations.filter_map(|conversation| {
            let member = conversation.members.get(&slot)?;
            let cursor = Cursor { received: member.read, beyond: member.uncounted.clone() };
            (cursor != Cursor::default()).then_some((conversation.number, cursor))
        });
        read.collect()
    }

    /// Gives a peer its permanent number and stages its row, where it has none.
    pub(super) fn persist_peer(&mut self, slot: u32) -> u64 {
        if self.peers.number(slot) {
            self.write_peer(slot);
        }
        self.peers[slot].number
    }

    /// Stages a conversation's row.
    pub(super) fn write_conversation(&mut self, slot: u32) {
        let creator = self.conversations[slot].creator.map_or(0, |peer| self.peers[peer].number);
        let fixed = match self.conversations[slot].kind {
            crate::ConversationKind::Direct | crate::ConversationKind::Temporary => {
                self.conversations[slot].active_members().map(|peer| self.peers[peer].number).collect()
            }
            _ => Vec::new(),
        };
        let conversation = &self.conversations[slot];
        let attributes = serde_json::to_string(&conversation.attributes).unwrap_or_default();
        let row = ConversationRow::new(conversation, &attributes, creator, fixed);
        let key = keys::conversation(conversation.number);
        let value = record::seal(Kind::Conversation, &key, &row);
        self.put_sealed(key, value);
    }

    /// Stages a membership of a group, or its end.
    pub(super) fn write_member(&mut self, slot: u32, peer: u32) {
        let number = self.peers[peer].number;
        let conversation = &self.conversations[slot];
        let key = keys::member(conversation.number, number);
        match conversation.members.get(&peer) {
            Some(member) => {
                let row = MemberRow::new(member);
                let value = record::seal(Kind::Member, &key, &row);
                self.put_sealed(key, value);
            }
            None => self.gate.delete(key),
        }
    }

    pub(super) fn put_row<T: record::Encode>(&mut self, kind: Kind, key: Vec<u8>, row: &T) {
        let value = record::seal(kind, &key, row);
        self.put_sealed(key, value);
    }

    /// Stages a sealed row. One that is too large for any record is not written: the checks of every verb make rows that
    /// fit, so that this is a fault of the engine, which it reports.
    fn put_sealed(&mut self, key: Vec<u8>, value: Result<Vec<u8>, record::RecordError>) {
        match value {
            Ok(value) => self.gate.put(key, value),
            Err(error) => self.tell(Event::RecordDamaged { error }),
        }
    }
}

/// A cursor as numbers: conversation, received, how many runs, and each run's ends.
fn flatten(numbers: &mut Vec<u64>, conversation: u64, cursor: &Cursor) {
    numbers.extend([conversation, cursor.received, cursor.beyond.len() as u64]);
    numbers.extend(cursor.beyond.iter().flat_map(|run| [run.0, run.1]));
}

/// The cursors that [`flatten`] made.
pub(super) fn unflatten(mut numbers: &[u64]) -> Vec<(u64, Cursor)> {
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
