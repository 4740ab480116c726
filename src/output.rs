//! Work for the host: what the engine cannot do itself, as data.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::conversation::ConversationInfo;
use crate::error::Error;
use crate::id::{ConversationId, DeviceId, MessageId, PeerId, SessionId, Tag, Ticket};
use crate::message::{Accepted, Message};
use crate::request::ResumeToken;
use crate::time::Timestamp;

/// One piece of work for the host, from [`Engine::poll_output`](crate::Engine::poll_output).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Output {
    /// Give an update to some sessions.
    Deliver(Deliver),
    /// Wake offline peers through whatever push service the host has.
    Push(Push),
    /// The session has caught up: updates whose class is [`Class::Logged`] reach it directly from here on. Only hosts that
    /// report overflows need to look at it.
    Live {
        /// Which session.
        session: SessionId,
        /// Which catch-up ended, as in [`Class::Page`].
        catch_up: u32,
    },
    /// The session is over. An [`Update::Closed`] was delivered before, unless its transport is gone.
    Close {
        /// Which session.
        session: SessionId,
    },
    /// Something the host may want to know.
    Event(Event),
}

/// An update and who gets it: one object however many sessions there are, so that a host encodes once.
#[derive(Clone, Debug)]
pub struct Deliver {
    /// Who gets it.
    pub audience: Audience,
    /// What they get.
    pub update: Arc<Update>,
    /// What may happen to it where a session has no room.
    pub class: Class,
}

/// A place in the session table, with the count that tells one tenant from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionRef {
    /// The place.
    pub slot: u32,
    /// Which tenant of the place.
    pub generation: u32,
}

/// The sessions that an update is for.
#[derive(Clone, Debug)]
pub enum Audience {
    /// One session.
    One(SessionRef),
    /// Each of these but one, sorted by slot; shared while membership and presence stand still.
    Many {
        /// The sessions.
        sessions: Arc<Vec<SessionRef>>,
        /// The one that is left out: the sender's.
        except: Option<SessionRef>,
    },
}

impl Audience {
    /// The sessions, in order.
    pub fn iter(&self) -> impl Iterator<Item = SessionRef> + '_ {
        let (sessions, except) = match self {
            Self::One(session) => (std::slice::from_ref(session), None),
            Self::Many { sessions, except } => (sessions.as_slice(), *except),
        };
        sessions.iter().copied().filter(move |session| Some(*session) != except)
    }
}

/// What may happen to an update where a session's outbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A reply, or the end of the session: never dropped.
    Reply,
    /// In the log: a session without room reads it from there later.
    Logged {
        /// Its place in the order of all facts.
        position: u64,
    },
    /// Read from the log for a session that is catching up.
    Page {
        /// Its place in the order of all facts.
        position: u64,
        /// Which catch-up it belongs to.
        catch_up: u32,
    },
    /// Dropped and counted.
    Fleeting,
}

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

/// A wake-up for peers that are not connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Whom, with what to show.
    pub recipients: Vec<PushRecipient>,
    /// What to say: from the hook, else from the message, else the static text.
    pub text: String,
    /// The message that caused it.
    pub message: Arc<Message>,
    /// Whether the application asks to wake even who muted the conversation.
    pub force: bool,
}

/// One peer to wake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushRecipient {
    /// Whom.
    pub peer: PeerId,
    /// How many messages wait unread, in all conversations: the number on the application's icon.
    pub badge: u64,
}

