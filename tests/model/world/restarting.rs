//! Another engine on the same store, and what a crash may have taken.
//!
//! After a crash some acknowledgements may be lost: what a device is given again says which.

use std::collections::BTreeSet;

use switchboard::{SessionId, Update};

use crate::command::PEERS;
use crate::ids::Ids;
use crate::reference::{self, Ear, What, limits};

use super::clock::SWEEP;
use super::{Checked, START, World, reference_of, start};

/// What was seen of a catch-up of unknown extent.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) messages: Vec<usize>,
    pub(super) gaps: Vec<(usize, u64, u64)>,
}

impl World {
    pub(super) fn restart(&mut self) -> Checked {
        self.commit()?;
        self.trace.push(format!("[{}] restart", self.model.now - START));
        self.engine.shut_down(self.now());
        self.model.open_sessions().into_iter().for_each(|session| self.model.pause(session));
        self.model.expected.clear();
        self.write_all_after_end()?;
        self.disk.restart();
        self.start_again(false)
    }

    fn write_all_after_end(&mut self) -> Checked {
        let done = self.engine.commit(self.now());
        done.map_err(|error| format!("the last commit failed: {error}"))
    }

    /// The process ends; what the store has not, is gone.
    pub(super) fn crash(&mut self, power: bool) -> Checked {
        if !self.disk.is_faulty() {
            return Ok(());
        }
        self.trace.push(format!("[{}] crash, power {power}", self.model.now - START));
        // The last write may have reached the store although nobody ever heard of it.
        // It may also have been there since an attempt that failed.
        let written = self.in_flight.take().and_then(|(commit, batch)| {
            if power {
                let _: switchboard::Committed = commit.run();
            }
            (power || batch.stored).then_some(batch)
        });
        let stored = written.or_else(|| self.failed.take().filter(|batch| batch.stored));
        let lossless = stored.is_some() || !power;
        self.model = stored.map_or_else(|| self.durable.clone(), |batch| batch.model);
        if lossless {
            self.disk.restart()
        } else {
            self.disk.power_cut(self.steps)
        }
        self.start_again(true)
    }

    fn start_again(&mut self, crashed: bool) -> Checked {
        // A process that starts again does so a moment later: its messages come after those of before.
        let now = self.engine.now().as_millis() + 1;
        self.set_back = 0;
        self.in_flight = None;
        self.failed = None;
        self.engine = start(&self.config, self.disk.store(), &self.script, now)?;
        let now = self.engine.now().as_millis();
        self.model.now = now;
        self.model.restarted(crashed);
        self.model.hooks.moods = self.script.restart();
        self.questions.clear();
        self.faults = 0;
        let is_old = self.model.is_at_an_edge(now);
        self.durable = self.model.clone();
        self.ids.truncate(self.model.conversations.len(), self.model.messages.len());
        self.handles.truncate(self.model.sessions.len());
        self.used_tokens.extend(self.handles.iter_mut().map(|handle| std::mem::take(&mut handle.token)));
        self.queues.clear();
        self.outboxes.clear();
        self.live.clear();
        self.by_ref.clear();
        self.tickets.clear();
        self.seen.clear();
        // Temporary conversations whose time has come, and whatever reached its age while nobody looked.
        self.step_to(if is_old { now + SWEEP } else { now })?;
        if crashed {
            self.learn_reads()?;
        }
        (0..PEERS).try_for_each(|peer| self.compare_unread(peer))?;
        self.leave_edges()
    }

    /// After a crash, positions read may be older than they were, never newer.
    fn learn_reads(&mut self) -> Checked {
        for at in 0..self.model.conversations.len() {
            let Some(id) = self.ids.conversation(at) else { continue };
            let peers: Vec<u8> = self.model.conversations[at].members.keys().copied().collect();
            for peer in peers {
                let actual = self.engine.unread_count_in(&Ids::peer(peer), &id);
                while self.model.unread_in(peer, at) != actual {
                    let Some(member) = self.model.conversations[at].members.get_mut(&peer).filter(|m| m.read > 0)
                    else {
                        return Err(format!("after a crash peer {peer} has {actual} unread in conversation {at}"));
                    };
                    member.read -= 1;
                }
            }
        }
        Ok(())
    }

