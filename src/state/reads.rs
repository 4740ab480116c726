//! Reads of the store that wait or are under way, and what each is to find.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::conversation::ConversationInfo;
use crate::id::{ConversationId, MessageId};
use crate::log;
use crate::log::{Found, Limits, LogReader, LogView, Missed, Overlay, Part, Reader};
use crate::message::Message;
use crate::output::SessionRef;
use crate::page::{Bound, Order, Page};
use crate::rows::conversation::ConversationRow;
use crate::rows::index::{ENTRY, IndexRow};
use crate::rows::nonce::NonceRow;
use crate::rows::token::TokenRow;
use crate::rows::{self, Row, keys};
use crate::state::actor::Actor;
use crate::store::{Direction, Store, StoreError};
use crate::time::Timestamp;
use crate::update::Unread;

/// What is to be read.
#[derive(Debug)]
pub(crate) enum Plan {
    /// The offline queue of a session that opens.
    Backlog { session: SessionRef, head: u64, who: Reader, parts: Vec<Part>, limits: Limits },
    /// What a lagging session missed.
    Lag { session: SessionRef, head: u64, who: Reader, parts: Vec<Part>, position: u64, opened_at: u64, max: usize },
    /// A page of one log.
    History { actor: Actor, who: Option<Box<Reader>>, view: LogView, spans: Vec<(u64, u64)>, page: Page },
    /// The number of a message that was read.
    Find { actor: Actor, view: LogView, id: MessageId },
    /// A page of what was accepted in the whole application.
    Scope { actor: Actor, scope: Scope },
    /// Chunks that retention removes.
    Trim { view: LogView, keep_from: u64, cutoff: Option<Timestamp>, all: bool },
    /// Nothing: the next step of gathering what waits for a session.
    Gather { session: SessionRef, head: u64, after: Option<u32>, parts: Vec<Part> },
    /// Nothing: the next step of telling a session what it will not get.
    Tell { session: SessionRef, head: u64, missed: Missed, parts: Vec<Part> },
    /// Nothing: the next step of listing a peer's conversations.
    List { actor: Actor, after: Option<u32>, listed: BTreeMap<ConversationId, ConversationInfo> },
    /// Nothing: the next step of listing what a peer has not read.
    ListUnread { actor: Actor, after: Option<u32>, listed: BTreeMap<ConversationId, Unread> },
    /// How many numbers do not count as unread for a member, after `after` up to the last of the view.
    Recount { view: LogView, who: Reader, spans: Vec<(u64, u64)>, after: u64, summed: u64 },
    /// Old tokens, nonces and index rows.
    Expire { now: Timestamp, tokens_before: Timestamp, index_before: Option<Timestamp> },
}

/// What a read found.
#[derive(Debug)]
pub(crate) enum Outcome {
    Missed(Missed),
    Page(Vec<Found>, bool),
    Scope(Vec<(u64, Found)>, bool),
    Number(Option<u64>),
    Keys { keys: Vec<Vec<u8>>, first_kept: u64 },
    Count(u64),
    Nothing,
}

/// Conversations of a peer that are looked at in one step.
pub(crate) const WALK: usize = 512;

impl Plan {
    pub(crate) fn read(&self, reader: &mut LogReader<'_>, store: &dyn Store) -> Result<Outcome, StoreError> {
        match self {
            Self::Backlog { who, parts, limits, .. } => log::backlog(reader, who, parts, *limits).map(Outcome::Missed),
            Self::Lag { who, parts, position, opened_at, max, .. } => {
                log::after_position(reader, who, parts, (*position, *opened_at), *max).map(Outcome::Missed)
            }
            Self::History { who, view, spans, page, .. } => {
                let (found, more) = log::page(reader, who.as_deref(), view, spans, page)?;
                Ok(Outcome::Page(found, more))
            }
            Self::Find { view, id, .. } => reader.number_of(view, *id).map(Outcome::Number),
            Self::Scope { scope, .. } => scope.read(reader, store).map(|(found, more)| Outcome::Scope(found, more)),
            Self::Trim { view, keep_from, cutoff, all } => {
                let (keys, first_kept) = log::old_chunks(store, view, *keep_from, *cutoff, *all)?;
                Ok(Outcome::Keys { keys, first_kept })
            }
            Self::Gather { .. } | Self::Tell { .. } | Self::List { .. } | Self::ListUnread { .. } => {
                Ok(Outcome::Nothing)
            }
            Self::Recount { view, who, spans, after, .. } => {
                log::count_uncounted(reader, view, who, spans, *after).map(Outcome::Count)
            }
            Self::Expire { now, tokens_before, index_before } => {
                let keys = old_rows(store, *now, *tokens_before, *index_before)?;
                Ok(Outcome::Keys { keys, first_kept: 0 })
            }
        }
    }

