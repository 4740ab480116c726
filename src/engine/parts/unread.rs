//! What is not read yet.

use crate::conversation::ConversationKind;
use crate::engine::Engine;
use crate::update::Unread;

impl Engine {
    pub(crate) fn read_to(&mut self, peer: u32, conversation: u32, number: u64) {
        let Some(member) = self.conversations[conversation].members.get_mut(&peer) else { return };
        if member.read_to(number) {
            self.peers[peer].dirty = true;
            self.mark_dirty(peer);
        }
    }

    pub(crate) fn unread_of(&self, peer: u32) -> Vec<Unread> {
        let counted = self.peers[peer].conversations.iter().map(|slot| (*slot, self.unread_in(peer, *slot)));
        let mut unread: Vec<Unread> = counted
            .filter(|(_, count)| *count > 0)
            .map(|(slot, count)| Unread { conversation: self.conversations[slot].id.clone(), count })
            .collect();
        unread.sort_unstable_by(|a, b| a.conversation.cmp(&b.conversation));
        unread
    }

    /// How many messages a peer has not read in one conversation, of those that it can still read.
    pub(crate) fn unread_in(&self, peer: u32, slot: u32) -> u64 {
        let conversation = &self.conversations[slot];
        if conversation.kind == ConversationKind::Room || self.has_ended(slot) {
            return 0;
        }
        let count = |member: &crate::state::conversation::Member| {
            let (first, last) = (conversation.first_number, conversation.last_number);
            let lost = conversation.lost.count(first.max(member.read + 1), last);
            member.unread(first, last).saturating_sub(lost)
        };
        conversation.members.get(&peer).filter(|member| member.is_active()).map_or(0, count)
    }

    /// How many messages a peer has not read in all conversations.
    pub(crate) fn badge(&self, peer: u32) -> u64 {
        self.peers[peer].conversations.iter().map(|slot| self.unread_in(peer, *slot)).sum()
    }
}
