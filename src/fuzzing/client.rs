//! A session's client with its outbox: what it hears it hears once and in order, however narrow the outbox is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::{Class, ConversationId, Message, MessageId, PeerId, SessionId, Update};

/// One attachment of a session.
pub(super) struct Client {
    pub(super) id: SessionId,
    pub(super) peer: PeerId,
    /// How many updates its outbox holds.
    room: usize,
    outbox: VecDeque<Arc<Update>>,
    /// Whether logged updates reach it directly.
    is_live: bool,
    /// The catch-up that did not fit.
    broken: Option<u32>,
    is_lagging: bool,
    pub(super) seen: BTreeSet<MessageId>,
    last: BTreeMap<ConversationId, u64>,
}

impl Client {
    pub(super) fn new(id: SessionId, peer: PeerId, room: usize) -> Self {
        Self {
            id,
            peer,
            room,
            outbox: VecDeque::new(),
            is_live: false,
            broken: None,
            is_lagging: false,
            seen: BTreeSet::new(),
            last: BTreeMap::new(),
        }
    }

    /// Takes an update into the outbox; returns from which position on it has no room (`Engine::overflowed`).
    pub(super) fn offer(&mut self, update: &Arc<Update>, class: Class) -> Option<u64> {
        let has_room = self.outbox.len() < self.room;
        let (takes, overflows_at) = match class {
            Class::Reply => (true, None),
            Class::Transient => (has_room, None),
            Class::Logged { position } if self.is_live => (has_room, (!has_room).then_some(position)),
            Class::Logged { .. } => (false, None),
            Class::Page { catch_up, .. } if self.broken == Some(catch_up) => (false, None),
            Class::Page { position, catch_up } => {
                self.broken = if has_room { self.broken } else { Some(catch_up) };
                (has_room, (!has_room).then_some(position))
            }
        };
        if takes {
            self.outbox.push_back(Arc::clone(update));
        }
        if overflows_at.is_some() {
            (self.is_live, self.is_lagging) = (false, true);
        }
        overflows_at
    }

    /// A catch-up has ended (`Output::Live`).
    pub(super) fn go_live(&mut self, catch_up: u32) {
        if self.broken != Some(catch_up) {
            (self.is_live, self.is_lagging) = (true, false);
        }
    }

    /// Everything that the outbox holds, and whether the engine wants to know that there is room (`Engine::drained`).
    pub(super) fn read(&mut self) -> (Vec<Arc<Update>>, Option<usize>) {
        let updates: Vec<_> = self.outbox.drain(..).collect();
        updates.iter().for_each(|update| self.hear(update));
        (updates, self.is_lagging.then_some(self.room))
    }

    pub(super) fn reads_at_once(&self) -> bool {
        self.room == usize::MAX
    }

    pub(super) fn hear(&mut self, update: &Update) {
        let Update::Message { message, .. } = update else { return };
        assert!(self.seen.insert(message.id), "a session is given a message once");
        self.check_order(message);
    }

    fn check_order(&mut self, message: &Message) {
        let Some(number) = message.number else { return };
        let last = self.last.insert(message.conversation.clone(), number).unwrap_or_default();
        assert!(number > last, "a session is given a conversation in its order: #{number} after #{last}");
    }
}
