//! Catching up: what a session is given that was away.
//!
//! All that its device has not acknowledged, oldest first, before anything newer: the newest few that are not too old. What is
//! left out is told as a gap, and counts as received.

use std::collections::BTreeSet;

use super::{Answer, Cause, Cursor, DAY, Model, State, What, limits};

/// A stretch of a log that a session has not received.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    conversation: usize,
    from: u64,
    to: u64,
    cursor: Cursor,
    /// What the host had deleted when the read was planned.
    deleted: BTreeSet<u64>,
    /// Whether any message had been narrowed then.
    narrows: bool,
}

/// A read that waits for the store.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    Backlog {
        session: usize,
        attached: u32,
        parts: Vec<Part>,
        head: usize,
        cutoff: Option<u64>,
    },
    History {
        session: usize,
        attached: u32,
        ticket: u64,
        conversation: usize,
        messages: Vec<(usize, bool)>,
        more: bool,
    },
    /// The log is searched for a message that was read.
    Find {
        session: usize,
        attached: u32,
        ticket: u64,
        conversation: usize,
        number: Option<u64>,
    },
}

impl Model {
    pub(super) fn begin_backlog(&mut self, session: usize) {
        let parts = self.parts(session);
        let in_memory = parts.iter().all(|part| part.from > self.conversations[part.conversation].durable);
        let attached = self.sessions[session].attached;
        let cutoff = (!self.in_doubt).then(|| self.shown() - 7 * DAY);
        let backlog = Pending::Backlog { session, attached, parts, head: self.messages.len(), cutoff };
        if in_memory { self.read(backlog) } else { self.pending.push(backlog) }
    }

    fn parts(&self, session: usize) -> Vec<Part> {
        let peer = self.sessions[session].peer;
        let mut parts = Vec::new();
        for (at, held) in self.conversations.iter().enumerate().filter(|(_, held)| !held.gone) {
            let Some(member) = held.members.get(&peer) else { continue };
            let cursor = self.cursor(session, at);
            for (after, to) in &member.spans {
                let (from, to) = (cursor.received.max(*after) + 1, to.unwrap_or(held.last()));
                if from <= to {
                    let (deleted, narrows) = (held.deleted.clone(), self.hooks.narrows);
                    parts.push(Part { conversation: at, from, to, cursor: cursor.clone(), deleted, narrows });
                }
            }
        }
        parts
    }

