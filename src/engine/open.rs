//! Sessions come and go: open, pause, resume, close.

use sha1::{Digest, Sha1};

use rand_core::Rng;

use crate::error::Error;
use crate::hooks::{Answer, SignIn};
use crate::id::{DeviceId, PeerId, SessionId, Ticket};
use crate::output::{Audience, Class, Deliver, Event, OfflineReason, Opened, Output, Reply, SessionRef, Update};
use crate::peer::Device;
use crate::request::{Credentials, Open, ResumeToken};
use crate::session::{Flow, Session, State};
use crate::signature::{Action, KeyId, UsedNonce};
use crate::timers::Timer;

use super::park::Command;
use super::{Actor, Engine};

/// How an open was allowed.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Which nonce it used up, and which key signed it.
    nonce: Option<UsedNonce>,
    key: Option<KeyId>,
    /// The session that its token resumes.
    resumes: Option<u32>,
}

impl Engine {
    /// Opens a session. Its id is good at once; [`Reply::Opened`] names the ticket, and comes before anything else that the
    /// session is told.
    ///
    /// # Errors
    /// [`Error::SignatureFailed`], [`Error::TokenExpired`], [`Error::SessionConflict`] for a reconnect whose tag another
    /// device holds, [`Error::InvalidPeerId`], or a limit.
    pub fn open(&mut self, open: Open, now: crate::Timestamp) -> Result<(SessionId, Ticket), Error> {
        self.advance(now);
        let opened = self.open_checked(open);
        self.end_request(opened.is_err());
        opened
    }

    fn open_checked(&mut self, open: Open) -> Result<(SessionId, Ticket), Error> {
        let ticket = self.ticket();
        let admission = self.check_open(&open)?;
        let allowed = match &open.credentials {
            Credentials::Account(token) => {
                let question = SignIn { ticket, peer: &open.peer, account_token: token, source_ip: open.source_ip };
                self.ask("sign_in", |hooks| hooks.sign_in(&question)).unwrap_or(Answer::Now(false))
            }
            _ => Answer::Now(true),
        };
        match allowed {
            Answer::Now(true) => {}
            Answer::Now(false) | Answer::Default => return Err(Error::SignatureFailed),
            Answer::Defer => return self.park_open(open, ticket),
        }
        let slot = self.stage_open(&open, &admission, None);
        let session = self.sessions.id(slot);
        self.emit_open(&open, &admission, slot, ticket);
        Ok((session, ticket))
    }

    /// Holds an open whose hook answers later.
    fn park_open(&mut self, open: Open, ticket: Ticket) -> Result<(SessionId, Ticket), Error> {
        self.may_park()?;
        let peer = self.peers.intern(&open.peer);
        let slot = self.sessions.insert(Session::new(peer));
        self.peers[peer].pinned += 1;
        let session = self.sessions.id(slot);
        let actor = Actor { peer, session: Some(self.sessions.reference(slot)), ticket };
        self.park(ticket, Command::Open { actor, open });
        Ok((session, ticket))
    }

    /// Goes on with an open whose hook has answered.
    pub(super) fn resume_open(&mut self, actor: Actor, open: Open, allowed: bool) {
        let Some(session) = actor.session else { return };
        let checked = if allowed { self.check_open(&open) } else { Err(Error::SignatureFailed) };
        match checked {
            Ok(admission) => {
                let slot = self.stage_open(&open, &admission, Some(session.slot));
                self.peers[actor.peer].pinned -= 1;
                self.emit_open(&open, &admission, slot, actor.ticket);
            }
            Err(error) => {
                self.peers[actor.peer].pinned -= 1;
                self.reply_now(actor, Err(error));
                self.emit_close(session.slot);
                self.sessions.remove(session.slot);
                self.peers.forget(actor.peer);
            }
        }
    }

