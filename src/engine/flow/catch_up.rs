//! Catching up: what a session missed, from the log. Opening and lagging are the same path.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Error;
use crate::event::Event;
use crate::id::SessionId;
use crate::log::{Cut, Found, Limits, LogReader, LogView, Missed, Part, backlog};
use crate::message::Message;
use crate::output::{Class, Output, SessionRef};
use crate::state::reads::{Plan, WALK};
use crate::state::session::Flow;
use crate::store::memory::MemoryStore;
use crate::time::Timestamp;
use crate::update::{Gap, GapCause, Update};

/// Messages that a session was given from the log and has not acknowledged, at most: beyond, they come again.
const GIVEN_MAX: usize = 1_024;

/// The log that was read in this place; `parts` are in the order of their places.
fn view_of(parts: &[Part], slot: u32) -> Option<&LogView> {
    let at = parts.partition_point(|part| part.view.slot < slot);
    parts.get(at).map(|part| &part.view).filter(|view| view.slot == slot)
}

impl Engine {
    /// The host's outbox for a session had no room for a [`Class::Logged`] or [`Class::Page`] update: from its `position` on
    /// the session reads from the log, once [`drained`](Self::drained) says that there is room. Until [`Output::Live`] the
    /// host drops what is logged.
    pub fn overflowed(&mut self, session: SessionId, position: u64, now: Timestamp) {
        self.advance(now);
        let Some(slot) = self.sessions.find(session) else { return };
        let from = match self.sessions[slot].flow {
            Flow::Live => position,
            Flow::Lagging(before) => position.min(before),
            // The read that is under way began before this position.
            Flow::Reading => return,
        };
        self.sessions[slot].flow = Flow::Lagging(from);
        self.forget_reach(self.sessions[slot].peer);
    }

    /// The host's outbox for a lagging session has room for `room` updates.
    pub fn drained(&mut self, session: SessionId, room: usize, now: Timestamp) {
        self.advance(now);
        let Some(slot) = self.sessions.find(session) else { return };
        if let Flow::Lagging(position) = self.sessions[slot].flow {
            self.read_on(slot, position, room.max(1));
        }
    }

    /// Plans the next read for a lagging session.
    fn read_on(&mut self, slot: u32, position: u64, max: usize) {
        let session = &mut self.sessions[slot];
        session.flow = Flow::Reading;
        session.catch_up = session.catch_up.wrapping_add(1);
        let (peer, reference) = (session.peer, self.sessions.reference(slot));
        let opened_at = self.sessions[slot].opened_at;
        let (head, who, parts) = (self.position, self.reader(peer), self.parts(peer, slot, Some(position)));
        self.reads.plan(Plan::Lag { session: reference, head, who, parts, position, opened_at, max });
    }

    /// Starts the catch-up of a session that has just opened; where nothing waits, or memory has it, at once.
    pub(crate) fn begin_backlog(&mut self, slot: u32) {
        let (peer, session) = (self.sessions[slot].peer, self.sessions.reference(slot));
        let head = self.position;
        if self.peers[peer].conversations.len() > WALK {
            // Not in the call that opens: the first step comes as the others do.
            self.reads.plan(Plan::Gather { session, head, after: None, parts: Vec::new() });
        } else {
            let parts = self.parts(peer, slot, None);
            self.read_backlog(session, head, parts);
        }
    }

    /// Reads what waits for a session in these logs.
    pub(crate) fn read_backlog(&mut self, session: SessionRef, head: u64, parts: Vec<Part>) {
        let who = self.reader(self.sessions[session.slot].peer);
        let limits = Limits {
            max: self.config.offline_messages_max,
            cutoff: self.deletion_before(self.config.offline_after),
            reads_cuts: self.narrows,
        };
        if parts.iter().all(|part| part.from > part.view.durable) {
            // Nothing of it is in the store: an empty one will do.
            let nothing = MemoryStore::new();
            let found = backlog(&mut LogReader::new(&nothing), &who, &parts, limits);
            self.give_backlog(session, head, found.unwrap_or_default(), parts);
        } else {
            self.reads.plan(Plan::Backlog { session, head, who, parts, limits });
        }
    }

