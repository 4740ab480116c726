//! How far each device has received.

use crate::cursor::Cursor;
use crate::engine::Engine;
use crate::id::DeviceId;
use crate::message::Message;

/// Copies of its peer's own messages that a session has and that nothing acknowledged yet, at most: beyond, the oldest come
/// again.
const COPIES_MAX: usize = 1_024;

impl Engine {
    /// A device's cursor in a conversation: where a known device has none, the beginning of its membership, for the
    /// conversation is newer than the device; an unknown device starts at the furthest cursor of its peer.
    pub(crate) fn cursor(&self, peer: u32, device: Option<usize>, conversation: u32) -> Cursor {
        let held = &self.peers[peer];
        let cursor = match device.and_then(|at| held.devices.get(at)) {
            Some(device) => device.cursors.get(&conversation),
            None => held.furthest(conversation),
        };
        cursor.cloned().unwrap_or_else(|| {
            let member = self.conversations[conversation].members.get(&peer);
            Cursor::at(member.and_then(|member| member.spans.first()).map_or(0, |span| span.0))
        })
    }

    /// A new member's devices have nothing to receive of what was before: their cursors start here, unless something from an
    /// earlier membership still waits.
    pub(crate) fn skip_to(&mut self, peer: u32, slot: u32, last: u64) {
        let waits = self.conversations[slot].members.get(&peer).is_some_and(|member| member.spans.len() > 1);
        if waits {
            return;
        }
        for device in &mut self.peers[peer].devices {
            device.cursors.insert(slot, crate::cursor::Cursor::at(last));
            device.dirty = true;
        }
    }

    pub(crate) fn furthest_cursors(&self, peer: u32) -> rustc_hash::FxHashMap<u32, crate::cursor::Cursor> {
        let held = &self.peers[peer];
        let known = held.conversations.iter().filter_map(|slot| Some((*slot, held.furthest(*slot)?.clone())));
        known.collect()
    }

    /// Moves the cursor of a session's device over some numbers.
    pub(crate) fn acknowledge_range(&mut self, session: u32, conversation: u32, first: u64, last: u64) {
        let peer = self.sessions[session].peer;
        if self.conversations.get(conversation).is_none() {
            return;
        }
        let Some(at) = self.peers[peer].device(self.sessions[session].rare.device.as_ref()) else { return };
        self.move_cursor(peer, at, conversation, (first, last));
        self.peers[peer].devices[at].seen_at = self.now;
        self.mark_dirty(peer);
    }

    /// Moves the cursor of one of a peer's devices over the numbers from the first to the second.
    fn move_cursor(&mut self, peer: u32, at: usize, conversation: u32, numbers: (u64, u64)) {
        let known = self.peers[peer].devices[at].cursors.contains_key(&conversation);
        let fresh = if known { Cursor::default() } else { self.cursor(peer, Some(at), conversation) };
        let device = &mut self.peers[peer].devices[at];
        let cursor = device.cursors.entry(conversation).or_insert(fresh);
        cursor.acknowledge(numbers.0, numbers.1, self.config.acknowledged_beyond_max);
        device.dirty = true;
    }

    /// What a message changes of cursors and counts: its sender's device has it, nobody it is not for counts it.
    pub(crate) fn count_message(
        &mut self,
        slot: u32,
        number: u64,
        sender: u32,
        device: Option<&DeviceId>,
        narrowed: Option<&[u32]>,
    ) {
        let before = self.kept_unread(sender, slot);
        if let Some(member) = self.conversations[slot].members.get_mut(&sender) {
            member.sent(number);
            self.keep_unread(sender, slot, before);
            self.peers[sender].dirty = true;
            if let Some(at) = self.peers[sender].device(device) {
                self.move_cursor(sender, at, slot, (number, number));
            }
            self.mark_dirty(sender);
        }
        let Some(narrowed) = narrowed else { return };
        let others: Vec<u32> = self.conversations[slot].active_members().collect();
        for peer in others.into_iter().filter(|peer| *peer != sender && narrowed.binary_search(peer).is_err()) {
            let before = self.kept_unread(peer, slot);
            if let Some(member) = self.conversations[slot].members.get_mut(&peer) {
                member.uncount(number, number);
            }
            self.keep_unread(peer, slot, before);
            for at in 0..self.peers[peer].devices.len() {
                self.move_cursor(peer, at, slot, (number, number));
            }
            self.peers[peer].dirty = true;
            self.mark_dirty(peer);
        }
    }

    /// A session is given a copy of what its peer sent elsewhere. Clients need not acknowledge it: it counts as received with
    /// the first acknowledgement of something that came after it. Until then it comes again at the next open.
    pub(crate) fn note_copy(&mut self, session: u32, slot: u32, message: &Message) {
        let at = self.whereabouts(slot, message);
        let copies = &mut self.sessions[session].rare.copies;
        if copies.len() == COPIES_MAX {
            copies.pop_front();
        }
        copies.push_back(at);
    }

    /// A session has received everything up to a position: the copies among it count as acknowledged.
    pub(crate) fn acknowledge_copies(&mut self, session: u32, position: u64) {
        while let Some(copy) = self.sessions[session].rare.copies.pop_front_if(|copy| copy.position <= position) {
            if let Some(slot) = self.conversations.by_number(copy.conversation) {
                self.acknowledge_range(session, slot, copy.number, copy.number);
            }
        }
    }
}
