//! The client's end of a transport, for the first generation's frames: what examples, tests and small clients need.

mod request;
mod server_frame;

use std::collections::VecDeque;
use std::time::Duration;

use super::HEARTBEAT;
use super::json::Body;
use super::writer::frame;
use crate::connection::inbox::Inbox;
use crate::connection::wire::{Address, Serial};
use crate::connection::{FrameKind, Framing, Transmit};
use crate::id::PeerId;
use crate::request::{Open, Request};
use crate::time::Timestamp;
use request::{encode_open, encode_request};
use server_frame::decode;

pub use server_frame::{FromServer, ServerFrame};

/// The client's end of one transport, sans-IO like the server's: requests in, bytes out; bytes in, frames out.
///
/// It keeps no sessions: which frame belongs to which request says its serial.
#[derive(Debug)]
pub struct ClientConnection {
    framing: Framing,
    inbox: Inbox,
    transmit: VecDeque<Transmit>,
    serial: Serial,
    heard_at: Timestamp,
    sent_at: Timestamp,
    /// When a sign of life was asked for that has not come.
    asked_at: Option<Timestamp>,
}

impl ClientConnection {
    /// After so long without a frame in either direction the client sends a sign of life, as the documents' client does.
    pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(60);
    /// After so long without an answer to it the transport is dead.
    pub const HEARTBEAT_AFTER: Duration = Duration::from_secs(10);
    /// Bytes of one frame from the server: it lists the members of large groups in one.
    pub const FRAME_BYTES_MAX: usize = 16 << 20;

    /// A transport that has just connected.
    #[must_use]
    pub const fn new(framing: Framing, now: Timestamp) -> Self {
        Self {
            framing,
            inbox: Inbox::new(Self::FRAME_BYTES_MAX),
            transmit: VecDeque::new(),
            serial: 0,
            heard_at: now,
            sent_at: now,
            asked_at: None,
        }
    }

    /// Opens a session; the serial is that of the reply.
    pub fn open(&mut self, open: &Open, now: Timestamp) -> Serial {
        self.send(&open.peer, encode_open(open), now)
    }

    /// Asks for something as a peer whose session is open; the serial is that of the reply. `None` where these frames have
    /// no words for it: history, unread counts, unique and temporary conversations, names and attributes.
    pub fn request(&mut self, peer: &PeerId, request: &Request, now: Timestamp) -> Option<Serial> {
        encode_request(request).map(|body| self.send(peer, body, now))
    }

    /// Takes what a byte stream brought.
    pub fn receive(&mut self, bytes: &[u8], now: Timestamp) {
        self.heard(now);
        self.inbox.push_bytes(bytes);
    }

    /// Takes one frame of a message transport, text as these frames are.
    pub fn receive_frame(&mut self, frame: &[u8], now: Timestamp) {
        self.heard(now);
        self.inbox.push_frame(FrameKind::Text, frame);
    }

    /// The next frame from the server. Signs of life are not told.
    pub fn poll_frame(&mut self) -> Option<FromServer> {
        loop {
            let frame = match self.inbox.next_frame()? {
                Ok((_, frame)) => decode(frame),
                Err(_) => return None,
            };
            if frame.frame != ServerFrame::Heartbeat {
                return Some(frame);
            }
        }
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmit.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        match self.asked_at {
            Some(asked_at) => asked_at + Self::HEARTBEAT_AFTER,
            None => self.heard_at.min(self.sent_at) + Self::HEARTBEAT_EVERY,
        }
    }

    /// Sends a sign of life when it is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.asked_at.is_none() && now >= self.poll_timeout() {
            self.asked_at = Some(now);
            self.queue(HEARTBEAT.to_vec(), now);
        }
    }

    /// Whether the server no longer answers, or sent a frame that is too long, after which nothing can be read: connect anew.
    #[must_use]
    pub fn is_dead(&self, now: Timestamp) -> bool {
        self.inbox.is_over() || self.asked_at.is_some_and(|asked_at| now >= asked_at + Self::HEARTBEAT_AFTER)
    }

    fn heard(&mut self, now: Timestamp) {
        self.heard_at = now;
        self.asked_at = None;
    }

    fn send(&mut self, peer: &PeerId, body: Body, now: Timestamp) -> Serial {
        self.serial += 1;
        let address = Address { peer: Some(peer.clone()), serial: Some(self.serial) };
        self.queue(frame(&address, &body.finish()), now);
        self.serial
    }

    fn queue(&mut self, frame: Vec<u8>, now: Timestamp) {
        self.sent_at = now;
        self.transmit.push_back(self.framing.end(FrameKind::Text, frame));
    }
}

#[cfg(test)]
mod tests;