    /// What a session has not received, log by log: since its device's cursors, or for a lagging one everything from
    /// `position` on, of which it is given what it has not acknowledged before it opened.
    fn parts(&self, peer: u32, slot: u32, position: Option<u64>) -> Vec<Part> {
        let mut parts = Vec::new();
        self.parts_in(peer, slot, position, &self.peers[peer].conversations, &mut parts);
        parts
    }

    /// The same of some of its conversations.
    pub(crate) fn parts_in(
        &self,
        peer: u32,
        slot: u32,
        position: Option<u64>,
        conversations: &[u32],
        parts: &mut Vec<Part>,
    ) {
        let device = self.peers[peer].device(self.sessions[slot].rare.device.as_ref());
        for &conversation in conversations {
            let Some(member) = self.conversations[conversation].members.get(&peer) else { continue };
            let log = &self.conversations[conversation];
            if log.last_position < position.unwrap_or_default() {
                continue;
            }
            let cursor = self.cursor(peer, device, conversation);
            let received = if position.is_some() { 0 } else { cursor.received };
            if received >= log.last_number {
                continue;
            }
            for (first, last) in member.ranges(log.last_number) {
                let from = first.max(received + 1);
                if from <= last {
                    parts.push(Part { view: log.view(conversation), from, to: last, cursor: cursor.clone() });
                }
            }
        }
    }

    /// Gives a session its offline queue: what was cut off first, a bounded number in each step, then the messages, then it is
    /// live. `parts` are in the order of their places.
    pub(crate) fn give_backlog(&mut self, session: SessionRef, head: u64, mut missed: Missed, parts: Vec<Part>) {
        if !self.is_reading(session) {
            return;
        }
        if missed.cuts.len() > WALK {
            let later = missed.cuts.split_off(WALK);
            let cuts = std::mem::replace(&mut missed.cuts, later);
            self.give_cuts_of(session, cuts, &parts);
            self.reads.plan(Plan::Tell { session, head, missed, parts });
            return;
        }
        missed.messages.retain(|(slot, _)| !self.has_ended_since(&parts, *slot));
        // Gathered in steps, some logs were looked at when newer messages were there already.
        let is_seen =
            |slot: u32, number: u64| view_of(&parts, slot).is_some_and(|view| number <= view.last && self.is_of(view));
        let newer = self
            .newer_than(session.slot, head)
            .into_iter()
            .filter(|(slot, found)| !is_seen(*slot, found.number()) && !self.has_received(session.slot, *slot, found));
        missed.messages.extend(newer);
        let over = missed.messages.len().saturating_sub(self.config.offline_messages_max);
        for (slot, found) in missed.messages.drain(..over) {
            missed.cuts.push(Cut { slot, from: found.number(), to: found.number(), count: 1, cause: GapCause::Limit });
        }
        missed.cuts.extend(self.dropped_spans(session.slot));
        self.give_cuts_of(session, missed.cuts, &parts);
        self.give_messages(session, missed.messages);
        self.go_live(session);
    }

    fn give_cuts_of(&mut self, session: SessionRef, mut cuts: Vec<Cut>, parts: &[Part]) {
        cuts.retain(|cut| !self.has_ended_since(parts, cut.slot));
        self.give_cuts(session, cuts);
    }

    /// Whether the conversation that was read in this place has ended since.
    fn has_ended_since(&self, parts: &[Part], slot: u32) -> bool {
        view_of(parts, slot).is_some_and(|view| !self.is_of(view))
    }

    /// What a session's device did not receive of memberships that were given up.
    fn dropped_spans(&self, session: u32) -> Vec<Cut> {
        let peer = self.sessions[session].peer;
        let device = self.peers[peer].device(self.sessions[session].rare.device.as_ref());
        let dropped = self.peers[peer].dropped.iter();
        let cuts = dropped.filter_map(|(slot, first, last)| {
            let cursor = self.cursor(peer, device, *slot);
            let from = (*first).max(cursor.received + 1);
            let count = if from > *last { 0 } else { last + 1 - from - cursor.beyond.count(from, *last) };
            (count > 0).then_some(Cut { slot: *slot, from, to: *last, count, cause: GapCause::Limit })
        });
        cuts.collect()
    }

