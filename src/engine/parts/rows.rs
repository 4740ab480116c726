//! What is staged for the store: rows of peers, conversations, memberships, cursors, and the index of what was accepted.

use crate::cursor::Cursor;
use crate::engine::Engine;
use crate::event::Event;
use crate::id::RetryToken;
use crate::message::Message;
use crate::record::Kind;
use crate::rows::{DeviceRow, PeerRow, TokenRow, flatten};
use crate::state::accepted::{INDEX_ENTRY, Index};
use crate::state::reads::WALK;
use crate::timers::Timer;
use crate::{keys, record};

impl Engine {
    /// Notes an accepted message for the index, and its retry token.
    pub(crate) fn note_accepted(&mut self, message: &Message, slot: u32, number: u64, sender: u64) {
        let conversation = self.conversations[slot].number;
        let at = message.timestamp.as_millis();
        self.index.note([message.position, at, conversation, number, sender]);
        if self.index.entries.len() >= Index::ENTRIES * INDEX_ENTRY {
            self.write_index();
        }
        self.timers.set_once(Timer::Cursors, self.now + self.config.cursors_every);
    }

    /// Notes a retry token for the store.
    pub(crate) fn note_token(&mut self, message: &Message, slot: u32, number: u64, sender: u64, token: &RetryToken) {
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
    pub(crate) fn write_index(&mut self) {
        let entries = std::mem::take(&mut self.index.entries);
        if let Some(first) = entries.first() {
            self.put_row(Kind::Index, keys::index(*first), &entries);
        }
        for (at, token) in (0..).zip(std::mem::take(&mut self.index.tokens)) {
            self.put_row(Kind::Tokens, keys::tokens(token.at, self.position << 16 | at), &token);
        }
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
            let row = PeerRow { id: peer.id.as_str(), logged_out: peer.logged_out, wrote: peer.wrote };
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
        let key = keys::conversation(conversation.number);
        let value = record::seal(Kind::Conversation, &key, &row);
        self.put_sealed(key, value);
    }

    /// Stages a membership of a group, or its end.
    pub(crate) fn write_member(&mut self, slot: u32, peer: u32) {
        let number = self.peers[peer].number;
        let conversation = &self.conversations[slot];
        let key = keys::member(conversation.number, number);
        match conversation.members.get(&peer) {
            Some(member) => {
                let row = member.row();
                let value = record::seal(Kind::Member, &key, &row);
                self.put_sealed(key, value);
            }
            None => self.gate.delete(key),
        }
    }

    pub(crate) fn put_row<T: record::Encode>(&mut self, kind: Kind, key: Vec<u8>, row: &T) {
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
            self.put_row(Kind::Meta, keys::meta("reserved"), &(self.position + AHEAD));
        }
    }
}
