//! What is staged for the store: rows of peers, conversations, memberships, cursors, and the index of what was accepted.

use crate::cursor::Cursor;
use crate::engine::Engine;
use crate::id::RetryToken;
use crate::message::Message;
use crate::rows::conversation::ConversationRow;
use crate::rows::device::DeviceRow;
use crate::rows::index::{self, IndexRow};
use crate::rows::member::MemberRow;
use crate::rows::owed::OwedRow;
use crate::rows::peer::PeerRow;
use crate::rows::reads::ReadsRow;
use crate::rows::recipients::{NAMED_MAX, Recipients};
use crate::rows::token::TokenRow;
use crate::rows::{self, Row, cursors, meta};
use crate::state::reads::WALK;
use crate::state::retry::Sent;
use crate::timers::Timer;

impl Engine {
    /// Notes an accepted message for the index.
    pub(crate) fn note_accepted(&mut self, message: &Message, slot: u32, number: u64, sender: u64) {
        let conversation = self.conversations[slot].number;
        let at = message.timestamp.as_millis();
        self.index.note([message.position, at, conversation, number, sender]);
        if self.index.entries.len() >= index::ENTRIES_MAX * index::ENTRY {
            self.write_index();
        }
        self.timers.set_once(Timer::Cursors, self.now + self.config.cursors_every);
    }

    /// Notes a retry token, in memory and for the store; counts one that it drives out.
    pub(crate) fn note_token(&mut self, sender: u32, token: &RetryToken, sent: Sent) {
        self.index.tokens.push((sender, token.clone()));
        if self.retry_tokens.note(sender, token.clone(), sent) {
            self.alarms.retry_tokens_forgotten += 1;
        }
    }

    /// Stages the index of what was accepted since it was last written, and the tokens among it that are still known.
    pub(crate) fn write_index(&mut self) {
        let entries = std::mem::take(&mut self.index.entries);
        for (key, row) in IndexRow::of(&entries) {
            self.put_row(key, &row);
        }
        if !entries.is_empty() {
            self.index.stage(self.gate.newest(), entries);
        }
        let tokens = std::mem::take(&mut self.index.tokens);
        let written = tokens.len();
        for (at, (sender, token)) in (0..).zip(tokens) {
            self.write_token(sender, &token, self.position << 16 | at);
        }
        // More than were written, so that what is given up never piles up.
        self.drop_given_up(2 * written);
    }

    /// Stages a token's row, unless it was driven out meanwhile.
    fn write_token(&mut self, sender: u32, token: &RetryToken, unique: u64) {
        let number = self.peers.get_mut(sender).map_or(0, |peer| peer.number);
        let Some(sent) = self.retry_tokens.unwritten(sender, token) else { return };
        sent.row = unique;
        let row = TokenRow {
            sender: number,
            conversation: sent.conversation,
            number: sent.number,
            at: sent.timestamp.as_millis(),
            id: *sent.id.as_bytes(),
            token: token.as_str(),
        };
        // It goes a day after it was used, not after the time of its message, which may be ahead of the host's.
        let key = TokenRow::key(sent.noted_at.as_millis(), unique);
        self.put_row(key, &row);
    }

    /// Stages the removal of at most `max` rows of tokens that were driven out; true where there may be more.
    pub(crate) fn drop_given_up(&mut self, max: usize) -> bool {
        let given_up = self.retry_tokens.given_up(max);
        for (at, unique) in &given_up {
            self.gate.delete(TokenRow::key(at.as_millis(), *unique));
        }
        given_up.len() == max
    }

    /// Notes that a peer's rows in the store are behind.
    pub(crate) fn mark_dirty(&mut self, peer: u32) {
        let held = &mut self.peers[peer];
        if held.number != 0 && !std::mem::replace(&mut held.queued, true) {
            self.dirty.push(peer);
            self.timers.set_once(Timer::Cursors, self.now + self.config.cursors_every);
        }
    }

    /// Stages what changed of a peer, where that is little and not too much waits for the store already: else it stays behind a
    /// while longer. What comes and goes is never refused.
    pub(crate) fn write_peer_if_room(&mut self, slot: u32) {
        let is_much = self.peers[slot].conversations.len() > WALK;
        if is_much || self.is_staged_full() { self.mark_dirty(slot) } else { self.write_peer(slot) }
    }

