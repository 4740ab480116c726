//! Whom the arrival of a message is told, at once or when it is back.

use crate::engine::Engine;
use crate::output::Class;
use crate::rows::owed::OwedRow;
use crate::state::owed::{Arrived, Owed};
use crate::update::Update;

impl Engine {
    /// Tells a sender that its message has arrived; one that is away hears of it when it is back.
    pub(crate) fn tell_receipt(&mut self, sender: u32, by: u32, conversation: u32, arrived: Arrived) {
        if self.peers[sender].is_online() {
            let update = self.receipt(by, conversation, arrived);
            return self.deliver_to(&[sender], None, update);
        }
        let received = self.received_by(by, conversation);
        let owed = self.peers[sender].owed.entry(conversation).or_insert_with(|| Owed::new(by));
        owed.note(by, arrived, received);
        self.mark_dirty(sender);
    }

    /// Tells a session that has opened how far its peer's messages were received while it was away: one update for a
    /// conversation, and one for each message beyond a hole.
    pub(crate) fn give_receipts(&mut self, slot: u32) {
        let (peer, session) = (self.sessions[slot].peer, self.sessions.reference(slot));
        let mut owed: Vec<(u32, Owed)> = std::mem::take(&mut self.peers[peer].owed).into_iter().collect();
        owed.sort_unstable_by_key(|(conversation, _)| self.conversations[*conversation].number);
        for (conversation, owed) in owed {
            if owed.written {
                self.gate.delete(OwedRow::key(self.peers[peer].number, self.conversations[conversation].number));
            }
            let (all, beyond) = owed.split(self.received_by(owed.by, conversation));
            let all = all.map(|arrived| Update::ReceivedTo {
                conversation: self.conversations[conversation].id.clone(),
                peer: self.peers[owed.by].id.clone(),
                number: arrived.number,
                id: arrived.id,
                at: arrived.at,
            });
            let beyond = beyond.into_iter().map(|arrived| self.receipt(owed.by, conversation, arrived));
            for update in all.into_iter().chain(beyond).collect::<Vec<_>>() {
                self.deliver(session, update, Class::Transient);
            }
        }
    }

    fn receipt(&self, by: u32, conversation: u32, arrived: Arrived) -> Update {
        Update::Receipt {
            conversation: self.conversations[conversation].id.clone(),
            id: arrived.id,
            peer: self.peers[by].id.clone(),
            at: arrived.at,
        }
    }

    /// Up to which number a peer has received everything, on whichever device.
    fn received_by(&self, peer: u32, conversation: u32) -> u64 {
        self.peers[peer].furthest(conversation).map_or(0, |cursor| cursor.received)
    }
}
