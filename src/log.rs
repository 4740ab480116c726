//! The log of a conversation: dense numbers, written in chunks, read from any thread.
//!
//! What a read sees is a [`LogView`]: the durable part by the store, the rest from memory, taken at one moment. So a read that
//! runs beside later commands answers as of the moment it was asked.

use std::collections::BinaryHeap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::cursor::Cursor;
use crate::id::{MessageId, PeerId};
use crate::message::{Content, Message};
use crate::page::{Bound, Order, Page};
use crate::rows::entry::{self, Entry, Stored};
use crate::rows::index::IndexRow;
use crate::rows::recipients::{self, Recipients, RecipientsRow};
use crate::rows::record::{Chunk, RecordError};
use crate::rows::{self, Row, keys};
use crate::runs::Runs;
use crate::store::{Direction, Store, StoreError};
use crate::time::Timestamp;
use crate::update::GapCause;

/// A message found in a log.
#[derive(Debug)]
pub(crate) enum Found {
    /// In the store.
    Stored(Box<Stored>),
    /// In memory.
    Shared(Arc<Message>),
}

impl Found {
    pub(crate) fn number(&self) -> u64 {
        match self {
            Self::Stored(stored) => stored.number,
            Self::Shared(message) => message.number.unwrap_or_default(),
        }
    }

    pub(crate) fn position(&self) -> u64 {
        match self {
            Self::Stored(stored) => stored.position,
            Self::Shared(message) => message.position,
        }
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        match self {
            Self::Stored(stored) => stored.timestamp,
            Self::Shared(message) => message.timestamp,
        }
    }

    pub(crate) fn id(&self) -> MessageId {
        match self {
            Self::Stored(stored) => stored.id,
            Self::Shared(message) => message.id,
        }
    }

    fn is_deleted(&self) -> bool {
        match self {
            Self::Stored(stored) => stored.deleted,
            Self::Shared(message) => message.deleted,
        }
    }

    /// Whether `reader` may see it: a narrowed message is only for those it names, and for its sender.
    pub(crate) fn is_for(&self, reader: &Reader) -> bool {
        match self {
            Self::Stored(stored) if stored.from == reader.number => true,
            Self::Stored(stored) => match &stored.to {
                Recipients::All => true,
                Recipients::Only(peers) => peers.contains(&reader.number),
                Recipients::AllBut(peers) => reader.was_member(stored.number) && !peers.contains(&reader.number),
            },
            Self::Shared(message) => {
                !message.narrowed || message.from == reader.peer || message.to.contains(&reader.peer)
            }
        }
    }
}

impl LogView {
    /// Everything that a log may ever have had, for removing it.
    pub(crate) fn whole(slot: u32, conversation: u64) -> Self {
        Self {
            slot,
            conversation,
            first: 0,
            durable: u64::MAX - 1,
            tail: Vec::new(),
            last: u64::MAX - 1,
            deleted: Runs::default(),
        }
    }
}

/// Who reads.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) peer: PeerId,
    pub(crate) number: u64,
    /// Where it was a member, for one that reads beyond that; none where it reads nothing else.
    pub(crate) member_in: Option<Vec<(u64, u64)>>,
}

impl Reader {
    fn was_member(&self, number: u64) -> bool {
        self.member_in.as_ref().is_none_or(|spans| spans.iter().any(|span| (span.0..=span.1).contains(&number)))
    }
}

/// A conversation's log as it stands at one moment.
#[derive(Clone, Debug)]
pub(crate) struct LogView {
    /// The conversation's place in the engine's table.
    pub(crate) slot: u32,
    /// Its permanent number.
    pub(crate) conversation: u64,
    /// The first number that retention has kept.
    pub(crate) first: u64,
    /// The last number that the store has.
    pub(crate) durable: u64,
    /// What comes after it, from memory.
    pub(crate) tail: Vec<Arc<Message>>,
    /// The last number.
    pub(crate) last: u64,
    /// Numbers whose messages were deleted.
    pub(crate) deleted: Runs,
}

/// Neighbouring messages of a log, by number, and the numbers among them that cannot be read.
#[derive(Debug, Default)]
struct Run {
    found: Vec<Found>,
    /// First number covered, readable or not.
    first: u64,
    /// Last number covered.
    last: u64,
}

/// A read of logs: the store, and the damage met on the way.
pub(crate) struct LogReader<'a> {
    store: &'a dyn Store,
    pub(crate) damaged: Vec<RecordError>,
}