    /// Stages what changed of a peer.
    pub(crate) fn write_peer(&mut self, slot: u32) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.queued = false;
        if peer.number == 0 {
            return;
        }
        let peer = &self.peers[slot];
        if peer.dirty {
            let (number, written) = (peer.number, peer.read_pages);
            let key = PeerRow::key(number);
            let value = rows::seal(&key, &PeerRow::new(peer.id.as_str(), peer.logged_out, peer.wrote));
            self.gate.put(key, value);
            let reads = self.reads_of(slot);
            let pages = cursors::pages(reads.iter().map(|(conversation, cursor)| (*conversation, cursor)));
            let used = pages.len() as u64;
            for (page, cursors) in (0..).zip(pages) {
                self.put_row(ReadsRow::key(number, page), &ReadsRow::new(cursors));
            }
            (used..written).for_each(|page| self.gate.delete(ReadsRow::key(number, page)));
            self.peers[slot].read_pages = used;
            self.peers[slot].dirty = false;
        }
        for at in 0..self.peers[slot].devices.len() {
            self.write_device(slot, at);
        }
        self.write_owed(slot);
    }

    /// Stages the receipts that a peer was not there to hear.
    fn write_owed(&mut self, slot: u32) {
        let peer = &mut self.peers[slot];
        let number = peer.number;
        let changed: Vec<u32> = peer.owed.iter().filter(|(_, owed)| owed.dirty).map(|(at, _)| *at).collect();
        for conversation in changed {
            let Some(owed) = self.peers[slot].owed.get_mut(&conversation) else { continue };
            (owed.dirty, owed.written) = (false, true);
            let by = owed.by;
            let row = self.peers[slot].owed[&conversation].row(self.peers[by].number);
            self.put_row(OwedRow::key(number, self.conversations[conversation].number), &row);
        }
    }

    /// Stages a device's cursors, in as many pages as they take.
    fn write_device(&mut self, slot: u32, at: usize) {
        let peer = &self.peers[slot];
        let Some(device) = peer.devices.get(at).filter(|device| device.dirty) else { return };
        let named = device
            .cursors
            .iter()
            .filter_map(|(conversation, cursor)| Some((self.conversations.get(*conversation)?.number, cursor)));
        let mut held: Vec<_> = named.collect();
        held.sort_unstable_by_key(|(conversation, _)| *conversation);
        let pages = cursors::pages(held);
        let (number, id, seen_at, written) = (peer.number, device.id.clone(), device.seen_at, device.pages);
        let (id, used) = (id.as_ref().map(crate::id::DeviceId::as_str), pages.len() as u64);
        for (page, cursors) in (0..).zip(pages) {
            let row = DeviceRow { id, seen_at: seen_at.as_millis(), cursors };
            self.put_row(DeviceRow::key(number, at as u64, page), &row);
        }
        (used..written).for_each(|page| self.gate.delete(DeviceRow::key(number, at as u64, page)));
        let device = &mut self.peers[slot].devices[at];
        device.pages = used;
        device.dirty = false;
    }

    /// How far a peer has read, conversation by conversation.
    fn reads_of(&self, slot: u32) -> Vec<(u64, Cursor)> {
        let conversations =
            self.peers[slot].conversations.iter().map(|conversation| &self.conversations[*conversation]);
        let read = conversations.filter_map(|conversation| {
            let member = conversation.members.get(&slot)?;
            let cursor = member.reads();
            (cursor != Cursor::default()).then_some((conversation.number, cursor))
        });
        read.collect()
    }

    /// Gives a peer its permanent number and stages its row, where it has none.
    pub(crate) fn persist_peer(&mut self, slot: u32) -> u64 {
        if self.peers.number(slot) {
            self.write_peer(slot);
        }
        self.peers[slot].number
    }

    /// Stages a conversation's row.
    pub(crate) fn write_conversation(&mut self, slot: u32) {
        let creator = self.conversations[slot].creator.map_or(0, |peer| self.peers[peer].number);
        let fixed = match self.conversations[slot].kind {
            crate::ConversationKind::Direct | crate::ConversationKind::Temporary => {
                self.conversations[slot].active_members().map(|peer| self.peers[peer].number).collect()
            }
            _ => Vec::new(),
        };
        let conversation = &self.conversations[slot];
        let attributes = serde_json::to_string(&conversation.attributes).unwrap_or_default();
        let row = conversation.row(&attributes, creator, fixed);
        let key = ConversationRow::key(conversation.number);
        let value = rows::seal(&key, &row);
        self.gate.put(key, value);
    }

    /// Stages a membership of a group, or its end.
    pub(crate) fn write_member(&mut self, slot: u32, peer: u32) {
        let number = self.peers[peer].number;
        let conversation = &self.conversations[slot];
        let key = MemberRow::key(conversation.number, number);
        match conversation.members.get(&peer) {
            Some(member) => {
                let row = member.row();
                self.put_row(key, &row);
            }
            None => self.gate.delete(key),
        }
    }

    /// Whom a message is for, as it is stored: a list as it was named where it is short, else the shorter of those named and
    /// of those left out.
    pub(crate) fn recipients(&self, slot: u32, narrowed: Option<&[u32]>) -> Recipients {
        let Some(named) = narrowed else { return Recipients::All };
        let numbers = |peers: &mut dyn Iterator<Item = u32>| peers.map(|peer| self.peers[peer].number).collect();
        let conversation = &self.conversations[slot];
        if named.len() <= NAMED_MAX || named.len() <= conversation.active / 2 {
            return Recipients::Only(numbers(&mut named.iter().copied()));
        }
        let mut left_out = conversation.active_members().filter(|peer| named.binary_search(peer).is_err());
        Recipients::AllBut(numbers(&mut left_out))
    }

    /// Stages a row.
    pub(crate) fn put_row<R: Row>(&mut self, key: Vec<u8>, row: &R) {
        let value = rows::seal(&key, row);
        self.gate.put(key, value);
    }

    /// Stages the removal of rows.
    pub(crate) fn drop_rows(&mut self, rows: Vec<Vec<u8>>) {
        for key in rows {
            self.gate.delete(key);
        }
        self.gate.end_operation();
    }

    /// Reserves positions ahead of what was really synced, where a power cut may take what was not.
    pub(crate) fn reserve(&mut self) {
        /// Messages of ten busy seconds: a real sync comes before they are used up.
        const AHEAD: u64 = 1 << 20;
        if self.store.status().durability == crate::store::Durability::Process {
            self.gate.put(meta::RESERVED.key(), meta::RESERVED.seal(&(self.position + AHEAD)));
        }
    }
}
