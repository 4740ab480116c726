//! History: a page of what the asking peer may see, nothing else and nothing left out.
//!
//! What the host deleted keeps its place and says nothing.

use super::{Code, Kind, Model, Pending, limits};

pub(crate) struct PageRequest {
    pub(crate) newest_first: bool,
    pub(crate) limit: usize,
    /// Begins at this message, itself included or not.
    pub(crate) from: Option<(usize, bool)>,
}

impl Model {
    pub(crate) fn history(
        &mut self,
        session: usize,
        conversation: Option<usize>,
        page: &PageRequest,
        ticket: u64,
    ) -> Result<(), Code> {
        let me = self.sessions[session].peer;
        let at = self.of(me, conversation)?;
        let held = &self.conversations[at];
        if held.kind == Kind::Room && !held.present.contains(&session) {
            return Err(4401);
        }
        if page.limit == 0 || page.limit > limits::PAGE {
            return Err(4318);
        }
        let is_visible = |number: u64, message: usize| {
            held.members.get(&me).is_none_or(|member| member.sees(number)) && self.messages[message].is_for(me)
        };
        let is_inside = |message: usize| match page.from {
            None => true,
            Some((from, included)) if from == message => included,
            Some((from, _)) => (message < from) == page.newest_first,
        };
        let numbered = (1u64..).zip(held.log.iter().copied());
        let mut messages: Vec<(usize, bool)> = numbered
            .filter(|(number, message)| is_visible(*number, *message) && is_inside(*message))
            .map(|(number, message)| (message, held.deleted.contains(&number)))
            .collect();
        if page.newest_first {
            messages.reverse();
        }
        let more = messages.len() > page.limit;
        messages.truncate(page.limit);
        let attached = self.sessions[session].attached;
        self.pending.push(Pending::History { session, attached, ticket, conversation: at, messages, more });
        Ok(())
    }
    /// The host deletes a message: whoever has it keeps it, nobody gets it any more.
    pub(crate) fn delete(&mut self, conversation: Option<usize>, number: u64) -> Result<(), Code> {
        self.may_stage()?;
        let at = conversation.filter(|at| !self.conversations[*at].gone).ok_or(4401u16)?;
        if !(1..=self.conversations[at].last()).contains(&number) {
            return Err(4404);
        }
        self.conversations[at].deleted.insert(number);
        self.stage();
        Ok(())
    }
    pub(crate) fn is_deleted(&self, message: usize) -> bool {
        let held = &self.messages[message];
        let place = held.conversation.zip(held.number);
        place.is_some_and(|(at, number)| self.conversations[at].deleted.contains(&number))
    }
}
