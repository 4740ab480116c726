//! Ids, parsed once at the door: what holds one of these types need not be checked again.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use md5::{Digest, Md5};
use smallvec::SmallVec;

use crate::time::Timestamp;

/// Why a text is not an id. As an [`Error`](crate::Error) each has its documented code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// No peer can have this id (4103).
    #[error("invalid peer id")]
    Peer,
    /// No conversation can have this id (4401).
    #[error("invalid conversation id")]
    Conversation,
    /// The text is longer than ids of this type may be (4318).
    #[error("over the limit {limit} ({max})")]
    TooLong {
        /// The name of the limit.
        limit: &'static str,
        /// The limit in bytes.
        max: u64,
    },
    /// The text is empty or has control characters (4114).
    #[error("empty, or with control characters")]
    Malformed,
}

/// Bytes that a peer id may have at most, whatever its characters: four for each of the V1 guide's fifty.
pub const PEER_ID_BYTES_MAX: usize = 200;

/// The id of a peer: an identity that the application defines.
///
/// 1 to 50 characters of UTF-8 (4103 otherwise) without control characters, bidirectional controls, zero-width characters or
/// white space at either end; compared byte by byte. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(Arc<str>);

impl PeerId {
    /// Characters in a peer id by the first generation's rule.
    pub const CHARS_MAX: usize = 50;

    /// Parses an id by the first generation's rule.
    ///
    /// # Errors
    /// [`IdError::Peer`] (4103).
    pub fn new(id: &str) -> Result<Self, IdError> {
        Self::with_max(id, Self::CHARS_MAX)
    }

