//! The hub's own threads, and how they end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{io, thread};

use super::SHUTDOWN_AFTER;
use super::delivery::Counters;
use super::shared::{Backoff, Phase, Shared};
use crate::engine::Engine;
use crate::event::{Event, HookFault};
use crate::store::StoreError;
use crate::time::Timestamp;

/// How often the store may do what is due by itself.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// The longest sleep of a thread that has nothing to do.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Rounds of delivery before the timer thread looks at its other work.
const ROUNDS_OF_THE_TIMER: usize = 64;
/// The thread that watches the host's code, and ends last.
const WATCHDOG: &str = "switchboard-watch";
/// How long the timer thread waits for an engine whose holder is in a store that stalls.
const ENGINE_WAIT: Duration = Duration::from_millis(100);

/// The longest sleep of the watchdog.
const WATCH_MAX: Duration = Duration::from_secs(1);

/// How a hub ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Whether everything that was accepted is stored. If not, its senders have got no receipt: their sessions ended.
    pub committed: bool,
    /// Threads that had not ended when time was up, because a call of the store or of a hook has not. They end when it does.
    pub threads_left: Vec<&'static str>,
    /// Threads that had ended before, by a panic: a fault of the hub.
    pub threads_panicked: Vec<&'static str>,
    /// What closing the store came to; [`StoreError::Unfinished`] where it has not come to anything yet.
    pub store: Result<(), StoreError>,
}

/// Starts the threads of a hub: with a store in memory only `switchboard-watch` and `switchboard-timer`.
pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    spawn(shared, WATCHDOG, run_watch)?;
    spawn(shared, "switchboard-timer", run_timer)?;
    if !shared.inline {
        spawn(shared, "switchboard-commit", run_commits)?;
        spawn(shared, "switchboard-read", run_reads)?;
    }
    Ok(())
}

fn spawn(shared: &Arc<Shared>, name: &'static str, run: fn(&Shared)) -> io::Result<()> {
    let own = Arc::clone(shared);
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(&own))?;
    shared.threads.lock().push((name, thread));
    Ok(())
}

/// Writes batch after batch; while one is written the next is staged. Maintains and finally closes the store.
fn run_commits(shared: &Shared) {
    let mut backoff = Backoff::new();
    let mut upkeep = Upkeep::new(shared);
    while shared.phase() < Phase::Stopped {
        match shared.commit_one() {
            Some(true) => rest(shared, backoff.next()),
            Some(false) => backoff = Backoff::new(),
            None => shared.commit_signal.wait(shared.clock.sleep(MAINTAIN_EVERY)),
        }
        upkeep.maintain(shared);
    }
    close_store(shared);
}

/// Waits, whoever calls, unless the hub ends.
#[expect(clippy::disallowed_methods, reason = "the disk needs real time")]
fn rest(shared: &Shared, span: Duration) {
    let until = Instant::now() + span;
    while shared.phase() < Phase::Stopped {
        match until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => return,
            left => shared.commit_signal.wait(left),
        }
    }
}

/// What the store does by itself: when it last did, and whether it could.
struct Upkeep {
    at: Timestamp,
    failed: bool,
}

impl Upkeep {
    fn new(shared: &Shared) -> Self {
        Self { at: shared.clock.now(), failed: false }
    }

    fn maintain(&mut self, shared: &Shared) {
        let now = shared.clock.now();
        if now.since(self.at) < MAINTAIN_EVERY {
            return;
        }
        self.at = now;
        let done = watched(shared, |store| store.maintain());
        let told = std::mem::replace(&mut self.failed, done.is_err());
        if let Err(error) = done {
            Counters::count(&shared.post.counters.upkeep_failures, 1);
            if !told {
                shared.post.tell(Event::StoreCallFailed { call: "maintain", error });
            }
        }
    }
}

/// Makes a call of the store that is neither a commit nor a read.
fn watched(
    shared: &Shared,
    call: impl FnOnce(&dyn crate::store::Store) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    shared.upkeep_timer.begin(shared.clock.now());
    let done = call(&*shared.store);
    if shared.upkeep_timer.end() {
        shared.post.tell(Event::StoreRecovered);
    }
    done
}

/// Closes the store; one that panics is asked once more.
fn close_store(shared: &Shared) {
    let mut closed = watched(shared, |store| store.close());
    if matches!(closed, Err(StoreError::Panicked(_))) {
        closed = watched(shared, |store| store.close());
    }
    if let Err(error) = &closed {
        shared.post.tell(Event::StoreCallFailed { call: "close", error: error.clone() });
    }
    *shared.closed.lock() = Some(closed);
}

/// Does the reads that wait, so that a long one delays no commit.
fn run_reads(shared: &Shared) {
    while shared.phase() < Phase::Stopped {
        if !shared.read_one() {
            shared.read_signal.wait(SLEEP_MAX);
        }
    }
}

/// Handles timeouts, and delivers what others hand over.
fn run_timer(shared: &Shared) {
    let mut upkeep = Upkeep::new(shared);
    while shared.phase() < Phase::Stopped {
        let sleep = turn(shared);
        if shared.inline {
            upkeep.maintain(shared);
        }
        if shared.abandoned.swap(false, Ordering::AcqRel) {
            shut_down(shared, SHUTDOWN_AFTER);
        }
        shared.timer_signal.wait(shared.clock.sleep(sleep));
    }
    if shared.inline {
        close_store(shared);
    }
}

