//! Conversations as the engine holds them, and how they are found.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::conversation::{Attributes, ConversationKind};
use crate::cursor::Cursor;
use crate::error::Error;
use crate::id::{ConversationId, PeerId};
use crate::log::{LogView, Overlay};
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
    uncounted: Runs,
    /// Up to here [`uncounted`](Self::uncounted) is one run that only tells how many there are, not which.
    summed_to: u64,
    /// Up to which number it will have read, once it was counted anew what does not count after that; else zero.
    recounting_to: u64,
}

/// What reading up to a number comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadTo {
    /// Nothing.
    Nothing,
    /// It was read.
    Done,
    /// What does not count after the first number, up to the second, has to be counted in the log; of those so many are known
    /// in all.
    Recount { after: u64, to: u64, summed: u64 },
}

impl Member {
    /// Spans that a membership keeps, so that its row has a bound however often one joins and leaves.
    pub(crate) const SPANS_MAX: usize = 64;
    /// Runs of numbers that do not count as unread which are kept one by one; of those before only their sum.
    const RUNS_MAX: usize = 64;

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
        // A span without a message is none, where there are others.
        if self.spans.len() > 1 && self.spans.last().is_some_and(|span| span.0 == last) {
            self.spans.pop();
        }
        if let Some(span) = self.spans.last_mut() {
            span.1 = span.1.or(Some(last));
        }
    }

    /// Begins another membership after number `last`. Says which numbers are given up with the oldest span, where there are
    /// too many.
    pub(crate) fn rejoin(&mut self, last: u64) -> Option<(u64, u64)> {
        let away_from = self.spans.last().and_then(|span| span.1).map_or(1, |end| end + 1);
        self.uncount(away_from, last);
        self.left_at = None;
        match self.spans.last_mut() {
            // Nothing was sent meanwhile: it is the same span.
            Some(span) if span.1 == Some(last) => span.1 = None,
            // Nothing was sent in the one before: this one takes its place.
            Some(span) if span.1 == Some(span.0) => *span = (last, None),
            _ => self.spans.push((last, None)),
        }
        if self.spans.len() <= Self::SPANS_MAX {
            return None;
        }
        let (first, end) = self.spans.remove(0);
        end.map(|end| (first + 1, end))
    }

    /// Numbers that do not count as unread. Those up to where only a sum is kept are in it already.
    pub(crate) fn uncount(&mut self, first: u64, last: u64) {
        self.uncounted.add(first.max(self.summed_to + 1), last);
        if self.uncounted.len() > Self::RUNS_MAX + 1 {
            self.summed_to = self.uncounted.sum_lowest();
        }
    }

    /// A message of its own.
    pub(crate) fn sent(&mut self, number: u64) {
        if self.read + 1 == number {
            self.read = number;
        } else {
            self.uncount(number, number);
        }
    }

    /// What it has read, and what does not count after that, for its row in the store.
    pub(crate) fn reads(&self) -> Cursor {
        Cursor { received: self.read, beyond: self.uncounted.clone() }
    }

    /// Takes what a row tells of what it has read; where that goes on in further rows, they follow in order. A lowest run of
    /// more than one number may be but a sum.
    pub(crate) fn restore_reads(&mut self, reads: &Cursor) {
        self.read = reads.received;
        for (first, last) in reads.beyond.iter() {
            if self.uncounted.len() == 0 {
                self.uncounted.add(first, last);
                self.summed_to = if last > first { last } else { 0 };
            } else {
                self.uncount(first, last);
            }
        }
        self.skip_absences();
    }

    /// What was sent between its memberships does not count as unread.
    pub(crate) fn skip_absences(&mut self) {
        let absence = |pair: &[(u64, Option<u64>)]| match pair {
            [(_, Some(left)), (joined, _)] => Some((left + 1, *joined)),
            _ => None,
        };
        let absences: SmallVec<[(u64, u64); 1]> = self.spans.windows(2).filter_map(absence).collect();
        absences.into_iter().for_each(|(first, last)| self.uncount(first, last));
        self.uncounted.forget_to(self.read);
    }

    /// The spans as first and last numbers, where the conversation's last is `last`.
    pub(crate) fn ranges(&self, last: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.spans.iter().map(move |span| (span.0 + 1, span.1.unwrap_or(last)))
    }

    /// How many messages it has not read, where the log has the numbers from `first` to `last`. Where retention reaches into
    /// what is but a sum, the sum is taken to lie at its end.
    pub(crate) fn unread(&self, first: u64, last: u64) -> u64 {
        // What lies beyond its end is an absence; where that is in the sum, the whole sum is looked at.
        let last = self.spans.last().and_then(|span| span.1).map_or(last, |end| end.max(self.summed_to));
        let read = self.read.max(first.saturating_sub(1));
        last.saturating_sub(read).saturating_sub(self.uncounted.count(read + 1, last))
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
            ..Self::default()
        }
    }

    /// Takes everything up to `number` as read. Where only a sum is known of what does not count there, it is read once that was
    /// counted: until then the count stays what it was, and is right as of then.
    pub(crate) fn read_to(&mut self, number: u64) -> ReadTo {
        if number <= self.read {
            return ReadTo::Nothing;
        }
        if number < self.summed_to {
            let is_under_way = self.recounting_to > 0;
            self.recounting_to = self.recounting_to.max(number);
            return if is_under_way { ReadTo::Nothing } else { self.recount() };
        }
        self.read = number;
        self.uncounted.forget_to(number);
        ReadTo::Done
    }

    fn recount(&self) -> ReadTo {
        ReadTo::Recount { after: self.recounting_to, to: self.summed_to, summed: self.summed() }
    }

    /// How many numbers the sum is of.
    fn summed(&self) -> u64 {
        let sum = self.uncounted.first_run().filter(|run| run.1 == self.summed_to);
        sum.map_or(0, |run| run.1 - run.0 + 1)
    }

    /// It was counted how many numbers do not count after `after`, of those of which the sum was `summed`. `None` is a count
    /// that failed.
    pub(crate) fn recounted(&mut self, after: u64, summed: u64, count: Option<u64>) -> ReadTo {
        let wanted = std::mem::take(&mut self.recounting_to);
        let Some(count) = count.filter(|_| after > self.read && after < self.summed_to) else { return ReadTo::Nothing };
        // Others may have joined the sum meanwhile.
        let joined = self.summed().saturating_sub(summed);
        self.read = after;
        if self.summed() > 0 {
            self.uncounted.resize_lowest(count + joined);
        }
        if wanted > after {
            self.recounting_to = wanted;
            return self.recount();
        }
        ReadTo::Done
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
    /// The versions of the members that it was made of, in sum, where members never change; else zero.
    pub(crate) versions: u64,
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
    /// Whether its end was noticed: then a clock that is set back does not bring it to life again.
    pub(crate) has_lapsed: bool,
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
    /// What is laid over its log.
    pub(crate) overlay: Overlay,
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
            has_lapsed: false,
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
            overlay: Overlay::default(),
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
        self.has_lapsed || self.expires_at.is_some_and(|end| end < shown)
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
            overlay: self.overlay.clone(),
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
    by_set: HashMap<SetKey, u32, Keying>,
    /// Unique groups that came to have the members of another one: each is found once those before it are not.
    by_set_later: HashMap<SetKey, Vec<u32>, Keying>,
    next_number: u64,
    /// How often one was looked at, for tests that hold what a call costs.
    #[cfg(feature = "testing")]
    visits: std::cell::Cell<u64>,
}

