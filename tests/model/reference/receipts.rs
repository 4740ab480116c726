//! Received, read and unread.
//!
//! The first device of a peer that acknowledges tells the sender; unread is what others sent, is for the peer and was not
//! read, counted one by one.

use std::collections::BTreeMap;

use super::membership::Member;
use super::{Answer, Code, Device, Kind, Model, Peer, Pending, What};

/// Messages of a peer that arrived while it was away, by number: which, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed {
    by: Option<Peer>,
    arrived: BTreeMap<u64, (usize, u64)>,
    /// Whether a crash may have taken that somebody had received before.
    maybe: bool,
}

impl Model {
    /// Whether the engine knows a message by its id: it was sent in this life, or given to the session.
    fn knows(&self, session: usize, message: usize) -> bool {
        let held = &self.messages[message];
        let is_in_log = held.number.is_some() && held.kind != Kind::Room;
        is_in_log && (held.life == self.life || self.sessions[session].given.contains(&message))
    }

    pub(crate) fn acknowledge(&mut self, session: usize, messages: &[usize], read: bool) {
        let mut received_to = None;
        for &message in messages {
            let held = self.messages[message].clone();
            let (Some(conversation), Some(number)) = (held.conversation, held.number) else { continue };
            let me = self.sessions[session].peer;
            let log = &self.conversations[conversation];
            let released = number <= log.durable && !log.gone;
            if !released || !log.members.contains_key(&me) || !self.knows(session, message) {
                continue;
            }
            received_to = received_to.max(Some(message));
            let has = |device: &Device| device.cursors.get(&conversation).is_some_and(|cursor| cursor.has(number));
            let devices = &self.peers[usize::from(me)].devices;
            let first = !devices.iter().any(|device| has(device) && !device.uncertain);
            let maybe = devices.iter().any(has);
            self.acknowledge_range(session, conversation, number, number, true);
            self.sessions[session].given.remove(&message);
            if first && held.receipt && held.from != me {
                let (listeners, at) = (self.open_of(held.from), self.stamp());
                if listeners.is_empty() {
                    let owed = self.peer(held.from).owed.entry(conversation).or_default();
                    // Whoever came in the place of one who left has received something of its own.
                    if owed.by != Some(me) {
                        *owed = Owed { by: Some(me), ..Owed::default() };
                    }
                    owed.arrived.insert(number, (message, at));
                    owed.maybe |= maybe;
                }
                for listener in listeners {
                    self.tell_after(listener, What::Receipt { message, peer: me, at, maybe });
                }
            }
            if read {
                self.read_to(me, conversation, number);
            }
        }
        self.acknowledge_copies(session, received_to);
    }

    /// Who was away is told how far its messages were received: one word for a conversation, and one for each message beyond a
    /// hole. After a crash nobody knows what is owed.
    pub(super) fn tell_owed(&mut self, session: usize) {
        let peer = self.sessions[session].peer;
        let unsure = std::mem::take(&mut self.peer(peer).owed_unsure);
        self.sessions[session].unsure = unsure;
        for (conversation, owed) in std::mem::take(&mut self.peer(peer).owed) {
            let Some(by) = owed.by.filter(|_| !self.conversations[conversation].gone) else { continue };
            if unsure || owed.maybe || self.peers[usize::from(by)].devices.iter().any(|device| device.uncertain) {
                self.sessions[session].unsure = true;
                continue;
            }
            let received = self.furthest(by).get(&conversation).map_or(0, |cursor| cursor.received);
            if let Some((_, (message, at))) = owed.arrived.range(..=received).next_back() {
                self.tell_after(session, What::ReceivedTo { message: *message, peer: by, at: *at });
            }
            for (message, at) in owed.arrived.range(received + 1..).map(|(_, arrived)| *arrived) {
                self.tell_after(session, What::Receipt { message, peer: by, at, maybe: false });
            }
        }
    }

    /// Copies that came before a message that was received were received too.
    fn acknowledge_copies(&mut self, session: usize, received_to: Option<usize>) {
        let copies = std::mem::take(&mut self.sessions[session].copies);
        let (received, left): (Vec<usize>, Vec<usize>) =
            copies.into_iter().partition(|copy| Some(*copy) <= received_to);
        self.sessions[session].copies = left;
        for copy in received {
            let held = &self.messages[copy];
            let (Some(conversation), Some(number)) = (held.conversation, held.number) else { continue };
            if !self.conversations[conversation].gone {
                self.acknowledge_range(session, conversation, number, number, true);
            }
        }
    }

    pub(super) fn read_to(&mut self, peer: Peer, conversation: usize, number: u64) {
        if let Some(member) = self.conversations[conversation].members.get_mut(&peer) {
            member.read = member.read.max(number);
        }
    }

    pub(crate) fn mark_read(
        &mut self,
        session: usize,
        conversation: Option<usize>,
        up_to: Option<usize>,
        ticket: u64,
    ) -> Result<(), Code> {
        let me = self.sessions[session].peer;
        let at = self.of(me, conversation)?;
        let number = match up_to {
            None => self.conversations[at].last(),
            Some(message) if self.knows(session, message) && self.messages[message].conversation == Some(at) => {
                self.messages[message].number.unwrap_or_default()
            }
            Some(message) => {
                let held = &self.messages[message];
                let number = held.number.filter(|_| held.conversation == Some(at));
                let attached = self.sessions[session].attached;
                self.pending.push(Pending::Find { session, attached, ticket, conversation: at, number });
                return Ok(());
            }
        };
        self.read_to(me, at, number);
        Ok(())
    }

    /// Messages of others after the last one read that are for the peer, counted one by one.
    pub(crate) fn unread_in(&self, peer: Peer, conversation: usize) -> u64 {
        let held = &self.conversations[conversation];
        let is_in =
            |member: &&Member| held.kind != Kind::Room && !self.is_over(conversation) && member.left_at.is_none();
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
}
