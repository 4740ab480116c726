//! What a session missed: the offline queue, and what passed by one that lags.

use std::collections::BinaryHeap;

use super::found::{Found, Reader};
use super::reader::LogReader;
use super::view::LogView;
use super::walk::Walk;
use crate::cursor::Cursor;
use crate::store::StoreError;
use crate::time::Timestamp;
use crate::update::GapCause;

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
