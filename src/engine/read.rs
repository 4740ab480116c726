//! Reads of the store: planned inside the engine, done by any thread, given back as an input that takes its place among the
//! outputs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::error::Error;
use crate::log::{self, Found, LogReader, LogView, Missed, Part, Reader};
use crate::message::{Content, Message};
use crate::output::{Event, SessionRef};
use crate::record::RecordError;
use crate::request::Page;
use crate::store::{Store, StoreError};
use crate::time::Timestamp;

use super::history::Scope;
use super::{Actor, Engine};

/// What is to be read.
#[derive(Debug)]
pub(super) enum Plan {
    /// The offline queue of a session that opens.
    Backlog { session: SessionRef, head: u64, who: Reader, parts: Vec<Part>, cutoff: Option<Timestamp>, max: usize },
    /// What a lagging session missed.
    Lag { session: SessionRef, head: u64, who: Reader, parts: Vec<Part>, position: u64, max: usize },
    /// A page of one log.
    History { actor: Actor, who: Option<Reader>, view: LogView, spans: Vec<(u64, u64)>, page: Page },
    /// A page of what was accepted in the whole application.
    Scope { actor: Actor, scope: Scope },
    /// Chunks that retention removes.
    Trim { view: LogView, keep_from: u64, cutoff: Option<Timestamp>, all: bool },
    /// Old tokens, nonces and index rows.
    Expire { now: Timestamp, tokens_before: Timestamp, index_before: Option<Timestamp> },
}

/// What a read found.
#[derive(Debug)]
pub(super) enum Outcome {
    Missed(Missed),
    Page(Vec<Found>, bool),
    Scope(Vec<(u64, Found)>, bool),
    Keys { keys: Vec<Vec<u8>>, first_kept: u64 },
}

/// A read of the store, from [`Engine::begin_read`]. Any thread may run it.
pub struct Read {
    plan: Plan,
    store: Arc<dyn Store>,
}

/// What a [`Read`] found, for [`Engine::finish_read`].
#[must_use = "whoever waits for it hears of it only through the engine"]
pub struct ReadDone {
    plan: Plan,
    result: Result<Outcome, StoreError>,
    damaged: Vec<RecordError>,
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Read").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ReadDone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadDone").field("error", &self.result.as_ref().err()).finish_non_exhaustive()
    }
}

impl Read {
    /// Reads, however long the disk takes.
    pub fn run(self) -> ReadDone {
        let mut reader = LogReader::new(&*self.store);
        let result = self.plan.read(&mut reader, &*self.store);
        ReadDone { damaged: reader.damaged, plan: self.plan, result }
    }
}

impl ReadDone {
    /// Why it failed, if it did.
    #[must_use]
    pub fn error(&self) -> Option<&StoreError> {
        self.result.as_ref().err()
    }
}

impl Plan {
    fn read(&self, reader: &mut LogReader<'_>, store: &dyn Store) -> Result<Outcome, StoreError> {
        match self {
            Self::Backlog { who, parts, cutoff, max, .. } => {
                log::backlog(reader, who, parts, *max, *cutoff).map(Outcome::Missed)
            }
            Self::Lag { who, parts, position, max, .. } => {
                log::after_position(reader, who, parts, *position, *max).map(Outcome::Missed)
            }
            Self::History { who, view, spans, page, .. } => {
                let (found, more) = log::page(reader, who.as_ref(), view, spans, page)?;
                Ok(Outcome::Page(found, more))
            }
            Self::Scope { scope, .. } => scope.read(reader, store).map(|(found, more)| Outcome::Scope(found, more)),
            Self::Trim { view, keep_from, cutoff, all } => {
                let (keys, first_kept) = log::old_chunks(store, view, *keep_from, *cutoff, *all)?;
                Ok(Outcome::Keys { keys, first_kept })
            }
            Self::Expire { now, tokens_before, index_before } => {
                let keys = super::expire::old_rows(store, *now, *tokens_before, *index_before)?;
                Ok(Outcome::Keys { keys, first_kept: 0 })
            }
        }
    }

    /// After which position memory must keep messages until the read is done.
    fn pins(&self) -> Option<u64> {
        match self {
            Self::Backlog { head, .. } | Self::Lag { head, .. } => Some(*head),
            _ => None,
        }
    }
}

/// Reads that wait, and what those under way still want from memory.
#[derive(Debug, Default)]
pub(super) struct Reads {
    waiting: VecDeque<Plan>,
    /// How many reads were planned at each position.
    pins: BTreeMap<u64, u32>,
    /// Conversations whose memory holds more than the store needs.
    kept: BTreeSet<u32>,
}

