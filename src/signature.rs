//! Signatures: what a host's own server allows a client to do, checked without asking that server.
//!
//! HMAC-SHA1 under the application's master key, as hex, over fields joined by `:` (V1 guide, "签名方法"). The strings:
//!
//! | action | signed string |
//! |---|---|
//! | open, watch | `app_id:peer_id:watch_peer_ids:timestamp:nonce` |
//! | open as a super peer | `app_id:peer_id:watch_peer_ids:timestamp:nonce:su` (`:sp` accepted as well) |
//! | join | `app_id:peer_id:group_id::timestamp:nonce:join` (or with the own id as list; `group_id` empty when creating) |
//! | invite | `app_id:peer_id:group_id:group_peer_ids:timestamp:nonce:invite` |
//! | kick | `app_id:peer_id:group_id:group_peer_ids:timestamp:nonce:kick` |
//!
//! Lists of ids are sorted ascending and joined by `:`; an empty list is an empty field. Leaving is not signed.
//!
//! Joined fields alone are ambiguous: watching `b` and `c` and watching `b:c` sign the same string. So while signatures are
//! on, no id may contain `:`, and nonces and timestamps follow the strict rules of [`Verifier::verify`]. Under those rules
//! no two different requests share a string, except an open and a watch of the same list, which [`Nonces`] tells apart: a
//! nonce serves once.
//!
//! [`Verifier`] checks, [`Nonces`] remembers what was used, [`Signer`] makes signatures on a host's server.

mod keys;
mod nonces;

use std::fmt;
use std::time::Duration;

use smallvec::SmallVec;

use crate::id::{ConversationId, PeerId};
use crate::time::Timestamp;

pub use keys::{KeyError, KeyId, Keys};
pub use nonces::{Nonces, UsedNonce};

/// A signature as a client presents it: the wire's `t`, `n` and `s`.
///
/// `Debug` leaves out the signature itself: until it is used, whoever reads it can use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    /// When it was made (`t`): decimal digits, 13 of them are milliseconds since the Unix epoch, fewer are seconds.
    pub timestamp: String,
    /// A random text (`n`) that serves once.
    pub nonce: String,
    /// 40 hex digits of either case (`s`).
    pub signature: String,
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signature")
            .field("timestamp", &self.timestamp)
            .field("nonce", &self.nonce)
            .finish_non_exhaustive()
    }
}

/// What a signature allows. Lists may come in any order.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Action<'a> {
    /// Open a session of `peer` that watches `watch`.
    Open {
        /// Who opens.
        peer: &'a PeerId,
        /// The peers to watch.
        watch: &'a [PeerId],
        /// Whether the session may send to peers without watching them.
        super_peer: bool,
    },
    /// Watch more peers; the same string as an open without `super_peer`.
    Watch {
        /// Who watches.
        peer: &'a PeerId,
        /// The peers to watch.
        watch: &'a [PeerId],
    },
    /// Start a conversation: a group or a temporary one with these members, a room, or a group of one where none is named.
    /// The first guide's string for joining, with an empty group and the members in the place of the group's peers.
    Create {
        /// Who starts it.
        peer: &'a PeerId,
        /// The others, each once; the creator among them changes nothing.
        members: &'a [PeerId],
    },
    /// Join a group.
    Join {
        /// Who joins.
        peer: &'a PeerId,
        /// The group.
        group: &'a ConversationId,
    },
    /// Invite peers to a group.
    Invite {
        /// Who invites.
        peer: &'a PeerId,
        /// The group.
        group: &'a ConversationId,
        /// Who is invited.
        peers: &'a [PeerId],
    },
    /// Remove peers from a group.
    Kick {
        /// Who removes.
        peer: &'a PeerId,
        /// The group.
        group: &'a ConversationId,
        /// Who is removed.
        peers: &'a [PeerId],
    },
}

/// Why a signature was refused: for the host's log only.
///
/// Clients get one public error whatever the cause: [`Error::SignatureFailed`](crate::error::Error::SignatureFailed) for an
/// open or a watch, [`Error::ConversationSignatureFailed`](crate::error::Error::ConversationSignatureFailed) for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The timestamp is not `[1-9][0-9]{0,12}`.
    #[error("malformed timestamp")]
    Timestamp,
    /// The timestamp lies outside of the window.
    #[error("timestamp outside of the window")]
    Window,
    /// The nonce is empty, over 64 characters, contains `:` or is an action's word.
    #[error("malformed nonce")]
    Nonce,
    /// An id contains `:`, which would make the signed string ambiguous.
    #[error("an id contains a colon")]
    Id,
    /// The signature is not 40 hex digits.
    #[error("not 40 hex digits")]
    Malformed,
    /// No key made this signature for this action.
    #[error("no key matches")]
    Mismatch,
    /// The peer has used this nonce before.
    #[error("nonce used before")]
    Replayed,
    /// The memory of used nonces is full, so a replay could not be told.
    #[error("memory of nonces full")]
    NoncesFull,
}

