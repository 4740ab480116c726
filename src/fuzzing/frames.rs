//! Bytes of a client, cut anywhere: the same happens as if they had come at once.

use std::sync::Arc;

use super::Choices;
use crate::connection::{Action, Connection, ConnectionConfig};
use crate::store::memory::MemoryStore;
use crate::{Config, Engine, NoHooks, Output, SessionId, Timestamp};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// The first byte is how many cuts there are, one byte each; the rest is what the client sends.
pub fn frames(data: &[u8]) {
    let mut choices = Choices(data);
    let sizes: Vec<usize> = (0..choices.below(16)).map(|_| choices.below(64) + 1).collect();
    let stream = choices.0;
    let whole = Host::new().hear(&[stream]);
    assert_eq!(whole, Host::new().hear(&pieces(stream, &sizes)), "a cut changes nothing");
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    if stream.len() < 512 {
        assert_eq!(whole, Host::new().hear(&bytes), "byte by byte");
    }
}

fn pieces<'a>(mut stream: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle().take(stream.len()) {
        let (piece, rest) = stream.split_at((*size).min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces.push(stream);
    pieces
}

/// An engine with one connection.
struct Host {
    engine: Engine,
    connection: Connection,
    asked: Vec<String>,
    told: Vec<String>,
    signs_of_life: usize,
}

impl Host {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::start(Config::default(), store, Box::new(NoHooks), [7; 32], NOW).expect("memory starts");
        let config = ConnectionConfig { frame_bytes_max: 1024, ..ConnectionConfig::default() };
        Self {
            engine,
            connection: Connection::new(Arc::new(config), None, NOW),
            asked: Vec::new(),
            told: Vec::new(),
            signs_of_life: 0,
        }
    }

    /// What the client asks, and what it is told: a refusal of the connection's own may come before the next question.
    fn hear(mut self, pieces: &[&[u8]]) -> (Vec<String>, Vec<String>) {
        for piece in pieces {
            self.connection.receive(piece, NOW);
            while let Some(action) = self.connection.poll_action(NOW) {
                self.asked.push(format!("{action:?}"));
                self.act(action);
            }
            self.send();
        }
        self.told.push(format!("{} signs of life, {:?}", self.signs_of_life, self.connection.should_close()));
        (self.asked, self.told)
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open { key, open } => {
                let opened = self.engine.open(open, NOW);
                self.connection.opened(key, opened, NOW);
            }
            Action::Request { key, session, request } => {
                let asked = self.engine.request(session, request, NOW);
                self.connection.answered(key, asked, NOW);
            }
            Action::Pause { session } => self.engine.pause(session, NOW),
        }
        self.engine.commit(NOW).expect("memory takes everything");
        while let Some(output) = self.engine.poll_output() {
            self.forward(&output);
        }
        self.send();
    }

    fn forward(&mut self, output: &Output) {
        let Output::Deliver(deliver) = output else { return };
        let sessions: Vec<SessionId> = self.connection.sessions().collect();
        for reference in deliver.audience.iter() {
            let is_it =
                |session: &&SessionId| (session.slot(), session.generation()) == (reference.slot, reference.generation);
            if let Some(session) = sessions.iter().find(is_it) {
                self.connection.update(*session, &deliver.update, NOW);
            }
        }
    }

    fn send(&mut self) {
        while let Some(frame) = self.connection.poll_transmit() {
            // Signs of life overtake what waits: only their number tells.
            match String::from_utf8_lossy(frame.as_bytes()) {
                life if life == "{}\n" => self.signs_of_life += 1,
                frame => self.told.push(frame.into_owned()),
            }
        }
    }
}
