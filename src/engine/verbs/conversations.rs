//! Conversations: made or found, and what they are.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::conversation::{Attributes, ConversationInfo, ConversationKind};
use crate::engine::Engine;
use crate::error::Error;
use crate::id::{ConversationId, PeerId};
use crate::request::{Create, Shape};
use crate::signature::Action;
use crate::state::actor::Actor;
use crate::state::conversation::{Conversation, MemberSet};
use crate::state::reads::{Plan, WALK};
use crate::update::Reply;

/// How long a temporary conversation lives where nothing is said, unless the settings allow less.
const TEMPORARY: Duration = Duration::from_secs(86_400);

impl Engine {
    /// Makes a conversation, or finds the unique one of its members. The creator is a member without being named.
    pub(crate) fn create(&mut self, actor: Actor, create: Create) -> Result<(), Error> {
        let me = self.peers[actor.peer].id.clone();
        let mut named = create.members.clone();
        named.sort_unstable();
        named.dedup();
        let action = Action::Create { peer: &me, members: &named };
        let nonce = self.check_group_signature(actor, &action, create.signature.as_ref())?;
        let members = self.check_create(actor, &me, &create)?;
        let found = self.find_by_members(&create.shape, &members);
        self.use_up(nonce);
        let (slot, existing) = match found {
            Some(slot) => (slot, true),
            None => (self.stage_create(actor, &create, &members), false),
        };
        if let (Shape::Room, Some(session)) = (create.shape, actor.session) {
            self.enter_room(session.slot, slot);
        }
        let conversation = self.info(slot);
        self.reply(actor, Reply::Created { conversation: Box::new(conversation), existing });
        if !existing && create.shape != Shape::Room {
            // The creator's other devices among them.
            let members: Vec<u32> = self.conversations[slot].active_members().collect();
            self.tell_joined(actor, slot, &members);
        }
        Ok(())
    }

    /// The members that a new conversation is to have, sorted.
    fn check_create(&self, actor: Actor, me: &PeerId, create: &Create) -> Result<Vec<PeerId>, Error> {
        self.may_stage()?;
        self.check_ids(&create.members)?;
        self.check_attributes(create)?;
        if create.shape == Shape::Room {
            self.check_new_room(actor)?;
            return self.check_new_conversation(actor).map(|()| Vec::new());
        }
        let mut members = create.members.clone();
        members.push(me.clone());
        members.sort_unstable();
        members.dedup();
        let max = match create.shape {
            Shape::Temporary(life) => {
                if life > self.config.temporary_max {
                    let max = self.config.temporary_max.as_secs();
                    return Err(Error::OverLimit { limit: "temporary_max", max });
                }
                self.config.temporary_members_max
            }
            Shape::Unique | Shape::Group | Shape::Room => self.config.members_max,
        };
        if max > 0 && members.len() > max {
            return Err(Error::ConversationFull);
        }
        if self.find_by_members(&create.shape, &members).is_some() {
            return Ok(members);
        }
        if !matches!(create.shape, Shape::Temporary(_)) {
            self.check_groups(members.iter().filter_map(|peer| self.peers.find(peer)))?;
        }
        self.check_new_peers(actor, &members)?;
        self.check_new_conversation(actor).map(|()| members)
    }

    /// Whether name and attributes fit their row and are read from there as they are: what is nested too deeply is not.
    fn check_attributes(&self, create: &Create) -> Result<(), Error> {
        let text = serde_json::to_string(&create.attributes).map_err(|_| Error::Unparseable)?;
        let bytes = text.len() + create.name.as_ref().map_or(0, String::len);
        let max = self.config.attributes_bytes_max;
        if bytes > max.max(2) {
            return Err(Error::TooLong { limit: "attributes_bytes_max", max: max as u64 });
        }
        serde_json::from_str::<Attributes>(&text).map(drop).map_err(|_| Error::Unparseable)
    }

    /// The conversation of exactly these members, where the shape is one that is found.
    fn find_by_members(&self, shape: &Shape, members: &[PeerId]) -> Option<u32> {
        let set = match shape {
            Shape::Unique => MemberSet::Unique,
            Shape::Temporary(_) => MemberSet::Temporary,
            Shape::Group | Shape::Room => return None,
        };
        let mut slots = members.iter().map(|peer| self.peers.find(peer)).collect::<Option<Vec<u32>>>()?;
        slots.sort_unstable();
        let is_it = |slot: &u32| self.conversations[*slot].is_exactly(&slots) && !self.has_ended(*slot);
        self.conversations.each_by_set(set, &slots).find(is_it)
    }

