//! Commands that wait for a deferred hook.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::hooks::Hook;
use crate::id::{PeerId, RetryToken, Ticket};
use crate::message::{Draft, Message};
use crate::request::Open;
use crate::state::actor::Actor;
use crate::table::Keying;

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
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) commands: BTreeMap<Ticket, Command>,
    /// Messages that wait behind a parked one of the same sender to the same conversation.
    pub(crate) behind: HashMap<Lane, VecDeque<(Actor, Draft)>, Keying>,
    pub(crate) waiting: usize,
    /// Messages with a token, by it.
    by_token: HashMap<(u32, RetryToken), Ticket, Keying>,
    /// Repeated attempts that wait with the first ones.
    joined: usize,
}

impl Parked {
    pub(crate) fn new(keying: Keying) -> Self {
        Self {
            commands: BTreeMap::new(),
            behind: HashMap::with_hasher(keying),
            waiting: 0,
            by_token: HashMap::with_hasher(keying),
            joined: 0,
        }
    }

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

    /// Whether a message of this sender with this token is parked.
    pub(crate) fn has_send(&self, peer: u32, token: &RetryToken) -> bool {
        self.by_token.contains_key(&(peer, token.clone()))
    }

    /// Lets a repeated attempt wait with the first one; false where none is parked.
    pub(crate) fn join(&mut self, actor: Actor, token: &RetryToken) -> bool {
        let first = self.by_token.get(&(actor.peer, token.clone()));
        let Some(Command::Send { also, .. }) = first.and_then(|ticket| self.commands.get_mut(ticket)) else {
            return false;
        };
        also.push(actor);
        self.joined += 1;
        true
    }

    /// Parks a command.
    pub(crate) fn park(&mut self, ticket: Ticket, command: Command) {
        if let Command::Send { actor, draft, lane, .. } = &command {
            self.behind.entry(lane.clone()).or_default();
            if let Some(token) = &draft.retry_token {
                self.by_token.insert((actor.peer, token.clone()), ticket);
            }
        }
        self.commands.insert(ticket, command);
    }

    /// Takes a command out, to go on.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Command> {
        let command = self.commands.remove(&ticket)?;
        if let Command::Send { actor, draft, also, .. } = &command {
            self.joined -= also.len();
            if let Some(token) = &draft.retry_token {
                self.by_token.remove(&(actor.peer, token.clone()));
            }
        }
        Some(command)
    }

    /// How many wait: commands, what waits behind them, and repeated attempts.
    pub(crate) fn len(&self) -> usize {
        self.commands.len() + self.waiting + self.joined
    }
}
