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
//! `switchboard-watch` reports hooks and store calls that do not return, and waits for no lock; `switchboard-timer` handles
//! timeouts, finishes long deliveries and tells the engine which consumers have caught up; `switchboard-commit` writes,
//! maintains and closes the store; `switchboard-read` reads it, so that neither waits for the other. With a store in memory
//! the calling threads write and read themselves, and only the first two run.
//!
//! # When the host's code misbehaves
//! * A *hook* runs under the engine's lock. One that asks its own hub for something would wait for itself: it is refused with
//!   [`Error::InsideHook`], and what cannot be refused (a handle dropped, a session paused, the last hub dropped) is done by
//!   the timer thread afterwards. [`Hub::drain`] works there as anywhere. A hook must not wait for another thread that uses
//!   the hub, nor for [`Hub::events`] or [`Hub::pushes`]: nothing comes while it runs.
//! * A hook that *stalls* is reported by [`HookFault::Stalled`](crate::HookFault) once it has taken
//!   [`HubConfig::hook_stall_after`], while it runs. Until it returns everything that needs the engine waits: requests,
//!   opens, timeouts, commits that end. What is in the outboxes can be drained, and [`Hub::shut_down`] returns in its time.
//! * A hook that keeps a [`Hub`] keeps it running for ever. It keeps a [`WeakHub`] instead: [`Hub::start_cyclic`].
//! * A *store* that panics has failed at that call, which is repeated or answered with 4200 like any other; one that stalls
//!   is reported by [`Event::StoreStalled`] while it does, whichever call it is.
//!
//! # When an outbox is full
//! It is bounded in updates and in bytes. What is fleeting goes first, and the consumer is told how much by one
//! [`Gap`](crate::Gap) when it has drained. What is in the log makes the session *lag*: it gets no more of it until it has
//! drained half, then pages from the log, then live updates again. Nobody else waits, and nothing that was accepted is lost.
//! Replies always find a place; who leaves too many of them unread, or asks too much before the answers have come, is
//! refused further requests. All that a session holds is bounded: the answer to a question that finds no place in
//! [`outbox_bytes_max`](HubConfig::outbox_bytes_max) and [`reply_bytes_max`](HubConfig::reply_bytes_max) together is a
//! refusal (4318), and a session that leaves more than twice the latter of anything else unread ends with 4318; its token
//! resumes it.
//!
//! # When a place is given away
//! A session's place in the table of outboxes goes to somebody else once it has ended. What it had not read is lost then,
//! but not its end: that is kept beside, for 15 seconds and 10,000 sessions, or waited for where it is still on its way. So
//! whoever is closed by the engine reads why.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
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
mod farewells;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "these tests wait for threads in real time")]
mod fault_tests;
mod inside;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "these tests wait for threads in real time")]
mod machine_tests;
mod outbox;
mod ready;
#[cfg(all(test, schedules))]
mod schedules;
mod shared;
mod slots;
mod stall;
mod supervised;
mod sync;
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

use supervised::{HookCall, Supervised};
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
    /// Replies, unread or still to come, over which a session's requests are refused with 4318.
    pub replies_max: usize,
    /// Bytes of replies unread, over the outbox's own, over which a session's requests are refused with 4318, and answers to
    /// its questions too. Over twice as many it is ended.
    pub reply_bytes_max: usize,
    /// Events that wait for the host; more are dropped and counted.
    pub events_max: usize,
    /// Pushes that wait for the host; more are dropped and counted.
    pub pushes_max: usize,
    /// Who writes to the store.
    pub commits: Commits,
    /// Whether hooks are measured, see [`Timed`].
    pub time_hooks: bool,
    /// How long a hook may take until it is reported while it still runs.
    pub hook_stall_after: Duration,
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
            hook_stall_after: Duration::from_secs(1),
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
        let (least, most) = (Duration::from_millis(1), Duration::from_secs(3_600));
        if !(least..=most).contains(&self.hook_stall_after) {
            let reason = format!("is {:?}, not between {least:?} and {most:?}", self.hook_stall_after);
            return Err(ConfigError { setting: "hook_stall_after", reason });
        }
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

