//! Who watches whom, and what watchers are told.

use std::sync::Arc;

use crate::engine::Engine;
use crate::id::PeerId;
use crate::output::Class;
use crate::state::shares::Standing;
use crate::timers::Timer;
use crate::update::Update;

impl Engine {
    pub(crate) fn watch_one(&mut self, session: u32, name: &PeerId) {
        // Those who watch it already are told what changed first, so that the newcomer does not hear it twice. Nobody may be
        // left then who knows the peer, and it is forgotten.
        if let Some(known) = self.peers.find(name).filter(|known| self.changed.remove(known)) {
            self.tell_presence_of(&[known]);
        }
        let watched = self.watches.find(name);
        if watched.is_some_and(|watched| self.sessions[session].is_watching(watched)) {
            return;
        }
        let is_charged = self.peers.find(name).is_none();
        if is_charged {
            let payers = self.payers_of(session);
            self.shares.stand(payers, Standing::Watches, 1);
        }
        let watched = self.watches.add(name, session, is_charged);
        let list = &mut self.sessions[session].watched;
        if let Err(at) = list.binary_search(&watched) {
            list.insert(at, watched);
        }
    }

    pub(crate) fn unwatch_one(&mut self, session: u32, name: &PeerId) {
        let Some(watched) = self.watches.find(name) else { return };
        if let Ok(at) = self.sessions[session].watched.binary_search(&watched) {
            self.sessions[session].watched.remove(at);
            self.end_watch(session, watched);
        }
    }

    fn end_watch(&mut self, session: u32, watched: u32) {
        if self.watches.remove(watched, session) {
            let payers = self.payers_of(session);
            self.shares.fall(payers, Standing::Watches, 1);
        }
    }

    /// Makes `names` the whole watch list of a session.
    pub(crate) fn watch_only(&mut self, session: u32, names: &[PeerId]) {
        for watched in std::mem::take(&mut self.sessions[session].watched) {
            self.end_watch(session, watched);
        }
        for name in names {
            self.watch_one(session, name);
        }
    }

    /// Whether a session watches a name.
    pub(crate) fn is_watching(&self, session: u32, name: &PeerId) -> bool {
        self.watches.find(name).is_some_and(|watched| self.sessions[session].is_watching(watched))
    }

    /// Those whom a session watches who are online, sorted.
    pub(crate) fn online_watched(&self, session: u32) -> Vec<PeerId> {
        let names = self.sessions[session].watched.iter().map(|watched| self.watches.name(*watched));
        self.online_named(names)
    }

    /// Those of some names who are online, sorted.
    pub(crate) fn online_named<'a>(&self, names: impl Iterator<Item = &'a PeerId>) -> Vec<PeerId> {
        self.online_among(&names.filter_map(|name| self.peers.find(name)).collect::<Vec<_>>())
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
        let is_watched = self.watches.find(&self.peers[peer].id).is_some();
        let held = &mut self.peers[peer];
        if !is_watched {
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
            let name = held.id.clone();
            for watcher in self.watches.watchers(&name) {
                let (came, went) = news.entry(watcher).or_default();
                if online { came.push(name.clone()) } else { went.push(name.clone()) }
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
