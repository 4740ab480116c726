//! Conversations as the engine holds them, and how they are found.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::conversation::{Attributes, ConversationKind};
use crate::error::Error;
use crate::id::{ConversationId, PeerId};
use crate::log::LogView;
use crate::message::Message;
use crate::output::SessionRef;
use crate::rows::conversation::ConversationRow;
use crate::rows::member::MemberRow;
use crate::rows::record::RecordError;
use crate::runs::Runs;
use crate::slots::Slots;
use crate::table::{KeyedTable, Keying};
use crate::time::Timestamp;

/// A peer in a conversation, or one that left with something still waiting for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    /// The numbers that are for it: after the first of each pair, up to the second, or open-ended.
    pub(crate) spans: SmallVec<[(u64, Option<u64>); 1]>,
    /// When it left.
    pub(crate) left_at: Option<Timestamp>,
    /// The last number it read.
    pub(crate) read: u64,
    /// Numbers after it that do not count as unread: its own messages, those not for it, those sent while it was away.
    pub(crate) uncounted: Runs,
}

impl Member {
    /// One who joined after number `last`.
    pub(crate) fn joined_after(last: u64) -> Self {
        Self { spans: SmallVec::from_elem((last, None), 1), read: last, ..Self::default() }
    }

    /// Whether it is a member now.
    pub(crate) fn is_active(&self) -> bool {
        self.left_at.is_none()
    }

    /// Ends its membership after number `last`.
    pub(crate) fn leave(&mut self, last: u64, now: Timestamp) {
        self.left_at = Some(now);
        if let Some(span) = self.spans.last_mut() {
            span.1 = Some(last);
        }
    }

    /// Begins another membership after number `last`.
    pub(crate) fn rejoin(&mut self, last: u64) {
        let away_from = self.spans.last().and_then(|span| span.1).map_or(1, |end| end + 1);
        self.uncounted.add(away_from, last);
        self.left_at = None;
        self.spans.push((last, None));
    }

    /// What was sent between its memberships does not count as unread.
    pub(crate) fn skip_absences(&mut self) {
        for pair in self.spans.windows(2) {
            if let [(_, Some(left)), (joined, _)] = pair {
                self.uncounted.add(left + 1, *joined);
            }
        }
        self.uncounted.forget_to(self.read);
    }

    /// The spans as first and last numbers, where the conversation's last is `last`.
    pub(crate) fn ranges(&self, last: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.spans.iter().map(move |span| (span.0 + 1, span.1.unwrap_or(last)))
    }

    /// How many messages it has not read, where the log has the numbers from `first` to `last`.
    pub(crate) fn unread(&self, first: u64, last: u64) -> u64 {
        let last = self.spans.last().and_then(|span| span.1).unwrap_or(last);
        let read = self.read.max(first.saturating_sub(1));
        last.saturating_sub(read) - self.uncounted.count(read + 1, last)
    }

    /// Its row in the store.
    pub(crate) fn row(&self) -> MemberRow {
        MemberRow::new(self.left_at.map(Timestamp::as_millis), &self.spans)
    }

    /// A membership as its row tells it; what was read comes with another row.
    pub(crate) fn from_row(row: &MemberRow) -> Self {
        let spans: SmallVec<[(u64, Option<u64>); 1]> = row.spans().collect();
        Self {
            left_at: row.left_at.map(Timestamp::from_millis),
            read: spans.first().map_or(0, |span| span.0),
            spans,
            uncounted: Runs::default(),
        }
    }

    /// Takes everything up to `number` as read.
    pub(crate) fn read_to(&mut self, number: u64) -> bool {
        let moves = number > self.read;
        if moves {
            self.read = number;
            self.uncounted.forget_to(number);
        }
        moves
    }
}

/// Everyone that a message to a conversation goes to, kept while membership and presence stand still.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// The sessions, sorted.
    pub(crate) sessions: Arc<Vec<SessionRef>>,
    /// Members' open sessions that are catching up: what is transient passes them by.
    pub(crate) behind: Arc<[u32]>,
    /// The members that are to be woken: offline and not logged out.
    pub(crate) away: Arc<[u32]>,
}

/// A conversation, as the engine holds it.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) id: ConversationId,
    /// Its permanent number.
    pub(crate) number: u64,
    pub(crate) kind: ConversationKind,
    pub(crate) unique: bool,
    pub(crate) name: Option<String>,
    pub(crate) attributes: Attributes,
    pub(crate) creator: Option<u32>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    /// The first number that retention has kept.
    pub(crate) first_number: u64,
    pub(crate) last_number: u64,
    pub(crate) last_at: Timestamp,
    pub(crate) last_position: u64,
    /// The last number that the store has.
    pub(crate) durable_number: u64,
    /// What the store does not have yet, and what a read under way may still want.
    pub(crate) tail: VecDeque<Arc<Message>>,
    pub(crate) members: BTreeMap<u32, Member>,
    /// How many of them are members now.
    pub(crate) active: usize,
    /// The sessions in a room.
    pub(crate) present: BTreeSet<u32>,
    /// The names of a direct conversation's members, sorted; of other kinds only while they stand still.
    pub(crate) names: Option<Arc<[PeerId]>>,
    pub(crate) reach: Option<Reach>,
    pub(crate) deleted: Runs,
    /// Numbers that a power cut took.
    pub(crate) lost: Runs,
}

