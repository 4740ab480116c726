//! The thread-safe face: one engine for any number of threads, an outbox for each session.
//!
//! A [`Hub`] owns an [`Engine`], the threads that write and read its [`Store`], and the outboxes. Any thread asks
//! ([`Hub::request`]); whoever is told by the [ready signal](Hub::ready) drains ([`Hub::drain`]).
//!
//! # Locks
//! There are three, always taken in this order, and never held while host code runs, hooks aside:
//! 1. *delivery*: who holds it moves outputs from the engine to outboxes, so that each session gets them in the engine's
//!    order. A thread that finds it taken leaves. Its holder looks at the engine once more after giving it up, or has the
//!    timer thread look; it finds nothing left only while it holds both this lock and the engine's.
//! 2. *engine*: held for one verb, never during a read of the store, nor during a write that may wait for a disk.
//! 3. *outbox*, one a session: held for one push or one drain.
//!
//! Draining takes its outbox's lock alone. Wake-ups happen after every lock is released; only events and pushes go into
//! their channels under the delivery lock, because their order counts.
//!
//! # Threads
//! `switchboard-timer` handles timeouts, watches the store for stalls and finishes long deliveries, and tells the engine which consumers have caught up; `switchboard-commit`
//! writes, maintains and closes the store; `switchboard-read` reads it, so that neither waits for the other. With a store in
//! memory the calling threads write and read themselves, and only the first of the three runs.
//!
//! # When an outbox is full
//! It is bounded in updates and in bytes. What is fleeting goes first, and the consumer is told how much by one
//! [`Gap`](crate::Gap) when it has drained. What is in the log makes the session *lag*: it gets no more of it until it has
//! drained half, then pages from the log, then live updates again. Nobody else waits, and nothing that was accepted is lost.
//! Replies always find a place; who leaves too many of them unread is refused further requests.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;

use crate::config::{Config, ConfigError};
use crate::engine::Engine;
use crate::error::Error;
use crate::event::Event;
use crate::hooks::{Hooks, Resolution};
use crate::id::{PeerId, SessionId, Ticket};
use crate::message::Draft;
use crate::output::Push;
use crate::request::{Open, Request};
use crate::store::{Durability, Store};
use crate::time::Timestamp;
use crate::update::Update;

mod clock;
mod delivery;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "these tests wait for threads in real time")]
mod machine_tests;
mod outbox;
mod ready;
mod shared;
mod slots;
#[cfg(test)]
mod tests;
mod threads;
mod timed;

pub use clock::{HubClock, ManualClock};
pub use delivery::Metrics;
use delivery::Post;
pub use outbox::DrainState;
use outbox::{Bounds, UPDATE_BYTES};
pub use ready::{Ready, ReadySignal};
use shared::Shared;
pub use threads::ShutdownReport;
pub use timed::Timed;

/// How long dropping the last [`Hub`] waits for a store that stalls.
const SHUTDOWN_AFTER: Duration = Duration::from_secs(5);

/// Who writes to the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commits {
    /// The calling thread where the store is in memory, else a thread of the hub.
    #[default]
    Auto,
    /// The calling thread, before the call returns: for stores that never wait.
    Inline,
    /// A thread of the hub; what is staged meanwhile goes into the next commit together.
    Threaded,
}

/// Settings of a hub, beside those of its engine.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Updates that wait for one session: five times the documents' offline queue.
    pub outbox_events_max: usize,
    /// Bytes that wait for one session: fifty messages of the largest size. At least one update always fits.
    pub outbox_bytes_max: usize,
    /// Replies unread over which a session's requests are refused with 4318.
    pub replies_max: usize,
    /// Bytes of replies unread, over the outbox's own, over which a session's requests are refused with 4318.
    pub reply_bytes_max: usize,
    /// Events that wait for the host; more are dropped and counted.
    pub events_max: usize,
    /// Pushes that wait for the host; more are dropped and counted.
    pub pushes_max: usize,
    /// Who writes to the store.
    pub commits: Commits,
    /// Whether hooks are measured, see [`Timed`].
    pub time_hooks: bool,
    /// Where the time comes from.
    pub clock: HubClock,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            outbox_events_max: 256,
            outbox_bytes_max: 256 * 1024,
            replies_max: 256,
            reply_bytes_max: 1024 * 1024,
            events_max: 10_000,
            pushes_max: 10_000,
            commits: Commits::Auto,
            time_hooks: true,
            clock: HubClock::default(),
        }
    }
}

