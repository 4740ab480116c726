//! Sessions end for good: by the client itself, or by the host.

use crate::engine::Engine;
use crate::error::Error;
use crate::event::OfflineReason;
use crate::id::PeerId;
use crate::state::actor::Actor;
use crate::update::Reply;

impl Engine {
    /// The client ends its session for good. Its peer is logged out where it was the last, open or paused: from then on
    /// nobody wakes it.
    pub(crate) fn log_out(&mut self, actor: Actor) -> Result<(), Error> {
        let Some(session) = actor.session else { return Err(Error::SessionRequired) };
        let last = self.peers[actor.peer].sessions.len() + self.peers[actor.peer].paused.len() == 1;
        // Of a peer of whom nothing is stored, nothing is stored by its going either: nothing ever wakes it.
        if last && self.peers[actor.peer].number != 0 {
            self.peers[actor.peer].logged_out = true;
            self.peers[actor.peer].dirty = true;
            self.mark_dirty(actor.peer);
        }
        self.reply_now(actor, Ok(Reply::Done));
        self.end(session.slot, OfflineReason::LoggedOut, None);
        Ok(())
    }

    /// The host closes every session of a peer; each is told why. Tokens are void.
    pub fn close_peer(&mut self, peer: &PeerId, error: Error, now: crate::Timestamp) -> usize {
        self.advance(now);
        let Some(peer) = self.peers.find(peer) else { return 0 };
        let (open, paused) = (self.peers[peer].sessions.clone(), self.peers[peer].paused.clone());
        open.iter().for_each(|slot| self.end(*slot, OfflineReason::Kicked, Some(error.clone())));
        paused.iter().for_each(|slot| self.drop_session(*slot));
        self.gate.end_operation();
        open.len() + paused.len()
    }
}
