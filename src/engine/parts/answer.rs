//! What is said to sessions and to the host: at once, or once what is staged is durable.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Error;
use crate::event::Event;
use crate::output::{Audience, Class, Deliver, Output, SessionRef};
use crate::rows::record::RecordError;
use crate::state::actor::{Actor, Gated};
use crate::timers::Timer;
use crate::update::{Gap, GapCause, Reply, Update};

impl Engine {
    pub(crate) fn report_damage(&mut self, damaged: Vec<RecordError>) {
        for error in damaged {
            self.tell(Event::RecordDamaged { error });
        }
    }

    /// Answers a request, once what it staged is durable.
    pub(crate) fn reply(&mut self, actor: Actor, reply: Reply) {
        let commit = self.gate.newest();
        if !self.gate.is_durable(commit) {
            self.gated.push_back(Gated { until: self.now + self.config.commit_after, commit, actor });
            self.timers.set_once(Timer::Gated, self.now + self.config.commit_after);
        }
        let output = Self::answer(actor, Ok(reply));
        self.gate.emit(output);
    }

    /// Answers a request at once: nothing that it rests on is staged.
    pub(crate) fn reply_now(&mut self, actor: Actor, result: Result<Reply, Error>) {
        let waits = actor.session.is_some_and(|session| self.is_waiting(session.slot));
        let output = Self::answer(actor, result);
        if waits { self.gate.emit(output) } else { self.gate.emit_now(output) }
    }

    pub(crate) fn answer(actor: Actor, result: Result<Reply, Error>) -> Output {
        let ticket = actor.ticket;
        match actor.session {
            Some(session) => Output::Deliver(Deliver {
                audience: Audience::One(session),
                update: Arc::new(Update::Reply { ticket, result }),
                class: Class::Reply,
            }),
            None => Output::Event(Event::Answered { ticket, result }),
        }
    }

    /// Whether a session's `opened` waits for the store: nothing may overtake it.
    fn is_waiting(&self, slot: u32) -> bool {
        self.sessions.get(slot).is_some_and(|session| !self.gate.is_durable(session.opened_with))
    }

    /// Tells one session something, once everything staged so far is durable.
    pub(crate) fn deliver(&mut self, session: SessionRef, update: impl Into<Arc<Update>>, class: Class) {
        let (audience, update) = (Audience::One(session), update.into());
        self.gate.emit(Output::Deliver(Deliver { audience, update, class }));
    }

    /// Tells one session something at once, but not before its `opened`.
    pub(crate) fn deliver_now(&mut self, session: SessionRef, update: Arc<Update>, class: Class) {
        let output = Output::Deliver(Deliver { audience: Audience::One(session), update, class });
        if self.is_waiting(session.slot) { self.gate.emit(output) } else { self.gate.emit_now(output) }
    }

    /// Tells all open sessions of some peers but one something that is in no log, once everything staged so far is durable.
    pub(crate) fn deliver_to(&mut self, peers: &[u32], except: Option<SessionRef>, update: impl Into<Arc<Update>>) {
        let sessions = self.open_sessions(peers.iter().copied());
        if sessions.iter().any(|session| Some(*session) != except) {
            let audience = Audience::Many { sessions: Arc::new(sessions), except };
            self.gate.emit(Output::Deliver(Deliver { audience, update: update.into(), class: Class::Transient }));
        }
    }

    /// Tells all sessions of some peers but one something that is in no log, once everything staged so far is durable. Who is
    /// paused hears it when it is resumed.
    pub(crate) fn notify(&mut self, peers: &[u32], except: Option<SessionRef>, update: Update) {
        let update = Arc::new(update);
        for peer in peers {
            for paused in &self.peers[*peer].paused {
                self.sessions[*paused].details.notices.keep(Arc::clone(&update));
            }
        }
        self.deliver_to(peers, except, update);
    }

    /// Tells a session that was resumed what it missed in its pause, how much went before it first.
    pub(crate) fn give_notices(&mut self, slot: u32) {
        let (kept, dropped) = self.sessions[slot].details.notices.take();
        let session = self.sessions.reference(slot);
        if dropped > 0 {
            let gap = Gap { conversation: None, from: 0, to: 0, count: dropped, cause: GapCause::Overflow };
            self.deliver(session, Update::Gap(gap), Class::Reply);
        }
        kept.into_iter().for_each(|update| self.deliver(session, update, Class::Transient));
    }

    /// The open sessions of some peers, sorted.
    pub(crate) fn open_sessions(&self, peers: impl Iterator<Item = u32>) -> Vec<SessionRef> {
        let slots = peers.flat_map(|peer| self.peers[peer].sessions.iter().copied());
        let mut sessions: Vec<_> = slots.map(|slot| self.sessions.reference(slot)).collect();
        sessions.sort_unstable();
        sessions
    }

    /// Tells the host something at once.
    pub(crate) fn tell(&mut self, event: Event) {
        self.gate.emit_now(Output::Event(event));
    }
}
