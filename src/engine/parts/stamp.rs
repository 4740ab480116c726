//! Time, ids, positions and tickets: what is given out once.

use rand_core::Rng;

use crate::engine::Engine;
use crate::event::Event;
use crate::id::{MessageId, Ticket};
use crate::time::Timestamp;

impl Engine {
    /// Messages at or before this time are old by `after`; none are while the time is in doubt.
    pub(crate) fn deletion_before(&self, after: std::time::Duration) -> Option<Timestamp> {
        (!self.time_in_doubt).then(|| self.now - after)
    }

    /// Time moves forward only. A jump of more than an hour stops deletion by age until the host confirms it.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        const JUMP: std::time::Duration = std::time::Duration::from_secs(3600);
        if now > self.now + JUMP {
            self.time_in_doubt = true;
            self.tell(Event::TimeJumped { from: self.now, to: now });
        }
        self.now = self.now.max(now);
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

    /// A new message id, and the time that it was made at: the engine's, or just after where one millisecond has too many.
    pub(crate) fn next_id(&mut self) -> (MessageId, Timestamp) {
        let (at, count) = self.last_id;
        self.last_id = match () {
            () if self.now > at => (self.now, 0),
            () if count < MessageId::PER_MILLISECOND_MAX => (at, count + 1),
            () => (at + std::time::Duration::from_millis(1), 0),
        };
        (MessageId::new(self.last_id.0, self.last_id.1, self.random.next_u64()), self.last_id.0)
    }
}
