//! Commands that wait for a deferred hook, and pushes with their own question.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::error::Error;
use crate::hooks::{Answer, PushChoice, ReceiversOffline, Resolution, Verdict};
use crate::id::{PeerId, RetryToken, SessionId, Ticket};
use crate::message::{Draft, Message};
use crate::output::{Event, HookFault, Output, Push, PushRecipient};
use crate::request::Open;
use crate::timers::Timer;
use crate::{ConversationKind, Timestamp};

use super::{Actor, Engine};

/// A command that waits.
#[derive(Debug)]
pub(super) enum Command {
    /// An open, for [`Hooks::sign_in`](crate::Hooks::sign_in).
    Open { actor: Actor, open: Open },
    /// A message, for [`Hooks::message_received`](crate::Hooks::message_received); repeated attempts wait with it.
    Send { actor: Actor, draft: Draft, lane: Lane, also: Vec<Actor> },
    /// A push, for [`Hooks::receivers_offline`](crate::Hooks::receivers_offline). Its message is sent already.
    Push { message: Arc<Message>, own: Option<String>, away: Vec<u32> },
}

/// In what a sender's messages keep their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    Conversation(u32, u32),
    Peers(u32, Vec<PeerId>),
}

/// What waits for deferred hooks.
#[derive(Debug, Default)]
pub(super) struct Parked {
    commands: BTreeMap<Ticket, Command>,
    /// Messages that wait behind a parked one of the same sender to the same conversation.
    behind: HashMap<Lane, VecDeque<(Actor, Draft)>, rustc_hash::FxBuildHasher>,
    waiting: usize,
}

impl Parked {
    /// Whether a message of this lane is parked.
    pub(super) fn is_held(&self, lane: &Lane) -> bool {
        !self.behind.is_empty() && self.behind.contains_key(lane)
    }

    /// Lets a message wait behind the parked one of its lane.
    pub(super) fn hold(&mut self, lane: Lane, actor: Actor, draft: Draft) {
        self.waiting += 1;
        self.behind.entry(lane).or_default().push_back((actor, draft));
    }

    /// Lets a repeated attempt wait with the first one; false where none is parked.
    pub(super) fn join(&mut self, actor: Actor, token: &RetryToken) -> bool {
        let parked = self.commands.values_mut().find_map(|command| match command {
            Command::Send { actor: first, draft, also, .. }
                if first.peer == actor.peer && draft.retry_token.as_ref() == Some(token) =>
            {
                Some(also)
            }
            _ => None,
        });
        parked.map(|also| also.push(actor)).is_some()
    }

    fn len(&self) -> usize {
        self.commands.len() + self.waiting
    }
}

impl Engine {
    /// Whether another command may be parked.
    pub(super) fn may_park(&self) -> Result<(), Error> {
        let max = self.config.parked_max;
        if self.parked.len() >= max { Err(Error::OverLimit { limit: "parked_max", max: max as u64 }) } else { Ok(()) }
    }

    /// Parks a command until its hook answers or its deadline passes.
    pub(super) fn park(&mut self, ticket: Ticket, command: Command) {
        if let Command::Send { lane, .. } = &command {
            self.parked.behind.entry(lane.clone()).or_default();
        }
        self.parked.commands.insert(ticket, command);
        self.timers.set(Timer::Hook(ticket.0), self.now + self.config.hook_deadline);
    }

    /// A deferred hook answers. The command starts again at its check, with the answer in hand.
    ///
    /// # Errors
    /// [`Error::InvalidTarget`] where no such question is open: it was answered, or its deadline has passed.
    pub fn resolve(&mut self, ticket: Ticket, resolution: Resolution, now: Timestamp) -> Result<(), Error> {
        self.advance(now);
        let command = self.parked.commands.remove(&ticket).ok_or(Error::no_target())?;
        self.timers.cancel(Timer::Hook(ticket.0));
        self.go_on(ticket, command, resolution);
        self.gate.end_operation();
        Ok(())
    }

    /// A deferred hook has not answered in time: the default flow goes on.
    pub(super) fn hook_expired(&mut self, ticket: Ticket) {
        let Some(command) = self.parked.commands.remove(&ticket) else { return };
        let (hook, fails) = match &command {
            Command::Open { .. } => ("sign_in", false),
            Command::Send { .. } => ("message_received", self.config.hooks_fail_closed),
            Command::Push { .. } => ("receivers_offline", false),
        };
        self.tell(Event::HookFault { hook, fault: HookFault::Expired });
        let resolution =
            if fails { Resolution::Message(Verdict { drop: true, ..Verdict::default() }) } else { Resolution::Default };
        self.go_on(ticket, command, resolution);
    }

