//! What retention removes, and what nothing needs any more.

use std::ops::{ControlFlow, Range};

use super::view::LogView;
use crate::rows;
use crate::rows::deletion::DeletionRow;
use crate::rows::entry::Entry;
use crate::rows::index::IndexRow;
use crate::rows::recipients::RecipientsRow;
use crate::rows::record::Chunk;
use crate::rows::{Row, entry, keys};
use crate::store::{Direction, Store, StoreError};
use crate::time::Timestamp;

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
    // What lies beside the chunks goes with them.
    let numbers = 0..if all { u64::MAX } else { first_kept };
    for beside in
        [RecipientsRow::range(view.conversation, numbers.clone()), DeletionRow::range(view.conversation, numbers)]
    {
        collect(store, &beside, STEP.saturating_sub(old.len()), &mut old)?;
    }
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
