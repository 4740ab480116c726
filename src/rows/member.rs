//! A membership in a group. Bounded by its spans, of which it keeps the newest.

use super::record::{BorrowDecode, Encode, Kind};
use super::{Row, keys};

#[derive(Encode, BorrowDecode)]
pub(crate) struct MemberRow {
    /// When it ended, in milliseconds.
    pub(crate) left_at: Option<u64>,
    /// Pairs: after which number, and up to which, `u64::MAX` where it is open.
    spans: Vec<u64>,
}

/// Spans that a row holds, 18 KB at most: far above what a membership keeps.
const SPANS_MAX: usize = 1_024;

impl Row for MemberRow {
    const LETTER: u8 = b'g';
    const KIND: Kind = Kind::Member;
}

impl MemberRow {
    pub(crate) fn key(conversation: u64, peer: u64) -> Vec<u8> {
        keys::numbered(Self::LETTER, &[conversation, peer])
    }

    /// The row of a membership with these spans, oldest first: after which number, and up to which, if it ended.
    pub(crate) fn new(left_at: Option<u64>, spans: &[(u64, Option<u64>)]) -> Self {
        let newest = spans.iter().skip(spans.len().saturating_sub(SPANS_MAX));
        Self { left_at, spans: newest.flat_map(|span| [span.0, span.1.unwrap_or(u64::MAX)]).collect() }
    }

    /// The spans as [`new`](Self::new) takes them.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (u64, Option<u64>)> + '_ {
        self.spans.chunks_exact(2).map(|span| (span[0], Some(span[1]).filter(|end| *end != u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;

    /// A membership that was left and taken up 44,000 times was a row that no record holds: it was not there after a restart.
    #[test]
    fn row_41_a_membership_of_44_000_spans_fits() {
        let spans: Vec<(u64, Option<u64>)> =
            (0..44_000).map(|n| ((1 << 40) + 3 * n, Some((1 << 40) + 3 * n + 1))).collect();
        let key = MemberRow::key(1, 2);
        let bytes = rows::seal(&key, &MemberRow::new(None, &spans));
        let read: MemberRow = rows::open(&key, &bytes).unwrap();
        assert!(bytes.len() < 28 * 1024 && read.spans().eq(spans[spans.len() - SPANS_MAX..].iter().copied()));
    }
}