    /// Parses an id of at most `chars_max` characters and [`PEER_ID_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// [`IdError::Peer`] (4103).
    pub fn with_max(id: &str, chars_max: usize) -> Result<Self, IdError> {
        let fits = !id.is_empty() && id.len() <= PEER_ID_BYTES_MAX && id.chars().count() <= chars_max;
        let trimmed = id.trim().len() == id.len();
        if fits && trimmed && !id.chars().any(is_invisible) { Ok(Self(Arc::from(id))) } else { Err(IdError::Peer) }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Characters that make two different ids look alike or break a log line.
fn is_invisible(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_zero_width(c)
}

/// Characters that show nothing and take no room: joiners, soft hyphens, bidirectional controls, fillers, variation
/// selectors, tags.
pub(crate) fn is_zero_width(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

macro_rules! text_id {
    ($name:ident) => {
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_id!(PeerId);

/// The id of a conversation.
///
/// Normal ones are 24 hex characters, temporary ones begin with `_tmp:`, a direct one is the md5 of its sorted peer ids
/// joined with `:`. Clients only hand back what they were given, so any other text is merely unknown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationId(Arc<str>);

impl ConversationId {
    /// Bytes that a conversation id may have at most; the engine's own have at most 32.
    pub const BYTES_MAX: usize = 64;

    /// Takes an id that a client names.
    ///
    /// # Errors
    /// [`IdError::Conversation`] (4401) where no conversation can have this id.
    pub fn new(id: &str) -> Result<Self, IdError> {
        if id.is_empty() || id.len() > Self::BYTES_MAX || id.chars().any(is_invisible) {
            Err(IdError::Conversation)
        } else {
            Ok(Self(Arc::from(id)))
        }
    }

    /// The documented id of the direct conversation between `peers`, in any order: the md5 of their ids in byte order,
    /// joined with `:`, as lower-case hex (V1 REST guide).
    ///
    /// Sets that differ can share it, `a:b` with `c` and `a` with `b:c` among them: compare the sets before you rely on it.
    #[must_use]
    pub fn direct(peers: &[PeerId]) -> Self {
        let mut ids: SmallVec<[&str; 8]> = peers.iter().map(PeerId::as_str).collect();
        ids.sort_unstable();
        let mut hash = Md5::new();
        for (at, id) in ids.iter().enumerate() {
            if at > 0 {
                hash.update(":");
            }
            hash.update(id);
        }
        let digest = uuid::Uuid::from_bytes(hash.finalize().into());
        Self(Arc::from(&*digest.simple().encode_lower(&mut uuid::Uuid::encode_buffer())))
    }

    /// An id that the engine made.
    pub(crate) fn made(id: String) -> Self {
        Self(Arc::from(id))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_id!(ConversationId);

/// The id of one of a peer's installations, as its host or client names it: 1 to 128 bytes without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(Arc<str>);

/// A label that at most one of a peer's sessions holds: 1 to 128 bytes without control characters.
///
/// `default` never conflicts, as if no tag was given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

/// A sender's own token for a message, by which a repeated attempt is known: 1 to 128 bytes.
///
/// Known for [`Config::retry_token_after`](crate::Config::retry_token_after) (24 hours) and among the last
/// [`Config::retry_tokens_max`](crate::Config::retry_tokens_max) (1,000) of its sender, whichever ends first: a client that
/// repeats an attempt does so before its next thousand. A repeat after that is a new message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetryToken(Arc<str>);

macro_rules! short_text {
    ($name:ident) => {
        impl $name {
            /// Bytes at most.
            pub const BYTES_MAX: usize = 128;

            /// Parses the text.
            ///
            /// # Errors
            /// [`IdError::TooLong`] (4318) where it is too long, [`IdError::Malformed`] (4114) where it is empty or has
            /// control characters.
            pub fn new(text: &str) -> Result<Self, IdError> {
                if text.len() > Self::BYTES_MAX {
                    Err(IdError::TooLong {
                        limit: concat!(stringify!($name), "::BYTES_MAX"),
                        max: Self::BYTES_MAX as u64,
                    })
                } else if text.is_empty() || text.chars().any(char::is_control) {
                    Err(IdError::Malformed)
                } else {
                    Ok(Self(Arc::from(text)))
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        text_id!($name);
    };
}

short_text!(DeviceId);
short_text!(Tag);
short_text!(RetryToken);

/// The id of a message: 16 bytes, ordered by time (UUID version 7), shown as 22 characters whose order is the ids' order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId([u8; 16]);

impl MessageId {
    /// Six bits a character, in the order of the characters' codes, so that comparing texts compares ids.
    const ALPHABET: &'static [u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
    /// Characters of an id as text.
    pub const CHARS: usize = 22;

    /// The largest counter of one millisecond: 32 bits of the id.
    pub(crate) const PER_MILLISECOND_MAX: u32 = u32::MAX;
    /// Random bits of an id, after the 48 of the time and the 32 of the counter; UUIDs take six for themselves.
    const RANDOM_BITS: u32 = 42;

    /// An id of time `at`: `counter` orders the ids of one millisecond, `random` makes them unique.
    pub(crate) fn new(at: Timestamp, counter: u32, random: u64) -> Self {
        let (high, low) = ((counter >> 20) as u16, u64::from(counter & 0x000f_ffff));
        let rest = low << Self::RANDOM_BITS | random & ((1 << Self::RANDOM_BITS) - 1);
        let mut tail = [0; 10];
        tail[..2].copy_from_slice(&high.to_be_bytes());
        tail[2..].copy_from_slice(&rest.to_be_bytes());
        Self(uuid::Builder::from_unix_timestamp_millis(at.as_millis(), &tail).into_uuid().into_bytes())
    }

    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id's bytes, big-endian.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id that [`Display`](fmt::Display) shows as `text`, if any.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != Self::CHARS {
            return None;
        }
        let mut bits: u128 = 0;
        for (at, c) in text.bytes().enumerate() {
            let digit = Self::ALPHABET.iter().position(|&known| known == c)? as u128;
            // The last character carries only the two lowest bits.
            bits = match at {
                21 if digit & 0xf != 0 => return None,
                21 => bits << 2 | digit >> 4,
                _ => bits << 6 | digit,
            };
        }
        Some(Self(bits.to_be_bytes()))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let digit = |at: u32| match at {
            21 => (bits << 4) as usize & 0x30,
            _ => (bits >> (122 - 6 * at)) as usize & 0x3f,
        };
        (0..22).try_for_each(|at| fmt::Write::write_char(f, char::from(Self::ALPHABET[digit(at)])))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The id of a session: a place in one engine's table, with the engine's node and start, so that no other session of any
/// engine ever has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    pub(crate) node: u16,
    pub(crate) epoch: u32,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl SessionId {
    /// The session's place in the engine's table: small, dense, and given again after the session's end.
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// How often the place was given before.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}.{}", self.node, self.epoch, self.slot, self.generation)
    }
}

/// Names an answer that comes later, as an output or by [`resolve`](crate::Engine).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The secret by which a session is resumed: 128 random bits in 32 hex digits, good once.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken(pub(crate) String);

impl ResumeToken {
    /// Takes a token that a client hands back; a malformed one is merely unknown.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.chars().take(64).collect())
    }

    /// The token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResumeToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_ids_end_at_fifty_characters_of_any_size() {
        assert!(PeerId::new(&"a".repeat(50)).is_ok());
        assert!(PeerId::new(&"\u{1F600}".repeat(50)).is_ok());
        assert_eq!(PeerId::new(&"a".repeat(51)), Err(IdError::Peer));
        assert_eq!(PeerId::new(""), Err(IdError::Peer));
        assert!(PeerId::with_max(&"a".repeat(64), 64).is_ok());
        assert!(PeerId::with_max(&"\u{1F600}".repeat(51), 64).is_err(), "200 bytes at most");
    }

    #[test]
    fn peer_ids_have_nothing_invisible() {
        for bad in [
            "a\0",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{200d}b",
            "a\u{feff}",
            " a",
            "a\u{3000}",
            "\u{e0041}",
        ] {
            assert_eq!(PeerId::new(bad), Err(IdError::Peer), "{bad:?}");
        }
        for good in ["a:b", "a.b", "*", ">", "a b", "a/b", "\u{e9}", "e\u{301}", "\u{6c64}\u{59c6}"] {
            assert_eq!(PeerId::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_direct_conversation_has_the_documented_id_in_any_order() {
        let id = |ids: &[&str]| {
            let peers: Vec<PeerId> = ids.iter().map(|id| PeerId::new(id).unwrap()).collect();
            ConversationId::direct(&peers).to_string()
        };
        assert_eq!(id(&["u0988", "u1234"]), "bcd26a54e98687390b0abb4d83683d4b");
        assert_eq!(id(&["u1234", "u0988"]), "bcd26a54e98687390b0abb4d83683d4b");
        assert_eq!(id(&["a:b", "c"]), id(&["a", "b:c"]), "the documented hash collides");
        assert_ne!(id(&["a", "b"]), id(&["a", "c"]));
    }

    #[test]
    fn message_ids_keep_their_order_as_text() {
        let id = |at, counter, random| MessageId::new(Timestamp::from_millis(at), counter, random);
        let ids =
            [id(1, 0, u64::MAX), id(1, 1, 0), id(1, 0xf_ffff, 9), id(1, 0x10_0000, 0), id(2, 0, 0), id(1 << 47, 3, 7)];
        for pair in ids.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_string() < pair[1].to_string());
        }
        for id in ids {
            assert_eq!(id.to_string().len(), MessageId::CHARS);
            assert_eq!(MessageId::parse(&id.to_string()), Some(id));
        }
        assert_eq!(MessageId::parse("zzzzzzzzzzzzzzzzzzzzzz"), None, "bits beyond the id");
        assert_eq!(MessageId::parse("short"), None);
    }
}
