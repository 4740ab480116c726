//! A hub with its threads on a store that fails when a test says so, in time that the test moves. What waits for a thread
//! waits in real time, and no longer than [`PATIENCE`].
#![expect(clippy::disallowed_methods, reason = "real threads are waited for in real time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use switchboard::hub::{HubClock, ManualClock};
use switchboard::store::faulty::{Faults, FaultyStore};
use switchboard::store::{Durability, Store};
use switchboard::{
    Config, Error, Event, Hub, HubConfig, NoHooks, Open, Reply, Request, SessionHandle, Ticket, Timestamp, Update,
};

use crate::world::{START, peer};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A hub on a store that fails when the test says so.
pub(crate) struct House {
    pub(crate) hub: Hub,
    pub(crate) clock: ManualClock,
    pub(crate) faults: Faults,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::on(FaultyStore::new(Durability::Fsync), START)
    }

    pub(crate) fn on(store: FaultyStore, at: Timestamp) -> Self {
        let (faults, clock) = (store.faults(), ManualClock::new(at));
        let settings = HubConfig {
            clock: HubClock::Manual(clock.clone()),
            replies_max: 60_000,
            reply_bytes_max: 1 << 29,
            ..HubConfig::default()
        };
        Self { hub: start(Arc::new(store), settings), clock, faults }
    }

    pub(crate) fn told(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if self.hub.events().recv_timeout(PATIENCE).is_ok_and(|event| wanted(&event)) {
                return true;
            }
        }
        false
    }

    /// A second hub on what the store of this one holds after the process has ended.
    pub(crate) fn next(self) -> Self {
        let (store, at) = (self.faults.restart(), self.clock.now());
        drop(self.hub);
        Self::on(store, at)
    }
}

pub(crate) fn start(store: Arc<dyn Store>, settings: HubConfig) -> Hub {
    let config = Config { tell_sent: false, ..Config::default() };
    Hub::start(config, store, Box::new(NoHooks), [7; 32], settings).unwrap()
}

pub(crate) fn open(hub: &Hub, name: &str) -> SessionHandle {
    let (session, ticket) = hub.open(Open::new(peer(name))).unwrap();
    assert!(matches!(answer(&session, ticket), Ok(Reply::Opened(_))));
    session
}

pub(crate) fn wait_for<T>(session: &SessionHandle, mut pick: impl FnMut(&Update) -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        let update = session.recv_timeout(PATIENCE).expect("something is told");
        if let Some(found) = pick(&update) {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "what is waited for never comes");
    }
}

pub(crate) fn answer(session: &SessionHandle, asked: Ticket) -> Result<Reply, Error> {
    wait_for(session, |update| match update {
        Update::Reply { ticket, result } if *ticket == asked => Some(result.clone()),
        _ => None,
    })
}

pub(crate) fn ask(session: &SessionHandle, request: Request) -> Result<Reply, Error> {
    answer(session, session.request(request)?)
}

pub(crate) fn text(update: &Update) -> Option<String> {
    match update {
        Update::Message { message, .. } => message.content.as_text().map(str::to_owned),
        _ => None,
    }
}

pub(crate) fn read(session: &SessionHandle) -> Vec<Arc<Update>> {
    let mut out = Vec::new();
    session.drain(&mut out, usize::MAX);
    out
}