/// Reports the host's code that does not return. Takes no lock that such code may hold: none at all.
fn run_watch(shared: &Shared) {
    let least = Duration::from_millis(1);
    let every = (shared.stall_after.min(shared.hook_stall_after) / 4).clamp(least, WATCH_MAX);
    while shared.phase() < Phase::Ended {
        watch(shared, shared.clock.now());
        shared.watch_signal.wait(shared.clock.sleep(every));
    }
}

fn watch(shared: &Shared, now: Timestamp) {
    let calls = [&shared.commit_timer, &shared.upkeep_timer];
    let stalled = calls.into_iter().filter(|call| call.stalls(shared.stall_after, now)).count()
        + shared.read_timers.stalled(shared.stall_after, now);
    for _ in 0..stalled {
        Counters::count(&shared.post.counters.stalls, 1);
        shared.post.tell(Event::StoreStalled);
    }
    if let Some(hook) = shared.hook.stalls(shared.hook_stall_after, now) {
        Counters::count(&shared.post.counters.hook_stalls, 1);
        shared.post.tell(Event::HookFault { hook, fault: HookFault::Stalled });
    }
}

/// One turn of the timer thread. Returns how long it may sleep.
fn turn(shared: &Shared) -> Duration {
    let Some(mut engine) = shared.engine.try_lock_for(ENGINE_WAIT) else { return ENGINE_WAIT };
    let now = shared.clock.now();
    shared.pause_given_up(&mut engine, now);
    if engine.poll_timeout().is_some_and(|due| due <= now) {
        engine.handle_timeout(now);
    }
    shared.take_up(&mut engine, now);
    let latest = now + SLEEP_MAX.min(shared.stall_after / 4);
    let until =
        [engine.poll_timeout(), shared.retry_at()].into_iter().flatten().fold(latest, |least, due| least.min(due));
    shared.sleeps_until.store(until.as_millis(), Ordering::Relaxed);
    shared.pump(engine, now, ROUNDS_OF_THE_TIMER);
    shared.post.farewells.sweep(now).iter().for_each(|thread| thread.unpark());
    until.since(shared.clock.now())
}

/// Ends a hub: takes no more requests, writes and delivers what it has taken, ends sessions, threads and the store.
#[expect(clippy::disallowed_methods, reason = "a host that ends waits in real time")]
pub(crate) fn shut_down(shared: &Shared, timeout: Duration) -> ShutdownReport {
    let started = Instant::now();
    // A third of the time is kept for the end of the threads.
    let settle_until = started + timeout * 2 / 3;
    shared.enter(Phase::Stopping);
    // A request that came before is answered before its session ends.
    let settled = shared.at_rest(settle_until, Engine::shut_down).is_some();
    let ended = settled || end_engine(shared, settle_until.max(Instant::now() + ENGINE_WAIT));
    // What ended with the sessions is written too: how far each had received.
    shared.enter(Phase::Stopping);
    let committed = ended && shared.at_rest(settle_until, |_, _| ()).is_some();
    shared.post.finish();
    shared.enter(Phase::Stopped);
    let mut ended = Ended::default();
    ended.join(shared, started + timeout, |name| name != WATCHDOG);
    // It reports the calls that the others wait for; itself it waits for none.
    shared.enter(Phase::Ended);
    ended.join(shared, Instant::now() + WATCH_MAX, |_| true);
    // Without its thread the store is closed when that returns.
    let store = shared.closed.lock().clone().unwrap_or(Err(StoreError::Unfinished));
    ShutdownReport { committed, threads_left: ended.left, threads_panicked: ended.panicked, store }
}

/// Ends the sessions of an engine that does not come to rest. Tells whether it could be had.
fn end_engine(shared: &Shared, until: Instant) -> bool {
    let Some(mut engine) = shared.engine.try_lock_until(until) else { return false };
    let now = shared.clock.now();
    engine.shut_down(now);
    shared.pump(engine, now, ROUNDS_OF_THE_TIMER);
    true
}

/// How the threads of a hub ended.
#[derive(Default)]
struct Ended {
    left: Vec<&'static str>,
    panicked: Vec<&'static str>,
}

impl Ended {
    /// Waits for the threads whose names are `chosen`, until then.
    #[expect(clippy::disallowed_methods, reason = "a host that ends waits in real time")]
    fn join(&mut self, shared: &Shared, until: Instant, chosen: impl Fn(&str) -> bool) {
        let threads = std::mem::take(&mut *shared.threads.lock());
        let (chosen, others) = threads.into_iter().partition(|(name, _)| chosen(name));
        *shared.threads.lock() = others;
        for (name, thread) in chosen {
            let own = thread.thread().id() == thread::current().id();
            while !own && !thread.is_finished() && Instant::now() < until {
                thread::sleep(Duration::from_millis(1));
            }
            if own || !thread.is_finished() {
                self.left.push(name);
            } else if thread.join().is_err() {
                self.panicked.push(name);
            }
        }
    }
}
