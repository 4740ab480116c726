//! A conversation. Bounded by its attributes with its name, its fixed members and the newest runs of lost numbers.

use super::record::{BorrowDecode, Encode, Kind, RECORD_BYTES_MAX, RecordError};
use super::{Row, keys};
use crate::config::{ATTRIBUTES_BYTES_MAX, FIXED_MEMBERS_MAX};
use crate::conversation::ConversationKind;
use crate::id::ConversationId;
use crate::runs::Runs;

#[derive(Encode, BorrowDecode)]
pub(crate) struct ConversationRow<'a> {
    pub(crate) id: &'a str,
    kind: u8,
    pub(crate) unique: bool,
    pub(crate) name: Option<&'a str>,
    /// As JSON.
    pub(crate) attributes: &'a str,
    /// The creator's number; zero where the host made it.
    pub(crate) creator: u64,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    pub(crate) expires_at: Option<u64>,
    pub(crate) first_number: u64,
    /// Pairs: first and last of each run of numbers that a power cut took.
    lost: Vec<u64>,
    /// The members where they are fixed.
    pub(crate) members: Vec<u64>,
}

/// Runs of lost numbers that are kept: one for each power cut that took something. Older ones only show as unread.
const LOST_MAX: usize = 1_000;

const _: () = assert!(
    ATTRIBUTES_BYTES_MAX + ConversationId::BYTES_MAX + 9 * (2 * LOST_MAX + FIXED_MEMBERS_MAX + 12) < RECORD_BYTES_MAX
);

impl Row for ConversationRow<'_> {
    const LETTER: u8 = b'c';
    const KIND: Kind = Kind::Conversation;
}

impl<'a> ConversationRow<'a> {
    pub(crate) fn key(conversation: u64) -> Vec<u8> {
        keys::numbered(Self::LETTER, &[conversation])
    }

    /// The row of a conversation without a past: the other fields are set on it.
    pub(crate) fn new(id: &'a ConversationId, kind: ConversationKind, lost: &Runs) -> Self {
        let kind = match kind {
            ConversationKind::Direct => 1,
            ConversationKind::Group => 2,
            ConversationKind::Room => 3,
            ConversationKind::Temporary => 4,
        };
        let newest = lost.iter().skip(lost.len().saturating_sub(LOST_MAX));
        Self {
            id: id.as_str(),
            kind,
            unique: false,
            name: None,
            attributes: "",
            creator: 0,
            created_at: 0,
            updated_at: 0,
            expires_at: None,
            first_number: 1,
            lost: newest.flat_map(|run| [run.0, run.1]).collect(),
            members: Vec::new(),
        }
    }

    /// What kind of conversation it is.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] for a number that no kind has.
    pub(crate) const fn kind(&self) -> Result<ConversationKind, RecordError> {
        match self.kind {
            1 => Ok(ConversationKind::Direct),
            2 => Ok(ConversationKind::Group),
            3 => Ok(ConversationKind::Room),
            4 => Ok(ConversationKind::Temporary),
            _ => Err(RecordError::Malformed),
        }
    }

    /// The numbers that power cuts took.
    pub(crate) fn lost(&self) -> Runs {
        let mut lost = Runs::default();
        self.lost.chunks_exact(2).for_each(|run| lost.add(run[0], run[1]));
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows;

    #[test]
    fn row_41_the_largest_conversation_fits() {
        let id = ConversationId::new(&"x".repeat(ConversationId::BYTES_MAX)).unwrap();
        let mut lost = Runs::default();
        (0..2_000).for_each(|n| lost.add(u64::MAX / 2 + 3 * n, u64::MAX / 2 + 3 * n + 1));
        let row = ConversationRow {
            attributes: &"a".repeat(ATTRIBUTES_BYTES_MAX),
            members: (0..FIXED_MEMBERS_MAX as u64).map(|n| u64::MAX - n).collect(),
            expires_at: Some(u64::MAX),
            ..ConversationRow::new(&id, ConversationKind::Temporary, &lost)
        };
        let key = ConversationRow::key(1);
        let bytes = rows::seal(&key, &row);
        let read: ConversationRow<'_> = rows::open(&key, &bytes).unwrap();
        let kept = read.lost();
        assert_eq!((read.attributes, read.kind()), (row.attributes, Ok(ConversationKind::Temporary)));
        assert!(kept.len() == LOST_MAX && kept.iter().last() == lost.iter().last(), "the newest are kept");
    }
}
