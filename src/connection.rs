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

mod base64;
mod client;
pub mod contract;
mod inbox;
mod json;
mod strikes;
mod v1;
mod wire;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use client::{ClientConnection, FromServer, ServerFrame};
use inbox::Inbox;
use rustc_hash::FxHashMap;
use strikes::Strikes;
use wire::{Address, Asked, Frame, Rejected, Verb};
pub use wire::{Serial, Wire};

use crate::config::ConfigError;
use crate::error::Error;
use crate::id::{PeerId, SessionId, Ticket};
use crate::request::{Open, Origin, Request};
use crate::time::Timestamp;
use crate::update::{Reply, Update};

/// How a transport keeps frames apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// It does not: a byte stream, one frame a line.
    #[default]
    Lines,
    /// By itself, as a WebSocket does.
    Messages,
}

impl Framing {
    /// A frame as it goes over the transport.
    fn end(self, mut frame: String) -> Transmit {
        if self == Self::Lines {
            frame.push('\n');
        }
        Transmit::Text(frame)
    }
}

/// Settings of connections, shared by all of a listener. The defaults are those of the documents, or chosen where they are
/// silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// How frames are written.
    pub wire: Wire,
    /// How the transport keeps them apart.
    pub framing: Framing,
    /// The application that frames may name (`appId`), any other is 4100; none is not to look.
    pub app_id: Option<String>,
    /// Characters of a peer id, as in [`Config`](crate::Config).
    pub peer_id_chars_max: usize,
    /// Bytes of one frame (4109, close): JSON may escape 5 KB of content sixfold.
    pub frame_bytes_max: usize,
    /// Bytes that wait for the transport, from where on [`Connection::is_congested`].
    pub transmit_bytes_max: usize,
    /// How long a connection may be without a session (4108, close).
    pub login_after: Duration,
    /// How long nothing may be received (4107, close): clients ping every 1 to 3 minutes.
    pub read_after: Duration,
    /// Requests that wait for their reply: more than a client sends while the slowest commit takes place.
    pub requests_max: usize,
    /// Peers that share the connection.
    pub peers_max: usize,
    /// Refused signatures within [`faults_within`](Self::faults_within); the last one closes.
    pub signature_failures_max: usize,
    /// Each refused signature waits so much longer for its answer than the one before; the first does not wait.
    pub signature_delay: Duration,
    /// Frames that cannot be parsed within [`faults_within`](Self::faults_within); the last one closes.
    pub unparseable_max: usize,
    /// How long faults count.
    pub faults_within: Duration,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            wire: Wire::V1,
            framing: Framing::Lines,
            app_id: None,
            peer_id_chars_max: PeerId::CHARS_MAX,
            frame_bytes_max: 64 * 1024,
            transmit_bytes_max: 256 * 1024,
            login_after: Duration::from_secs(15),
            read_after: Duration::from_secs(360),
            requests_max: 1_024,
            peers_max: 100,
            signature_failures_max: 5,
            signature_delay: Duration::from_secs(1),
            unparseable_max: 10,
            faults_within: Duration::from_secs(60),
        }
    }
}

impl ConnectionConfig {
    /// Checks every setting against its bounds.
    ///
    /// # Errors
    /// The first setting that is out of bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let hour = 3_600_000;
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        [
            ("peer_id_chars_max", self.peer_id_chars_max as u64, 1, 200),
            ("frame_bytes_max", self.frame_bytes_max as u64, 256, 1 << 24),
            ("transmit_bytes_max", self.transmit_bytes_max as u64, 1 << 12, 1 << 30),
            ("login_after", millis(self.login_after), 1, hour),
            ("read_after", millis(self.read_after), 1, 24 * hour),
            ("requests_max", self.requests_max as u64, 1, 1 << 20),
            ("peers_max", self.peers_max as u64, 1, 10_000),
            ("signature_failures_max", self.signature_failures_max as u64, 1, 1_000),
            ("signature_delay", millis(self.signature_delay), 0, 60_000),
            ("unparseable_max", self.unparseable_max as u64, 1, 1_000),
            ("faults_within", millis(self.faults_within), 1, hour),
        ]
        .into_iter()
        .find(|(_, value, min, max)| !(min..=max).contains(&value))
        .map_or(Ok(()), |(setting, value, min, max)| {
            Err(ConfigError { setting, reason: format!("is {value}, not between {min} and {max}") })
        })
    }
}

