//! What is not read yet.

use crate::conversation::ConversationKind;
use crate::engine::Engine;
use crate::log::{LogView, Reader};
use crate::state::conversation::ReadTo;
use crate::state::reads::Plan;
use crate::update::Unread;

impl Engine {
    pub(crate) fn read_to(&mut self, peer: u32, conversation: u32, number: u64) {
        let Some(member) = self.conversations[conversation].members.get_mut(&peer) else { return };
        let read = member.read_to(number);
        self.note_read(peer, conversation, read);
    }

    fn note_read(&mut self, peer: u32, conversation: u32, read: ReadTo) {
        match read {
            ReadTo::Nothing => return,
            ReadTo::Done => {}
            ReadTo::Recount { after, to, summed } => self.plan_recount(peer, conversation, (after, to), summed),
        }
        self.peers[peer].dirty = true;
        self.mark_dirty(peer);
    }

    /// Plans a look into the log for what does not count as unread after the first number, up to the second.
    fn plan_recount(&mut self, peer: u32, slot: u32, (after, to): (u64, u64), summed: u64) {
        let who = self.reader(peer);
        let conversation = &self.conversations[slot];
        let Some(member) = conversation.members.get(&peer) else { return };
        let spans = member.ranges(conversation.last_number).collect();
        let view = LogView { last: to, ..conversation.view(slot) };
        self.reads.plan(Plan::Recount { view, who, spans, after, summed });
    }

    /// What does not count as unread was counted, or could not be.
    pub(crate) fn recounted(&mut self, view: &LogView, who: &Reader, after: u64, summed: u64, count: Option<u64>) {
        let slot = self.conversations.by_number(view.conversation);
        let Some((slot, peer)) = slot.zip(self.peers.by_number(who.number)) else { return };
        let Some(member) = self.conversations[slot].members.get_mut(&peer) else { return };
        let read = member.recounted(after, summed, count);
        self.note_read(peer, slot, read);
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

    /// How many messages a peer has not read in one conversation.
    pub(crate) fn unread_in(&self, peer: u32, slot: u32) -> u64 {
        let conversation = &self.conversations[slot];
        if conversation.kind == ConversationKind::Room {
            return 0;
        }
        let count = |member: &crate::state::conversation::Member| {
            let lost = conversation.lost.count(member.read + 1, conversation.last_number);
            member.unread(conversation.last_number).saturating_sub(lost)
        };
        conversation.members.get(&peer).map_or(0, count)
    }

    /// How many messages a peer has not read in all conversations.
    pub(crate) fn badge(&self, peer: u32) -> u64 {
        self.peers[peer].conversations.iter().map(|slot| self.unread_in(peer, *slot)).sum()
    }
}
