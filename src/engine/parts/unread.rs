//! What is not read yet.

use crate::conversation::ConversationKind;
use crate::engine::Engine;
use crate::log::{LogView, Reader};
use crate::state::conversation::ReadTo;
use crate::state::reads::{Plan, WALK};
use crate::update::Unread;

impl Engine {
    pub(crate) fn read_to(&mut self, peer: u32, conversation: u32, number: u64) {
        let before = self.kept_unread(peer, conversation);
        let Some(member) = self.conversations[conversation].members.get_mut(&peer) else { return };
        let read = member.read_to(number);
        self.keep_unread(peer, conversation, before);
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
        let before = self.kept_unread(peer, slot);
        let Some(member) = self.conversations[slot].members.get_mut(&peer) else { return };
        let read = member.recounted(after, summed, count);
        self.keep_unread(peer, slot, before);
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

    /// How many messages a peer has not read in one conversation, of those that it can still read.
    pub(crate) fn unread_in(&self, peer: u32, slot: u32) -> u64 {
        if self.has_ended(slot) { 0 } else { self.counted_in(peer, slot) }
    }

    /// The same as the sums have it: an ended conversation counts until its end was noticed.
    fn counted_in(&self, peer: u32, slot: u32) -> u64 {
        let conversation = &self.conversations[slot];
        if conversation.kind == ConversationKind::Room || conversation.has_lapsed {
            return 0;
        }
        let count = |member: &crate::state::conversation::Member| {
            let (first, last) = (conversation.first_number, conversation.last_number);
            let lost = conversation.lost.count(first.max(member.read + 1), last);
            member.unread(first, last).saturating_sub(lost)
        };
        conversation.members.get(&peer).filter(|member| member.is_active()).map_or(0, count)
    }

    /// How many messages a peer has not read in all conversations. What is direct may be kept, for anyone may make more
    /// of it; groups are summed each time, for there a send has no look at each member.
    pub(crate) fn badge(&self, peer: u32) -> u64 {
        let direct = self.peers[peer].direct_unread().unwrap_or_else(|| self.sum_direct_unread(peer));
        direct + self.peers[peer].in_groups().iter().map(|slot| self.unread_in(peer, *slot)).sum::<u64>()
    }

    /// The same, for whom it is asked often: what is direct is kept from here on.
    pub(crate) fn keep_badge(&mut self, peer: u32) -> u64 {
        if self.peers[peer].direct_unread().is_none() {
            let direct = self.sum_direct_unread(peer);
            self.peers[peer].keep_direct_unread(direct);
        }
        let badge = self.badge(peer);
        debug_assert!(
            self.peers[peer].conversations.len() > WALK
                || self.peers[peer].direct_unread() == Some(self.sum_direct_unread(peer))
        );
        badge
    }

    fn sum_direct_unread(&self, peer: u32) -> u64 {
        let held = &self.peers[peer];
        let direct = held.conversations.iter().filter(|slot| held.in_groups().binary_search(slot).is_err());
        direct.map(|slot| self.counted_in(peer, *slot)).sum()
    }

    /// What a peer has not read in a conversation, where that is part of a sum that is kept.
    pub(crate) fn kept_unread(&self, peer: u32, slot: u32) -> Option<u64> {
        let is_kept = self.peers[peer].direct_unread().is_some();
        let is_direct = self.conversations.get(slot).is_some_and(|held| held.kind.has_fixed_members());
        (is_kept && is_direct).then(|| self.counted_in(peer, slot))
    }

    /// A conversation is over: what was not read in it leaves the sums, though its rows may still have to wait.
    pub(crate) fn lapse(&mut self, slot: u32) {
        if self.conversations[slot].has_lapsed {
            return;
        }
        let members = self.conversations[slot].members.keys();
        let kept: Vec<_> = members.filter_map(|peer| Some((*peer, self.kept_unread(*peer, slot)?))).collect();
        kept.into_iter().for_each(|(peer, unread)| self.peers[peer].change_direct_unread(unread, 0));
        self.conversations[slot].has_lapsed = true;
    }

    /// Brings the sum that is kept up to what a change made of `before`.
    pub(crate) fn keep_unread(&mut self, peer: u32, slot: u32, before: Option<u64>) {
        if let Some(before) = before {
            let after = self.counted_in(peer, slot);
            self.peers[peer].change_direct_unread(before, after);
        }
    }
}