/// Which set of peers finds a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SetKey {
    set: MemberSet,
    /// Sorted.
    peers: SmallVec<[u32; 4]>,
}

impl Hash for SetKey {
    /// Two peers a word: a pair, which every message to a peer looks up, takes one.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for pair in self.peers.chunks(2) {
            let [first, second] = [pair.first(), pair.get(1)].map(|peer| peer.copied().unwrap_or(u32::MAX));
            hasher.write_u64(u64::from(first) << 32 | u64::from(second));
        }
        hasher.write_u8(self.set as u8);
    }
}

/// Which conversations are found by a set of peers; the same peers may have one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MemberSet {
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
            by_set: HashMap::with_hasher(keying),
            by_set_later: HashMap::with_hasher(keying),
            next_number: 1,
            #[cfg(feature = "testing")]
            visits: std::cell::Cell::default(),
        }
    }

    fn count_visit(&self) {
        #[cfg(feature = "testing")]
        self.visits.set(self.visits.get() + 1);
    }

    /// How often a conversation was looked at.
    #[cfg(feature = "testing")]
    pub(crate) fn visits(&self) -> u64 {
        self.visits.get()
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
        self.count_visit();
        self.slots.get(slot)
    }

    pub(crate) fn by_number(&self, number: u64) -> Option<u32> {
        self.by_number.get(&number).copied()
    }

    /// The conversation of exactly these peers; `peers` is sorted.
    pub(crate) fn by_set(&self, set: MemberSet, peers: &[u32]) -> Option<u32> {
        self.by_set.get(&SetKey { set, peers: SmallVec::from_slice(peers) }).copied()
    }

    /// All conversations of exactly these peers, the one that is found first before the others.
    pub(crate) fn each_by_set(&self, set: MemberSet, peers: &[u32]) -> impl Iterator<Item = u32> + '_ {
        let key = SetKey { set, peers: SmallVec::from_slice(peers) };
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

    fn set_key(&self, slot: u32) -> Option<SetKey> {
        let conversation = &self.slots[slot];
        let set = match conversation.kind {
            ConversationKind::Direct => MemberSet::Direct,
            ConversationKind::Temporary => MemberSet::Temporary,
            ConversationKind::Group if conversation.unique => MemberSet::Unique,
            ConversationKind::Group | ConversationKind::Room => return None,
        };
        Some(SetKey { set, peers: conversation.active_members().collect() })
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
        self.count_visit();
        &self.slots[slot]
    }
}

