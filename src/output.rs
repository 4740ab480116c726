//! Work for the host: what the engine cannot do itself, as data.

use std::sync::Arc;

use crate::event::Event;
use crate::id::{PeerId, SessionId};
use crate::message::Message;
use crate::update::Update;

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
    Transient,
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
