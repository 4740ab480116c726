//! Bytes of a client, cut anywhere or sent as messages: the same happens as if they had come at once. A client that does not
//! read makes its connection hold little, whatever it sends.

use std::sync::Arc;

use crate::connection::{Action, Connection, ConnectionConfig, Framing};
use crate::store::memory::MemoryStore;
use crate::{Config, Engine, NoHooks, Output, SessionId, Timestamp};

use super::Choices;

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
    assert_eq!(whole, Host::over(Framing::Messages).hear(&lines(stream)), "a message is a line");
    binary(stream);
    deaf(&pieces(stream, &sizes));
}

/// The frames of a stream: lines without their ends. Empty ones are none, and neither is a last one that does not end, unless
/// it is too long already.
fn lines(stream: &[u8]) -> Vec<&[u8]> {
    let whole = stream.iter().filter(|byte| **byte == b'\n').count();
    let lines = stream.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).enumerate();
    let is_frame = |at: usize, line: &[u8]| !line.is_empty() && (at < whole || line.len() > FRAME_BYTES_MAX);
    lines.filter(|(at, line)| is_frame(*at, line)).map(|(_, line)| line).collect()
}

/// Binary messages ask for nothing.
fn binary(stream: &[u8]) {
    let mut host = Host::over(Framing::Messages);
    for frame in lines(stream) {
        host.connection.receive_binary(frame, NOW);
        assert!(host.connection.poll_action(NOW).is_none(), "a binary frame is none of the first generation");
    }
    assert!(host.connection.held_bytes() < HELD_MAX);
}

/// A client that never reads, and a host that goes on bringing what it sends.
fn deaf(pieces: &[&[u8]]) {
    let mut host = Host::new();
    host.is_deaf = true;
    for piece in pieces {
        host.connection.receive(piece, NOW);
        host.work();
        assert!(host.connection.held_bytes() < HELD_MAX, "{} bytes are held", host.connection.held_bytes());
    }
}

const FRAME_BYTES_MAX: usize = 1024;
/// Bytes that a connection of the fuzzed settings may hold: frames that wait, four unread ones, and one reply too many.
const HELD_MAX: usize = 32 * 1024;

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
    framing: Framing,
    is_deaf: bool,
}

impl Host {
    fn new() -> Self {
        Self::over(Framing::Lines)
    }

    fn over(framing: Framing) -> Self {
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::start(Config::default(), store, Box::new(NoHooks), [7; 32], NOW).expect("memory starts");
        let config = ConnectionConfig {
            frame_bytes_max: FRAME_BYTES_MAX,
            transmit_bytes_max: 4096,
            framing,
            ..ConnectionConfig::default()
        };
        Self {
            engine,
            connection: Connection::new(Arc::new(config), None, NOW).expect("settings within their bounds"),
            asked: Vec::new(),
            told: Vec::new(),
            signs_of_life: 0,
            framing,
            is_deaf: false,
        }
    }

    /// What the client asks, and what it is told: a refusal of the connection's own may come before the next question.
    fn hear(mut self, pieces: &[&[u8]]) -> (Vec<String>, Vec<String>) {
        for piece in pieces {
            match self.framing {
                Framing::Lines => self.connection.receive(piece, NOW),
                Framing::Messages => self.connection.receive_text(piece, NOW),
            }
            self.work();
            // What had no room for its reply has it now.
            while self.send() {
                self.work();
            }
        }
        self.told.push(format!("{} signs of life, {:?}", self.signs_of_life, self.connection.should_close()));
        (self.asked, self.told)
    }

    fn work(&mut self) {
        while let Some(action) = self.connection.poll_action(NOW) {
            self.asked.push(format!("{action:?}"));
            self.act(action);
        }
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

    /// Whether there was something to send.
    fn send(&mut self) -> bool {
        let mut was_there = false;
        if self.is_deaf {
            return false;
        }
        while let Some(frame) = self.connection.poll_transmit() {
            // Signs of life overtake what waits: only their number tells.
            match String::from_utf8_lossy(frame.as_bytes()) {
                life if life.trim_end() == "{}" => self.signs_of_life += 1,
                frame => self.told.push(frame.trim_end().to_owned()),
            }
            was_there = true;
        }
        was_there
    }
}
