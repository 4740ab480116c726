//! History: pages of one log for its members, and of everything for the host.

use crate::config::HistoryScope;
use crate::conversation::ConversationKind;
use crate::engine::Engine;
use crate::error::Error;
use crate::id::{ConversationId, PeerId, Ticket};
use crate::log::Found;
use crate::page::Page;
use crate::state::accepted::INDEX_ENTRY;
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
        let who = Some(self.reader(actor.peer));
        let view = conversation.view(slot);
        self.reads.plan(Plan::History { actor, who, view, spans, page });
        Ok(())
    }

    pub(crate) fn give_page(&mut self, actor: Actor, slot: u32, found: Vec<Found>, more: bool) {
        let messages = found.into_iter().filter_map(|found| self.share(slot, found)).collect();
        self.reply(actor, Reply::History { messages, more });
    }

    pub(crate) fn give_scope(&mut self, actor: Actor, found: Vec<(u64, Found)>, more: bool) {
        let messages = found
            .into_iter()
            .filter_map(|(conversation, found)| self.share(self.conversations.by_number(conversation)?, found));
        let messages = messages.collect();
        self.reply(actor, Reply::History { messages, more });
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
    /// accepted. The bounds of the page count by time alone. Answered by [`Event::Answered`](crate::Event::Answered).
    ///
    /// # Errors
    /// [`Error::OverLimit`] for the page's limit.
    pub fn history_by(&mut self, sender: Option<&PeerId>, page: Page, now: Timestamp) -> Result<Ticket, Error> {
        self.advance(now);
        self.may_answer()?;
        self.check_page(&page)?;
        let sender = sender.map(|peer| self.peers.find(peer).map_or(u64::MAX, |slot| self.peers[slot].number));
        let actor = self.host_actor(0);
        // What is not durable yet is not in the store either: it is left out, as if it was asked for a moment earlier.
        let scope = Scope { sender, page, recent: self.durable_entries(self.index.entries.clone()) };
        self.reads.plan(Plan::Scope { actor, scope });
        Ok(actor.ticket)
    }

    fn durable_entries(&self, mut entries: Vec<u64>) -> Vec<u64> {
        let is_durable = |entry: &[u64]| match *entry {
            [_, _, conversation, number, _] => self
                .conversations
                .by_number(conversation)
                .is_some_and(|slot| number <= self.conversations[slot].durable_number),
            _ => false,
        };
        let durable = entries.chunks_exact(INDEX_ENTRY).filter(|entry| is_durable(entry)).count();
        // Commits come in order, and so does what they make durable.
        entries.truncate(durable * INDEX_ENTRY);
        entries
    }
}
