//! Hooks under supervision: who is inside one, which one it is, and since when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::clock::HubClock;
use super::inside::{Inside, Stay};
use super::stall::StallTimer;
use crate::hooks::{Answer, Hook, Hooks, Interests, Question, Resolution};
use crate::time::Timestamp;

/// The call of a hook that is under way, if one is. Any thread may look at it, without a lock.
#[derive(Debug, Default)]
pub(crate) struct HookCall {
    pub(crate) inside: Inside,
    timer: StallTimer,
    /// Which of [`Hook::ALL`] it is, or was.
    hook: AtomicU8,
}

impl HookCall {
    fn begin(&self, hook: Hook, now: Timestamp) -> Running<'_> {
        let at = Hook::ALL.iter().position(|known| *known == hook).unwrap_or_default();
        self.hook.store(u8::try_from(at).unwrap_or_default(), Ordering::Relaxed);
        self.timer.begin(now);
        Running { call: self, _stay: self.inside.enter() }
    }

    /// The hook that has been running for longer than `after`; once a call.
    pub(crate) fn stalls(&self, after: Duration, now: Timestamp) -> Option<&'static str> {
        let stalls = self.timer.stalls(after, now);
        let hook = Hook::ALL.get(usize::from(self.hook.load(Ordering::Relaxed))).copied();
        hook.filter(|_| stalls).map(Hook::as_str)
    }
}

/// A call under way. Ends when it is dropped, on a panic too.
struct Running<'a> {
    call: &'a HookCall,
    _stay: Stay<'a>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.call.timer.end();
    }
}

/// The host's hooks as the hub gives them to its engine.
pub(crate) struct Supervised {
    hooks: Box<dyn Hooks>,
    call: Arc<HookCall>,
    clock: HubClock,
}

impl Supervised {
    pub(crate) fn new(hooks: Box<dyn Hooks>, call: Arc<HookCall>, clock: HubClock) -> Self {
        Self { hooks, call, clock }
    }
}

impl Hooks for Supervised {
    fn ask(&mut self, question: Question<'_>) -> Answer<Resolution> {
        let _running = self.call.begin(question.hook(), self.clock.now());
        self.hooks.ask(question)
    }

    fn interests(&self) -> Interests {
        let _stay = self.call.inside.enter();
        self.hooks.interests()
    }

    fn last_call(&self) -> Option<Duration> {
        let _stay = self.call.inside.enter();
        self.hooks.last_call()
    }
}