    pub(super) fn hear_anything(&mut self, session: usize, update: &Update) -> Checked {
        let seen = self.seen.entry(session).or_default();
        match update {
            Update::Message { message, offline: true } => {
                let is_it = |held: &reference::Message| message.content.as_text() == Some(&held.content);
                let by_id = || self.ids.find_message(message.id);
                let Some(at) = self.model.messages.iter().position(is_it).or_else(by_id) else {
                    return Err(format!("a message that nobody sent: {message:?}"));
                };
                seen.messages.push(at);
                self.ids.check(&self.model, &self.tickets, &What::Message { message: at, offline: true }, update)
            }
            Update::Gap(gap) => {
                let conversation = gap.conversation.as_ref().and_then(|id| self.ids.find_conversation(id));
                let Some(conversation) = conversation else { return Err(format!("a gap nowhere: {gap:?}")) };
                seen.gaps.push((conversation, gap.from, gap.to));
                Ok(())
            }
            _ => Err(format!("session {session} catches up and is told {update:?}")),
        }
    }

    pub(super) fn hear_live(&mut self, session: SessionId) -> Checked {
        let Some(session) = self.by_ref.get(&reference_of(session)).copied() else { return Ok(()) };
        let Some(queue) = self.queues.get_mut(&Ear::Session(session)) else { return Ok(()) };
        if queue.pop_front_if(|waiting| waiting.expected.what == What::Anything).is_none() {
            return Ok(());
        }
        let seen = self.seen.remove(&session).unwrap_or_default();
        self.learn_cursors(session, &seen)
    }

    /// After a crash a device is given at least what it did not acknowledge; what it is not given it has.
    fn learn_cursors(&mut self, session: usize, seen: &Seen) -> Checked {
        let peer = self.model.sessions[session].peer;
        if seen.messages.len() > limits::OFFLINE || !seen.messages.is_sorted() {
            return Err(format!("a backlog of {:?}", seen.messages));
        }
        let copied = self.model.device(session).is_some_and(|device| device.copied);
        let mut learned = Vec::new();
        for (at, held) in self.model.conversations.iter().enumerate() {
            let Some(member) = held.members.get(&peer).filter(|_| !held.gone) else { continue };
            let had = self.model.cursor(session, at);
            let by_any = |number: u64| {
                let devices = &self.model.peers[usize::from(peer)].devices;
                devices.iter().any(|device| device.cursors.get(&at).is_some_and(|cursor| cursor.has(number)))
            };
            let mut acknowledged = BTreeSet::new();
            for (number, message) in (1u64..).zip(&held.log) {
                let given = seen.messages.contains(message);
                let told = given || seen.gaps.iter().any(|gap| gap.0 == at && (gap.1..=gap.2).contains(&number));
                let has = had.has(number) || copied && by_any(number);
                let is_for = self.model.messages[*message].is_for(peer) && !held.deleted.contains(&number);
                if member.sees(number) && is_for && !has && !told {
                    return Err(format!("after a crash session {session} lost message {message}"));
                }
                if given && !member.sees(number) {
                    return Err(format!("session {session} was given message {message} of others"));
                }
                if !given && (member.sees(number) || has) {
                    acknowledged.insert(number);
                }
            }
            learned.push((at, acknowledged));
        }
        self.model.sessions[session].given.extend(&seen.messages);
        let is_copy = |message: &usize| self.model.messages[*message].from == peer;
        let copies: Vec<usize> = seen.messages.iter().copied().filter(is_copy).collect();
        copies.into_iter().for_each(|copy| self.model.sessions[session].copies.push(copy));
        let Some(device) = self.model.device(session) else { return Ok(()) };
        device.uncertain = false;
        device.cursors = learned.into_iter().map(|(at, numbers)| (at, cursor_of(numbers))).collect();
        Ok(())
    }
}

fn cursor_of(mut numbers: BTreeSet<u64>) -> reference::Cursor {
    let mut received = 0;
    while numbers.remove(&(received + 1)) {
        received += 1;
    }
    reference::Cursor { received, beyond: numbers }
}