impl<'a> LogReader<'a> {
    pub(crate) fn new(store: &'a dyn Store) -> Self {
        Self { store, damaged: Vec::new() }
    }

    /// The run that ends at `number`, which lies between the view's first and last.
    fn run_to(&mut self, view: &LogView, number: u64) -> Result<Run, StoreError> {
        if number > view.durable {
            return Ok(Self::tail_run(view, view.durable + 1, number));
        }
        let mut row = None;
        let (start, end) = (entry::key(view.conversation, 0), entry::key(view.conversation, number + 1));
        self.store.scan(&start..&end, Direction::Descending, &mut |key, value| {
            row = Some((key.to_vec(), value.to_vec()));
            ControlFlow::Break(())
        })?;
        let Some((key, value)) = row else {
            return Ok(Run { found: Vec::new(), first: view.first, last: number });
        };
        let first = keys::number(&key, 1);
        let mut found = self.chunk(view, &key, &value)?;
        found.retain(|message| message.number() <= number);
        Ok(Run { found, first: first.max(view.first), last: number })
    }

    /// The run that begins at `number`, which lies between the view's first and last.
    fn run_from(&mut self, view: &LogView, number: u64) -> Result<Run, StoreError> {
        if number > view.durable {
            return Ok(Self::tail_run(view, number, view.last));
        }
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let holder = self.first_at_or_before(view, number)?;
        let (start, end) = (entry::key(view.conversation, holder), entry::key(view.conversation, view.durable + 1));
        // The second row tells where the first one's numbers end, should it be unreadable.
        self.store.scan(&start..&end, Direction::Ascending, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            if rows.len() < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let last = rows.get(1).map_or(view.durable, |(key, _)| keys::number(key, 1).saturating_sub(1));
        let mut found = match rows.first() {
            Some((key, value)) => self.chunk(view, key, value)?,
            None => Vec::new(),
        };
        found.retain(|message| message.number() >= number && message.number() <= last);
        Ok(Run { found, first: number, last: last.max(number) })
    }

    fn first_at_or_before(&self, view: &LogView, number: u64) -> Result<u64, StoreError> {
        let mut first = number;
        let (start, end) = (entry::key(view.conversation, 0), entry::key(view.conversation, number + 1));
        self.store.scan(&start..&end, Direction::Descending, &mut |key, _| {
            first = keys::number(key, 1);
            ControlFlow::Break(())
        })?;
        Ok(first)
    }

    fn tail_run(view: &LogView, first: u64, last: u64) -> Run {
        let within = |message: &&Arc<Message>| message.number.is_some_and(|number| (first..=last).contains(&number));
        let found = view.tail.iter().filter(within).map(|message| Found::Shared(Arc::clone(message))).collect();
        Run { found, first, last }
    }

    /// The readable messages of a chunk; the others are counted.
    fn chunk(&mut self, view: &LogView, key: &[u8], row: &[u8]) -> Result<Vec<Found>, StoreError> {
        let first = keys::number(key, 1);
        let chunk = match Chunk::parse(key, row) {
            Ok(chunk) => chunk,
            Err(error) => {
                self.damaged.push(error);
                return Ok(Vec::new());
            }
        };
        let mut found = Vec::with_capacity(chunk.len());
        for (number, at) in (first..).zip(0..chunk.len()) {
            let entry = chunk.decode::<Entry<'_>>(at).unwrap_or(Err(RecordError::Truncated));
            match entry {
                Ok(entry) => found.extend(self.stored(view, number, entry)?),
                Err(error) => self.damaged.push(error),
            }
        }
        Ok(found)
    }

    /// The message of an entry; counted where it cannot be read, or not whom it is for.
    fn stored(&mut self, view: &LogView, number: u64, entry: Entry<'_>) -> Result<Option<Found>, StoreError> {
        let listed = match entry.paged() {
            Some(count) => recipients::read(self.store, view.conversation, number, count)?.map(Some),
            None => Ok(None),
        };
        let mut stored = match listed.and_then(|listed| entry.into_stored(number, listed)) {
            Ok(stored) => stored,
            Err(error) => {
                self.damaged.push(error);
                return Ok(None);
            }
        };
        if view.deleted.has(number) {
            stored.deleted = true;
            stored.content = Content::Text(String::new());
        }
        Ok(Some(Found::Stored(Box::new(stored))))
    }

    /// The smallest number between `first` and the view's last whose message satisfies `reached`, which is false up to some
    /// number and true from there on; one past the last where none does.
    fn search(&mut self, view: &LogView, first: u64, reached: &dyn Fn(&Found) -> bool) -> Result<u64, StoreError> {
        let (mut low, mut high) = (first, view.last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let run = self.run_to(view, middle)?;
            // The nearest readable message at or below the middle speaks for it.
            match run.found.iter().rev().find(|message| message.number() >= low) {
                Some(message) if reached(message) => {
                    let turn = run.found.iter().find(|message| message.number() >= low && reached(message));
                    high = turn.map_or(high, Found::number);
                    // Everything readable below the turn is known not to have reached.
                    if run.found.iter().any(|message| message.number() >= low && message.number() < high) {
                        return Ok(high);
                    }
                    if run.first <= low {
                        return Ok(high);
                    }
                }
                _ => low = middle + 1,
            }
        }
        Ok(low)
    }

    /// One message by its number.
    pub(crate) fn one(&mut self, view: &LogView, number: u64) -> Result<Option<Found>, StoreError> {
        let run = self.run_to(view, number)?;
        Ok(run.found.into_iter().next_back().filter(|message| message.number() == number))
    }

    /// Number, position and time of the last message that the store has of a log; whatever cannot be read still counts.
    pub(crate) fn last_of(&mut self, view: &LogView) -> Result<Option<(u64, u64, Timestamp)>, StoreError> {
        let mut last = None;
        let (start, end) = (entry::key(view.conversation, 0), entry::key(view.conversation, u64::MAX));
        let mut damaged = Vec::new();
        self.store.scan(&start..&end, Direction::Descending, &mut |key, row| {
            let first = keys::number(key, 1);
            let chunk = match Chunk::parse(key, row) {
                Ok(chunk) => chunk,
                Err(error) => {
                    // How many it held is unknown: as many as fit, so that no number is given twice.
                    damaged.push(error);
                    last = Some((first + row.len() as u64, 0, Timestamp::ZERO));
                    return ControlFlow::Continue(());
                }
            };
            let number = first + (chunk.len() as u64).saturating_sub(1);
            let entry = (0..chunk.len()).rev().find_map(|at| chunk.decode::<Entry<'_>>(at)?.ok());
            let number = last.map_or(number, |(above, _, _)| number.max(above));
            let Some(entry) = entry else {
                last = Some((number, 0, Timestamp::ZERO));
                return ControlFlow::Continue(());
            };
            last = Some((number, entry.position(), entry.timestamp()));
            ControlFlow::Break(())
        })?;
        self.damaged.append(&mut damaged);
        Ok(last)
    }

    /// The number of the message with this id. Ids rise with the numbers.
    pub(crate) fn number_of(&mut self, view: &LogView, id: MessageId) -> Result<Option<u64>, StoreError> {
        let number = self.search(view, view.first, &|message| message.id() >= id)?;
        let found = if number > view.last { None } else { self.one(view, number)? };
        Ok(found.filter(|message| message.id() == id).map(|_| number))
    }

    /// The first number whose message has a position after `position`.
    pub(crate) fn first_after(&mut self, view: &LogView, position: u64) -> Result<u64, StoreError> {
        self.search(view, view.first, &|message| message.position() > position)
    }

    /// Every message from `first` on, oldest first.
    pub(crate) fn each_from(
        &mut self,
        view: &LogView,
        first: u64,
        visit: &mut dyn FnMut(Found),
    ) -> Result<(), StoreError> {
        let mut next = first.max(view.first);
        while next <= view.last {
            let run = self.run_from(view, next)?;
            next = run.last + 1;
            run.found.into_iter().for_each(&mut *visit);
        }
        Ok(())
    }
}

/// A walk through one log, in one direction, a run at a time.
struct Walk<'a> {
    view: &'a LogView,
    direction: Direction,
    /// What is loaded and not taken, next one last.
    ready: Vec<Found>,
    /// The numbers not loaded.
    next: u64,
    end: u64,
    /// Numbers passed over because they cannot be read.
    lost: Vec<(u64, u64)>,
}

impl<'a> Walk<'a> {
    fn down(view: &'a LogView, from: u64, to: u64) -> Self {
        Self { view, direction: Direction::Descending, ready: Vec::new(), next: from, end: to, lost: Vec::new() }
    }

