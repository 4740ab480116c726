//! Time, ids, positions and tickets: what is given out once.

use rand_core::Rng;

use crate::engine::Engine;
use crate::event::Event;
use crate::id::{MessageId, Ticket};
use crate::time::Timestamp;
use crate::timers::Timer;

impl Engine {
    /// Messages at or before this time are old by `after`; none are while the time is in doubt.
    pub(crate) fn deletion_before(&self, after: std::time::Duration) -> Option<Timestamp> {
        (!self.time_in_doubt).then(|| self.host_time.shown() - after)
    }

    /// Time moves forward only: a host's clock that is set back stops nothing. A jump of more than an hour stops deletion by
    /// age until the host confirms it.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        const JUMP: std::time::Duration = std::time::Duration::from_secs(3600);
        let before = self.host_time.shown();
        if now > before + JUMP {
            self.time_in_doubt = true;
            self.tell(Event::TimeJumped { from: before, to: now });
        }
        self.host_time.tell(now);
        self.now = self.host_time.running();
    }

    /// The time to write on what happens now: the host's, but never before that of a message.
    pub(crate) fn stamp(&self) -> Timestamp {
        self.host_time.shown().max(self.last_id.0)
    }

    /// The newest message that the store has is of time `at`: ids and times go on after it. It may have been made in this very
    /// millisecond.
    pub(crate) fn stamp_after(&mut self, at: Timestamp) {
        self.last_id = self.last_id.max((at, MessageId::PER_MILLISECOND_MAX));
    }

    /// A temporary conversation is looked at again once the time of its end is over.
    pub(crate) fn wake_at_end(&mut self, slot: u32, at: Timestamp) {
        let over = self.host_time.running_at(at) + std::time::Duration::from_millis(1);
        self.timers.set(Timer::Temporary(slot), over);
    }

    pub(crate) fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        ticket
    }

    /// The next place in the order of all facts.
    pub(crate) fn next_position(&mut self) -> u64 {
        self.position += 1;
        self.position
    }

    /// A new message id, and the time that it was made at: the host's, or that of the newest message where that is ahead, or
    /// just after it where one millisecond has too many.
    pub(crate) fn next_id(&mut self) -> (MessageId, Timestamp) {
        let (now, (at, count)) = (self.host_time.shown(), self.last_id);
        self.last_id = match () {
            () if now > at => (now, 0),
            () if count < MessageId::PER_MILLISECOND_MAX => (at, count + 1),
            () => (at + std::time::Duration::from_millis(1), 0),
        };
        (MessageId::new(self.last_id.0, self.last_id.1, self.random.next_u64()), self.last_id.0)
    }
}
