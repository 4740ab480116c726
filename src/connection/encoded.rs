//! Updates that are written once for many.

use std::sync::Arc;

use super::Wire;
use super::outgoing::Body;
use crate::update::Update;

/// An update, written once for all the connections of one wire format that get it.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub(super) wire: Wire,
    pub(super) bodies: Arc<[Body]>,
}

impl Encoded {
    /// Writes an update. `None` for what concerns one connection alone: replies and the end of a session.
    #[must_use]
    pub fn new(wire: Wire, update: &Update) -> Option<Self> {
        match update {
            Update::Reply { .. } | Update::Closed { .. } => None,
            _ => Some(Self { wire, bodies: wire.format().update(update).into_iter().map(Body::from).collect() }),
        }
    }
}