/// A [`Hub`] that does not keep it running: for hooks, and whoever answers for them later.
#[derive(Clone, Debug)]
pub struct WeakHub {
    /// Empty until the hub has started.
    owner: Arc<OnceLock<Weak<Owner>>>,
}

impl WeakHub {
    /// The hub, while somebody else holds it: `None` before it has started and after its end.
    ///
    /// What this returns keeps the hub running, so do not keep it.
    #[must_use]
    pub fn upgrade(&self) -> Option<Hub> {
        Some(Hub { owner: self.owner.get()?.upgrade()? })
    }
}

/// What the clones of a hub share, but neither its threads nor its handles: its end is the hub's.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    report: Mutex<Option<ShutdownReport>>,
    weak: WeakHub,
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.shared.hook.inside.is_here() {
            // This thread has the engine: another one ends the hub.
            self.shared.abandoned.store(true, Ordering::Release);
            self.shared.timer_signal.wake();
        } else {
            self.shut_down(SHUTDOWN_AFTER);
        }
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
        Self::start_cyclic(config, store, |_| hooks, seed, settings)
    }

    /// Starts a hub whose hooks know it. `hooks` makes them of a [`WeakHub`], which does not keep the hub running.
    ///
    /// # Errors
    /// [`StartError`]; no thread is left behind.
    pub fn start_cyclic(
        config: Config,
        store: Arc<dyn Store>,
        hooks: impl FnOnce(WeakHub) -> Box<dyn Hooks>,
        seed: [u8; 32],
        settings: HubConfig,
    ) -> Result<Self, StartError> {
        settings.validate()?;
        let weak = WeakHub { owner: Arc::default() };
        let hooks = hooks(weak.clone());
        let hooks = if settings.time_hooks { Box::new(Timed::new(hooks)) } else { hooks };
        let call = Arc::new(HookCall::default());
        let hooks = Box::new(Supervised::new(hooks, Arc::clone(&call), settings.clock.clone()));
        let bounds = settings.bounds(&config);
        let channels = (settings.events_max, settings.pushes_max);
        let post = Post::new(config.session_places_max(), bounds, channels, Arc::clone(&call));
        let engine = Engine::start(config, store, hooks, seed, settings.clock.now())?;
        let shared = Arc::new(Shared::new(engine, post, call, &settings));
        let owner = Arc::new(Owner { shared: Arc::clone(&shared), report: Mutex::default(), weak });
        // Nobody else sets it.
        let _ = owner.weak.owner.set(Arc::downgrade(&owner));
        let hub = Self { owner };
        // Where this fails the hub is dropped, and the threads that did start with it.
        threads::start(&shared)?;
        Ok(hub)
    }

    /// The hub for those who must not keep it running.
    #[must_use]
    pub fn downgrade(&self) -> WeakHub {
        self.owner.weak.clone()
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

    /// Waits until there is something to drain, the end of the session included, for `timeout` at most; inside a hook not at
    /// all. Returns whether there is.
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
    /// Sessions are opened by [`open`](Self::open): one that is opened here has no outbox.
    ///
    /// # Errors
    /// [`Error::InsideHook`] inside a hook; in `act` the hub answers so too.
    pub fn with_engine<T>(&self, act: impl FnOnce(&mut Engine, Timestamp) -> T) -> Result<T, Error> {
        self.shared().lend_engine(act)
    }

    /// Sends as any peer, for the host itself; answered by [`Event::Answered`].
    ///
    /// # Errors
    /// Why the message was refused.
    pub fn send_as(&self, peer: PeerId, draft: Draft) -> Result<Ticket, Error> {
        self.with_engine(|engine, now| engine.send_as(&peer, draft, now))?
    }

    /// Answers a hook's question that was deferred.
    ///
    /// # Errors
    /// As [`Engine::resolve`].
    pub fn resolve(&self, ticket: Ticket, resolution: Resolution) -> Result<(), Error> {
        self.with_engine(|engine, now| engine.resolve(ticket, resolution, now))?
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
    ///
    /// # Errors
    /// [`Error::InsideHook`] inside a hook: the hub goes on.
    pub fn shut_down(&self, timeout: Duration) -> Result<ShutdownReport, Error> {
        self.shared().hook.inside.check_outside()?;
        Ok(self.owner.shut_down(timeout))
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
