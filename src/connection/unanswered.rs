//! Requests whose reply has not come, with the serials that the replies will echo.

use std::collections::VecDeque;

use super::wire::{Asked, Serial};
use crate::id::{SessionId, Ticket};

/// What is known of a request when its reply comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) session: SessionId,
    pub(super) serial: Option<Serial>,
    pub(super) asked: Asked,
}

/// The open requests of a connection, sorted by ticket: tickets rise and replies come mostly in order, so that both ends of
/// a ring are all that moves.
#[derive(Debug, Default)]
pub(super) struct Unanswered(VecDeque<(Ticket, Question)>);

impl Unanswered {
    /// Places that an empty ring may keep.
    const IDLE_ENTRIES_MAX: usize = 8;

    pub(super) fn add(&mut self, ticket: Ticket, question: Question) {
        let at = match self.0.back() {
            Some((newest, _)) if *newest >= ticket => self.0.partition_point(|(other, _)| *other < ticket),
            _ => self.0.len(),
        };
        self.0.insert(at, (ticket, question));
    }

    /// The question that a reply answers.
    pub(super) fn answer(&mut self, ticket: Ticket) -> Option<Question> {
        let at = self.0.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()?;
        let (_, question) = self.0.remove(at)?;
        self.tidy();
        Some(question)
    }

    /// Nobody waits any more for what a session asked.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.0.retain(|(_, question)| question.session != session);
        self.tidy();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.0.capacity() * size_of::<(Ticket, Question)>()
    }

    fn tidy(&mut self) {
        if self.0.is_empty() && self.0.capacity() > Self::IDLE_ENTRIES_MAX {
            self.0 = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(slot: u32) -> Question {
        let session = SessionId { node: 0, epoch: 0, slot, generation: 0 };
        Question { session, serial: Some(u64::from(slot)), asked: Asked::Other }
    }

    #[test]
    fn each_reply_finds_its_question_in_whatever_order_they_come() {
        let mut unanswered = Unanswered::default();
        for ticket in [5, 9, 7, 1, 8] {
            unanswered.add(Ticket(ticket), question(u32::try_from(ticket).unwrap()));
        }
        for ticket in [7, 9, 1, 5] {
            let serial = unanswered.answer(Ticket(ticket)).unwrap().serial;
            assert_eq!((serial, unanswered.answer(Ticket(ticket))), (Some(ticket), None));
        }
        assert_eq!(unanswered.len(), 1);
    }

    #[test]
    fn what_a_session_asked_goes_with_it_and_an_empty_ring_is_small() {
        let mut unanswered = Unanswered::default();
        (0..1_024).for_each(|ticket| unanswered.add(Ticket(ticket), question(u32::from(ticket % 2 == 0))));
        assert!(unanswered.held_bytes() <= 48 * 1_024, "{}", unanswered.held_bytes());
        unanswered.forget(question(1).session);
        assert_eq!((unanswered.len(), unanswered.answer(Ticket(0))), (512, None));
        unanswered.forget(question(0).session);
        assert_eq!((unanswered.len(), unanswered.held_bytes()), (0, 0));
    }
}
