//! Reads of the store: planned inside the engine, done by any thread, given back as an input that takes its place among the
//! outputs.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Error;
use crate::event::Event;
use crate::log::{LogReader, Missed, Part};
use crate::rows::record::RecordError;
use crate::state::reads::{Outcome, Plan};
use crate::store::{Store, StoreError};
use crate::time::Timestamp;

/// A read of the store, from [`Engine::begin_read`]. Any thread may run it.
pub struct Read {
    plan: Plan,
    store: Arc<dyn Store>,
}

/// What a [`Read`] found, for [`Engine::finish_read`].
#[must_use = "whoever waits for it hears of it only through the engine"]
pub struct ReadDone {
    plan: Plan,
    result: Result<Outcome, StoreError>,
    damaged: Vec<RecordError>,
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Read").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ReadDone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadDone").field("error", &self.result.as_ref().err()).finish_non_exhaustive()
    }
}

impl Read {
    /// Reads, however long the disk takes.
    pub fn run(self) -> ReadDone {
        let mut reader = LogReader::new(&*self.store);
        let result = self.plan.read(&mut reader, &*self.store);
        ReadDone { damaged: reader.damaged, plan: self.plan, result }
    }
}

impl ReadDone {
    /// Why it failed, if it did.
    #[must_use]
    pub fn error(&self) -> Option<&StoreError> {
        self.result.as_ref().err()
    }
}

impl Engine {
    /// Takes the next read that waits. Several may be under way.
    pub fn begin_read(&mut self) -> Option<Read> {
        let plan = self.reads.waiting.pop_front()?;
        Some(Read { plan, store: Arc::clone(&self.store) })
    }

    /// Takes what a read found: whoever waits for it is answered.
    pub fn finish_read(&mut self, done: ReadDone, now: Timestamp) {
        self.advance(now);
        let ReadDone { plan, result, damaged } = done;
        self.reads.unpin(&plan);
        self.report_damage(damaged);
        if let Err(error) = &result {
            self.tell(Event::StoreCallFailed { call: "read", error: error.clone() });
        }
        match (plan, result) {
            (Plan::Backlog { session, head, parts, .. }, Ok(Outcome::Missed(missed))) => {
                self.give_backlog(session, head, missed, parts);
            }
            (Plan::Tell { session, head, missed, parts }, Ok(_)) => self.give_backlog(session, head, missed, parts),
            (Plan::Lag { session, head, max, parts, .. }, Ok(Outcome::Missed(mut missed))) => {
                self.forget_ended(&parts, &mut missed);
                self.give_missed(session, head, max, missed);
            }
            (Plan::History { actor, view, .. }, Ok(Outcome::Page(..))) if !self.is_of(&view) => {
                self.reply_now(actor, Err(Error::ConversationExpired));
            }
            (Plan::History { actor, view, .. }, Ok(Outcome::Page(found, more))) => {
                self.give_page(actor, view.slot, found, more);
            }
            (Plan::Scope { actor, scope }, Ok(Outcome::Scope(found, more))) => {
                self.give_scope(actor, scope, found, more);
            }
            (Plan::Find { actor, view, .. }, Ok(Outcome::Number(number))) => self.read_found(actor, &view, number),
            (Plan::Trim { view, all, .. }, Ok(Outcome::Keys { keys, first_kept })) => {
                self.trim(view.slot, view.conversation, all, keys, first_kept);
            }
            (Plan::Expire { .. }, Ok(Outcome::Keys { keys, .. })) => self.drop_rows(keys),
            (Plan::Gather { session, head, after, parts }, Ok(_)) => self.gather_on(session, head, after, parts),
            (Plan::List { actor, after, listed }, Ok(_)) => self.list_on(actor, after, listed),
            (Plan::ListUnread { actor, after, listed }, Ok(_)) => self.list_unread_on(actor, after, listed),
            (Plan::Recount { view, who, after, summed, .. }, Ok(Outcome::Count(count))) => {
                self.recounted(&view, &who, after, summed, Some(count));
            }
            (plan, _) => self.read_failed(plan),
        }
        self.reads.trim_arrivals();
        if self.reads.pins.is_empty() {
            self.trim_kept();
        }
        self.gate.end_operation();
    }

    /// Leaves out what was found of conversations that ended while the read was under way.
    fn forget_ended(&self, parts: &[Part], missed: &mut Missed) {
        let ended: BTreeSet<u32> =
            parts.iter().map(|part| &part.view).filter(|v| !self.is_of(v)).map(|v| v.slot).collect();
        if !ended.is_empty() {
            missed.messages.retain(|(slot, _)| !ended.contains(slot));
            missed.cuts.retain(|cut| !ended.contains(&cut.slot));
        }
    }

    /// Memory that only reads wanted.
    fn trim_kept(&mut self) {
        for slot in std::mem::take(&mut self.reads.kept) {
            if self.conversations.get(slot).is_some() {
                self.conversations[slot].trim_tail(u64::MAX);
            }
        }
    }
}
