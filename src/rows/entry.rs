//! One message in a chunk of the log. Bounded by its content, its token and device, and a list of [`LIST_MAX`] recipients.

use super::recipients::{NAMED_MAX, Recipients};
use super::record::{BorrowDecode, ENTRY_BYTES_MAX, Encode, RecordError};
use super::{LIST_MAX, keys};
use crate::config::MESSAGE_BYTES_MAX;
use crate::id::{DeviceId, MessageId, RetryToken};
use crate::message::{Content, Message};
use crate::time::Timestamp;

/// The first byte of a chunk's keys.
pub(crate) const LETTER: u8 = b'l';

/// The key of the chunk that begins with number `first`.
pub(crate) fn key(conversation: u64, first: u64) -> Vec<u8> {
    keys::numbered(LETTER, &[conversation, first])
}

const RECEIPT: u8 = 1;
const BINARY: u8 = 2;
const NARROWED: u8 = 4;
/// The list names who is left out.
const LEFT_OUT: u8 = 8;
/// The list stands in rows of its own: here is its length.
const PAGED: u8 = 16;

/// One message in a chunk.
#[derive(Encode, BorrowDecode)]
pub(crate) struct Entry<'a> {
    id: [u8; 16],
    position: u64,
    timestamp: u64,
    from: u64,
    flags: u8,
    device: Option<&'a str>,
    token: Option<&'a str>,
    to: Vec<u64>,
    content: &'a [u8],
}

// An entry alone fits a chunk, whatever the settings: so appending to a log cannot fail.
const _: () = assert!(
    MESSAGE_BYTES_MAX + 9 * LIST_MAX + DeviceId::BYTES_MAX + RetryToken::BYTES_MAX + 128 < ENTRY_BYTES_MAX
        && NAMED_MAX <= LIST_MAX
);

impl<'a> Entry<'a> {
    /// The entry of `message`, sent by the peer with number `from` to `to`.
    pub(crate) fn new(message: &'a Message, from: u64, to: &Recipients, token: Option<&'a str>) -> Self {
        let (content, binary) = match &message.content {
            Content::Text(text) => (text.as_bytes(), 0),
            Content::Binary(bytes) => (bytes.as_slice(), BINARY),
        };
        let receipt = if message.receipt { RECEIPT } else { 0 };
        let narrowed = match to {
            Recipients::All => 0,
            Recipients::Only(_) => NARROWED,
            Recipients::AllBut(_) => NARROWED | LEFT_OUT,
        };
        let (paged, to) = match to.listed() {
            listed if to.is_paged() => (PAGED, vec![listed.len() as u64]),
            listed => (0, listed.to_vec()),
        };
        Self {
            id: *message.id.as_bytes(),
            position: message.position,
            timestamp: message.timestamp.as_millis(),
            from,
            flags: receipt | binary | narrowed | paged,
            device: message.device.as_ref().map(DeviceId::as_str),
            token,
            to,
            content,
        }
    }

    /// Its place in the order of everything.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// When it was accepted.
    pub(crate) const fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.timestamp)
    }

    /// How many recipients stand in rows of their own.
    pub(crate) fn paged(&self) -> Option<u64> {
        (self.flags & PAGED != 0).then(|| self.to.first().copied().unwrap_or_default())
    }

    /// The size of its content in bytes.
    #[cfg(feature = "testing")]
    pub(crate) fn content_bytes(&self) -> usize {
        self.content.len()
    }

    /// The message as the store has it, `listed` where its recipients stand in rows of their own.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] where its content is not text.
    pub(crate) fn into_stored(self, number: u64, listed: Option<Vec<u64>>) -> Result<Stored, RecordError> {
        let content = if self.flags & BINARY != 0 {
            Content::Binary(self.content.to_vec())
        } else {
            Content::Text(std::str::from_utf8(self.content).map_err(|_| RecordError::Malformed)?.to_owned())
        };
        let listed = listed.unwrap_or(self.to);
        let to = match self.flags & (NARROWED | LEFT_OUT) {
            0 => Recipients::All,
            NARROWED => Recipients::Only(listed),
            _ => Recipients::AllBut(listed),
        };
        Ok(Stored {
            number,
            id: MessageId::from_bytes(self.id),
            position: self.position,
            timestamp: Timestamp::from_millis(self.timestamp),
            from: self.from,
            receipt: self.flags & RECEIPT != 0,
            to,
            device: self.device.map(str::to_owned),
            token: self.token.map(str::to_owned),
            deleted: false,
            content,
        })
    }
}

/// A message as the store has it: peers by their numbers.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) number: u64,
    pub(crate) id: MessageId,
    pub(crate) position: u64,
    pub(crate) timestamp: Timestamp,
    pub(crate) from: u64,
    pub(crate) receipt: bool,
    pub(crate) to: Recipients,
    pub(crate) device: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) deleted: bool,
    pub(crate) content: Content,
}
