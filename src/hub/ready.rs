//! The ready signal: which sessions have something to drain.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::supervised::HookCall;
use super::sync::{Mutex, Token};
use crate::id::SessionId;

/// Names held before a host that never takes them makes them be counted once each.
const COMPACT_FROM: usize = 1_024;

/// Says which sessions have something to drain: for threads that block, loops that poll, and tasks.
///
/// A session is named once when its outbox stops being empty. Whoever takes a list drains each session in it until
/// [`DrainState::Empty`](super::DrainState::Empty), or keeps it in mind: what is left is not announced again. A session may
/// be named twice where it was drained unasked; then the second drain finds nothing. At most two names a session are held,
/// however long nobody looks.
///
/// Several threads or tasks may take lists; each name goes to one of them.
#[derive(Debug)]
pub struct ReadySignal {
    state: Mutex<State>,
    /// One token while there is something to take: what blocks, and what a `select!` can wait for.
    token: Token,
    /// Whoever is inside a hook is not made to wait: nothing comes before it returns.
    hook: Arc<HookCall>,
}

#[derive(Debug, Default)]
struct State {
    sessions: Vec<SessionId>,
    wakers: Vec<Waker>,
    closed: bool,
    compact_at: usize,
}

/// Somebody to wake, once every lock is released.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Wake {
    token: bool,
    wakers: Vec<Waker>,
}

impl ReadySignal {
    pub(crate) fn new(hook: Arc<HookCall>) -> Self {
        let state = State { compact_at: COMPACT_FROM, ..State::default() };
        Self { state: Mutex::new(state), token: Token::new(), hook }
    }

    /// Adds the names in `list` and empties it.
    pub(crate) fn announce(&self, list: &mut Vec<SessionId>) -> Wake {
        if list.is_empty() {
            return Wake::default();
        }
        let mut state = self.state.lock();
        let token = state.sessions.is_empty();
        if token {
            std::mem::swap(&mut state.sessions, list);
        } else {
            state.sessions.append(list);
        }
        if state.sessions.len() > state.compact_at {
            state.sessions.sort_unstable();
            state.sessions.dedup();
            state.compact_at = (2 * state.sessions.len()).max(COMPACT_FROM);
        }
        Wake { token, wakers: std::mem::take(&mut state.wakers) }
    }

    /// Wakes who is to be woken; no lock may be held.
    pub(crate) fn wake(&self, wake: Wake) {
        if wake.token {
            self.token.put();
        }
        for waker in wake.wakers {
            // The host's code: its panic is not the hub's end.
            if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                tracing::error!("a waker of the ready signal has panicked");
            }
        }
    }

    /// Nothing more will be announced.
    pub(crate) fn close(&self) {
        let wakers = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.wakers)
        };
        self.wake(Wake { token: true, wakers });
    }

    /// Takes what there is, without waiting.
    #[must_use]
    pub fn try_take(&self) -> Vec<SessionId> {
        let mut list = Vec::new();
        self.take_into(&mut list);
        list
    }

    /// Takes what there is into `list`, whose former content is lost and whose memory is used on. Tells whether there was
    /// something.
    pub fn take_into(&self, list: &mut Vec<SessionId>) -> bool {
        list.clear();
        std::mem::swap(&mut self.state.lock().sessions, list);
        !list.is_empty()
    }

    /// Waits for something to drain; `None` when the hub is shut down and everything was taken, or inside a hook, where
    /// nothing can come.
    #[must_use]
    pub fn recv(&self) -> Option<Vec<SessionId>> {
        loop {
            if let Some(found) = self.look() {
                return found;
            }
            if self.hook.inside.is_here() {
                return None;
            }
            self.token.take();
        }
    }

    /// Waits for something to drain, for `timeout` at most; inside a hook not at all.
    ///
    /// # Errors
    /// That time is up, or that the hub is shut down and everything was taken.
    #[expect(clippy::disallowed_methods, reason = "a thread of the host waits in real time")]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Vec<SessionId>, RecvTimeoutError> {
        let until = Instant::now().checked_add(timeout);
        loop {
            if let Some(found) = self.look() {
                return found.ok_or(RecvTimeoutError::Disconnected);
            }
            if self.hook.inside.is_here() {
                return Err(RecvTimeoutError::Timeout);
            }
            match until {
                Some(until) => self.token.take_until(until)?,
                None => self.token.take(),
            }
        }
    }

    /// What there is; the inner `None` is the end.
    fn look(&self) -> Option<Option<Vec<SessionId>>> {
        // In one look: what is announced between two, and then closed, would be taken for nothing.
        let (list, closed) = {
            let mut state = self.state.lock();
            (std::mem::take(&mut state.sessions), state.closed)
        };
        if !list.is_empty() {
            return Some(Some(list));
        }
        if closed {
            // For whoever else waits.
            self.token.put();
        }
        closed.then_some(None)
    }

    /// Takes what there is, or has the task woken when there is something. After the shutdown the list is empty.
    pub fn poll_take(&self, context: &Context<'_>) -> Poll<Vec<SessionId>> {
        let mut state = self.state.lock();
        if !state.sessions.is_empty() || state.closed {
            return Poll::Ready(std::mem::take(&mut state.sessions));
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// A future of the next list; empty after the shutdown.
    pub const fn take(&self) -> Ready<'_> {
        Ready { signal: self }
    }

    /// Receives one token when there is something to [`try_take`](Self::try_take), for a `crossbeam_channel::select!`
    /// beside other channels. A token may be late: then there is nothing.
    #[must_use]
    pub const fn tokens(&self) -> &Receiver<()> {
        self.token.receiver()
    }
}