    /// Does every read that waits.
    pub(crate) fn read_all(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            self.read(pending);
        }
    }

    pub(super) fn is_attached(&self, session: usize, attached: u32) -> bool {
        self.sessions[session].state == State::Open && self.sessions[session].attached == attached
    }

    fn read(&mut self, pending: Pending) {
        match pending {
            Pending::History { session, attached, .. } if !self.is_attached(session, attached) => {}
            Pending::History { session, ticket, conversation, messages, more, .. } => {
                if self.conversations[conversation].gone {
                    self.tell(session, What::Reply(ticket, Err(4323)));
                } else {
                    self.reply(session, ticket, Answer::History { messages, more });
                }
            }
            Pending::Find { session, attached, ticket, conversation, number } => {
                let code = if self.conversations[conversation].gone { 4323 } else { 4404 };
                match number.filter(|_| code == 4404) {
                    Some(number) => self.read_to(self.sessions[session].peer, conversation, number),
                    None if self.is_attached(session, attached) => self.tell(session, What::Reply(ticket, Err(code))),
                    None => {}
                }
            }
            Pending::Backlog { session, attached, parts, head, cutoff } => {
                if self.is_attached(session, attached) {
                    self.give_backlog(session, &parts, head, cutoff);
                }
            }
        }
    }

    /// What waits: the newest few that are not too old, over all conversations; the rest is told as gaps.
    fn give_backlog(&mut self, session: usize, parts: &[Part], head: usize, cutoff: Option<u64>) {
        if self.device(session).is_some_and(|device| device.uncertain) {
            self.tell_after(session, What::Anything);
            self.sessions[session].reading = false;
            self.tell_missed(session);
            return;
        }
        let mut waiting: Vec<(usize, usize, u64)> = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let log = &self.conversations[part.conversation].log;
            waiting.extend((part.from..=part.to).map(|number| (log[number as usize - 1], at, number)));
        }
        waiting.sort_unstable();
        let (mut messages, mut cuts) = (Vec::new(), Vec::new());
        let mut cut_parts = BTreeSet::new();
        for (message, at, number) in waiting.into_iter().rev() {
            let part = &parts[at];
            if cut_parts.contains(&at) {
                continue;
            }
            let wanted = self.is_wanted(session, part, number);
            let cause = match () {
                () if cutoff.is_some_and(|cutoff| self.messages[message].at <= cutoff) => Cause::Age,
                () if wanted && messages.len() >= limits::OFFLINE => Cause::Limit,
                () => {
                    messages.extend(wanted.then_some(message));
                    continue;
                }
            };
            cut_parts.insert(at);
            cuts.extend(
                self.cut(session, part, number).map(|(from, to, count)| (part.conversation, from, to, count, cause)),
            );
            if part.narrows {
                self.acknowledge_range(session, part.conversation, part.from, number, true);
            }
        }
        messages.reverse();
        messages.extend(self.newer(session, head));
        let over = messages.len().saturating_sub(limits::OFFLINE);
        for message in messages.drain(..over) {
            let held = &self.messages[message];
            if let (Some(conversation), Some(number)) = (held.conversation, held.number) {
                cuts.push((conversation, number, number, 1, Cause::Limit));
            }
        }
        self.give_cuts(session, cuts);
        self.sessions[session].reading = false;
        self.give_messages(session, messages);
        self.tell_missed(session);
    }

    fn tell_missed(&mut self, session: usize) {
        let missed = std::mem::take(&mut self.sessions[session].passed_by);
        if missed > 0 {
            self.tell_after(session, What::Missed(missed));
        }
    }

    /// Whether a message is for the session's peer, and not deleted, and its device has not acknowledged it.
    fn is_wanted(&self, session: usize, part: &Part, number: u64) -> bool {
        let message = self.conversations[part.conversation].log[number as usize - 1];
        let is_for = self.messages[message].is_for(self.sessions[session].peer);
        is_for && !part.cursor.has(number) && !part.deleted.contains(&number)
    }

    /// What a part loses up to a number: from, to and how many. Nobody is told of what a hook kept from it.
    fn cut(&self, session: usize, part: &Part, number: u64) -> Option<(u64, u64, u64)> {
        if !part.narrows {
            let count = (part.from..=number).filter(|number| !part.cursor.has(*number)).count() as u64;
            return (count > 0).then_some((part.from, number, count));
        }
        let wanted: Vec<u64> = (part.from..=number).filter(|number| self.is_wanted(session, part, *number)).collect();
        Some((*wanted.first()?, *wanted.last()?, wanted.len() as u64))
    }

    /// What was sent while the read was under way.
    fn newer(&self, session: usize, head: usize) -> Vec<usize> {
        let peer = self.sessions[session].peer;
        let is_newer = |message: &usize| {
            let held = &self.messages[*message];
            let (Some(conversation), Some(number)) = (held.conversation, held.number) else { return false };
            let log = &self.conversations[conversation];
            let is_for = log.members.get(&peer).is_some_and(|member| member.sees(number)) && held.is_for(peer);
            let is_for = is_for && !log.deleted.contains(&number);
            is_for && !log.gone && !self.cursor(session, conversation).has(number)
        };
        (head..self.messages.len()).filter(is_newer).collect()
    }

    fn give_cuts(&mut self, session: usize, mut cuts: Vec<(usize, u64, u64, u64, Cause)>) {
        cuts.sort_unstable();
        cuts.dedup_by(|next, cut| {
            let joins = (next.0, next.4) == (cut.0, cut.4) && next.1 <= cut.2 + 1;
            if joins {
                (cut.2, cut.3) = (cut.2.max(next.2), cut.3 + next.3);
            }
            joins
        });
        for (conversation, from, to, count, cause) in cuts {
            let gone = self.conversations[conversation].gone;
            if !gone {
                self.acknowledge_range(session, conversation, from, to, true);
                self.tell_after(session, What::Gap { conversation, from, to, count, cause });
            }
        }
    }

    fn give_messages(&mut self, session: usize, messages: Vec<usize>) {
        let opened_at = self.sessions[session].opened_at;
        for message in messages {
            let Some(conversation) = self.messages[message].conversation else { continue };
            if !self.conversations[conversation].gone {
                self.sessions[session].given.insert(message);
                if self.messages[message].from == self.sessions[session].peer {
                    self.sessions[session].copies.push(message);
                }
                self.tell_after(session, What::Message { message, offline: message < opened_at });
            }
        }
    }
    /// The conversation of a message that is to be heard.
    pub(crate) fn place_of(&self, what: &What) -> Option<usize> {
        let What::Message { message, .. } = what else { return None };
        self.messages[*message].conversation
    }

    /// Whether a message that a session was to hear is still there for it.
    pub(crate) fn is_still_to_be_heard(&self, session: usize, what: &What) -> bool {
        let What::Message { message, offline } = what else { return true };
        let held = &self.messages[*message];
        let (Some(at), Some(number), false) = (held.conversation, held.number, self.is_deleted(*message)) else {
            return false;
        };
        // Another session of its device may have acknowledged what waited for both.
        let acknowledged = *offline && self.cursor(session, at).has(number);
        let conversation = &self.conversations[at];
        !acknowledged && !conversation.gone && conversation.members.contains_key(&self.sessions[session].peer)
    }
}