impl HubConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        let settings = [
            ("outbox_events_max", self.outbox_events_max, 2),
            ("outbox_bytes_max", self.outbox_bytes_max, 1_024),
            ("replies_max", self.replies_max, 1),
            ("reply_bytes_max", self.reply_bytes_max, 1_024),
            ("events_max", self.events_max, 1),
            ("pushes_max", self.pushes_max, 1),
        ];
        // Bytes are counted in 32 bits, replies in 16.
        let max = |setting| if setting == "replies_max" { 60_000 } else { 1 << 30 };
        settings.into_iter().try_for_each(|(setting, value, min)| {
            let max = max(setting);
            let reason = || format!("is {value}, not between {min} and {max}");
            if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError { setting, reason: reason() }) }
        })
    }

    fn bounds(&self, config: &Config) -> Bounds {
        Bounds {
            events: self.outbox_events_max,
            bytes: self.outbox_bytes_max,
            replies: self.replies_max,
            reply_bytes: self.reply_bytes_max,
            message_bytes: config.message_bytes_max + UPDATE_BYTES,
        }
    }

    fn is_inline(&self, durability: Durability) -> bool {
        match self.commits {
            Commits::Auto => durability == Durability::Memory,
            Commits::Inline => true,
            Commits::Threaded => false,
        }
    }
}

/// Why a hub did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting of the hub makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] crate::engine::StartError),
    /// The system gives no thread.
    #[error("no thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// An [`Engine`] for many threads. Clones are the same hub; when the last is dropped it is shut down, which waits up to five
/// seconds for a store that stalls.
///
/// See the [module](self) for locks, threads and what becomes of slow consumers.
#[derive(Clone, Debug)]
pub struct Hub {
    owner: Arc<Owner>,
}

/// What the clones of a hub share, but neither its threads nor its handles: its end is the hub's.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    report: Mutex<Option<ShutdownReport>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shut_down(SHUTDOWN_AFTER);
    }
}

impl Owner {
    fn shut_down(&self, timeout: Duration) -> ShutdownReport {
        let mut report = self.report.lock();
        report.get_or_insert_with(|| threads::shut_down(&self.shared, timeout)).clone()
    }
}

impl Hub {
    /// Starts an engine and its threads. `seed` is 32 bytes from the operating system, as for [`Engine::start`].
    ///
    /// # Errors
    /// [`StartError`]; no thread is left behind.
    pub fn start(
        config: Config,
        store: Arc<dyn Store>,
        hooks: Box<dyn Hooks>,
        seed: [u8; 32],
        settings: HubConfig,
    ) -> Result<Self, StartError> {
        settings.validate()?;
        let hooks = if settings.time_hooks { Box::new(Timed::new(hooks)) } else { hooks };
        let inline = settings.is_inline(store.status().durability);
        let bounds = settings.bounds(&config);
        let post = Post::new(config.session_places_max(), bounds, settings.events_max, settings.pushes_max);
        let stall_after = config.store_stall_after;
        let clock = settings.clock;
        let engine = Engine::start(config, store, hooks, seed, clock.now())?;
        let shared = Arc::new(Shared::new(engine, post, clock, stall_after, inline));
        let hub = Self { owner: Arc::new(Owner { shared: Arc::clone(&shared), report: Mutex::default() }) };
        // Where this fails the hub is dropped, and the threads that did start with it.
        threads::start(&shared)?;
        Ok(hub)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    /// Opens a session. [`Reply::Opened`](crate::Reply::Opened) with the ticket tells how that went.
    ///
    /// # Errors
    /// Why the session was not opened; [`Error::Closed`] after the shutdown.
    pub fn open(&self, open: Open) -> Result<(SessionHandle, Ticket), Error> {
        let (session, ticket) = self.shared().open(open)?;
        Ok((SessionHandle { shared: Arc::clone(self.shared()), session, owned: true }, ticket))
    }

    /// Asks something for a session. The answer is an [`Update::Reply`] with the ticket, in the session's outbox.
    ///
    /// # Errors
    /// Why the request was refused; nothing has happened then. [`Error::OverLimit`] where the session leaves too many
    /// replies unread, [`Error::SessionRequired`] where it is over, [`Error::Closed`] after the shutdown.
    pub fn request(&self, session: SessionId, request: Request) -> Result<Ticket, Error> {
        self.shared().request(session, request)
    }

    /// Moves up to `max` updates of a session to the end of `out`, oldest first. Never waits for the engine.
    pub fn drain(&self, session: SessionId, out: &mut Vec<Arc<Update>>, max: usize) -> DrainState {
        self.shared().drain(session, out, max)
    }

    /// The session's connection is gone: the session is paused, and this id reads closed from here on.
    pub fn pause(&self, session: SessionId) {
        self.shared().pause(session);
    }

    /// Waits until there is something to drain, the end of the session included, for `timeout` at most. Returns whether
    /// there is.
    #[must_use]
    pub fn wait(&self, session: SessionId, timeout: Duration) -> bool {
        self.shared().wait(session, timeout)
    }

    /// Says which sessions have something to drain.
    #[must_use]
    pub fn ready(&self) -> &ReadySignal {
        &self.owner.shared.post.ready
    }

    /// The sessions that have something to drain, without waiting, as [`ReadySignal::try_take`].
    #[must_use]
    pub fn try_ready(&self) -> Vec<SessionId> {
        self.ready().try_take()
    }

    /// The sessions that have something to drain, or the task is woken when there are some. Empty after the shutdown.
    pub fn poll_ready(&self, context: &Context<'_>) -> Poll<Vec<SessionId>> {
        self.ready().poll_take(context)
    }

    /// What the host may want to know. A clone of this receiver shares its content.
    #[must_use]
    pub fn events(&self) -> &Receiver<Event> {
        self.owner.shared.post.events()
    }

    /// Wake-ups for peers that are not connected. A clone of this receiver shares its content.
    #[must_use]
    pub fn pushes(&self) -> &Receiver<Push> {
        self.owner.shared.post.pushes()
    }

    /// Calls any of the engine's verbs, under its lock; what it puts out is delivered afterwards.
    ///
    /// Sessions are opened by [`open`](Self::open): one that is opened here has no outbox. `act` must not use the hub.
    pub fn with_engine<T>(&self, act: impl FnOnce(&mut Engine, Timestamp) -> T) -> T {
        self.shared().with_engine(act)
    }

    /// Sends as any peer, for the host itself; answered by [`Event::Answered`].
    ///
    /// # Errors
    /// Why the message was refused.
    pub fn send_as(&self, peer: PeerId, draft: Draft) -> Result<Ticket, Error> {
        self.with_engine(|engine, now| engine.send_as(&peer, draft, now))
    }

    /// Answers a hook's question that was deferred.
    ///
    /// # Errors
    /// As [`Engine::resolve`].
    pub fn resolve(&self, ticket: Ticket, resolution: Resolution) -> Result<(), Error> {
        self.with_engine(|engine, now| engine.resolve(ticket, resolution, now))
    }

    /// What was counted since the start.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared().post.counters.read()
    }

