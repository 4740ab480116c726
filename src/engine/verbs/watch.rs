//! Who watches whom, and when they are told: at once on watching, then changes, gathered for a second.

use crate::engine::Engine;
use crate::error::Error;
use crate::id::PeerId;
use crate::signature::{Action, Signature};
use crate::state::actor::Actor;
use crate::timers::Timer;
use crate::update::Reply;

/// Peers in one query that count; the rest is ignored, as documented.
const QUERY_MAX: usize = 20;

impl Engine {
    /// Watches more peers; answers with those who are online.
    pub(crate) fn watch(&mut self, actor: Actor, peers: &[PeerId], signature: Option<&Signature>) -> Result<(), Error> {
        let Some(session) = actor.session else { return Err(Error::SessionRequired) };
        let slot = session.slot;
        self.check_watch_list(peers, self.sessions[slot].watched.len())?;
        let payers = self.payers_of(slot);
        self.check_unknown_watches(payers, peers)?;
        let nonce = if self.config.signatures.sessions {
            self.has_space()?;
            let me = self.peers[actor.peer].id.clone();
            let action = Action::Watch { peer: &me, watch: peers };
            Some(self.verify(&action, signature, &me, Error::SignatureFailed)?.0)
        } else {
            None
        };
        let staged = nonce.is_some();
        if let Some(nonce) = nonce {
            self.use_nonce(nonce);
        }
        peers.iter().for_each(|peer| self.watch_one(slot, peer));
        let online = Reply::Online(self.online_named(peers.iter()));
        if staged {
            self.reply(actor, online)
        } else {
            self.reply_now(actor, Ok(online))
        }
        Ok(())
    }

    pub(crate) fn unwatch(&mut self, actor: Actor, peers: &[PeerId]) -> Result<(), Error> {
        let Some(session) = actor.session else { return Err(Error::SessionRequired) };
        peers.iter().for_each(|peer| self.unwatch_one(session.slot, peer));
        self.reply_now(actor, Ok(Reply::Done));
        Ok(())
    }

    /// Who of some peers is online; needs no watch.
    pub(crate) fn query_online(&mut self, actor: Actor, peers: &[PeerId]) -> Result<(), Error> {
        let online = self.online_named(peers.iter().take(QUERY_MAX));
        self.reply_now(actor, Ok(Reply::Online(online)));
        Ok(())
    }

    /// Tells watchers what changed since they were told last.
    pub(crate) fn tell_presence(&mut self) {
        // Nothing is lost by waiting: what changed stays noted.
        if self.may_answer().is_err() {
            self.timers.set(Timer::Presence, self.now + self.config.presence_every);
            return;
        }
        let changed: Vec<u32> = std::mem::take(&mut self.changed).into_iter().collect();
        self.tell_presence_of(&changed);
    }
}