/// What is known of an accepted signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The key that made it: sessions that rest on a removed key are voided by this.
    pub key: KeyId,
    /// The last moment at which the signature is inside the window, and so the moment until which its nonce has to be
    /// remembered.
    pub valid_until: Timestamp,
}

/// Checks signatures for one application.
///
/// ```
/// use std::time::Duration;
/// use switchboard::id::PeerId;
/// use switchboard::signature::{Action, Cause, Keys, Signer, Verifier};
/// use switchboard::time::Timestamp;
///
/// let verifier = Verifier::new("app", Keys::new(["the application's master key"])?)?;
/// let signer = Signer::new("app", "the application's master key")?;
///
/// let now = Timestamp::from_millis(1_700_000_000_000);
/// let (alice, bob) = (PeerId::new("alice")?, PeerId::new("bob")?);
/// let open = Action::Open { peer: &alice, watch: &[bob], super_peer: false };
/// let signature = signer.sign(&open, "4f0c1d", now)?;
///
/// assert!(verifier.verify(&open, &signature, now + Duration::from_secs(60)).is_ok());
/// let alone = Action::Open { peer: &alice, watch: &[], super_peer: false };
/// assert_eq!(verifier.verify(&alone, &signature, now), Err(Cause::Mismatch));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Verifier {
    app_id: AppId,
    keys: Keys,
    past: Duration,
    future: Duration,
}

impl Verifier {
    /// How old a signature may be: the second generation's documented six hours.
    pub const PAST: Duration = Duration::from_secs(6 * 60 * 60);
    /// How far ahead of the engine's clock a signer's may be.
    pub const FUTURE: Duration = Duration::from_secs(5 * 60);

    /// A verifier with the default window.
    ///
    /// # Errors
    /// [`KeyError::AppId`] where `app_id` is empty or contains `:`.
    pub fn new(app_id: &str, keys: Keys) -> Result<Self, KeyError> {
        Ok(Self { app_id: AppId::new(app_id)?, keys, past: Self::PAST, future: Self::FUTURE })
    }

    /// The same verifier with another window: timestamps at most `past` back and `future` ahead pass, both ends included.
    #[must_use]
    pub fn with_window(self, past: Duration, future: Duration) -> Self {
        Self { past, future, ..self }
    }

    /// The keys that are tried.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Replaces the keys; what an old one signed is refused from now on unless the new ones contain it.
    pub fn set_keys(&mut self, keys: Keys) {
        self.keys = keys;
    }

    /// Checks that one of the keys made `signature` for `action`, inside the window.
    ///
    /// The rules: a timestamp of `[1-9][0-9]{0,12}`, in milliseconds where it has 13 digits, else in seconds; a nonce of 1
    /// to 64 characters without `:` that is none of the words which end signed strings; no `:` in any id. Every key is
    /// tried, always, and compared in constant time. Ids are taken in byte order, and where it differs in the UTF-16 order
    /// of JavaScript's `sort` too.
    ///
    /// Whether the nonce was used before is the question of [`Nonces::check`].
    ///
    /// # Errors
    /// The [`Cause`], for the host's log.
    pub fn verify(&self, action: &Action<'_>, signature: &Signature, now: Timestamp) -> Result<Verified, Cause> {
        let signed_at = parse_timestamp(&signature.timestamp)?;
        let valid_until = signed_at + self.past;
        if now > valid_until || signed_at > now + self.future {
            return Err(Cause::Window);
        }
        check_nonce(&signature.nonce)?;
        let presented = decode_hex(&signature.signature).ok_or(Cause::Malformed)?;
        let layout = Layout::of(action);
        layout.check()?;

        let mut search = self.keys.search(&presented);
        layout.each_text(&self.app_id, &signature.timestamp, &signature.nonce, |text| search.try_all(text));
        let key = search.found().ok_or(Cause::Mismatch)?;
        Ok(Verified { key, valid_until })
    }
}

/// Makes signatures on a host's own server. Never ship the key to a client.
///
/// ```
/// use switchboard::id::PeerId;
/// use switchboard::signature::{Action, Signer};
/// use switchboard::time::Timestamp;
///
/// let signer = Signer::new("app", "the application's master key")?;
/// let alice = PeerId::new("alice")?;
/// let open = Action::Open { peer: &alice, watch: &[], super_peer: false };
/// let signature = signer.sign(&open, "4f0c1d", Timestamp::from_millis(1_700_000_000_000))?;
/// // The HMAC-SHA1 of `app:alice::1700000000:4f0c1d`.
/// assert_eq!(signature.timestamp, "1700000000");
/// assert_eq!(signature.signature, "f529e59b702b1d1c66a10498dc0e0924b2b61cdc");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Signer {
    app_id: AppId,
    keys: Keys,
}