    fn up(view: &'a LogView, from: u64, to: u64) -> Self {
        Self { view, direction: Direction::Ascending, ready: Vec::new(), next: from, end: to, lost: Vec::new() }
    }

    fn load(&mut self, reader: &mut LogReader<'_>) -> Result<(), StoreError> {
        while self.ready.is_empty() {
            let (run, low, high) = match self.direction {
                Direction::Descending => {
                    if self.next < self.end || self.next == 0 {
                        return Ok(());
                    }
                    let run = reader.run_to(self.view, self.next)?;
                    let (low, high) = (run.first.min(self.next).max(self.end), self.next);
                    self.next = low - 1;
                    (run, low, high)
                }
                Direction::Ascending => {
                    if self.next > self.end {
                        return Ok(());
                    }
                    let run = reader.run_from(self.view, self.next)?;
                    let (low, high) = (self.next, run.last.min(self.end));
                    self.next = high + 1;
                    (run, low, high)
                }
            };
            let mut found = run.found;
            found.retain(|message| (low..=high).contains(&message.number()));
            self.note_lost(&found, low, high);
            if self.direction == Direction::Ascending {
                found.reverse();
            }
            self.ready = found;
        }
        Ok(())
    }

    fn note_lost(&mut self, found: &[Found], low: u64, high: u64) {
        let mut expected = low;
        for message in found {
            if message.number() > expected {
                self.lost.push((expected, message.number() - 1));
            }
            expected = message.number() + 1;
        }
        if expected <= high {
            self.lost.push((expected, high));
        }
    }

