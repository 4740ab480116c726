//! What the children of one folder were told, over all their lives.

use std::collections::{BTreeMap, HashMap, HashSet};

use switchboard::{ConversationId, MessageId, PeerId, Timestamp};

/// What children of one folder were told, over all their lives.
#[derive(Default)]
pub(super) struct Told {
    /// Acknowledged messages: by conversation and number.
    pub(super) sent: BTreeMap<(ConversationId, u64), (MessageId, String)>,
    ids: HashSet<MessageId>,
    /// What receivers were about to acknowledge, and did.
    pub(super) will: HashSet<MessageId>,
    did: HashMap<MessageId, Timestamp>,
    /// What they acknowledged so long before the end of that life that the cursors had been written.
    pub(super) settled: HashSet<MessageId>,
    pub(super) received: usize,
    /// Of these messages the sender heard that they were received.
    pub(super) receipts: HashSet<MessageId>,
    /// How memberships stand: `None` where a change was asked for and not answered.
    pub(super) members: BTreeMap<(ConversationId, PeerId), Option<bool>>,
    pub(super) changes: usize,
}

impl Told {
    pub(super) fn note(&mut self, line: &str, name: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["ready"] => {}
            ["sent", conversation, number, id, body] => {
                let id = MessageId::parse(id).unwrap();
                let place = (ConversationId::new(conversation).unwrap(), number.parse().unwrap());
                assert!(self.ids.insert(id), "{name}: the id {id} was given twice");
                let before = self.sent.insert(place, (id, (*body).to_owned()));
                assert!(before.is_none(), "{name}: a number was given twice: {before:?}, {line}");
            }
            ["will", ids @ ..] => self.will.extend(ids.iter().map(|id| MessageId::parse(id).unwrap())),
            ["did", millis, ids @ ..] => {
                let at = Timestamp::from_millis(millis.parse().unwrap());
                self.did.extend(ids.iter().map(|id| (MessageId::parse(id).unwrap(), at)));
            }
            ["receipt", id] => drop(self.receipts.insert(MessageId::parse(id).unwrap())),
            ["about", conversation, peer, _] => drop(self.members.insert(membership(conversation, peer), None)),
            ["member", conversation, peer, step] => {
                self.changes += 1;
                self.members.insert(membership(conversation, peer), Some(*step == "in"));
            }
            _ => panic!("{name}: {line}"),
        }
    }

    /// A life has ended: what was acknowledged in it before this time does not come again.
    pub(super) fn settle(&mut self, before: Timestamp) {
        self.received += self.did.len();
        self.settled.extend(self.did.drain().filter(|(_, at)| *at < before).map(|(id, _)| id));
    }
}

fn membership(conversation: &str, peer: &str) -> (ConversationId, PeerId) {
    (ConversationId::new(conversation).unwrap(), PeerId::new(peer).unwrap())
}
