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
//!     connection.receive(bytes, now); // for a WebSocket `receive_text` and `receive_binary`
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
//! Hand back the answer to each action before the connection gets the updates that it causes.
//!
//! # Clients that do not read
//! A connection holds little: what waits for a session waits in its outbox, where it is bounded and nothing persistent is
//! lost. So a host takes from an outbox only what there is [room](Connection::room) for:
//! ```no_run
//! # use switchboard::{Connection, DrainState, Hub, SessionId};
//! fn drain(connection: &mut Connection, hub: &Hub, session: SessionId) {
//!     let mut updates = Vec::new();
//!     let mut state = DrainState::More;
//!     while state == DrainState::More && connection.room() > 0 {
//!         state = hub.drain(session, &mut updates, connection.room());
//!         updates.drain(..).for_each(|update| connection.update(session, &update, hub.now()));
//!     }
//!     // Nothing announces what is left of `More`: drain again when the transport has taken something.
//! }
//! ```
//! It neither reads from the transport while the connection [is congested](Connection::is_congested), and when the transport
//! has taken something it asks [`Connection::poll_action`] again, for what the client has asked meanwhile. A host of the bare
//! engine says [`Engine::overflowed`](crate::Engine::overflowed) instead of handing over a logged update for which there is no
//! room, and [`Engine::drained`](crate::Engine::drained) when there is. Whatever a host does, over
//! [`unsent_bytes_max`](ConnectionConfig::unsent_bytes_max) the connection ends with 4318; what its client did not acknowledge
//! comes again. A transport that takes nothing at all ends with the read timeout, or when the host gives it up.

mod action;
mod command;
mod config;
mod deadlines;
mod encoded;
mod frame;
mod inbox;
mod outgoing;
mod refusal;
mod sessions;
mod strikes;
mod unanswered;
mod v1;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;

pub use action::{Action, Key};
pub use config::ConnectionConfig;
pub use encoded::Encoded;
pub use frame::{FrameKind, Framing, Transmit};
pub use v1::client::{ClientConnection, FromServer, ServerFrame};
pub use v1::contract;
pub use wire::{Serial, Wire};

use crate::config::ConfigError;
use crate::error::Error;
use crate::id::{SessionId, Ticket};
use crate::request::Origin;
use crate::time::Timestamp;
use crate::update::Update;
use deadlines::Deadlines;
use inbox::Inbox;
use outgoing::{Body, Outgoing};
use sessions::Sessions;
use strikes::Strikes;
use unanswered::{Question, Unanswered};
use wire::{Address, Asked, Format};

/// The server's end of one transport: several peers may share it, each with a session of its own.
#[derive(Debug)]
pub struct Connection {
    config: Arc<ConnectionConfig>,
    /// Whose share its sessions are taken from.
    origin: Option<Origin>,
    source_ip: Option<IpAddr>,
    inbox: Inbox,
    sessions: Sessions,
    unanswered: Unanswered,
    /// Whether an action is with the host. The next one may depend on its answer.
    is_busy: bool,
    /// The open that follows a pause.
    held: Option<Box<Action>>,
    outgoing: Outgoing,
    deadlines: Deadlines,
    signature_failures: Strikes,
    unparseable: Strikes,
    /// The code with which it ends.
    closing: Option<u16>,
}

impl Connection {
    /// Bytes of a message of full size in its frame, where each of its bytes is escaped, by which bytes become updates.
    const UPDATE_BYTES: usize = 6 * 5_120 + 512;
    /// Frames of the largest size that may wait to be asked for. A host that goes on reading while the connection
    /// [is congested](Self::is_congested) ends it with 4318 there.
    pub const UNREAD_FRAMES_MAX: usize = 4;