    fn take(&mut self, reader: &mut LogReader<'_>) -> Result<Option<Found>, StoreError> {
        self.load(reader)?;
        Ok(self.ready.pop())
    }

    fn peek_position(&mut self, reader: &mut LogReader<'_>) -> Result<Option<u64>, StoreError> {
        self.load(reader)?;
        Ok(self.ready.last().map(Found::position))
    }
}

/// A stretch of one log that a session has not received.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) view: LogView,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// What the device has acknowledged.
    pub(crate) cursor: Cursor,
}

/// What was cut off from one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) slot: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) count: u64,
    pub(crate) cause: GapCause,
}

/// Messages for a session, oldest first, each with its conversation's slot; and what it will not get.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    pub(crate) messages: Vec<(u32, Found)>,
    pub(crate) cuts: Vec<Cut>,
    /// Where to read on, if there is more.
    pub(crate) more_from: Option<u64>,
}

/// What is cut off from an offline queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Messages that it holds.
    pub(crate) max: usize,
    /// What was accepted at or before this time is too old.
    pub(crate) cutoff: Option<Timestamp>,
    /// Whether some messages may not be for all members: then what is cut is read, to tell nobody of what was not theirs.
    pub(crate) reads_cuts: bool,
}

/// The offline queue: the newest messages over all parts; what is older or too many is cut.
pub(crate) fn backlog(
    reader: &mut LogReader<'_>,
    who: &Reader,
    parts: &[Part],
    limits: Limits,
) -> Result<Missed, StoreError> {
    let mut missed = Missed::default();
    let mut walks: Vec<Walk<'_>> = parts.iter().map(|part| Walk::down(&part.view, part.to, part.from)).collect();
    let mut heads = BinaryHeap::new();
    for (at, walk) in walks.iter_mut().enumerate() {
        heads.extend(walk.peek_position(reader)?.map(|position| (position, at)));
    }
    while let Some((_, at)) = heads.pop() {
        let (Some(walk), Some(part)) = (walks.get_mut(at), parts.get(at)) else { continue };
        let Some(message) = walk.take(reader)? else { continue };
        let number = message.number();
        let cause = if limits.cutoff.is_some_and(|cutoff| message.timestamp() <= cutoff) {
            Some(GapCause::Age)
        } else if missed.messages.len() >= limits.max && wanted(&message, who, part) {
            Some(GapCause::Limit)
        } else {
            None
        };
        if let Some(cause) = cause {
            if limits.reads_cuts {
                cut_and_read(reader, walk, (message, who, part), cause, &mut missed.cuts)?;
            } else {
                missed.cuts.extend(cut(part, number, cause));
            }
            continue;
        }
        if wanted(&message, who, part) {
            missed.messages.push((part.view.slot, message));
        }
        heads.extend(walk.peek_position(reader)?.map(|position| (position, at)));
    }
    for (walk, part) in walks.iter().zip(parts) {
        missed.cuts.extend(walk.lost.iter().filter_map(|lost| lost_cut(part, *lost)));
    }
    missed.messages.sort_by_key(|(_, message)| message.position());
    missed.cuts.sort_by_key(|cut| (cut.slot, cut.from));
    Ok(missed)
}

