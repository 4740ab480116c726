//! Peers: who there is, on which devices, and where each device has got to.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::cursor::Cursor;
use crate::id::{DeviceId, PeerId, RetryToken};
use crate::message::Accepted;
use crate::slots::Slots;
use crate::state::owed::Owed;
use crate::table::{KeyedTable, Keying};
use crate::time::Timestamp;

/// One of a peer's installations, with its place in each conversation.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) id: Option<DeviceId>,
    pub(crate) seen_at: Timestamp,
    pub(crate) cursors: FxHashMap<u32, Cursor>,
    /// Whether the store has an older state.
    pub(crate) dirty: bool,
    /// Rows that its cursors take in the store.
    pub(crate) pages: u64,
}

impl Device {
    /// A device of which nothing is known.
    pub(crate) fn unknown() -> Self {
        Self { id: None, seen_at: Timestamp::ZERO, cursors: FxHashMap::default(), dirty: false, pages: 0 }
    }
}

/// The answers to transient messages with a token, oldest first.
#[derive(Debug, Default)]
struct SentTransient(VecDeque<Transient>);

/// A token and whether a transient message was asked for, or became one by a hook; and the answer.
type Transient = (RetryToken, bool, Accepted);

impl SentTransient {
    /// Tokens remembered: some seconds of a busy sender.
    const MAX: usize = 64;
}

/// A peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    /// Its permanent number; zero until something of it is stored.
    pub(crate) number: u64,
    /// Its open sessions.
    pub(crate) sessions: SmallVec<[u32; 2]>,
    /// Its paused sessions.
    pub(crate) paused: SmallVec<[u32; 2]>,
    /// The conversations it is in, or was in with something still waiting; sorted.
    pub(crate) conversations: Vec<u32>,
    /// Those of them whose members come and go; sorted. Their number has a bound, which that of direct ones, made by whoever
    /// writes to it, has not.
    in_groups: Vec<u32>,
    /// How often who of its sessions is live changed.
    pub(crate) version: u64,
    /// What it has not read in the conversations whose members never change, once that was asked for.
    direct_unread: Option<u64>,
    /// How many of them are groups it is a member of.
    pub(crate) groups: u32,
    pub(crate) devices: Vec<Device>,
    /// Whether it closed its last session itself: then nobody wakes it.
    pub(crate) logged_out: bool,
    /// What its watchers were told last.
    pub(crate) told_online: bool,
    /// Whether the store has an older state of it.
    pub(crate) dirty: bool,
    /// Whether it waits to be written.
    pub(crate) queued: bool,
    /// Rows that what it has read takes in the store.
    pub(crate) read_pages: u64,
    /// The answers to its newest transient messages that came with a retry token; seldom any.
    sent_transient: Option<Box<SentTransient>>,
    /// Receipts that came while it was away, by conversation.
    pub(crate) owed: BTreeMap<u32, Owed>,
    /// Numbers in conversations that were given up with the oldest of too many memberships, newest last: what waited there is
    /// told at the next contact.
    pub(crate) dropped: Vec<(u32, u64, u64)>,
    /// Whether it ever sent what is stored: then its name is needed for good.
    pub(crate) wrote: bool,
    /// Conversations that name it as their creator.
    pub(crate) made: u32,
    /// What else keeps it in memory: parked commands that name it.
    pub(crate) pinned: u32,
}

impl Peer {
    fn new(id: PeerId) -> Self {
        Self {
            id,
            number: 0,
            sessions: SmallVec::new(),
            paused: SmallVec::new(),
            conversations: Vec::new(),
            in_groups: Vec::new(),
            version: 0,
            direct_unread: None,
            groups: 0,
            devices: Vec::new(),
            logged_out: false,
            told_online: false,
            dirty: false,
            queued: false,
            read_pages: 0,
            sent_transient: None,
            owed: BTreeMap::new(),
            dropped: Vec::new(),
            wrote: false,
            made: 0,
            pinned: 0,
        }
    }

    /// Remembers the answer to a transient message by its token, while the peer is known: nothing of it is stored.
    pub(crate) fn note_transient(&mut self, token: RetryToken, was_asked: bool, accepted: Accepted) {
        let sent = &mut self.sent_transient.get_or_insert_default().0;
        if sent.len() == SentTransient::MAX {
            sent.pop_front();
        }
        sent.push_back((token, was_asked, accepted));
    }