impl Signer {
    /// A signer with the application's master key.
    ///
    /// # Errors
    /// [`KeyError`] where the key is under [`Keys::KEY_BYTES_MIN`] bytes, or `app_id` is empty or contains `:`.
    pub fn new(app_id: &str, key: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Ok(Self { app_id: AppId::new(app_id)?, keys: Keys::new([key])? })
    }

    /// Signs `action` at the time `now`, in whole seconds as the V1 guide has it. `nonce` should be random: each serves once.
    ///
    /// # Errors
    /// The [`Cause`] for which a [`Verifier`] would refuse what was asked: [`Cause::Timestamp`], [`Cause::Nonce`] or
    /// [`Cause::Id`].
    pub fn sign(&self, action: &Action<'_>, nonce: &str, now: Timestamp) -> Result<Signature, Cause> {
        self.sign_at(action, (now.as_millis() / 1000).to_string(), nonce)
    }

    fn sign_at(&self, action: &Action<'_>, timestamp: String, nonce: &str) -> Result<Signature, Cause> {
        parse_timestamp(&timestamp)?;
        check_nonce(nonce)?;
        let layout = Layout::of(action);
        layout.check()?;
        // The first spelling is the documented one.
        let mut signature = None;
        layout.each_text(&self.app_id, &timestamp, nonce, |text| {
            signature.get_or_insert_with(|| self.keys.sign(text));
        });
        let signature = encode_hex(&signature.unwrap_or_default());
        Ok(Signature { timestamp, nonce: nonce.to_owned(), signature })
    }
}

/// Whether `id` may stand in a signed string. While signatures are on, a peer whose id may not is refused with 4103.
#[must_use]
pub fn is_signable(id: &str) -> bool {
    !id.is_empty() && !id.contains(':')
}

/// An application's id that may stand in a signed string.
#[derive(Clone, Debug)]
struct AppId(String);

impl AppId {
    fn new(id: &str) -> Result<Self, KeyError> {
        if is_signable(id) { Ok(Self(id.to_owned())) } else { Err(KeyError::AppId) }
    }
}

/// The fields of a signed string between the application's id and the timestamp, and how the string may end.
struct Layout<'a> {
    peer: &'a str,
    /// `Some` where the layout has a field for the group, which is empty when creating one.
    group: Option<&'a str>,
    list: &'a [PeerId],
    /// Whether the own id may stand in the list or not: documents differ for a peer that joins by itself, and for whether a
    /// creator is one of the members.
    may_list_self: bool,
    /// The documented ending first.
    endings: &'static [&'static str],
}

/// The ids of a list, in the order in which they are signed. Eight fit without an allocation.
type Sorted<'a> = SmallVec<[&'a str; 8]>;

impl<'a> Layout<'a> {
    fn of(action: &Action<'a>) -> Self {
        let plain = |peer: &'a PeerId, list, endings| Self {
            peer: peer.as_str(),
            group: None,
            list,
            may_list_self: false,
            endings,
        };
        let group = |peer: &'a PeerId, group: &'a ConversationId, list, endings| Self {
            group: Some(group.as_str()),
            ..plain(peer, list, endings)
        };
        match *action {
            Action::Open { peer, watch, super_peer: false } | Action::Watch { peer, watch } => {
                plain(peer, watch, &[""])
            }
            Action::Open { peer, watch, super_peer: true } => plain(peer, watch, &[":su", ":sp"]),
            Action::Create { peer, members } => {
                Self { group: Some(""), may_list_self: true, ..plain(peer, members, &[":join"]) }
            }
            Action::Join { peer, group: to } => Self { may_list_self: true, ..group(peer, to, &[], &[":join"]) },
            Action::Invite { peer, group: to, peers } => group(peer, to, peers, &[":invite"]),
            Action::Kick { peer, group: from, peers } => group(peer, from, peers, &[":kick"]),
        }
    }

    /// No `:` in any id. (None is empty, by its type.)
    fn check(&self) -> Result<(), Cause> {
        let has_colon = |id: &str| id.as_bytes().contains(&b':');
        let refused = has_colon(self.peer)
            || self.group.is_some_and(has_colon)
            || self.list.iter().any(|id| has_colon(id.as_str()));
        if refused { Err(Cause::Id) } else { Ok(()) }
    }

    /// Gives `take` every string that the action may be signed as, the documented one first.
    fn each_text(&self, app_id: &AppId, timestamp: &str, nonce: &str, mut take: impl FnMut(&[u8])) {
        let mut text = Vec::with_capacity(256);
        push(&mut text, &app_id.0);
        push(&mut text, self.peer);
        if let Some(group) = self.group {
            push(&mut text, group);
        }
        let head = text.len();
        // The list stands behind `head`, each id with its colon; then come the timestamp, the nonce and the ending.
        let mut complete = |text: &mut Vec<u8>| {
            if text.len() == head {
                text.push(b':');
            }
            push(text, timestamp);
            text.extend_from_slice(nonce.as_bytes());
            let end = text.len();
            for ending in self.endings {
                text.truncate(end);
                text.extend_from_slice(ending.as_bytes());
                take(text);
            }
        };

        if !self.may_list_self && self.list.is_sorted() {
            self.list.iter().for_each(|id| push(&mut text, id.as_str()));
            let has_astral = text[head..].iter().any(|&byte| byte >= FOUR_BYTES_LEAD);
            complete(&mut text);
            if !has_astral {
                return;
            }
        }
        for ids in self.lists() {
            text.truncate(head);
            ids.iter().for_each(|id| push(&mut text, id));
            complete(&mut text);
        }
    }

    /// The list in every order and with every member that it may be signed with, the documented one first.
    fn lists(&self) -> SmallVec<[Sorted<'a>; 4]> {
        let named = self.list.iter().map(PeerId::as_str);
        let mut lists: SmallVec<[Sorted<'a>; 4]> = SmallVec::new();
        if self.may_list_self {
            let others: Sorted<'a> = named.filter(|id| *id != self.peer).collect();
            let all = others.iter().copied().chain([self.peer]).collect();
            lists.extend([others, all]);
        } else {
            lists.push(named.collect());
        }
        for at in 0..lists.len() {
            lists[at].sort_unstable();
            let mut utf16 = lists[at].clone();
            utf16.sort_unstable_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
            if utf16 != lists[at] {
                lists.push(utf16);
            }
        }
        lists
    }
}

