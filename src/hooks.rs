//! Questions that the engine asks its host: what varies by application.
//!
//! A hook takes a thing and gives it back: changed, narrowed or refused. It runs inside the command, after every refusal and
//! before anything is written; it sees a read-only view and cannot re-enter the engine. What the documents call hooks but
//! only *tell* (message sent, peer online …) are [`Event`](crate::Event)s.

use std::net::IpAddr;
use std::time::Duration;

use crate::id::{ConversationId, PeerId, Ticket};
use crate::message::Content;
use crate::time::Timestamp;

/// The host's answers. Every method has the documented default: the flow goes on unchanged.
///
/// # Panics in hooks
/// A panic is caught, counted and reported as [`Event::HookFault`](crate::Event::HookFault); the default flow goes on, or
/// the request fails where [`Config::hooks_fail_closed`](crate::Config::hooks_fail_closed) is set. In a host built with
/// `panic = "abort"` nothing can be caught: there a panic in a hook ends the process.
pub trait Hooks: Send {
    /// A message has arrived and its recipients are known (`_messageReceived`); it is not yet stored or delivered.
    fn message_received(&mut self, message: &MessageReceived<'_>) -> Answer<Verdict> {
        let _ = message;
        Answer::Default
    }

    /// A message has recipients who are offline (`_receiversOffline`); asked before a push, never for rooms.
    fn receivers_offline(&mut self, message: &ReceiversOffline<'_>) -> Answer<PushChoice> {
        let _ = message;
        Answer::Default
    }

    /// A peer signs in with an account's token instead of a signature. The default refuses.
    fn sign_in(&mut self, login: &SignIn<'_>) -> Answer<bool> {
        let _ = login;
        Answer::Now(false)
    }

    /// Which questions this host answers. What it does not, the engine need not prepare.
    fn interests(&self) -> Interests {
        Interests { message_received: true, receivers_offline: true }
    }

    /// What the last call cost, where the host measures; over [`Config::hook_budget`](crate::Config::hook_budget) it is
    /// reported. The engine itself has no clock.
    fn last_call(&self) -> Option<Duration> {
        None
    }
}

/// No hooks: every flow is the default one.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {
    fn interests(&self) -> Interests {
        Interests::default()
    }
}

/// Which questions a host answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interests {
    /// [`Hooks::message_received`].
    pub message_received: bool,
    /// [`Hooks::receivers_offline`].
    pub receivers_offline: bool,
}

/// An answer to a hook's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// The documented default flow.
    Default,
    /// This.
    Now(T),
    /// Later, by [`Engine::resolve`](crate::Engine::resolve) with the question's ticket. Past
    /// [`Config::hook_deadline`](crate::Config::hook_deadline) the default flow goes on.
    Defer,
}

/// The question of [`Hooks::message_received`], with every documented parameter.
#[derive(Clone, Copy, Debug)]
pub struct MessageReceived<'a> {
    /// Names the question in a deferred answer.
    pub ticket: Ticket,
    /// Who sends (`fromPeer`).
    pub from: &'a PeerId,
    /// To whom, as far as they are known by name (`toPeers`): empty for rooms.
    pub to: &'a [PeerId],
    /// The conversation (`convId`, `groupId`); `None` for a direct message.
    pub conversation: Option<&'a ConversationId>,
    /// Whether it is transient.
    pub transient: bool,
    /// What it says. Binary content is `bin` in the documents.
    pub content: &'a Content,
    /// Whether a receipt was asked for.
    pub receipt: bool,
    /// When the engine received it.
    pub timestamp: Timestamp,
    /// Where the sender connects from (`sourceIP`).
    pub source_ip: Option<IpAddr>,
}

/// What becomes of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Refuse it: the sender gets 4402.
    pub drop: bool,
    /// Other content; checked and filtered like the sender's own.
    pub content: Option<Content>,
    /// Other recipients. Of a group only members count; for a direct message they narrow the set.
    pub to: Option<Vec<PeerId>>,
}

/// The question of [`Hooks::receivers_offline`], with every documented parameter.
#[derive(Clone, Copy, Debug)]
pub struct ReceiversOffline<'a> {
    /// Names the question in a deferred answer.
    pub ticket: Ticket,
    /// Who sent (`fromPeer`).
    pub from: &'a PeerId,
    /// The conversation (`convId`, `groupId`); `None` for a direct message.
    pub conversation: Option<&'a ConversationId>,
    /// Who is offline (`offlinePeers`).
    pub offline: &'a [PeerId],
    /// What the message says.
    pub content: &'a Content,
    /// When the engine received it.
    pub timestamp: Timestamp,
}

/// What becomes of a push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushChoice {
    /// No push at all.
    pub skip: bool,
    /// Only these of the offline peers.
    pub offline: Option<Vec<PeerId>>,
    /// What to say (`pushMessage`), before the message's own text and the static one.
    pub text: Option<String>,
    /// Wake even those who muted the conversation (`force`).
    pub force: bool,
}

/// The question of [`Hooks::sign_in`].
#[derive(Clone, Copy)]
pub struct SignIn<'a> {
    /// Names the question in a deferred answer.
    pub ticket: Ticket,
    /// As whom.
    pub peer: &'a PeerId,
    /// The account's token.
    pub account_token: &'a str,
    /// Where the peer connects from.
    pub source_ip: Option<IpAddr>,
}

/// A deferred answer, for [`Engine::resolve`](crate::Engine::resolve).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolution {
    /// To [`Hooks::message_received`].
    Message(Verdict),
    /// To [`Hooks::receivers_offline`].
    Push(PushChoice),
    /// To [`Hooks::sign_in`].
    SignIn(bool),
    /// To any: the default flow.
    Default,
}
