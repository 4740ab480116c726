//! Sessions that read slowly: the host's outbox for them holds few logged messages, and the host says when it has overflowed
//! and when there is room again.
//!
//! Such a session hears every logged message that is for it once, those of one conversation in their order, and never its own.
//! Transient ones it hears, or it is told how many passed it by.

use std::collections::VecDeque;

use switchboard::{Class, Message, Update};

use crate::reference::{Ear, Kind, State, What, When};

use super::hearing::Waiting;
use super::{Checked, START, World};

/// What the host holds for one such session.
pub(super) struct Outbox {
    room: usize,
    held: usize,
    /// Whether logged messages reach it as they come.
    is_live: bool,
    /// The catch-up that did not fit.
    broken: Option<u32>,
    is_lagging: bool,
    /// What it must hear, sooner or later.
    owed: VecDeque<Waiting>,
    /// Transient messages that it has not heard.
    passing: VecDeque<usize>,
    missed: u64,
}

impl Outbox {
    /// Whether it takes an update, and from which position on it has no room.
    fn offer(&mut self, class: Class) -> (bool, Option<u64>) {
        let has_room = self.held < self.room;
        let (takes, overflows_at) = match class {
            Class::Reply | Class::Transient => return (true, None),
            Class::Logged { position } if self.is_live => (has_room, (!has_room).then_some(position)),
            Class::Logged { .. } => (false, None),
            Class::Page { catch_up, .. } if self.broken == Some(catch_up) => (false, None),
            Class::Page { position, catch_up } => {
                self.broken = if has_room { self.broken } else { Some(catch_up) };
                (has_room, (!has_room).then_some(position))
            }
        };
        self.held += usize::from(takes);
        if overflows_at.is_some() {
            (self.is_live, self.is_lagging) = (false, true);
        }
        (takes, overflows_at)
    }
}

impl World {
    /// From now on the host holds no more than this for a session.
    pub(super) fn narrow(&mut self, session: u8, room: u8) {
        let Some(session) = self.pick(session).filter(|session| !self.outboxes.contains_key(session)) else { return };
        // Crashes are compared where nobody is slow.
        if self.disk.is_faulty() {
            return;
        }
        self.trace.push(format!("[{}] session {session} has room for {room}", self.model.now - START));
        let is_live = self.live.contains(&session);
        let (owed, passing) = (VecDeque::new(), VecDeque::new());
        let outbox = Outbox {
            room: usize::from(room),
            held: 0,
            is_live,
            broken: None,
            is_lagging: false,
            owed,
            passing,
            missed: 0,
        };
        self.outboxes.insert(session, outbox);
        let waiting = self.queues.remove(&Ear::Session(session)).unwrap_or_default();
        let rest = waiting.into_iter().filter_map(|waiting| self.owe(waiting)).collect();
        self.queues.insert(Ear::Session(session), rest);
    }

    /// A slow session reads what is there, and the engine hears that there is room.
    pub(super) fn read_on(&mut self, which: u8) {
        let slow: Vec<usize> = self.outboxes.keys().copied().collect();
        if slow.is_empty() {
            return;
        }
        self.empty(slow[usize::from(which) % slow.len()]);
    }

    fn empty(&mut self, session: usize) {
        let Some(outbox) = self.outboxes.get_mut(&session) else { return };
        self.trace.push(format!("[{}] session {session} reads on", self.model.now - START));
        outbox.held = 0;
        let (room, is_lagging) = (outbox.room, outbox.is_lagging);
        if is_lagging {
            self.engine.drained(self.handles[session].id, room, self.now());
        }
    }

    /// Whether a session's outbox takes an update. Where it does not, the engine hears of it.
    pub(super) fn takes(&mut self, session: usize, class: Class) -> bool {
        let Some(outbox) = self.outboxes.get_mut(&session) else { return true };
        let (takes, overflows_at) = outbox.offer(class);
        if let Some(position) = overflows_at {
            self.trace.push(format!("        session {session} has no room from {position} on"));
            self.engine.overflowed(self.handles[session].id, position, self.now());
        }
        takes
    }

    pub(super) fn slow_session_is_live(&mut self, session: usize, catch_up: u32) {
        self.live.insert(session);
        if let Some(outbox) = self.outboxes.get_mut(&session).filter(|outbox| outbox.broken != Some(catch_up)) {
            (outbox.is_live, outbox.is_lagging) = (true, false);
        }
    }

