//! Who is there, and who is told of it.
//!
//! A peer is online while one of its sessions is open. Whoever watches it hears of each change within a second, and hears
//! nothing of a peer that went and came back in between.

use std::collections::{BTreeMap, BTreeSet};

use super::receipts::Owed;
use super::{Device, Model, Peer, State, What};

#[derive(Clone, Debug, Default)]
pub(crate) struct PeerState {
    /// Whether anything that is kept names it: it was in a conversation or sent something.
    pub(crate) known: bool,
    pub(crate) logged_out: bool,
    pub(crate) devices: Vec<Device>,
    pub(crate) told_online: bool,
    pub(crate) changed: bool,
    /// Retry tokens and their messages, oldest first.
    pub(crate) tokens: Vec<(u8, usize)>,
    /// Those of messages that nobody stores, each with whether it was asked to be transient, while process and peer are there.
    pub(crate) transient_tokens: Vec<((u8, bool), usize)>,
    /// Receipts that came while it was away, by conversation.
    pub(super) owed: BTreeMap<usize, Owed>,
    /// Whether a crash made them uncertain.
    pub(super) owed_unsure: bool,
}

impl Model {
    pub(crate) fn is_online(&self, peer: Peer) -> bool {
        !self.open_of(peer).is_empty()
    }

    pub(super) fn online_among(&self, peers: impl IntoIterator<Item = Peer>) -> BTreeSet<Peer> {
        peers.into_iter().filter(|peer| self.is_online(*peer)).collect()
    }

    fn watchers(&self, peer: Peer) -> Vec<usize> {
        let watches = |session: &usize| {
            let held = &self.sessions[*session];
            held.state != State::Gone && held.watched.contains(&peer)
        };
        (0..self.sessions.len()).filter(watches).collect()
    }

    pub(super) fn presence_changed(&mut self, peer: Peer) {
        let (watched, online) = (!self.watchers(peer).is_empty(), self.is_online(peer));
        let due = self.now + 1_000;
        let held = self.peer(peer);
        if !watched {
            held.told_online = online;
        }
        held.changed = held.told_online != online;
        if held.changed {
            self.presence_due.get_or_insert(due);
        }
    }

    pub(super) fn tell_presence(&mut self, peers: &[Peer]) {
        let mut news: BTreeMap<usize, (BTreeSet<Peer>, BTreeSet<Peer>)> = BTreeMap::new();
        for &peer in peers {
            let online = self.is_online(peer);
            self.peer(peer).changed = false;
            if std::mem::replace(&mut self.peer(peer).told_online, online) == online {
                continue;
            }
            for watcher in self.watchers(peer) {
                let (came, went) = news.entry(watcher).or_default();
                if online {
                    came.insert(peer)
                } else {
                    went.insert(peer)
                };
            }
        }
        for (watcher, (online, offline)) in news {
            if self.sessions[watcher].state == State::Open {
                self.tell(watcher, What::Presence { online, offline });
            }
        }
        peers.iter().for_each(|peer| self.forget_stranger(*peer));
    }

    /// A peer that nothing names is a stranger again when it is gone: its devices are not known.
    pub(super) fn forget_stranger(&mut self, peer: Peer) {
        let is_here = self.is_online(peer) || !self.paused_of(peer).is_empty() || self.is_asked_for(peer);
        let held = self.peer(peer);
        if !held.known && !is_here && !held.told_online {
            held.devices.clear();
            held.transient_tokens.clear();
        }
    }
}
