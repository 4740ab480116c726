//! What all clones of a hub, its handles and its threads share, and the way through the locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::HubConfig;
use super::clock::HubClock;
use super::delivery::{Counters, Delivery, Post};
use super::outbox::DrainState;
use super::stall::{StallTimer, StallTimers};
use super::supervised::HookCall;
use super::sync::{Token, thread};
use crate::engine::{Engine, Read, ReadDone};
use crate::error::Error;
use crate::event::Event;
use crate::id::{SessionId, Ticket};
use crate::output::{Audience, Output, SessionRef};
use crate::request::{Open, Request};
use crate::store::{Store, StoreError};
use crate::time::Timestamp;
use crate::update::Update;

/// Outputs delivered before the engine is looked at again.
const BATCH_OUTPUTS: usize = 64;
/// Sessions delivered to before the engine is looked at again.
const BATCH_SESSIONS: usize = 16_384;
/// Rounds of delivery that a caller does, for others too, before it hands over to the timer thread.
pub(crate) const ROUNDS_OF_A_CALLER: usize = 4;
/// Reads that a caller does, for others too, before it hands over to the timer thread.
const INLINE_READS: usize = 16;

/// How far the end of a hub has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It takes requests.
    Running = 0,
    /// It takes no more, and finishes what it has taken.
    Stopping = 1,
    /// Its threads end, but for the watchdog.
    Stopped = 2,
    /// The watchdog ends too.
    Ended = 3,
}

/// What came of a round of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Somebody else is at it, and looks at the engine again afterwards.
    Taken,
    /// Nothing was left.
    Empty,
    /// Something was delivered; there may be more.
    Delivered,
}

/// One thread waits, any number wake it; a wake-up before the wait is not lost.
#[derive(Debug)]
pub(crate) struct Signal(Token);

impl Signal {
    pub(crate) fn new() -> Self {
        Self(Token::new())
    }

    pub(crate) fn wake(&self) {
        self.0.put();
    }

    pub(crate) fn wait(&self, timeout: Duration) {
        self.0.take_within(timeout);
    }
}

/// A failed commit waits before it is tried again, each time longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(1);

    pub(crate) const fn new() -> Self {
        Self(Self::MIN)
    }

    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(Self::MAX);
        wait
    }
}