/// Whether the part's device still wants this message.
fn wanted(message: &Found, who: &Reader, part: &Part) -> bool {
    !message.is_deleted() && !part.cursor.has(message.number()) && message.is_for(who)
}

/// Everything of `part` up to `number`.
fn cut(part: &Part, number: u64, cause: GapCause) -> Option<Cut> {
    let from = part.from.max(part.cursor.received + 1);
    let count = (number + 1).checked_sub(from)? - part.cursor.beyond.count(from, number);
    (count > 0).then_some(Cut { slot: part.view.slot, from, to: number, count, cause })
}

/// Everything of `part` from `message` down, where that is for `who`; the rest counts as received, and is told to nobody.
fn cut_and_read(
    reader: &mut LogReader<'_>,
    walk: &mut Walk<'_>,
    (message, who, part): (Found, &Reader, &Part),
    cause: GapCause,
    cuts: &mut Vec<Cut>,
) -> Result<(), StoreError> {
    let top = message.number();
    let mut theirs: Option<(u64, u64)> = None;
    let (mut next, mut count) = (Some(message), 0);
    while let Some(message) = next {
        if wanted(&message, who, part) {
            let number = message.number();
            theirs = Some((number, theirs.map_or(number, |theirs| theirs.1)));
            count += 1;
        }
        next = walk.take(reader)?;
    }
    let slot = part.view.slot;
    let (low, high) = theirs.unwrap_or((top + 1, top));
    let pieces = [(part.from, low - 1, 0), (low, high, count), (high + 1, top, 0)];
    let pieces = pieces.into_iter().filter(|(from, to, _)| from <= to);
    cuts.extend(pieces.map(|(from, to, count)| Cut { slot, from, to, count, cause }));
    Ok(())
}

fn lost_cut(part: &Part, (from, to): (u64, u64)) -> Option<Cut> {
    let from = from.max(part.cursor.received + 1);
    let count = (to + 1).checked_sub(from)? - part.cursor.beyond.count(from, to);
    let cause = if to < part.view.first { GapCause::Retention } else { GapCause::Lost };
    (count > 0).then_some(Cut { slot: part.view.slot, from, to, count, cause })
}

/// The oldest `max` messages at or after `position` over all parts, for a session that lags; of those that it was offered as
/// offline, up to `opened_at`, only what its device has not acknowledged.
pub(crate) fn after_position(
    reader: &mut LogReader<'_>,
    who: &Reader,
    parts: &[Part],
    (position, opened_at): (u64, u64),
    max: usize,
) -> Result<Missed, StoreError> {
    let mut missed = Missed::default();
    let mut walks = Vec::with_capacity(parts.len());
    let mut heads = BinaryHeap::new();
    for (at, part) in parts.iter().enumerate() {
        let first = reader.search(&part.view, part.from, &|message| message.position() >= position)?;
        let mut walk = Walk::up(&part.view, first, part.to);
        heads.extend(walk.peek_position(reader)?.map(|position| std::cmp::Reverse((position, at))));
        walks.push(walk);
    }
    while let Some(std::cmp::Reverse((position, at))) = heads.pop() {
        if missed.messages.len() >= max {
            missed.more_from = Some(position);
            break;
        }
        let (Some(walk), Some(part)) = (walks.get_mut(at), parts.get(at)) else { continue };
        let Some(message) = walk.take(reader)? else { continue };
        let acknowledged = message.position() <= opened_at && part.cursor.has(message.number());
        if !message.is_deleted() && message.is_for(who) && !acknowledged {
            missed.messages.push((part.view.slot, message));
        }
        heads.extend(walk.peek_position(reader)?.map(|position| std::cmp::Reverse((position, at))));
    }
    for (walk, part) in walks.iter().zip(parts) {
        missed.cuts.extend(walk.lost.iter().filter_map(|lost| lost_cut(part, *lost)));
    }
    Ok(missed)
}

