//! Sessions come and go: open, pause, resume, close.

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::engine::parts::sessions::hash;
use crate::error::Error;
use crate::event::{Event, OfflineReason};
use crate::hooks::Login;
use crate::id::{PeerId, ResumeToken, Ticket};
use crate::request::{Credentials, Open};
use crate::signature::{Action, KeyId, UsedNonce};
use crate::state::actor::{Actor, Payer};
use crate::state::session::{CatchUp, Session, State};
use crate::timers::Timer;
use crate::update::{Opened, Reply};

/// How an open was allowed.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Which nonce it used up, and which key signed it.
    nonce: Option<UsedNonce>,
    key: Option<KeyId>,
    /// The session that its token resumes.
    resumes: Option<u32>,
}

impl Engine {
    pub(crate) fn check_open(&self, open: &Open) -> Result<Admission, Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        self.has_space()?;
        self.check_ids(std::slice::from_ref(&open.peer))?;
        self.check_watch_list(&open.watch, 0)?;
        let admission = self.check_credentials(open)?;
        let known = self.peers.find(&open.peer);
        self.check_open_share(open, known.is_some())?;
        self.check_session_limits(known, open, &admission)?;
        // Who resumes comes back by itself, as a reconnect does: neither pushes anybody off.
        let yields = open.reconnect || admission.resumes.is_some();
        if yields && known.is_some_and(|peer| self.tag_holder(peer, open, admission.resumes).is_some()) {
            return Err(Error::SessionConflict);
        }
        Ok(admission)
    }

    fn check_session_limits(&self, known: Option<u32>, open: &Open, admission: &Admission) -> Result<(), Error> {
        let taken_over = admission.resumes.is_some_and(|slot| self.sessions[slot].state == State::Open);
        let pushed_off = known.and_then(|peer| self.tag_holder(peer, open, admission.resumes)).is_some();
        let leaving = usize::from(taken_over || pushed_off);
        let held = known.map_or(0, |peer| self.peers[peer].sessions.len());
        if held - leaving.min(held) >= self.config.sessions_max {
            return Err(Error::OverLimit { limit: "sessions_max", max: self.config.sessions_max as u64 });
        }
        // What is paused makes room for what opens.
        if self.sessions.len() - self.pauses.len() >= self.config.all_sessions_max {
            return Err(Error::OverLimit { limit: "all_sessions_max", max: self.config.all_sessions_max as u64 });
        }
        self.may_read()
    }

    fn check_credentials(&self, open: &Open) -> Result<Admission, Error> {
        let must_sign = self.config.signatures.sessions || open.super_peer;
        match &open.credentials {
            Credentials::Token(token) => {
                let slot = self.sessions.by_token.get(&hash(token.as_str())).copied().ok_or(Error::TokenExpired)?;
                let held = &self.sessions[slot];
                let same = self.peers[held.peer].id == open.peer && held.details.device == open.device;
                let grows = open.super_peer && !held.super_peer;
                if !same || grows || held.state == State::Opening || self.is_over(slot) {
                    return Err(Error::TokenExpired);
                }
                // A token proves who comes back; whom it newly watches is signed for as ever.
                let is_watched = |peer: &PeerId| self.is_watching(slot, peer);
                if self.config.signatures.sessions && !open.watch.iter().all(is_watched) {
                    return Err(Error::SignatureFailed);
                }
                Ok(Admission { resumes: Some(slot), key: held.details.key, nonce: None })
            }
            Credentials::Signature(signature) if must_sign || self.verifier.is_some() => {
                let action = Action::Open { peer: &open.peer, watch: &open.watch, super_peer: open.super_peer };
                let (nonce, key) = self.verify(&action, Some(signature), &open.peer, Error::SignatureFailed)?;
                Ok(Admission { nonce: Some(nonce), key: Some(key), resumes: None })
            }
            Credentials::Account(_) if !open.super_peer => Ok(Admission::default()),
            Credentials::None | Credentials::Signature(_) | Credentials::Account(_) if must_sign => {
                Err(Error::SignatureFailed)
            }
            Credentials::None | Credentials::Signature(_) | Credentials::Account(_) => Ok(Admission::default()),
        }
    }

    /// Whether an account's login may open: where signatures are on, it watches those alone whom the application allows, else
    /// it would be a way around the signature over a watch list.
    pub(crate) fn check_login(&self, open: &Open, login: &Login) -> Result<(), Error> {
        let allowed: BTreeSet<&PeerId> = login.watch.iter().collect();
        let may_watch = !self.config.signatures.sessions || open.watch.iter().all(|peer| allowed.contains(peer));
        if login.admit && may_watch { Ok(()) } else { Err(Error::SignatureFailed) }
    }

    /// The other open session that holds the tag that `open` asks for, or that the session has which it resumes. One tag has
    /// one session, on the same device too.
    fn tag_holder(&self, peer: u32, open: &Open, resumes: Option<u32>) -> Option<u32> {
        let kept = || resumes.and_then(|slot| self.sessions[slot].details.tag.as_ref());
        let tag = open.tag.as_ref().or_else(kept).filter(|tag| tag.as_str() != "default")?;
        let holds = |slot: &u32| self.sessions[*slot].details.tag.as_ref() == Some(tag) && Some(*slot) != resumes;
        self.peers[peer].sessions.iter().copied().find(holds)
    }

    /// Makes the session, or wakes the paused one that it continues; one that was parked has its name already, as `reserved`.
    pub(crate) fn stage_open(&mut self, open: &Open, admission: &Admission, reserved: Option<u32>) -> u32 {
        let known = self.peers.find(&open.peer);
        if let Some(holder) = known.and_then(|peer| self.tag_holder(peer, open, admission.resumes)) {
            self.end(holder, OfflineReason::TagConflict, Some(Error::SessionConflict));
        }
        // Only now: a peer whose one session was just pushed off is forgotten.
        self.count_newcomer(open);
        let peer = self.peers.intern(&open.peer);
        // The paused session that goes may be all that the peer is known by.
        self.peers[peer].pinned += 1;
        if let Some(nonce) = admission.nonce {
            self.use_nonce(nonce);
        }
        if std::mem::take(&mut self.peers[peer].logged_out) && self.peers[peer].number != 0 {
            self.peers[peer].dirty = true;
            self.write_peer_if_room(peer);
        }
        let continued = admission.resumes.or_else(|| self.paused_on(peer, open.device.as_ref()));
        let slot = match (reserved, continued) {
            (Some(reserved), Some(former)) => {
                self.sessions[reserved].room = self.sessions[former].room;
                self.sessions[reserved].details.notices = std::mem::take(&mut self.sessions[former].details.notices);
                let generation = self.sessions[former].generation;
                self.timers.cancel(Timer::Resume(former, generation));
                self.drop_session(former);
                reserved
            }
            (Some(reserved), None) => reserved,
            (None, Some(slot)) => self.wake_session(slot),
            (None, None) => self.sessions.insert(Session::new(peer)),
        };
        self.set_up(slot, open, admission);
        self.join_online(slot);
        self.make_room_for_sessions();
        self.peers[peer].pinned -= 1;
        slot
    }

    fn set_up(&mut self, slot: u32, open: &Open, admission: &Admission) {
        if admission.resumes.is_none() {
            self.watch_only(slot, &[]);
        }
        self.set_origin(slot, open.origin);
        if admission.resumes.is_none() || !open.watch.is_empty() {
            self.watch_only(slot, &open.watch);
        }
        let token = self.new_token(slot);
        debug_assert!(!token.is_empty());
        let at = self.position;
        let session = &mut self.sessions[slot];
        session.state = State::Open;
        session.progress = CatchUp::Reading;
        session.opened_at = at;
        session.super_peer = if admission.resumes.is_some() { session.super_peer } else { open.super_peer };
        let details = &mut session.details;
        details.device = open.device.clone();
        if admission.resumes.is_none() || open.tag.is_some() {
            details.tag = open.tag.clone();
        }
        details.source_ip = open.source_ip;
        details.key = admission.key;
        details.given.clear();
        details.copies.clear();
        details.missed = 0;
        self.sessions[slot].opened_with = self.gate.newest();
        self.note_device(slot);
    }

    pub(crate) fn emit_open(&mut self, open: &Open, admission: &Admission, slot: u32, ticket: Ticket) {
        let session = self.sessions.id(slot);
        let (peer, reference) = (self.sessions[slot].peer, self.sessions.reference(slot));
        let payer = Payer::client(open.origin);
        let actor = Actor { peer, session: Some(reference), ticket, payer, by_hook: false };
        let token = ResumeToken(self.sessions.fresh_token.take().unwrap_or_default());
        let room = self.reenter_room(slot);
        let opened = Opened {
            session,
            peer: open.peer.clone(),
            online: self.online_watched(slot),
            token,
            token_after: self.config.resume_after,
            room,
            at: self.stamp(),
        };
        // With nothing staged for it, an open need not wait for a store that is slow.
        if admission.nonce.is_some() {
            self.reply(actor, Reply::Opened(Box::new(opened)))
        } else {
            self.reply_opened(actor, opened)
        }
        self.tell(Event::Online {
            peer: open.peer.clone(),
            session,
            device: open.device.clone(),
            tag: self.sessions[slot].details.tag.clone(),
            source_ip: open.source_ip,
            reconnect: open.reconnect || admission.resumes.is_some(),
            super_peer: self.sessions[slot].super_peer,
        });
        self.give_notices(slot);
        self.give_receipts(slot);
    }

    fn reply_opened(&mut self, actor: Actor, opened: Opened) {
        let slot = actor.session.map_or(0, |session| session.slot);
        self.sessions[slot].opened_with = 0;
        self.gate.emit_now(Self::answer(actor, Ok(Reply::Opened(Box::new(opened)))));
    }
}