/// What all clones of a hub, its handles and its threads share.
pub(crate) struct Shared {
    pub(crate) engine: Mutex<Engine>,
    delivery: Mutex<Delivery>,
    pub(crate) post: Post,
    pub(crate) clock: HubClock,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) stall_after: Duration,
    pub(crate) hook_stall_after: Duration,
    /// The hook that runs, and whose thread is inside.
    pub(crate) hook: Arc<HookCall>,
    /// Whether callers write to the store themselves.
    pub(crate) inline: bool,
    /// When an inline commit is tried again after a failure, in milliseconds, and the wait after that.
    retry: Mutex<(Timestamp, Backoff)>,
    phase: AtomicU8,
    /// Commits and reads under way.
    busy: AtomicUsize,
    /// Sessions that lag and have room again.
    drained: Mutex<Vec<SessionId>>,
    /// Sessions that the host gave up inside a hook: the timer thread pauses them.
    given_up: Mutex<Vec<SessionId>>,
    /// Whether the last hub was dropped inside a hook: the timer thread shuts down.
    pub(crate) abandoned: AtomicBool,
    /// Until when the timer thread sleeps, in milliseconds; written under the engine's lock.
    pub(crate) sleeps_until: AtomicU64,
    pub(crate) commit_signal: Signal,
    pub(crate) read_signal: Signal,
    pub(crate) timer_signal: Signal,
    pub(crate) commit_timer: StallTimer,
    pub(crate) upkeep_timer: StallTimer,
    pub(crate) read_timers: StallTimers,
    pub(crate) watch_signal: Signal,
    pub(crate) threads: Mutex<Vec<(&'static str, JoinHandle<()>)>>,
    /// What closing the store came to.
    pub(crate) closed: Mutex<Option<Result<(), StoreError>>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("phase", &self.phase()).field("inline", &self.inline).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(engine: Engine, post: Post, hook: Arc<HookCall>, settings: &HubConfig) -> Self {
        let store = Arc::clone(engine.store());
        Self {
            stall_after: engine.config().store_stall_after,
            hook_stall_after: settings.hook_stall_after,
            inline: settings.is_inline(store.status().durability),
            clock: settings.clock.clone(),
            hook,
            engine: Mutex::new(engine),
            delivery: Mutex::default(),
            post,
            store,
            retry: Mutex::new((Timestamp::ZERO, Backoff::new())),
            phase: AtomicU8::new(Phase::Running as u8),
            busy: AtomicUsize::new(0),
            drained: Mutex::default(),
            given_up: Mutex::default(),
            abandoned: AtomicBool::new(false),
            sleeps_until: AtomicU64::new(0),
            commit_signal: Signal::new(),
            read_signal: Signal::new(),
            timer_signal: Signal::new(),
            commit_timer: StallTimer::default(),
            upkeep_timer: StallTimer::default(),
            read_timers: StallTimers::default(),
            watch_signal: Signal::new(),
            threads: Mutex::default(),
            closed: Mutex::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Stopping,
            2 => Phase::Stopped,
            _ => Phase::Ended,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.commit_signal.wake();
        self.read_signal.wake();
        self.timer_signal.wake();
        self.watch_signal.wake();
    }

    /// Whether the hub can do what is asked of it here and now.
    fn check_running(&self) -> Result<(), Error> {
        self.hook.inside.check_outside()?;
        if self.phase() == Phase::Running { Ok(()) } else { Err(Error::Closed) }
    }

    // ---- what hosts ask

    pub(crate) fn open(&self, open: Open) -> Result<(SessionId, Ticket), Error> {
        self.check_running()?;
        let mut engine = self.engine.lock();
        // Under the lock: threads that waited for it must not seem to set the clock back.
        let now = self.clock.now();
        let opened = engine.open(open, now).and_then(|(session, ticket)| match self.post.attach(session, now) {
            Ok(strangers) => Ok((session, ticket, strangers)),
            Err(error) => {
                engine.pause(session, now);
                Err(error)
            }
        });
        self.after(engine, now);
        let (session, ticket, strangers) = opened?;
        strangers.iter().for_each(|thread| thread.unpark());
        Ok((session, ticket))
    }

    pub(crate) fn request(&self, session: SessionId, request: Request) -> Result<Ticket, Error> {
        self.check_running()?;
        // Acknowledgements have no reply.
        let owes = !matches!(request, Request::Acknowledge { .. });
        self.check_replies(session, owes)?;
        let asked = self.with_engine(|engine, now| engine.request(session, request, now));
        if owes && asked.is_err() {
            self.post.outbox(session).into_iter().for_each(|mut outbox| outbox.owe_no_reply(session.generation));
        }
        asked
    }

    /// Replies are never dropped, so who does not read them may not ask for more. One that `owes` a reply is counted.
    fn check_replies(&self, session: SessionId, owes: bool) -> Result<(), Error> {
        let mut outbox = self.post.outbox(session).ok_or(Error::SessionRequired)?;
        if !outbox.is_tenant(session.generation) {
            return Err(Error::SessionRequired);
        }
        if !outbox.may_request(&self.post.bounds) {
            return Err(Error::OverLimit { limit: "replies_max", max: self.post.bounds.replies as u64 });
        }
        if owes {
            outbox.owe_reply();
        }
        Ok(())
    }

    /// Lets the host's code have the engine. Whatever that asks the hub for meanwhile is refused.
    ///
    /// # Errors
    /// [`Error::InsideHook`] where the thread has the engine already.
    pub(crate) fn lend_engine<T>(&self, act: impl FnOnce(&mut Engine, Timestamp) -> T) -> Result<T, Error> {
        self.hook.inside.check_outside()?;
        Ok(self.with_engine(|engine, now| {
            let _stay = self.hook.inside.enter();
            act(engine, now)
        }))
    }

    pub(crate) fn with_engine<T>(&self, act: impl FnOnce(&mut Engine, Timestamp) -> T) -> T {
        let mut engine = self.engine.lock();
        let now = self.clock.now();
        let done = act(&mut engine, now);
        self.after(engine, now);
        done
    }

    pub(crate) fn pause(&self, session: SessionId) {
        if !self.post.detach(session) || self.phase() >= Phase::Stopped {
        } else if self.hook.inside.is_here() {
            self.given_up.lock().push(session);
            self.timer_signal.wake();
        } else {
            self.with_engine(|engine, now| engine.pause(session, now));
        }
    }

    /// Pauses what was given up inside hooks.
    pub(crate) fn pause_given_up(&self, engine: &mut Engine, now: Timestamp) {
        let given_up = std::mem::take(&mut *self.given_up.lock());
        given_up.into_iter().for_each(|session| engine.pause(session, now));
    }

    pub(crate) fn drain(&self, session: SessionId, out: &mut Vec<Arc<Update>>, max: usize) -> DrainState {
        let (state, room) = self.post.drain(session, out, max);
        if room {
            self.drained.lock().push(session);
            self.timer_signal.wake();
        }
        state
    }

    #[expect(clippy::disallowed_methods, reason = "a thread of the host waits in real time")]
    pub(crate) fn wait(&self, session: SessionId, timeout: Duration) -> bool {
        // Inside a hook nothing can come, however long it waits.
        let timeout = if self.hook.inside.is_here() { Duration::ZERO } else { timeout };
        let until = Instant::now().checked_add(timeout);
        while !self.post.wait(session, thread::current()) {
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => {
                    self.post.forget_waiting(session, &thread::current());
                    return false;
                }
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
            }
        }
        true
    }

    // ---- through the locks

    /// What follows every use of the engine: what it staged is taken up, what it put out is delivered.
    pub(crate) fn after(&self, mut engine: MutexGuard<'_, Engine>, now: Timestamp) {
        self.take_up(&mut engine, now);
        self.pump(engine, now, ROUNDS_OF_A_CALLER);
    }

    /// Sees to what was staged and to the reads that wait: here, or on their threads.
    pub(crate) fn take_up(&self, engine: &mut MutexGuard<'_, Engine>, now: Timestamp) {
        if !engine.has_work() {
        } else if self.inline {
            self.settle(engine, now);
        } else {
            self.commit_signal.wake();
            self.read_signal.wake();
        }
    }

    /// Commits and reads inline. A commit to memory takes less than giving up the engine; a read may be long.
    fn settle(&self, engine: &mut MutexGuard<'_, Engine>, now: Timestamp) {
        for _ in 0..INLINE_READS {
            self.commit_inline(engine, now);
            let Some(read) = engine.begin_read() else { return };
            self.busy.fetch_add(1, Ordering::Relaxed);
            let done = MutexGuard::unlocked(engine, || self.run_read(read));
            engine.finish_read(done, now);
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
        self.timer_signal.wake();
    }

    fn commit_inline(&self, engine: &mut Engine, now: Timestamp) {
        if now < self.retry.lock().0 {
            return;
        }
        while let Some(commit) = engine.begin_commit() {
            self.commit_timer.begin(now);
            let done = {
                let _stay = self.hook.inside.enter();
                commit.run()
            };
            let failed = self.note_commit(done.error().is_some());
            engine.finish_commit(done, now);
            let mut retry = self.retry.lock();
            if failed {
                let wait = retry.1.next();
                retry.0 = now + wait;
                return;
            }
            *retry = (Timestamp::ZERO, Backoff::new());
        }
    }

    /// When an inline commit that failed is tried again.
    pub(crate) fn retry_at(&self) -> Option<Timestamp> {
        Some(self.retry.lock().0).filter(|at| *at > Timestamp::ZERO)
    }

    /// Counts a commit that has ended and tells where it had stalled. Returns `failed`.
    fn note_commit(&self, failed: bool) -> bool {
        let counters = &self.post.counters;
        Counters::count(if failed { &counters.commit_failures } else { &counters.commits }, 1);
        if self.commit_timer.end() && !failed {
            self.post.tell(Event::StoreRecovered);
        }
        failed
    }

    /// Writes one batch, giving up the engine meanwhile. `None` where nothing was staged, else whether it failed.
    pub(crate) fn commit_one(&self) -> Option<bool> {
        let commit = {
            let mut engine = self.engine.lock();
            let commit = engine.begin_commit()?;
            self.busy.fetch_add(1, Ordering::Relaxed);
            commit
        };
        self.commit_timer.begin(self.clock.now());
        let done = commit.run();
        let failed = self.note_commit(done.error().is_some());
        let mut engine = self.engine.lock();
        let now = self.clock.now();
        engine.finish_commit(done, now);
        self.busy.fetch_sub(1, Ordering::Relaxed);
        if engine.has_work() {
            self.read_signal.wake();
        }
        self.pump(engine, now, ROUNDS_OF_A_CALLER);
        Some(failed)
    }

    /// Does one read, giving up the engine meanwhile. Tells whether there was one.
    pub(crate) fn read_one(&self) -> bool {
        let read = {
            let mut engine = self.engine.lock();
            let Some(read) = engine.begin_read() else { return false };
            self.busy.fetch_add(1, Ordering::Relaxed);
            read
        };
        let done = self.run_read(read);
        let mut engine = self.engine.lock();
        let now = self.clock.now();
        engine.finish_read(done, now);
        self.busy.fetch_sub(1, Ordering::Relaxed);
        self.after(engine, now);
        true
    }

    /// Reads, watched. Several threads may do so at once.
    fn run_read(&self, read: Read) -> ReadDone {
        let timer = self.read_timers.begin(self.clock.now());
        let done = read.run();
        Counters::count(&self.post.counters.read_failures, u64::from(done.error().is_some()));
        if timer.is_some_and(StallTimer::end) {
            self.post.tell(Event::StoreRecovered);
        }
        done
    }

    /// Delivers what the engine has put out, in its order, for `rounds` at most; the timer thread does the rest.
    ///
    /// Whoever finds the delivery lock taken leaves: its holder looks at the engine again afterwards, or has the timer
    /// thread look.
    pub(crate) fn pump<'a>(&'a self, mut engine: MutexGuard<'a, Engine>, now: Timestamp, mut rounds: usize) {
        while self.deliver_round(engine, now) == Round::Delivered {
            rounds -= 1;
            if rounds == 0 {
                self.timer_signal.wake();
                return;
            }
            engine = self.engine.lock();
        }
    }

    /// Acts on the engine at a moment when nothing is staged, read or on its way to an outbox. `None` where there is no such
    /// moment before `until`.
    #[expect(clippy::disallowed_methods, reason = "a host that ends waits in real time")]
    pub(crate) fn at_rest<T>(&self, until: Instant, act: impl FnOnce(&mut Engine, Timestamp) -> T) -> Option<T> {
        loop {
            let mut delivery = self.delivery.try_lock_until(until)?;
            let mut engine = self.engine.try_lock_until(until)?;
            poll_batch(&mut engine, &mut delivery.batch);
            let delivered = delivery.batch.is_empty();
            if delivered && !engine.has_work() && self.busy.load(Ordering::Relaxed) == 0 {
                return Some(act(&mut engine, self.clock.now()));
            }
            drop(engine);
            delivery.deliver_all(&self.post);
            let wakes = delivery.announce(&self.post);
            drop(delivery);
            wakes.run(&self.post);
            if Instant::now() >= until {
                return None;
            }
            if delivered {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Delivers one batch.
    fn deliver_round(&self, mut engine: MutexGuard<'_, Engine>, now: Timestamp) -> Round {
        let Some(mut delivery) = self.delivery.try_lock() else { return Round::Taken };
        self.report_overflows(&mut delivery, &mut engine, now);
        poll_batch(&mut engine, &mut delivery.batch);
        if delivery.batch.is_empty() && self.report_drained(&mut engine, now) {
            return Round::Delivered;
        }
        if delivery.batch.is_empty() {
            self.note_due(&engine);
            // Given up under the engine's lock: whoever has the engine next finds it free.
            drop(delivery);
            return Round::Empty;
        }
        drop(engine);
        delivery.deliver_all(&self.post);
        let wakes = delivery.announce(&self.post);
        drop(delivery);
        wakes.run(&self.post);
        Round::Delivered
    }

    fn report_overflows(&self, delivery: &mut Delivery, engine: &mut MutexGuard<'_, Engine>, now: Timestamp) {
        if delivery.overflows.is_empty() && delivery.overruns.is_empty() {
            return;
        }
        // What they were told is in the log; whoever resumes reads on there.
        delivery.overruns.drain(..).for_each(|session| engine.pause(self.post.id(session), now));
        for (session, position) in delivery.overflows.drain(..) {
            self.report_overflow(session, position, engine, now);
        }
        self.take_up(engine, now);
    }

    fn report_overflow(&self, session: SessionRef, position: u64, engine: &mut Engine, now: Timestamp) {
        let id = self.post.id(session);
        engine.overflowed(id, position, now);
        let room = self.post.outbox(id).and_then(|mut outbox| outbox.told(session.generation, &self.post.bounds));
        if let Some(room) = room {
            engine.drained(id, room, now);
        }
    }

    /// Offers the engine the room that consumers have made. At a time when nothing is on its way to them: what is would
    /// take that room. Tells whether there was any.
    fn report_drained(&self, engine: &mut MutexGuard<'_, Engine>, now: Timestamp) -> bool {
        let drained = std::mem::take(&mut *self.drained.lock());
        for &session in &drained {
            let outbox = self.post.outbox(session);
            let room = outbox.and_then(|mut outbox| outbox.offer_room(session.generation, &self.post.bounds));
            if let Some(room) = room {
                engine.drained(session, room, now);
            }
        }
        if !drained.is_empty() {
            self.take_up(engine, now);
        }
        !drained.is_empty()
    }

    /// Has the timer thread rise earlier where the engine asks for it.
    fn note_due(&self, engine: &Engine) {
        let Some(due) = engine.poll_timeout() else { return };
        if due.as_millis() < self.sleeps_until.load(Ordering::Relaxed) {
            self.sleeps_until.store(due.as_millis(), Ordering::Relaxed);
            self.timer_signal.wake();
        }
    }
}

fn poll_batch(engine: &mut Engine, batch: &mut Vec<Output>) {
    let mut sessions = 0;
    while batch.len() < BATCH_OUTPUTS && sessions < BATCH_SESSIONS {
        let Some(output) = engine.poll_output() else { break };
        if let Output::Deliver(deliver) = &output {
            sessions += match &deliver.audience {
                Audience::One(_) => 1,
                Audience::Many { sessions, .. } => sessions.len(),
            };
        }
        batch.push(output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_wait_from_fifty_milliseconds_to_a_second() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..7).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1_000, 1_000]);
    }

    #[test]
    fn a_wake_up_before_the_wait_is_not_lost() {
        let signal = Signal::new();
        signal.wake();
        signal.wake();
        signal.wait(Duration::from_secs(3600));
    }
}