/// The first byte of a character beyond U+FFFF is this or more. Only such characters have another place among UTF-16 code
/// units, before those from U+E000 to U+FFFF, than among bytes.
const FOUR_BYTES_LEAD: u8 = 0xf0;

/// Adds a field with the colon that ends it.
fn push(text: &mut Vec<u8>, field: &str) {
    text.extend_from_slice(field.as_bytes());
    text.push(b':');
}

/// Digits of a timestamp in milliseconds. One in seconds has that many only 31,000 years from now.
const MILLIS_DIGITS: usize = 13;

fn parse_timestamp(text: &str) -> Result<Timestamp, Cause> {
    let digits = text.as_bytes();
    if digits.is_empty() || digits.len() > MILLIS_DIGITS || digits[0] == b'0' {
        return Err(Cause::Timestamp);
    }
    let mut number = 0;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return Err(Cause::Timestamp);
        }
        number = number * 10 + u64::from(value);
    }
    Ok(Timestamp::from_millis(if digits.len() == MILLIS_DIGITS { number } else { number * 1000 }))
}

/// Characters that a nonce may have at most.
pub const NONCE_CHARS_MAX: usize = 64;

fn check_nonce(nonce: &str) -> Result<(), Cause> {
    let fits = !nonce.is_empty() && (nonce.len() <= NONCE_CHARS_MAX || nonce.chars().nth(NONCE_CHARS_MAX).is_none());
    if fits && !nonce.as_bytes().contains(&b':') && !is_action_word(nonce) { Ok(()) } else { Err(Cause::Nonce) }
}

/// The words that end signed strings in either generation: as a nonce they would make one action's string another's.
fn is_action_word(nonce: &str) -> bool {
    matches!(
        nonce,
        "su" | "sp"
            | "join"
            | "invite"
            | "kick"
            | "client-block-conversations"
            | "client-unblock-conversations"
            | "conversation-block-clients"
            | "conversation-unblock-clients"
    )
}

/// The bytes of an HMAC-SHA1.
type Mac = [u8; 20];

/// The bytes that exactly 40 hex digits stand for. What is decoded is what the client sent: its timing tells nothing.
fn decode_hex(text: &str) -> Option<Mac> {
    let digits: &[u8; 40] = text.as_bytes().try_into().ok()?;
    // Without branches, so that many digits are done at a time.
    let values = digits.map(hex_value);
    let all_hex = values.iter().fold(0, |all, value| all | value) < NOT_HEX;
    all_hex.then(|| std::array::from_fn(|at| values[2 * at] << 4 | values[2 * at + 1]))
}

/// More than any hex digit's value.
const NOT_HEX: u8 = 0x10;

fn hex_value(digit: u8) -> u8 {
    let (number, letter) = (digit.wrapping_sub(b'0'), (digit | 0x20).wrapping_sub(b'a'));
    let letter = if letter < 6 { letter + 10 } else { NOT_HEX };
    if number < 10 { number } else { letter }
}

fn encode_hex(mac: &Mac) -> String {
    let digits = mac.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

#[cfg(test)]
mod tests;
