//! Connections without sockets: bytes in, requests out; updates in, bytes out; timeouts and close codes.
//!
//! A [`Connection`] is the server's end of one transport, a [`ClientConnection`] the client's. Neither does I/O or reads a
//! clock. What a connection demands of its client is the same for every [`Wire`] format: who is on it, how long it may be
//! silent, how long a frame may be, how many faults it may make. How frames are written is one file for each format; the
//! first generation's are listed, as data, in [`contract`].
//!
//! # A host's loop
//! ```no_run
//! # use switchboard::{Action, Connection, Engine, Timestamp};
//! fn received(connection: &mut Connection, engine: &mut Engine, bytes: &[u8], now: Timestamp) {
//!     connection.receive(bytes, now); // or `receive_frame` for a WebSocket message
//!     while let Some(action) = connection.poll_action(now) {
//!         match action {
//!             Action::Open { key, open } => connection.opened(key, engine.open(open, now), now),
//!             Action::Request { key, session, request } => {
//!                 connection.answered(key, engine.request(session, request, now), now);
//!             }
//!             Action::Pause { session } => engine.pause(session, now),
//!         }
//!     }
//! }
//! ```
//! What the engine delivers to one of the connection's sessions goes to [`Connection::update`]. Afterwards, and after
//! [`Connection::handle_timeout`]:
//! ```no_run
//! # use std::io::Write;
//! # use switchboard::{Connection, Engine, Timestamp};
//! # fn flush(connection: &mut Connection, engine: &mut Engine, mut socket: std::net::TcpStream, now: Timestamp) -> std::io::Result<()> {
//! while let Some(frame) = connection.poll_transmit() {
//!     socket.write_all(frame.as_bytes())?;
//! }
//! if let Some(_code) = connection.should_close() {
//!     // Close the socket, a WebSocket with the code. Also where the transport breaks by itself:
//!     connection.lost().into_iter().for_each(|session| engine.pause(session, now));
//! }
//! # Ok(())
//! # }
//! ```
//! Hand back the answer to each action before the connection gets the updates that it causes. While a connection
//! [is congested](Connection::is_congested), neither read from its transport nor drain its sessions' outboxes; a transport
//! that takes nothing at all is the host's to give up.

mod action;
mod config;
mod encoded;
mod frame;
mod inbox;
mod strikes;
mod v1;
mod wire;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

pub use action::{Action, Key};
pub use config::ConnectionConfig;
pub use encoded::Encoded;
pub use frame::{Framing, Transmit};
pub use v1::client::{ClientConnection, FromServer, ServerFrame};
pub use v1::contract;
pub use wire::{Serial, Wire};

use crate::error::Error;
use crate::id::{PeerId, SessionId, Ticket};
use crate::output::{Reply, Update};
use crate::request::Open;
use crate::time::Timestamp;
use inbox::Inbox;
use strikes::Strikes;
use wire::{Address, Asked, Frame, Rejected, Verb};

/// A session on the connection.
#[derive(Debug)]
struct Attached {
    session: SessionId,
    peer: PeerId,
    /// Its reply has come; until then it counts as no login.
    is_open: bool,
}

/// A request whose reply has not come.
#[derive(Debug)]
struct Pending {
    session: SessionId,
    serial: Option<Serial>,
    asked: Asked,
}

/// The server's end of one transport: several peers may share it, each with a session of its own.
#[derive(Debug)]
pub struct Connection {
    config: Arc<ConnectionConfig>,
    source_ip: Option<IpAddr>,
    inbox: Inbox,
    sessions: Vec<Attached>,
    /// Requests without a reply. The engine chooses the tickets, so the map needs no keyed hash.
    pending: FxHashMap<Ticket, Pending>,
    /// Whether an action is with the host. The next one may depend on its answer.
    is_busy: bool,
    /// The open that follows a pause.
    held: Option<Box<Action>>,

    transmit: VecDeque<String>,
    transmit_bytes: usize,
    /// Signs of life that are to be answered: counted, for they need no memory.
    heartbeats: usize,
    /// Refusals that wait, with the time when they go out.
    delayed: Vec<(Timestamp, String)>,

    heard_at: Timestamp,
    /// When the connection ends for want of a session; `None` while there is one.
    login_at: Option<Timestamp>,
    signature_failures: Strikes,
    unparseable: Strikes,
    /// The code with which it ends.
    closing: Option<u16>,
}

