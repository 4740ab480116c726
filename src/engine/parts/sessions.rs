//! What happens to a session whoever causes it: attached, detached, ended, forgotten, and its device noted.

use rand_core::Rng;
use sha1::{Digest, Sha1};

use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Event, OfflineReason};
use crate::id::{DeviceId, SessionId};
use crate::output::{Audience, Class, Deliver, Output};
use crate::state::peer::Device;
use crate::state::session::State;
use crate::time::Timestamp;
use crate::timers::Timer;
use crate::update::Update;

impl Engine {
    /// A paused session of the same device.
    pub(crate) fn paused_on(&self, peer: u32, device: Option<&DeviceId>) -> Option<u32> {
        let is_theirs = |slot: &u32| self.sessions[*slot].rare.device.as_ref() == device && !self.is_over(*slot);
        self.peers[peer].paused.iter().copied().find(is_theirs)
    }

    /// Whether a pause has lasted too long, though its timer has not gone off yet.
    pub(crate) fn is_over(&self, slot: u32) -> bool {
        matches!(self.sessions[slot].state, State::Paused(until) if until <= self.now)
    }

    /// Takes a session out of its pause, or away from the transport that still holds it, for a new tenant.
    pub(crate) fn wake_session(&mut self, slot: u32) -> u32 {
        if self.sessions[slot].state == State::Open {
            self.leave_online(slot);
            self.say_closed(slot, Some(Error::SessionConflict));
            self.emit_close(slot);
        }
        self.uncount_pause(slot);
        let generation = self.sessions[slot].generation;
        self.timers.cancel(Timer::Resume(slot, generation));
        self.sessions.attach(slot);
        slot
    }

    /// A fresh token for a session; the one before is void.
    pub(crate) fn new_token(&mut self, slot: u32) -> String {
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
    pub(crate) fn note_device(&mut self, slot: u32) {
        let peer = self.sessions[slot].peer;
        let id = self.sessions[slot].rare.device.clone();
        // By a clock in doubt none is: it would lose what waits for it.
        let (now, too_old) = (self.now, self.deletion_before(self.config.device_after).unwrap_or(Timestamp::ZERO));
        let max = self.config.devices_max;
        let known = self.peers[peer].devices.iter().find(|device| device.id == id);
        // A device that is known and not too old goes on where it was: then nothing is copied.
        let goes_on = known.is_some_and(|device| device.seen_at >= too_old);
        let cursors = if goes_on { Default::default() } else { self.furthest_cursors(peer) };
        let fresh = Device { id: id.clone(), cursors, dirty: true, ..Device::unknown() };
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
            self.write_peer_if_room(peer);
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

    /// The room that a session was in goes on, where it is still there.
    pub(crate) fn reenter_room(&mut self, slot: u32) -> Option<crate::ConversationId> {
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
    pub(crate) fn join_online(&mut self, slot: u32) {
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

    pub(crate) fn pause_slot(&mut self, slot: u32) {
        let (peer, session) = (self.sessions[slot].peer, self.sessions.id(slot));
        self.leave_online(slot);
        let until = self.now + self.config.resume_after;
        self.sessions[slot].state = State::Paused(until);
        self.timers.set(Timer::Resume(slot, session.generation()), until);
        self.write_peer_if_room(peer);
        self.emit_close(slot);
        self.tell_offline(slot, session, OfflineReason::Dropped);
        self.count_pause(slot);
    }

    fn tell_offline(&mut self, slot: u32, session: SessionId, reason: OfflineReason) {
        let held = &self.sessions[slot];
        let (peer, tag) = (self.peers[held.peer].id.clone(), held.rare.tag.clone());
        self.tell(Event::Offline { peer, session, tag, reason });
    }

    /// Forgets a session that is attached no more.
    pub(crate) fn drop_session(&mut self, slot: u32) {
        self.watch_only(slot, &[]);
        self.uncount_pause(slot);
        let Some(session) = self.sessions.remove(slot) else { return };
        self.timers.cancel(Timer::Resume(slot, session.generation));
        self.peers.forget(session.peer);
    }

    /// The engine closes a session.
    pub(crate) fn close_failed(&mut self, slot: u32, error: Error) {
        self.end(slot, OfflineReason::Failed(error.clone()), Some(error));
    }

    /// Ends an open session: it is told, its transport goes, nothing of it can be resumed.
    pub(crate) fn end(&mut self, slot: u32, reason: OfflineReason, error: Option<Error>) {
        let session = self.sessions.id(slot);
        self.leave_online(slot);
        self.write_peer_if_room(self.sessions[slot].peer);
        self.say_closed(slot, error);
        self.emit_close(slot);
        self.tell_offline(slot, session, reason);
        self.drop_session(slot);
    }

    /// Tells a session why it is over. At once, as its close: also where its `opened` still waits for the store.
    pub(crate) fn say_closed(&mut self, slot: u32, error: Option<Error>) {
        let audience = Audience::One(self.sessions.reference(slot));
        let update = Update::Closed { error }.into();
        self.gate.emit_now(Output::Deliver(Deliver { audience, update, class: Class::Reply }));
    }

    /// Tells the host that a session is over. Nobody gets its place before the host was told.
    pub(crate) fn emit_close(&mut self, slot: u32) {
        self.sessions.closes(slot);
        self.gate.emit_now(Output::Close { session: self.sessions.id(slot) });
    }
}

/// Tokens are kept as hashes, so that memory that leaks resumes nothing.
pub(crate) fn hash(token: &str) -> u128 {
    let digest = Sha1::digest(token.as_bytes());
    digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
}
