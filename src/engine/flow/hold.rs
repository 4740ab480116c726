//! Requests of whoever has staged more than its share wait before their check, and go on when a commit ends.

use crate::engine::Engine;
use crate::error::Error;
use crate::id::Ticket;
use crate::request::Request;
use crate::state::actor::Actor;
use crate::state::held::Waiting;

/// Requests that go on at the end of one commit.
const STEP: usize = 256;

/// Whether a request stages something that waits for the store.
fn stages(request: &Request) -> bool {
    match request {
        Request::Send(draft) => !draft.transient,
        Request::Create(_)
        | Request::Join { .. }
        | Request::Leave { .. }
        | Request::Invite { .. }
        | Request::Kick { .. } => true,
        _ => false,
    }
}

/// Whether a request is neither kept waiting nor refused for want of room: it makes room, or ends everything.
pub(crate) fn makes_room(request: &Request) -> bool {
    matches!(request, Request::Acknowledge { .. } | Request::MarkRead { .. } | Request::Close)
}

impl Engine {
    /// Whether a request has to wait for its turn.
    pub(crate) fn must_wait(&self, actor: Actor, request: &Request) -> bool {
        let Some(session) = actor.session else { return false };
        if makes_room(request) || self.store_failed {
            return false;
        }
        let payer = self.sessions[session.slot].payer;
        self.held.has_session(session) || stages(request) && self.has_staged_enough(payer)
    }

    fn has_staged_enough(&self, payer: u64) -> bool {
        self.held.is_over(payer, self.config.staged_share_bytes_max, self.config.staged_bytes_max)
    }

    /// Lets a request wait for its turn.
    pub(crate) fn hold_request(&mut self, actor: Actor, request: Request) -> Result<Ticket, Error> {
        self.may_park()?;
        let payer = actor.session.map_or(0, |session| self.sessions[session.slot].payer);
        if self.held.is_full(payer) {
            let max = self.config.staged_share_bytes_max as u64;
            return Err(Error::OverLimit { limit: "staged_share_bytes_max", max });
        }
        self.peers[actor.peer].pinned += 1;
        let until = self.now + self.config.commit_after;
        self.held.hold(payer, Waiting { actor, request, until });
        Ok(actor.ticket)
    }

    /// Counts what a request staged for whoever made it.
    pub(crate) fn count_staged(&mut self, actor: Actor, before: usize) {
        let staged = self.gate.staged_bytes().saturating_sub(before);
        if let Some(session) = actor.session.filter(|_| staged > 0)
            && let Some(held) = self.sessions.get(session.slot)
        {
            self.held.stage(held.payer, self.gate.newest(), staged);
        }
    }

    /// A commit has ended: who waits goes on, one after another, as far as the shares go. Where the store has failed all go
    /// on, to be told so.
    pub(crate) fn release_held(&mut self) {
        let mut left = STEP;
        while left > 0 || !self.gate.has_work() {
            let (share, total, failed) =
                (self.config.staged_share_bytes_max, self.config.staged_bytes_max, self.store_failed);
            let next = self.held.next(|held, payer| failed || !held.is_over(payer, share, total));
            let Some(waiting) = next else { return };
            self.go_on_held(waiting, None);
            left = left.saturating_sub(1);
        }
    }

    /// Those who have waited as long as a send may wait for the store are told that it takes too long.
    pub(crate) fn expire_held(&mut self) {
        while let Some(waiting) = self.held.next_overdue(self.now) {
            self.go_on_held(waiting, Some(Error::StoreUnavailable));
        }
    }

    /// Everyone who waits is told that the engine ends.
    pub(crate) fn end_held(&mut self) {
        while let Some(waiting) = self.held.next(|_, _| true) {
            self.go_on_held(waiting, Some(Error::Closed));
        }
    }

    fn go_on_held(&mut self, waiting: Waiting, refusal: Option<Error>) {
        let Waiting { actor: before, request, .. } = waiting;
        let actor = self.without_lost_session(before);
        // Whose session is gone still sends; of the rest nobody awaits the answer.
        let is_wanted = actor.session.is_some() || matches!(request, Request::Send(_));
        if is_wanted {
            let staged = self.gate.staged_bytes();
            let done = refusal.map_or_else(|| self.perform(actor, request), Err);
            self.count_staged(actor, staged);
            self.end_request(done.is_err());
            if let Err(error) = done {
                self.reply_now(actor, Err(error));
            }
        }
        self.peers[actor.peer].pinned -= 1;
        self.peers.forget(actor.peer);
    }
}