    /// The answer to a transient message that was sent with this token lately.
    pub(crate) fn transient_answer(&self, token: &RetryToken, asked: bool) -> Option<&Accepted> {
        let mut sent = self.sent_transient.iter().flat_map(|sent| sent.0.iter());
        sent.find(|(known, was_asked, _)| known == token && *was_asked == asked).map(|(_, _, accepted)| accepted)
    }

    /// Whether it has an open session.
    pub(crate) fn is_online(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Whether nothing is known of it but its id.
    fn is_forgettable(&self) -> bool {
        self.number == 0
            && self.sessions.is_empty()
            && self.paused.is_empty()
            && self.conversations.is_empty()
            && !self.told_online
            && self.pinned == 0
    }

    /// Whether nothing remains of it but its rows: it is in no conversation, made none that stands, wrote nothing, and none
    /// of its devices was seen since `limit`.
    fn is_spent(&self, limit: Timestamp) -> bool {
        self.sessions.is_empty()
            && self.paused.is_empty()
            && self.conversations.is_empty()
            && !self.wrote
            && self.made == 0
            && !self.told_online
            && self.pinned == 0
            && self.devices.iter().all(|device| device.seen_at < limit)
    }

    /// The place of a device in [`devices`](Self::devices).
    pub(crate) fn device(&self, id: Option<&DeviceId>) -> Option<usize> {
        self.devices.iter().position(|device| device.id.as_ref() == id)
    }

    /// Whether any device has acknowledged this number.
    pub(crate) fn has_received(&self, conversation: u32, number: u64) -> bool {
        self.devices.iter().any(|device| device.cursors.get(&conversation).is_some_and(|cursor| cursor.has(number)))
    }

    /// The furthest any device has got in a conversation.
    pub(crate) fn furthest(&self, conversation: u32) -> Option<&Cursor> {
        let cursors = self.devices.iter().filter_map(|device| device.cursors.get(&conversation));
        cursors.max()
    }

    /// Notes that it is in a conversation.
    pub(crate) fn enter(&mut self, conversation: u32) {
        if let Err(at) = self.conversations.binary_search(&conversation) {
            self.conversations.insert(at, conversation);
        }
    }

    /// The next of its conversations after one of them, at most so many.
    pub(crate) fn conversations_after(&self, after: Option<u32>, max: usize) -> &[u32] {
        let from = after.map_or(0, |after| self.conversations.partition_point(|slot| *slot <= after));
        let rest = self.conversations.get(from..).unwrap_or_default();
        rest.get(..max).unwrap_or(rest)
    }

    /// Notes that it is in a group.
    pub(crate) fn enter_group(&mut self, group: u32) {
        self.enter(group);
        if let Err(at) = self.in_groups.binary_search(&group) {
            self.in_groups.insert(at, group);
        }
    }

    /// The groups that it is in, or was in with something still waiting.
    pub(crate) fn in_groups(&self) -> &[u32] {
        &self.in_groups
    }

    /// What it has not read in the conversations whose members never change, where that is known.
    pub(crate) fn direct_unread(&self) -> Option<u64> {
        self.direct_unread
    }

    /// Keeps what it has not read in the conversations whose members never change.
    pub(crate) fn keep_direct_unread(&mut self, count: u64) {
        self.direct_unread = Some(count);
    }

    /// What it has not read in one of the conversations whose members never change has changed.
    pub(crate) fn change_direct_unread(&mut self, before: u64, after: u64) {
        if let Some(count) = &mut self.direct_unread {
            *count = (*count + after).saturating_sub(before);
        }
    }

    /// Notes what was given up of a conversation.
    pub(crate) fn drop_span(&mut self, conversation: u32, first: u64, last: u64) {
        /// Each is told for itself; of more than these, those that nobody came for are not.
        const DROPPED_MAX: usize = 64;
        if self.dropped.len() == DROPPED_MAX {
            self.dropped.remove(0);
        }
        self.dropped.push((conversation, first, last));
    }

    /// Forgets a conversation.
    pub(crate) fn forget(&mut self, conversation: u32) {
        self.dropped.retain(|(dropped, ..)| *dropped != conversation);
        if let Ok(at) = self.in_groups.binary_search(&conversation) {
            self.in_groups.remove(at);
        }
        if let Ok(at) = self.conversations.binary_search(&conversation) {
            self.conversations.remove(at);
        }
        self.devices.iter_mut().for_each(|device| drop(device.cursors.remove(&conversation)));
        self.owed.remove(&conversation);
    }
}

/// Everyone the engine knows.
#[derive(Debug)]
pub(crate) struct Peers {
    slots: Slots<Peer>,
    by_id: KeyedTable,
    by_number: FxHashMap<u64, u32>,
    next_number: u64,
}

impl Peers {
    pub(crate) fn new(keying: Keying) -> Self {
        Self {
            slots: Slots::default(),
            by_id: KeyedTable::new(keying),
            by_number: FxHashMap::default(),
            next_number: 1,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// A peer that may be gone.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Peer> {
        self.slots.get_mut(slot)
    }

    /// A peer's place, if anything is known of it.
    pub(crate) fn find(&self, id: &PeerId) -> Option<u32> {
        self.by_id.find(id.as_str(), |slot| self.slots[slot].id.as_str())
    }

    /// A peer's place, made if there is none. One that stays without state is to be given to [`forget`](Self::forget).
    pub(crate) fn intern(&mut self, id: &PeerId) -> u32 {
        if let Some(slot) = self.find(id) {
            return slot;
        }
        let slot = self.slots.insert(Peer::new(id.clone()));
        self.by_id.insert(id.as_str(), slot, |slot| self.slots[slot].id.as_str());
        slot
    }

    /// Lets go of a peer of whom nothing is known but the id.
    pub(crate) fn forget(&mut self, slot: u32) {
        if self.slots.get(slot).is_some_and(Peer::is_forgettable) {
            let id = self.slots[slot].id.clone();
            self.by_id.remove(id.as_str(), |slot| self.slots[slot].id.as_str());
            self.slots.remove(slot);
        }
    }

    /// Lets go of those among `places_max` places from `from` on of whom nothing remains, each with what it was; says where
    /// to go on, which is the beginning once all were looked at.
    pub(crate) fn forget_spent(&mut self, from: u32, places_max: u32, limit: Timestamp) -> (Vec<Peer>, u32) {
        let end = u32::try_from(self.slots.places()).unwrap_or(u32::MAX);
        let to = from.saturating_add(places_max).min(end);
        // The newest number stays taken, so that no number is ever given again.
        let newest = self.next_number - 1;
        let is_spent = |peer: &Peer| peer.number != 0 && peer.number != newest && peer.is_spent(limit);
        let spent: Vec<u32> = (from..to).filter(|slot| self.slots.get(*slot).is_some_and(is_spent)).collect();
        let gone = spent.into_iter().filter_map(|slot| {
            let (id, number) = (self.slots[slot].id.clone(), self.slots[slot].number);
            self.by_id.remove(id.as_str(), |slot| self.slots[slot].id.as_str());
            self.by_number.remove(&number);
            self.slots.remove(slot)
        });
        let gone = gone.collect();
        (gone, if to == end { 0 } else { to })
    }

    /// Gives a peer its permanent number, where it has none; true where it was given now.
    pub(crate) fn number(&mut self, slot: u32) -> bool {
        let peer = &mut self.slots[slot];
        if peer.number != 0 {
            return false;
        }
        peer.number = self.next_number;
        peer.dirty = true;
        self.by_number.insert(self.next_number, slot);
        self.next_number += 1;
        true
    }

    /// A peer by its permanent number.
    pub(crate) fn by_number(&self, number: u64) -> Option<u32> {
        self.by_number.get(&number).copied()
    }

    /// Takes a peer from the store.
    pub(crate) fn restore(&mut self, id: &PeerId, number: u64) -> u32 {
        let slot = self.intern(id);
        self.slots[slot].number = number;
        self.by_number.insert(number, slot);
        self.next_number = self.next_number.max(number + 1);
        slot
    }
}

impl std::ops::Index<u32> for Peers {
    type Output = Peer;
    fn index(&self, slot: u32) -> &Peer {
        &self.slots[slot]
    }
}

impl std::ops::IndexMut<u32> for Peers {
    fn index_mut(&mut self, slot: u32) -> &mut Peer {
        &mut self.slots[slot]
    }
}
