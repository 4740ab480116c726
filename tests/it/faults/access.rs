//! Who may hold what: tags.

use std::sync::Arc;

use switchboard::store::memory::MemoryStore;
use switchboard::{
    Config, DeviceId, Engine, Error, NoHooks, Open, Output, PeerId, SessionId, SessionRef, Tag, Timestamp, Update,
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Why each session was closed, in order.
fn closed(engine: &mut Engine) -> Vec<(SessionRef, Option<Error>)> {
    let mut closed = Vec::new();
    while let Some(output) = engine.poll_output() {
        if let Output::Deliver(deliver) = output
            && let Update::Closed { error } = &*deliver.update
        {
            closed.extend(deliver.audience.iter().map(|session| (session, error.clone())));
        }
    }
    closed
}

fn names(session: SessionRef, id: SessionId) -> bool {
    session.slot == id.slot() && session.generation == id.generation()
}

/// A device that logged in twice kept its tag in two sessions, and its former one was told nothing.
#[test]
fn row_48_a_device_that_logs_in_twice_pushes_off_its_own_former_session() {
    let store = Arc::new(MemoryStore::new());
    let mut engine = Engine::start(Config::default(), store, Box::new(NoHooks), [7; 32], NOW).unwrap();
    let login = || Open {
        device: Some(DeviceId::new("phone").unwrap()),
        tag: Some(Tag::new("mobile").unwrap()),
        ..Open::new(PeerId::new("alice").unwrap())
    };
    let (first, _) = engine.open(login(), NOW).unwrap();
    assert_eq!(closed(&mut engine), []);
    let (second, _) = engine.open(login(), NOW).unwrap();
    let told = closed(&mut engine);
    assert!(matches!(&told[..], [(session, Some(Error::SessionConflict))] if names(*session, first)), "{told:?}");
    assert_eq!(engine.metrics().open_sessions, 1);
    // One that comes back by itself yields: it pushes nobody off, the same device neither.
    let again = Open { reconnect: true, ..login() };
    assert_eq!(engine.open(again, NOW).map(drop), Err(Error::SessionConflict));
    engine.pause(second, NOW);
    assert_eq!(engine.metrics().open_sessions, 0);
}
