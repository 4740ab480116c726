//! Everything that is told, compared with what should be.

use std::collections::VecDeque;

use switchboard::{ConversationKind, Error, Event, Output, Reply, Update};

use crate::reference::{Ear, Expected, What, When};

use super::{COMMIT_AFTER, Checked, World, reference_of, same};

/// Something expected, and since when.
pub(super) struct Waiting {
    pub(super) since: u64,
    pub(super) expected: Expected,
}

impl World {
    /// Waiting reads are done, unless they are held; everything told is compared.
    pub(super) fn settle(&mut self) -> Checked {
        if !self.hold_reads {
            self.read();
        }
        self.drain()?;
        self.expect_answers()
    }

    pub(super) fn drain(&mut self) -> Checked {
        self.bind_directs()?;
        self.compare_questions()?;
        let since = self.model.now;
        for expected in std::mem::take(&mut self.model.expected) {
            let ear = expected.ear;
            if let Some(waiting) = self.owe(Waiting { since, expected }) {
                self.queues.entry(ear).or_default().push_back(waiting);
            }
        }
        while let Some(output) = self.engine.poll_output() {
            self.hear(output)?;
        }
        same("faults of hooks", self.faults, self.model.hooks.faults)?;
        for (ear, queue) in &self.queues {
            if let Some(missing) = queue.iter().find(|waiting| waiting.expected.when == When::Now) {
                return Err(format!("{ear:?} was not told at once {:?}", missing.expected.what));
            }
        }
        Ok(())
    }

    /// A reply that waited too long for the store has been answered.
    fn expect_answers(&self) -> Checked {
        let is_late = |waiting: &&Waiting| {
            let gated = matches!(waiting.expected.when, When::After(commit) if commit > self.model.durable);
            let is_reply = matches!(waiting.expected.what, What::Reply(..));
            gated && is_reply && waiting.since + COMMIT_AFTER <= self.model.now
        };
        let late = self.queues.values().flatten().find(is_late);
        late.map_or(Ok(()), |late| Err(format!("nobody says that the store is slow: {:?}", late.expected)))
    }

    fn hear(&mut self, output: Output) -> Checked {
        match output {
            Output::Deliver(deliver) => {
                for session in deliver.audience.iter() {
                    let session = self.by_ref.get(&session).copied();
                    if let Some(session) = session.filter(|session| self.takes(*session, deliver.class)) {
                        self.trace.push(format!("        session {session} hears {:?}", deliver.update));
                        self.hear_update(session, &deliver.update)?;
                    }
                }
                Ok(())
            }
            Output::Push(push) => {
                let Some(waiting) = self.queues.get_mut(&Ear::Host).and_then(VecDeque::pop_front) else {
                    return Err(format!("an unexpected push: {push:?}"));
                };
                self.ids.check_push(&self.model, &waiting.expected.what, &push)
            }
            Output::Live { session, catch_up } => {
                if let Some(session) = self.by_ref.get(&reference_of(session)).copied() {
                    self.slow_session_is_live(session, catch_up);
                }
                self.hear_live(session)
            }
            Output::Close { session } => {
                if let Some(session) = self.by_ref.remove(&reference_of(session)) {
                    self.queues.remove(&Ear::Session(session));
                }
                Ok(())
            }
            Output::Event(Event::HookFault { .. }) => {
                self.faults += 1;
                Ok(())
            }
            Output::Event(Event::RecordDamaged { .. } | Event::SignatureRefused { .. }) => {
                Err(format!("an event that must not be: {output:?}"))
            }
            _ => Ok(()),
        }
    }

