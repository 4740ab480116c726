//! Members come and go, and everyone concerned is told.

use crate::engine::Engine;
use crate::id::PeerId;
use crate::state::actor::Actor;
use crate::state::conversation::Member;
use crate::update::{MembershipChange, Update};

impl Engine {
    /// Makes peers members; returns those who were not.
    pub(crate) fn add_members(&mut self, slot: u32, peers: &[u32]) -> Vec<u32> {
        let new: Vec<u32> = peers.iter().copied().filter(|peer| !self.conversations[slot].has_member(*peer)).collect();
        self.conversations.forget_set(slot);
        for &peer in &new {
            self.persist_peer(peer);
            let conversation = &mut self.conversations[slot];
            let last = conversation.last_number;
            let dropped = match conversation.members.get_mut(&peer) {
                Some(member) => member.rejoin(last),
                None => {
                    conversation.members.insert(peer, Member::joined_after(last));
                    None
                }
            };
            conversation.active += 1;
            self.peers[peer].groups += 1;
            self.peers[peer].enter_group(slot);
            self.peers[peer].dirty = true;
            self.skip_to(peer, slot, last);
            self.write_member(slot, peer);
            if let Some((first, last)) = dropped {
                self.peers[peer].drop_span(slot, first, last);
                // Where the first span begins was how far it had read, as long as nothing else was written.
                self.write_peer(peer);
            }
            self.mark_dirty(peer);
        }
        self.members_changed(slot, !new.is_empty());
        new
    }

    /// Ends memberships. What was accepted before still waits for those who left.
    pub(crate) fn remove_members(&mut self, slot: u32, peers: &[u32]) {
        self.conversations.forget_set(slot);
        let now = self.host_time.shown();
        for &peer in peers {
            let conversation = &mut self.conversations[slot];
            let last = conversation.last_number;
            if let Some(member) = conversation.members.get_mut(&peer) {
                member.leave(last, now);
                conversation.active -= 1;
            }
            self.peers[peer].groups = self.peers[peer].groups.saturating_sub(1);
            self.former.entry(now).or_default().push((slot, peer));
            self.write_member(slot, peer);
        }
        self.members_changed(slot, !peers.is_empty());
    }

    fn members_changed(&mut self, slot: u32, changed: bool) {
        self.conversations.note_set(slot);
        if changed {
            let now = self.host_time.shown();
            let conversation = &mut self.conversations[slot];
            conversation.names = None;
            conversation.reach = None;
            conversation.updated_at = now.max(conversation.updated_at);
            self.write_conversation(slot);
        }
    }

    /// Tells everyone in a group who has come: the newcomers themselves, and the others.
    pub(crate) fn tell_joined(&mut self, actor: Actor, slot: u32, joined: &[u32]) {
        self.tell_change(actor, slot, joined, MembershipChange::Joined, MembershipChange::MembersJoined);
    }

    pub(crate) fn tell_left(&mut self, actor: Actor, slot: u32, left: &[u32]) {
        self.tell_change(actor, slot, left, MembershipChange::Left, MembershipChange::MembersLeft);
    }

    fn tell_change(
        &mut self,
        actor: Actor,
        slot: u32,
        whom: &[u32],
        own: MembershipChange,
        others: impl FnOnce(Vec<PeerId>) -> MembershipChange,
    ) {
        if whom.is_empty() {
            return;
        }
        let conversation = &self.conversations[slot];
        let (id, kind) = (conversation.id.clone(), conversation.kind);
        let by = self.peers[actor.peer].id.clone();
        let change = |change| Update::Membership { conversation: id.clone(), kind, change, by: by.clone() };
        let mut names: Vec<PeerId> = whom.iter().map(|peer| self.peers[*peer].id.clone()).collect();
        names.sort_unstable();
        let rest = conversation.active_members().filter(|peer| !whom.contains(peer)).collect::<Vec<_>>();
        self.notify(whom, actor.session, change(own));
        self.notify(&rest, actor.session, change(others(names)));
    }
}
