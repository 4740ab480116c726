//! History: a page of what the asking peer may see, nothing else and nothing left out.

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
        let is_visible = |number: u64| held.members.get(&me).is_none_or(|member| member.sees(number));
        let is_inside = |message: usize| match page.from {
            None => true,
            Some((from, included)) if from == message => included,
            Some((from, _)) => (message < from) == page.newest_first,
        };
        let numbered = (1u64..).zip(held.log.iter().copied());
        let mut messages: Vec<usize> =
            numbered.filter(|(number, message)| is_visible(*number) && is_inside(*message)).map(|(_, m)| m).collect();
        if page.newest_first {
            messages.reverse();
        }
        let more = messages.len() > page.limit;
        messages.truncate(page.limit);
        let attached = self.sessions[session].attached;
        self.pending.push(Pending::History { session, attached, ticket, conversation: at, messages, more });
        Ok(())
    }
}
