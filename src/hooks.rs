//! Questions that the engine asks its host: what varies by application.
//!
//! A hook takes a thing and gives it back: changed, narrowed or refused. It runs inside the command, after every refusal and
//! before anything is written; it sees a read-only view and cannot re-enter the engine: what it wants said it returns ([`Verdict::also`]). What the documents call hooks but
//! only *tell* (message sent, peer online …) are [`Event`](crate::Event)s.

use std::net::IpAddr;
use std::time::Duration;

use crate::id::{ConversationId, PeerId, Ticket};
use crate::message::{Content, Draft};
use crate::time::Timestamp;

/// The host's answers. Every method has the documented default: the flow goes on unchanged.
///
/// # Panics in hooks
/// A panic is caught, counted and reported as [`Event::HookFault`](crate::Event::HookFault); the default flow goes on, or
/// the request fails where [`Config::hooks_fail_closed`](crate::Config::hooks_fail_closed) is set. In a host built with
/// `panic = "abort"` nothing can be caught: there a panic in a hook ends the process.
pub trait Hooks: Send {
    /// The one way by which the engine asks: a question in, the answer to that question out. It is provided, and passes each
    /// question on to the method that answers it; what stands between the engine and other hooks overrides this alone.
    fn ask(&mut self, question: Question<'_>) -> Answer<Resolution> {
        match question {
            Question::MessageReceived(message) => self.message_received(message).map(Resolution::Message),
            Question::ReceiversOffline(message) => self.receivers_offline(message).map(Resolution::Push),
            Question::SignIn(login) => self.sign_in(login).map(Resolution::SignIn),
        }
    }

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
    fn sign_in(&mut self, login: &SignIn<'_>) -> Answer<Login> {
        let _ = login;
        Answer::Now(Login::refuse())
    }

    /// Which questions this host answers. What it does not, the engine need not prepare: the names of all members, for one.
    /// There is no default, so that nobody who passes questions on forgets to pass on this.
    fn interests(&self) -> Interests;

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

impl Interests {
    /// All questions.
    pub const ALL: Self = Self { message_received: true, receivers_offline: true };
}

/// A question of the engine's. [`Resolution`] has an answer for each.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Question<'a> {
    /// For [`Hooks::message_received`].
    MessageReceived(&'a MessageReceived<'a>),
    /// For [`Hooks::receivers_offline`].
    ReceiversOffline(&'a ReceiversOffline<'a>),
    /// For [`Hooks::sign_in`].
    SignIn(&'a SignIn<'a>),
}

impl Question<'_> {
    /// The hook that is asked.
    #[must_use]
    pub const fn hook(&self) -> Hook {
        match self {
            Self::MessageReceived(_) => Hook::MessageReceived,
            Self::ReceiversOffline(_) => Hook::ReceiversOffline,
            Self::SignIn(_) => Hook::SignIn,
        }
    }
}

impl std::fmt::Debug for Question<'_> {
    /// Shows no content and no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.hook().as_str())
    }
}

/// A hook, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hook {
    /// [`Hooks::message_received`].
    MessageReceived,
    /// [`Hooks::receivers_offline`].
    ReceiversOffline,
    /// [`Hooks::sign_in`].
    SignIn,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MessageReceived, Self::ReceiversOffline, Self::SignIn];

    /// Its documented name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MessageReceived => "message_received",
            Self::ReceiversOffline => "receivers_offline",
            Self::SignIn => "sign_in",
        }
    }

    /// Whether an answer is to a question of this hook.
    #[must_use]
    pub const fn takes(self, answer: &Resolution) -> bool {
        match answer {
            Resolution::Message(_) => matches!(self, Self::MessageReceived),
            Resolution::Push(_) => matches!(self, Self::ReceiversOffline),
            Resolution::SignIn(_) => matches!(self, Self::SignIn),
            Resolution::Default => true,
        }
    }
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

impl<T> Answer<T> {
    /// The same answer in other words.
    pub fn map<U>(self, words: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Self::Default => Answer::Default,
            Self::Now(answer) => Answer::Now(words(answer)),
            Self::Defer => Answer::Defer,
        }
    }
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
    /// What else is to be said, whatever becomes of the message: at most [`ALSO_MAX`](Self::ALSO_MAX) messages, sent once
    /// the sender's request has ended, each through every check and hook as one of the host's own. One that is refused is
    /// told as [`Event::AlsoRefused`](crate::Event::AlsoRefused). A hook that is asked about one of these may not add more.
    pub also: Vec<Also>,
}

impl Verdict {
    /// How many messages a hook may add to one.
    pub const ALSO_MAX: usize = 16;
}

/// A message that a hook wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Also {
    /// In whose name; none is the name of the message's own sender.
    pub from: Option<PeerId>,
    /// What to send.
    pub draft: Draft,
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
    /// Whom it wants to watch from the start.
    pub watch: &'a [PeerId],
    /// Where the peer connects from.
    pub source_ip: Option<IpAddr>,
}

/// What becomes of an account's login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// Whether the peer may open the session; if not, it gets 4102.
    pub admit: bool,
    /// Whom it may watch from the start where signatures are on, in the place of a signature over the list. A login that
    /// wants to watch anybody else is refused, as an unsigned watch is.
    pub watch: Vec<PeerId>,
}

impl Login {
    /// The peer may not sign in.
    #[must_use]
    pub const fn refuse() -> Self {
        Self { admit: false, watch: Vec::new() }
    }

    /// The peer may sign in, watching nobody.
    #[must_use]
    pub const fn admit() -> Self {
        Self { admit: true, watch: Vec::new() }
    }

    /// The same, and it may watch these.
    #[must_use]
    pub fn watching(self, watch: impl IntoIterator<Item = PeerId>) -> Self {
        Self { watch: watch.into_iter().collect(), ..self }
    }
}

/// The answer to a [`Question`]: from [`Hooks::ask`], or later for [`Engine::resolve`](crate::Engine::resolve).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolution {
    /// To [`Hooks::message_received`].
    Message(Verdict),
    /// To [`Hooks::receivers_offline`].
    Push(PushChoice),
    /// To [`Hooks::sign_in`].
    SignIn(Login),
    /// To any: the default flow.
    Default,
}