    /// After which position memory must keep messages until the read is done.
    fn pins(&self) -> Option<u64> {
        match self {
            Self::Backlog { head, .. }
            | Self::Lag { head, .. }
            | Self::Gather { head, .. }
            | Self::Tell { head, .. } => Some(*head),
            _ => None,
        }
    }
}

/// Reads that wait, and what those under way still want from memory.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(crate) waiting: VecDeque<Plan>,
    /// How many reads were planned at each position.
    pub(crate) pins: BTreeMap<u64, u32>,
    /// Conversations whose memory holds more than the store needs.
    pub(crate) kept: BTreeSet<u32>,
    /// Where messages were accepted while reads were under way, with their positions, oldest first.
    arrivals: VecDeque<(u64, u32)>,
}

impl Reads {
    /// Reads that may wait: one for each session and then some.
    pub(crate) const MAX: usize = 100_000;

    /// A message was accepted.
    pub(crate) fn note_arrival(&mut self, position: u64, conversation: u32) {
        if !self.pins.is_empty() {
            self.arrivals.push_back((position, conversation));
        }
    }

    /// The conversations in which a message was accepted after `head`, at which a read was planned; sorted. `None` where
    /// there were more messages than `max`.
    pub(crate) fn arrivals_after(&self, head: u64, max: usize) -> Option<Vec<u32>> {
        let from = self.arrivals.partition_point(|(position, _)| *position <= head);
        if self.arrivals.len() - from > max {
            return None;
        }
        let mut conversations: Vec<u32> = self.arrivals.range(from..).map(|(_, slot)| *slot).collect();
        conversations.sort_unstable();
        conversations.dedup();
        Some(conversations)
    }

    /// Lets go of arrivals that no read under way can want.
    pub(crate) fn trim_arrivals(&mut self) {
        let pinned = self.pinned();
        while self.arrivals.pop_front_if(|(position, _)| *position <= pinned).is_some() {}
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= Self::MAX
    }

    pub(crate) fn plan(&mut self, plan: Plan) {
        if let Some(position) = plan.pins() {
            *self.pins.entry(position).or_default() += 1;
        }
        self.waiting.push_back(plan);
    }

    pub(crate) fn unpin(&mut self, plan: &Plan) {
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
    pub(crate) fn pinned(&self) -> u64 {
        self.pins.keys().next().copied().unwrap_or(u64::MAX)
    }

    /// Notes a conversation whose memory is to be trimmed later.
    pub(crate) fn keep(&mut self, slot: u32) {
        self.kept.insert(slot);
    }
}

/// A page of what was accepted in the whole application, or by one sender.
#[derive(Debug)]
pub(crate) struct Scope {
    /// The sender's permanent number.
    pub(crate) sender: Option<u64>,
    pub(crate) page: Page,
    /// Entries that the store may not have in index rows yet, oldest first.
    pub(crate) recent: Vec<u64>,
    /// What an earlier read found, where it stopped short of the page.
    pub(crate) given: Vec<Arc<Message>>,
}

/// What a page of a [`Scope`] has so far.
struct Gathered<'a, 's> {
    scope: &'a Scope,
    reader: &'a mut LogReader<'s>,
    store: &'a dyn Store,
    /// Which conversations are there.
    there: FxHashMap<u64, bool>,
    /// The messages, each with its conversation's number.
    found: Vec<(u64, Found)>,
    more: bool,
}

impl Scope {
    /// Index rows that are read together.
    const ROWS: usize = 16;

    /// The messages in the page's order, each with its conversation's number, and whether there are more.
    pub(crate) fn read(
        &self,
        reader: &mut LogReader<'_>,
        store: &dyn Store,
    ) -> Result<(Vec<(u64, Found)>, bool), StoreError> {
        let (there, found) = (FxHashMap::default(), Vec::new());
        let mut page = Gathered { scope: self, reader, store, there, found, more: false };
        if self.page.order == Order::NewestFirst {
            page.take(&self.recent)?;
            page.take_rows(Direction::Descending)?;
        } else {
            page.take_rows(Direction::Ascending)?;
            page.take(&self.recent)?;
        }
        Ok((page.found, page.more))
    }

    /// Whether a message of this time may lie within the page's bounds; in the millisecond of a bound its id decides.
    fn may_hold(&self, at: Timestamp) -> bool {
        let (older, newer) = self.page.bounds();
        let counts = |bound: Bound| bound.included || bound.id.is_some();
        older.is_none_or(|bound| if counts(bound) { at >= bound.timestamp } else { at > bound.timestamp })
            && newer.is_none_or(|bound| if counts(bound) { at <= bound.timestamp } else { at < bound.timestamp })
    }