    /// Gives a lagging session the next of what it missed; it is live where that was all.
    pub(crate) fn give_missed(&mut self, session: SessionRef, head: u64, max: usize, mut missed: Missed) {
        if !self.is_reading(session) {
            return;
        }
        if missed.more_from.is_none() {
            missed.messages.extend(self.newer_than(session.slot, head));
            if missed.messages.len() > max {
                missed.more_from = Some(missed.messages[max].1.position());
                missed.messages.truncate(max);
            }
        }
        missed.messages.retain(|(slot, found)| !self.has_sent(session, *slot, found));
        let nothing = missed.messages.is_empty();
        self.give_cuts(session, missed.cuts);
        self.give_messages(session, missed.messages);
        match missed.more_from {
            None => self.go_live(session),
            Some(position) if nothing => self.read_on(session.slot, position, max),
            Some(position) => self.sessions[session.slot].flow = Flow::Lagging(position),
        }
    }

    pub(crate) fn is_reading(&self, session: SessionRef) -> bool {
        let held = self.sessions.get(session.slot);
        held.is_some_and(|held| held.generation == session.generation && held.flow == Flow::Reading)
            && self.sessions.find(self.sessions.id(session.slot)).is_some()
    }

    /// Whether a session's device has acknowledged a message.
    fn has_received(&self, session: u32, conversation: u32, found: &Found) -> bool {
        let held = &self.sessions[session];
        let device = self.peers[held.peer].device(held.rare.device.as_ref());
        self.cursor(held.peer, device, conversation).has(found.number())
    }

    /// Whether a session has sent a message itself. Of one that is not among the newest of the engine only the device is known.
    fn has_sent(&self, session: SessionRef, conversation: u32, found: &Found) -> bool {
        let me = self.sessions[session.slot].peer;
        let is_mine = match found {
            Found::Stored(stored) => stored.from == self.peers[me].number,
            Found::Shared(message) => message.from == self.peers[me].id,
        };
        is_mine
            && match self.recent.find(&found.id()) {
                Some(at) => at.sent_by == Some(session),
                None => self.has_received(session.slot, conversation, found),
            }
    }

    /// Messages that were accepted while a read was under way, oldest first.
    fn newer_than(&self, slot: u32, head: u64) -> Vec<(u32, Found)> {
        let peer = self.sessions[slot].peer;
        let who = self.reader(peer);
        let mut newer = Vec::new();
        // Where more arrived than the peer has conversations, these are the fewer to look at.
        let all = &self.peers[peer].conversations;
        let arrived = self.reads.arrivals_after(head, all.len().max(WALK));
        for &conversation in arrived.as_ref().unwrap_or(all) {
            let Some(log) = self.conversations.get(conversation) else { continue };
            let Some(member) = log.members.get(&peer).filter(|_| log.last_position > head) else { continue };
            let ranges: Vec<_> = member.ranges(log.last_number).collect();
            for message in log.tail.iter().rev().take_while(|message| message.position > head) {
                let number = message.number.unwrap_or_default();
                let found = Found::Shared(Arc::clone(message));
                let inside = ranges.iter().any(|range| (range.0..=range.1).contains(&number));
                if inside && found.is_for(&who) && !message.deleted {
                    newer.push((conversation, found));
                }
            }
        }
        newer.sort_by_key(|(_, found)| found.position());
        newer
    }