/// What the host is to do, from [`Connection::poll_action`].
#[derive(Debug, PartialEq)]
#[must_use]
pub enum Action {
    /// Open a session: call [`Engine::open`](crate::Engine::open), then [`Connection::opened`] with the key.
    Open {
        /// Names the action in its answer.
        key: Key,
        /// Who wants what.
        open: Open,
    },
    /// Ask for something: call [`Engine::request`](crate::Engine::request), then [`Connection::answered`] with the key.
    Request {
        /// Names the action in its answer.
        key: Key,
        /// Whose wish it is.
        session: SessionId,
        /// What is asked for.
        request: Request,
    },
    /// Pause a session whose peer opens again: call [`Engine::pause`](crate::Engine::pause). The open that follows takes it
    /// over. No answer.
    Pause {
        /// Which session.
        session: SessionId,
    },
}

/// Names an action in its answer. It carries what the connection has to know then.
#[derive(Debug, PartialEq)]
pub struct Key {
    peer: PeerId,
    serial: Option<Serial>,
    asked: Asked,
    /// Whose request it is; none for an open.
    session: Option<SessionId>,
}

impl Key {
    fn address(&self) -> Address {
        Address { peer: Some(self.peer.clone()), serial: self.serial }
    }
}

/// Something to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transmit {
    /// A frame of text, on a byte stream with its line end.
    Text(String),
}

impl Transmit {
    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
        }
    }
}

/// An update, written once for all the connections of one wire format that get it.
#[derive(Clone, Debug)]
pub struct Encoded {
    wire: Wire,
    bodies: Arc<[String]>,
}

