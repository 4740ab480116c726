//! From a client's frame to what the engine is asked, and back with its reply.

use super::unanswered::Question;
use super::wire::{Address, Asked, Frame, Rejected, Serial, Verb};
use super::{Action, Connection, Key};
use crate::error::Error;
use crate::id::{PeerId, SessionId, Ticket};
use crate::request::Open;
use crate::time::Timestamp;
use crate::update::Reply;

impl Connection {
    pub(super) fn handle_frame(&mut self, parsed: Result<Frame, Rejected>, now: Timestamp) -> Option<Action> {
        match parsed {
            Ok(Frame::Heartbeat) => self.outgoing.push_heartbeat(),
            Ok(Frame::Command { peer, serial, verb }) => return self.handle_command(peer, serial, verb, now),
            Err(Rejected { address, error, is_fatal: true }) => self.close(address, &error),
            Err(Rejected { address, error, is_fatal: false }) => self.refuse(address, &error, now),
        }
        None
    }

    fn handle_command(&mut self, peer: PeerId, serial: Option<Serial>, verb: Verb, now: Timestamp) -> Option<Action> {
        let session = self.sessions.of(&peer);
        let address = Address { peer: Some(peer.clone()), serial };
        match (verb, session) {
            (Verb::Request(_), None) => self.refuse(address, &Error::SessionRequired, now),
            _ if self.unanswered.len() >= self.config.requests_max => {
                let max = self.config.requests_max as u64;
                self.refuse(address, &Error::OverLimit { limit: "requests_max", max }, now);
            }
            (Verb::Open(open), _) => return self.open(*open, session, address, now),
            (Verb::Request(request), Some(session)) => {
                self.is_busy = true;
                let key = Key { peer, serial, asked: Asked::of(&request), session: Some(session) };
                return Some(Action::Request { key, session, request });
            }
        }
        None
    }

    /// A peer that opens again starts over: its session is paused, so that the engine lets the new one take it over.
    fn open(&mut self, open: Open, former: Option<SessionId>, address: Address, now: Timestamp) -> Option<Action> {
        let open = Open { source_ip: self.source_ip, origin: self.origin, ..open };
        let key = Key { peer: open.peer.clone(), serial: address.serial, asked: Asked::Open, session: None };
        let action = Action::Open { key, open };
        if let Some(session) = former {
            self.detach(session, now);
            self.held = Some(Box::new(action));
            return Some(Action::Pause { session });
        }
        if self.sessions.len() >= self.config.peers_max {
            let max = self.config.peers_max as u64;
            self.refuse(address, &Error::OverLimit { limit: "peers_max", max }, now);
            return None;
        }
        self.is_busy = true;
        Some(action)
    }

    pub(super) fn reply(&mut self, ticket: Ticket, peer: Address, result: &Result<Reply, Error>, now: Timestamp) {
        let Some(Question { session, serial, asked }) = self.unanswered.answer(ticket) else { return };
        let address = Address { serial, ..peer };
        match (result, asked) {
            (Ok(_), Asked::Open) => {
                self.sessions.confirm(session);
                self.deadlines.logged_in();
            }
            (Err(_), Asked::Open) => self.detach(session, now),
            _ => {}
        }
        match result {
            Ok(reply) => {
                if let Some(body) = self.format().reply(asked, reply) {
                    self.send(address, body);
                }
            }
            Err(error) => self.refuse(address, error, now),
        }
    }

    /// The client's own close. The documents know no answer to it; who asks with a serial gets one.
    pub(super) fn log_out(&mut self, key: &Key, session: SessionId, now: Timestamp) {
        self.detach(session, now);
        if key.serial.is_some() {
            self.send(key.address(), self.format().closed(None));
        }
    }
}