impl Reads {
    /// Reads that may wait: one for each session and then some.
    pub(super) const MAX: usize = 100_000;

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= Self::MAX
    }

    pub(super) fn plan(&mut self, plan: Plan) {
        if let Some(position) = plan.pins() {
            *self.pins.entry(position).or_default() += 1;
        }
        self.waiting.push_back(plan);
    }

    fn unpin(&mut self, plan: &Plan) {
        if let Some(position) = plan.pins()
            && let Some(count) = self.pins.get_mut(&position)
        {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&position);
            }
        }
    }

    /// Up to which position memory need not keep what the store has.
    pub(super) fn pinned(&self) -> u64 {
        self.pins.keys().next().copied().unwrap_or(u64::MAX)
    }

    /// Notes a conversation whose memory is to be trimmed later.
    pub(super) fn keep(&mut self, slot: u32) {
        self.kept.insert(slot);
    }
}

impl Engine {
    /// Takes the next read that waits. Several may be under way.
    pub fn begin_read(&mut self) -> Option<Read> {
        let plan = self.reads.waiting.pop_front()?;
        Some(Read { plan, store: Arc::clone(&self.store) })
    }

    /// Takes what a read found: whoever waits for it is answered.
    pub fn finish_read(&mut self, done: ReadDone, now: Timestamp) {
        self.advance(now);
        let ReadDone { plan, result, damaged } = done;
        self.reads.unpin(&plan);
        self.report_damage(damaged);
        if let Err(error) = &result {
            self.tell(Event::StoreCallFailed { call: "read", error: error.clone() });
        }
        match (plan, result) {
            (Plan::Backlog { session, head, parts, .. }, Ok(Outcome::Missed(mut missed))) => {
                self.forget_ended(&parts, &mut missed);
                self.give_backlog(session, head, missed);
            }
            (Plan::Lag { session, head, max, parts, .. }, Ok(Outcome::Missed(mut missed))) => {
                self.forget_ended(&parts, &mut missed);
                self.give_missed(session, head, max, missed);
            }
            (Plan::History { actor, view, .. }, Ok(Outcome::Page(..))) if !self.is_of(&view) => {
                self.reply_now(actor, Err(Error::ConversationExpired));
            }
            (Plan::History { actor, view, .. }, Ok(Outcome::Page(found, more))) => {
                self.give_page(actor, view.slot, found, more);
            }
            (Plan::Scope { actor, .. }, Ok(Outcome::Scope(found, more))) => self.give_scope(actor, found, more),
            (Plan::Trim { view, all, .. }, Ok(Outcome::Keys { keys, first_kept })) => {
                self.trim(view.slot, view.conversation, all, keys, first_kept);
            }
            (Plan::Expire { .. }, Ok(Outcome::Keys { keys, .. })) => self.drop_rows(keys),
            (plan, _) => self.read_failed(plan),
        }
        if self.reads.pins.is_empty() {
            self.trim_kept();
        }
        self.gate.end_operation();
    }

    /// Whether a view is of the conversation that is in its place now: one that ended may have given it up.
    fn is_of(&self, view: &LogView) -> bool {
        self.conversations.get(view.slot).is_some_and(|conversation| conversation.number == view.conversation)
    }

    /// Leaves out what was found of conversations that ended while the read was under way.
    fn forget_ended(&self, parts: &[Part], missed: &mut Missed) {
        let ended: BTreeSet<u32> =
            parts.iter().map(|part| &part.view).filter(|v| !self.is_of(v)).map(|v| v.slot).collect();
        if !ended.is_empty() {
            missed.messages.retain(|(slot, _)| !ended.contains(slot));
            missed.cuts.retain(|cut| !ended.contains(&cut.slot));
        }
    }

    /// Memory that only reads wanted.
    fn trim_kept(&mut self) {
        for slot in std::mem::take(&mut self.reads.kept) {
            if self.conversations.get(slot).is_some() {
                self.conversations[slot].trim_tail(u64::MAX);
            }
        }
    }

    /// A found message as it is shared; `None` where its sender is not known any more.
    pub(super) fn share(&self, slot: u32, found: Found) -> Option<Arc<Message>> {
        let stored = match found {
            Found::Shared(message) => return Some(message),
            Found::Stored(stored) => stored,
        };
        let conversation = self.conversations.get(slot)?;
        let from = self.peers[self.peers.by_number(stored.from)?].id.clone();
        let deleted = stored.deleted || conversation.deleted.has(stored.number);
        let narrowed = stored.to.is_some();
        let to = match stored.to {
            Some(to) => {
                let known = to.iter().filter_map(|number| self.peers.by_number(*number));
                known.map(|peer| self.peers[peer].id.clone()).collect()
            }
            None if conversation.kind == crate::ConversationKind::Direct => {
                conversation.names.clone().unwrap_or_default()
            }
            None => Arc::default(),
        };
        Some(Arc::new(Message {
            id: stored.id,
            conversation: conversation.id.clone(),
            kind: conversation.kind,
            number: Some(stored.number),
            timestamp: stored.timestamp,
            from,
            to,
            content: if deleted { Content::Text(String::new()) } else { stored.content },
            transient: false,
            receipt: stored.receipt,
            deleted,
            narrowed,
            position: stored.position,
            device: stored.device.as_deref().and_then(|device| crate::DeviceId::new(device).ok()),
        }))
    }
}
