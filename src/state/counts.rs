//! Counts of what happened.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use crate::id::PeerId;
use crate::signature::Cause;
use crate::time::Timestamp;

/// Counts of the running minute, and since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) messages_before: u64,
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    pub(crate) offline_dropped: u64,
    /// Retry tokens that newer ones of their sender drove out before their time.
    pub(crate) retry_tokens_forgotten: u64,
    pub(crate) total_refused: u64,
    /// Refused signatures, for the host's log; checks see the engine unchanged.
    causes: RefCell<Vec<(PeerId, Cause)>>,
    /// Whether a signature was refused for want of room for its nonce.
    nonces_full: Cell<bool>,
    nonces_full_told_at: Option<Timestamp>,
}

impl Counts {
    pub(crate) fn count_request(&mut self, refused: bool) {
        self.requests += 1;
        self.refused += u64::from(refused);
        self.total_refused += u64::from(refused);
    }

    pub(crate) fn refused(&self, peer: &PeerId, cause: Cause) {
        self.causes.borrow_mut().push((peer.clone(), cause));
    }

    pub(crate) fn found_nonces_full(&self) {
        self.nonces_full.set(true);
    }

    /// Whether the host is to be told that the memory of nonces is full: once a minute while it is.
    pub(crate) fn take_nonces_full(&mut self, now: Timestamp) -> bool {
        const EVERY: Duration = Duration::from_secs(60);
        let is_due = self.nonces_full_told_at.is_none_or(|told_at| now.since(told_at) >= EVERY);
        let tells = self.nonces_full.take() && is_due;
        if tells {
            self.nonces_full_told_at = Some(now);
        }
        tells
    }

    pub(crate) fn take_refused(&mut self) -> Vec<(PeerId, Cause)> {
        std::mem::take(self.causes.get_mut())
    }
}
