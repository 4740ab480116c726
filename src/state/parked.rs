//! Commands that wait for a deferred hook.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::hooks::Hook;
use crate::id::{PeerId, RetryToken, Ticket};
use crate::message::{Draft, Message};
use crate::request::Open;
use crate::state::actor::Actor;

/// A command that waits.
#[derive(Debug)]
pub(crate) enum Command {
    /// An open, for [`Hooks::sign_in`](crate::Hooks::sign_in).
    Open { actor: Actor, open: Open },
    /// A message, for [`Hooks::message_received`](crate::Hooks::message_received); repeated attempts wait with it.
    Send { actor: Actor, draft: Draft, lane: Lane, also: Vec<Actor> },
    /// A push, for [`Hooks::receivers_offline`](crate::Hooks::receivers_offline). Its message is sent already.
    Push { message: Arc<Message>, own: Option<String>, away: Vec<u32> },
}

impl Command {
    /// The hook whose answer it waits for.
    pub(crate) const fn hook(&self) -> Hook {
        match self {
            Self::Open { .. } => Hook::SignIn,
            Self::Send { .. } => Hook::MessageReceived,
            Self::Push { .. } => Hook::ReceiversOffline,
        }
    }
}

/// In what a sender's messages keep their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// The sender, and the permanent number of a conversation whose members are not fixed.
    Conversation(u32, u64),
    /// The sender, and everyone in a direct conversation, sorted: whether or not it was made.
    Peers(u32, Arc<[PeerId]>),
}

/// What waits for deferred hooks.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    pub(crate) commands: BTreeMap<Ticket, Command>,
    /// Messages that wait behind a parked one of the same sender to the same conversation.
    pub(crate) behind: HashMap<Lane, VecDeque<(Actor, Draft)>, rustc_hash::FxBuildHasher>,
    pub(crate) waiting: usize,
}

impl Parked {
    /// Whether any message is parked.
    pub(crate) fn holds_any(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Whether a message of this lane is parked.
    pub(crate) fn is_held(&self, lane: &Lane) -> bool {
        self.behind.contains_key(lane)
    }

    /// Lets a message wait behind the parked one of its lane.
    pub(crate) fn hold(&mut self, lane: Lane, actor: Actor, draft: Draft) {
        self.waiting += 1;
        self.behind.entry(lane).or_default().push_back((actor, draft));
    }

    /// Lets a repeated attempt wait with the first one; false where none is parked.
    pub(crate) fn join(&mut self, actor: Actor, token: &RetryToken) -> bool {
        let parked = self.commands.values_mut().find_map(|command| match command {
            Command::Send { actor: first, draft, also, .. }
                if first.peer == actor.peer && draft.retry_token.as_ref() == Some(token) =>
            {
                Some(also)
            }
            _ => None,
        });
        parked.map(|also| also.push(actor)).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.commands.len() + self.waiting
    }
}
