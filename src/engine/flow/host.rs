//! What the host does itself, without a session.

use std::time::Duration;

use crate::engine::Engine;
use crate::error::Error;
use crate::event::Event;
use crate::filter::WordFilter;
use crate::id::{ConversationId, MessageId, PeerId, Ticket};
use crate::message::{Content, Draft, Message};
use crate::request::Create;
use crate::rows::deletion::DeletionRow;
use crate::signature::{KeyError, Keys, Verifier};
use crate::state::actor::Actor;
use crate::state::session::State;
use crate::time::Timestamp;
use crate::timers::Timer;

impl Engine {
    /// Sends in the name of any peer, which needs no session and watches nobody. Answered by
    /// [`Event::Answered`](crate::Event::Answered).
    ///
    /// # Errors
    /// As for a session's send; a group's sender must be a member.
    pub fn send_as(&mut self, peer: &PeerId, draft: Draft, now: Timestamp) -> Result<Ticket, Error> {
        self.advance(now);
        self.as_peer(peer, |engine, actor| engine.send(actor, draft))
    }

    /// Makes a conversation in the name of any peer, who is a member of it. Answered by
    /// [`Event::Answered`](crate::Event::Answered).
    ///
    /// # Errors
    /// As for a session's request; no signature is asked for.
    pub fn create_as(&mut self, peer: &PeerId, create: Create, now: Timestamp) -> Result<Ticket, Error> {
        self.advance(now);
        self.as_peer(peer, |engine, actor| engine.create(actor, create))
    }