    fn holds(&self, message: &Found) -> bool {
        let (older, newer) = self.page.bounds();
        older.is_none_or(|bound| !log::is_before(message, &bound, !bound.included))
            && newer.is_none_or(|bound| log::is_before(message, &bound, bound.included))
    }
}

impl Gathered<'_, '_> {
    /// Takes what the page wants of the index rows, some rows at a time: no read of messages happens inside a scan.
    fn take_rows(&mut self, direction: Direction) -> Result<(), StoreError> {
        let all = keys::all(IndexRow::LETTER);
        let (mut start, mut end) = (all.start, all.end);
        while !self.more {
            let mut rows = Vec::new();
            self.store.scan(&start..&end, direction, &mut |key, row| {
                rows.push((key.to_vec(), rows::open::<IndexRow>(key, row).map(IndexRow::into_entries)));
                if rows.len() < Scope::ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            let Some((last, _)) = rows.last() else { break };
            match direction {
                Direction::Ascending => start = [last.as_slice(), &[0]].concat(),
                Direction::Descending => end = last.clone(),
            }
            // What is still in memory was written while this read waited.
            let recent_from = self.scope.recent.first().copied().unwrap_or(u64::MAX);
            for (_, entries) in rows {
                match entries {
                    Ok(entries) if entries.first() < Some(&recent_from) => self.take(&entries)?,
                    Ok(_) => {}
                    Err(error) => self.reader.damaged.push(error),
                }
            }
        }
        Ok(())
    }

    /// Takes what the page wants of some entries, in its order, until it is full and there is one more.
    fn take(&mut self, entries: &[u64]) -> Result<(), StoreError> {
        let scope = self.scope;
        let inside = |entry: &&[u64]| match **entry {
            [_, at, _, _, sender] => {
                scope.may_hold(Timestamp::from_millis(at)) && scope.sender.is_none_or(|wanted| wanted == sender)
            }
            _ => false,
        };
        let mut wanted: Vec<&[u64]> = entries.chunks_exact(ENTRY).filter(inside).collect();
        if scope.page.order == Order::NewestFirst {
            wanted.reverse();
        }
        if self.comes_before(&wanted)? {
            return Ok(());
        }
        for entry in wanted {
            let Some((conversation, message)) = self.one(entry)?.filter(|_| !self.more) else { continue };
            if self.found.len() >= scope.page.limit {
                self.more = true;
            } else {
                self.found.push((conversation, message));
            }
        }
        Ok(())
    }

    /// Whether some entries, in the page's order, all lie before its start: where many messages are of one millisecond, one
    /// of them is read instead of all.
    fn comes_before(&mut self, entries: &[&[u64]]) -> Result<bool, StoreError> {
        let (Some(start), Some(last)) = (self.scope.page.start, entries.last()) else { return Ok(false) };
        if last.get(1) != Some(&start.timestamp.as_millis()) {
            return Ok(false);
        }
        let newest_first = self.scope.page.order == Order::NewestFirst;
        let message = self.read(last)?;
        Ok(message.is_some_and(|(_, message)| log::is_before(&message, &start, start.included) != newest_first))
    }

    /// The message of an entry, where the page wants it.
    fn one(&mut self, entry: &[u64]) -> Result<Option<(u64, Found)>, StoreError> {
        if self.more {
            return Ok(None);
        }
        Ok(self.read(entry)?.filter(|(_, message)| self.scope.holds(message)))
    }

    /// The message of an entry, where it is still there.
    fn read(&mut self, entry: &[u64]) -> Result<Option<(u64, Found)>, StoreError> {
        let &[_, _, conversation, number, _] = entry else { return Ok(None) };
        let there = match self.there.get(&conversation) {
            Some(there) => *there,
            None => self.store.get(&ConversationRow::key(conversation))?.is_some(),
        };
        self.there.insert(conversation, there);
        if !there {
            return Ok(None);
        }
        let found = self.reader.one(&LogView::durable(conversation, number), number)?;
        Ok(found.map(|message| (conversation, message)))
    }
}

impl LogView {
    /// What the store has of a log, for reading one known number.
    pub(crate) fn durable(conversation: u64, number: u64) -> Self {
        Self {
            slot: 0,
            conversation,
            first: 1,
            durable: number,
            tail: Vec::new(),
            last: number,
            overlay: Overlay::unknown(),
        }
    }
}

/// Rows, members or conversations in one step of sweeping.
pub(crate) const STEP: usize = 64;

/// The keys of at most [`STEP`] rows of each kind that nothing needs any more: retry tokens and index rows from before a
/// time, and nonces whose signatures no window accepts.
fn old_rows(
    store: &dyn Store,
    now: Timestamp,
    tokens_before: Timestamp,
    index_before: Option<Timestamp>,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut old = Vec::new();
    let tokens = keys::all(TokenRow::LETTER).start..TokenRow::key(tokens_before.as_millis(), 0);
    log::collect(store, &tokens, STEP, &mut old)?;
    let nonces = keys::all(NonceRow::LETTER).start..NonceRow::key(now.as_millis(), 0);
    log::collect(store, &nonces, STEP, &mut old)?;
    if let Some(limit) = index_before {
        old.extend(crate::log::old_index(store, limit, STEP)?);
    }
    Ok(old)
}
