//! Questions to the host's hooks, and commands that wait for the answer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::engine::Engine;
use crate::event::{Event, HookFault};
use crate::hooks::{Answer, Hook, Interests, NoHooks, Question, Resolution};
use crate::id::Ticket;
use crate::state::parked::Command;
use crate::timers::Timer;

impl Engine {
    /// Parks a command until its hook answers or its deadline passes.
    pub(crate) fn park(&mut self, ticket: Ticket, command: Command) {
        self.parked.park(ticket, command);
        self.timers.set(Timer::Hook(ticket.0), self.now + self.config.hook_deadline);
    }

    /// Asks a hook. A panic, a call over its budget and an answer to another question are reported; the engine's state is as
    /// before.
    pub(crate) fn ask(&mut self, question: Question<'_>) -> Result<Answer<Resolution>, ()> {
        let hook = question.hook();
        let mut hooks = std::mem::replace(&mut self.hooks, Box::new(NoHooks));
        let answer = catch_unwind(AssertUnwindSafe(|| hooks.ask(question)));
        let cost = catch_unwind(AssertUnwindSafe(|| hooks.last_call())).ok().flatten();
        self.hooks = hooks;
        if cost.is_some_and(|cost| cost > self.config.hook_budget) {
            self.tell_fault(hook, HookFault::Overran);
        }
        let fault = match answer {
            Ok(Answer::Now(answer)) if !hook.takes(&answer) => HookFault::Invalid,
            Ok(answer) => return Ok(answer),
            Err(_) => HookFault::Panicked,
        };
        self.tell_fault(hook, fault);
        Err(())
    }

    pub(crate) fn tell_fault(&mut self, hook: Hook, fault: HookFault) {
        self.tell(Event::HookFault { hook: hook.as_str(), fault });
    }

    /// Which questions the hooks answer. Should they panic at this, they are asked everything, which is reported there.
    pub(crate) fn interests(&self) -> Interests {
        catch_unwind(AssertUnwindSafe(|| self.hooks.interests())).unwrap_or(Interests::ALL)
    }
}
