//! Questions to the host's hooks, and commands that wait for the answer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::engine::Engine;
use crate::event::{Event, HookFault};
use crate::hooks::{Answer, Hooks, NoHooks};
use crate::id::Ticket;
use crate::state::parked::Command;
use crate::timers::Timer;

impl Engine {
    /// Parks a command until its hook answers or its deadline passes.
    pub(crate) fn park(&mut self, ticket: Ticket, command: Command) {
        self.parked.park(ticket, command);
        self.timers.set(Timer::Hook(ticket.0), self.now + self.config.hook_deadline);
    }

    /// Asks a hook. A panic, or a call over its budget, is reported; the engine's state is as before.
    pub(crate) fn ask<T>(
        &mut self,
        hook: &'static str,
        ask: impl FnOnce(&mut dyn Hooks) -> Answer<T>,
    ) -> Result<Answer<T>, ()> {
        let mut hooks = std::mem::replace(&mut self.hooks, Box::new(NoHooks));
        let answer = catch_unwind(AssertUnwindSafe(|| ask(&mut *hooks)));
        let cost = catch_unwind(AssertUnwindSafe(|| hooks.last_call())).ok().flatten();
        self.hooks = hooks;
        if cost.is_some_and(|cost| cost > self.config.hook_budget) {
            self.tell(Event::HookFault { hook, fault: HookFault::Overran });
        }
        answer.map_err(|_| self.tell(Event::HookFault { hook, fault: HookFault::Panicked }))
    }
}
