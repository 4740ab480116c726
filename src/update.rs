//! What one client is told: messages, notices, receipts, gaps, and the answers to what it asked.

use std::sync::Arc;
use std::time::Duration;

use crate::conversation::ConversationInfo;
use crate::error::Error;
use crate::id::{ConversationId, MessageId, PeerId, ResumeToken, SessionId, Ticket};
use crate::message::{Accepted, Message};
use crate::time::Timestamp;

/// What one client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update {
    /// The answer to a request.
    Reply {
        /// The ticket that the request returned.
        ticket: Ticket,
        /// The answer, or why there is none.
        result: Result<Reply, Error>,
    },
    /// A message.
    Message {
        /// The message.
        message: Arc<Message>,
        /// Whether it was accepted before this session opened.
        offline: bool,
    },
    /// A message that this session's peer sent with a receipt has arrived.
    Receipt {
        /// In which conversation.
        conversation: ConversationId,
        /// Which message.
        id: MessageId,
        /// Who received it.
        peer: PeerId,
        /// When it was first acknowledged.
        at: Timestamp,
    },
    /// While this session's peer was away, messages arrived that it had sent with a receipt: everything up to this one. One for
    /// each conversation, once.
    ReceivedTo {
        /// In which conversation.
        conversation: ConversationId,
        /// Who received them.
        peer: PeerId,
        /// The number of the newest of them.
        number: u64,
        /// Its id.
        id: MessageId,
        /// When that one was first acknowledged.
        at: Timestamp,
    },
    /// Watched peers came or went.
    Presence {
        /// Who came, sorted.
        online: Vec<PeerId>,
        /// Who went, sorted.
        offline: Vec<PeerId>,
    },
    /// Somebody's membership changed.
    Membership {
        /// Of which conversation.
        conversation: ConversationId,
        /// Its kind.
        kind: crate::conversation::ConversationKind,
        /// What happened.
        change: MembershipChange,
        /// Who did it.
        by: PeerId,
    },
    /// Messages that this session will not get.
    Gap(Gap),
    /// The session is over.
    Closed {
        /// Why; `None` after the client's own close.
        error: Option<Error>,
    },
}

/// A change of membership as one client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// This session's peer became a member: it was invited, or another of its devices joined.
    Joined,
    /// This session's peer is a member no more: it was kicked, or another of its devices left.
    Left,
    /// Others became members.
    MembersJoined(Vec<PeerId>),
    /// Others are members no more.
    MembersLeft(Vec<PeerId>),
}

/// What a session did not get, and why. Nothing is lost in silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// In which conversation; `None` where several or none are concerned.
    pub conversation: Option<ConversationId>,
    /// The first number missed; zero where what was missed has no number.
    pub from: u64,
    /// The last number missed; zero where what was missed has no number.
    pub to: u64,
    /// How many updates were missed.
    pub count: u64,
    /// Why.
    pub cause: GapCause,
}

/// Why something was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapCause {
    /// More than [`Config::offline_messages_max`](crate::Config::offline_messages_max) were waiting.
    Limit,
    /// They were older than [`Config::offline_after`](crate::Config::offline_after).
    Age,
    /// The session's outbox was full; only what is not in the log.
    Overflow,
    /// The store could not read them, or a power cut in [`Durability::Process`](crate::store::Durability) lost them.
    Lost,
    /// Retention removed them from the log.
    Retention,
}

impl GapCause {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Age => "age",
            Self::Overflow => "overflow",
            Self::Lost => "lost",
            Self::Retention => "retention",
        }
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// The session is open.
    Opened(Box<Opened>),
    /// The message is as durable as the store promises.
    Accepted(Accepted),
    /// These of the peers asked for are online, sorted.
    Online(Vec<PeerId>),
    /// The conversation was made or found.
    Created {
        /// What it is.
        conversation: Box<ConversationInfo>,
        /// Whether it was there before.
        existing: bool,
    },
    /// The session's peer is a member, or in the room.
    Joined {
        /// Of which conversation.
        conversation: ConversationId,
    },
    /// The session's peer is a member no more.
    Left {
        /// Of which conversation.
        conversation: ConversationId,
    },
    /// The peers are members.
    Invited {
        /// Of which conversation.
        conversation: ConversationId,
        /// Who was invited, sorted.
        peers: Vec<PeerId>,
    },
    /// The peers are members no more.
    Kicked {
        /// Of which conversation.
        conversation: ConversationId,
        /// Who was kicked, sorted.
        peers: Vec<PeerId>,
    },
    /// The members of the conversation, sorted.
    Members {
        /// Which conversation.
        conversation: ConversationId,
        /// Its members.
        peers: Vec<PeerId>,
    },
    /// A conversation's fields.
    Conversation(Box<ConversationInfo>),
    /// The conversations of the session's peer, sorted by id.
    Conversations(Vec<ConversationInfo>),
    /// How many members, or how many in the room.
    Count(u64),
    /// A page of history, in the order asked for.
    History {
        /// The messages; deleted ones are there with empty content.
        messages: Vec<Arc<Message>>,
        /// Whether there is more beyond the page.
        more: bool,
    },
    /// What was not read, conversation by conversation.
    Unread(Vec<Unread>),
    /// Done, with nothing to tell.
    Done,
}

/// What an open session starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The session.
    pub session: SessionId,
    /// Whose it is.
    pub peer: PeerId,
    /// Which of the watched peers are online, sorted.
    pub online: Vec<PeerId>,
    /// By what it is resumed after its connection broke.
    pub token: ResumeToken,
    /// How long the token is good after the session was paused.
    pub token_after: Duration,
    /// The room it is in again.
    pub room: Option<ConversationId>,
    /// When.
    pub at: Timestamp,
}

/// What a peer has not read in one conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Which conversation.
    pub conversation: ConversationId,
    /// How many messages of others after the last one read.
    pub count: u64,
}
