//! A host with transports: connections and an engine together, as the documentation of `connection` says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use switchboard::store::memory::MemoryStore;
use switchboard::{
    Action, Config, Connection, ConnectionConfig, Engine, NoHooks, Output, SessionId, SessionRef, Timestamp,
};

use crate::world::START;

/// An engine behind numbered transports.
pub(crate) struct Wired {
    pub(crate) engine: Engine,
    settings: Arc<ConnectionConfig>,
    pub(crate) connections: Vec<Connection>,
    /// Which connection a session is on.
    places: BTreeMap<(u32, u32), (usize, SessionId)>,
    pub(crate) now: Timestamp,
    /// What each transport was sent.
    sent: Vec<Vec<String>>,
    /// With which code each transport was closed, and how often.
    pub(crate) closed: Vec<Vec<u16>>,
}

impl Wired {
    pub(crate) fn new(config: Config, settings: ConnectionConfig) -> Self {
        let store = Arc::new(MemoryStore::new());
        let engine = Engine::start(config, store, Box::new(NoHooks), [7; 32], START).unwrap();
        Self {
            engine,
            settings: Arc::new(settings),
            connections: Vec::new(),
            places: BTreeMap::new(),
            now: START,
            sent: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// A transport connects.
    pub(crate) fn connect(&mut self) -> usize {
        self.connections.push(Connection::new(Arc::clone(&self.settings), None, self.now).unwrap());
        self.sent.push(Vec::new());
        self.closed.push(Vec::new());
        self.connections.len() - 1
    }

    /// A transport brings bytes; what everyone is sent is in [`sent`](Self::sent).
    pub(crate) fn bytes(&mut self, at: usize, bytes: &[u8]) {
        self.connections[at].receive(bytes, self.now);
        self.work();
    }

    /// A line, and what its own transport is sent for it.
    pub(crate) fn line(&mut self, at: usize, line: &str) -> Vec<String> {
        self.bytes(at, format!("{line}\n").as_bytes());
        self.sent(at)
    }

    pub(crate) fn open(&mut self, at: usize, peer: &str) -> Vec<String> {
        self.line(at, &format!(r#"{{"cmd":"session","op":"open","peerId":"{peer}"}}"#))
    }

    pub(crate) fn sent(&mut self, at: usize) -> Vec<String> {
        std::mem::take(&mut self.sent[at])
    }

    /// Moves the clock to just this time, with all that is due then.
    pub(crate) fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
        self.engine.handle_timeout(self.now);
        let now = self.now;
        self.connections.iter_mut().for_each(|connection| connection.handle_timeout(now));
        self.work();
    }

    /// The transport breaks.
    pub(crate) fn lose(&mut self, at: usize) {
        for session in self.connections[at].lost() {
            self.engine.pause(session, self.now);
        }
        self.work();
    }

    /// Actions, outputs and frames, until nothing is left to do.
    pub(crate) fn work(&mut self) {
        for at in 0..self.connections.len() {
            while let Some(action) = self.connections[at].poll_action(self.now) {
                self.act(at, action);
                self.deliver();
            }
        }
        self.deliver();
        for at in 0..self.connections.len() {
            self.flush(at);
        }
        self.deliver();
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Open { key, open } => {
                let opened = self.engine.open(open, self.now);
                if let Ok((session, _)) = &opened {
                    self.places.insert((session.slot(), session.generation()), (at, *session));
                }
                self.connections[at].opened(key, opened, self.now);
            }
            Action::Request { key, session, request } => {
                let answer = self.engine.request(session, request, self.now);
                self.connections[at].answered(key, answer, self.now);
            }
            Action::Pause { session } => self.engine.pause(session, self.now),
        }
    }

    fn deliver(&mut self) {
        self.engine.commit(self.now).unwrap();
        while let Some(output) = self.engine.poll_output() {
            let Output::Deliver(deliver) = output else { continue };
            for SessionRef { slot, generation } in deliver.audience.iter() {
                if let Some((at, session)) = self.places.get(&(slot, generation)) {
                    self.connections[*at].update(*session, &deliver.update, self.now);
                }
            }
        }
    }

    fn flush(&mut self, at: usize) {
        while let Some(frame) = self.connections[at].poll_transmit() {
            self.sent[at].push(String::from_utf8(frame.as_bytes().to_vec()).unwrap().trim_end().to_owned());
        }
        if let Some(code) = self.connections[at].should_close().filter(|_| self.closed[at].is_empty()) {
            self.closed[at].push(code);
            self.lose(at);
        }
    }
}

impl Default for Wired {
    fn default() -> Self {
        Self::new(Config::default(), ConnectionConfig::default())
    }
}

/// The code of an error frame.
pub(crate) fn code(frames: &[String]) -> Option<u64> {
    frames.iter().find_map(|frame| {
        let frame: serde_json::Value = serde_json::from_str(frame).unwrap();
        frame.get("code")?.as_u64()
    })
}
