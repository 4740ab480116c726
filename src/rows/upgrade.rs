//! From an earlier format to today's, in place, in steps that can be resumed.
//!
//! The first batch of a start says the new format, before any row is touched: from that moment on an earlier version refuses
//! the store, and never takes half of it for its own. Each step then rewrites a bounded number of rows and notes in the same
//! batch how far it got; a start that finds that note goes on from there. Rows of both formats are readable meanwhile, each
//! says which it has.
//!
//! Chunks of the log stay as they were written, however many there are: they say themselves what they are.

use std::ops::ControlFlow;

use super::conversation::ConversationRow;
use super::deletion::DeletionRow;
use super::device::DeviceRow;
use super::index::IndexRow;
use super::member::MemberRow;
use super::nonce::NonceRow;
use super::peer::PeerRow;
use super::reads::ReadsRow;
use super::record::{self, Kind};
use super::token::TokenRow;
use super::{Row, keys, meta};
use crate::store::{Batch, Direction, Store, StoreError};

/// The format that this version writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 2;
/// The oldest that it upgrades.
const FORMAT_MIN: u32 = 1;

/// Rows looked at in one step.
const STEP_ROWS: usize = 64;
/// Bytes rewritten in one step, about.
const STEP_BYTES: usize = 256 * 1024;

/// The letters of rows that are rewritten, in their keys' order, and what each is.
const REWRITTEN: [(u8, Kind); 9] = [
    (ConversationRow::LETTER, ConversationRow::KIND),
    (DeviceRow::LETTER, DeviceRow::KIND),
    (MemberRow::LETTER, MemberRow::KIND),
    (IndexRow::LETTER, IndexRow::KIND),
    (NonceRow::LETTER, NonceRow::KIND),
    (PeerRow::LETTER, PeerRow::KIND),
    (ReadsRow::LETTER, ReadsRow::KIND),
    (TokenRow::LETTER, TokenRow::KIND),
    (DeletionRow::LETTER, DeletionRow::KIND),
];

/// Says today's format in the first batch of a start, and that all is still to be upgraded where it was an earlier one.
///
/// # Errors
/// [`StoreError::Format`] where the store was written by a newer version, and the store's own.
pub(crate) fn announce(store: &dyn Store, batch: &mut Batch) -> Result<(), StoreError> {
    let found = meta::FORMAT.read(store)?.unwrap_or(FORMAT);
    if !(FORMAT_MIN..=FORMAT).contains(&found) {
        return Err(StoreError::Format { path: "engine".into(), found, expected: FORMAT });
    }
    if found < FORMAT {
        meta::UPGRADED_TO.put(batch, &Vec::new());
        // Nobody noted whether any message was not for all: some may be.
        meta::NARROWS.put(batch, &true);
    }
    meta::FORMAT.put(batch, &FORMAT);
    Ok(())
}

/// Goes on with an upgrade to its end, if one was announced.
///
/// # Errors
/// The store's; what was done stays done.
pub(crate) fn finish(store: &dyn Store) -> Result<(), StoreError> {
    let Some(mut from) = meta::UPGRADED_TO.read(store)? else { return Ok(()) };
    tracing::info!(format = FORMAT, resumed = !from.is_empty(), "the store's rows are being upgraded");
    loop {
        store.apply(&step(store, from)?)?;
        from = match meta::UPGRADED_TO.read(store)? {
            Some(from) => from,
            None => return Ok(()),
        };
    }
}

/// The writes of the step that begins after key `from`.
fn step(store: &dyn Store, from: Vec<u8>) -> Result<Batch, StoreError> {
    let (mut batch, mut seen, mut last) = (Batch::default(), 0, from);
    let after = [&last[..], &[0]].concat();
    for (letter, kind) in REWRITTEN {
        let all = keys::all(letter);
        let start = all.start.max(after.clone());
        if start >= all.end {
            continue;
        }
        store.scan(&start..&all.end, Direction::Ascending, &mut |key, row| {
            if let Some(raised) = record::raise(kind, key, row) {
                batch.put(key.to_vec(), raised);
            }
            key.clone_into(&mut last);
            seen += 1;
            if seen < STEP_ROWS && batch.bytes() < STEP_BYTES {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        if seen >= STEP_ROWS || batch.bytes() >= STEP_BYTES {
            meta::UPGRADED_TO.put(&mut batch, &last);
            return Ok(batch);
        }
    }
    batch.delete(meta::UPGRADED_TO.key());
    Ok(batch)
}
