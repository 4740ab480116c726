//! Messages by their ids, for acknowledgements: the newest ones of the whole engine.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::id::MessageId;
use crate::output::SessionRef;

/// Where an acknowledged message is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whereabouts {
    /// The conversation's permanent number: its place may be another's by the time of the acknowledgement.
    pub(crate) conversation: u64,
    pub(crate) number: u64,
    /// Its place in the order of all facts.
    pub(crate) position: u64,
    /// The session that sent it; `None` for the host's, and for one read back from the log.
    pub(crate) sent_by: Option<SessionRef>,
    /// Who wants to know of its arrival.
    pub(crate) receipt_to: Option<u32>,
}

/// The newest messages by id. An acknowledgement of an older one is ignored: the message comes again and is acknowledged then.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    by_id: FxHashMap<MessageId, Whereabouts>,
    order: VecDeque<MessageId>,
}

impl Recent {
    /// Messages remembered: some minutes of a busy engine, 5 MB.
    const MAX: usize = 65_536;

    pub(crate) fn note(&mut self, id: MessageId, at: Whereabouts) {
        if self.order.len() == Self::MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        self.order.push_back(id);
        self.by_id.insert(id, at);
    }

    pub(crate) fn find(&self, id: &MessageId) -> Option<Whereabouts> {
        self.by_id.get(id).copied()
    }
}