impl Conversation {
    /// A conversation without members or messages.
    pub(crate) fn new(id: ConversationId, kind: ConversationKind, now: Timestamp) -> Self {
        Self {
            id,
            number: 0,
            kind,
            unique: false,
            name: None,
            attributes: Attributes::new(),
            creator: None,
            created_at: now,
            updated_at: now,
            expires_at: None,
            first_number: 1,
            last_number: 0,
            last_at: Timestamp::ZERO,
            last_position: 0,
            durable_number: 0,
            tail: VecDeque::new(),
            members: BTreeMap::new(),
            active: 0,
            present: BTreeSet::new(),
            names: None,
            reach: None,
            deleted: Runs::default(),
            lost: Runs::default(),
        }
    }

    /// Whether a peer is a member now.
    pub(crate) fn has_member(&self, peer: u32) -> bool {
        self.members.get(&peer).is_some_and(Member::is_active)
    }

    /// The members of now, by slot.
    pub(crate) fn active_members(&self) -> impl Iterator<Item = u32> + '_ {
        self.members.iter().filter(|(_, member)| member.is_active()).map(|(peer, _)| *peer)
    }

    /// Whether `peer` may send here: anyone to a room, else members.
    ///
    /// # Errors
    /// [`Error::InvalidTarget`], as for a conversation that does not exist.
    pub(crate) fn may_send(&self, peer: u32) -> Result<(), Error> {
        if self.kind == ConversationKind::Room || self.has_member(peer) { Ok(()) } else { Err(Error::no_target()) }
    }

    /// Whether members come and go at their own or other members' wish.
    ///
    /// # Errors
    /// [`Error::WrongConversationKind`].
    pub(crate) fn may_change_members(&self) -> Result<(), Error> {
        if self.kind == ConversationKind::Group { Ok(()) } else { Err(Error::WrongConversationKind) }
    }

    /// Whether its end has passed, by what the host's clock shows: then nothing can be asked of it, though it may still be here.
    pub(crate) fn has_ended(&self, shown: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end < shown)
    }

    /// Whether exactly these are its members now; `peers` is sorted.
    pub(crate) fn is_exactly(&self, peers: &[u32]) -> bool {
        self.active == peers.len() && self.active_members().eq(peers.iter().copied())
    }

    /// Its row in the store, with its attributes as text and the permanent numbers of its creator and of fixed members.
    pub(crate) fn row<'a>(&'a self, attributes: &'a str, creator: u64, members: Vec<u64>) -> ConversationRow<'a> {
        let mut row = ConversationRow::new(&self.id, self.kind, &self.lost);
        row.unique = self.unique;
        row.name = self.name.as_deref();
        row.attributes = attributes;
        row.creator = creator;
        row.created_at = self.created_at.as_millis();
        row.updated_at = self.updated_at.as_millis();
        row.expires_at = self.expires_at.map(Timestamp::as_millis);
        row.first_number = self.first_number;
        row.members = members;
        row
    }

    /// The conversation with this number as its row tells it, without its creator and members.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] for what no conversation can be.
    pub(crate) fn from_row(number: u64, row: &ConversationRow<'_>) -> Result<Self, RecordError> {
        let id = ConversationId::new(row.id).map_err(|_| RecordError::Malformed)?;
        Ok(Self {
            number,
            unique: row.unique,
            name: row.name.map(str::to_owned),
            updated_at: Timestamp::from_millis(row.updated_at),
            expires_at: row.expires_at.map(Timestamp::from_millis),
            first_number: row.first_number,
            lost: row.lost(),
            ..Self::new(id, row.kind()?, Timestamp::from_millis(row.created_at))
        })
    }

    /// Its log as it stands now.
    pub(crate) fn view(&self, slot: u32) -> LogView {
        LogView {
            slot,
            conversation: self.number,
            first: self.first_number,
            durable: self.durable_number,
            tail: self.tail.iter().filter(|m| m.number > Some(self.durable_number)).cloned().collect(),
            last: self.last_number,
            deleted: self.deleted.clone(),
        }
    }

    /// Lets go of messages that the store has, up to position `position`.
    pub(crate) fn trim_tail(&mut self, position: u64) {
        while let Some(oldest) = self.tail.front() {
            if oldest.number > Some(self.durable_number) || oldest.position > position {
                break;
            }
            self.tail.pop_front();
        }
        if self.tail.is_empty() && self.tail.capacity() > 64 {
            self.tail = VecDeque::new();
        }
    }
}

