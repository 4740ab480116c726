//! Engines that live badly: stores that fail and panic, processes that end, hooks with any answer, clocks that go back, outboxes that
//! are too narrow. Whatever happens, what anyone was told is there after a restart, under the number that it had.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::store::faulty::{Failure, Faults, FaultyStore, Operation};
use crate::store::{Durability, Store};
use crate::{
    Commit, Config, ConversationId, DeviceId, Engine, Error, Event, NoHooks, Open, Output, Page, Read, Reply, Request,
    SessionId, SessionRef, StartError, Ticket, Timestamp, Update,
};

use super::Choices;
use super::client::Client;
use super::ledger::Ledger;
use super::moods::{MoodyHooks, Script};
use super::sessions::{Asker, PEERS, peer, peers};

/// What goes wrong beside what clients do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Stores,
    Hooks,
}

/// Stores that fail and processes that end, at any moment; clocks that go back.
pub fn restarts(data: &[u8]) {
    Storm::new(Trouble::Stores).live(data);
}

/// Hooks that drop, change, narrow, wait, panic and answer nonsense, with restarts in between.
pub fn hooks(data: &[u8]) {
    Storm::new(Trouble::Hooks).live(data);
}

struct Storm {
    trouble: Trouble,
    engine: Engine,
    faults: Faults,
    script: Script,
    now: Timestamp,
    clients: BTreeMap<SessionRef, Client>,
    asker: Asker,
    /// Whether each step ends with a commit.
    commits: bool,
    writing: Option<Commit>,
    reading: Vec<Read>,
    ledger: Ledger,
    pages: BTreeMap<Ticket, ConversationId>,
    /// Reads that failed and that the host was not told of.
    failed_reads: u64,
    /// Whether the host was told that the store takes no writes, and not yet that it does again.
    store_failed: bool,
}

fn config() -> Config {
    Config {
        offline_messages_max: 5,
        members_max: 3,
        groups_max: 4,
        sessions_max: 3,
        parked_max: 6,
        retry_tokens_max: 3,
        chunk_bytes_max: 256,
        batch_rows_max: 8,
        ..Config::default()
    }
}

fn try_start(trouble: Trouble, store: FaultyStore, script: &Script, now: Timestamp) -> Result<Engine, StartError> {
    let store: Arc<dyn Store> = Arc::new(store);
    match trouble {
        Trouble::Stores => Engine::start(config(), store, Box::new(NoHooks), [7; 32], now),
        Trouble::Hooks => Engine::start(config(), store, Box::new(MoodyHooks(script.clone())), [7; 32], now),
    }
}

fn start(trouble: Trouble, store: FaultyStore, script: &Script, now: Timestamp) -> Engine {
    try_start(trouble, store, script, now).expect("what the engine wrote it can read")
}

impl Storm {
    fn new(trouble: Trouble) -> Self {
        let (store, script, now) =
            (FaultyStore::new(Durability::Fsync), Script::default(), Timestamp::from_millis(1_700_000_000_000));
        let faults = store.faults();
        Self {
            trouble,
            engine: start(trouble, store, &script, now),
            faults,
            script,
            now,
            clients: BTreeMap::new(),
            asker: Asker::default(),
            commits: true,
            writing: None,
            reading: Vec::new(),
            ledger: Ledger::default(),
            pages: BTreeMap::new(),
            failed_reads: 0,
            store_failed: false,
        }
    }

    fn live(mut self, data: &[u8]) {
        let mut choices = Choices(data);
        for _ in 0..256 {
            if choices.is_empty() {
                break;
            }
            self.step(&mut choices);
            if self.commits && self.writing.is_none() {
                self.commit();
            }
            self.look();
        }
        self.restart(0);
        self.check_logs();
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(24) {
            0..=2 => self.open(choices),
            3 => {
                if let Some(session) = self.session(choices) {
                    self.engine.pause(session, self.now);
                    self.clients.retain(|_, client| client.id != session);
                }
            }
            4 => self.pass_time(choices),
            5 => self.read_on(choices),
            6 if self.trouble == Trouble::Hooks => self.script.choose(choices),
            7 if self.trouble == Trouble::Hooks => {
                let (engine, now) = (&mut self.engine, self.now);
                self.script.resolve(choices, |ticket, resolution| engine.resolve(ticket, resolution, now).is_ok());
            }
            6 | 7 => self.trouble_the_store(choices),
            8 => self.write(),
            9 => self.read(choices),
            10 => {
                self.restart(choices.byte());
                self.check_logs();
            }
            _ => {
                let Some(session) = self.session(choices) else { return };
                let seen = self.clients.values().flat_map(|client| &client.seen).copied().collect();
                let Some(mut request) = self.asker.request(choices, seen) else { return };
                if let Request::Send(draft) = &mut request
                    && !draft.transient
                {
                    draft.retry_token = Ledger::retry_token(choices);
                }
                // A refusal is an answer too.
                let _: Result<Ticket, Error> = self.engine.request(session, request, self.now);
            }
        }
    }

