//! Membership: join, leave, invite, kick, and who is in a room.

use crate::conversation::{ConversationKind, Member};
use crate::error::Error;
use crate::id::{ConversationId, PeerId};
use crate::output::{MembershipChange, Reply, Update};
use crate::signature::{Action, Signature, UsedNonce};

use super::{Actor, Engine};

impl Engine {
    /// Joins a group, or enters a room.
    pub(super) fn join(
        &mut self,
        actor: Actor,
        id: &ConversationId,
        signature: Option<&Signature>,
    ) -> Result<(), Error> {
        let me = self.peers[actor.peer].id.clone();
        let nonce = self.check_group_signature(actor, &Action::Join { peer: &me, group: Some(id) }, signature)?;
        let slot = self.conversations.find(id).ok_or_else(|| self.unknown_conversation(id))?;
        let is_room = self.conversations[slot].kind == ConversationKind::Room;
        if is_room && actor.session.is_none() {
            return Err(Error::SessionRequired);
        }
        if !is_room {
            self.conversations[slot].may_change_members().map_err(|_| Error::no_target())?;
            if !self.conversations[slot].has_member(actor.peer) {
                self.check_new_members(slot, &[actor.peer], 1)?;
                self.may_stage()?;
            }
        }
        self.use_up(nonce);
        let reply = Reply::Joined { conversation: id.clone() };
        if let (true, Some(session)) = (is_room, actor.session) {
            self.enter_room(session.slot, slot);
            self.reply(actor, reply);
            return Ok(());
        }
        let joined = self.add_members(slot, &[actor.peer]);
        self.reply(actor, reply);
        self.tell_joined(actor, slot, &joined);
        Ok(())
    }

    /// Leaves a group or a room. Needs no signature.
    pub(super) fn leave(&mut self, actor: Actor, id: &ConversationId) -> Result<(), Error> {
        let slot = self.conversation_of(actor.peer, id)?;
        let reply = Reply::Left { conversation: id.clone() };
        if self.conversations[slot].kind == ConversationKind::Room {
            let session = actor.session.filter(|_| self.is_present(actor, slot)).ok_or(Error::no_target())?;
            self.exit_room(session.slot, slot);
            self.sessions[session.slot].room = None;
            self.reply(actor, reply);
            return Ok(());
        }
        self.conversations[slot].may_change_members()?;
        self.may_stage()?;
        self.remove_members(slot, &[actor.peer]);
        self.reply(actor, reply);
        self.tell_left(actor, slot, &[actor.peer]);
        Ok(())
    }

    /// Brings peers into a group.
    pub(super) fn invite(
        &mut self,
        actor: Actor,
        id: &ConversationId,
        peers: &[PeerId],
        signature: Option<&Signature>,
    ) -> Result<(), Error> {
        let (slot, peers) = self.check_change(actor, id, peers)?;
        let me = self.peers[actor.peer].id.clone();
        let action = Action::Invite { peer: &me, group: id, peers: &peers };
        let nonce = self.check_group_signature(actor, &action, signature)?;
        let known: Vec<u32> = peers.iter().filter_map(|peer| self.peers.find(peer)).collect();
        let already = known.iter().filter(|peer| self.conversations[slot].has_member(**peer)).count();
        self.check_new_members(slot, &known, peers.len() - already)?;
        self.check_new_peers(&peers)?;
        self.use_up(nonce);
        let invited: Vec<u32> = peers.iter().map(|peer| self.peers.intern(peer)).collect();
        let joined = self.add_members(slot, &invited);
        self.reply(actor, Reply::Invited { conversation: id.clone(), peers });
        self.tell_joined(actor, slot, &joined);
        Ok(())
    }