    fn check_open(&self, open: &Open) -> Result<Admission, Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        self.check_ids(std::slice::from_ref(&open.peer))?;
        self.check_watch_list(&open.watch, 0)?;
        let admission = self.check_credentials(open)?;
        let known = self.peers.find(&open.peer);
        if known.is_none() && self.peers.len() >= self.config.peers_max {
            return Err(Error::OverLimit { limit: "peers_max", max: self.config.peers_max as u64 });
        }
        self.check_session_limits(known, open, &admission)?;
        if open.reconnect && known.is_some_and(|peer| self.tag_holder(peer, open, admission.resumes).is_some()) {
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
        if self.sessions.len() >= self.config.all_sessions_max {
            return Err(Error::OverLimit { limit: "all_sessions_max", max: self.config.all_sessions_max as u64 });
        }
        if self.reads.is_full() {
            return Err(Error::OverLimit { limit: "reads waiting", max: super::read::Reads::MAX as u64 });
        }
        Ok(())
    }

    fn check_credentials(&self, open: &Open) -> Result<Admission, Error> {
        let must_sign = self.config.signatures.sessions || open.super_peer;
        match &open.credentials {
            Credentials::Token(token) => {
                let slot = self.sessions.by_token.get(&hash(token.as_str())).copied().ok_or(Error::TokenExpired)?;
                let held = &self.sessions[slot];
                let same = self.peers[held.peer].id == open.peer && held.rare.device == open.device;
                let grows = open.super_peer && !held.super_peer;
                if !same || grows || held.state == State::Opening || self.is_over(slot) {
                    return Err(Error::TokenExpired);
                }
                Ok(Admission { resumes: Some(slot), key: held.rare.key, nonce: None })
            }
            Credentials::Signature(signature) if must_sign || self.verifier.is_some() => {
                let action = Action::Open { peer: &open.peer, watch: &open.watch, super_peer: open.super_peer };
                let (nonce, key) = self.verify(&action, Some(signature), &open.peer).ok_or(Error::SignatureFailed)?;
                Ok(Admission { nonce: Some(nonce), key: Some(key), resumes: None })
            }
            Credentials::Account(_) if !open.super_peer => Ok(Admission::default()),
            Credentials::None | Credentials::Signature(_) | Credentials::Account(_) if must_sign => {
                Err(Error::SignatureFailed)
            }
            Credentials::None | Credentials::Signature(_) | Credentials::Account(_) => Ok(Admission::default()),
        }
    }

    /// The open session that holds the tag that `open` asks for.
    fn tag_holder(&self, peer: u32, open: &Open, resumes: Option<u32>) -> Option<u32> {
        let tag = open.tag.as_ref().filter(|tag| tag.as_str() != "default")?;
        let holds = |slot: &u32| {
            let rare = &self.sessions[*slot].rare;
            let same_device = open.device.is_some() && rare.device == open.device;
            rare.tag.as_ref() == Some(tag) && !same_device && Some(*slot) != resumes
        };
        self.peers[peer].sessions.iter().copied().find(holds)
    }