    fn as_peer(
        &mut self,
        peer: &PeerId,
        act: impl FnOnce(&mut Self, Actor) -> Result<(), Error>,
    ) -> Result<Ticket, Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        self.check_ids(std::slice::from_ref(peer))?;
        if self.peers.find(peer).is_none() {
            self.check_peers_max(1)?;
        }
        let slot = self.peers.intern(peer);
        let actor = self.host_actor(slot);
        let done = act(self, actor);
        self.peers.forget(slot);
        self.end_request(done.is_err());
        done.map(|()| actor.ticket)
    }

    /// Sends what hooks wanted said, now that the verb has ended which they were asked about.
    pub(crate) fn send_also(&mut self) {
        for (from, draft) in std::mem::take(&mut self.also) {
            let sent = self.as_peer(&from, |engine, actor| engine.send(Actor { by_hook: true, ..actor }, draft));
            if let Err(error) = sent {
                self.tell(Event::AlsoRefused { from, error });
            }
        }
    }

    /// Whether a peer has an open session. Unknown peers are offline.
    #[must_use]
    pub fn is_online(&self, peer: &PeerId) -> bool {
        self.peers.find(peer).is_some_and(|slot| self.peers[slot].is_online())
    }

    /// Those of some peers who are online, sorted.
    #[must_use]
    pub fn online(&self, peers: &[PeerId]) -> Vec<PeerId> {
        self.online_among(&peers.iter().filter_map(|peer| self.peers.find(peer)).collect::<Vec<_>>())
    }

    /// How many sessions are in a room now, or how many members a group has.
    #[must_use]
    pub fn count_of(&self, conversation: &ConversationId) -> Option<u64> {
        Some(self.count_in(self.conversations.find(conversation)?))
    }

    /// How many messages a peer has not read, in all conversations.
    #[must_use]
    pub fn unread_count(&self, peer: &PeerId) -> u64 {
        self.peers.find(peer).map_or(0, |slot| self.badge(slot))
    }

    /// How many messages a peer has not read in one conversation.
    #[must_use]
    pub fn unread_count_in(&self, peer: &PeerId, conversation: &ConversationId) -> u64 {
        let (peer, slot) = (self.peers.find(peer), self.conversations.find(conversation));
        peer.zip(slot).map_or(0, |(peer, slot)| self.unread_in(peer, slot))
    }

    /// The groups and other conversations that a peer is in, sorted by id.
    #[must_use]
    pub fn conversations_of(&mut self, peer: &PeerId) -> Vec<crate::ConversationInfo> {
        let Some(peer) = self.peers.find(peer) else { return Vec::new() };
        let held = self.peers[peer].conversations.clone();
        let mine = held
            .into_iter()
            .filter(|slot| self.conversations[*slot].has_member(peer) && !self.has_ended(*slot))
            .collect::<Vec<_>>();
        let mut infos: Vec<_> = mine.into_iter().map(|slot| self.info(slot)).collect();
        infos.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        infos
    }

    /// Deletes a message from its conversation's log. Its number stays, with empty content; who received it keeps it.
    ///
    /// # Errors
    /// [`Error::InvalidTarget`] for an unknown conversation, [`Error::MessageNotFound`] for a number that it never gave or
    /// does not keep, and what refuses writes.
    pub fn delete_message(&mut self, id: &ConversationId, number: u64, now: Timestamp) -> Result<(), Error> {
        self.advance(now);
        self.may_stage()?;
        let slot = self.conversations.find(id).ok_or(Error::no_target())?;
        let conversation = &mut self.conversations[slot];
        if !(conversation.first_number..=conversation.last_number).contains(&number) || conversation.lost.has(number) {
            return Err(Error::MessageNotFound);
        }
        conversation.overlay.delete(number);
        let permanent = conversation.number;
        if let Some(message) = conversation.tail.iter_mut().find(|message| message.number == Some(number)) {
            let content = Content::Text(String::new());
            *message = std::sync::Arc::new(Message { deleted: true, content, ..(**message).clone() });
        }
        self.put_row(DeletionRow::key(permanent, number), &DeletionRow::new());
        self.deleted.push_back((self.gate.newest(), permanent, number));
        self.gate.end_operation();
        Ok(())
    }

    /// Ends a conversation of any kind: it goes, and its messages with it, as soon as what is staged of it is durable. Members
    /// keep what they received. A room counts no more for whoever made it.
    ///
    /// # Errors
    /// [`Error::InvalidTarget`] for an unknown conversation, and what refuses writes.
    pub fn end_conversation(&mut self, id: &ConversationId, now: Timestamp) -> Result<(), Error> {
        self.advance(now);
        self.may_stage()?;
        let slot = self.conversations.find(id).ok_or(Error::no_target())?;
        // It takes nothing from here on: its end was a moment ago.
        let end = self.host_time.shown() - Duration::from_millis(1);
        let conversation = &mut self.conversations[slot];
        conversation.expires_at = Some(conversation.expires_at.map_or(end, |at| at.min(end)));
        self.timers.set(Timer::Temporary(slot), self.now);
        self.write_conversation(slot);
        self.gate.end_operation();
        Ok(())
    }

    /// The number of a message in its conversation, where it is among the newest of the engine.
    #[must_use]
    pub fn number_of(&self, id: &MessageId) -> Option<(ConversationId, u64)> {
        let at = self.recent.find(id)?;
        Some((self.conversations[self.conversations.by_number(at.conversation)?].id.clone(), at.number))
    }

    /// Swaps the word filter; none lets everything through.
    pub fn set_filter(&mut self, filter: Option<WordFilter>) {
        self.filter = filter;
    }

    /// Replaces the master keys without dropping anyone. Tokens of sessions whose key is gone are void.
    ///
    /// # Errors
    /// A key that is too short, or none while signatures are on; the keys are as before then.
    pub fn set_master_keys(&mut self, keys: &[Vec<u8>]) -> Result<(), KeyError> {
        let verifier = Verifier::new(&self.config.app_id, Keys::new(keys)?)?
            .with_window(self.config.signature_window, self.config.signature_ahead);
        self.verifier = Some(verifier);
        self.end_unsigned();
        Ok(())
    }

    /// The host has looked at its clock after [`Event::TimeJumped`](crate::Event::TimeJumped), and the time is right: what is
    /// old may be deleted again.
    pub fn confirm_time(&mut self) {
        self.time_in_doubt = false;
    }

    /// Ends the engine's part: every later request is refused with [`Error::Closed`], every session is paused, all cursors
    /// are staged. What is staged still has to be committed.
    pub fn shut_down(&mut self, now: Timestamp) {
        self.advance(now);
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.end_held();
        let open: Vec<u32> =
            self.sessions.iter().filter(|(_, s)| s.state == State::Open).map(|(slot, _)| slot).collect();
        for slot in open {
            self.say_closed(slot, Some(Error::Closed));
            self.pause_slot(slot);
        }
        self.write_all_cursors();
        self.gate.end_operation();
    }
}
