//! Who asks, and whose answer waits for the store.

use crate::id::Ticket;
use crate::output::SessionRef;
use crate::time::Timestamp;

/// Who asks, and where the answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    pub(crate) peer: u32,
    /// The asking session; `None` for the host.
    pub(crate) session: Option<SessionRef>,
    pub(crate) ticket: Ticket,
    /// Whether a hook asks, beside what it was asked about.
    pub(crate) by_hook: bool,
}

/// A reply that waits for the store.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) until: Timestamp,
    pub(crate) commit: u64,
    pub(crate) actor: Actor,
}
