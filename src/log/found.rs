//! A message found in a log, and who asks for it.

use std::sync::Arc;

use crate::id::{MessageId, PeerId};
use crate::message::Message;
use crate::rows::entry::Stored;
use crate::rows::recipients::Recipients;
use crate::time::Timestamp;

/// A message found in a log.
#[derive(Debug)]
pub(crate) enum Found {
    /// In the store.
    Stored(Box<Stored>),
    /// In memory.
    Shared(Arc<Message>),
}

impl Found {
    pub(crate) fn number(&self) -> u64 {
        match self {
            Self::Stored(stored) => stored.number,
            Self::Shared(message) => message.number.unwrap_or_default(),
        }
    }

    pub(crate) fn position(&self) -> u64 {
        match self {
            Self::Stored(stored) => stored.position,
            Self::Shared(message) => message.position,
        }
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        match self {
            Self::Stored(stored) => stored.timestamp,
            Self::Shared(message) => message.timestamp,
        }
    }

    pub(crate) fn id(&self) -> MessageId {
        match self {
            Self::Stored(stored) => stored.id,
            Self::Shared(message) => message.id,
        }
    }

    pub(super) fn is_deleted(&self) -> bool {
        match self {
            Self::Stored(stored) => stored.deleted,
            Self::Shared(message) => message.deleted,
        }
    }

    /// Whether `reader` may see it: a narrowed message is only for those it names, and for its sender.
    pub(crate) fn is_for(&self, reader: &Reader) -> bool {
        match self {
            Self::Stored(stored) if stored.from == reader.number => true,
            Self::Stored(stored) => match &stored.to {
                Recipients::All => true,
                Recipients::Only(peers) => peers.contains(&reader.number),
                Recipients::AllBut(peers) => reader.was_member(stored.number) && !peers.contains(&reader.number),
            },
            Self::Shared(message) => {
                !message.narrowed || message.from == reader.peer || message.to.contains(&reader.peer)
            }
        }
    }
}

/// Who reads.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) peer: PeerId,
    pub(crate) number: u64,
    /// Where it was a member, for one that reads beyond that; none where it reads nothing else.
    pub(crate) member_in: Option<Vec<(u64, u64)>>,
}

impl Reader {
    fn was_member(&self, number: u64) -> bool {
        self.member_in.as_ref().is_none_or(|spans| spans.iter().any(|span| (span.0..=span.1).contains(&number)))
    }
}
