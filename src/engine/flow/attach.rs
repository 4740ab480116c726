//! Sessions come and go with their transports: open, pause, the end of a pause.

use crate::engine::Engine;
use crate::error::Error;
use crate::hooks::{Answer, Login, Question, Resolution, SignIn};
use crate::id::{SessionId, Ticket};
use crate::request::{Credentials, Open};
use crate::signature::KeyId;
use crate::state::actor::{Actor, Payer};
use crate::state::parked::Command;
use crate::state::session::{Session, State};

impl Engine {
    /// Opens a session. Its id is good at once; [`Reply::Opened`](crate::Reply::Opened) names the ticket, and comes before anything else that the
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
        if let Credentials::Account(token) = &open.credentials {
            let (account_token, watch) = (token.as_str(), &open.watch[..]);
            let question = SignIn { ticket, peer: &open.peer, account_token, watch, source_ip: open.source_ip };
            match self.ask(Question::SignIn(&question)).unwrap_or(Answer::Default) {
                Answer::Now(Resolution::SignIn(login)) => self.check_login(&open, &login)?,
                Answer::Now(_) | Answer::Default => return Err(Error::SignatureFailed),
                Answer::Defer => return self.park_open(open, ticket),
            }
        }
        let slot = self.stage_open(&open, &admission, None);
        let session = self.sessions.id(slot);
        self.emit_open(&open, &admission, slot, ticket);
        self.begin_backlog(slot);
        Ok((session, ticket))
    }

    /// Holds an open whose hook answers later.
    fn park_open(&mut self, open: Open, ticket: Ticket) -> Result<(SessionId, Ticket), Error> {
        self.may_park()?;
        self.count_newcomer(&open);
        let peer = self.peers.intern(&open.peer);
        let slot = self.sessions.insert(Session::new(peer));
        self.peers[peer].pinned += 1;
        let session = self.sessions.id(slot);
        let payer = Payer::client(open.origin);
        let reference = self.sessions.reference(slot);
        let actor = Actor { peer, session: Some(reference), ticket, payer, by_hook: false };
        self.park(ticket, Command::Open { actor, open });
        Ok((session, ticket))
    }

    /// Goes on with an open whose hook has answered.
    pub(crate) fn resume_open(&mut self, actor: Actor, open: Open, login: &Login) {
        let Some(session) = actor.session else { return };
        match self.check_login(&open, login).and_then(|()| self.check_open(&open)) {
            Ok(admission) => {
                let slot = self.stage_open(&open, &admission, Some(session.slot));
                self.peers[actor.peer].pinned -= 1;
                self.emit_open(&open, &admission, slot, actor.ticket);
                self.begin_backlog(slot);
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

    /// A pause has lasted too long: the session ends. That is no logging out.
    pub(crate) fn resume_expired(&mut self, slot: u32, generation: u32) {
        let held = self.sessions.get(slot);
        if held.is_some_and(|held| held.generation == generation && matches!(held.state, State::Paused(_))) {
            self.drop_session(slot);
        }
    }

    /// Sessions that rest on a removed key end: [`set_master_keys`](Self::set_master_keys).
    pub(crate) fn end_unsigned(&mut self) {
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
}
