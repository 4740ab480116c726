//! Received, read and unread.
//!
//! The first device of a peer that acknowledges tells the sender; unread is what others sent, is for the peer and was not
//! read, counted one by one.

use std::collections::BTreeMap;

use super::membership::Member;
use super::{Answer, Code, Device, Kind, Model, Peer, What};

impl Model {
    /// Whether the engine knows a message by its id: it was sent in this life, or given to the session.
    fn knows(&self, session: usize, message: usize) -> bool {
        let held = &self.messages[message];
        let is_in_log = held.number.is_some() && held.kind != Kind::Room;
        is_in_log && (held.life == self.life || self.sessions[session].given.contains(&message))
    }

    pub(crate) fn acknowledge(&mut self, session: usize, messages: &[usize], read: bool) {
        for &message in messages {
            let held = self.messages[message].clone();
            let (Some(conversation), Some(number)) = (held.conversation, held.number) else { continue };
            let me = self.sessions[session].peer;
            let log = &self.conversations[conversation];
            let released = number <= log.durable && !log.gone;
            if !released || !log.members.contains_key(&me) || !self.knows(session, message) {
                continue;
            }
            let has = |device: &Device| device.cursors.get(&conversation).is_some_and(|cursor| cursor.has(number));
            let devices = &self.peers[usize::from(me)].devices;
            let first = !devices.iter().any(|device| has(device) && !device.uncertain);
            let maybe = devices.iter().any(has);
            self.acknowledge_range(session, conversation, number, number, true);
            self.sessions[session].given.remove(&message);
            if first && held.receipt && held.from != me {
                for listener in self.open_of(held.from) {
                    self.tell_after(listener, What::Receipt { message, peer: me, at: self.now, maybe });
                }
            }
            if read {
                self.read_to(me, conversation, number);
            }
        }
    }

    fn read_to(&mut self, peer: Peer, conversation: usize, number: u64) {
        if let Some(member) = self.conversations[conversation].members.get_mut(&peer) {
            member.read = member.read.max(number);
        }
    }

    pub(crate) fn mark_read(
        &mut self,
        session: usize,
        conversation: Option<usize>,
        up_to: Option<usize>,
    ) -> Result<(), Code> {
        let me = self.sessions[session].peer;
        let at = self.of(me, conversation)?;
        let number = match up_to {
            None => self.conversations[at].last(),
            Some(message) if self.knows(session, message) && self.messages[message].conversation == Some(at) => {
                self.messages[message].number.unwrap_or_default()
            }
            Some(_) => return Err(4404),
        };
        self.read_to(me, at, number);
        Ok(())
    }

    /// Messages of others after the last one read that are for the peer, counted one by one.
    pub(crate) fn unread_in(&self, peer: Peer, conversation: usize) -> u64 {
        let held = &self.conversations[conversation];
        let is_in = |member: &&Member| held.kind != Kind::Room && !held.gone && member.left_at.is_none();
        let Some(member) = held.members.get(&peer).filter(is_in) else { return 0 };
        let counts = |number: &u64| {
            let message = held.log[*number as usize - 1];
            let message = &self.messages[message];
            member.sees(*number) && message.from != peer && message.is_for(peer)
        };
        (member.read + 1..=held.last()).filter(counts).count() as u64
    }

    pub(crate) fn unread_of(&self, peer: Peer) -> BTreeMap<usize, u64> {
        let all = (0..self.conversations.len()).map(|at| (at, self.unread_in(peer, at)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    pub(crate) fn unread(&mut self, session: usize, ticket: u64) {
        let unread = self.unread_of(self.sessions[session].peer);
        self.reply(session, ticket, Answer::Unread(unread));
    }

    /// A copy of what another device sent needs no acknowledgement: it counts as received once it is durable.
    pub(super) fn copy(&mut self, session: usize, conversation: usize, number: u64) {
        if self.sessions[session].reading {
            return;
        }
        if number <= self.conversations[conversation].durable {
            self.acknowledge_range(session, conversation, number, number, true);
        } else {
            let attached = self.sessions[session].attached;
            self.copies.push((session, attached, conversation, number));
        }
    }
}