impl std::ops::IndexMut<u32> for Conversations {
    fn index_mut(&mut self, slot: u32) -> &mut Conversation {
        self.count_visit();
        &mut self.slots[slot]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One that joined and left in a loop had a span for each time, until its row fitted no record.
    #[test]
    fn spans_without_a_message_between_them_are_one_and_there_are_at_most_64() {
        let mut member = Member::joined_after(3);
        for _ in 0..1_000 {
            member.leave(3, Timestamp::ZERO);
            member.rejoin(3);
        }
        assert_eq!(member.spans[..], [(3, None)]);
        // Away while something was sent, but there for nothing.
        for last in 4..1_000 {
            member.leave(last - 1, Timestamp::ZERO);
            member.rejoin(last);
        }
        assert_eq!(member.spans[..], [(999, None)]);
        assert_eq!(member.unread(1, 1_000), 1);
        let mut dropped = Vec::new();
        for last in (1_001..2_001).step_by(2) {
            member.leave(last, Timestamp::ZERO);
            dropped.extend(member.rejoin(last + 1));
        }
        assert_eq!(member.spans.len(), Member::SPANS_MAX);
        assert_eq!((dropped[0], dropped[1]), ((1_000, 1_001), (1_003, 1_003)));
        assert!(member.row().spans().count() <= Member::SPANS_MAX);
    }

    proptest! {
        /// Messages sent in turns and never marked read took a run each, until the peer's row fitted no record.
        #[test]
        fn what_does_not_count_is_bounded_and_never_wrong(
            steps in prop::collection::vec((0u8..20, 0u64..400), 1..900),
            restarts in any::<bool>(),
        ) {
            let mut member = Member::joined_after(0);
            let mut own = std::collections::BTreeSet::new();
            let (mut last, mut read) = (0, 0);
            let mut asked: Option<(u64, u64, u64)> = None;
            for (step, back) in steps {
                match step {
                    0..9 => { last += 1; own.insert(last); member.sent(last); if read + 1 == last { read = last } }
                    9..18 => last += 1,
                    18 => {
                        let to = last.saturating_sub(back);
                        if let ReadTo::Recount { after, to, summed } = member.read_to(to) { asked = Some((after, to, summed)) }
                        else if asked.is_none() && to > read { read = to }
                    }
                    _ => if let Some((after, to, summed)) = asked.take() {
                        let count = own.range(after + 1..=to).count() as u64;
                        let done = member.recounted(after, summed, Some(count));
                        read = member.read.max(read);
                        if let ReadTo::Recount { after, to, summed } = done { asked = Some((after, to, summed)) }
                    } else if restarts {
                        let mut again = Member { spans: member.spans.clone(), ..Member::default() };
                        again.restore_reads(&member.reads());
                        member = again;
                    }
                }
                read = read.max(member.read);
                prop_assert!(member.uncounted.len() <= Member::RUNS_MAX + 1);
                let unread = (member.read + 1..=last).filter(|number| !own.contains(number)).count() as u64;
                prop_assert_eq!(member.unread(1, last), unread);
            }
        }
    }

    /// Who may choose which peers share a conversation could make all of them fall into one place of the table.
    #[test]
    fn what_clients_choose_is_found_by_a_keyed_hash() {
        fn is_keyed<K, V>(_: &HashMap<K, V, Keying>) {}
        let conversations = Conversations::new(Keying::new(1, 2));
        is_keyed(&conversations.by_set);
        is_keyed(&conversations.by_set_later);
        is_keyed(&crate::state::parked::Parked::new(Keying::new(1, 2)).behind);
    }
}
