//! Watch lists: taken whole or refused whole, and answered with who of them is online.

use std::collections::BTreeSet;

use super::{Answer, Code, Model, Peer, limits};

impl Model {
    pub(super) fn check_watch_list(&self, peers: &[Peer], held: usize) -> Result<(), Code> {
        if peers.len() > limits::WATCHED || held + peers.len() > limits::WATCHED {
            return Err(4318);
        }
        let once: BTreeSet<Peer> = peers.iter().copied().collect();
        if once.len() == peers.len() { Ok(()) } else { Err(4114) }
    }

    pub(super) fn watch_only(&mut self, session: usize, peers: &[Peer]) {
        for peer in std::mem::take(&mut self.sessions[session].watched) {
            self.forget_stranger(peer);
        }
        for &peer in peers {
            self.watch_one(session, peer);
        }
    }

    fn watch_one(&mut self, session: usize, peer: Peer) {
        if self.peers[usize::from(peer)].changed {
            self.tell_presence(&[peer]);
        }
        self.sessions[session].watched.insert(peer);
    }

    pub(crate) fn watch(&mut self, session: usize, peers: &[Peer], ticket: u64) -> Result<(), Code> {
        self.check_watch_list(peers, self.sessions[session].watched.len())?;
        peers.iter().for_each(|peer| self.watch_one(session, *peer));
        let online = self.online_among(peers.iter().copied());
        self.reply_now(session, ticket, Answer::Online(online));
        Ok(())
    }

    pub(crate) fn unwatch(&mut self, session: usize, peers: &[Peer], ticket: u64) {
        for peer in peers {
            if self.sessions[session].watched.remove(peer) {
                self.forget_stranger(*peer);
            }
        }
        self.reply_now(session, ticket, Answer::Done);
    }

    pub(crate) fn query_online(&mut self, session: usize, peers: &[Peer], ticket: u64) {
        let online = self.online_among(peers.iter().copied());
        self.reply_now(session, ticket, Answer::Online(online));
    }
}
