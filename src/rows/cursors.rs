//! Cursors as the numbers of rows, in pages of at most [`LIST_MAX`]: conversation, received, how many runs, each run's ends.
//!
//! A cursor with more runs than a page has space for goes on in the next page, under its conversation's number again: so no
//! row grows with the number of conversations, nor with what one of them has.

use super::LIST_MAX;
use crate::cursor::Cursor;

/// Numbers of a cursor without runs.
const HEAD: usize = 3;

/// The pages of some cursors, each with its conversation's number; one at least.
pub(crate) fn pages<'c>(cursors: impl IntoIterator<Item = (u64, &'c Cursor)>) -> Vec<Vec<u64>> {
    let (mut pages, mut page) = (Vec::new(), Vec::new());
    for (conversation, cursor) in cursors {
        let runs: Vec<(u64, u64)> = cursor.beyond.iter().collect();
        let mut rest = runs.as_slice();
        loop {
            if page.len() + HEAD + 2 * rest.len().min(1) > LIST_MAX {
                pages.push(std::mem::take(&mut page));
            }
            let (now, later) = rest.split_at(rest.len().min((LIST_MAX - HEAD - page.len()) / 2));
            page.extend([conversation, cursor.received, now.len() as u64]);
            page.extend(now.iter().flat_map(|run| [run.0, run.1]));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
    }
    pages.push(page);
    pages
}

/// The cursors of one page, to be [joined](Cursor::join) with those of the others.
pub(crate) fn read(mut numbers: &[u64]) -> Vec<(u64, Cursor)> {
    let mut cursors = Vec::new();
    while let [conversation, received, runs, rest @ ..] = numbers {
        let ends = usize::try_from(*runs).unwrap_or(usize::MAX).saturating_mul(2).min(rest.len() & !1);
        let (runs, after) = rest.split_at(ends);
        let mut cursor = Cursor::at(*received);
        runs.chunks_exact(2).for_each(|run| cursor.beyond.add(run[0], run[1]));
        cursors.push((*conversation, cursor));
        numbers = after;
    }
    cursors
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::rows::reads::ReadsRow;
    use crate::rows::record::RECORD_BYTES_MAX;
    use crate::rows::{self};

    fn cursor(received: u64, runs: u64) -> Cursor {
        let mut cursor = Cursor::at(received);
        (0..runs).for_each(|n| cursor.beyond.add(received + 2 * n + 2, received + 2 * n + 2));
        cursor
    }

    fn joined(pages: &[Vec<u64>]) -> BTreeMap<u64, Cursor> {
        let mut all: BTreeMap<u64, Cursor> = BTreeMap::new();
        for (conversation, cursor) in pages.iter().flat_map(|page| read(page)) {
            all.entry(conversation).or_default().join(cursor);
        }
        all
    }

    /// 80,000 messages sent in turns and never read were one row of 1.4 MB, which no store took: what was read was lost.
    #[test]
    fn row_41_a_cursor_of_80_000_runs_goes_on_from_page_to_page() {
        let all = [(1, cursor(1 << 60, 80_000)), (2, cursor(7, 0)), (3, cursor(1 << 62, 1_498))];
        let pages = pages(all.iter().map(|(conversation, cursor)| (*conversation, cursor)));
        assert_eq!(joined(&pages), all.into_iter().collect());
        for page in pages {
            let row = rows::seal(&ReadsRow::key(1, 0), &ReadsRow::new(page));
            assert!(row.len() <= 28 * 1024 && row.len() < RECORD_BYTES_MAX, "{}", row.len());
        }
    }

    proptest! {
        #[test]
        fn pages_hold_what_they_were_made_of(sizes in prop::collection::vec(0u64..2_000, 0..8)) {
            let all: BTreeMap<u64, Cursor> = (1..).zip(sizes.iter().map(|runs| cursor(*runs, *runs))).collect();
            let pages = pages(all.iter().map(|(conversation, cursor)| (*conversation, cursor)));
            prop_assert!(pages.iter().all(|page| page.len() <= LIST_MAX));
            prop_assert_eq!(joined(&pages), all);
        }
    }
}