    /// Tells a session what it will not get. That counts as acknowledged.
    fn give_cuts(&mut self, session: SessionRef, mut cuts: Vec<Cut>) {
        cuts.sort_by_key(|cut| (cut.slot, cut.from));
        cuts.dedup_by(|next, cut| {
            let told = next.count > 0 && cut.count > 0;
            let joins = told && next.slot == cut.slot && next.cause == cut.cause && next.from <= cut.to + 1;
            if joins {
                cut.to = cut.to.max(next.to);
                cut.count += next.count;
            }
            joins
        });
        let peer = self.sessions[session.slot].peer;
        let dropped: u64 = cuts.iter().map(|cut| cut.count).sum();
        for cut in cuts {
            let conversation = self.conversations.get(cut.slot).map(|conversation| conversation.id.clone());
            self.acknowledge_range(session.slot, cut.slot, cut.from, cut.to);
            if cut.count == 0 {
                continue;
            }
            let gap = Gap { conversation, from: cut.from, to: cut.to, count: cut.count, cause: cut.cause };
            self.deliver(session, Update::Gap(gap), Class::Reply);
        }
        if dropped > 0 {
            let peer = self.peers[peer].id.clone();
            self.alarms.offline_dropped += dropped;
            self.tell(Event::OfflineDropped { peer, count: dropped });
        }
    }

    fn give_messages(&mut self, session: SessionRef, messages: Vec<(u32, Found)>) {
        let catch_up = self.sessions[session.slot].catch_up;
        let opened_at = self.sessions[session.slot].opened_at;
        for (slot, found) in messages {
            let Some(message) = self.share(slot, found) else { continue };
            self.note_given(session.slot, slot, &message);
            if message.from == self.peers[self.sessions[session.slot].peer].id {
                self.note_copy(session.slot, slot, &message);
            }
            let position = message.position;
            let update = Update::Message { offline: position <= opened_at, message };
            self.deliver(session, update, Class::Page { position, catch_up });
        }
    }

    /// Remembers what a session was given, so that its acknowledgement is understood.
    fn note_given(&mut self, session: u32, conversation: u32, message: &Message) {
        let at = self.whereabouts(conversation, message);
        let given = &mut self.sessions[session].rare.given;
        if given.len() < GIVEN_MAX {
            given.insert(message.id, at);
        }
    }

    /// From here on the session gets what is logged directly.
    fn go_live(&mut self, session: SessionRef) {
        let slot = session.slot;
        self.sessions[slot].flow = Flow::Live;
        let catch_up = self.sessions[slot].catch_up;
        let id = self.sessions.id(slot);
        self.give_count_of_missed(session);
        self.gate.emit(Output::Live { session: id, catch_up });
        self.forget_reach(self.sessions[slot].peer);
    }

    /// Tells a session how many transient messages it missed while it was behind.
    fn give_count_of_missed(&mut self, session: SessionRef) {
        let count = std::mem::take(&mut self.sessions[session.slot].rare.missed);
        if count > 0 {
            let gap = Gap { conversation: None, from: 0, to: 0, count, cause: GapCause::Overflow };
            self.deliver(session, Update::Gap(gap), Class::Reply);
        }
    }

    /// A read failed: whoever waits for it is told, or tries again later.
    pub(crate) fn read_failed(&mut self, plan: Plan) {
        match plan {
            Plan::Backlog { session, .. } if self.is_reading(session) => {
                // Its acknowledged cursors stand: the session is closed, and an open later reads again.
                self.close_failed(session.slot, Error::Internal);
            }
            Plan::Lag { session, position, .. } if self.is_reading(session) => {
                self.sessions[session.slot].flow = Flow::Lagging(position);
                self.close_failed(session.slot, Error::Internal);
            }
            Plan::History { actor, .. } | Plan::Scope { actor, .. } | Plan::Find { actor, .. } => {
                self.reply_now(actor, Err(Error::Internal))
            }
            Plan::Recount { view, who, after, summed, .. } => self.recounted(&view, &who, after, summed, None),
            Plan::Gather { session, .. } | Plan::Tell { session, .. } if self.is_reading(session) => {
                self.close_failed(session.slot, Error::Internal)
            }
            Plan::List { actor, .. } | Plan::ListUnread { actor, .. } => {
                self.reply_now(actor, Err(Error::Internal));
                self.unpin(actor.peer);
            }
            Plan::Gather { .. }
            | Plan::Tell { .. }
            | Plan::Backlog { .. }
            | Plan::Lag { .. }
            | Plan::Trim { .. }
            | Plan::Expire { .. } => {}
        }
    }
}