impl Encoded {
    /// Writes an update. `None` for what concerns one connection alone: replies and the end of a session.
    #[must_use]
    pub fn new(wire: Wire, update: &Update) -> Option<Self> {
        match update {
            Update::Reply { .. } | Update::Closed { .. } => None,
            _ => Some(Self { wire, bodies: wire.update(update).into() }),
        }
    }
}

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
    /// Whose share its sessions are taken from.
    origin: Option<Origin>,
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
            origin: None,
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

    /// Names whose share the connection's sessions are taken from: a key of its own for each connection, or for each address.
    #[must_use]
    pub const fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::{MessageId, ResumeToken};
    use crate::message::Accepted;
    use crate::update::Opened;

    const OPEN_ALICE: &str = r#"{"cmd":"session","op":"open","peerId":"alice","i":1}"#;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1_000)
    }

    fn session(slot: u32) -> SessionId {
        SessionId { node: 0, epoch: 1, slot, generation: 0 }
    }

    /// A connection and an engine that says yes to everything, or what it is told to say.
    struct World {
        connection: Connection,
        actions: Vec<String>,
        answers: u32,
        refusal: Option<Error>,
    }

    impl World {
        fn new() -> Self {
            Self::with(ConnectionConfig::default())
        }

        fn with(config: ConnectionConfig) -> Self {
            let connection = Connection::new(Arc::new(config), None, at(0));
            Self { connection, actions: Vec::new(), answers: 0, refusal: None }
        }

        /// Alice's session is open, in slot 1.
        fn opened() -> Self {
            let mut world = Self::new();
            world.line(OPEN_ALICE, at(0));
            world.confirm_open(1, at(0));
            world.sent();
            world.actions.clear();
            world
        }

        fn line(&mut self, line: &str, now: Timestamp) {
            self.bytes(format!("{line}\n").as_bytes(), now);
        }

        fn bytes(&mut self, bytes: &[u8], now: Timestamp) {
            self.connection.receive(bytes, now);
            self.work(now);
        }

        fn work(&mut self, now: Timestamp) {
            while let Some(action) = self.connection.poll_action(now) {
                self.answers += 1;
                let ticket = Ticket(u64::from(self.answers));
                let refusal = self.refusal.clone().map_or(Ok(()), Err);
                match action {
                    Action::Open { key, open } => {
                        self.actions.push(format!("open {}", open.peer));
                        self.connection.opened(key, refusal.map(|()| (session(self.answers), ticket)), now);
                    }
                    Action::Request { key, session, request } => {
                        self.actions.push(format!("{} {request:?}", session.slot));
                        self.connection.answered(key, refusal.map(|()| ticket), now);
                    }
                    Action::Pause { session } => self.actions.push(format!("pause {}", session.slot)),
                }
            }
        }

        fn reply(&mut self, slot: u32, ticket: u64, result: Result<Reply, Error>, now: Timestamp) {
            self.connection.update(session(slot), &Update::Reply { ticket: Ticket(ticket), result }, now);
        }

        fn confirm_open(&mut self, slot: u32, now: Timestamp) {
            let opened = Opened {
                session: session(slot),
                peer: PeerId::new("alice").unwrap(),
                online: Vec::new(),
                token: ResumeToken::new("token"),
                token_after: Duration::from_secs(1_800),
                room: None,
                at: now,
            };
            self.reply(slot, u64::from(slot), Ok(Reply::Opened(Box::new(opened))), now);
        }

        fn sent(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.connection.poll_transmit())
                .map(|Transmit::Text(text)| text.strip_suffix('\n').unwrap().to_owned())
                .collect()
        }

        /// The codes of the errors that were sent.
        fn codes(&mut self) -> Vec<u64> {
            let frames =
                self.sent().into_iter().map(|frame| serde_json::from_str::<serde_json::Value>(&frame).unwrap());
            frames.filter_map(|frame| frame["code"].as_u64()).collect()
        }
    }

    #[test]
    fn a_session_opens_asks_and_closes() {
        let mut world = World::new();
        world.line(OPEN_ALICE, at(0));
        world.confirm_open(1, at(0));
        assert_eq!(
            world.sent(),
            [concat!(
                r#"{"peerId":"alice","i":1,"cmd":"session","op":"opened","onlineSessionPeerIds":[],"#,
                r#""st":"token","stTtl":1800}"#
            )]
        );
        world.line(r#"{"cmd":"direct","peerId":"alice","toPeerIds":["bob"],"msg":"hi","i":2}"#, at(1));
        let accepted = Accepted {
            conversation: crate::ConversationId::new("c").unwrap(),
            id: MessageId::from_bytes([0; 16]),
            number: Some(1),
            timestamp: Timestamp::from_millis(7),
            changed: Some("h*".into()),
        };
        world.reply(1, 2, Ok(Reply::Accepted(accepted)), at(1));
        assert_eq!(
            world.sent(),
            [r#"{"peerId":"alice","i":2,"cmd":"ack","uid":"----------------------","t":7,"msg":"h*"}"#]
        );
        world.line(r#"{"cmd":"session","op":"close","peerId":"alice","i":3}"#, at(2));
        assert_eq!(world.sent(), [r#"{"peerId":"alice","i":3,"cmd":"session","op":"closed","code":0}"#]);
        world.connection.update(session(1), &Update::Closed { error: None }, at(2));
        world.line(OPEN_ALICE, at(3));
        assert_eq!(world.sent(), [""; 0], "the engine's word about the former session is for nobody");
        assert_eq!(world.actions.last().unwrap(), "open alice");
        assert_eq!(world.connection.lost(), [session(4)]);
    }

    #[test]
    fn what_the_documents_leave_unanswered_stays_so() {
        let mut world = World::opened();
        world.line(r#"{"cmd":"session","op":"remove","peerId":"alice","sessionPeerIds":["bob"],"i":5}"#, at(1));
        world.reply(1, 2, Ok(Reply::Done), at(1));
        world.line(r#"{"cmd":"direct","peerId":"alice","toPeerIds":["bob"],"msg":"x","transient":true,"i":6}"#, at(1));
        let accepted = Accepted {
            conversation: crate::ConversationId::new("c").unwrap(),
            id: MessageId::from_bytes([0; 16]),
            number: None,
            timestamp: at(1),
            changed: None,
        };
        world.reply(1, 3, Ok(Reply::Accepted(accepted)), at(1));
        world.line(r#"{"cmd":"ack","peerId":"alice","ids":["----------------------","nonsense"]}"#, at(1));
        world.line(r#"{"cmd":"session","op":"close","peerId":"alice"}"#, at(1));
        assert_eq!(world.sent(), [""; 0]);
        let read = Request::Acknowledge { messages: vec![MessageId::from_bytes([0; 16])], read: true };
        assert_eq!(world.actions[2], format!("1 {read:?}"));
        assert!(world.connection.pending.is_empty());
    }

    #[test]
    fn an_answer_that_comes_after_the_end_changes_nothing() {
        let list = r#"{"cmd":"room","op":"list","peerId":"alice"}"#;
        let mut world = World::opened();
        world.connection.receive(format!("{list}\n{list}\n").as_bytes(), at(1));
        let Some(Action::Request { key, .. }) = world.connection.poll_action(at(1)) else { panic!("no request") };
        assert_eq!(world.connection.poll_action(at(1)), None, "one at a time");
        world.connection.update(session(1), &Update::Closed { error: None }, at(1));
        world.connection.answered(key, Ok(Ticket(7)), at(1));
        assert!(world.connection.pending.is_empty());
        assert_eq!(world.connection.poll_action(at(1)), None);
        assert_eq!(world.codes(), [0, 4105]);

        let mut world = World::with(ConnectionConfig { signature_failures_max: 1, ..ConnectionConfig::default() });
        world.connection.receive(format!("{OPEN_ALICE}\n").as_bytes(), at(1));
        let Some(Action::Open { key, .. }) = world.connection.poll_action(at(1)) else { panic!("no open") };
        world.connection.handle_timeout(at(15));
        world.connection.opened(key, Err(Error::SignatureFailed), at(15));
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4108], Some(4108)));
    }

    #[test]
    fn a_session_opened_after_the_end_is_still_to_be_paused() {
        let mut world = World::new();
        world.connection.receive(format!("{OPEN_ALICE}\n").as_bytes(), at(1));
        let Some(Action::Open { key, .. }) = world.connection.poll_action(at(1)) else { panic!("no open") };
        assert_eq!(world.connection.lost(), []);
        world.connection.opened(key, Ok((session(1), Ticket(1))), at(2));
        assert_eq!(world.connection.lost(), [session(1)]);
    }

    /// One connection multiplied its share by opening more peers, and a server whose memory of nonces was full closed clients
    /// for it.
    #[test]
    fn every_open_names_the_connections_share_and_what_the_server_lacks_is_no_strike() {
        let mut world = World::with(ConnectionConfig { signature_failures_max: 2, ..ConnectionConfig::default() });
        let config = Arc::clone(&world.connection.config);
        world.connection = Connection::new(config, None, at(0)).with_origin(Origin::new(7));
        for second in 1..=5 {
            world.connection.receive(format!("{OPEN_ALICE}\n").as_bytes(), at(second));
            let Some(Action::Open { key, open }) = world.connection.poll_action(at(second)) else { panic!("no open") };
            assert_eq!(open.origin, Some(Origin::new(7)));
            world.connection.opened(key, Err(Error::Internal), at(second));
        }
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4200; 5], None));
    }

    #[test]
    fn a_peer_that_opens_again_starts_over() {
        let mut world = World::opened();
        world.line(OPEN_ALICE, at(1));
        assert_eq!(world.actions, ["pause 1", "open alice"]);
        assert_eq!(world.connection.lost(), [session(3)]);
    }

    #[test]
    fn several_peers_share_a_connection() {
        let mut world = World::opened();
        world.line(r#"{"cmd":"session","op":"open","peerId":"bob"}"#, at(1));
        world.line(r#"{"cmd":"room","op":"list","peerId":"bob"}"#, at(1));
        world.line(r#"{"cmd":"room","op":"list","peerId":"alice"}"#, at(1));
        assert_eq!(world.actions, ["open bob", "2 Conversations", "1 Conversations"]);
        world.connection.update(session(2), &Update::Closed { error: Some(Error::SessionConflict) }, at(2));
        assert_eq!(
            world.sent(),
            [r#"{"peerId":"bob","cmd":"session","op":"closed","code":4111,"reason":"session conflict"}"#]
        );
        assert_eq!(world.connection.sessions().collect::<Vec<_>>(), [session(1)]);
        let mut crowded = World::with(ConnectionConfig { peers_max: 1, ..ConnectionConfig::default() });
        crowded.line(OPEN_ALICE, at(1));
        crowded.line(r#"{"cmd":"session","op":"open","peerId":"bob"}"#, at(1));
        assert_eq!((crowded.codes(), crowded.actions.len()), (vec![4318], 1));
    }

    #[test]
    fn an_update_written_once_reads_like_one_written_for_each() {
        let mut world = World::opened();
        let peers = vec![PeerId::new("bob").unwrap()];
        let update = Update::Presence { online: peers.clone(), offline: peers };
        world.connection.update(session(1), &update, at(1));
        let one = world.sent();
        world.connection.forward(session(1), &Encoded::new(Wire::V1, &update).unwrap());
        assert_eq!((one.len(), &world.sent()), (2, &one));
        world.connection.forward(session(9), &Encoded::new(Wire::V1, &update).unwrap());
        assert_eq!(world.sent(), [""; 0]);
        assert!(Encoded::new(Wire::V1, &Update::Closed { error: None }).is_none());
    }

    #[test]
    fn signs_of_life_are_answered() {
        let mut world = World::new();
        world.bytes(b"{}\n\n\r\n{ }\r\n", at(1));
        assert_eq!(world.connection.transmit_bytes(), 4);
        assert_eq!(world.sent(), ["{}", "{}"]);
    }

    #[test]
    fn row_01_an_empty_frame_is_refused_and_an_empty_line_ignored() {
        let mut world = World::new();
        world.bytes(b"\n\r\n", at(1));
        assert_eq!(world.codes(), [0; 0]);
        world.connection.receive_frame(b"", at(1));
        world.work(at(1));
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4114], None));
        world.line(r#"{"cmd":"session","op":"open","peerId":""}"#, at(1));
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4103], Some(4103)));
    }

    #[test]
    fn row_05_nothing_is_done_before_a_session_is_open() {
        let mut world = World::new();
        for frame in [
            r#"{"cmd":"direct","peerId":"alice","toPeerIds":["bob"],"msg":"hi"}"#,
            r#"{"cmd":"session","op":"add","peerId":"alice","sessionPeerIds":["bob"]}"#,
            r#"{"cmd":"session","op":"close","peerId":"alice"}"#,
            r#"{"cmd":"room","op":"join","peerId":"alice"}"#,
            r#"{"cmd":"ack","peerId":"alice","ids":["x"]}"#,
        ] {
            world.line(frame, at(1));
            assert_eq!(world.codes(), [4105], "{frame}");
        }
        assert_eq!((world.actions.len(), world.connection.inbox.held_bytes() <= 512), (0, true));
        assert_eq!(world.connection.should_close(), None);
    }

    #[test]
    fn row_06_silence_ends_the_connection_at_the_read_timeout() {
        let mut world = World::opened();
        world.bytes(b"{", at(100));
        let due = at(100 + 360);
        assert_eq!(world.connection.poll_timeout(), Some(due));
        world.connection.handle_timeout(due - Duration::from_millis(1));
        assert_eq!(world.connection.should_close(), None);
        world.connection.handle_timeout(due);
        assert_eq!(world.connection.should_close(), None, "the error frame goes first");
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4107], Some(4107)));
        assert_eq!(world.connection.poll_timeout(), None);
        assert_eq!((world.connection.lost(), world.connection.lost()), (vec![session(1)], vec![]));
    }

    #[test]
    fn row_07_login_timeout_exactly_once() {
        let mut world = World::new();
        world.refusal = Some(Error::SignatureFailed);
        (0..4).for_each(|second| world.line(OPEN_ALICE, at(3 * second)));
        world.bytes(b"{}\n", at(14));
        world.connection.handle_timeout(at(15) - Duration::from_millis(1));
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4102; 4], None));
        for second in [15, 16, 30] {
            world.connection.handle_timeout(at(second));
        }
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4108], Some(4108)));
        world.line(OPEN_ALICE, at(31));
        world.connection.handle_timeout(at(3_000));
        assert_eq!((world.codes(), world.actions.len()), (vec![], 4));
    }

    #[test]
    fn row_07_the_login_timeout_runs_again_from_the_last_session_s_end() {
        let mut world = World::opened();
        world.line(r#"{"cmd":"session","op":"open","peerId":"bob"}"#, at(50));
        world.confirm_open(2, at(50));
        world.connection.update(session(1), &Update::Closed { error: Some(Error::KickedByApp) }, at(60));
        assert_eq!(world.connection.login_at, None, "bob is still there");
        world.line(r#"{"cmd":"session","op":"close","peerId":"bob"}"#, at(70));
        world.sent();
        world.line(OPEN_ALICE, at(80));
        world.reply(4, 4, Err(Error::SignatureFailed), at(81));
        world.connection.handle_timeout(at(84));
        assert_eq!(world.codes(), [4102]);
        world.connection.handle_timeout(at(85));
        assert_eq!(world.codes(), [4108]);
    }

    #[test]
    fn row_08_a_frame_over_the_limit_ends_the_connection_after_the_frames_before_it() {
        let mut world = World::opened();
        let padding = "x".repeat(64 * 1024 - r#"{"pad":""}"#.len());
        world.line(&format!(r#"{{"pad":"{padding}"}}"#), at(1));
        assert_eq!((world.sent(), world.connection.should_close()), (vec!["{}".to_owned()], None));
        let list = r#"{"cmd":"room","op":"list","peerId":"alice"}"#;
        world.bytes(format!("{list}\n{{\"pad\":\"{padding}x\"}}\n{list}\n").as_bytes(), at(1));
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4109], Some(4109)));
        assert_eq!((world.actions.len(), world.connection.inbox.held_bytes()), (1, 0));
        for length in [1 << 16 | 1, 1 << 31, u64::from(u32::MAX), u64::MAX] {
            let mut world = World::new();
            world.connection.announce_frame(length, at(1));
            assert_eq!(world.connection.inbox.held_bytes(), 0);
            world.work(at(1));
            assert_eq!(world.codes(), [4109]);
        }
    }

    #[test]
    fn row_13_ten_megabytes_of_brackets_are_refused_without_being_kept() {
        for bomb in ["[", "{\"a\":", "{\"cmd\":[", "\"", "\\"] {
            let mut world = World::new();
            let bytes = bomb.repeat(10_000_000 / bomb.len());
            for piece in bytes.as_bytes().chunks(16 * 1024) {
                world.bytes(piece, at(1));
                assert!(world.connection.inbox.held_bytes() <= 2 * 65_536 + 512);
            }
            assert_eq!(world.codes(), [4109]);
        }
    }

    #[test]
    fn the_fifth_bad_signature_in_a_minute_closes_and_answers_come_later_each_time() {
        let mut world = World::opened();
        world.refusal = Some(Error::ConversationSignatureFailed);
        let join = r#"{"cmd":"room","op":"join","peerId":"alice","roomId":"r"}"#;
        (0..3).for_each(|_| world.line(join, at(10)));
        assert_eq!(world.codes(), [4302], "the first is answered at once");
        assert_eq!(world.connection.poll_timeout(), Some(at(11)));
        world.connection.handle_timeout(at(11));
        assert_eq!(world.codes(), [4302]);
        world.line(join, at(11));
        world.line(join, at(11));
        world.line(join, at(11));
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4302; 3], Some(4302)));
        assert_eq!(world.actions.len(), 5, "the sixth is asked of nobody");

        let mut slow = World::opened();
        slow.refusal = Some(Error::SignatureFailed);
        (1..=4).for_each(|time| slow.line(join, at(time)));
        slow.line(join, at(61));
        slow.connection.handle_timeout(at(70));
        assert_eq!((slow.codes().len(), slow.connection.should_close()), (5, None), "the first one is forgotten");
    }

    #[test]
    fn the_tenth_unreadable_frame_in_a_minute_closes() {
        let mut world = World::opened();
        (0..9).for_each(|_| world.line("nonsense", at(1)));
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4114; 9], None));
        world.line(r#"{"cmd":"presence","peerId":"alice"}"#, at(60));
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4114], Some(4114)));
    }

    #[test]
    fn row_10_what_only_servers_send_is_refused() {
        for (command, op) in contract::V1
            .iter()
            .filter(|row| row.direction == contract::Direction::FromServer)
            .map(|row| (row.command, row.op))
        {
            if ["direct", "ack"].contains(&command) {
                continue;
            }
            let mut world = World::opened();
            world.line(&format!(r#"{{"cmd":"{command}","op":"{op}","peerId":"alice","i":9}}"#), at(1));
            let refusal = r#"{"peerId":"alice","i":9,"cmd":"error","code":4114,"reason":"unparseable message"}"#;
            assert_eq!(world.sent(), [refusal], "{command}/{op}");
            assert_eq!((world.actions.len(), world.connection.should_close()), (0, None));
        }
    }

    #[test]
    fn requests_without_a_reply_are_bounded() {
        let mut world = World::opened();
        let list = r#"{"cmd":"room","op":"list","peerId":"alice"}"#;
        (0..1_025).for_each(|_| world.line(list, at(1)));
        assert_eq!((world.actions.len(), world.codes()), (1_024, vec![4318]));
        world.reply(1, 2, Err(Error::Internal), at(1));
        assert_eq!(world.codes(), [4200]);
        world.line(list, at(1));
        assert_eq!(world.actions.len(), 1_025);
    }

    #[test]
    fn what_waits_to_be_sent_is_told() {
        let mut world = World::opened();
        let presence = Update::Presence { online: vec![PeerId::new("bob").unwrap()], offline: Vec::new() };
        while !world.connection.is_congested() {
            world.connection.update(session(1), &presence, at(1));
        }
        assert!(world.connection.transmit_bytes() < 256 * 1024 + 128);
        world.sent();
        assert_eq!((world.connection.transmit_bytes(), world.connection.is_congested()), (0, false));
    }

    #[test]
    fn an_idle_connection_is_small() {
        let mut world = World::new();
        world.bytes("{}\nnonsense\n".repeat(3).as_bytes(), at(1));
        world.sent();
        assert!(size_of::<Connection>() <= 512, "{}", size_of::<Connection>());
        assert!(world.connection.inbox.held_bytes() <= 512);
        assert!(world.connection.transmit.capacity() <= Connection::IDLE_ENTRIES_MAX);
    }

    #[test]
    fn the_settings_are_checked() {
        assert_eq!(ConnectionConfig::default().validate(), Ok(()));
        let setting = |change: fn(&mut ConnectionConfig)| {
            let mut config = ConnectionConfig::default();
            change(&mut config);
            config.validate().map_err(|error| error.setting)
        };
        assert_eq!(setting(|config| config.frame_bytes_max = 0), Err("frame_bytes_max"));
        assert_eq!(setting(|config| config.login_after = Duration::ZERO), Err("login_after"));
        assert_eq!(setting(|config| config.unparseable_max = 0), Err("unparseable_max"));
    }

    #[test]
    fn another_application_is_refused() {
        let mut world =
            World::with(ConnectionConfig { app_id: Some("mine".to_owned()), ..ConnectionConfig::default() });
        world.line(r#"{"cmd":"session","op":"open","peerId":"alice","appId":"theirs"}"#, at(1));
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4100], None));
        world.line(r#"{"cmd":"session","op":"open","peerId":"alice","appId":"mine"}"#, at(1));
        world.line(r#"{"cmd":"room","op":"list","peerId":"alice"}"#, at(1));
        assert_eq!(world.actions.len(), 2);
    }

    /// What a connection does with a stream that arrives in pieces.
    fn outcome(pieces: &[&[u8]]) -> (Vec<String>, Vec<String>, Option<u16>) {
        let mut world = World::new();
        pieces.iter().for_each(|piece| world.bytes(piece, at(1)));
        (world.actions.clone(), world.sent(), world.connection.closing)
    }

    #[test]
    fn row_11_a_stream_means_the_same_wherever_it_is_cut() {
        let stream = [
            OPEN_ALICE,
            "\r\n{}\r\n\n",
            r#"{"cmd":"direct","peerId":"alice","toPeerIds":["böb"],"msg":"\u0041 😀"}"#,
            "\nnonsense\n",
            r#"{"cmd":"room","op":"list","peerId":"carol"}"#,
            "\n",
            r#"{"cmd":"room","op":"list","peerId":"a\u0000"}"#,
            "\n{}\n",
        ]
        .concat();
        let stream = stream.as_bytes();
        let whole = outcome(&[stream]);
        assert_eq!((whole.0.len(), whole.1.len(), whole.2), (2, 4, Some(4103)));
        for cut in 0..=stream.len() {
            assert_eq!(outcome(&[&stream[..cut], &stream[cut..]]), whole, "cut at {cut}");
        }
        assert_eq!(outcome(&stream.chunks(1).collect::<Vec<_>>()), whole);
    }

    #[test]
    fn row_11_a_thousand_frames_in_one_buffer() {
        let mut world = World::opened();
        let frames: String = (0..1_000)
            .map(|i| format!("{{\"cmd\":\"room\",\"op\":\"leave\",\"peerId\":\"alice\",\"roomId\":\"{i}\"}}\n"))
            .collect();
        world.bytes(frames.as_bytes(), at(1));
        let expected: Vec<_> = (0..1_000).map(|i| format!("1 Leave {{ conversation: \"{i}\" }}")).collect();
        assert_eq!(world.actions, expected);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(pieces: Vec<Vec<u8>>) {
            let mut world = World::opened();
            for piece in &pieces {
                world.bytes(piece, at(1));
                world.connection.receive_frame(piece, at(1));
                world.work(at(1));
            }
        }

        #[test]
        fn frames_with_a_few_wrong_bytes_never_panic(
            changes in prop::collection::vec((0usize..200, any::<u8>()), 0..4),
            cut in 0usize..200,
        ) {
            let frame = concat!(
                r#"{"cmd":"direct","peerId":"alice","toPeerIds":["bob","\ud83d\ude00"],"msg":"a\u0000b","i":1e2,"#,
                r#""transient":1,"r":true,"dt":"x","s":"ab","t":17,"n":"n","other":[{"a":[1e300,-0.0]}]}"#,
                "\n"
            );
            let mut bytes = frame.as_bytes().to_vec();
            for (place, byte) in changes {
                let place = place % bytes.len();
                bytes[place] = byte;
            }
            let cut = cut % bytes.len();
            let mut world = World::opened();
            world.bytes(&bytes[..cut], at(1));
            world.bytes(&bytes[cut..], at(1));
        }

        #[test]
        fn row_11_random_cuts_change_nothing(cuts in prop::collection::vec(0usize..400, 0..8)) {
            let stream = format!("{OPEN_ALICE}\n{{\"cmd\":\"room\",\"op\":\"list\",\"peerId\":\"alice\",\"i\":2}}\nx\n{{}}\n");
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % stream.len()).collect();
            cuts.sort_unstable();
            let mut rest = stream.as_bytes();
            let mut pieces = Vec::new();
            for cut in cuts.into_iter().rev() {
                let (head, tail) = rest.split_at(cut);
                pieces.insert(0, tail);
                rest = head;
            }
            pieces.insert(0, rest);
            prop_assert_eq!(outcome(&pieces), outcome(&[stream.as_bytes()]));
        }
    }
}
