//! A hub that lives badly, on a clock that the fuzzer moves: narrow outboxes, a store that fills up, ends and restarts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::hub::{Commits, Hub, HubClock, HubConfig, ManualClock, SessionHandle};
use crate::store::faulty::{Failure, Faults, FaultyStore, Operation};
use crate::store::{Durability, Store};
use crate::{
    Config, ConversationId, DeviceId, Error, Event, Message, NoHooks, Open, Page, Reply, Request, Ticket, Timestamp,
    Update,
};

use super::Choices;
use super::client::Client;
use super::ledger::Ledger;
use super::sessions::{Asker, PEERS, peer, peers};

const PATIENCE: Duration = Duration::from_secs(10);

/// Each few bytes are one call.
pub fn hubs(data: &[u8]) {
    let mut house = House::new();
    let mut choices = Choices(data);
    for _ in 0..128 {
        if choices.is_empty() {
            break;
        }
        house.step(&mut choices);
    }
    house.restart(Commits::Inline);
    house.check_logs();
}

/// One open session of a hub.
struct Guest {
    handle: SessionHandle,
    /// What it heard: each message once, and in order.
    client: Client,
}

struct House {
    hub: Hub,
    clock: ManualClock,
    faults: Faults,
    guests: Vec<Guest>,
    asker: Asker,
    ledger: Ledger,
}

fn start(store: FaultyStore, clock: &ManualClock, commits: Commits) -> Hub {
    let settings = HubConfig {
        outbox_events_max: 8,
        replies_max: 16,
        commits,
        clock: HubClock::Manual(clock.clone()),
        ..HubConfig::default()
    };
    let config = Config { offline_messages_max: 5, members_max: 3, sessions_max: 3, ..Config::default() };
    let store: Arc<dyn Store> = Arc::new(store);
    Hub::start(config, store, Box::new(NoHooks), [7; 32], settings).expect("what the engine wrote it can read")
}

impl House {
    fn new() -> Self {
        let (store, clock) =
            (FaultyStore::new(Durability::Fsync), ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let faults = store.faults();
        let hub = start(store, &clock, Commits::Inline);
        Self { hub, clock, faults, guests: Vec::new(), asker: Asker::default(), ledger: Ledger::default() }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(16) {
            0 | 1 => self.open(choices),
            2 => {
                // A lost connection.
                if let Some(at) = self.guest(choices) {
                    drop(self.guests.swap_remove(at));
                }
            }
            3 => self.pass_time(choices),
            4..=7 => self.read(choices),
            8 => match choices.below(6) {
                0 => self.faults.set_full(true),
                1 => self.faults.set_full(false),
                2 => self.faults.fail_next(1, Failure::MaybeAndStored),
                3 => self.faults.panic_next(Operation::Apply, 1 + choices.below(2)),
                4 => self.faults.panic_next(Operation::Scan, 1),
                _ => self.faults.fail_next(1, Failure::MaybeAndNot),
            },
            9 if choices.below(4) == 0 => {
                let commits = if choices.below(2) == 0 { Commits::Threaded } else { Commits::Inline };
                self.restart(commits);
                self.check_logs();
            }
            _ => self.ask(choices),
        }
    }

    /// The clock goes on, or a call bears a time that is long past.
    fn pass_time(&mut self, choices: &mut Choices<'_>) {
        let span = Duration::from_millis(1 << choices.below(24));
        if choices.below(4) > 0 {
            self.clock.advance(span);
        } else {
            let told = self.hub.with_engine(|engine, now| engine.handle_timeout(now - span));
            told.expect("the hub is there");
        }
    }

    fn guest(&self, choices: &mut Choices<'_>) -> Option<usize> {
        (!self.guests.is_empty()).then(|| choices.below(self.guests.len()))
    }

    fn open(&mut self, choices: &mut Choices<'_>) {
        let mut open = Open::new(peer(choices.below(PEERS)));
        open.device = (choices.below(3) > 0).then(|| DeviceId::new(["a", "b"][choices.below(2)]).expect("a legal id"));
        open.watch = peers(choices);
        let peer = open.peer.clone();
        if let Ok((handle, _)) = self.hub.open(open) {
            let client = Client::new(handle.id(), peer, usize::MAX);
            self.guests.push(Guest { handle, client });
        }
    }

    fn ask(&mut self, choices: &mut Choices<'_>) {
        let Some(at) = self.guest(choices) else { return };
        let seen = self.guests.iter().flat_map(|guest| &guest.client.seen).copied().collect();
        let Some(mut request) = self.asker.request(choices, seen) else { return };
        if let Request::Send(draft) = &mut request
            && !draft.transient
        {
            draft.retry_token = Ledger::retry_token(choices);
        }
        // A refusal is an answer too.
        let _: Result<Ticket, Error> = self.guests[at].handle.request(request);
    }

    fn read(&mut self, choices: &mut Choices<'_>) {
        let Some(at) = self.guest(choices) else { return };
        let max = [1, 4, usize::MAX][choices.below(3)];
        self.drain(at, max);
    }

    fn drain(&mut self, at: usize, max: usize) {
        let guest = &mut self.guests[at];
        let mut updates = Vec::new();
        guest.handle.drain(&mut updates, max);
        for update in &updates {
            guest.client.hear(update);
            match &**update {
                Update::Message { message, .. } => self.ledger.note(message),
                Update::Reply { result: Ok(Reply::Accepted(accepted)), .. } => self.ledger.accept(accepted),
                Update::Reply { result: Ok(Reply::Created { conversation, existing: false }), .. } => {
                    self.ledger.create(conversation);
                    self.asker.conversations.push(conversation.id.clone());
                }
                _ => {}
            }
        }
    }

    /// The hub is shut down; what its outboxes still hold was told as well. Another starts on what the store has.
    fn restart(&mut self, commits: Commits) {
        self.faults.set_full(false);
        for operation in [Operation::Apply, Operation::Scan] {
            self.faults.panic_next(operation, 0);
        }
        // A failed commit is tried again when its time has come.
        self.clock.advance(Duration::from_secs(2));
        drop(self.hub.shut_down(Duration::from_millis(200)));
        (0..self.guests.len()).for_each(|at| self.drain(at, usize::MAX));
        self.guests.clear();
        let store = self.faults.restart();
        self.faults = store.faults();
        self.hub = start(store, &self.clock, commits);
    }

    fn check_logs(&self) {
        let mut pages: BTreeMap<Ticket, ConversationId> = BTreeMap::new();
        for id in self.ledger.conversations() {
            let asked = self.hub.with_engine(|engine, now| engine.history_of(&id, Page::oldest(1_000), now));
            let asked = asked.and_then(|asked| asked);
            pages.insert(asked.expect("what was told of is there"), id);
        }
        while !pages.is_empty() {
            let event = self.hub.events().recv_timeout(PATIENCE).expect("every question is answered");
            let Event::Answered { ticket, result } = event else { continue };
            let (Some(id), Ok(Reply::History { messages, .. })) = (pages.remove(&ticket), result) else {
                panic!("no history");
            };
            let messages: Vec<Arc<Message>> = messages;
            self.ledger.check(&id, &messages);
        }
    }
}