    /// The time by the hub's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared().clock.now()
    }

    /// Ends the hub: refuses requests from here on ([`Error::Closed`]), writes and delivers what was accepted, ends every
    /// session with [`Update::Closed`], closes the store and joins the threads. What is in the outboxes can still be
    /// drained.
    ///
    /// It takes no longer than about `timeout`, even where the store stalls; the report tells what was not finished. A second call
    /// does nothing and gives the first one's report.
    pub fn shut_down(&self, timeout: Duration) -> ShutdownReport {
        self.owner.shut_down(timeout)
    }
}

/// One open session. Dropping it pauses the session, as a lost connection does.
///
/// It does not keep the hub running. After the session's end it reads closed, whoever got the session's place.
#[derive(Debug)]
pub struct SessionHandle {
    shared: Arc<Shared>,
    session: SessionId,
    owned: bool,
}

impl SessionHandle {
    /// The session's id, for the verbs of [`Hub`] that take one.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.session
    }

    /// Gives up the handle but not the session, for hosts that go by id; [`Hub::pause`] tells of its connection's end.
    #[must_use]
    pub fn into_id(mut self) -> SessionId {
        self.owned = false;
        self.session
    }

    /// Asks something, as [`Hub::request`].
    ///
    /// # Errors
    /// As [`Hub::request`].
    pub fn request(&self, request: Request) -> Result<Ticket, Error> {
        self.shared.request(self.session, request)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// As [`Hub::request`].
    pub fn send(&self, draft: Draft) -> Result<Ticket, Error> {
        self.request(Request::Send(draft))
    }

    /// Moves up to `max` updates to the end of `out`, as [`Hub::drain`].
    pub fn drain(&self, out: &mut Vec<Arc<Update>>, max: usize) -> DrainState {
        self.shared.drain(self.session, out, max)
    }

    /// Waits until there is something to drain, as [`Hub::wait`].
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        self.shared.wait(self.session, timeout)
    }

    /// Waits for the next update.
    ///
    /// # Errors
    /// That time is up, or that the session is over and everything was read.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Arc<Update>, RecvTimeoutError> {
        let mut one = Vec::with_capacity(1);
        if !self.wait(timeout) {
            return Err(RecvTimeoutError::Timeout);
        }
        match (self.drain(&mut one, 1), one.pop()) {
            (_, Some(update)) => Ok(update),
            (DrainState::Closed, None) => Err(RecvTimeoutError::Disconnected),
            (DrainState::Empty | DrainState::More, None) => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Ends the session for good, as [`Request::Close`]: nothing that still waits is read.
    pub fn close(self) {
        // The session is over by then, and dropping the handle pauses nothing.
        let _ = self.request(Request::Close);
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        if self.owned {
            self.shared.pause(self.session);
        }
    }
}
