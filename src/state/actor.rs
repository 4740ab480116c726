//! Who asks, and whose answer waits for the store.

use crate::id::Ticket;
use crate::output::SessionRef;
use crate::request::Origin;
use crate::time::Timestamp;

/// Whose share a request is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payer {
    /// Nobody's: the host is exempt.
    Host,
    /// The peer's that asks.
    Peer,
    /// The peer's, and that of its connection.
    Connection(Origin),
}

impl Payer {
    /// Who pays for a client that came by `origin`.
    pub(crate) fn client(origin: Option<Origin>) -> Self {
        origin.map_or(Self::Peer, Self::Connection)
    }
}

/// Who asks, and where the answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    pub(crate) peer: u32,
    /// The asking session; `None` for the host.
    pub(crate) session: Option<SessionRef>,
    pub(crate) ticket: Ticket,
    /// Whether a hook asks, beside what it was asked about.
    pub(crate) by_hook: bool,
    pub(crate) payer: Payer,
}

/// A reply that waits for the store.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) until: Timestamp,
    pub(crate) commit: u64,
    pub(crate) actor: Actor,
}