/// What the host is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The answer to a request of the host itself, or of a hook's, that came later.
    Answered {
        /// The ticket that the request returned.
        ticket: Ticket,
        /// The answer.
        result: Result<Reply, Error>,
    },
    /// A peer's session opened (`_clientOnline`).
    Online {
        /// Who.
        peer: PeerId,
        /// Which session.
        session: SessionId,
        /// Its device.
        device: Option<DeviceId>,
        /// Its tag.
        tag: Option<Tag>,
        /// From where.
        source_ip: Option<IpAddr>,
        /// Whether it resumed or reconnected.
        reconnect: bool,
        /// Whether it may message anyone.
        super_peer: bool,
    },
    /// A peer's session paused or closed (`_clientOffline`).
    Offline {
        /// Who.
        peer: PeerId,
        /// Which session.
        session: SessionId,
        /// Its tag.
        tag: Option<Tag>,
        /// Why.
        reason: OfflineReason,
    },
    /// A message was sent (`_messageSent`): told once it is durable.
    Sent {
        /// The message.
        message: Arc<Message>,
        /// How many sessions it went to at once.
        sessions: usize,
    },
    /// A super peer messaged a peer that it does not watch.
    SuperPeerSent {
        /// Who.
        peer: PeerId,
        /// Which message.
        id: MessageId,
    },
    /// A hook panicked, overran its budget or its deadline; the default flow went on, or the request failed closed.
    HookFault {
        /// Which hook, by its documented name.
        hook: &'static str,
        /// What happened.
        fault: HookFault,
    },
    /// A signature was refused. The public error names no cause; this does.
    SignatureRefused {
        /// Who asked.
        peer: PeerId,
        /// Why it was refused.
        cause: crate::signature::Cause,
    },
    /// Messages were cut off from a peer's offline queue.
    OfflineDropped {
        /// Whose.
        peer: PeerId,
        /// How many.
        count: u64,
    },
    /// A number passed its threshold, for the host's alarms.
    Anomaly {
        /// Which.
        measure: Measure,
        /// The value.
        value: u64,
        /// The threshold it passed.
        threshold: u64,
    },
    /// A commit failed; its batch is kept and tried again.
    StoreFailed {
        /// The store's words, for the log.
        error: crate::store::StoreError,
    },
    /// Another call of the store failed. A read is answered with 4200; upkeep comes again, and is told of once until it
    /// succeeds.
    StoreCallFailed {
        /// Which: `read`, `maintain` or `close`.
        call: &'static str,
        /// The store's words, for the log.
        error: crate::store::StoreError,
    },
    /// The store takes writes again.
    StoreRecovered,
    /// A store call takes longer than [`Config::store_stall_after`](crate::Config::store_stall_after).
    StoreStalled,
    /// A stored row could not be read; it is kept and counted.
    RecordDamaged {
        /// What was found.
        error: crate::record::RecordError,
    },
    /// Time jumped ahead by more than an hour: nothing is deleted by age until
    /// [`confirm_time`](crate::Engine::confirm_time).
    TimeJumped {
        /// From.
        from: Timestamp,
        /// To.
        to: Timestamp,
    },
}

/// Why a session went offline (`closeCode` of the documents).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfflineReason {
    /// The client closed it (1).
    LoggedOut,
    /// Its connection broke; it is paused (2).
    Dropped,
    /// Another device took its tag (3).
    TagConflict,
    /// The host closed it (4).
    Kicked,
    /// The engine closed it, with this error.
    Failed(Error),
}

/// What went wrong with a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookFault {
    /// It panicked.
    Panicked,
    /// It took longer than [`Config::hook_budget`](crate::Config::hook_budget), as
    /// [`Hooks::last_call`](crate::Hooks::last_call) told afterwards.
    Overran,
    /// A deferred answer did not come in time.
    Expired,
    /// It has taken longer than [`HubConfig::hook_stall_after`](crate::hub::HubConfig::hook_stall_after), and still runs:
    /// whoever needs the engine waits for it.
    Stalled,
    /// Its answer broke a limit and was set aside.
    Invalid,
}

/// What an anomaly counts, each over one minute or as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Measure {
    /// Messages accepted in a minute.
    MessagesPerMinute,
    /// Refused requests in a minute, of a thousand.
    RefusedPerMille,
    /// Bytes waiting for the store.
    StagedBytes,
    /// Outputs waiting for the host.
    OutputsWaiting,
}
