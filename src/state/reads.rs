//! Reads of the store that wait or are under way, and what each is to find.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;

use crate::conversation::ConversationInfo;
use crate::id::ConversationId;
use crate::log::{Found, LogReader, LogView, Missed, Part, Reader};
use crate::output::SessionRef;
use crate::page::{Order, Page};
use crate::record::Kind;
use crate::runs::Runs;
use crate::state::accepted::INDEX_ENTRY;
use crate::state::actor::Actor;
use crate::store::{Direction, Store, StoreError};
use crate::time::Timestamp;
use crate::update::Unread;
use crate::{keys, log, record};

/// What is to be read.
#[derive(Debug)]
pub(crate) enum Plan {
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
    Keys { keys: Vec<Vec<u8>>, first_kept: u64 },
    Count(u64),
    Nothing,
}

/// Conversations of a peer that are looked at in one step.
pub(crate) const WALK: usize = 512;

impl Plan {
    pub(crate) fn read(&self, reader: &mut LogReader<'_>, store: &dyn Store) -> Result<Outcome, StoreError> {
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
    /// Entries that are not in the index rows yet, oldest first.
    pub(crate) recent: Vec<u64>,
}

impl Scope {
    /// The messages in the page's order, each with its conversation's number.
    pub(crate) fn read(
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
    pub(crate) fn select(
        &self,
        reader: &mut LogReader<'_>,
        store: &dyn Store,
    ) -> Result<(Vec<[u64; 2]>, bool), StoreError> {
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
    pub(crate) fn take(&self, entries: &[u64], wanted: &mut Vec<[u64; 2]>) {
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
            deleted: Runs::default(),
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
    let mut collect = |letter: u8, limit: Timestamp| {
        let start = keys::all(letter).start;
        let end = keys::tokens(limit.as_millis(), 0);
        let end = [&[letter], &end[1..]].concat();
        let mut left = STEP;
        store.scan(&start..&end, Direction::Ascending, &mut |key, _| {
            old.push(key.to_vec());
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    };
    collect(b't', tokens_before)?;
    collect(b'n', now)?;
    if let Some(limit) = index_before {
        old.extend(crate::log::old_index(store, limit, STEP)?);
    }
    Ok(old)
}