impl Connection {
    /// Places that an empty queue or table may keep: together with the connection itself under a kilobyte.
    const IDLE_ENTRIES_MAX: usize = 8;

    /// A transport that has just connected, from `source_ip` where that is known.
    #[must_use]
    pub fn new(config: Arc<ConnectionConfig>, source_ip: Option<IpAddr>, now: Timestamp) -> Self {
        Self {
            source_ip,
            inbox: Inbox::new(config.frame_bytes_max),
            sessions: Vec::new(),
            pending: FxHashMap::default(),
            is_busy: false,
            held: None,
            transmit: VecDeque::new(),
            transmit_bytes: 0,
            heartbeats: 0,
            delayed: Vec::new(),
            heard_at: now,
            login_at: Some(now + config.login_after),
            signature_failures: Strikes::default(),
            unparseable: Strikes::default(),
            closing: None,
            config,
        }
    }

    // What the world brings.

    /// Takes what a byte stream brought, cut anywhere. Call [`poll_action`](Self::poll_action) afterwards.
    pub fn receive(&mut self, bytes: &[u8], now: Timestamp) {
        self.heard(now);
        if self.closing.is_none() {
            self.inbox.push_bytes(bytes);
        }
    }

    /// Takes one frame of a message transport. Call [`poll_action`](Self::poll_action) afterwards.
    pub fn receive_frame(&mut self, frame: &[u8], now: Timestamp) {
        self.heard(now);
        if self.closing.is_none() {
            self.inbox.push_frame(frame);
        }
    }

    /// The transport announces a frame of this length: one over the limit ends the connection before any of it is read.
    pub fn announce_frame(&mut self, length: u64, now: Timestamp) {
        self.heard(now);
        if self.closing.is_none() {
            self.inbox.announce(length);
        }
    }

    /// The transport has a sign of life that is no frame, such as a WebSocket ping.
    pub fn heard(&mut self, now: Timestamp) {
        self.heard_at = self.heard_at.max(now);
    }

    /// The transport is gone: the sessions to pause. There is nothing to be done with the connection afterwards, unless the
    /// engine's answer to an open is still to come: then ask once more after it.
    #[must_use]
    pub fn lost(&mut self) -> Vec<SessionId> {
        self.closing.get_or_insert(0);
        self.forget_work();
        self.transmit.clear();
        (self.transmit_bytes, self.heartbeats) = (0, 0);
        std::mem::take(&mut self.sessions).into_iter().map(|attached| attached.session).collect()
    }

