//! History: pages of one log for its members, and of everything for the host.

use std::sync::Arc;

use crate::config::HistoryScope;
use crate::conversation::ConversationKind;
use crate::engine::Engine;
use crate::error::Error;
use crate::id::{ConversationId, PeerId, Ticket};
use crate::log::{Found, Reader};
use crate::message::Message;
use crate::page::Page;
use crate::state::actor::Actor;
use crate::state::reads::{Plan, Scope};
use crate::time::Timestamp;
use crate::update::Reply;

impl Engine {
    /// A page of a conversation's log, for a member.
    pub(crate) fn history(&mut self, actor: Actor, id: &ConversationId, page: Page) -> Result<(), Error> {
        let slot = self.conversation_of(actor.peer, id)?;
        let conversation = &self.conversations[slot];
        if conversation.kind == ConversationKind::Room && !self.is_present(actor, slot) {
            return Err(Error::no_target());
        }
        self.check_page(&page)?;
        let spans = match conversation.members.get(&actor.peer) {
            Some(member) if self.config.history == HistoryScope::Membership => {
                member.ranges(conversation.last_number).collect()
            }
            _ => vec![(1, conversation.last_number)],
        };
        let member_in = match (self.config.history, conversation.members.get(&actor.peer)) {
            (HistoryScope::Membership, _) | (_, None) => None,
            (_, Some(member)) => Some(member.ranges(conversation.last_number).collect()),
        };
        let who = Some(Box::new(Reader { member_in, ..self.reader(actor.peer) }));
        let view = conversation.view(slot);
        self.reads.plan(Plan::History { actor, who, view, spans, page });
        Ok(())
    }

    pub(crate) fn give_page(&mut self, actor: Actor, slot: u32, found: Vec<Found>, more: bool) {
        let messages = found.into_iter().filter_map(|found| self.share(slot, found)).collect();
        self.reply(actor, Reply::History { messages, more });
    }

    /// Gives a page of what was accepted. What ended while it was read leaves no hole: the read goes on behind it.
    pub(crate) fn give_scope(&mut self, actor: Actor, scope: Scope, found: Vec<(u64, Found)>, more: bool) {
        let Scope { sender, mut page, given: mut messages, .. } = scope;
        let (before, wanted) = (messages.len(), messages.len() + found.len());
        let last = found.last().map(|(_, found)| (found.timestamp(), found.id()));
        let shared = found
            .into_iter()
            .filter_map(|(conversation, found)| self.share(self.conversations.by_number(conversation)?, found));
        messages.extend(shared);
        match last {
            Some((at, id)) if more && messages.len() < wanted => {
                page = page.after(at, id);
                page.limit -= messages.len() - before;
                self.plan_scope(actor, sender, page, messages);
            }
            _ => self.reply(actor, Reply::History { messages, more }),
        }
    }

    fn plan_scope(&mut self, actor: Actor, sender: Option<u64>, page: Page, given: Vec<Arc<Message>>) {
        // What is not durable yet is not in the store either: it is left out, as if it was asked for a moment earlier.
        let recent = self.durable_entries();
        self.reads.plan(Plan::Scope { actor, scope: Scope { sender, page, recent, given } });
    }

    /// For the host: a page of a conversation's log, whoever its members are. Answered by
    /// [`Event::Answered`](crate::Event::Answered).
    ///
    /// # Errors
    /// [`Error::InvalidTarget`] where there is no such conversation, [`Error::OverLimit`] for the page's limit.
    pub fn history_of(&mut self, id: &ConversationId, page: Page, now: Timestamp) -> Result<Ticket, Error> {
        self.advance(now);
        self.may_answer()?;
        self.check_page(&page)?;
        let slot = self.conversations.find(id).ok_or(Error::no_target())?;
        let actor = self.host_actor(0);
        let view = self.conversations[slot].view(slot);
        let spans = vec![(1, view.last)];
        self.reads.plan(Plan::History { actor, who: None, view, spans, page });
        Ok(actor.ticket)
    }

    /// For the host: a page of what a peer sent, in all conversations, or with `None` of everything that the application
    /// accepted, in the order of (time, id). Answered by [`Event::Answered`](crate::Event::Answered).
    ///
    /// # Errors
    /// [`Error::OverLimit`] for the page's limit.
    pub fn history_by(&mut self, sender: Option<&PeerId>, page: Page, now: Timestamp) -> Result<Ticket, Error> {
        self.advance(now);
        self.may_answer()?;
        self.check_page(&page)?;
        let sender = sender.map(|peer| self.peers.find(peer).map_or(u64::MAX, |slot| self.peers[slot].number));
        let actor = self.host_actor(0);
        self.plan_scope(actor, sender, page, Vec::new());
        Ok(actor.ticket)
    }

    /// What is durable of the entries that the store may not have in index rows.
    fn durable_entries(&self) -> Vec<u64> {
        // What a conversation that ended had was durable, or it would not have ended.
        let is_durable = |entry: &&[u64]| match **entry {
            [_, _, conversation, number, _] => self
                .conversations
                .by_number(conversation)
                .is_none_or(|slot| number <= self.conversations[slot].durable_number),
            _ => false,
        };
        // Commits come in order, and so does what they make durable.
        self.index.unwritten().take_while(is_durable).flatten().copied().collect()
    }
}
