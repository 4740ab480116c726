//! Walks through all conversations of a peer, a bounded number in each step: anyone may write to a peer, so that there is no
//! bound to how many it is in. Between two steps others go on.

use std::collections::BTreeMap;

use crate::conversation::ConversationInfo;
use crate::engine::Engine;
use crate::id::ConversationId;
use crate::log::Part;
use crate::output::SessionRef;
use crate::state::actor::Actor;
use crate::state::reads::{Plan, WALK};
use crate::update::{Reply, Unread};

impl Engine {
    /// One step of gathering what waits for a session that has opened; its reads follow the last one.
    pub(crate) fn gather_on(&mut self, session: SessionRef, head: u64, after: Option<u32>, mut parts: Vec<Part>) {
        if !self.is_reading(session) {
            return;
        }
        let peer = self.sessions[session.slot].peer;
        let step = self.peers[peer].conversations_after(after, WALK).to_vec();
        self.parts_in(peer, session.slot, None, &step, &mut parts);
        match step.last().filter(|_| step.len() == WALK) {
            Some(last) => self.reads.plan(Plan::Gather { session, head, after: Some(*last), parts }),
            None => self.read_backlog(session, head, parts),
        }
    }

    /// One step of listing an actor's conversations.
    pub(crate) fn list_on(
        &mut self,
        actor: Actor,
        after: Option<u32>,
        mut listed: BTreeMap<ConversationId, ConversationInfo>,
    ) {
        let step = self.peers[actor.peer].conversations_after(after, WALK).to_vec();
        for &slot in step.iter().filter(|slot| self.conversations[**slot].has_member(actor.peer)).collect::<Vec<_>>() {
            let info = self.info(slot);
            listed.insert(info.id.clone(), info);
        }
        match step.last().filter(|_| step.len() == WALK) {
            Some(last) => self.reads.plan(Plan::List { actor, after: Some(*last), listed }),
            None => self.end_walk(actor, Reply::Conversations(listed.into_values().collect())),
        }
    }

    /// One step of listing what an actor has not read.
    pub(crate) fn list_unread_on(
        &mut self,
        actor: Actor,
        after: Option<u32>,
        mut listed: BTreeMap<ConversationId, Unread>,
    ) {
        let step = self.peers[actor.peer].conversations_after(after, WALK).to_vec();
        for &slot in &step {
            let count = self.unread_in(actor.peer, slot);
            if count > 0 {
                let conversation = self.conversations[slot].id.clone();
                listed.insert(conversation.clone(), Unread { conversation, count });
            }
        }
        match step.last().filter(|_| step.len() == WALK) {
            Some(last) => self.reads.plan(Plan::ListUnread { actor, after: Some(*last), listed }),
            None => self.end_walk(actor, Reply::Unread(listed.into_values().collect())),
        }
    }

    /// A walk that took several steps kept its peer in memory.
    fn end_walk(&mut self, actor: Actor, reply: Reply) {
        self.reply(actor, reply);
        self.unpin(actor.peer);
    }
}
