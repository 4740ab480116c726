//! A host with transports: connections and an engine together, as the documentation of `connection` says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use switchboard::store::memory::MemoryStore;
use switchboard::{
    Action, Config, Connection, ConnectionConfig, DrainState, Engine, Framing, Hub, HubConfig, NoHooks, Output,
    SessionId, SessionRef, Timestamp, Update,
};

use crate::world::START;

/// How transports bring frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Input {
    /// A byte stream, a frame a line.
    Stream,
    /// Text messages.
    Text,
    /// Binary messages, which the first generation's frames are not.
    Binary,
}

impl Input {
    /// Those whose frames can be read.
    pub(crate) const READABLE: [Self; 2] = [Self::Stream, Self::Text];
    pub(crate) const ALL: [Self; 3] = [Self::Stream, Self::Text, Self::Binary];
}

/// An engine behind numbered transports.
pub(crate) struct Wired {
    pub(crate) engine: Engine,
    input: Input,
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
        let input = if settings.framing == Framing::Lines { Input::Stream } else { Input::Text };
        Self {
            engine,
            input,
            settings: Arc::new(settings),
            connections: Vec::new(),
            places: BTreeMap::new(),
            now: START,
            sent: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// A host of the default settings, whose transports bring frames like this.
    pub(crate) fn over(input: Input) -> Self {
        let framing = if input == Input::Stream { Framing::Lines } else { Framing::Messages };
        let settings = ConnectionConfig { framing, ..ConnectionConfig::default() };
        Self { input, ..Self::new(Config::default(), settings) }
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

    /// A frame, and what its own transport is sent for it.
    pub(crate) fn line(&mut self, at: usize, line: &str) -> Vec<String> {
        self.frame(at, line.as_bytes())
    }

    /// The same, for bytes that may be no text.
    pub(crate) fn frame(&mut self, at: usize, frame: &[u8]) -> Vec<String> {
        let (connection, now) = (&mut self.connections[at], self.now);
        match self.input {
            Input::Stream => connection.receive(&[frame, b"\n"].concat(), now),
            Input::Text => connection.receive_text(frame, now),
            Input::Binary => connection.receive_binary(frame, now),
        }
        self.work();
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
        while self.work_once() {}
    }

    /// Whether anything was sent: there may be room for more then.
    fn work_once(&mut self) -> bool {
        for at in 0..self.connections.len() {
            while let Some(action) = self.connections[at].poll_action(self.now) {
                self.act(at, action);
                self.deliver();
            }
        }
        self.deliver();
        let sent = (0..self.connections.len()).filter(|at| self.flush(*at)).count();
        self.deliver();
        sent > 0
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

    fn flush(&mut self, at: usize) -> bool {
        let before = self.sent[at].len();
        while let Some(frame) = self.connections[at].poll_transmit() {
            self.sent[at].push(String::from_utf8(frame.as_bytes().to_vec()).unwrap().trim_end().to_owned());
        }
        if let Some(code) = self.connections[at].should_close().filter(|_| self.closed[at].is_empty()) {
            self.closed[at].push(code);
            self.lose(at);
        }
        self.sent[at].len() > before
    }
}

impl Default for Wired {
    fn default() -> Self {
        Self::new(Config::default(), ConnectionConfig::default())
    }
}

/// A hub behind numbered transports: a host that takes from outboxes what its connections have room for.
pub(crate) struct Listener {
    pub(crate) hub: Hub,
    settings: Arc<ConnectionConfig>,
    pub(crate) connections: Vec<Connection>,
    /// Which connection a session is on.
    places: BTreeMap<SessionId, usize>,
    /// Sessions with something in their outbox.
    ready: Vec<SessionId>,
}

impl Listener {
    pub(crate) fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let hub = Hub::start(Config::default(), store, Box::new(NoHooks), [7; 32], HubConfig::default()).unwrap();
        let settings = Arc::new(ConnectionConfig::default());
        Self { hub, settings, connections: Vec::new(), places: BTreeMap::new(), ready: Vec::new() }
    }

    /// A transport connects, and a peer opens its session on it.
    pub(crate) fn connect(&mut self, peer: &str) -> usize {
        self.connections.push(Connection::new(Arc::clone(&self.settings), None, self.hub.now()).unwrap());
        let at = self.connections.len() - 1;
        assert!(self.hear(at, &format!(r#"{{"cmd":"session","op":"open","peerId":"{peer}"}}"#)));
        at
    }

    /// A transport brings a line, where its connection wants any.
    pub(crate) fn hear(&mut self, at: usize, line: &str) -> bool {
        if self.connections[at].is_congested() {
            return false;
        }
        self.connections[at].receive(format!("{line}\n").as_bytes(), self.hub.now());
        self.work(at);
        true
    }

    /// A transport takes all that its connection has for it.
    pub(crate) fn read(&mut self, at: usize) -> Vec<String> {
        let mut read = Vec::new();
        while let Some(frame) = self.connections[at].poll_transmit() {
            read.push(String::from_utf8(frame.into_bytes()).unwrap().trim_end().to_owned());
            self.work(at);
        }
        read
    }

    fn work(&mut self, at: usize) {
        while let Some(action) = self.connections[at].poll_action(self.hub.now()) {
            self.act(at, action);
        }
        self.drain();
    }

    fn act(&mut self, at: usize, action: Action) {
        let now = self.hub.now();
        match action {
            Action::Open { key, open } => {
                let opened = self.hub.open(open).map(|(session, ticket)| (session.into_id(), ticket));
                self.places.extend(opened.as_ref().ok().map(|(session, _)| (*session, at)));
                self.connections[at].opened(key, opened, now);
            }
            Action::Request { key, session, request } => {
                self.connections[at].answered(key, self.hub.request(session, request), now);
            }
            Action::Pause { session } => self.hub.pause(session),
        }
    }

    /// Takes from the outboxes what there is room for.
    pub(crate) fn drain(&mut self) {
        self.ready.extend(self.hub.try_ready());
        for session in std::mem::take(&mut self.ready) {
            let connection = &mut self.connections[self.places[&session]];
            let (mut updates, mut state) = (Vec::new(), DrainState::More);
            while state == DrainState::More && connection.room() > 0 {
                state = self.hub.drain(session, &mut updates, connection.room());
                updates.drain(..).for_each(|update| connection.update(session, &update, self.hub.now()));
            }
            self.ready.extend((state == DrainState::More).then_some(session));
        }
    }

    /// What waits in the outboxes of a connection's sessions.
    pub(crate) fn waiting(&mut self, at: usize) -> Vec<Arc<Update>> {
        let mut updates = Vec::new();
        for session in self.connections[at].sessions() {
            self.hub.drain(session, &mut updates, usize::MAX);
        }
        updates
    }
}

/// The code of an error frame.
pub(crate) fn code(frames: &[String]) -> Option<u64> {
    frames.iter().find_map(|frame| {
        let frame: serde_json::Value = serde_json::from_str(frame).unwrap();
        frame.get("code")?.as_u64()
    })
}
