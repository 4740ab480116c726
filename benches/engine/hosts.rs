//! What the groups share: engines, hubs and names.

use std::hint::black_box;
use std::sync::Arc;

use switchboard::store::Store;
use switchboard::store::memory::MemoryStore;
use switchboard::{
    Clock, Config, ConversationId, Create, Engine, Hub, HubConfig, NoHooks, Open, Output, PeerId, Reply, Request,
    SessionHandle, SessionId, Shape, Ticket, Timestamp, Update,
};

/// The body of every message.
pub(crate) const BODY: usize = 256;

pub(crate) fn body() -> String {
    "x".repeat(BODY)
}

pub(crate) fn peer(n: usize) -> PeerId {
    PeerId::new(&format!("player-{n:06}")).unwrap()
}

/// The documented system without the limits that a benchmark would hit.
pub(crate) fn config() -> Config {
    Config { members_max: 0, sessions_max: 100, tell_sent: false, ..Config::default() }
}

pub(crate) fn engine_on(store: Arc<dyn Store>) -> (Engine, Timestamp) {
    let now = Clock::start().now();
    (Engine::start(config(), store, Box::new(NoHooks), [7; 32], now).unwrap(), now)
}

pub(crate) fn engine() -> (Engine, Timestamp) {
    engine_on(Arc::new(MemoryStore::new()))
}

pub(crate) fn hub() -> Hub {
    Hub::start(config(), Arc::new(MemoryStore::new()), Box::new(NoHooks), [7; 32], HubConfig::default()).unwrap()
}

/// Sessions of `count` peers on a hub, drained.
pub(crate) fn sessions(hub: &Hub, count: usize) -> Vec<SessionHandle> {
    let sessions: Vec<_> = (0..count).map(|n| hub.open(Open::new(peer(n))).unwrap().0).collect();
    sessions.iter().for_each(|session| {
        session.drain(&mut Vec::new(), usize::MAX);
    });
    sessions
}

/// A group of the peers of these sessions, made by the first.
pub(crate) fn group(sessions: &[SessionHandle]) -> ConversationId {
    let members = (0..sessions.len()).map(peer).collect();
    let ticket = sessions[0].request(Request::Create(Create::new(Shape::Group, members))).unwrap();
    let mut updates = Vec::new();
    sessions.iter().for_each(|session| {
        session.drain(&mut updates, usize::MAX);
    });
    updates.iter().find_map(|update| created(update, ticket)).unwrap()
}

/// The conversation that a reply says was made.
pub(crate) fn created(update: &Update, asked: Ticket) -> Option<ConversationId> {
    match update {
        Update::Reply { ticket, result: Ok(Reply::Created { conversation, .. }) } if *ticket == asked => {
            Some(conversation.id.clone())
        }
        _ => None,
    }
}

/// Commits, and hands every delivery to `deliver`.
pub(crate) fn drain(engine: &mut Engine, now: Timestamp, mut deliver: impl FnMut(&switchboard::Deliver)) {
    engine.commit(now).unwrap();
    while let Some(output) = engine.poll_output() {
        if let Output::Deliver(delivery) = &output {
            deliver(delivery);
        }
    }
}

/// What a polling host does: takes the sessions that have something, and drains each. Says how much there was.
pub(crate) fn drain_ready(hub: &Hub, ready: &mut Vec<SessionId>, updates: &mut Vec<Arc<Update>>) -> usize {
    hub.ready().take_into(ready);
    let mut count = 0;
    for session in ready.drain(..) {
        hub.drain(session, updates, 8);
        count += black_box(&*updates).len();
        updates.clear();
    }
    count
}
