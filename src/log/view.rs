//! A log as it stands at one moment.

use std::sync::Arc;

use super::overlay::Overlay;
use crate::message::Message;

/// A conversation's log as it stands at one moment.
#[derive(Clone, Debug)]
pub(crate) struct LogView {
    /// The conversation's place in the engine's table.
    pub(crate) slot: u32,
    /// Its permanent number.
    pub(crate) conversation: u64,
    /// The first number that retention has kept.
    pub(crate) first: u64,
    /// The last number that the store has.
    pub(crate) durable: u64,
    /// What comes after it, from memory.
    pub(crate) tail: Vec<Arc<Message>>,
    /// The last number.
    pub(crate) last: u64,
    /// What is laid over it.
    pub(crate) overlay: Overlay,
}

impl LogView {
    /// Everything that a log may ever have had, for removing it.
    pub(crate) fn whole(slot: u32, conversation: u64) -> Self {
        Self {
            slot,
            conversation,
            first: 0,
            durable: u64::MAX - 1,
            tail: Vec::new(),
            last: u64::MAX - 1,
            overlay: Overlay::unknown(),
        }
    }
}
