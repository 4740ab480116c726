//! What was received and read, and what is not read yet.

use crate::conversation::ConversationKind;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::id::{ConversationId, MessageId};
use crate::output::{Reply, Unread, Update};

use super::{Actor, Engine};

/// Ids in one acknowledgement that count.
const IDS_MAX: usize = 1_000;

impl Engine {
    /// A device has received messages. The cursor moves over what has no hole; unknown ids are ignored.
    pub(super) fn acknowledge(&mut self, actor: Actor, ids: &[MessageId], read: bool) -> Result<(), Error> {
        let Some(session) = actor.session else { return Err(Error::SessionRequired) };
        if ids.len() > IDS_MAX {
            return Err(Error::OverLimit { limit: "ids in one acknowledgement", max: IDS_MAX as u64 });
        }
        for id in ids {
            let Some((slot, at)) = self.locate(session.slot, id) else { continue };
            let conversation = &self.conversations[slot];
            // Nobody can have received what was not released.
            let released = at.number <= conversation.durable_number;
            let is_theirs = conversation.members.contains_key(&actor.peer);
            if !released || !is_theirs {
                continue;
            }
            let first = !self.peers[actor.peer].has_received(slot, at.number);
            self.acknowledge_range(session.slot, slot, at.number, at.number);
            self.sessions[session.slot].rare.given.remove(id);
            if first && let Some(sender) = at.receipt_to.filter(|sender| *sender != actor.peer) {
                self.tell_receipt(sender, actor.peer, slot, *id);
            }
            if read {
                self.read_to(actor.peer, slot, at.number);
            }
        }
        Ok(())
    }

    /// Tells a sender that its message has arrived.
    fn tell_receipt(&mut self, sender: u32, by: u32, conversation: u32, id: MessageId) {
        let update = Update::Receipt {
            conversation: self.conversations[conversation].id.clone(),
            id,
            peer: self.peers[by].id.clone(),
            at: self.now,
        };
        self.deliver_to_peer(sender, update, None);
    }

    /// Moves the cursor of a session's device over some numbers.
    pub(super) fn acknowledge_range(&mut self, session: u32, conversation: u32, first: u64, last: u64) {
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
    pub(super) fn move_cursor(&mut self, peer: u32, at: usize, conversation: u32, numbers: (u64, u64)) {
        let known = self.peers[peer].devices[at].cursors.contains_key(&conversation);
        let fresh = if known { Cursor::default() } else { self.cursor(peer, Some(at), conversation) };
        let device = &mut self.peers[peer].devices[at];
        let cursor = device.cursors.entry(conversation).or_insert(fresh);
        cursor.acknowledge(numbers.0, numbers.1, self.config.acknowledged_beyond_max);
        device.dirty = true;
    }

    fn read_to(&mut self, peer: u32, conversation: u32, number: u64) {
        let Some(member) = self.conversations[conversation].members.get_mut(&peer) else { return };
        if member.read_to(number) {
            self.peers[peer].dirty = true;
            self.mark_dirty(peer);
        }
    }

    /// Everything up to a message was read, or up to the newest.
    pub(super) fn mark_read(
        &mut self,
        actor: Actor,
        id: &ConversationId,
        up_to: Option<MessageId>,
    ) -> Result<(), Error> {
        let slot = self.conversation_of(actor.peer, id)?;
        let last = self.conversations[slot].last_number;
        let conversation = self.conversations[slot].number;
        let number = match (up_to, actor.session) {
            (None, _) => Some(last),
            (Some(id), Some(session)) => {
                self.locate(session.slot, &id).filter(|(at, _)| *at == slot).map(|(_, at)| at.number)
            }
            (Some(id), None) => self.recent.find(&id).filter(|at| at.conversation == conversation).map(|at| at.number),
        };
        self.read_to(actor.peer, slot, number.ok_or(Error::MessageNotFound)?);
        Ok(())
    }

    /// What the session's peer has not read, sorted by conversation id.
    pub(super) fn unread(&mut self, actor: Actor) -> Result<(), Error> {
        let unread = self.unread_of(actor.peer);
        self.reply(actor, Reply::Unread(unread));
        Ok(())
    }

    pub(super) fn unread_of(&self, peer: u32) -> Vec<Unread> {
        let counted = self.peers[peer].conversations.iter().map(|slot| (*slot, self.unread_in(peer, *slot)));
        let mut unread: Vec<Unread> = counted
            .filter(|(_, count)| *count > 0)
            .map(|(slot, count)| Unread { conversation: self.conversations[slot].id.clone(), count })
            .collect();
        unread.sort_unstable_by(|a, b| a.conversation.cmp(&b.conversation));
        unread
    }

    /// How many messages a peer has not read in one conversation.
    pub(super) fn unread_in(&self, peer: u32, slot: u32) -> u64 {
        let conversation = &self.conversations[slot];
        if conversation.kind == ConversationKind::Room {
            return 0;
        }
        let count = |member: &crate::conversation::Member| {
            let lost = conversation.lost.count(member.read + 1, conversation.last_number);
            member.unread(conversation.last_number).saturating_sub(lost)
        };
        conversation.members.get(&peer).map_or(0, count)
    }

    /// How many messages a peer has not read in all conversations.
    pub(super) fn badge(&self, peer: u32) -> u64 {
        self.peers[peer].conversations.iter().map(|slot| self.unread_in(peer, *slot)).sum()
    }
}