/// A future of the next list of sessions that have something to drain.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Ready<'a> {
    signal: &'a ReadySignal,
}

impl Future for Ready<'_> {
    type Output = Vec<SessionId>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.signal.poll_take(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake as _;
    use std::thread;

    use super::*;

    fn session(slot: u32) -> SessionId {
        SessionId { node: 0, epoch: 1, slot, generation: 0 }
    }

    fn announce(signal: &ReadySignal, slots: impl IntoIterator<Item = u32>) {
        let wake = signal.announce(&mut slots.into_iter().map(session).collect());
        signal.wake(wake);
    }

    #[test]
    fn lists_are_taken_whole() {
        let signal = ReadySignal::new(Arc::default());
        announce(&signal, [1, 2]);
        announce(&signal, [3]);
        assert_eq!(signal.recv_timeout(Duration::ZERO).unwrap(), [session(1), session(2), session(3)]);
        assert_eq!(signal.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
    }

    #[test]
    fn a_host_that_never_looks_costs_a_bounded_list() {
        let signal = ReadySignal::new(Arc::default());
        (0..100_000).for_each(|n| announce(&signal, [n % 10]));
        assert!(signal.try_take().len() <= COMPACT_FROM + 1);
    }

    #[test]
    fn the_end_reaches_everybody_who_waits() {
        let signal = ReadySignal::new(Arc::default());
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| signal.recv())).collect();
            thread::sleep(Duration::from_millis(20));
            signal.close();
            assert!(waiting.into_iter().all(|one| one.join().unwrap().is_none()));
        });
        assert_eq!(signal.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Disconnected));
    }

    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_task_is_woken_once_and_then_finds_the_list() {
        let signal = ReadySignal::new(Arc::default());
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let mut ready = std::pin::pin!(signal.take());
        assert!(ready.as_mut().poll(&mut context).is_pending());
        assert!(ready.as_mut().poll(&mut context).is_pending());
        announce(&signal, [7]);
        announce(&signal, [8]);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(ready.as_mut().poll(&mut context), Poll::Ready(vec![session(7), session(8)]));
        assert!(ready.as_mut().poll(&mut context).is_pending());
        signal.close();
        assert_eq!(ready.as_mut().poll(&mut context), Poll::Ready(Vec::new()));
        Arc::clone(&count).wake();
    }

    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker");
        }
    }

    /// A waker that panicked took the thread with it that had something to announce: the hub's timer, mostly.
    #[test]
    fn a_waker_that_panics_keeps_nobody_else_asleep() {
        let signal = ReadySignal::new(Arc::default());
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let (bad, good) = (Waker::from(Arc::new(Panics)), Waker::from(Arc::clone(&count)));
        assert!(signal.poll_take(&Context::from_waker(&bad)).is_pending());
        assert!(signal.poll_take(&Context::from_waker(&good)).is_pending());
        announce(&signal, [7]);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
