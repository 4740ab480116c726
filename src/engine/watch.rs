//! Who watches whom, and when they are told: at once on watching, then changes, gathered for a second.

use std::sync::Arc;

use crate::error::Error;
use crate::id::PeerId;
use crate::output::{Class, Reply, Update};
use crate::record::Kind;
use crate::signature::{Action, KeyId, Signature, UsedNonce};
use crate::timers::Timer;
use crate::{Event, keys};

use super::{Actor, Engine};

/// Peers in one query that count; the rest is ignored, as documented.
const QUERY_MAX: usize = 20;

impl Engine {
    /// Watches more peers; answers with those who are online.
    pub(super) fn watch(&mut self, actor: Actor, peers: &[PeerId], signature: Option<&Signature>) -> Result<(), Error> {
        let Some(session) = actor.session else { return Err(Error::SessionRequired) };
        let slot = session.slot;
        self.check_watch_list(peers, self.sessions[slot].watched.len())?;
        let nonce = if self.config.signatures.sessions {
            let me = self.peers[actor.peer].id.clone();
            let action = Action::Watch { peer: &me, watch: peers };
            Some(self.verify(&action, signature, &me).ok_or(Error::SignatureFailed)?.0)
        } else {
            None
        };
        let staged = nonce.is_some();
        if let Some(nonce) = nonce {
            self.use_nonce(nonce);
        }
        let watched: Vec<u32> = peers.iter().map(|peer| self.watch_one(slot, peer)).collect();
        let online = Reply::Online(self.online_among(&watched));
        if staged {
            self.reply(actor, online)
        } else {
            self.reply_now(actor, Ok(online))
        }
        Ok(())
    }

