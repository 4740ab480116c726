//! Who watches whom, and what watchers are told.

use std::sync::Arc;

use crate::engine::Engine;
use crate::id::PeerId;
use crate::output::Class;
use crate::timers::Timer;
use crate::update::Update;

impl Engine {
    pub(crate) fn watch_one(&mut self, session: u32, peer: &PeerId) -> u32 {
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

    pub(crate) fn unwatch_one(&mut self, session: u32, peer: u32) {
        if let Ok(at) = self.sessions[session].watched.binary_search(&peer) {
            self.sessions[session].watched.remove(at);
            self.peers[peer].watchers.retain(|watcher| *watcher != session);
            self.peers.forget(peer);
        }
    }

    /// Makes `peers` the whole watch list of a session.
    pub(crate) fn watch_only(&mut self, session: u32, peers: &[PeerId]) {
        for peer in std::mem::take(&mut self.sessions[session].watched) {
            self.peers[peer].watchers.retain(|watcher| *watcher != session);
            self.peers.forget(peer);
        }
        for peer in peers {
            self.watch_one(session, peer);
        }
    }

    /// Those of some peers who are online, sorted.
    pub(crate) fn online_among(&self, peers: &[u32]) -> Vec<PeerId> {
        let online = peers.iter().map(|peer| &self.peers[*peer]).filter(|peer| peer.is_online());
        let mut online: Vec<PeerId> = online.map(|peer| peer.id.clone()).collect();
        online.sort_unstable();
        online.dedup();
        online
    }

    /// A peer came or went: its watchers hear of it within a second.
    pub(crate) fn presence_changed(&mut self, peer: u32) {
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

    pub(crate) fn tell_presence_of(&mut self, changed: &[u32]) {
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
}
