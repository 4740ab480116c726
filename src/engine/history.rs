//! History: pages of one log for its members, and of everything for the host.

use std::ops::ControlFlow;

use crate::config::HistoryScope;
use crate::conversation::ConversationKind;
use crate::cursor::Runs;
use crate::error::Error;
use crate::id::{ConversationId, PeerId, Ticket};
use crate::keys;
use crate::log::{Found, LogReader, LogView};
use crate::output::Reply;
use crate::record::{self, Kind};
use crate::request::{Order, Page};
use crate::store::{Direction, Store, StoreError};
use crate::time::Timestamp;

use super::commit::INDEX_ENTRY;
use super::read::{Plan, Reads};
use super::{Actor, Engine};

/// A page of what was accepted in the whole application, or by one sender.
#[derive(Debug)]
pub(super) struct Scope {
    /// The sender's permanent number.
    sender: Option<u64>,
    page: Page,
    /// Entries that are not in the index rows yet, oldest first.
    recent: Vec<u64>,
}

impl Scope {
    /// The messages in the page's order, each with its conversation's number.
    pub(super) fn read(
        &self,
        reader: &mut LogReader<'_>,
        store: &dyn Store,
    ) -> Result<(Vec<(u64, Found)>, bool), StoreError> {
        let (wanted, more) = self.select(reader, store)?;
        let mut found = Vec::with_capacity(wanted.len());
        for [conversation, number] in wanted {
            let view = LogView::durable(conversation, number);
            if let Some(message) = reader.one(&view, number)? {
                found.push((conversation, message));
            }
        }
        Ok((found, more))
    }

    /// Conversation and number of each message of the page, and whether there are more.
    fn select(&self, reader: &mut LogReader<'_>, store: &dyn Store) -> Result<(Vec<[u64; 2]>, bool), StoreError> {
        let mut wanted = Vec::new();
        let (rows, newest_first) = (keys::all(b'i'), self.page.order == Order::NewestFirst);
        if newest_first {
            self.take(&self.recent, &mut wanted);
        }
        let direction = if newest_first { Direction::Descending } else { Direction::Ascending };
        store.scan(&rows.start[..]..&rows.end[..], direction, &mut |key, row| {
            match record::open::<Vec<u64>>(Kind::Index, key, row) {
                Ok(entries) => self.take(&entries, &mut wanted),
                Err(error) => reader.damaged.push(error),
            }
            if wanted.len() > self.page.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if !newest_first {
            self.take(&self.recent, &mut wanted);
        }
        let more = wanted.len() > self.page.limit;
        wanted.truncate(self.page.limit);
        Ok((wanted, more))
    }

    /// Takes what the page wants of some entries, in its order, up to one more than it may have.
    fn take(&self, entries: &[u64], wanted: &mut Vec<[u64; 2]>) {
        let mut entries: Vec<&[u64]> = entries.chunks_exact(INDEX_ENTRY).collect();
        if self.page.order == Order::NewestFirst {
            entries.reverse();
        }
        for entry in entries {
            let &[_, at, conversation, number, sender] = entry else { continue };
            let inside = self.is_inside(Timestamp::from_millis(at));
            let is_senders = self.sender.is_none_or(|wanted| wanted == sender);
            if inside && is_senders && wanted.len() <= self.page.limit {
                wanted.push([conversation, number]);
            }
        }
    }

    /// Whether a time lies within the page's bounds; ids are told apart once the messages are read.
    fn is_inside(&self, at: Timestamp) -> bool {
        let (older, newer) = match self.page.order {
            Order::NewestFirst => (self.page.end, self.page.start),
            Order::OldestFirst => (self.page.start, self.page.end),
        };
        older.is_none_or(|bound| if bound.included { at >= bound.timestamp } else { at > bound.timestamp })
            && newer.is_none_or(|bound| if bound.included { at <= bound.timestamp } else { at < bound.timestamp })
    }
}

impl Engine {
    /// A page of a conversation's log, for a member.
    pub(super) fn history(&mut self, actor: Actor, id: &ConversationId, page: Page) -> Result<(), Error> {
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

    fn check_page(&self, page: &Page) -> Result<(), Error> {
        let max = self.config.history_page_max;
        if page.limit == 0 || page.limit > max {
            return Err(Error::OverLimit { limit: "history_page_max", max: max as u64 });
        }
        if self.reads.is_full() {
            return Err(Error::OverLimit { limit: "reads waiting", max: Reads::MAX as u64 });
        }
        Ok(())
    }

    pub(super) fn give_page(&mut self, actor: Actor, slot: u32, found: Vec<Found>, more: bool) {
        let messages = found.into_iter().filter_map(|found| self.share(slot, found)).collect();
        self.reply(actor, Reply::History { messages, more });
    }

    pub(super) fn give_scope(&mut self, actor: Actor, found: Vec<(u64, Found)>, more: bool) {
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

impl LogView {
    /// What the store has of a log, for reading one known number.
    fn durable(conversation: u64, number: u64) -> Self {
        Self {
            slot: 0,
            conversation,
            first: 1,
            durable: number,
            tail: Vec::new(),
            last: number,
            deleted: Runs::default(),
        }
    }
}