/// A page of one log, in the order asked for, cut to `spans`; and whether there is more.
pub(crate) fn page(
    reader: &mut LogReader<'_>,
    who: Option<&Reader>,
    view: &LogView,
    spans: &[(u64, u64)],
    page: &Page,
) -> Result<(Vec<Found>, bool), StoreError> {
    let (low, high) = bounds(reader, view, page)?;
    let mut found = Vec::new();
    let mut spans: Vec<_> = spans.iter().map(|span| (span.0.max(low), span.1.min(high))).collect();
    if page.order == Order::NewestFirst {
        spans.reverse();
    }
    for (from, to) in spans.into_iter().filter(|span| span.0 <= span.1) {
        let mut walk = match page.order {
            Order::NewestFirst => Walk::down(view, to, from),
            Order::OldestFirst => Walk::up(view, from, to),
        };
        while let Some(message) = walk.take(reader)? {
            if who.is_some_and(|who| !message.is_for(who)) {
                continue;
            }
            if found.len() >= page.limit {
                return Ok((found, true));
            }
            found.push(message);
        }
    }
    Ok((found, false))
}

/// The first and the last number that lie within the page's bounds.
fn bounds(reader: &mut LogReader<'_>, view: &LogView, page: &Page) -> Result<(u64, u64), StoreError> {
    let (older, newer) = page.bounds();
    let low = match older {
        Some(bound) => reader.search(view, view.first, &|message| !is_before(message, &bound, !bound.included))?,
        None => view.first,
    };
    let high = match newer {
        Some(bound) => reader.search(view, view.first, &|message| !is_before(message, &bound, bound.included))? - 1,
        None => view.last,
    };
    Ok((low, high))
}

/// Whether `message` comes before `bound`, or is it where `or_is` says so.
pub(crate) fn is_before(message: &Found, bound: &Bound, or_is: bool) -> bool {
    let at = match bound.id {
        Some(id) => (message.timestamp(), message.id()).cmp(&(bound.timestamp, id)),
        None => message.timestamp().cmp(&bound.timestamp),
    };
    at.is_lt() || or_is && at.is_eq()
}

/// The keys of at most [`STEP`] whole chunks that retention removes, oldest first, and the first number kept: chunks whose
/// numbers are all below `keep_from`, or whose newest message is at or before `cutoff`; all of them where `all` is set.
pub(crate) fn old_chunks(
    store: &dyn Store,
    view: &LogView,
    keep_from: u64,
    cutoff: Option<Timestamp>,
    all: bool,
) -> Result<(Vec<Vec<u8>>, u64), StoreError> {
    let (mut old, mut first_kept) = (Vec::new(), view.first);
    let (start, end) = (entry::key(view.conversation, 0), entry::key(view.conversation, view.durable + 1));
    store.scan(&start..&end, Direction::Ascending, &mut |key, row| {
        let chunk = Chunk::parse(key, row).ok();
        let count = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        let newest = chunk.as_ref().and_then(|chunk| chunk.decode::<Entry<'_>>(chunk.len().checked_sub(1)?)?.ok());
        let next = keys::number(key, 1) + count;
        let is_old = newest.is_some_and(|entry| cutoff.is_some_and(|cutoff| entry.timestamp() <= cutoff));
        // The newest message stays, so that its number and time are never given again.
        let removable = all || next <= view.last && count > 0 && (next <= keep_from || is_old);
        if !removable {
            return ControlFlow::Break(());
        }
        old.push(key.to_vec());
        first_kept = next;
        if old.len() < STEP { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let gone = RecipientsRow::range(view.conversation, 0..if all { u64::MAX } else { first_kept });
    collect(store, &gone, STEP.saturating_sub(old.len()), &mut old)?;
    Ok((old, first_kept))
}

/// Adds the first `max` keys of a range to `keys`.
pub(crate) fn collect(
    store: &dyn Store,
    range: &Range<Vec<u8>>,
    max: usize,
    keys: &mut Vec<Vec<u8>>,
) -> Result<(), StoreError> {
    let full = keys.len() + max;
    if max == 0 {
        return Ok(());
    }
    store.scan(&range.start[..]..&range.end[..], Direction::Ascending, &mut |key, _| {
        keys.push(key.to_vec());
        if keys.len() < full { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
}

/// The keys of at most `max` index rows whose messages were all accepted before `limit`.
pub(crate) fn old_index(store: &dyn Store, limit: Timestamp, max: usize) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut old = Vec::new();
    let all = keys::all(IndexRow::LETTER);
    store.scan(&all.start[..]..&all.end[..], Direction::Ascending, &mut |key, row| {
        let newest = rows::open::<IndexRow>(key, row).ok().and_then(|row| row.newest_at());
        if old.len() >= max || newest.is_none_or(|at| at >= limit.as_millis()) {
            return ControlFlow::Break(());
        }
        old.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(old)
}

/// Chunks that one step of retention removes.
const STEP: usize = 64;