    /// Puts members out of a group.
    pub(super) fn kick(
        &mut self,
        actor: Actor,
        id: &ConversationId,
        peers: &[PeerId],
        signature: Option<&Signature>,
    ) -> Result<(), Error> {
        let (slot, peers) = self.check_change(actor, id, peers)?;
        let me = self.peers[actor.peer].id.clone();
        let action = Action::Kick { peer: &me, group: id, peers: &peers };
        let nonce = self.check_group_signature(actor, &action, signature)?;
        let is_other_member = |peer: &PeerId| {
            let known = self.peers.find(peer).filter(|known| *known != actor.peer);
            known.is_some_and(|known| self.conversations[slot].has_member(known))
        };
        let wrong: Vec<PeerId> = peers.iter().filter(|peer| !is_other_member(peer)).cloned().collect();
        if !wrong.is_empty() {
            return Err(Error::InvalidTarget { peers: wrong });
        }
        self.use_up(nonce);
        let kicked: Vec<u32> = peers.iter().filter_map(|peer| self.peers.find(peer)).collect();
        self.remove_members(slot, &kicked);
        self.reply(actor, Reply::Kicked { conversation: id.clone(), peers });
        self.tell_left(actor, slot, &kicked);
        Ok(())
    }

    // Check.

    /// What inviting and kicking have in common: a group that the actor is in, and a list of peers, sorted.
    fn check_change(
        &mut self,
        actor: Actor,
        id: &ConversationId,
        peers: &[PeerId],
    ) -> Result<(u32, Vec<PeerId>), Error> {
        let found = self.conversations.find(id).ok_or_else(|| self.unknown_conversation(id))?;
        // Anyone can know that a room is one: it is joined by its id.
        self.conversations[found].may_change_members().or_else(|error| match self.conversations[found].kind {
            ConversationKind::Room => Err(error),
            _ => self.conversation_of(actor.peer, id).and(Err(error)),
        })?;
        let slot = self.conversation_of(actor.peer, id)?;
        let max = self.config.watched_per_request_max.max(self.config.members_max);
        if peers.is_empty() || peers.len() > max {
            return Err(Error::OverLimit { limit: "members_max", max: max as u64 });
        }
        self.check_ids(peers)?;
        self.may_stage()?;
        let mut sorted = peers.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        Ok((slot, sorted))
    }

    /// A conversation that a peer is in; a room is open to anyone. Unknown and forbidden look the same.
    pub(super) fn conversation_of(&self, peer: u32, id: &ConversationId) -> Result<u32, Error> {
        let slot = self.conversations.find(id).ok_or_else(|| self.unknown_conversation(id))?;
        self.conversations[slot].may_send(peer)?;
        Ok(slot)
    }

    /// Why a conversation that is not there is not there.
    pub(super) fn unknown_conversation(&self, id: &ConversationId) -> Error {
        if id.as_str().starts_with("_tmp:") { Error::ConversationExpired } else { Error::no_target() }
    }

    /// Whether `new` more members fit, and whether each of `known` may be in another group.
    pub(super) fn check_new_members(&self, slot: u32, known: &[u32], new: usize) -> Result<(), Error> {
        let max = self.config.members_max;
        if max > 0 && self.conversations[slot].active + new > max {
            return Err(Error::ConversationFull);
        }
        self.check_groups(known.iter().copied().filter(|peer| !self.conversations[slot].has_member(*peer)))
    }

    /// Whether each of some peers may be in another group.
    pub(super) fn check_groups(&self, mut peers: impl Iterator<Item = u32>) -> Result<(), Error> {
        let max = self.config.groups_max;
        if peers.any(|peer| self.peers[peer].groups as usize >= max) {
            return Err(Error::OverLimit { limit: "groups_max", max: max as u64 });
        }
        Ok(())
    }

    /// Whether memory has room for those of `peers` that are new.
    pub(super) fn check_new_peers(&self, peers: &[PeerId]) -> Result<(), Error> {
        let new = peers.iter().filter(|peer| self.peers.find(peer).is_none()).count();
        if self.peers.len() + new > self.config.peers_max {
            return Err(Error::OverLimit { limit: "peers_max", max: self.config.peers_max as u64 });
        }
        Ok(())
    }

