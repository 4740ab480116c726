//! A walk through a log, a run at a time.

use super::found::Found;
use super::reader::LogReader;
use super::view::LogView;
use crate::store::{Direction, StoreError};

/// A walk through one log, in one direction, a run at a time.
pub(super) struct Walk<'a> {
    view: &'a LogView,
    direction: Direction,
    /// What is loaded and not taken, next one last.
    ready: Vec<Found>,
    /// The numbers not loaded.
    next: u64,
    end: u64,
    /// Numbers passed over because they cannot be read.
    pub(super) lost: Vec<(u64, u64)>,
}

impl<'a> Walk<'a> {
    pub(super) fn down(view: &'a LogView, from: u64, to: u64) -> Self {
        Self { view, direction: Direction::Descending, ready: Vec::new(), next: from, end: to, lost: Vec::new() }
    }

    pub(super) fn up(view: &'a LogView, from: u64, to: u64) -> Self {
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

    pub(super) fn take(&mut self, reader: &mut LogReader<'_>) -> Result<Option<Found>, StoreError> {
        self.load(reader)?;
        Ok(self.ready.pop())
    }

    pub(super) fn peek_position(&mut self, reader: &mut LogReader<'_>) -> Result<Option<u64>, StoreError> {
        self.load(reader)?;
        Ok(self.ready.last().map(Found::position))
    }
}
