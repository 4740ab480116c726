//! The machine: the verbs join the nouns.
//!
//! Every verb has four steps in this order: *check* (an error, and nothing has happened), *decide* (filter and hooks; an
//! error, and nothing has happened), *stage* (the writes, then memory; cannot fail) and *emit* (outputs; cannot fail).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use rustc_hash::FxHashSet;

use crate::config::{Config, ConfigError};
use crate::filter::WordFilter;
use crate::gate::Gate;
use crate::hooks::Hooks;
use crate::id::{PeerId, Ticket};
use crate::message::Draft;
use crate::signature::{KeyError, Keys, Nonces, Verifier};
use crate::state::accepted::Index;
use crate::state::actor::Gated;
use crate::state::conversation::Conversations;
use crate::state::counts::Counts;
use crate::state::held::Held;
use crate::state::parked::Parked;
use crate::state::pauses::Pauses;
use crate::state::peer::Peers;
use crate::state::reads::Reads;
use crate::state::recent::Recent;
use crate::state::retry::RetryTokens;
use crate::state::session::Sessions;
use crate::state::shares::Shares;
use crate::state::watches::Watches;
use crate::store::guarded::Guarded;
use crate::store::{Store, StoreError};
use crate::table::Keying;
use crate::time::{HostTime, Timestamp};
use crate::timers::Timers;

pub(crate) mod flow;
pub(crate) mod parts;
pub(crate) mod verbs;

pub use flow::alarms::Metrics;
pub use flow::commit::{Commit, Committed};
pub use flow::read::{Read, ReadDone};

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

/// A messaging engine: a deterministic machine without clock, threads or sockets.
///
/// Methods take `&mut self` and the time, return the reply or a [`Ticket`] for one, and queue [`Output`](crate::Output)s. The same calls with
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
    /// The time that deadlines are kept in: it never goes back.
    now: Timestamp,
    host_time: HostTime,
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
    /// Whether any message that the store may have is not for all members of its conversation.
    narrows: bool,
    recent: Recent,
    filter: Option<WordFilter>,
    parked: Parked,
    reads: Reads,
    watches: Watches,
    pauses: Pauses,
    shares: Shares,
    held: Held,
    index: Index,
    /// Peers whose presence changed since it was last told.
    changed: BTreeSet<u32>,
    /// Peers whose rows in the store are behind.
    dirty: Vec<u32>,
    /// Those of them that are being written, and up to which position that brings the store.
    round: Vec<u32>,
    round_position: u64,
    /// Deletions that are not durable yet: commit, conversation and number.
    deleted: VecDeque<(u64, u64, u64)>,
    /// Replies that wait for the store, oldest first.
    gated: VecDeque<Gated>,
    /// What hooks want said once the verb that asked them has ended, and in whose name.
    also: Vec<(PeerId, Draft)>,
    /// Gated replies that were answered early.
    answered: FxHashSet<Ticket>,
    /// Former members whose rows go in time, by when they left.
    former: BTreeMap<Timestamp, Vec<(u32, u32)>>,
    /// Conversations to trim next.
    trim_next: u32,
    /// The place of the next peer to look at for whether anything remains of it.
    peers_next: u32,
    alarms: Counts,
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
        let start = flow::load::begin(&*store, seed)?;
        let mut random = ChaCha20Rng::from_seed(start.seed);
        let keying = Keying::new(random.next_u64(), random.next_u64());
        let mut engine = Self {
            random,
            now,
            host_time: HostTime::new(now),
            time_in_doubt: false,
            peers: Peers::new(keying),
            sessions: Sessions::new(config.node, start.epoch),
            conversations: Conversations::new(keying),
            gate: Gate::new(config.batch_rows_max, config.batch_bytes_max, config.chunk_bytes_max),
            timers: Timers::default(),
            verifier,
            nonces: Nonces::new(start.nonce_key, config.nonces_max),
            retry_tokens: RetryTokens::new(keying, config.retry_tokens_max),
            narrows: false,
            recent: Recent::default(),
            filter: None,
            parked: Parked::new(keying),
            reads: Reads::default(),
            watches: Watches::new(keying),
            pauses: Pauses::default(),
            shares: Shares::new(keying),
            held: Held::default(),
            index: Index::default(),
            changed: BTreeSet::new(),
            dirty: Vec::new(),
            round: Vec::new(),
            round_position: 0,
            deleted: VecDeque::new(),
            gated: VecDeque::new(),
            also: Vec::new(),
            answered: FxHashSet::default(),
            former: BTreeMap::new(),
            trim_next: 0,
            peers_next: 0,
            alarms: Counts::default(),
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

    /// The time that the engine was told last.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.host_time.shown()
    }
}
