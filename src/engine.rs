//! The machine: the verbs join the nouns.
//!
//! Every verb has four steps in this order: *check* (an error, and nothing has happened), *decide* (filter and hooks; an
//! error, and nothing has happened), *stage* (the writes, then memory; cannot fail) and *emit* (outputs; cannot fail).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use rustc_hash::FxHashSet;

use crate::config::{Config, ConfigError};
use crate::conversation::Conversations;
use crate::error::Error;
use crate::filter::WordFilter;
use crate::gate::Gate;
use crate::hooks::{Answer, Hooks, NoHooks};
use crate::id::{MessageId, SessionId, Ticket};
use crate::output::{Audience, Class, Deliver, Event, HookFault, Output, Reply, SessionRef, Update};
use crate::peer::Peers;
use crate::recent::Recent;
use crate::request::Request;
use crate::retry::RetryTokens;
use crate::session::Sessions;
use crate::signature::{KeyError, Keys, Nonces, Verifier};
use crate::store::guarded::Guarded;
use crate::store::{Store, StoreError};
use crate::table::Keying;
use crate::time::Timestamp;
use crate::timers::{Timer, Timers};

mod alarms;
mod catch_up;
mod commit;
mod conversations;
mod expire;
mod history;
mod host;
mod load;
mod members;
mod open;
mod park;
mod read;
mod receipts;
mod send;
mod watch;

pub use alarms::Metrics;
pub use commit::{Commit, Committed};
pub use read::{Read, ReadDone};

/// Why an engine cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A master key or the application's id cannot sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who asks, and where the answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Actor {
    peer: u32,
    /// The asking session; `None` for the host.
    session: Option<SessionRef>,
    ticket: Ticket,
}

/// A reply that waits for the store.
#[derive(Debug)]
struct Gated {
    until: Timestamp,
    commit: u64,
    actor: Actor,
}

