//! What is asked to be sent, and what was accepted: `Draft` becomes `Message`.

use std::sync::Arc;

use crate::conversation::ConversationKind;
use crate::id::{ConversationId, DeviceId, MessageId, PeerId, RetryToken};
use crate::time::Timestamp;

/// The body of a message. The engine looks inside only for the word filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// UTF-8 text, often JSON of the application.
    Text(String),
    /// Any bytes; the word filter does not see them.
    Binary(Vec<u8>),
}

impl Content {
    /// The size in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether there is not one byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text, where it is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To these peers: the direct conversation between the sender and them, made by the first persistent message. Equal ids
    /// count once; the sender's own id means its other sessions.
    Peers(Vec<PeerId>),
    /// To the members of this conversation.
    Conversation(ConversationId),
}

/// A message as its sender asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Where it goes.
    pub target: Target,
    /// What it says: with the push data at most [`Config::message_bytes_max`](crate::Config::message_bytes_max) bytes.
    pub content: Content,
    /// Not stored, not retried, not pushed: seen only by who is online now.
    pub transient: bool,
    /// Whether the sender wants to be told when it arrives. Only for persistent messages to a single recipient.
    pub receipt: bool,
    /// The sender's own token: a repeated attempt with it is stored and delivered once, within
    /// [`Config::retry_token_after`](crate::Config::retry_token_after) (24 hours) and among its sender's last
    /// [`Config::retry_tokens_max`](crate::Config::retry_tokens_max) (1,000).
    pub retry_token: Option<RetryToken>,
    /// What a push for offline recipients says, unless a hook says otherwise.
    pub push: Option<String>,
}

impl Draft {
    fn new(target: Target, content: Content) -> Self {
        Self { target, content, transient: false, receipt: false, retry_token: None, push: None }
    }

    /// A persistent message to one peer.
    #[must_use]
    pub fn to_peer(peer: PeerId, content: impl Into<Content>) -> Self {
        Self::new(Target::Peers(vec![peer]), content.into())
    }

    /// A persistent message to several peers.
    #[must_use]
    pub fn to_peers(peers: Vec<PeerId>, content: impl Into<Content>) -> Self {
        Self::new(Target::Peers(peers), content.into())
    }

    /// A persistent message to a conversation.
    #[must_use]
    pub fn to_conversation(conversation: ConversationId, content: impl Into<Content>) -> Self {
        Self::new(Target::Conversation(conversation), content.into())
    }

    /// The same, transient.
    #[must_use]
    pub const fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// The same, with a receipt on arrival.
    #[must_use]
    pub const fn with_receipt(mut self) -> Self {
        self.receipt = true;
        self
    }

    /// The same, with the sender's own token.
    #[must_use]
    pub fn with_retry_token(mut self, token: RetryToken) -> Self {
        self.retry_token = Some(token);
        self
    }

    /// The same, with the text of a push.
    #[must_use]
    pub fn with_push(mut self, push: impl Into<String>) -> Self {
        self.push = Some(push.into());
        self
    }

    /// The bytes that count against the limit: content and push data.
    #[must_use]
    pub fn counted_bytes(&self) -> usize {
        self.content.len() + self.push.as_ref().map_or(0, String::len)
    }
}

/// A message as it was accepted. Shared by all who get it, never copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id, unique everywhere.
    pub id: MessageId,
    /// The conversation it went to.
    pub conversation: ConversationId,
    /// That conversation's kind.
    pub kind: ConversationKind,
    /// Its number in the conversation, from 1 and without holes; `None` while it has none: transient messages never get one,
    /// a room's live messages get theirs when they are stored.
    pub number: Option<u64>,
    /// When the engine accepted it. Never goes back within a conversation.
    pub timestamp: Timestamp,
    /// Who sent it.
    pub from: PeerId,
    /// The members of a direct conversation, the sender among them, or the recipients to whom a hook narrowed the message;
    /// empty where all members are meant.
    pub to: Arc<[PeerId]>,
    /// What it says, after hooks and word filter.
    pub content: Content,
    /// Whether it is seen only by who is online now.
    pub transient: bool,
    /// Whether the sender asked for a receipt.
    pub receipt: bool,
    /// Whether it was deleted from the log: then the content is empty.
    pub deleted: bool,
    /// Whether a hook narrowed the recipients to `to`.
    pub(crate) narrowed: bool,
    pub(crate) position: u64,
    pub(crate) device: Option<DeviceId>,
}

impl Message {
    /// The recipients of a direct message as its sender named them: everyone but the sender, or the sender alone.
    pub fn recipients(&self) -> impl Iterator<Item = &PeerId> {
        let alone = self.to.len() == 1;
        self.to.iter().filter(move |peer| alone || **peer != self.from)
    }
}

/// What the sender of a persistent message is told once it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Where it went.
    pub conversation: ConversationId,
    /// Its id.
    pub id: MessageId,
    /// Its number; `None` for transient messages and in rooms.
    pub number: Option<u64>,
    /// When it was accepted.
    pub timestamp: Timestamp,
    /// What was stored instead of what was sent, where the word filter or a hook changed it. A retry after a restart is not
    /// told it again.
    pub changed: Option<Content>,
}
