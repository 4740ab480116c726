//! What the host is to do for a connection.

use super::wire::{Address, Asked, Serial};
use crate::id::{PeerId, SessionId};
use crate::request::{Open, Request};

/// What the host is to do, from [`Connection::poll_action`](super::Connection::poll_action).
#[derive(Debug, PartialEq)]
#[must_use]
pub enum Action {
    /// Open a session: call [`Engine::open`](crate::Engine::open), then [`Connection::opened`](super::Connection::opened) with the key.
    Open {
        /// Names the action in its answer.
        key: Key,
        /// Who wants what.
        open: Open,
    },
    /// Ask for something: call [`Engine::request`](crate::Engine::request), then [`Connection::answered`](super::Connection::answered) with the key.
    Request {
        /// Names the action in its answer.
        key: Key,
        /// Whose wish it is.
        session: SessionId,
        /// What is asked for.
        request: Request,
    },
    /// Pause a session whose peer opens again: call [`Engine::pause`](crate::Engine::pause). The open that follows takes it
    /// over. No answer.
    Pause {
        /// Which session.
        session: SessionId,
    },
}

/// Names an action in its answer. It carries what the connection has to know then.
#[derive(Debug, PartialEq)]
pub struct Key {
    pub(super) peer: PeerId,
    pub(super) serial: Option<Serial>,
    pub(super) asked: Asked,
    /// Whose request it is; none for an open.
    pub(super) session: Option<SessionId>,
}

impl Key {
    pub(super) fn address(&self) -> Address {
        Address { peer: Some(self.peer.clone()), serial: self.serial }
    }
}