    /// Keeps what a slow session may hear late; gives back what comes in its turn.
    pub(super) fn owe(&mut self, waiting: Waiting) -> Option<Waiting> {
        let Ear::Session(session) = waiting.expected.ear else { return Some(waiting) };
        let message = match waiting.expected.what {
            What::Message { message, .. } => message,
            What::Missed(count) if self.outboxes.contains_key(&session) => {
                self.outboxes.get_mut(&session)?.missed += count;
                return None;
            }
            _ => return Some(waiting),
        };
        let held = &self.model.messages[message];
        let Some(outbox) = self.outboxes.get_mut(&session).filter(|_| held.kind != Kind::Room) else {
            return Some(waiting);
        };
        match held.number {
            Some(_) => outbox.owed.push_back(waiting),
            None => outbox.passing.push_back(message),
        }
        None
    }

    /// A slow session hears a message.
    pub(super) fn hear_slowly(&mut self, session: usize, message: &Message, update: &Update) -> Checked {
        let Some(outbox) = self.outboxes.get_mut(&session) else { return Ok(()) };
        if message.number.is_none() {
            let is_it = |at: &usize| message.content.as_text() == Some(&self.model.messages[*at].content);
            let found = outbox.passing.iter().position(is_it).map(|at| outbox.passing.remove(at));
            return found.map(drop).ok_or_else(|| format!("session {session} was told {update:?}"));
        }
        let (mut at, mut wrong) = (0, String::from("nothing is owed"));
        while let Some(waiting) = outbox.owed.get(at) {
            match self.ids.check(&self.model, &self.tickets, &waiting.expected.what, update) {
                Ok(()) => break,
                Err(difference) => wrong = difference,
            }
            at += 1;
        }
        let Some(found) = outbox.owed.remove(at) else {
            if self.is_of_its_device(session, message) {
                return Ok(());
            }
            return Err(format!("slow session {session} was told {update:?}: {wrong}"));
        };
        if matches!(found.expected.when, When::After(commit) if commit > self.model.durable) {
            return Err(format!("slow session {session} was told too early {update:?}"));
        }
        let place = self.model.place_of(&found.expected.what);
        let before = outbox.owed.iter().take(at).find(|waiting| self.model.place_of(&waiting.expected.what) == place);
        match before.filter(|waiting| self.model.is_still_to_be_heard(session, &waiting.expected.what)) {
            Some(before) => {
                Err(format!("slow session {session} was told {update:?} before {:?}", before.expected.what))
            }
            None => Ok(()),
        }
    }

    /// Whether a message was sent by another session of its device while it was catching up: it hears it, once, or it does not.
    fn is_of_its_device(&self, session: usize, message: &Message) -> bool {
        let Some(at) = self.ids.find_message(message.id) else { return false };
        let (held, hearer) = (&self.model.messages[at], &self.model.sessions[session]);
        let is_other = |sent_by: usize| sent_by != session && self.model.sessions[sent_by].device == hearer.device;
        let is_once = hearer.seen.iter().filter(|seen| **seen == at).count() == 1;
        held.from == hearer.peer && held.sent_by.is_some_and(is_other) && at >= hearer.opened_at && is_once
    }

    /// A slow session is told how many transient messages passed it by.
    pub(super) fn hear_of_missed(&mut self, session: usize, count: u64) -> Option<Checked> {
        let outbox = self.outboxes.get_mut(&session)?;
        let reading = count.min(outbox.missed);
        outbox.missed -= reading;
        let count = count - reading;
        let passing = outbox.passing.len() as u64;
        if count > passing {
            return Some(Err(format!("session {session} missed {passing}, not {count}")));
        }
        outbox.passing.drain(..count as usize);
        Some(Ok(()))
    }

    /// Slow sessions that have caught up have heard everything.
    pub(super) fn expect_caught_up(&mut self) -> Checked {
        for (session, outbox) in &mut self.outboxes {
            if !outbox.is_live || self.model.sessions[*session].state != State::Open {
                continue;
            }
            outbox.owed.retain(|waiting| self.model.is_still_to_be_heard(*session, &waiting.expected.what));
            if let Some(owed) = outbox.owed.front() {
                return Err(format!("slow session {session} was never told {:?}", owed.expected.what));
            }
            if !outbox.passing.is_empty() {
                return Err(format!("slow session {session} was never told of {:?}", outbox.passing));
            }
        }
        Ok(())
    }

    /// Every slow session reads until it has caught up.
    pub(super) fn let_all_catch_up(&mut self) -> Checked {
        for session in self.outboxes.keys().copied().collect::<Vec<_>>() {
            for _ in 0..1_000 {
                let is_behind = self.outboxes.get(&session).is_some_and(|outbox| !outbox.is_live);
                if !is_behind || self.model.sessions[session].state != State::Open {
                    break;
                }
                self.empty(session);
                self.commit()?;
            }
            let outbox = &self.outboxes.get(&session);
            if outbox.is_some_and(|outbox| !outbox.is_live) && self.model.sessions[session].state == State::Open {
                return Err(format!("slow session {session} never catches up"));
            }
        }
        Ok(())
    }
}
