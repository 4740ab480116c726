//! The last words of sessions whose place went to somebody else before they were read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;

use super::outbox::{DrainState, Leftover};
use super::sync::{Mutex, Thread};
use crate::id::SessionId;
use crate::time::Timestamp;
use crate::update::Update;

/// Ends that are kept; the oldest go first.
const KEPT_MAX: usize = 10_000;
/// How long they are kept.
const KEPT_FOR: Duration = Duration::from_secs(15);

/// Ends that were not read in their place. Its lock comes last of all: under an outbox's, so that whoever finds a place
/// given away finds its former tenant here.
#[derive(Debug, Default)]
pub(crate) struct Farewells {
    ends: DashMap<SessionId, Farewell>,
    /// All that were kept lately, by the time until which they are, those read meanwhile among them.
    until: Mutex<VecDeque<(Timestamp, SessionId)>>,
}

#[derive(Debug, Default)]
struct Farewell {
    /// The last that the session is told.
    last: Option<Arc<Update>>,
    /// Whether that is all. If not, it is still on its way.
    over: bool,
    waiting: Vec<Thread>,
}

impl Farewells {
    /// Keeps what the former tenant of a place has not read, or what is still on its way to it. Returns who is to be woken.
    pub(crate) fn keep(&self, session: SessionId, left: Leftover, now: Timestamp) -> Vec<Thread> {
        let Leftover { last, over, waiting } = left;
        if over && last.is_none() {
            return waiting;
        }
        let mut until = self.until.lock();
        let mut woken = self.drop_old(&mut until, now);
        let waiting = if over {
            woken.extend(waiting);
            Vec::new()
        } else {
            waiting
        };
        self.ends.insert(session, Farewell { last, over, waiting });
        until.push_back((now + KEPT_FOR, session));
        woken
    }

    /// Something comes for a session that has lost its place. It is kept where it is waited for; `over` says that nothing
    /// follows. Tells whether the session has to be announced.
    pub(crate) fn arrive(
        &self,
        session: SessionId,
        update: Option<&Arc<Update>>,
        over: bool,
        wakes: &mut Vec<Thread>,
    ) -> bool {
        let Some(mut farewell) = self.ends.get_mut(&session).filter(|farewell| !farewell.over) else { return false };
        farewell.last = update.cloned().or_else(|| farewell.last.take());
        farewell.over = over;
        if over {
            wakes.append(&mut farewell.waiting);
        }
        over
    }

    /// Moves the end of a session that has lost its place to `out`.
    pub(crate) fn drain(&self, session: SessionId, out: &mut Vec<Arc<Update>>) -> DrainState {
        let read = self.ends.remove_if(&session, |_, farewell| farewell.over);
        if read.is_none() && self.ends.contains_key(&session) {
            return DrainState::Empty;
        }
        out.extend(read.and_then(|(_, farewell)| farewell.last));
        DrainState::Closed
    }

    /// Whether a session that has lost its place has its end to read, or none; if not, `thread` is woken when it has.
    pub(crate) fn wait(&self, session: SessionId, thread: Thread) -> bool {
        let Some(mut farewell) = self.ends.get_mut(&session).filter(|farewell| !farewell.over) else { return true };
        farewell.waiting.retain(|waiting| waiting.id() != thread.id());
        farewell.waiting.push(thread);
        false
    }

    /// The thread waits for a session's end no longer.
    pub(crate) fn forget_waiting(&self, session: SessionId, thread: &Thread) {
        if let Some(mut farewell) = self.ends.get_mut(&session) {
            farewell.waiting.retain(|waiting| waiting.id() != thread.id());
        }
    }

    /// Nobody will read a session's end. Returns who was waiting for it.
    pub(crate) fn forget(&self, session: SessionId) -> Vec<Thread> {
        self.ends.remove(&session).map(|(_, farewell)| farewell.waiting).unwrap_or_default()
    }

    /// The hub ends: nothing follows for anybody. Returns the sessions that have to be announced.
    pub(crate) fn finish(&self, last: &Arc<Update>, wakes: &mut Vec<Thread>) -> Vec<SessionId> {
        let mut ended: Vec<SessionId> = Vec::new();
        for mut farewell in self.ends.iter_mut().filter(|farewell| !farewell.over) {
            farewell.last.get_or_insert_with(|| Arc::clone(last));
            farewell.over = true;
            wakes.append(&mut farewell.waiting);
            ended.push(*farewell.key());
        }
        ended.sort_unstable();
        ended
    }

    /// Lets go of what was kept for long enough. Returns who was waiting for it.
    pub(crate) fn sweep(&self, now: Timestamp) -> Vec<Thread> {
        self.drop_old(&mut self.until.lock(), now)
    }

    /// Drops what is old, or too much with one more.
    fn drop_old(&self, until: &mut VecDeque<(Timestamp, SessionId)>, now: Timestamp) -> Vec<Thread> {
        let mut waiting = Vec::new();
        while until.len() >= KEPT_MAX || until.front().is_some_and(|(until, _)| *until <= now) {
            let Some((_, session)) = until.pop_front() else { break };
            waiting.extend(self.ends.remove(&session).into_iter().flat_map(|(_, farewell)| farewell.waiting));
        }
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::super::sync::thread;
    use super::*;
    use crate::error::Error;

    fn session(slot: u32) -> SessionId {
        SessionId { node: 1, epoch: 1, slot, generation: 1 }
    }

    fn end() -> Arc<Update> {
        Arc::new(Update::Closed { error: Some(Error::SessionConflict) })
    }

    fn unread() -> Leftover {
        Leftover { last: Some(end()), over: true, waiting: Vec::new() }
    }

    #[test]
    fn an_end_that_is_on_its_way_is_waited_for() {
        let farewells = Farewells::default();
        let (mut out, mut wakes) = (Vec::new(), Vec::new());
        farewells.keep(session(1), Leftover::default(), Timestamp::ZERO);
        assert_eq!(farewells.drain(session(1), &mut out), DrainState::Empty);
        assert!(!farewells.wait(session(1), thread::current()));
        assert!(farewells.arrive(session(1), Some(&end()), true, &mut wakes));
        assert_eq!(wakes.len(), 1);
        assert!(!farewells.arrive(session(1), None, true, &mut wakes), "nothing follows the end");
        assert!(farewells.wait(session(1), thread::current()));
        assert_eq!(farewells.drain(session(1), &mut out), DrainState::Closed);
        assert_eq!(out, [end()]);
        assert_eq!(farewells.drain(session(1), &mut out), DrainState::Closed);
        assert_eq!(out.len(), 1);
        assert!(!farewells.arrive(session(2), Some(&end()), true, &mut wakes), "nobody waits for this one");
    }

    #[test]
    fn ends_are_kept_for_a_while_and_not_without_number() {
        let farewells = Farewells::default();
        let at = Timestamp::from_millis;
        farewells.keep(session(0), unread(), at(1_000));
        farewells.keep(session(1), unread(), at(2_000));
        farewells.sweep(at(16_000));
        let mut out = Vec::new();
        farewells.drain(session(0), &mut out);
        assert!(out.is_empty(), "fifteen seconds have passed");
        farewells.drain(session(1), &mut out);
        assert_eq!(out.len(), 1);
        (0..20_000).for_each(|slot| drop(farewells.keep(session(slot), unread(), at(20_000))));
        assert_eq!(farewells.ends.len(), KEPT_MAX);
        farewells.drain(session(19_999), &mut out);
        assert_eq!(out.len(), 2, "the newest are kept");
    }
}
