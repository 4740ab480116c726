//! The hub's own threads, and how they end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{io, thread};

use super::delivery::Counters;
use super::shared::{Backoff, Phase, Shared};
use crate::engine::Engine;
use crate::event::Event;
use crate::store::StoreError;

/// How often the store may do what is due by itself.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// The longest sleep of a thread that has nothing to do.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Rounds of delivery before the timer thread looks at its other work.
const ROUNDS_OF_THE_TIMER: usize = 64;
/// How long the timer thread waits for an engine whose holder is in a store that stalls.
const ENGINE_WAIT: Duration = Duration::from_millis(100);

/// How a hub ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Whether everything that was accepted is stored. If not, its senders have got no receipt: their sessions ended.
    pub committed: bool,
    /// Threads that were still inside a store call when time was up. They end when it returns.
    pub threads_left: Vec<&'static str>,
    /// What closing the store came to, where it was reached in time.
    pub store: Result<(), StoreError>,
}

/// Starts the threads of a hub: with a store in memory only `switchboard-timer`.
pub(crate) fn start(shared: &Arc<Shared>) -> io::Result<()> {
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
    let mut maintained_at = shared.clock.now();
    while shared.phase() != Phase::Stopped {
        match shared.commit_one() {
            Some(true) => rest(shared, backoff.next()),
            Some(false) => backoff = Backoff::new(),
            None => shared.commit_signal.wait(shared.clock.sleep(MAINTAIN_EVERY)),
        }
        maintain(shared, &mut maintained_at);
    }
    close_store(shared);
}

/// Waits, whoever calls, unless the hub ends.
#[expect(clippy::disallowed_methods, reason = "the disk needs real time")]
fn rest(shared: &Shared, span: Duration) {
    let until = Instant::now() + span;
    while shared.phase() != Phase::Stopped {
        match until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => return,
            left => shared.commit_signal.wait(left),
        }
    }
}

fn maintain(shared: &Shared, maintained_at: &mut crate::Timestamp) {
    let now = shared.clock.now();
    if now.since(*maintained_at) < MAINTAIN_EVERY {
        return;
    }
    *maintained_at = now;
    shared.commit_watch.begin(now);
    if let Err(error) = shared.store.maintain() {
        tracing::warn!(%error, "the store could not do what was due");
    }
    if shared.commit_watch.end() {
        shared.post.tell(Event::StoreRecovered);
    }
}

fn close_store(shared: &Shared) {
    let closed = shared.store.close();
    *shared.closed.lock() = Some(closed);
}

/// Does the reads that wait, so that a long one delays no commit.
fn run_reads(shared: &Shared) {
    while shared.phase() != Phase::Stopped {
        if !shared.read_one() {
            shared.read_signal.wait(SLEEP_MAX);
        }
    }
}

/// Handles timeouts, watches the store, and delivers what others hand over.
fn run_timer(shared: &Shared) {
    let mut maintained_at = shared.clock.now();
    while shared.phase() != Phase::Stopped {
        watch_store(shared);
        let sleep = turn(shared);
        if shared.inline {
            maintain(shared, &mut maintained_at);
        }
        shared.timer_signal.wait(shared.clock.sleep(sleep));
    }
    if shared.inline {
        close_store(shared);
    }
}

fn watch_store(shared: &Shared) {
    let now = shared.clock.now();
    for watch in [&shared.commit_watch, &shared.read_watch] {
        if watch.stalls(shared.stall_after, now) {
            Counters::count(&shared.post.counters.stalls, 1);
            shared.post.tell(Event::StoreStalled);
        }
    }
}

/// One turn of the timer thread. Returns how long it may sleep.
fn turn(shared: &Shared) -> Duration {
    let Some(mut engine) = shared.engine.try_lock_for(ENGINE_WAIT) else { return ENGINE_WAIT };
    let now = shared.clock.now();
    if engine.poll_timeout().is_some_and(|due| due <= now) {
        engine.handle_timeout(now);
    }
    shared.take_up(&mut engine, now);
    let latest = now + SLEEP_MAX.min(shared.stall_after / 4);
    let until =
        [engine.poll_timeout(), shared.retry_at()].into_iter().flatten().fold(latest, |least, due| least.min(due));
    shared.sleeps_until.store(until.as_millis(), Ordering::Relaxed);
    shared.pump(engine, now, ROUNDS_OF_THE_TIMER);
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
    let threads_left = join(shared, started + timeout);
    // Without its thread the store is closed when that returns.
    let store = shared.closed.lock().clone().unwrap_or(Ok(()));
    ShutdownReport { committed, threads_left, store }
}

/// Ends the sessions of an engine that does not come to rest. Tells whether it could be had.
fn end_engine(shared: &Shared, until: Instant) -> bool {
    let Some(mut engine) = shared.engine.try_lock_until(until) else { return false };
    let now = shared.clock.now();
    engine.shut_down(now);
    shared.pump(engine, now, ROUNDS_OF_THE_TIMER);
    true
}

#[expect(clippy::disallowed_methods, reason = "a host that ends waits in real time")]
fn join(shared: &Shared, until: Instant) -> Vec<&'static str> {
    let mut left = Vec::new();
    for (name, thread) in std::mem::take(&mut *shared.threads.lock()) {
        let own = thread.thread().id() == thread::current().id();
        while !own && !thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        if own || !thread.is_finished() {
            left.push(name);
        } else if thread.join().is_err() {
            tracing::error!(name, "a thread of the hub has panicked");
        }
    }
    left
}
