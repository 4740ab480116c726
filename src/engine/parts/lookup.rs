//! From a name to what it names, and back to what is shown of it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use rand_core::Rng;

use crate::conversation::{ConversationInfo, ConversationKind};
use crate::engine::Engine;
use crate::error::Error;
use crate::id::{ConversationId, MessageId, PeerId, SessionId};
use crate::log::{Found, LogView, Reader};
use crate::message::{Content, Message};
use crate::output::SessionRef;
use crate::rows::recipients::Recipients;
use crate::state::actor::{Actor, Payer};
use crate::state::conversation::{Member, Set};
use crate::state::recent::Whereabouts;

impl Engine {
    pub(crate) fn reader(&self, peer: u32) -> Reader {
        let peer = &self.peers[peer];
        Reader { peer: peer.id.clone(), number: peer.number, member_in: None }
    }

    pub(crate) fn whereabouts(&self, conversation: u32, message: &Message) -> Whereabouts {
        let receipt_to = if message.receipt { self.peers.find(&message.from) } else { None };
        let conversation = self.conversations[conversation].number;
        let (number, position) = (message.number.unwrap_or_default(), message.position);
        Whereabouts { conversation, number, position, sent_by: None, receipt_to }
    }

    /// A message that the engine has in memory or gave to this session, by its id, and its conversation.
    pub(crate) fn locate(&self, session: u32, id: &MessageId) -> Option<(u32, Whereabouts)> {
        let at = self.sessions[session].rare.given.get(id).copied().or_else(|| self.recent.find(id))?;
        Some((self.conversations.by_number(at.conversation)?, at))
    }

    /// An id that no conversation has: 24 hex digits, after a prefix.
    pub(crate) fn fresh_conversation_id(&mut self, prefix: &str) -> ConversationId {
        loop {
            let (high, low) = (self.random.next_u64(), self.random.next_u32());
            let id = ConversationId::made(format!("{prefix}{high:016x}{low:08x}"));
            if self.conversations.find(&id).is_none() {
                return id;
            }
        }
    }

    pub(crate) fn count_in(&self, slot: u32) -> u64 {
        let conversation = &self.conversations[slot];
        let count =
            if conversation.kind == ConversationKind::Room { conversation.present.len() } else { conversation.active };
        count as u64
    }

    /// A conversation's fields.
    pub(crate) fn info(&mut self, slot: u32) -> ConversationInfo {
        let members = self.member_names(slot).to_vec();
        let conversation = &self.conversations[slot];
        ConversationInfo {
            id: conversation.id.clone(),
            kind: conversation.kind,
            unique: conversation.unique,
            name: conversation.name.clone(),
            attributes: conversation.attributes.clone(),
            creator: conversation.creator.map(|peer| self.peers[peer].id.clone()),
            members,
            created_at: conversation.created_at,
            updated_at: conversation.updated_at,
            last_message_at: (conversation.last_number > 0).then_some(conversation.last_at),
            expires_at: conversation.expires_at,
        }
    }

    /// Who the host acts as, with a ticket for the answer.
    pub(crate) fn host_actor(&mut self, peer: u32) -> Actor {
        Actor { peer, session: None, ticket: self.ticket(), payer: Payer::Host, by_hook: false }
    }

    /// A conversation that a peer is in; a room is open to anyone. Unknown and forbidden look the same.
    pub(crate) fn conversation_of(&self, peer: u32, id: &ConversationId) -> Result<u32, Error> {
        let slot = self.conversation_named(id)?;
        self.conversations[slot].may_send(peer)?;
        Ok(slot)
    }

    /// A conversation by its id, whoever is in it. One whose end has passed is over, however late its timer is and whether or
    /// not the time is in doubt.
    pub(crate) fn conversation_named(&self, id: &ConversationId) -> Result<u32, Error> {
        let slot = self.conversations.find(id).ok_or_else(|| self.unknown_conversation(id))?;
        if self.has_ended(slot) { Err(Error::ConversationExpired) } else { Ok(slot) }
    }

    pub(crate) fn has_ended(&self, slot: u32) -> bool {
        self.conversations[slot].has_ended(self.host_time.shown())
    }

    /// Why a conversation that is not there is not there.
    pub(crate) fn unknown_conversation(&self, id: &ConversationId) -> Error {
        if id.as_str().starts_with("_tmp:") { Error::ConversationExpired } else { Error::no_target() }
    }

    /// How outputs name a session.
    pub(crate) fn reference(&self, slot: u32) -> SessionRef {
        self.sessions.reference(slot)
    }

    pub(crate) fn without_lost_session(&self, actor: Actor) -> Actor {
        let session = actor.session.filter(|session| {
            let held = self.sessions.get(session.slot);
            held.is_some_and(|held| {
                held.generation == session.generation && held.state == crate::state::session::State::Open
            })
        });
        Actor { session, ..actor }
    }

