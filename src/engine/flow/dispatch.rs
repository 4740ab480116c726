//! Requests come in, outputs go out, and time passes: what calls the verbs.

use crate::engine::Engine;
use crate::engine::flow::hold::makes_room;
use crate::error::Error;
use crate::event::Event;
use crate::id::{SessionId, Ticket};
use crate::output::Output;
use crate::request::Request;
use crate::state::actor::Actor;
use crate::time::Timestamp;
use crate::timers::Timer;
use crate::update::Update;

impl Engine {
    /// Asks something in the name of an open session. The answer is an [`Update::Reply`] that names the ticket;
    /// acknowledgements have none.
    ///
    /// # Errors
    /// Why the request was refused; nothing has happened then.
    pub fn request(&mut self, session: SessionId, request: Request, now: Timestamp) -> Result<Ticket, Error> {
        self.advance(now);
        let actor = self.actor(session)?;
        if !makes_room(&request)
            && let Err(error) = self.may_answer()
        {
            self.end_request(true);
            return Err(error);
        }
        if self.must_wait(actor, &request) {
            let held = self.hold_request(actor, request);
            self.end_request(held.is_err());
            return held;
        }
        let staged = self.gate.staged_bytes();
        let done = self.perform(actor, request);
        self.count_staged(actor, staged);
        self.end_request(done.is_err());
        done.map(|()| actor.ticket)
    }

    /// What every request ends with, whatever became of it.
    pub(crate) fn end_request(&mut self, refused: bool) {
        self.alarms.count_request(refused);
        if refused {
            self.tell_refused();
        }
        self.gate.end_operation();
        self.send_also();
    }

    pub(crate) fn perform(&mut self, actor: Actor, request: Request) -> Result<(), Error> {
        match request {
            Request::Send(draft) => self.send(actor, draft),
            Request::Watch { peers, signature } => self.watch(actor, &peers, signature.as_ref()),
            Request::Unwatch { peers } => self.unwatch(actor, &peers),
            Request::QueryOnline { peers } => self.query_online(actor, &peers),
            Request::Create(create) => self.create(actor, create),
            Request::Join { conversation, signature } => self.join(actor, &conversation, signature.as_ref()),
            Request::Leave { conversation } => self.leave(actor, &conversation),
            Request::Invite { conversation, peers, signature } => {
                self.invite(actor, &conversation, &peers, signature.as_ref())
            }
            Request::Kick { conversation, peers, signature } => {
                self.kick(actor, &conversation, &peers, signature.as_ref())
            }
            Request::Members { conversation } => self.members(actor, &conversation),
            Request::Describe { conversation } => self.describe(actor, &conversation),
            Request::Conversations => self.list_conversations(actor),
            Request::Count { conversation } => self.count(actor, &conversation),
            Request::History { conversation, page } => self.history(actor, &conversation, page),
            Request::Unread => self.unread(actor),
            Request::Acknowledge { messages, read } => self.acknowledge(actor, &messages, read),
            Request::MarkRead { conversation, up_to } => self.mark_read(actor, &conversation, up_to),
            Request::Close => self.log_out(actor),
        }
    }

    /// The next piece of work for the host.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.gate.next_immediate() {
            if let Output::Close { session } = &output {
                self.sessions.was_told(session.slot());
            }
            return Some(output);
        }
        loop {
            let output = self.gate.next_ordered()?;
            if !self.was_answered(&output) {
                return Some(output);
            }
        }
    }

    /// Whether this is a reply that was answered early, and so has nothing left to say.
    fn was_answered(&mut self, output: &Output) -> bool {
        if self.answered.is_empty() {
            return false;
        }
        let ticket = match output {
            Output::Event(Event::Answered { ticket, .. }) => Some(*ticket),
            Output::Deliver(deliver) => match &*deliver.update {
                Update::Reply { ticket, .. } => Some(*ticket),
                _ => None,
            },
            _ => None,
        };
        ticket.is_some_and(|ticket| self.answered.remove(&ticket))
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, by the clock that the host told the time of last.
    ///
    /// A host whose clock may be set back looks again every second or so; a [`Clock`](crate::Clock) never is.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next_at().map(|at| self.host_time.shown_at(at))
    }

    /// Does what is due, a bounded amount: call it again at once where [`poll_timeout`](Self::poll_timeout) has not moved on.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
        for _ in 0..self.config.timeouts_per_call_max {
            let Some(timer) = self.timers.take_due(self.now) else { break };
            self.wake(timer);
            self.gate.end_operation();
            self.send_also();
        }
    }

    pub(crate) fn wake(&mut self, timer: Timer) {
        match timer {
            Timer::Presence => self.tell_presence(),
            Timer::Cursors => self.write_cursors(),
            Timer::Gated => self.answer_gated(),
            Timer::Hook(ticket) => self.hook_expired(Ticket(ticket)),
            Timer::Resume(slot, generation) => self.resume_expired(slot, generation),
            Timer::Temporary(slot) => self.conversation_expired(slot),
            Timer::Sweep => self.sweep(),
            Timer::Alarms => self.compare_alarms(),
        }
    }

    /// Replies that waited too long for the store are answered: their messages may be stored.
    fn answer_gated(&mut self) {
        let now = self.now;
        while let Some(gated) = self.gated.pop_front_if(|gated| gated.until <= now) {
            if !self.gate.is_durable(gated.commit) {
                self.answered.insert(gated.actor.ticket);
                self.gate.emit_now(Self::answer(gated.actor, Err(Error::MayBeStored)));
            }
        }
        self.expire_held();
        if let Some(next) = self.gated.front() {
            self.timers.set(Timer::Gated, next.until);
        }
    }
}
