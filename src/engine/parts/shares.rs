//! Shares: whether whoever asks may make others pay for something more. The host always may.

use crate::conversation::ConversationKind;
use crate::engine::Engine;
use crate::error::Error;
use crate::id::PeerId;
use crate::request::{Open, Origin};
use crate::state::actor::{Actor, Payer};
use crate::state::session::State;
use crate::state::shares::{Lately, ORIGIN, Payers, Standing};

impl Engine {
    /// Who pays for what a session does.
    pub(crate) fn payers_of(&self, session: u32) -> Payers {
        let session = &self.sessions[session];
        self.shares.payers(&self.peers[session.peer].id, session.rare.origin)
    }

    /// Who pays for a request; none for the host's.
    pub(crate) fn payers(&self, actor: Actor) -> Option<Payers> {
        let peer = &self.peers[actor.peer].id;
        match actor.payer {
            Payer::Host => None,
            Payer::Peer => Some(self.shares.payers(peer, None)),
            Payer::Connection(origin) => Some(self.shares.payers(peer, Some(origin))),
        }
    }

    /// Whether memory has room for those of `peers` that are new, and whoever asks may name them.
    pub(crate) fn check_new_peers(&self, actor: Actor, peers: &[PeerId]) -> Result<(), Error> {
        let new = self.count_new(peers);
        if new == 0 {
            return Ok(());
        }
        self.check_peers_max(new)?;
        let Some(payers) = self.payers(actor) else { return Ok(()) };
        self.check_names(payers, new as u64)
    }

    fn count_new(&self, peers: &[PeerId]) -> usize {
        peers.iter().filter(|peer| self.peers.find(peer).is_none()).count()
    }

    /// Whether memory has room for some more peers.
    pub(crate) fn check_peers_max(&self, new: usize) -> Result<(), Error> {
        if self.peers.len() + new > self.config.peers_max {
            return Err(Error::OverLimit { limit: "peers_max", max: self.config.peers_max as u64 });
        }
        Ok(())
    }

    fn check_names(&self, payers: Payers, new: u64) -> Result<(), Error> {
        let over = self.shares.over(payers, Lately::Names, new, self.config.names_per_hour_max, self.now);
        over.map_or(Ok(()), |max| Err(Error::OverLimit { limit: "names_per_hour_max", max }))
    }

    /// The peers of these names, made where there are none, which whoever asks pays for.
    pub(crate) fn make_peers(&mut self, actor: Actor, names: &[PeerId]) -> Vec<u32> {
        let new = self.count_new(names) as u64;
        if let Some(payers) = self.payers(actor) {
            self.shares.spend(payers, Lately::Names, new, self.now);
        }
        names.iter().map(|name| self.peers.intern(name)).collect()
    }

    /// Whether memory has room for another conversation, and whoever asks may make one.
    pub(crate) fn check_new_conversation(&self, actor: Actor) -> Result<(), Error> {
        if self.conversations.len() >= self.config.conversations_max {
            return Err(Error::OverLimit { limit: "conversations_max", max: self.config.conversations_max as u64 });
        }
        let Some(payers) = self.payers(actor) else { return Ok(()) };
        let max = self.config.conversations_per_day_max;
        let over = self.shares.over(payers, Lately::Conversations, 1, max, self.now);
        over.map_or(Ok(()), |max| Err(Error::OverLimit { limit: "conversations_per_day_max", max }))
    }

    /// Whether whoever asks may make another room.
    pub(crate) fn check_new_room(&self, actor: Actor) -> Result<(), Error> {
        let Some(payers) = self.payers(actor) else { return Ok(()) };
        let over = self.shares.over_standing(payers, Standing::Rooms, 1, self.config.rooms_made_max);
        over.map_or(Ok(()), |max| Err(Error::OverLimit { limit: "rooms_made_max", max }))
    }

    /// A room that the store holds counts for whoever made it.
    pub(crate) fn count_stored_room(&mut self, slot: u32) {
        let room = &self.conversations[slot];
        let maker = room.creator.filter(|_| room.kind == ConversationKind::Room);
        if let Some(maker) = maker {
            let payers = self.shares.payers(&self.peers[maker].id, None);
            self.shares.made_room(payers, room.number);
        }
    }

