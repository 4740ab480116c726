//! One error type for everything a caller can be refused, with the documented numeric codes.

use crate::id::{IdError, PeerId};

/// Why a request was refused, or a session closed.
///
/// A refused request has changed nothing. [`code`](Self::code) is the number that the documents publish and that goes over
/// the wire; the text names no secret, no path and no other peer's state. [`advice`](Self::advice) says what the caller can
/// do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request names another application (4100).
    #[error("application not available")]
    AppNotAvailable,
    /// The signature of an open or a watch, or an account's token, was not accepted (4102).
    #[error("signature failed")]
    SignatureFailed,
    /// A peer id is malformed (4103).
    #[error("invalid peer id")]
    InvalidPeerId,
    /// The session is not open (4105).
    #[error("session required")]
    SessionRequired,
    /// The peer is barred from the service (4106).
    #[error("blacklisted")]
    Blacklisted,
    /// Nothing was received for the read timeout (4107).
    #[error("read timeout")]
    ReadTimeout,
    /// Connected, but no session was opened within the login timeout (4108).
    #[error("login timeout")]
    LoginTimeout,
    /// A frame, or content with its push data, is over its limit in bytes (4109).
    #[error("{limit} over {max} bytes")]
    TooLong {
        /// The name of the limit, as in [`Config`](crate::Config).
        limit: &'static str,
        /// The limit in bytes.
        max: u64,
    },
    /// Another device holds the session's tag (4111).
    #[error("session conflict")]
    SessionConflict,
    /// The resume token is unknown, used, expired or void (4112).
    #[error("session token expired")]
    TokenExpired,
    /// A frame cannot be parsed, or no client may send it (4114).
    #[error("unparseable message")]
    Unparseable,
    /// The host closed the session (4115).
    #[error("kicked by the application")]
    KickedByApp,
    /// The engine is shutting down (4200).
    #[error("shutting down")]
    Closed,
    /// A hook called its own hub, or a store that writes inline did (4200). The call would have waited for itself: what a hook
    /// wants done it returns, or has another thread do without waiting for it.
    #[error("called from inside a hook")]
    InsideHook,
    /// A deferred answer is to another kind of question than was asked (4200). The question stays open.
    #[error("answer to another question")]
    WrongAnswer,
    /// An internal fault (4200).
    #[error("internal error")]
    Internal,
    /// The store does not take writes now; surely not stored (4200).
    #[error("store unavailable")]
    StoreUnavailable,
    /// The store did not answer in time; the message may be stored, and a retry token tells (4200).
    #[error("store timeout: may be stored")]
    MayBeStored,
    /// The signature of a group action was not accepted (4302).
    #[error("conversation signature failed")]
    ConversationSignatureFailed,
    /// The group has as many members as it may have (4304).
    #[error("conversation full")]
    ConversationFull,
    /// The conversation's kind does not know this action (4314).
    #[error("not possible in this kind of conversation")]
    WrongConversationKind,
    /// A number limit, named in `limit` (4318).
    #[error("over the limit {limit} ({max})")]
    OverLimit {
        /// The name of the limit, as in [`Config`](crate::Config).
        limit: &'static str,
        /// The limit.
        max: u64,
    },
    /// Conversation or recipient unknown, not permitted, or not a member: indistinguishable on purpose (4401).
    #[error("invalid messaging target")]
    InvalidTarget {
        /// The recipients that failed, where the request named peers.
        peers: Vec<PeerId>,
    },
    /// A hook dropped the message (4402).
    #[error("message rejected by the application")]
    MessageRejected,
    /// The message to delete is not in the log (4404).
    #[error("message not found")]
    MessageNotFound,
    /// A temporary conversation is over (4323).
    #[error("temporary conversation expired")]
    ConversationExpired,
}

impl From<IdError> for Error {
    fn from(error: IdError) -> Self {
        match error {
            IdError::Peer => Self::InvalidPeerId,
            IdError::Conversation => Self::no_target(),
            IdError::TooLong { limit, max } => Self::OverLimit { limit, max },
            IdError::Malformed => Self::Unparseable,
        }
    }
}

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// The same request may succeed later.
    Retry,
    /// The request itself has to change.
    Correct,
    /// Open the session again, with a fresh signature or token.
    SignIn,
    /// Nothing the caller does will help.
    GiveUp,
}

impl Error {
    /// A missing or forbidden conversation.
    #[must_use]
    pub const fn no_target() -> Self {
        Self::InvalidTarget { peers: Vec::new() }
    }

    /// The documented code, as it goes over the wire.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::AppNotAvailable => 4100,
            Self::SignatureFailed => 4102,
            Self::InvalidPeerId => 4103,
            Self::SessionRequired => 4105,
            Self::Blacklisted => 4106,
            Self::ReadTimeout => 4107,
            Self::LoginTimeout => 4108,
            Self::TooLong { .. } => 4109,
            Self::SessionConflict => 4111,
            Self::TokenExpired => 4112,
            Self::Unparseable => 4114,
            Self::KickedByApp => 4115,
            Self::Closed
            | Self::InsideHook
            | Self::WrongAnswer
            | Self::Internal
            | Self::StoreUnavailable
            | Self::MayBeStored => 4200,
            Self::ConversationSignatureFailed => 4302,
            Self::ConversationFull => 4304,
            Self::WrongConversationKind => 4314,
            Self::OverLimit { .. } => 4318,
            Self::ConversationExpired => 4323,
            Self::InvalidTarget { .. } => 4401,
            Self::MessageRejected => 4402,
            Self::MessageNotFound => 4404,
        }
    }

    /// What the caller can do next.
    #[must_use]
    pub const fn advice(&self) -> Advice {
        match self {
            Self::ReadTimeout | Self::Closed | Self::Internal | Self::StoreUnavailable | Self::MayBeStored => {
                Advice::Retry
            }
            Self::SignatureFailed
            | Self::SessionRequired
            | Self::LoginTimeout
            | Self::TokenExpired
            | Self::ConversationSignatureFailed => Advice::SignIn,
            Self::InvalidPeerId
            | Self::InsideHook
            | Self::WrongAnswer
            | Self::TooLong { .. }
            | Self::Unparseable
            | Self::WrongConversationKind
            | Self::OverLimit { .. }
            | Self::InvalidTarget { .. }
            | Self::MessageNotFound => Advice::Correct,
            Self::AppNotAvailable
            | Self::Blacklisted
            | Self::SessionConflict
            | Self::KickedByApp
            | Self::ConversationFull
            | Self::ConversationExpired
            | Self::MessageRejected => Advice::GiveUp,
        }
    }
}