    /// Does what is due: answers that waited, and the two timeouts.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.closing.is_some() {
            return;
        }
        self.release_delayed(now);
        if self.login_at.is_some_and(|at| now >= at) {
            self.close(Address::default(), &Error::LoginTimeout);
        } else if now >= self.heard_at + self.config.read_after {
            self.close(Address::default(), &Error::ReadTimeout);
        }
    }

    // What the host should do.

    /// The next thing to ask the engine. There is none while the answer to the one before is missing.
    pub fn poll_action(&mut self, now: Timestamp) -> Option<Action> {
        while !self.is_busy && self.closing.is_none() {
            if let Some(held) = self.held.take() {
                self.is_busy = true;
                return Some(*held);
            }
            let parsed = match self.inbox.next_frame()? {
                Ok(frame) => self.config.wire.parse(frame, &self.config),
                Err(inbox::TooLong) => {
                    self.refuse_length();
                    return None;
                }
            };
            if let Some(action) = self.handle_frame(parsed, now) {
                return Some(action);
            }
        }
        None
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.heartbeats > 0 {
            self.heartbeats -= 1;
            return Some(self.config.framing.end(self.config.wire.heartbeat().to_owned()));
        }
        let frame = self.transmit.pop_front()?;
        self.transmit_bytes -= frame.len();
        if self.transmit.is_empty() && self.transmit.capacity() > Self::IDLE_ENTRIES_MAX {
            self.transmit = VecDeque::new();
        }
        Some(self.config.framing.end(frame))
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn transmit_bytes(&self) -> usize {
        self.transmit_bytes + self.heartbeats * self.config.wire.heartbeat().len()
    }

    /// Whether so much waits to be sent that the host should stop reading from the transport, and from the sessions'
    /// outboxes, until the transport has taken it.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.transmit_bytes() > self.config.transmit_bytes_max
    }

    /// The code with which to close, once everything is sent. Then call [`lost`](Self::lost).
    #[must_use]
    pub fn should_close(&self) -> Option<u16> {
        self.closing.filter(|_| self.transmit.is_empty() && self.heartbeats == 0)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); none once the connection is closing.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let delayed = self.delayed.iter().map(|(at, _)| *at);
        let dues = delayed.chain(self.login_at).chain([self.heard_at + self.config.read_after]);
        if self.closing.is_some() { None } else { dues.min() }
    }

    /// The sessions on the connection.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.sessions.iter().map(|attached| attached.session)
    }

    // What the engine answers and tells.

    /// The engine's answer to [`Action::Open`].
    pub fn opened(&mut self, key: Key, result: Result<(SessionId, Ticket), Error>, now: Timestamp) {
        self.is_busy = false;
        match result {
            Ok((session, ticket)) => {
                self.pending.insert(ticket, Pending { session, serial: key.serial, asked: Asked::Open });
                self.sessions.push(Attached { session, peer: key.peer, is_open: false });
            }
            Err(error) => self.refuse(key.address(), &error, now),
        }
    }

    /// The engine's answer to [`Action::Request`].
    pub fn answered(&mut self, key: Key, result: Result<Ticket, Error>, now: Timestamp) {
        self.is_busy = false;
        match (result, key.session, key.asked) {
            (Err(error), _, _) => self.refuse(key.address(), &error, now),
            (Ok(_), Some(session), Asked::Close) => self.log_out(&key, session, now),
            (Ok(ticket), Some(session), asked) if asked != Asked::Acknowledge && self.attached(session).is_some() => {
                self.pending.insert(ticket, Pending { session, serial: key.serial, asked });
            }
            // Nothing comes for an acknowledgement, and nothing more for a session that has just ended.
            (Ok(_), _, _) => {}
        }
    }

    /// An update for one of the connection's sessions. What comes for a session that is gone is dropped.
    pub fn update(&mut self, session: SessionId, update: &Update, now: Timestamp) {
        let Some(attached) = self.attached(session) else { return };
        let address = Address { peer: Some(attached.peer.clone()), serial: None };
        match update {
            Update::Reply { ticket, result } => self.reply(*ticket, address, result, now),
            Update::Closed { error } => {
                self.detach(session, now);
                let body = self.config.wire.closed(error.as_ref());
                self.send(&address, &body);
            }
            _ => self.config.wire.update(update).iter().for_each(|body| self.send(&address, body)),
        }
    }

    /// The same, for an update that is already written. It must have been written for the connection's wire format.
    pub fn forward(&mut self, session: SessionId, encoded: &Encoded) {
        debug_assert_eq!(encoded.wire, self.config.wire);
        if let Some(attached) = self.attached(session) {
            let address = Address { peer: Some(attached.peer.clone()), serial: None };
            encoded.bodies.iter().for_each(|body| self.send(&address, body));
        }
    }

    // Frames.

    fn handle_frame(&mut self, parsed: Result<Frame, Rejected>, now: Timestamp) -> Option<Action> {
        match parsed {
            Ok(Frame::Heartbeat) => self.heartbeats += 1,
            Ok(Frame::Command { peer, serial, verb }) => return self.handle_command(peer, serial, verb, now),
            Err(Rejected { address, error, is_fatal: true }) => self.close(address, &error),
            Err(Rejected { address, error, is_fatal: false }) => self.refuse(address, &error, now),
        }
        None
    }

    fn handle_command(&mut self, peer: PeerId, serial: Option<Serial>, verb: Verb, now: Timestamp) -> Option<Action> {
        let session = self.sessions.iter().find(|attached| attached.peer == peer).map(|attached| attached.session);
        let address = Address { peer: Some(peer.clone()), serial };
        match (verb, session) {
            (Verb::Open(open), _) => return self.open(*open, session, address, now),
            (Verb::Request(_), None) => self.refuse(address, &Error::SessionRequired, now),
            (Verb::Request(_), Some(_)) if self.pending.len() >= self.config.requests_max => {
                let max = self.config.requests_max as u64;
                self.refuse(address, &Error::OverLimit { limit: "requests_max", max }, now);
            }
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
        let open = Open { source_ip: self.source_ip, ..open };
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

    fn reply(&mut self, ticket: Ticket, peer: Address, result: &Result<Reply, Error>, now: Timestamp) {
        let Some(Pending { session, serial, asked }) = self.pending.remove(&ticket) else { return };
        if self.pending.is_empty() && self.pending.capacity() > Self::IDLE_ENTRIES_MAX {
            self.pending = FxHashMap::default();
        }
        let address = Address { serial, ..peer };
        match (result, asked) {
            (Ok(_), Asked::Open) => self.logged_in(session),
            (Err(_), Asked::Open) => self.detach(session, now),
            _ => {}
        }
        match result {
            Ok(reply) => {
                if let Some(body) = self.config.wire.reply(asked, reply) {
                    self.send(&address, &body);
                }
            }
            Err(error) => self.refuse(address, error, now),
        }
    }

    // Sessions.

    fn attached(&self, session: SessionId) -> Option<&Attached> {
        self.sessions.iter().find(|attached| attached.session == session)
    }

    fn logged_in(&mut self, session: SessionId) {
        if let Some(attached) = self.sessions.iter_mut().find(|attached| attached.session == session) {
            attached.is_open = true;
            self.login_at = None;
        }
    }

    /// The client's own close. The documents know no answer to it; who asks with a serial gets one.
    fn log_out(&mut self, key: &Key, session: SessionId, now: Timestamp) {
        self.detach(session, now);
        if key.serial.is_some() {
            let body = self.config.wire.closed(None);
            self.send(&key.address(), &body);
        }
    }

    /// The session is over here. Where it was the last one, the time for another login begins.
    fn detach(&mut self, session: SessionId, now: Timestamp) {
        self.sessions.retain(|attached| attached.session != session);
        self.pending.retain(|_, pending| pending.session != session);
        if self.login_at.is_none() && !self.sessions.iter().any(|attached| attached.is_open) {
            self.login_at = Some(now + self.config.login_after);
        }
    }

    // Refusals and the end.

    fn refuse(&mut self, address: Address, error: &Error, now: Timestamp) {
        let within = self.config.faults_within;
        match error {
            Error::SignatureFailed | Error::ConversationSignatureFailed => {
                let failures = self.signature_failures.strike(within, now);
                self.refuse_signature(address, error, failures, now);
            }
            Error::Unparseable if self.unparseable.strike(within, now) >= self.config.unparseable_max => {
                self.close(address, error);
            }
            _ => {
                let body = self.config.wire.error(error);
                self.send(&address, &body);
            }
        }
    }

    /// Whoever guesses at signatures waits longer for each answer, and has few guesses.
    fn refuse_signature(&mut self, address: Address, error: &Error, failures: usize, now: Timestamp) {
        if failures >= self.config.signature_failures_max {
            self.close(address, error);
        } else {
            let earlier = u32::try_from(failures - 1).unwrap_or(u32::MAX);
            let at = now + self.config.signature_delay.saturating_mul(earlier);
            let frame = self.config.wire.frame(&address, &self.config.wire.error(error));
            self.delayed.push((at, frame));
            self.release_delayed(now);
        }
    }

    fn refuse_length(&mut self) {
        let max = self.config.frame_bytes_max as u64;
        self.close(Address::default(), &Error::TooLong { limit: "frame_bytes_max", max });
    }

    fn release_delayed(&mut self, now: Timestamp) {
        let (due, later) = std::mem::take(&mut self.delayed).into_iter().partition(|(at, _)| *at <= now);
        self.delayed = later;
        let due: Vec<(Timestamp, String)> = due;
        due.into_iter().for_each(|(_, frame)| self.queue(frame));
    }

    /// The last frame says why. The sessions stay until the host takes them with [`lost`](Self::lost).
    fn close(&mut self, address: Address, error: &Error) {
        if self.closing.is_some() {
            return;
        }
        let body = self.config.wire.error(error);
        std::mem::take(&mut self.delayed).into_iter().for_each(|(_, frame)| self.queue(frame));
        self.send(&address, &body);
        self.closing = Some(error.code());
        self.forget_work();
    }

    fn forget_work(&mut self) {
        self.inbox.clear();
        self.held = None;
        self.delayed = Vec::new();
        self.pending = FxHashMap::default();
    }

    fn send(&mut self, address: &Address, body: &str) {
        self.queue(self.config.wire.frame(address, body));
    }

    /// Nothing follows the frame that says why the connection ends.
    fn queue(&mut self, frame: String) {
        if self.closing.is_none() {
            self.transmit_bytes += frame.len();
            self.transmit.push_back(frame);
        }
    }
}

#[cfg(test)]
mod tests;
