//! Whom a narrowed message is for: in its entry where that is a short list, else in rows of its own, a page each.

use std::ops::{ControlFlow, Range};

use super::record::{BorrowDecode, Encode, Kind, RecordError};
use super::{LIST_MAX, Row, keys, open};
use crate::store::{Direction, Store, StoreError};

/// Whom a message is for, by permanent numbers. Its sender always may see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Recipients {
    /// Everyone in its conversation.
    #[default]
    All,
    /// These.
    Only(Vec<u64>),
    /// Who was in its conversation, but for these.
    AllBut(Vec<u64>),
}

/// Recipients that are always stored as they are named: beyond, whichever is the shorter, those named or those left out.
pub(crate) const NAMED_MAX: usize = 1_000;

impl Recipients {
    /// The numbers that it names.
    pub(crate) fn listed(&self) -> &[u64] {
        match self {
            Self::All => &[],
            Self::Only(peers) | Self::AllBut(peers) => peers,
        }
    }

    /// Whether its list stands in rows of its own.
    pub(crate) fn is_paged(&self) -> bool {
        self.listed().len() > LIST_MAX
    }

    /// The rows that hold its list, with their keys; none where its entry does.
    pub(crate) fn rows(&self, conversation: u64, number: u64) -> impl Iterator<Item = (Vec<u8>, RecipientsRow)> + '_ {
        let listed = if self.is_paged() { self.listed() } else { &[] };
        let pages = (0..).zip(listed.chunks(LIST_MAX));
        pages.map(move |(page, peers)| {
            (RecipientsRow::key(conversation, number, page), RecipientsRow { peers: peers.to_vec() })
        })
    }
}

/// A page of a message's recipients, or of those whom it leaves out.
#[derive(Encode, BorrowDecode)]
pub(crate) struct RecipientsRow {
    peers: Vec<u64>,
}

impl Row for RecipientsRow {
    const LETTER: u8 = b'w';
    const KIND: Kind = Kind::Recipients;
}

impl RecipientsRow {
    pub(crate) fn key(conversation: u64, number: u64, page: u64) -> Vec<u8> {
        keys::numbered(Self::LETTER, &[conversation, number, page])
    }

    /// The keys of messages with numbers in `numbers`.
    pub(crate) fn range(conversation: u64, numbers: Range<u64>) -> Range<Vec<u8>> {
        Self::key(conversation, numbers.start, 0)..Self::key(conversation, numbers.end, 0)
    }
}

/// The list of one message, in its pages' order.
///
/// # Errors
/// The store's; inside, [`RecordError`] where a page is damaged, or one is missing of the `count` numbers that there were.
pub(crate) fn read(
    store: &dyn Store,
    conversation: u64,
    number: u64,
    count: u64,
) -> Result<Result<Vec<u64>, RecordError>, StoreError> {
    let mut read = Ok(Vec::new());
    let rows = RecipientsRow::range(conversation, number..number + 1);
    store.scan(&rows.start[..]..&rows.end[..], Direction::Ascending, &mut |key, row| {
        match (&mut read, open::<RecipientsRow>(key, row)) {
            (Ok(peers), Ok(row)) => peers.extend(row.peers),
            (_, Err(error)) => read = Err(error),
            (Err(_), Ok(_)) => {}
        }
        ControlFlow::Continue(())
    })?;
    Ok(read.and_then(|peers| if peers.len() as u64 == count { Ok(peers) } else { Err(RecordError::Truncated) }))
}