    /// A transport that has just connected, from `source_ip` where that is known.
    ///
    /// # Errors
    /// The first setting that is out of its bounds.
    pub fn new(config: Arc<ConnectionConfig>, source_ip: Option<IpAddr>, now: Timestamp) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self {
            source_ip,
            origin: None,
            inbox: Inbox::new(config.frame_bytes_max),
            sessions: Sessions::default(),
            unanswered: Unanswered::default(),
            is_busy: false,
            held: None,
            outgoing: Outgoing::default(),
            deadlines: Deadlines::new(&config, now),
            signature_failures: Strikes::default(),
            unparseable: Strikes::default(),
            closing: None,
            config,
        })
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
        if self.may_receive() {
            self.inbox.push_bytes(bytes);
        }
    }

    /// Takes one text frame of a message transport. Call [`poll_action`](Self::poll_action) afterwards.
    pub fn receive_text(&mut self, frame: &[u8], now: Timestamp) {
        self.receive_frame(FrameKind::Text, frame, now);
    }

    /// Takes one binary frame of a message transport. Call [`poll_action`](Self::poll_action) afterwards.
    pub fn receive_binary(&mut self, frame: &[u8], now: Timestamp) {
        self.receive_frame(FrameKind::Binary, frame, now);
    }

    fn receive_frame(&mut self, kind: FrameKind, frame: &[u8], now: Timestamp) {
        self.heard(now);
        if self.may_receive() {
            self.inbox.push_frame(kind, frame);
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
        self.deadlines.heard(now);
    }

    /// The transport is gone: the sessions to pause. There is nothing to be done with the connection afterwards, unless the
    /// engine's answer to an open is still to come: then ask once more after it.
    #[must_use]
    pub fn lost(&mut self) -> Vec<SessionId> {
        self.closing.get_or_insert(0);
        self.forget_work();
        self.outgoing.clear();
        self.sessions.take()
    }

    /// Does what is due: answers that waited, and the two timeouts.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.closing.is_some() {
            return;
        }
        self.outgoing.release(now);
        if let Some(error) = self.deadlines.over(&self.config, now) {
            self.close(Address::default(), &error);
        }
    }

    // What the host should do.

    /// The next thing to ask the engine. There is none while the answer to the one before is missing, and none while there is
    /// no [`room`](Self::room) for the reply: ask again when the transport has taken something.
    pub fn poll_action(&mut self, now: Timestamp) -> Option<Action> {
        while !self.is_busy && self.closing.is_none() && self.room() > 0 {
            if let Some(held) = self.held.take() {
                self.is_busy = true;
                return Some(*held);
            }
            let parsed = match self.inbox.next_frame()? {
                Ok((kind, frame)) => self.config.wire.read(kind, frame, &self.config),
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
        self.outgoing.pop(self.format(), self.config.framing)
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn transmit_bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    /// Bytes of memory that it holds beside itself: what has come and was not yet asked, what waits to be sent, requests
    /// without a reply. A body that many connections wait with counts for each.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let faults = self.signature_failures.held_bytes() + self.unparseable.held_bytes();
        let asked = self.sessions.held_bytes() + self.unanswered.held_bytes();
        self.inbox.held_bytes() + self.outgoing.held_bytes() + asked + faults
    }

    /// How many updates the host may take for it from the outboxes of its sessions: as many as surely fit where each is a
    /// message of full size. While there is no room they wait in the outbox, which is bounded and where what is persistent
    /// can be caught up from the log.
    #[must_use]
    pub fn room(&self) -> usize {
        self.config.transmit_bytes_max.saturating_sub(self.outgoing.bytes()).div_ceil(Self::UPDATE_BYTES)
    }

    /// Whether the host should stop reading from the transport: too much waits to be sent, or was received and not yet asked
    /// for. A client that does not take its answers asks nothing more.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.room() == 0 || self.inbox.waiting_bytes() >= self.config.frame_bytes_max
    }

    /// The code with which to close, once everything is sent. Then call [`lost`](Self::lost).
    #[must_use]
    pub fn should_close(&self) -> Option<u16> {
        self.closing.filter(|_| self.outgoing.is_empty())
    }

    /// Whether every request was answered and every answer taken. A client that sends nothing more, but still reads, is
    /// kept until then.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_asked = self.is_busy || self.held.is_some() || self.unanswered.len() > 0;
        !is_asked && self.outgoing.is_empty() && self.outgoing.release_at().is_none()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); none once the connection is closing.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let due = self.deadlines.next(&self.config);
        let due = self.outgoing.release_at().map_or(due, |at| at.min(due));
        self.closing.is_none().then_some(due)
    }

    /// The sessions on the connection.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.sessions.iter()
    }

    // What the engine answers and tells.

    /// The engine's answer to [`Action::Open`].
    pub fn opened(&mut self, key: Key, result: Result<(SessionId, Ticket), Error>, now: Timestamp) {
        self.is_busy = false;
        match result {
            Ok((session, ticket)) => {
                self.unanswered.add(ticket, Question { session, serial: key.serial, asked: Asked::Open });
                self.sessions.attach(session, key.peer);
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
            (Ok(ticket), Some(session), asked)
                if asked != Asked::Acknowledge && self.sessions.peer_of(session).is_some() =>
            {
                self.unanswered.add(ticket, Question { session, serial: key.serial, asked });
            }
            // Nothing comes for an acknowledgement, and nothing more for a session that has just ended.
            (Ok(_), _, _) => {}
        }
    }

    /// An update for one of the connection's sessions. What comes for a session that is gone is dropped.
    pub fn update(&mut self, session: SessionId, update: &Update, now: Timestamp) {
        let Some(address) = self.address_of(session) else { return };
        match update {
            Update::Reply { ticket, result } => self.reply(*ticket, address, result, now),
            Update::Closed { error } => {
                self.detach(session, now);
                self.send(address, self.format().closed(error.as_ref()));
            }
            _ => {
                let bodies = self.format().update(update);
                bodies.into_iter().for_each(|body| self.send(address.clone(), body));
            }
        }
    }

    /// The same, for an update that is already written. It must have been written for the connection's wire format.
    pub fn forward(&mut self, session: SessionId, encoded: &Encoded) {
        debug_assert_eq!(encoded.wire, self.config.wire);
        if let Some(address) = self.address_of(session) {
            encoded.bodies.iter().for_each(|body| self.send(address.clone(), Arc::clone(body)));
        }
    }

    // Between these and the parts.

    fn address_of(&self, session: SessionId) -> Option<Address> {
        self.sessions.peer_of(session).map(|peer| Address { peer: Some(peer.clone()), serial: None })
    }

    /// The session is over here. Where it was the last one, the time for another login begins.
    fn detach(&mut self, session: SessionId, now: Timestamp) {
        self.sessions.detach(session);
        self.unanswered.forget(session);
        if !self.sessions.has_open() {
            self.deadlines.logged_out(&self.config, now);
        }
    }

    fn format(&self) -> &'static dyn Format {
        self.config.wire.format()
    }

    /// Whether there is anywhere to put what the transport brings. Where a host has overfilled the connection, it ends.
    fn may_receive(&mut self) -> bool {
        let max = Self::UNREAD_FRAMES_MAX;
        if self.closing.is_none() && self.inbox.waiting_bytes() > max * self.config.frame_bytes_max {
            self.close(Address::default(), &Error::OverLimit { limit: "unread_frames_max", max: max as u64 });
        }
        self.closing.is_none()
    }

    /// Nothing follows the frame that says why the connection ends.
    fn send(&mut self, address: Address, body: impl Into<Body>) {
        if self.closing.is_some() {
            return;
        }
        if self.outgoing.bytes_behind_the_first() > self.config.unsent_bytes_max {
            self.close_overfull();
        } else {
            self.outgoing.push(address, body.into());
        }
    }
}

#[cfg(test)]
mod tests;