    fn open(&mut self, choices: &mut Choices<'_>) {
        let mut open = Open::new(peer(choices.below(PEERS)));
        open.device = (choices.below(3) > 0).then(|| DeviceId::new(["a", "b"][choices.below(2)]).expect("a legal id"));
        open.watch = peers(choices);
        let room = [usize::MAX, usize::MAX, 3, 8][choices.below(4)];
        let peer = open.peer.clone();
        if let Ok((id, _)) = self.engine.open(open, self.now) {
            self.clients.insert(reference(id), Client::new(id, peer, room));
        }
    }

    fn session(&self, choices: &mut Choices<'_>) -> Option<SessionId> {
        self.clients.values().nth(choices.below(self.clients.len())).map(|client| client.id)
    }

    /// Ahead or back; the engine's time only goes on.
    fn pass_time(&mut self, choices: &mut Choices<'_>) {
        let span = Duration::from_millis(1 << choices.below(30));
        match choices.below(4) {
            0 => self.now = self.now - span,
            1 => self.engine.confirm_time(),
            _ => self.now = self.now + span,
        }
        self.engine.handle_timeout(self.now);
    }

    fn trouble_the_store(&mut self, choices: &mut Choices<'_>) {
        match choices.below(9) {
            0 => self.faults.fail_next(1 + choices.below(3), Failure::NotStored),
            1 => self.faults.fail_next(1 + choices.below(3), Failure::MaybeAndNot),
            2 => self.faults.fail_next(1 + choices.below(3), Failure::MaybeAndStored),
            3 => self.faults.set_full(true),
            4 => self.faults.set_full(false),
            5 => self.faults.panic_next(Operation::Apply, 1 + choices.below(3)),
            6 => self.faults.panic_next(Operation::Scan, 1 + choices.below(3)),
            7 => self.faults.panic_next(Operation::Get, 1 + choices.below(3)),
            _ => self.commits = !self.commits,
        }
    }

    /// A batch leaves for the store, or comes back.
    fn write(&mut self) {
        match self.writing.take() {
            Some(commit) => self.engine.finish_commit(commit.run(), self.now),
            None => self.writing = self.engine.begin_commit(),
        }
    }

    fn read(&mut self, choices: &mut Choices<'_>) {
        self.reading.extend(self.engine.begin_read());
        if choices.below(2) == 0 && !self.reading.is_empty() {
            let read = self.reading.swap_remove(choices.below(self.reading.len()));
            self.finish_read(read);
        }
    }

    fn finish_read(&mut self, read: Read) {
        let done = read.run();
        self.failed_reads += u64::from(done.error().is_some());
        self.engine.finish_read(done, self.now);
    }

    /// Writes and reads all that waits, up to a write that fails; whether none did. A store that fails is tried again with the
    /// next step.
    fn commit(&mut self) -> bool {
        loop {
            let (commit, read) = (self.engine.begin_commit(), self.engine.begin_read());
            if commit.is_none() && read.is_none() {
                return true;
            }
            let committed = commit.map(Commit::run);
            let failed = committed.as_ref().is_some_and(|committed| committed.error().is_some());
            if let Some(committed) = committed {
                self.engine.finish_commit(committed, self.now);
            }
            if let Some(read) = read {
                self.finish_read(read);
            }
            if failed {
                return false;
            }
        }
    }

    /// A client reads its outbox, and the engine hears that there is room.
    fn read_on(&mut self, choices: &mut Choices<'_>) {
        let Some(session) = self.session(choices) else { return };
        if let Some(room) = self.take_outbox(reference(session)) {
            self.engine.drained(session, room, self.now);
        }
    }