    fn stage_create(&mut self, actor: Actor, create: &Create, members: &[PeerId]) -> u32 {
        let (kind, prefix) = match create.shape {
            Shape::Unique | Shape::Group => (ConversationKind::Group, ""),
            Shape::Room => (ConversationKind::Room, ""),
            Shape::Temporary(_) => (ConversationKind::Temporary, "_tmp:"),
        };
        let mut conversation = Conversation::new(self.fresh_conversation_id(prefix), kind, self.host_time.shown());
        conversation.unique = create.shape == Shape::Unique;
        conversation.name = create.name.as_ref().map(|name| self.masked_text(kind, name));
        conversation.attributes = create.attributes.clone();
        conversation.creator = actor.session.is_some().then_some(actor.peer);
        if conversation.creator.is_some() {
            self.persist_peer(actor.peer);
            self.peers[actor.peer].made += 1;
        }
        let peers = self.make_peers(actor, members);
        self.count_made(actor);
        if let Shape::Temporary(life) = create.shape {
            return self.stage_temporary(conversation, &peers, life);
        }
        let slot = self.conversations.insert(conversation);
        match create.shape {
            Shape::Room => {
                if let Some(payers) = self.payers(actor) {
                    self.shares.made_room(payers, self.conversations[slot].number);
                }
                self.write_conversation(slot);
            }
            _ => drop(self.add_members(slot, &peers)),
        }
        slot
    }

    /// A temporary conversation: its members never change, and stand in its own row.
    fn stage_temporary(&mut self, mut conversation: Conversation, peers: &[u32], life: Duration) -> u32 {
        let life = if life.is_zero() { TEMPORARY.min(self.config.temporary_max) } else { life };
        let expires_at = self.host_time.shown() + life;
        conversation.expires_at = Some(expires_at);
        conversation.active = peers.len();
        let member = crate::state::conversation::Member::joined_after(0);
        conversation.members = peers.iter().map(|peer| (*peer, member.clone())).collect();
        let slot = self.conversations.insert(conversation);
        for &peer in peers {
            self.persist_peer(peer);
            self.peers[peer].enter(slot);
        }
        self.wake_at_end(slot, expires_at);
        self.write_conversation(slot);
        slot
    }

    /// The fields of a conversation that the actor is in.
    pub(crate) fn describe(&mut self, actor: Actor, id: &ConversationId) -> Result<(), Error> {
        let slot = self.conversation_of(actor.peer, id)?;
        let info = self.info(slot);
        self.reply(actor, Reply::Conversation(Box::new(info)));
        Ok(())
    }

    /// The groups and other conversations of the actor.
    pub(crate) fn list_conversations(&mut self, actor: Actor) -> Result<(), Error> {
        if self.peers[actor.peer].conversations.len() > WALK {
            self.may_read()?;
            self.peers[actor.peer].pinned += 1;
            self.reads.plan(Plan::List { actor, after: None, listed: BTreeMap::new() });
            return Ok(());
        }
        let held = &self.peers[actor.peer].conversations;
        let is_mine = |slot: &u32| self.conversations[*slot].has_member(actor.peer) && !self.has_ended(*slot);
        let mine: Vec<u32> = held.iter().copied().filter(is_mine).collect();
        let mut infos: Vec<ConversationInfo> = mine.into_iter().map(|slot| self.info(slot)).collect();
        infos.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        self.reply(actor, Reply::Conversations(infos));
        Ok(())
    }

    /// The members of a conversation that the actor is in; a room's are not listed.
    pub(crate) fn members(&mut self, actor: Actor, id: &ConversationId) -> Result<(), Error> {
        let slot = self.conversation_of(actor.peer, id)?;
        if self.conversations[slot].kind == ConversationKind::Room {
            return Err(Error::WrongConversationKind);
        }
        let peers = self.member_names(slot).to_vec();
        self.reply(actor, Reply::Members { conversation: id.clone(), peers });
        Ok(())
    }

    /// How many are in a room, or members of a group.
    pub(crate) fn count(&mut self, actor: Actor, id: &ConversationId) -> Result<(), Error> {
        let slot = self.conversation_of(actor.peer, id)?;
        let count = self.count_in(slot);
        // Who is in a room is in no store; who is a member may be staged.
        if self.conversations[slot].kind == ConversationKind::Room {
            self.reply_now(actor, Ok(Reply::Count(count)));
        } else {
            self.reply(actor, Reply::Count(count));
        }
        Ok(())
    }
}
