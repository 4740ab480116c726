//! What a verb asks before it does anything: whether there is room.

use crate::engine::Engine;
use crate::error::Error;
use crate::id::PeerId;
use crate::page::Page;
use crate::state::reads::Reads;

impl Engine {
    /// Whether another read may wait for its turn.
    pub(crate) fn may_read(&self) -> Result<(), Error> {
        if self.reads.is_full() {
            return Err(Error::OverLimit { limit: "reads waiting", max: Reads::MAX as u64 });
        }
        Ok(())
    }

    pub(crate) fn check_page(&self, page: &Page) -> Result<(), Error> {
        let max = self.config.history_page_max;
        if page.limit == 0 || page.limit > max {
            return Err(Error::OverLimit { limit: "history_page_max", max: max as u64 });
        }
        self.may_read()
    }

    /// Whether `new` more members fit, and whether each of `known` may be in another group.
    pub(crate) fn check_new_members(&self, slot: u32, known: &[u32], new: usize) -> Result<(), Error> {
        let max = self.config.members_max;
        if max > 0 && self.conversations[slot].active + new > max {
            return Err(Error::ConversationFull);
        }
        self.check_groups(known.iter().copied().filter(|peer| !self.conversations[slot].has_member(*peer)))
    }

    /// Whether each of some peers may be in another group.
    pub(crate) fn check_groups(&self, mut peers: impl Iterator<Item = u32>) -> Result<(), Error> {
        let max = self.config.groups_max;
        if peers.any(|peer| self.peers[peer].groups as usize >= max) {
            return Err(Error::OverLimit { limit: "groups_max", max: max as u64 });
        }
        Ok(())
    }

    /// Whether another command may be parked.
    pub(crate) fn may_park(&self) -> Result<(), Error> {
        let max = self.config.parked_max;
        if self.parked.len() + self.held.len() >= max {
            Err(Error::OverLimit { limit: "parked_max", max: max as u64 })
        } else {
            Ok(())
        }
    }

    /// Whether another answer may wait for the host: what waits to be read or resolved will be one, and what waits for the store
    /// may be answered early.
    pub(crate) fn may_answer(&self) -> Result<(), Error> {
        let max = self.config.outputs_max;
        let to_come = self.gated.len() + self.reads.waiting.len() + self.parked.len() + self.held.len();
        if self.gate.outputs() + to_come >= max {
            Err(Error::OverLimit { limit: "outputs_max", max: max as u64 })
        } else {
            Ok(())
        }
    }

    /// A list of at most so many peers, each once.
    pub(crate) fn check_watch_list(&self, peers: &[PeerId], held: usize) -> Result<(), Error> {
        let max = self.config.watched_per_request_max;
        if peers.len() > max {
            return Err(Error::OverLimit { limit: "watched_per_request_max", max: max as u64 });
        }
        if held + peers.len() > self.config.watched_max {
            return Err(Error::OverLimit { limit: "watched_max", max: self.config.watched_max as u64 });
        }
        self.check_ids(peers)?;
        let mut sorted: Vec<&PeerId> = peers.iter().collect();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) { Err(Error::Unparseable) } else { Ok(()) }
    }

    /// Ids as the settings allow them: no longer than they may be, and without `:` while signatures are on.
    pub(crate) fn check_ids(&self, peers: &[PeerId]) -> Result<(), Error> {
        let signing = self.config.signatures.sessions || self.config.signatures.groups;
        let fits = |peer: &PeerId| {
            peer.as_str().chars().count() <= self.config.peer_id_chars_max && !(signing && peer.as_str().contains(':'))
        };
        if peers.iter().all(fits) { Ok(()) } else { Err(Error::InvalidPeerId) }
    }

    /// Whether the store and the queues have room for a request that stages something.
    pub(crate) fn may_stage(&self) -> Result<(), Error> {
        if self.store_failed { Err(Error::StoreUnavailable) } else { self.has_space() }
    }

    /// Whether the queues have room, whatever the store does: for what is live at once, and for opens.
    pub(crate) fn has_space(&self) -> Result<(), Error> {
        if self.is_staged_full() {
            return Err(Error::OverLimit { limit: "staged_bytes_max", max: self.config.staged_bytes_max as u64 });
        }
        self.may_answer()
    }

    /// Whether as much waits for the store as may.
    pub(crate) fn is_staged_full(&self) -> bool {
        self.gate.staged_bytes() >= self.config.staged_bytes_max
    }
}