    /// The process ends, told or not, and another starts on what the store has.
    fn restart(&mut self, how: u8) {
        if how.is_multiple_of(4) {
            self.engine.shut_down(self.now);
            self.write_all();
            self.look();
        }
        // What a write under way does to the store nobody hears any more.
        let written = self.writing.take().filter(|_| how % 4 == 1).map(Commit::run);
        drop(written);
        let mut store = if how % 4 == 2 { self.faults.power_cut(u64::from(how)) } else { self.faults.restart() };
        self.faults = store.faults();
        if how & 64 != 0 {
            self.faults.panic_next(Operation::Scan, 1);
            let started = try_start(self.trouble, store, &self.script, self.now);
            assert!(started.is_err(), "nobody starts on a store that cannot be read");
            store = self.faults.restart();
            self.faults = store.faults();
        }
        (self.failed_reads, self.store_failed) = (0, false);
        self.reading.clear();
        self.clients.clear();
        self.pages.clear();
        self.script.forget();
        self.engine = start(self.trouble, store, &self.script, self.now);
        self.commits = true;
    }

    fn write_all(&mut self) {
        self.faults.set_full(false);
        for operation in [Operation::Apply, Operation::Scan, Operation::Get] {
            self.faults.panic_next(operation, 0);
        }
        if let Some(commit) = self.writing.take() {
            self.engine.finish_commit(commit.run(), self.now);
        }
        for read in std::mem::take(&mut self.reading) {
            self.finish_read(read);
        }
        for _ in 0..1_024 {
            if self.commit() {
                return;
            }
        }
        panic!("a store that works again takes what waits");
    }

    /// What is told is right.
    fn look(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Deliver(deliver) => {
                    for to in deliver.audience.iter() {
                        let overflow =
                            self.clients.get_mut(&to).and_then(|held| held.offer(&deliver.update, deliver.class));
                        if let (Some(position), Some(client)) = (overflow, self.clients.get(&to)) {
                            self.engine.overflowed(client.id, position, self.now);
                        }
                        if self.clients.get(&to).is_some_and(Client::reads_at_once) {
                            self.take_outbox(to);
                        }
                    }
                }
                Output::Live { session, catch_up } => {
                    if let Some(client) = self.clients.get_mut(&reference(session)) {
                        client.go_live(catch_up);
                    }
                }
                Output::Close { session } => drop(self.clients.remove(&reference(session))),
                Output::Event(Event::Answered { ticket, result }) => self.hear_page(ticket, result),
                Output::Event(Event::RecordDamaged { .. }) => panic!("{output:?}"),
                Output::Event(event) => self.hear_event(&event),
                Output::Push(_) => {}
            }
        }
        assert_eq!(self.failed_reads, 0, "each read that fails is told");
    }

    /// The host hears of each call of the store that failed, and once that it takes no writes until it does again.
    fn hear_event(&mut self, event: &Event) {
        match event {
            Event::StoreCallFailed { call: "read", .. } => self.failed_reads -= 1,
            Event::StoreFailed { .. } => assert!(!std::mem::replace(&mut self.store_failed, true), "told twice"),
            Event::StoreRecovered => assert!(std::mem::replace(&mut self.store_failed, false), "it had not failed"),
            _ => {}
        }
    }

    fn take_outbox(&mut self, at: SessionRef) -> Option<usize> {
        let client = self.clients.get_mut(&at)?;
        let ((updates, room), peer) = (client.read(), client.peer.clone());
        for update in updates {
            match &*update {
                Update::Message { message, .. } => {
                    let text = message.content.as_text().unwrap_or_default();
                    let may = self.script.may_hear(text, &message.from, &peer);
                    assert!(may, "{peer} hears {text:?}");
                    self.ledger.note(message);
                }
                Update::Reply { result: Ok(reply), .. } => self.hear_reply(reply),
                _ => {}
            }
        }
        room
    }

    fn hear_reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Accepted(accepted) => self.ledger.accept(accepted),
            Reply::Created { conversation, existing: false } => {
                self.ledger.create(conversation);
                self.asker.conversations.push(conversation.id.clone());
            }
            _ => {}
        }
    }

    /// Every log is asked for, and compared with what anybody was ever told.
    fn check_logs(&mut self) {
        for id in self.ledger.conversations() {
            let ticket = self.engine.history_of(&id, Page::oldest(1_000), self.now).expect("what was told of is there");
            self.pages.insert(ticket, id);
        }
        self.write_all();
        self.look();
        assert!(self.pages.is_empty(), "every question is answered: {:?}", self.pages);
    }

    fn hear_page(&mut self, ticket: Ticket, result: Result<Reply, Error>) {
        let Some(id) = self.pages.remove(&ticket) else { return };
        let Ok(Reply::History { messages, .. }) = result else { panic!("no history of {id}: {result:?}") };
        self.ledger.check(&id, &messages);
    }
}

fn reference(id: SessionId) -> SessionRef {
    SessionRef { slot: id.slot(), generation: id.generation() }
}
