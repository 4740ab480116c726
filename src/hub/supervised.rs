//! Hooks under supervision: who is inside one, which one it is, and since when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use super::clock::HubClock;
use super::inside::{Inside, Stay};
use super::stall::StallTimer;
use crate::hooks::{Answer, Hooks, Interests, MessageReceived, PushChoice, ReceiversOffline, SignIn, Verdict};
use crate::time::Timestamp;

/// The documented names of the hooks that are watched.
const NAMES: [&str; 3] = ["message_received", "receivers_offline", "sign_in"];

/// The call of a hook that is under way, if one is. Any thread may look at it, without a lock.
#[derive(Debug, Default)]
pub(crate) struct HookCall {
    pub(crate) inside: Inside,
    timer: StallTimer,
    /// Which of [`NAMES`] it is, or was.
    hook: AtomicU8,
}

impl HookCall {
    fn begin(&self, hook: &'static str, now: Timestamp) -> Running<'_> {
        let at = NAMES.iter().position(|name| *name == hook).unwrap_or_default();
        self.hook.store(u8::try_from(at).unwrap_or_default(), Ordering::Relaxed);
        self.timer.begin(now);
        Running { call: self, _stay: self.inside.enter() }
    }

    /// The hook that has been running for longer than `after`; once a call.
    pub(crate) fn stalls(&self, after: Duration, now: Timestamp) -> Option<&'static str> {
        let stalls = self.timer.stalls(after, now);
        NAMES.get(usize::from(self.hook.load(Ordering::Relaxed))).copied().filter(|_| stalls)
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

    fn supervise<T>(&mut self, hook: &'static str, ask: impl FnOnce(&mut dyn Hooks) -> T) -> T {
        let _running = self.call.begin(hook, self.clock.now());
        ask(&mut *self.hooks)
    }
}

impl Hooks for Supervised {
    fn message_received(&mut self, message: &MessageReceived<'_>) -> Answer<Verdict> {
        self.supervise("message_received", |hooks| hooks.message_received(message))
    }

    fn receivers_offline(&mut self, message: &ReceiversOffline<'_>) -> Answer<PushChoice> {
        self.supervise("receivers_offline", |hooks| hooks.receivers_offline(message))
    }

    fn sign_in(&mut self, login: &SignIn<'_>) -> Answer<bool> {
        self.supervise("sign_in", |hooks| hooks.sign_in(login))
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
