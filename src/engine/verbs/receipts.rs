//! What was received and read, and what is not read yet.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::error::Error;
use crate::id::{ConversationId, MessageId};
use crate::state::actor::Actor;
use crate::state::reads::{Plan, WALK};
use crate::update::{Reply, Update};

/// Ids in one acknowledgement that count.
const IDS_MAX: usize = 1_000;

impl Engine {
    /// A device has received messages. The cursor moves over what has no hole; unknown ids are ignored.
    pub(crate) fn acknowledge(&mut self, actor: Actor, ids: &[MessageId], read: bool) -> Result<(), Error> {
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

    /// Everything up to a message was read, or up to the newest.
    pub(crate) fn mark_read(
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
    pub(crate) fn unread(&mut self, actor: Actor) -> Result<(), Error> {
        if self.peers[actor.peer].conversations.len() > WALK {
            self.may_walk()?;
            self.peers[actor.peer].pinned += 1;
            self.reads.plan(Plan::ListUnread { actor, after: None, listed: BTreeMap::new() });
            return Ok(());
        }
        let unread = self.unread_of(actor.peer);
        self.reply(actor, Reply::Unread(unread));
        Ok(())
    }
}