    /// Makes the session, or wakes the paused one that it continues; one that was parked has its name already, as `reserved`.
    fn stage_open(&mut self, open: &Open, admission: &Admission, reserved: Option<u32>) -> u32 {
        let known = self.peers.find(&open.peer);
        if let Some(holder) = known.and_then(|peer| self.tag_holder(peer, open, admission.resumes)) {
            self.end(holder, OfflineReason::TagConflict, Some(Error::SessionConflict));
        }
        // Only now: a peer whose one session was just pushed off is forgotten.
        let peer = self.peers.intern(&open.peer);
        // The watch list that goes may be all that the peer is known by.
        self.peers[peer].pinned += 1;
        if let Some(nonce) = admission.nonce {
            self.use_nonce(nonce);
        }
        if std::mem::take(&mut self.peers[peer].logged_out) && self.peers[peer].number != 0 {
            self.peers[peer].dirty = true;
            self.write_peer(peer);
        }
        let continued = admission.resumes.or_else(|| self.paused_on(peer, open.device.as_ref()));
        let slot = match (reserved, continued) {
            (Some(reserved), Some(former)) => {
                self.sessions[reserved].room = self.sessions[former].room;
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
        self.peers[peer].pinned -= 1;
        slot
    }

    /// A paused session of the same device.
    fn paused_on(&self, peer: u32, device: Option<&DeviceId>) -> Option<u32> {
        let is_theirs = |slot: &u32| self.sessions[*slot].rare.device.as_ref() == device && !self.is_over(*slot);
        self.peers[peer].paused.iter().copied().find(is_theirs)
    }

    /// Whether a pause has lasted too long, though its timer has not gone off yet.
    fn is_over(&self, slot: u32) -> bool {
        matches!(self.sessions[slot].state, State::Paused(until) if until <= self.now)
    }

    /// Takes a session out of its pause, or away from the transport that still holds it, for a new tenant.
    fn wake_session(&mut self, slot: u32) -> u32 {
        let peer = self.sessions[slot].peer;
        if self.sessions[slot].state == State::Open {
            self.leave_online(slot);
            self.say_closed(slot, Some(Error::SessionConflict));
            self.emit_close(slot);
        }
        self.peers[peer].paused.retain(|paused| *paused != slot);
        let generation = self.sessions[slot].generation;
        self.timers.cancel(Timer::Resume(slot, generation));
        self.sessions.attach(slot);
        slot
    }

    fn set_up(&mut self, slot: u32, open: &Open, admission: &Admission) {
        if admission.resumes.is_none() {
            self.watch_only(slot, &open.watch);
        }
        let token = self.new_token(slot);
        debug_assert!(!token.is_empty());
        let at = self.position;
        let session = &mut self.sessions[slot];
        session.state = State::Open;
        session.flow = Flow::Reading;
        session.opened_at = at;
        session.super_peer = if admission.resumes.is_some() { session.super_peer } else { open.super_peer };
        let rare = &mut session.rare;
        rare.device = open.device.clone();
        if admission.resumes.is_none() || open.tag.is_some() {
            rare.tag = open.tag.clone();
        }
        rare.source_ip = open.source_ip;
        rare.key = admission.key;
        rare.given.clear();
        rare.sent_while_lagging.clear();
        self.sessions[slot].opened_with = self.gate.newest();
        self.note_device(slot);
    }

    /// A fresh token for a session; the one before is void.
    fn new_token(&mut self, slot: u32) -> String {
        let mut bits = [0; 16];
        self.random.fill_bytes(&mut bits);
        let text = format!("{:032x}", u128::from_be_bytes(bits));
        let hashed = hash(&text);
        let before = std::mem::replace(&mut self.sessions[slot].token, hashed);
        self.sessions.by_token.remove(&before);
        self.sessions.by_token.insert(hashed, slot);
        self.sessions.fresh_token = Some(text.clone());
        text
    }

    /// Gives the session's device a place of its own, with the furthest cursors of its peer; the one unseen for longest goes
    /// where there are too many.
    fn note_device(&mut self, slot: u32) {
        let peer = self.sessions[slot].peer;
        let id = self.sessions[slot].rare.device.clone();
        let (now, too_old) = (self.now, self.now - self.config.device_after);
        let fresh = Device { id: id.clone(), cursors: self.furthest_cursors(peer), dirty: true, ..Device::unknown() };
        let max = self.config.devices_max;
        let devices = &mut self.peers[peer].devices;
        let at = match devices.iter().position(|device| device.id == id) {
            Some(at) => {
                if devices[at].seen_at < too_old {
                    devices[at] = Device { pages: devices[at].pages, ..fresh };
                }
                at
            }
            None if devices.len() < max => {
                devices.push(fresh);
                devices.len() - 1
            }
            None => {
                let oldest = (0..devices.len()).min_by_key(|at| devices[*at].seen_at).unwrap_or_default();
                devices[oldest] = Device { pages: devices[oldest].pages, ..fresh };
                oldest
            }
        };
        let seen_before = std::mem::replace(&mut devices[at].seen_at, now);
        devices[at].dirty = true;
        // One that is new, or back after long, is written at once: a crash would make it unknown, and what its peer's other
        // devices acknowledge next would be lost to it.
        if seen_before < now - self.config.device_after / 2 {
            self.write_peer(peer);
        }
    }

    /// A session's device was there until now.
    fn saw_device(&mut self, slot: u32) {
        let (peer, now) = (self.sessions[slot].peer, self.now);
        let Some(at) = self.peers[peer].device(self.sessions[slot].rare.device.as_ref()) else { return };
        let device = &mut self.peers[peer].devices[at];
        device.seen_at = now;
        device.dirty = true;
    }

    fn furthest_cursors(&self, peer: u32) -> rustc_hash::FxHashMap<u32, crate::cursor::Cursor> {
        let held = &self.peers[peer];
        let known = held.conversations.iter().filter_map(|slot| Some((*slot, held.furthest(*slot)?.clone())));
        known.collect()
    }

    fn emit_open(&mut self, open: &Open, admission: &Admission, slot: u32, ticket: Ticket) {
        let session = self.sessions.id(slot);
        let actor = Actor { peer: self.sessions[slot].peer, session: Some(self.sessions.reference(slot)), ticket };
        let token = ResumeToken(self.sessions.fresh_token.take().unwrap_or_default());
        let room = self.reenter_room(slot);
        let opened = Opened {
            session,
            peer: open.peer.clone(),
            online: self.online_among(&self.sessions[slot].watched),
            token,
            token_after: self.config.resume_after,
            room,
            at: self.now,
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
            tag: self.sessions[slot].rare.tag.clone(),
            source_ip: open.source_ip,
            reconnect: open.reconnect || admission.resumes.is_some(),
            super_peer: self.sessions[slot].super_peer,
        });
        self.begin_backlog(slot);
    }

    fn reply_opened(&mut self, actor: Actor, opened: Opened) {
        let slot = actor.session.map_or(0, |session| session.slot);
        self.sessions[slot].opened_with = 0;
        self.gate.emit_now(Self::answer(actor, Ok(Reply::Opened(Box::new(opened)))));
    }

    /// The room that a session was in goes on, where it is still there.
    fn reenter_room(&mut self, slot: u32) -> Option<crate::ConversationId> {
        let room = self.sessions[slot].room?;
        match self.conversations.get(room) {
            Some(_) => {
                self.enter_room(slot, room);
                Some(self.conversations[room].id.clone())
            }
            None => {
                self.sessions[slot].room = None;
                None
            }
        }
    }

    /// The session's peer is online with it.
    fn join_online(&mut self, slot: u32) {
        let peer = self.sessions[slot].peer;
        self.peers[peer].sessions.push(slot);
        self.sessions.count_open(1);
        self.presence_changed(peer);
        self.forget_reach(peer);
        self.mark_dirty(peer);
    }

    /// The session is attached no more: its peer is offline where it was the last.
    fn leave_online(&mut self, slot: u32) {
        let peer = self.sessions[slot].peer;
        self.saw_device(slot);
        self.peers[peer].sessions.retain(|open| *open != slot);
        self.sessions.count_open(-1);
        if let Some(room) = self.sessions[slot].room {
            self.exit_room(slot, room);
        }
        self.presence_changed(peer);
        self.forget_reach(peer);
        self.mark_dirty(peer);
    }

    /// The transport of a session is gone: the session is paused. Its peer counts as offline; a resume within
    /// [`Config::resume_after`](crate::Config::resume_after) gets a new id and goes on where this one stopped.
    pub fn pause(&mut self, session: SessionId, now: crate::Timestamp) {
        self.advance(now);
        if let Some(slot) = self.sessions.find(session) {
            if self.sessions[slot].state == State::Opening {
                self.forget_opening(session);
                return;
            }
            self.pause_slot(slot);
            self.gate.end_operation();
        }
    }

    pub(super) fn pause_slot(&mut self, slot: u32) {
        let (peer, session) = (self.sessions[slot].peer, self.sessions.id(slot));
        self.leave_online(slot);
        let until = self.now + self.config.resume_after;
        self.sessions[slot].state = State::Paused(until);
        self.timers.set(Timer::Resume(slot, session.generation()), until);
        self.peers[peer].paused.push(slot);
        self.write_peer(peer);
        self.emit_close(slot);
        self.tell_offline(slot, session, OfflineReason::Dropped);
    }

    fn tell_offline(&mut self, slot: u32, session: SessionId, reason: OfflineReason) {
        let held = &self.sessions[slot];
        let (peer, tag) = (self.peers[held.peer].id.clone(), held.rare.tag.clone());
        self.tell(Event::Offline { peer, session, tag, reason });
    }

    /// A pause has lasted too long: the session ends. That is no logging out.
    pub(super) fn resume_expired(&mut self, slot: u32, generation: u32) {
        let held = self.sessions.get(slot);
        if held.is_some_and(|held| held.generation == generation && matches!(held.state, State::Paused(_))) {
            self.drop_session(slot);
        }
    }

    /// Forgets a session that is attached no more.
    fn drop_session(&mut self, slot: u32) {
        // A session may watch its own peer, and that may be all that the peer is known by.
        let peer = self.sessions[slot].peer;
        self.peers[peer].pinned += 1;
        self.watch_only(slot, &[]);
        self.peers[peer].pinned -= 1;
        let Some(session) = self.sessions.remove(slot) else { return };
        self.peers[session.peer].paused.retain(|paused| *paused != slot);
        self.peers.forget(session.peer);
    }

    /// The client ends its session for good. Its peer is logged out where it was the last, open or paused: from then on
    /// nobody wakes it.
    pub(super) fn log_out(&mut self, actor: Actor) -> Result<(), Error> {
        let Some(session) = actor.session else { return Err(Error::SessionRequired) };
        let last = self.peers[actor.peer].sessions.len() + self.peers[actor.peer].paused.len() == 1;
        if last {
            self.peers[actor.peer].logged_out = true;
            self.peers[actor.peer].dirty = true;
            self.persist_peer(actor.peer);
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

    /// The engine closes a session.
    pub(super) fn close_failed(&mut self, slot: u32, error: Error) {
        self.end(slot, OfflineReason::Failed(error.clone()), Some(error));
    }

    /// Ends an open session: it is told, its transport goes, nothing of it can be resumed.
    pub(super) fn end(&mut self, slot: u32, reason: OfflineReason, error: Option<Error>) {
        let session = self.sessions.id(slot);
        self.leave_online(slot);
        self.write_peer(self.sessions[slot].peer);
        self.say_closed(slot, error);
        self.emit_close(slot);
        self.tell_offline(slot, session, reason);
        self.drop_session(slot);
    }

    /// Tells a session why it is over. At once, as its close: also where its `opened` still waits for the store.
    pub(super) fn say_closed(&mut self, slot: u32, error: Option<Error>) {
        let audience = Audience::One(self.sessions.reference(slot));
        let update = Update::Closed { error }.into();
        self.gate.emit_now(Output::Deliver(Deliver { audience, update, class: Class::Reply }));
    }

    /// Tells the host that a session is over. Nobody gets its place before the host was told.
    fn emit_close(&mut self, slot: u32) {
        self.sessions.closes(slot);
        self.gate.emit_now(Output::Close { session: self.sessions.id(slot) });
    }

    /// Sessions that rest on a removed key end: [`set_master_keys`](Self::set_master_keys).
    pub(super) fn end_unsigned(&mut self) {
        let Some(verifier) = &self.verifier else { return };
        let void = |key: Option<KeyId>| key.is_some_and(|key| !verifier.keys().contains(key));
        let voided: Vec<u32> = self.sessions.iter().filter(|(_, s)| void(s.rare.key)).map(|(slot, _)| slot).collect();
        for slot in voided {
            // Whoever is connected stays; what cannot be proven again is the token.
            let token = self.sessions[slot].token;
            self.sessions.by_token.remove(&token);
            if matches!(self.sessions[slot].state, State::Paused(_)) {
                self.drop_session(slot);
            }
        }
    }

    /// How outputs name a session.
    pub(super) fn reference(&self, slot: u32) -> SessionRef {
        self.sessions.reference(slot)
    }
}

/// Tokens are kept as hashes, so that memory that leaks resumes nothing.
fn hash(token: &str) -> u128 {
    let digest = Sha1::digest(token.as_bytes());
    digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
}
