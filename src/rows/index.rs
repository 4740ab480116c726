//! Which messages were accepted, for the whole application: at most [`ENTRIES_MAX`] a row.

use super::record::{BorrowDecode, Encode, Kind};
use super::{Row, keys};

/// Numbers of one entry: position, time, conversation, number and sender of a message, by permanent numbers.
pub(crate) const ENTRY: usize = 5;

/// Entries of one row: 11.5 KB at most.
pub(crate) const ENTRIES_MAX: usize = 256;

#[derive(Encode, BorrowDecode)]
pub(crate) struct IndexRow {
    entries: Vec<u64>,
}

impl Row for IndexRow {
    const LETTER: u8 = b'i';
    const KIND: Kind = Kind::Index;
}

impl IndexRow {
    /// The row of entries that begin at `first`, a position.
    pub(crate) fn key(first: u64) -> Vec<u8> {
        keys::numbered(Self::LETTER, &[first])
    }

    /// The rows of some entries, oldest first, each with its key.
    pub(crate) fn of(entries: &[u64]) -> impl Iterator<Item = (Vec<u8>, Self)> + '_ {
        let rows = entries.chunks(ENTRIES_MAX * ENTRY).filter(|entries| !entries.is_empty());
        rows.map(|entries| (Self::key(entries[0]), Self { entries: entries.to_vec() }))
    }

    /// The entries, one after another.
    pub(crate) fn into_entries(self) -> Vec<u64> {
        self.entries
    }

    /// When the newest of its messages was accepted, in milliseconds.
    pub(crate) fn newest_at(&self) -> Option<u64> {
        self.entries.chunks_exact(ENTRY).next_back().map(|entry| entry[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;

    /// What a start read back from the logs was one row of the index, however long the store had failed before.
    #[test]
    fn row_41_an_index_of_any_length_fits() {
        let entries: Vec<u64> = (0..40_000 * ENTRY as u64).map(|n| u64::MAX - n).collect();
        let mut read = Vec::new();
        for (key, row) in IndexRow::of(&entries) {
            let bytes = rows::seal(&key, &row);
            assert!(bytes.len() < 12 * 1024, "{}", bytes.len());
            read.extend(rows::open::<IndexRow>(&key, &bytes).unwrap().into_entries());
        }
        assert_eq!(read, entries);
        assert_eq!(IndexRow::of(&[]).count(), 0);
    }
}