    /// A list of at most so many peers, each once.
    pub(super) fn check_watch_list(&self, peers: &[PeerId], held: usize) -> Result<(), Error> {
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
    pub(super) fn check_ids(&self, peers: &[PeerId]) -> Result<(), Error> {
        let signing = self.config.signatures.sessions || self.config.signatures.groups;
        let fits = |peer: &PeerId| {
            peer.as_str().chars().count() <= self.config.peer_id_chars_max && !(signing && peer.as_str().contains(':'))
        };
        if peers.iter().all(fits) { Ok(()) } else { Err(Error::InvalidPeerId) }
    }

    fn watch_one(&mut self, session: u32, peer: &PeerId) -> u32 {
        // Those who watch it already are told what changed first, so that the newcomer does not hear it twice. Nobody may be
        // left then who knows it, and it is forgotten.
        if let Some(known) = self.peers.find(peer).filter(|known| self.changed.remove(known)) {
            self.tell_presence_of(&[known]);
        }
        let peer = self.peers.intern(peer);
        let watched = &mut self.sessions[session].watched;
        if let Err(at) = watched.binary_search(&peer) {
            watched.insert(at, peer);
            self.peers[peer].watchers.push(session);
        }
        peer
    }

    pub(super) fn unwatch(&mut self, actor: Actor, peers: &[PeerId]) -> Result<(), Error> {
        let Some(session) = actor.session else { return Err(Error::SessionRequired) };
        for peer in peers.iter().filter_map(|peer| self.peers.find(peer)).collect::<Vec<_>>() {
            self.unwatch_one(session.slot, peer);
        }
        self.reply_now(actor, Ok(Reply::Done));
        Ok(())
    }

    fn unwatch_one(&mut self, session: u32, peer: u32) {
        if let Ok(at) = self.sessions[session].watched.binary_search(&peer) {
            self.sessions[session].watched.remove(at);
            self.peers[peer].watchers.retain(|watcher| *watcher != session);
            self.peers.forget(peer);
        }
    }

    /// Makes `peers` the whole watch list of a session.
    pub(super) fn watch_only(&mut self, session: u32, peers: &[PeerId]) {
        for peer in std::mem::take(&mut self.sessions[session].watched) {
            self.peers[peer].watchers.retain(|watcher| *watcher != session);
            self.peers.forget(peer);
        }
        for peer in peers {
            self.watch_one(session, peer);
        }
    }

    /// Who of some peers is online; needs no watch.
    pub(super) fn query_online(&mut self, actor: Actor, peers: &[PeerId]) -> Result<(), Error> {
        let asked = peers.iter().take(QUERY_MAX).filter_map(|peer| self.peers.find(peer)).collect::<Vec<_>>();
        let online = self.online_among(&asked);
        self.reply_now(actor, Ok(Reply::Online(online)));
        Ok(())
    }

    /// Those of some peers who are online, sorted.
    pub(super) fn online_among(&self, peers: &[u32]) -> Vec<PeerId> {
        let online = peers.iter().map(|peer| &self.peers[*peer]).filter(|peer| peer.is_online());
        let mut online: Vec<PeerId> = online.map(|peer| peer.id.clone()).collect();
        online.sort_unstable();
        online.dedup();
        online
    }

    /// A peer came or went: its watchers hear of it within a second.
    pub(super) fn presence_changed(&mut self, peer: u32) {
        let held = &mut self.peers[peer];
        if held.watchers.is_empty() {
            held.told_online = held.is_online();
            self.changed.remove(&peer);
        } else if held.told_online != held.is_online() {
            self.changed.insert(peer);
            self.timers.set_once(Timer::Presence, self.now + self.config.presence_every);
        } else {
            self.changed.remove(&peer);
        }
    }

    /// Tells watchers what changed since they were told last.
    pub(super) fn tell_presence(&mut self) {
        let changed: Vec<u32> = std::mem::take(&mut self.changed).into_iter().collect();
        self.tell_presence_of(&changed);
    }

    fn tell_presence_of(&mut self, changed: &[u32]) {
        let mut news: std::collections::BTreeMap<u32, (Vec<PeerId>, Vec<PeerId>)> = std::collections::BTreeMap::new();
        for &peer in changed {
            let held = &mut self.peers[peer];
            let online = held.is_online();
            if std::mem::replace(&mut held.told_online, online) == online {
                continue;
            }
            for watcher in &held.watchers {
                let (came, went) = news.entry(*watcher).or_default();
                if online { came.push(held.id.clone()) } else { went.push(held.id.clone()) }
            }
        }
        for (watcher, (mut online, mut offline)) in news {
            let attached = self.sessions.find(self.sessions.id(watcher)).is_some();
            if attached {
                online.sort_unstable();
                offline.sort_unstable();
                let update = Arc::new(Update::Presence { online, offline });
                self.deliver_now(self.reference(watcher), update, Class::Fleeting);
            }
        }
        changed.iter().for_each(|peer| self.peers.forget(*peer));
    }

    /// Checks a signature and that its nonce is new. The cause of a refusal goes to the host alone.
    pub(super) fn verify(
        &self,
        action: &Action<'_>,
        signature: Option<&Signature>,
        peer: &PeerId,
    ) -> Option<(UsedNonce, KeyId)> {
        let (verifier, signature) = (self.verifier.as_ref()?, signature?);
        let checked = verifier
            .verify(action, signature, self.now)
            .and_then(|verified| Ok((self.nonces.check(peer, &signature.nonce, &verified)?, verified.key)));
        checked.map_err(|cause| self.alarms.refused(peer, cause)).ok()
    }

    /// Uses a nonce up, for good.
    pub(super) fn use_nonce(&mut self, nonce: UsedNonce) {
        let nonce = self.nonces.record(nonce);
        let bytes = nonce.to_bytes();
        let low = bytes.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        self.put_row(Kind::Nonces, keys::nonce(nonce.until().as_millis(), low), &bytes);
    }

    /// Tells the host why signatures were refused.
    pub(super) fn tell_refused(&mut self) {
        for (peer, cause) in self.alarms.take_refused() {
            self.tell(Event::SignatureRefused { peer, cause });
        }
    }
}