/// A messaging engine: a deterministic machine without clock, threads or sockets.
///
/// Methods take `&mut self` and the time, return the reply or a [`Ticket`] for one, and queue [`Output`]s. The same calls with
/// the same seed give the same outputs, byte for byte. [`Hub`](crate::Hub) is the face for many threads.
///
/// ```
/// use std::sync::Arc;
/// use switchboard::store::memory::MemoryStore;
/// use switchboard::{Config, Draft, Engine, NoHooks, Open, Output, PeerId, Request, Timestamp, Update};
///
/// let now = Timestamp::from_millis(1_700_000_000_000);
/// let mut engine = Engine::start(Config::default(), Arc::new(MemoryStore::new()), Box::new(NoHooks), [7; 32], now)?;
/// let (tom, _) = engine.open(Open::new(PeerId::new("Tom")?), now)?;
/// let (_jerry, _) = engine.open(Open::new(PeerId::new("Jerry")?), now)?;
/// engine.request(tom, Request::Send(Draft::to_peer(PeerId::new("Jerry")?, "up!")), now)?;
/// engine.commit(now)?;
/// let mut heard = 0;
/// while let Some(output) = engine.poll_output() {
///     if let Output::Deliver(deliver) = output
///         && let Update::Message { message, .. } = &*deliver.update
///     {
///         assert_eq!(message.content.as_text(), Some("up!"));
///         heard += deliver.audience.iter().count();
///     }
/// }
/// assert_eq!(heard, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Engine {
    config: Config,
    store: Arc<dyn Store>,
    hooks: Box<dyn Hooks>,
    random: ChaCha20Rng,
    now: Timestamp,
    /// Whether time jumped ahead and the host has not said that it is right.
    time_in_doubt: bool,
    peers: Peers,
    sessions: Sessions,
    conversations: Conversations,
    gate: Gate,
    timers: Timers,
    verifier: Option<Verifier>,
    nonces: Nonces,
    retry_tokens: RetryTokens,
    recent: Recent,
    filter: Option<WordFilter>,
    parked: park::Parked,
    reads: read::Reads,
    index: commit::Index,
    /// Peers whose presence changed since it was last told.
    changed: BTreeSet<u32>,
    /// Peers whose rows in the store are behind.
    dirty: Vec<u32>,
    /// Those of them that are being written, and up to which position that brings the store.
    round: Vec<u32>,
    round_position: u64,
    /// Replies that wait for the store, oldest first.
    gated: VecDeque<Gated>,
    /// Copies of a peer's own messages for its other sessions, by conversation and number, until they are durable.
    copies: Vec<(SessionRef, u32, u64)>,
    /// Gated replies that were answered early.
    answered: FxHashSet<Ticket>,
    /// Former members whose rows go in time, by when they left.
    former: BTreeMap<Timestamp, Vec<(u32, u32)>>,
    /// Conversations to trim next.
    trim_next: u32,
    alarms: alarms::Counts,
    position: u64,
    /// The last millisecond that an id was made in, and how many were.
    last_id: (Timestamp, u32),
    next_ticket: u64,
    store_failed: bool,
    closed: bool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("now", &self.now)
            .field("peers", &self.peers.len())
            .field("sessions", &self.sessions.len())
            .field("conversations", &self.conversations.len())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts an engine on what `store` holds. `seed` is 32 secret random bytes, fixed only in tests: the number of this start
    /// is mixed in, so that even the same seed never repeats an id or a token.
    ///
    /// # Errors
    /// A setting that makes no sense, or a store that cannot be read or written.
    pub fn start(
        config: Config,
        store: Arc<dyn Store>,
        hooks: Box<dyn Hooks>,
        seed: [u8; 32],
        now: Timestamp,
    ) -> Result<Self, StartError> {
        config.validate()?;
        let verifier = match config.master_keys.is_empty() {
            true => None,
            false => Some(
                Verifier::new(&config.app_id, Keys::new(&config.master_keys)?)?
                    .with_window(config.signature_window, config.signature_ahead),
            ),
        };
        let store: Arc<dyn Store> = Arc::new(Guarded::new(store)?);
        let start = load::begin(&*store, seed)?;
        let mut random = ChaCha20Rng::from_seed(start.seed);
        let keying = Keying::new(random.next_u64(), random.next_u64());
        let mut engine = Self {
            random,
            now,
            time_in_doubt: false,
            peers: Peers::new(keying),
            sessions: Sessions::new(config.node, start.epoch),
            conversations: Conversations::new(keying),
            gate: Gate::new(config.batch_rows_max, config.batch_bytes_max, config.chunk_bytes_max),
            timers: Timers::default(),
            verifier,
            nonces: Nonces::new(start.nonce_key, config.nonces_max),
            retry_tokens: RetryTokens::new(keying, config.retry_tokens_max),
            recent: Recent::default(),
            filter: None,
            parked: park::Parked::default(),
            reads: read::Reads::default(),
            index: commit::Index::default(),
            changed: BTreeSet::new(),
            dirty: Vec::new(),
            round: Vec::new(),
            round_position: 0,
            gated: VecDeque::new(),
            copies: Vec::new(),
            answered: FxHashSet::default(),
            former: BTreeMap::new(),
            trim_next: 0,
            alarms: alarms::Counts::default(),
            position: 0,
            last_id: (Timestamp::ZERO, 0),
            next_ticket: 1,
            store_failed: false,
            closed: false,
            config,
            store,
            hooks,
        };
        engine.load()?;
        engine.start_timers();
        Ok(engine)
    }

    /// Asks something in the name of an open session. The answer is an [`Update::Reply`] that names the ticket;
    /// acknowledgements have none.
    ///
    /// # Errors
    /// Why the request was refused; nothing has happened then.
    pub fn request(&mut self, session: SessionId, request: Request, now: Timestamp) -> Result<Ticket, Error> {
        self.advance(now);
        let actor = self.actor(session)?;
        let done = self.perform(actor, request);
        self.end_request(done.is_err());
        done.map(|()| actor.ticket)
    }

    /// What every request ends with, whatever became of it.
    fn end_request(&mut self, refused: bool) {
        self.alarms.count_request(refused);
        if refused {
            self.tell_refused();
        }
        self.gate.end_operation();
    }

    fn perform(&mut self, actor: Actor, request: Request) -> Result<(), Error> {
        match request {
            Request::Send(draft) => self.send(actor, draft),
            Request::Watch { peers, signature } => self.watch(actor, &peers, signature.as_ref()),
            Request::Unwatch { peers } => self.unwatch(actor, &peers),
            Request::QueryOnline { peers } => self.query_online(actor, &peers),
            Request::Create(create) => self.create(actor, create),
            Request::Join { conversation, signature } => self.join(actor, &conversation, signature.as_ref()),
            Request::Leave { conversation } => self.leave(actor, &conversation),
            Request::Invite { conversation, peers, signature } => {
                self.invite(actor, &conversation, &peers, signature.as_ref())
            }
            Request::Kick { conversation, peers, signature } => {
                self.kick(actor, &conversation, &peers, signature.as_ref())
            }
            Request::Members { conversation } => self.members(actor, &conversation),
            Request::Describe { conversation } => self.describe(actor, &conversation),
            Request::Conversations => self.list_conversations(actor),
            Request::Count { conversation } => self.count(actor, &conversation),
            Request::History { conversation, page } => self.history(actor, &conversation, page),
            Request::Unread => self.unread(actor),
            Request::Acknowledge { messages, read } => self.acknowledge(actor, &messages, read),
            Request::MarkRead { conversation, up_to } => self.mark_read(actor, &conversation, up_to),
            Request::Close => self.log_out(actor),
        }
    }

    /// The next piece of work for the host.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.gate.next_immediate() {
            if let Output::Close { session } = &output {
                self.sessions.was_told(session.slot());
            }
            return Some(output);
        }
        loop {
            let output = self.gate.next_ordered()?;
            if !self.was_answered(&output) {
                return Some(output);
            }
        }
    }

    /// Whether this is a reply that was answered early, and so has nothing left to say.
    fn was_answered(&mut self, output: &Output) -> bool {
        if self.answered.is_empty() {
            return false;
        }
        let ticket = match output {
            Output::Event(Event::Answered { ticket, .. }) => Some(*ticket),
            Output::Deliver(deliver) => match &*deliver.update {
                Update::Reply { ticket, .. } => Some(*ticket),
                _ => None,
            },
            _ => None,
        };
        ticket.is_some_and(|ticket| self.answered.remove(&ticket))
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next_at()
    }

    /// Does what is due, a bounded amount: call it again at once where [`poll_timeout`](Self::poll_timeout) has not moved on.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
        for _ in 0..self.config.timeouts_per_call_max {
            let Some(timer) = self.timers.take_due(self.now) else { break };
            self.wake(timer);
            self.gate.end_operation();
        }
    }

    fn wake(&mut self, timer: Timer) {
        match timer {
            Timer::Presence => self.tell_presence(),
            Timer::Cursors => self.write_cursors(),
            Timer::Gated => self.answer_gated(),
            Timer::Hook(ticket) => self.hook_expired(Ticket(ticket)),
            Timer::Resume(slot, generation) => self.resume_expired(slot, generation),
            Timer::Temporary(slot) => self.conversation_expired(slot),
            Timer::Sweep => self.sweep(),
            Timer::Alarms => self.compare_alarms(),
        }
    }

    /// Time moves forward only. A jump of more than an hour stops deletion by age until the host confirms it.
    fn advance(&mut self, now: Timestamp) {
        const JUMP: std::time::Duration = std::time::Duration::from_secs(3600);
        if now > self.now + JUMP {
            self.time_in_doubt = true;
            self.tell(Event::TimeJumped { from: self.now, to: now });
        }
        self.now = self.now.max(now);
    }

    /// The asking session, with a ticket for its answer.
    fn actor(&mut self, session: SessionId) -> Result<Actor, Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        let slot = self.sessions.find(session).ok_or(Error::SessionRequired)?;
        let held = &self.sessions[slot];
        if held.state != crate::session::State::Open {
            return Err(Error::SessionRequired);
        }
        let peer = held.peer;
        Ok(Actor { peer, session: Some(self.sessions.reference(slot)), ticket: self.ticket() })
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        ticket
    }

    /// Whether the store and the queues have room for a request that stages something.
    fn may_stage(&self) -> Result<(), Error> {
        if self.store_failed {
            return Err(Error::StoreUnavailable);
        }
        if self.gate.staged_bytes() >= self.config.staged_bytes_max {
            return Err(Error::OverLimit { limit: "staged_bytes_max", max: self.config.staged_bytes_max as u64 });
        }
        if self.gate.outputs() >= self.config.outputs_max {
            return Err(Error::OverLimit { limit: "outputs_max", max: self.config.outputs_max as u64 });
        }
        Ok(())
    }

    /// The next place in the order of all facts.
    fn next_position(&mut self) -> u64 {
        self.position += 1;
        self.position
    }

    /// A new message id, and the time that it was made at: the engine's, or just after where one millisecond has too many.
    fn next_id(&mut self) -> (MessageId, Timestamp) {
        let (at, count) = self.last_id;
        self.last_id = match () {
            () if self.now > at => (self.now, 0),
            () if count < MessageId::PER_MILLISECOND_MAX => (at, count + 1),
            () => (at + std::time::Duration::from_millis(1), 0),
        };
        (MessageId::new(self.last_id.0, self.last_id.1, self.random.next_u64()), self.last_id.0)
    }

    /// Answers a request, once what it staged is durable.
    fn reply(&mut self, actor: Actor, reply: Reply) {
        let commit = self.gate.newest();
        if !self.gate.is_durable(commit) {
            self.gated.push_back(Gated { until: self.now + self.config.commit_after, commit, actor });
            self.timers.set_once(Timer::Gated, self.now + self.config.commit_after);
        }
        let output = Self::answer(actor, Ok(reply));
        self.gate.emit(output);
    }

    /// Answers a request at once: nothing that it rests on is staged.
    fn reply_now(&mut self, actor: Actor, result: Result<Reply, Error>) {
        let waits = actor.session.is_some_and(|session| self.is_waiting(session.slot));
        let output = Self::answer(actor, result);
        if waits { self.gate.emit(output) } else { self.gate.emit_now(output) }
    }

    fn answer(actor: Actor, result: Result<Reply, Error>) -> Output {
        let ticket = actor.ticket;
        match actor.session {
            Some(session) => Output::Deliver(Deliver {
                audience: Audience::One(session),
                update: Arc::new(Update::Reply { ticket, result }),
                class: Class::Reply,
            }),
            None => Output::Event(Event::Answered { ticket, result }),
        }
    }

    /// Whether a session's `opened` waits for the store: nothing may overtake it.
    fn is_waiting(&self, slot: u32) -> bool {
        self.sessions.get(slot).is_some_and(|session| !self.gate.is_durable(session.opened_with))
    }

    /// Tells one session something, once everything staged so far is durable.
    fn deliver(&mut self, session: SessionRef, update: Update, class: Class) {
        let update = Arc::new(update);
        self.gate.emit(Output::Deliver(Deliver { audience: Audience::One(session), update, class }));
    }

    /// Tells one session something at once, but not before its `opened`.
    fn deliver_now(&mut self, session: SessionRef, update: Arc<Update>, class: Class) {
        let output = Output::Deliver(Deliver { audience: Audience::One(session), update, class });
        if self.is_waiting(session.slot) { self.gate.emit(output) } else { self.gate.emit_now(output) }
    }

    /// Tells all open sessions of a peer but one something, once everything staged so far is durable.
    fn deliver_to_peer(&mut self, peer: u32, update: Update, except: Option<SessionRef>) {
        let sessions = self.open_sessions([peer].into_iter());
        self.deliver_to(sessions, except, update);
    }

    /// Tells several sessions something that is in no log, once everything staged so far is durable.
    fn deliver_to(&mut self, sessions: Vec<SessionRef>, except: Option<SessionRef>, update: Update) {
        if sessions.iter().any(|session| Some(*session) != except) {
            let audience = Audience::Many { sessions: Arc::new(sessions), except };
            self.gate.emit(Output::Deliver(Deliver { audience, update: Arc::new(update), class: Class::Fleeting }));
        }
    }

    /// The open sessions of some peers, sorted.
    fn open_sessions(&self, peers: impl Iterator<Item = u32>) -> Vec<SessionRef> {
        let slots = peers.flat_map(|peer| self.peers[peer].sessions.iter().copied());
        let mut sessions: Vec<_> = slots.map(|slot| self.sessions.reference(slot)).collect();
        sessions.sort_unstable();
        sessions
    }

    /// Tells the host something at once.
    fn tell(&mut self, event: Event) {
        self.gate.emit_now(Output::Event(event));
    }

    /// Replies that waited too long for the store are answered: their messages may be stored.
    fn answer_gated(&mut self) {
        let now = self.now;
        while let Some(gated) = self.gated.pop_front_if(|gated| gated.until <= now) {
            if !self.gate.is_durable(gated.commit) {
                self.answered.insert(gated.actor.ticket);
                self.gate.emit_now(Self::answer(gated.actor, Err(Error::MayBeStored)));
            }
        }
        if let Some(next) = self.gated.front() {
            self.timers.set(Timer::Gated, next.until);
        }
    }

    /// Asks a hook. A panic, or a call over its budget, is reported; the engine's state is as before.
    fn ask<T>(&mut self, hook: &'static str, ask: impl FnOnce(&mut dyn Hooks) -> Answer<T>) -> Result<Answer<T>, ()> {
        let mut hooks = std::mem::replace(&mut self.hooks, Box::new(NoHooks));
        let answer = catch_unwind(AssertUnwindSafe(|| ask(&mut *hooks)));
        let cost = catch_unwind(AssertUnwindSafe(|| hooks.last_call())).ok().flatten();
        self.hooks = hooks;
        if cost.is_some_and(|cost| cost > self.config.hook_budget) {
            self.tell(Event::HookFault { hook, fault: HookFault::Overran });
        }
        answer.map_err(|_| self.tell(Event::HookFault { hook, fault: HookFault::Panicked }))
    }

    /// The store that the engine writes to.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The engine's time: the latest that it was told.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }
}