    fn go_on(&mut self, ticket: Ticket, command: Command, resolution: Resolution) {
        match command {
            Command::Open { actor, open } => self.resume_open(actor, open, resolution == Resolution::SignIn(true)),
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
    fn unpin(&mut self, peer: u32) {
        self.peers[peer].pinned -= 1;
        self.peers.forget(peer);
    }

    fn without_lost_session(&self, actor: Actor) -> Actor {
        let session = actor.session.filter(|session| {
            let held = self.sessions.get(session.slot);
            held.is_some_and(|held| held.generation == session.generation && held.state == crate::session::State::Open)
        });
        Actor { session, ..actor }
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
    pub(super) fn forget_opening(&mut self, session: SessionId) {
        let slot = session.slot();
        let ticket = self.parked.commands.iter().find_map(|(ticket, command)| match command {
            Command::Open { actor, .. } if actor.session.is_some_and(|s| s.slot == slot) => Some(*ticket),
            _ => None,
        });
        if let Some(ticket) = ticket {
            self.parked.commands.remove(&ticket);
            self.timers.cancel(Timer::Hook(ticket.0));
        }
        if let Some(held) = self.sessions.remove(slot) {
            self.peers[held.peer].pinned -= 1;
            self.peers.forget(held.peer);
        }
    }

    /// Wakes the members of a conversation who are offline and not logged out.
    pub(super) fn wake_absent(
        &mut self,
        actor: Actor,
        own: Option<&str>,
        slot: Option<u32>,
        message: &Arc<Message>,
        narrowed: Option<&[u32]>,
    ) {
        let asks = self.hooks.interests().receivers_offline;
        let Some(slot) = slot.filter(|_| asks || own.is_some() || self.config.push_text.is_some()) else { return };
        let away = Arc::clone(&self.reach(slot).away);
        let is_for =
            |peer: &u32| *peer != actor.peer && narrowed.is_none_or(|narrowed| narrowed.binary_search(peer).is_ok());
        let away: Vec<u32> = away.iter().copied().filter(is_for).collect();
        if away.is_empty() {
            return;
        }
        let choice = if asks { self.ask_offline(message, own, &away) } else { Some(PushChoice::default()) };
        if let Some(choice) = choice {
            self.push(message, own, away, choice);
        }
    }

    /// Asks the hook about a push; `None` where it answers later.
    fn ask_offline(&mut self, message: &Arc<Message>, own: Option<&str>, away: &[u32]) -> Option<PushChoice> {
        let ticket = self.ticket();
        let offline: Vec<PeerId> = away.iter().map(|peer| self.peers[*peer].id.clone()).collect();
        let question = ReceiversOffline {
            ticket,
            from: &message.from,
            conversation: Some(&message.conversation).filter(|_| message.kind != ConversationKind::Direct),
            offline: &offline,
            content: &message.content,
            timestamp: message.timestamp,
        };
        match self.ask("receivers_offline", |hooks| hooks.receivers_offline(&question)) {
            Ok(Answer::Now(choice)) => Some(choice),
            Ok(Answer::Defer) if self.may_park().is_ok() => {
                let command =
                    Command::Push { message: Arc::clone(message), own: own.map(str::to_owned), away: away.to_vec() };
                self.park(ticket, command);
                None
            }
            Ok(Answer::Default | Answer::Defer) | Err(()) => Some(PushChoice::default()),
        }
    }

    /// Asks the host for a push: with the hook's text, else the message's, else the static one.
    fn push(&mut self, message: &Arc<Message>, own: Option<&str>, mut away: Vec<u32>, choice: PushChoice) {
        let text = choice.text.as_deref().or(own).or(self.config.push_text.as_deref());
        let Some(text) = text.filter(|_| !choice.skip).map(str::to_owned) else { return };
        if let Some(chosen) = &choice.offline {
            let chosen: std::collections::BTreeSet<u32> =
                chosen.iter().filter_map(|peer| self.peers.find(peer)).collect();
            away.retain(|peer| chosen.contains(peer));
        }
        let recipients: Vec<PushRecipient> = away
            .into_iter()
            .map(|peer| PushRecipient { peer: self.peers[peer].id.clone(), badge: self.badge(peer) })
            .collect();
        if !recipients.is_empty() {
            let push = Push { recipients, text, message: Arc::clone(message), force: choice.force };
            self.gate.emit(Output::Push(push));
        }
    }
}
