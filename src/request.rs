//! The verbs as data: what a session can ask, for wire formats and recordings.

use std::net::IpAddr;
use std::time::Duration;

use crate::conversation::Attributes;
use crate::id::{ConversationId, DeviceId, MessageId, PeerId, ResumeToken, Tag};
use crate::message::Draft;
use crate::page::Page;
use crate::signature::Signature;

/// How a peer proves who it is. `Debug` shows no secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all; enough where signatures are off.
    #[default]
    None,
    /// By a signature of the application's server.
    Signature(Signature),
    /// By the token of an account, which [`Hooks::sign_in`](crate::Hooks::sign_in) checks.
    Account(String),
    /// By the resume token of its last session. Works once.
    Token(ResumeToken),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Signature(signature) => f.debug_tuple("Signature").field(signature).finish(),
            Self::Account(_) => f.write_str("Account(..)"),
            Self::Token(token) => f.debug_tuple("Token").field(token).finish(),
        }
    }
}

/// Whom a session's use counts for beside its peer: an opaque key that the host gives each connection, or each address.
///
/// What costs others something (names first heard of, conversations, pauses) is counted for the peer and, ten times as
/// much, for the origin, so that one connection cannot multiply its share by opening more peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(u64);

impl Origin {
    /// The origin with this key. Two connections with one key have one share.
    #[must_use]
    pub const fn new(key: u64) -> Self {
        Self(key)
    }

    /// The key.
    #[must_use]
    pub const fn key(self) -> u64 {
        self.0
    }
}

/// A peer's wish to open a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Who.
    pub peer: PeerId,
    /// On which installation; none is the same unnamed one each time.
    pub device: Option<DeviceId>,
    /// A label that at most one session of the peer holds.
    pub tag: Option<Tag>,
    /// How the peer proves who it is.
    pub credentials: Credentials,
    /// Whom to watch from the start.
    pub watch: Vec<PeerId>,
    /// Whether a client reconnects by itself: then it never pushes off another session of the same tag.
    pub reconnect: bool,
    /// Whether the peer may message anyone. Always signed.
    pub super_peer: bool,
    /// Where the peer connects from, for hooks and events.
    pub source_ip: Option<IpAddr>,
    /// Whom the session's use counts for beside its peer; none is the peer alone.
    pub origin: Option<Origin>,
}

impl Open {
    /// An open by `peer`, with nothing else said.
    #[must_use]
    pub const fn new(peer: PeerId) -> Self {
        Self {
            peer,
            device: None,
            tag: None,
            credentials: Credentials::None,
            watch: Vec::new(),
            reconnect: false,
            super_peer: false,
            source_ip: None,
            origin: None,
        }
    }
}

/// A wish for a new conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// Which kind.
    pub shape: Shape,
    /// The first members; the creator is one without being named.
    pub members: Vec<PeerId>,
    /// A name to show.
    pub name: Option<String>,
    /// The application's own attributes.
    pub attributes: Attributes,
    /// The signature of the creation, where signatures are on.
    pub signature: Option<Signature>,
}

/// The kinds of conversation that can be asked for. A direct one is made by its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The group of exactly these members: found, or made if there is none.
    Unique,
    /// Always a new group.
    Group,
    /// A room: open to any number, online only.
    Room,
    /// A conversation that dies by itself after this time; unique during its life.
    Temporary(Duration),
}

impl Create {
    /// A conversation of this shape with these members.
    #[must_use]
    pub fn new(shape: Shape, members: Vec<PeerId>) -> Self {
        Self { shape, members, name: None, attributes: Attributes::new(), signature: None }
    }
}

/// What an open session can ask. Each is answered by a [`Reply`](crate::Reply) that names its ticket, or refused at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// Send a message.
    Send(Draft),
    /// Watch peers: be told when they come and go.
    Watch {
        /// Whom.
        peers: Vec<PeerId>,
        /// Where signatures are on.
        signature: Option<Signature>,
    },
    /// Watch them no longer.
    Unwatch {
        /// Whom.
        peers: Vec<PeerId>,
    },
    /// Which of these peers are online; needs no watch. At most 20 count, the rest is ignored.
    QueryOnline {
        /// Whom.
        peers: Vec<PeerId>,
    },
    /// Make, or find, a conversation.
    Create(Create),
    /// Join a group or enter a room.
    Join {
        /// Which.
        conversation: ConversationId,
        /// Where signatures are on.
        signature: Option<Signature>,
    },
    /// Leave a group or a room.
    Leave {
        /// Which.
        conversation: ConversationId,
    },
    /// Bring peers into a group.
    Invite {
        /// Which group.
        conversation: ConversationId,
        /// Whom.
        peers: Vec<PeerId>,
        /// Where signatures are on.
        signature: Option<Signature>,
    },
    /// Put peers out of a group.
    Kick {
        /// Which group.
        conversation: ConversationId,
        /// Whom.
        peers: Vec<PeerId>,
        /// Where signatures are on.
        signature: Option<Signature>,
    },
    /// The members of a conversation that the session's peer is in.
    Members {
        /// Which.
        conversation: ConversationId,
    },
    /// What a conversation is: name, attributes and the built-in fields.
    Describe {
        /// Which.
        conversation: ConversationId,
    },
    /// The conversations that the session's peer is in.
    Conversations,
    /// How many are in a room now, or members of a group.
    Count {
        /// Which.
        conversation: ConversationId,
    },
    /// A page of a conversation's log.
    History {
        /// Which.
        conversation: ConversationId,
        /// Which page.
        page: Page,
    },
    /// What the session's peer has not read.
    Unread,
    /// These were received. No reply. Unknown ids are ignored.
    Acknowledge {
        /// Which messages.
        messages: Vec<MessageId>,
        /// Whether they were read as well: the first generation's frames have no other way to say so.
        read: bool,
    },
    /// Everything up to this message was read; none means up to the newest. No reply, but where the log had to be searched for
    /// the message and does not have it, [`Error::MessageNotFound`](crate::Error::MessageNotFound) comes as one.
    MarkRead {
        /// In which conversation.
        conversation: ConversationId,
        /// Up to which message.
        up_to: Option<MessageId>,
    },
    /// End the session for good: log out where it is the peer's last.
    Close,
}