    /// A conversation was made, at somebody's expense.
    pub(crate) fn count_made(&mut self, actor: Actor) {
        if let Some(payers) = self.payers(actor) {
            self.shares.spend(payers, Lately::Conversations, 1, self.now);
        }
    }

    /// Whether an open may bring a peer of whom nothing is known, and may watch whom it names: its peer is not charged for
    /// its own name, its connection is.
    pub(crate) fn check_open_share(&self, open: &Open, is_known: bool) -> Result<(), Error> {
        let payers = self.shares.payers(&open.peer, open.origin);
        if !is_known {
            self.check_peers_max(1)?;
            self.check_names(payers.without_peer(), 1)?;
        }
        self.check_unknown_watches(payers, &open.watch)
    }

    /// An open brought a peer of whom nothing was known.
    pub(crate) fn count_newcomer(&mut self, open: &Open) {
        if open.origin.is_some() && self.peers.find(&open.peer).is_none() {
            let payers = self.shares.payers(&open.peer, open.origin).without_peer();
            self.shares.spend(payers, Lately::Names, 1, self.now);
        }
    }

    /// Whether so many more names of whom nothing is known may be watched.
    pub(crate) fn check_unknown_watches(&self, payers: Payers, names: &[PeerId]) -> Result<(), Error> {
        let new = self.count_new(names) as u64;
        if new == 0 {
            return Ok(());
        }
        let over = self.shares.over_standing(payers, Standing::Watches, new, self.config.unknown_watched_max);
        over.map_or(Ok(()), |max| Err(Error::OverLimit { limit: "unknown_watched_max", max }))
    }

    /// A session's use counts for another connection from here on: what stands of it goes along.
    pub(crate) fn set_origin(&mut self, slot: u32, origin: Option<Origin>) {
        if self.sessions[slot].rare.origin == origin {
            self.sessions[slot].payer = self.payers_of(slot).one();
            return;
        }
        let watched = self.sessions[slot].watched.iter();
        let charged = watched.filter(|watched| self.watches.is_charged(**watched, slot)).count() as u64;
        let before = self.payers_of(slot);
        self.shares.fall(before, Standing::Watches, charged);
        self.sessions[slot].rare.origin = origin;
        let after = self.payers_of(slot);
        self.shares.stand(after, Standing::Watches, charged);
        self.sessions[slot].payer = after.one();
    }

    // Pauses.

    /// A session that has just been paused takes its place among the pauses; who has too many now loses the oldest.
    pub(crate) fn count_pause(&mut self, slot: u32) {
        let Some((until, peer, origin)) = self.pause_of(slot) else { return };
        self.peers[peer].paused.push(slot);
        self.pauses.add(slot, until, peer, origin);
        let max = self.config.paused_max;
        if let Some(oldest) = self.pauses.beyond(peer, max) {
            self.drop_session(oldest);
        }
        let of_origin = origin.and_then(|origin| self.pauses.beyond_of_origin(origin, max * ORIGIN as usize));
        if let Some(oldest) = of_origin {
            self.drop_session(oldest);
        }
        self.make_room_for_sessions();
    }

    /// A session is paused no more, while its state still says that it is.
    pub(crate) fn uncount_pause(&mut self, slot: u32) {
        let Some((until, peer, origin)) = self.pause_of(slot) else { return };
        self.peers[peer].paused.retain(|paused| *paused != slot);
        self.pauses.remove(slot, until, peer, origin);
    }

    fn pause_of(&self, slot: u32) -> Option<(crate::Timestamp, u32, Option<u64>)> {
        let session = &self.sessions[slot];
        let State::Paused(until) = session.state else { return None };
        Some((until, session.peer, session.rare.origin.map(|origin| self.shares.origin(origin))))
    }

    /// Pauses may fill what open sessions leave, and always a tenth: beyond, the oldest of the peer with most of them ends.
    pub(crate) fn make_room_for_sessions(&mut self) {
        let max = self.config.all_sessions_max;
        let open = self.sessions.len() - self.pauses.len();
        while self.pauses.len() > (max.saturating_sub(open)).max(max.div_ceil(10))
            && let Some(oldest) = self.pauses.of_most()
        {
            self.drop_session(oldest);
        }
    }
}