    /// The signature of a group action, where they are on.
    pub(super) fn check_group_signature(
        &mut self,
        actor: Actor,
        action: &Action<'_>,
        signature: Option<&Signature>,
    ) -> Result<Option<UsedNonce>, Error> {
        if !self.config.signatures.groups || actor.session.is_none() {
            return Ok(None);
        }
        let me = self.peers[actor.peer].id.clone();
        let verified = self.verify(action, signature, &me);
        verified.map(|(nonce, _)| Some(nonce)).ok_or(Error::ConversationSignatureFailed)
    }

    pub(super) fn use_up(&mut self, nonce: Option<UsedNonce>) {
        if let Some(nonce) = nonce {
            self.use_nonce(nonce);
        }
    }

    // Stage.

    /// Makes peers members; returns those who were not.
    pub(super) fn add_members(&mut self, slot: u32, peers: &[u32]) -> Vec<u32> {
        let new: Vec<u32> = peers.iter().copied().filter(|peer| !self.conversations[slot].has_member(*peer)).collect();
        self.conversations.forget_set(slot);
        for &peer in &new {
            self.persist_peer(peer);
            let conversation = &mut self.conversations[slot];
            let last = conversation.last_number;
            conversation
                .members
                .entry(peer)
                .and_modify(|member| member.rejoin(last))
                .or_insert_with(|| Member::joined_after(last));
            conversation.active += 1;
            self.peers[peer].groups += 1;
            self.peers[peer].enter(slot);
            self.peers[peer].dirty = true;
            self.skip_to(peer, slot, last);
            self.write_member(slot, peer);
            self.mark_dirty(peer);
        }
        self.members_changed(slot, !new.is_empty());
        new
    }

    /// A new member's devices have nothing to receive of what was before: their cursors start here, unless something from an
    /// earlier membership still waits.
    fn skip_to(&mut self, peer: u32, slot: u32, last: u64) {
        let waits = self.conversations[slot].members.get(&peer).is_some_and(|member| member.spans.len() > 1);
        if waits {
            return;
        }
        for device in &mut self.peers[peer].devices {
            device.cursors.insert(slot, crate::cursor::Cursor::at(last));
            device.dirty = true;
        }
    }

    /// Ends memberships. What was accepted before still waits for those who left.
    fn remove_members(&mut self, slot: u32, peers: &[u32]) {
        self.conversations.forget_set(slot);
        let now = self.now;
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
            let now = self.now;
            let conversation = &mut self.conversations[slot];
            conversation.names = None;
            conversation.reach = None;
            conversation.updated_at = now;
            self.write_conversation(slot);
        }
    }

    /// Puts a session into a room; it leaves the one it was in.
    pub(super) fn enter_room(&mut self, session: u32, slot: u32) {
        if let Some(before) = self.sessions[session].room.replace(slot) {
            self.exit_room(session, before);
        }
        self.conversations[slot].present.insert(session);
        self.conversations[slot].reach = None;
    }

    /// Takes a session out of a room's audience; which room it belongs to is not touched.
    pub(super) fn exit_room(&mut self, session: u32, slot: u32) {
        if self.conversations.get(slot).is_some() {
            self.conversations[slot].present.remove(&session);
            self.conversations[slot].reach = None;
        }
    }

    /// Whether the actor's session is in a room.
    pub(super) fn is_present(&self, actor: Actor, slot: u32) -> bool {
        actor.session.is_some_and(|session| self.conversations[slot].present.contains(&session.slot))
    }

    // Emit.

    /// Tells everyone in a group who has come: the newcomers themselves, and the others.
    pub(super) fn tell_joined(&mut self, actor: Actor, slot: u32, joined: &[u32]) {
        self.tell_change(actor, slot, joined, MembershipChange::Joined, MembershipChange::MembersJoined);
    }

    fn tell_left(&mut self, actor: Actor, slot: u32, left: &[u32]) {
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
        let concerned = self.open_sessions(whom.iter().copied());
        let rest = conversation.active_members().filter(|peer| !whom.contains(peer)).collect::<Vec<_>>();
        let rest = self.open_sessions(rest.into_iter());
        self.deliver_to(concerned, actor.session, change(own));
        self.deliver_to(rest, actor.session, change(others(names)));
    }
}
