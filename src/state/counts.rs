//! Counts of what happened.

use std::cell::RefCell;

use crate::id::PeerId;
use crate::signature::Cause;

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

    pub(crate) fn take_refused(&mut self) -> Vec<(PeerId, Cause)> {
        std::mem::take(self.causes.get_mut())
    }
}