/// All conversations: by id, by permanent number, and those that are found by their set of members.
#[derive(Debug)]
pub(crate) struct Conversations {
    slots: Slots<Conversation>,
    by_id: KeyedTable,
    by_number: FxHashMap<u64, u32>,
    /// Direct conversations by their sorted members, and unique and temporary ones by their members of now.
    by_set: FxHashMap<(Set, SmallVec<[u32; 4]>), u32>,
    /// Unique groups that came to have the members of another one: each is found once those before it are not.
    by_set_later: FxHashMap<(Set, SmallVec<[u32; 4]>), Vec<u32>>,
    next_number: u64,
}

/// Which conversations are found by a set of peers; the same peers may have one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Set {
    Direct,
    Unique,
    Temporary,
}

impl Conversations {
    pub(crate) fn new(keying: Keying) -> Self {
        Self {
            slots: Slots::default(),
            by_id: KeyedTable::new(keying),
            by_number: FxHashMap::default(),
            by_set: FxHashMap::default(),
            by_set_later: FxHashMap::default(),
            next_number: 1,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The permanent number that the next conversation gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Gives no permanent number before this one.
    pub(crate) fn number_from(&mut self, number: u64) {
        self.next_number = self.next_number.max(number);
    }

    pub(crate) fn find(&self, id: &ConversationId) -> Option<u32> {
        self.by_id.find(id.as_str(), |slot| self.slots[slot].id.as_str())
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Conversation> {
        self.slots.get(slot)
    }

    pub(crate) fn by_number(&self, number: u64) -> Option<u32> {
        self.by_number.get(&number).copied()
    }

    /// The conversation of exactly these peers; `peers` is sorted.
    pub(crate) fn by_set(&self, set: Set, peers: &[u32]) -> Option<u32> {
        self.by_set.get(&(set, SmallVec::from_slice(peers))).copied()
    }

    /// All conversations of exactly these peers, the one that is found first before the others.
    pub(crate) fn each_by_set(&self, set: Set, peers: &[u32]) -> impl Iterator<Item = u32> + '_ {
        let key = (set, SmallVec::from_slice(peers));
        let later = self.by_set_later.get(&key).into_iter().flatten();
        self.by_set.get(&key).into_iter().chain(later).copied()
    }

    /// Adds a conversation; gives it its permanent number where it has none.
    pub(crate) fn insert(&mut self, mut conversation: Conversation) -> u32 {
        if conversation.number == 0 {
            conversation.number = self.next_number;
        }
        self.next_number = self.next_number.max(conversation.number + 1);
        let (id, number) = (conversation.id.clone(), conversation.number);
        let slot = self.slots.insert(conversation);
        self.by_number.insert(number, slot);
        self.by_id.insert(id.as_str(), slot, |slot| self.slots[slot].id.as_str());
        self.note_set(slot);
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<Conversation> {
        self.forget_set(slot);
        let id = self.slots.get(slot)?.id.clone();
        self.by_id.remove(id.as_str(), |slot| self.slots[slot].id.as_str());
        let conversation = self.slots.remove(slot)?;
        self.by_number.remove(&conversation.number);
        Some(conversation)
    }

    fn set_key(&self, slot: u32) -> Option<(Set, SmallVec<[u32; 4]>)> {
        let conversation = &self.slots[slot];
        let set = match conversation.kind {
            ConversationKind::Direct => Set::Direct,
            ConversationKind::Temporary => Set::Temporary,
            ConversationKind::Group if conversation.unique => Set::Unique,
            ConversationKind::Group | ConversationKind::Room => return None,
        };
        Some((set, conversation.active_members().collect()))
    }

    /// Makes a conversation found by its members of now, as soon as no other is.
    pub(crate) fn note_set(&mut self, slot: u32) {
        let Some(key) = self.set_key(slot) else { return };
        let first = *self.by_set.entry(key.clone()).or_insert(slot);
        if first != slot {
            self.by_set_later.entry(key).or_default().push(slot);
        }
    }

    /// Makes a conversation not found by its members of now: before they change.
    pub(crate) fn forget_set(&mut self, slot: u32) {
        let Some(key) = self.set_key(slot) else { return };
        let is_first = self.by_set.get(&key) == Some(&slot);
        let later = self.by_set_later.get_mut(&key);
        let next = later.and_then(|later| {
            later.retain(|other| *other != slot);
            if is_first && !later.is_empty() { Some(later.remove(0)) } else { None }
        });
        if self.by_set_later.get(&key).is_some_and(Vec::is_empty) {
            self.by_set_later.remove(&key);
        }
        match next {
            Some(next) => drop(self.by_set.insert(key, next)),
            None if is_first => drop(self.by_set.remove(&key)),
            None => {}
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Conversation)> {
        self.slots.iter()
    }
}

impl std::ops::Index<u32> for Conversations {
    type Output = Conversation;
    fn index(&self, slot: u32) -> &Conversation {
        &self.slots[slot]
    }
}

impl std::ops::IndexMut<u32> for Conversations {
    fn index_mut(&mut self, slot: u32) -> &mut Conversation {
        &mut self.slots[slot]
    }
}
