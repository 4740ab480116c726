//! Membership: join, leave, invite, kick, and who is in a room.

use crate::conversation::ConversationKind;
use crate::engine::Engine;
use crate::error::Error;
use crate::id::{ConversationId, PeerId};
use crate::signature::{Action, Signature};
use crate::state::actor::Actor;
use crate::update::Reply;

impl Engine {
    /// Joins a group, or enters a room.
    pub(crate) fn join(
        &mut self,
        actor: Actor,
        id: &ConversationId,
        signature: Option<&Signature>,
    ) -> Result<(), Error> {
        let me = self.peers[actor.peer].id.clone();
        let nonce = self.check_group_signature(actor, &Action::Join { peer: &me, group: id }, signature)?;
        let slot = self.conversation_named(id)?;
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
    pub(crate) fn leave(&mut self, actor: Actor, id: &ConversationId) -> Result<(), Error> {
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
    pub(crate) fn invite(
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
        self.check_new_peers(actor, &peers)?;
        self.use_up(nonce);
        let invited = self.make_peers(actor, &peers);
        let joined = self.add_members(slot, &invited);
        self.reply(actor, Reply::Invited { conversation: id.clone(), peers });
        self.tell_joined(actor, slot, &joined);
        Ok(())
    }

    /// Puts members out of a group.
    pub(crate) fn kick(
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
        let found = self.conversation_named(id)?;
        // Anyone can know that a room is one: it is joined by its id.
        self.conversations[found].may_change_members().or_else(|error| match self.conversations[found].kind {
            ConversationKind::Room => Err(error),
            _ => self.conversation_of(actor.peer, id).and(Err(error)),
        })?;
        let slot = self.conversation_of(actor.peer, id)?;
        let max = match self.config.members_max {
            0 => usize::MAX,
            max => max.max(self.config.watched_per_request_max),
        };
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

    // Stage.

    // Emit.
}