    fn hear_update(&mut self, session: usize, update: &Update) -> Checked {
        if let Update::Message { message, .. } = update
            && let Some(at) =
                self.model.messages.iter().position(|held| message.content.as_text() == Some(&held.content))
        {
            self.model.sessions[session].seen.push(at);
        }
        if let Update::Reply { result: Ok(Reply::Opened(opened)), .. } = update {
            self.handles[session].token = opened.token.as_str().to_owned();
        }
        if self.is_late_answer(session, update) {
            return Ok(());
        }
        let is_slow = self.outboxes.contains_key(&session);
        if let Update::Message { message, .. } = update
            && is_slow
            && message.kind != ConversationKind::Room
        {
            return self.hear_slowly(session, message, update);
        }
        if let Update::Gap(gap) = update
            && gap.conversation.is_none()
            && let Some(heard) = self.hear_of_missed(session, gap.count)
        {
            return heard;
        }
        // After a crash a receipt of before may be told or not.
        let tolerated =
            self.model.sessions[session].unsure && matches!(update, Update::Receipt { .. } | Update::ReceivedTo { .. });
        let Some(queue) = self.queues.get_mut(&Ear::Session(session)).filter(|queue| !tolerated || !queue.is_empty())
        else {
            if tolerated {
                return Ok(());
            }
            return Err(format!("session {session} was told {update:?}, and nothing is expected"));
        };
        let durable = self.model.durable;
        let mut wrong = None;
        for at in candidates(queue) {
            let expected = &queue[at].expected;
            if expected.what == What::Anything && tolerated {
                return Ok(());
            }
            if expected.what == What::Anything {
                let missed = match update {
                    Update::Gap(gap) if gap.conversation.is_none() => Some(What::Missed(gap.count)),
                    _ => None,
                };
                if let Some(at) = queue.iter().position(|waiting| Some(&waiting.expected.what) == missed.as_ref()) {
                    queue.remove(at);
                    return Ok(());
                }
                return self.hear_anything(session, update);
            }
            match self.ids.check(&self.model, &self.tickets, &expected.what, update) {
                Ok(()) if matches!(expected.when, When::After(commit) if commit > durable) => {
                    return Err(format!("session {session} was told too early {update:?}"));
                }
                Ok(()) => {
                    queue.remove(at);
                    // What may never be told comes in its turn or not at all.
                    let mut place = 0;
                    queue.retain(|waiting| {
                        place += 1;
                        place > at || !is_optional(waiting) || waiting.expected.when == When::Now
                    });
                    return Ok(());
                }
                Err(difference) => wrong = Some(difference),
            }
        }
        if tolerated {
            Ok(())
        } else {
            Err(format!("session {session} was told {update:?}: {}", wrong.unwrap_or_default()))
        }
    }

    /// Takes the answer that a request waited too long.
    fn is_late_answer(&mut self, session: usize, update: &Update) -> bool {
        let Update::Reply { ticket, result: Err(Error::MayBeStored) } = update else { return false };
        let (number, now) = (self.tickets.get(ticket).copied(), self.model.now);
        let Some(queue) = self.queues.get_mut(&Ear::Session(session)) else { return false };
        let is_it = |waiting: &Waiting| {
            let is_it = matches!(&waiting.expected.what, What::Reply(held, _) if Some(*held) == number);
            is_it && waiting.since + COMMIT_AFTER <= now
        };
        let found = queue.iter().position(is_it);
        found.map(|at| queue.remove(at)).is_some()
    }

    /// After a commit and all reads nobody waits for anything, unless a read staged something.
    pub(super) fn expect_silence(&mut self) -> Checked {
        self.queues.values_mut().for_each(|queue| queue.retain(|waiting| !is_optional(waiting)));
        self.expect_caught_up()?;
        for _ in 0..3 {
            if self.queues.values().all(VecDeque::is_empty) {
                return Ok(());
            }
            if !self.engine.has_work() {
                break;
            }
            if self.disk.is_faulty() {
                self.begin();
                self.finish_commit(false)?;
            } else {
                self.write_all()?;
            }
            self.read();
            self.drain()?;
        }
        let left = self.queues.iter().find(|(_, queue)| !queue.is_empty());
        match left.and_then(|(ear, queue)| Some((ear, queue.front()?))) {
            Some((ear, first)) => Err(format!("{ear:?} was never told {:?}", first.expected)),
            None => Ok(()),
        }
    }
}

/// Where in a queue the next update may be: the first that is due at once, or the first that waits; of several gaps any.
fn candidates(queue: &VecDeque<Waiting>) -> Vec<usize> {
    let is_now = |at: &usize| queue[*at].expected.when == When::Now;
    let first_now = (0..queue.len()).find(is_now);
    let mut ordered = (0..queue.len()).filter(|at| !is_now(at));
    let mut found: Vec<usize> = first_now.into_iter().collect();
    let Some(first) = ordered.next() else { return found };
    found.push(first);
    let is_gap = |at: &usize| matches!(queue[*at].expected.what, What::Gap { .. });
    if is_optional(&queue[first]) {
        let optional = ordered.clone().take_while(|at| is_optional(&queue[*at])).count();
        found.extend(ordered.take(optional + 1));
    } else if is_gap(&first) {
        found.extend(ordered.take_while(is_gap));
    }
    found
}

fn is_optional(waiting: &Waiting) -> bool {
    matches!(waiting.expected.what, What::Receipt { maybe: true, .. })
}