    /// Whether a view is of the conversation that is in its place now: one that ended may have given it up.
    pub(crate) fn is_of(&self, view: &LogView) -> bool {
        self.conversations.get(view.slot).is_some_and(|conversation| conversation.number == view.conversation)
    }

    /// A found message as it is shared; `None` where its sender is not known any more.
    pub(crate) fn share(&self, slot: u32, found: Found) -> Option<Arc<Message>> {
        let stored = match found {
            Found::Shared(message) => return Some(message),
            Found::Stored(stored) => stored,
        };
        let conversation = self.conversations.get(slot)?;
        let from = self.peers[self.peers.by_number(stored.from)?].id.clone();
        let deleted = stored.deleted || conversation.overlay.is_staged(stored.number);
        let narrowed = stored.to != Recipients::All;
        let to = match self.named(slot, stored.number, &stored.to) {
            Some(named) => named.into_iter().map(|peer| self.peers[peer].id.clone()).collect(),
            None if conversation.kind == crate::ConversationKind::Direct => {
                conversation.names.clone().unwrap_or_default()
            }
            None => Arc::default(),
        };
        Some(Arc::new(Message {
            id: stored.id,
            conversation: conversation.id.clone(),
            kind: conversation.kind,
            number: Some(stored.number),
            timestamp: stored.timestamp,
            from,
            to,
            content: if deleted { Content::Text(String::new()) } else { stored.content },
            transient: false,
            receipt: stored.receipt,
            deleted,
            narrowed,
            position: stored.position,
            device: stored.device.as_deref().and_then(|device| crate::DeviceId::new(device).ok()),
        }))
    }

    /// Those whom a stored message names as its recipients, sorted, as far as they are still known; `None` where it is for all.
    pub(crate) fn named(&self, slot: u32, number: u64, to: &Recipients) -> Option<Vec<u32>> {
        let known = |numbers: &[u64]| numbers.iter().filter_map(|number| self.peers.by_number(*number)).collect();
        let mut named: Vec<u32> = match to {
            Recipients::All => return None,
            Recipients::Only(numbers) => known(numbers),
            Recipients::AllBut(numbers) => {
                let left_out: BTreeSet<u32> = known(numbers).into_iter().collect();
                let conversation = &self.conversations[slot];
                let was_member = |member: &Member| {
                    member.ranges(conversation.last_number).any(|span| (span.0..=span.1).contains(&number))
                };
                let members = conversation.members.iter().filter(|(_, member)| was_member(member));
                members.map(|(peer, _)| *peer).filter(|peer| !left_out.contains(peer)).collect()
            }
        };
        named.sort_unstable();
        Some(named)
    }

    pub(crate) fn find_pair(&self, sender: u32, peer: &PeerId) -> Option<u32> {
        let other = self.peers.find(peer)?;
        match sender.cmp(&other) {
            std::cmp::Ordering::Less => self.conversations.by_set(Set::Direct, &[sender, other]),
            std::cmp::Ordering::Equal => self.conversations.by_set(Set::Direct, &[sender]),
            std::cmp::Ordering::Greater => self.conversations.by_set(Set::Direct, &[other, sender]),
        }
    }

    pub(crate) fn source_ip(&self, actor: Actor) -> Option<IpAddr> {
        actor.session.and_then(|session| self.sessions.get(session.slot)?.rare.source_ip)
    }

    /// The names of a direct conversation's members; of other kinds none.
    pub(crate) fn names_of_direct(&mut self, slot: u32) -> Arc<[PeerId]> {
        match self.conversations[slot].kind {
            ConversationKind::Direct => self.member_names(slot),
            ConversationKind::Group | ConversationKind::Room | ConversationKind::Temporary => Arc::default(),
        }
    }

    /// The names of a conversation's members, sorted; kept while they stand still.
    pub(crate) fn member_names(&mut self, slot: u32) -> Arc<[PeerId]> {
        if let Some(names) = &self.conversations[slot].names {
            return Arc::clone(names);
        }
        let members = self.conversations[slot].active_members();
        let mut names: Vec<PeerId> = members.map(|peer| self.peers[peer].id.clone()).collect();
        names.sort_unstable();
        let names: Arc<[PeerId]> = Arc::from(names);
        self.conversations[slot].names = Some(Arc::clone(&names));
        names
    }

    /// The asking session, with a ticket for its answer.
    pub(crate) fn actor(&mut self, session: SessionId) -> Result<Actor, Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        let slot = self.sessions.find(session).ok_or(Error::SessionRequired)?;
        let held = &self.sessions[slot];
        if held.state != crate::state::session::State::Open {
            return Err(Error::SessionRequired);
        }
        let (peer, payer) = (held.peer, Payer::client(held.rare.origin));
        let session = Some(self.sessions.reference(slot));
        Ok(Actor { peer, session, ticket: self.ticket(), payer, by_hook: false })
    }
}
