//! Runs of a log, from the store and from memory, each checked as it is read.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::found::Found;
use super::view::LogView;
use crate::id::MessageId;
use crate::message::{Content, Message};
use crate::rows::entry::Entry;
use crate::rows::record::{Chunk, RecordError};
use crate::rows::{entry, keys, recipients};
use crate::store::{Direction, Store, StoreError};
use crate::time::Timestamp;

/// Neighbouring messages of a log, by number, and the numbers among them that cannot be read.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) found: Vec<Found>,
    /// First number covered, readable or not.
    pub(super) first: u64,
    /// Last number covered.
    pub(super) last: u64,
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
    pub(super) fn run_to(&mut self, view: &LogView, number: u64) -> Result<Run, StoreError> {
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
    pub(super) fn run_from(&mut self, view: &LogView, number: u64) -> Result<Run, StoreError> {
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
        let last = first + (chunk.len() as u64).saturating_sub(1);
        let deleted = view.overlay.deleted_in(self.store, view.conversation, (first, last))?;
        let mut found = Vec::with_capacity(chunk.len());
        for (number, at) in (first..).zip(0..chunk.len()) {
            let entry = chunk.decode::<Entry<'_>>(at).unwrap_or(Err(RecordError::Truncated));
            match entry {
                Ok(entry) => found.extend(self.stored(view, number, entry, deleted.contains(&number))?),
                Err(error) => self.damaged.push(error),
            }
        }
        Ok(found)
    }

    /// The message of an entry; counted where it cannot be read, or not whom it is for.
    fn stored(
        &mut self,
        view: &LogView,
        number: u64,
        entry: Entry<'_>,
        is_deleted: bool,
    ) -> Result<Option<Found>, StoreError> {
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
        if is_deleted {
            stored.deleted = true;
            stored.content = Content::Text(String::new());
        }
        Ok(Some(Found::Stored(Box::new(stored))))
    }

    /// The smallest number between `first` and the view's last whose message satisfies `reached`, which is false up to some
    /// number and true from there on; one past the last where none does.
    pub(super) fn search(
        &mut self,
        view: &LogView,
        first: u64,
        reached: &dyn Fn(&Found) -> bool,
    ) -> Result<u64, StoreError> {
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
