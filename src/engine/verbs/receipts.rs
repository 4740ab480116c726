//! What was received and read, and what is not read yet.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::error::Error;
use crate::id::{ConversationId, MessageId};
use crate::log::LogView;
use crate::state::actor::Actor;
use crate::state::owed::Arrived;
use crate::state::reads::{Plan, WALK};
use crate::update::Reply;

/// Ids in one acknowledgement that count.
const IDS_MAX: usize = 1_000;

impl Engine {
    /// A device has received messages. The cursor moves over what has no hole; unknown ids are ignored.
    pub(crate) fn acknowledge(&mut self, actor: Actor, ids: &[MessageId], read: bool) -> Result<(), Error> {
        let Some(session) = actor.session else { return Err(Error::SessionRequired) };
        if ids.len() > IDS_MAX {
            return Err(Error::OverLimit { limit: "ids in one acknowledgement", max: IDS_MAX as u64 });
        }
        let mut received_to = 0;
        for id in ids {
            let Some((slot, at)) = self.locate(session.slot, id) else { continue };
            let conversation = &self.conversations[slot];
            // Nobody can have received what was not released.
            let released = at.number <= conversation.durable_number;
            let is_theirs = conversation.members.contains_key(&actor.peer);
            if !released || !is_theirs {
                continue;
            }
            received_to = at.position.max(received_to);
            let first = !self.peers[actor.peer].has_received(slot, at.number);
            self.acknowledge_range(session.slot, slot, at.number, at.number);
            self.sessions[session.slot].details.given.remove(id);
            if first && let Some(sender) = at.receipt_to.filter(|sender| *sender != actor.peer) {
                let arrived = Arrived { number: at.number, id: *id, at: self.stamp() };
                self.tell_receipt(sender, actor.peer, slot, arrived);
            }
            if read {
                self.read_to(actor.peer, slot, at.number);
            }
        }
        self.acknowledge_copies(session.slot, received_to);
        Ok(())
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
            (None, _) => Ok(last),
            (Some(id), Some(session)) => {
                self.locate(session.slot, &id).filter(|(at, _)| *at == slot).map(|(_, at)| at.number).ok_or(id)
            }
            (Some(id), None) => {
                self.recent.find(&id).filter(|at| at.conversation == conversation).map(|at| at.number).ok_or(id)
            }
        };
        match number {
            Ok(number) => self.read_to(actor.peer, slot, number),
            // Its log knows it, if anyone does.
            Err(id) => {
                self.may_read()?;
                self.reads.plan(Plan::Find { actor, view: self.conversations[slot].view(slot), id });
            }
        }
        Ok(())
    }

    /// The log was searched for the message up to which was read.
    pub(crate) fn read_found(&mut self, actor: Actor, view: &LogView, number: Option<u64>) {
        let error = match number {
            _ if !self.is_of(view) => Error::ConversationExpired,
            Some(number) => return self.read_to(actor.peer, view.slot, number),
            None => Error::MessageNotFound,
        };
        self.reply_now(actor, Err(error));
    }

    /// What the session's peer has not read, sorted by conversation id.
    pub(crate) fn unread(&mut self, actor: Actor) -> Result<(), Error> {
        if self.peers[actor.peer].conversations.len() > WALK {
            self.may_read()?;
            self.peers[actor.peer].pinned += 1;
            self.reads.plan(Plan::ListUnread { actor, after: None, listed: BTreeMap::new() });
            return Ok(());
        }
        let unread = self.unread_of(actor.peer);
        self.reply(actor, Reply::Unread(unread));
        Ok(())
    }
}
