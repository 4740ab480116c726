//! Commands that wait for a deferred hook, and pushes with their own question.

use crate::engine::Engine;
use crate::error::Error;
use crate::event::HookFault;
use crate::hooks::{Login, PushChoice, Resolution, Verdict};
use crate::id::{SessionId, Ticket};
use crate::message::Draft;
use crate::state::actor::Actor;
use crate::state::parked::{Command, Lane};
use crate::time::Timestamp;
use crate::timers::Timer;

impl Engine {
    /// A deferred hook answers. The command starts again at its check, with the answer in hand.
    ///
    /// # Errors
    /// [`Error::InvalidTarget`] where no such question is open: it was answered, or its deadline has passed.
    /// [`Error::WrongAnswer`] where it is open and the answer is to another kind.
    pub fn resolve(&mut self, ticket: Ticket, resolution: Resolution, now: Timestamp) -> Result<(), Error> {
        self.advance(now);
        let hook = self.parked.commands.get(&ticket).ok_or(Error::no_target())?.hook();
        if !hook.takes(&resolution) {
            return Err(Error::WrongAnswer);
        }
        let command = self.parked.take(ticket).ok_or(Error::no_target())?;
        self.timers.cancel(Timer::Hook(ticket.0));
        self.go_on(ticket, command, resolution);
        self.gate.end_operation();
        self.send_also();
        Ok(())
    }

    /// A deferred hook has not answered in time: the default flow goes on.
    pub(crate) fn hook_expired(&mut self, ticket: Ticket) {
        let Some(command) = self.parked.take(ticket) else { return };
        let fails = matches!(command, Command::Send { .. }) && self.config.hooks_fail_closed;
        self.tell_fault(command.hook(), HookFault::Expired);
        let resolution =
            if fails { Resolution::Message(Verdict { drop: true, ..Verdict::default() }) } else { Resolution::Default };
        self.go_on(ticket, command, resolution);
    }

    fn go_on(&mut self, ticket: Ticket, command: Command, resolution: Resolution) {
        match command {
            Command::Open { actor, open } => {
                let login = if let Resolution::SignIn(login) = resolution { login } else { Login::refuse() };
                self.resume_open(actor, open, &login);
            }
            Command::Push { message, own, away } => {
                let choice = match resolution {
                    Resolution::Push(choice) => choice,
                    _ => PushChoice::default(),
                };
                self.push(&message, own.as_deref(), away, choice);
            }
            Command::Send { actor, draft, lane, also } => {
                debug_assert_eq!(actor.ticket, ticket);
                let verdict = match resolution {
                    Resolution::Message(verdict) => verdict,
                    _ => Verdict::default(),
                };
                self.unpark_send(actor, draft, verdict, also);
                self.unpin(actor.peer);
                self.release_lane(&lane);
            }
        }
    }

    fn unpark_send(&mut self, actor: Actor, draft: Draft, verdict: Verdict, also: Vec<Actor>) {
        let retry = draft.clone();
        // A sender whose session is gone still sends: it was told nothing else.
        let actor = self.without_lost_session(actor);
        let sent = self.resume_send(actor, draft, verdict);
        if let Err(error) = &sent {
            self.reply_now(actor, Err(error.clone()));
        }
        for actor in also {
            let actor = self.without_lost_session(actor);
            match &sent {
                Ok(()) => drop(self.send(actor, retry.clone())),
                Err(error) => self.reply_now(actor, Err(error.clone())),
            }
        }
    }

    /// A parked command names a peer no more.
    pub(crate) fn unpin(&mut self, peer: u32) {
        self.peers[peer].pinned -= 1;
        self.peers.forget(peer);
    }

    /// Messages that waited behind a parked one go on, until another of them is parked.
    fn release_lane(&mut self, lane: &Lane) {
        let Some(mut behind) = self.parked.behind.remove(lane) else { return };
        while let Some((actor, draft)) = behind.pop_front() {
            self.parked.waiting -= 1;
            let actor = self.without_lost_session(actor);
            if let Err(error) = self.send(actor, draft) {
                self.reply_now(actor, Err(error));
            }
            self.unpin(actor.peer);
            if self.parked.is_held(lane) {
                self.parked.behind.entry(lane.clone()).or_default().extend(behind);
                return;
            }
        }
    }

    /// The transport of a session whose open is parked is gone: nobody waits for the answer.
    pub(crate) fn forget_opening(&mut self, session: SessionId) {
        let slot = session.slot();
        let ticket = self.parked.commands.iter().find_map(|(ticket, command)| match command {
            Command::Open { actor, .. } if actor.session.is_some_and(|s| s.slot == slot) => Some(*ticket),
            _ => None,
        });
        if let Some(ticket) = ticket {
            self.parked.take(ticket);
            self.timers.cancel(Timer::Hook(ticket.0));
        }
        if let Some(held) = self.sessions.remove(slot) {
            self.peers[held.peer].pinned -= 1;
            self.peers.forget(held.peer);
        }
    }
}
