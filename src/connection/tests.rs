//! A connection with an engine that answers as it is told.

mod bounds;
mod faults;
pub(super) mod second_format;
mod sessions;
mod streams;
mod timeouts;

use std::time::Duration;

use super::*;
use crate::id::{MessageId, PeerId, ResumeToken};
use crate::message::Accepted;
use crate::update::{Opened, Reply};

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
        let connection = Connection::new(Arc::new(config), None, at(0)).unwrap();
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
            .map(|frame| String::from_utf8(frame.into_bytes()).unwrap().strip_suffix('\n').unwrap().to_owned())
            .collect()
    }

    /// The codes of the errors that were sent.
    fn codes(&mut self) -> Vec<u64> {
        let frames = self.sent().into_iter().map(|frame| serde_json::from_str::<serde_json::Value>(&frame).unwrap());
        frames.filter_map(|frame| frame["code"].as_u64()).collect()
    }
}
