//! What waits for one session: a small ring, bounded in events and in bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::sync::Thread;
use crate::conversation::{ConversationInfo, attributes_bytes};
use crate::error::Error;
use crate::message::{Content, Message};
use crate::output::Class;
use crate::update::{Gap, GapCause, MembershipChange, Reply, Unread, Update};

/// What one outbox may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Updates, replies aside.
    pub(crate) events: usize,
    /// Bytes, replies aside.
    pub(crate) bytes: usize,
    /// Replies, unread or owed, over which the session's requests are refused.
    pub(crate) replies: usize,
    /// Bytes of replies over which the session's requests are refused.
    pub(crate) reply_bytes: usize,
    /// Bytes of the largest single message, by which bytes become events.
    pub(crate) message_bytes: usize,
}

impl Bounds {
    /// Bytes up to which answers to questions find a place.
    const fn answer_bytes(&self) -> usize {
        self.bytes + self.reply_bytes
    }

    /// Bytes over which the session ends: what else there is, is no answer to a question, and may not be held back.
    const fn hard_bytes(&self) -> usize {
        self.bytes + 2 * self.reply_bytes
    }
}

/// What [`Hub::drain`](super::Hub::drain) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainState {
    /// Everything was taken; the session is announced again when something comes.
    Empty,
    /// There is more: drain again, nothing announces it.
    More,
    /// The session is over and everything was taken.
    Closed,
}

/// What became of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// It waits in the ring.
    pub(crate) queued: bool,
    /// The ring was empty before: somebody has to be told.
    pub(crate) first: bool,
    /// How many transient updates were dropped, itself or others.
    pub(crate) dropped: u32,
    /// The session lags from here on: the engine has to be told.
    pub(crate) overflowed: bool,
    /// The session has ended, because it left more unread than it may: the engine has to pause it.
    pub(crate) overrun: bool,
}

/// How a session stands towards the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// Nobody is here.
    #[default]
    Vacant,
    /// It takes everything.
    Live,
    /// It had no room; it waits for a catch-up newer than the one it last saw.
    Lagging,
    /// It takes the pages of the catch-up it last saw.
    CatchingUp,
}

/// The place of one session in the table, with what waits for its tenant.
///
/// One for each session there ever was at once, so it is kept at 56 bytes; with its lock it is a cache line. The generation
/// tells one tenant from the next: it is compared here, under the outbox's lock, by everything that reaches an outbox.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Eight bytes an entry; grows from nothing and is kept when it is drained.
    ring: VecDeque<Arc<Update>>,
    extras: Option<Box<Extras>>,
    bytes: u32,
    generation: u32,
    /// The newest catch-up that was seen.
    catch_up: u32,
    /// Replies that are owed, and those unread.
    replies: u16,
    standing: Standing,
    closed: bool,
}

/// What few sessions need.
#[derive(Debug, Default)]
struct Extras {
    /// Transient updates that the consumer has not been told of.
    dropped: u64,
    room: Room,
    waiting: Vec<Thread>,
}

/// How far the engine knows of the room of a session that is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Room {
    /// It does not know yet that the session lags.
    #[default]
    Untold,
    /// It waits to hear of room.
    Wanted,
    /// There is room, and the hub is about to say so.
    Found,
    /// It was offered room; its pages are on their way.
    Offered,
}

/// What the former tenant of a place left behind.
#[derive(Debug, Default)]
pub(crate) struct Leftover {
    /// The last that it was told, where it has not read it.
    pub(crate) last: Option<Arc<Update>>,
    /// Whether nothing more is on its way to it.
    pub(crate) over: bool,
    /// Who was waiting for it.
    pub(crate) waiting: Vec<Thread>,
}

impl Outbox {
    /// Gives the place to a new tenant, who is owed one reply: how its open went. Returns the former tenant's generation and
    /// what it left.
    pub(crate) fn attach(&mut self, generation: u32) -> (u32, Leftover) {
        let former = std::mem::take(self);
        self.generation = generation;
        self.standing = Standing::Live;
        self.replies = 1;
        let last = former.ring.back().filter(|last| is_reply(last)).cloned();
        // Its last words may be here, and its close on the way.
        let has_end = last.as_ref().is_some_and(|last| matches!(**last, Update::Closed { .. }));
        let left = Leftover {
            last,
            over: has_end || former.closed || former.standing == Standing::Vacant,
            waiting: former.extras.map(|extras| extras.waiting).unwrap_or_default(),
        };
        (former.generation, left)
    }

    /// The tenant's transport is gone: nothing waits for it any more and its handle reads closed. Tells whether it was here,
    /// not yet closed, and who was waiting for it.
    pub(crate) fn detach(&mut self, generation: u32) -> Option<Vec<Thread>> {
        if !self.is_tenant(generation) {
            return None;
        }
        let open = !self.closed;
        let former = std::mem::take(self);
        self.generation = generation;
        open.then(|| former.extras.map(|extras| extras.waiting).unwrap_or_default())
    }

    #[inline]
    pub(crate) fn is_tenant(&self, generation: u32) -> bool {
        self.generation == generation && self.standing != Standing::Vacant
    }

    /// Whether a request may be made, or its reply might find no place.
    pub(crate) fn may_request(&self, bounds: &Bounds) -> bool {
        usize::from(self.replies) < bounds.replies && (self.bytes as usize) < bounds.answer_bytes()
    }

    /// A request is made whose reply will come.
    pub(crate) fn owe_reply(&mut self) {
        self.replies = self.replies.saturating_add(1);
    }

    /// The request was refused: no reply comes.
    pub(crate) fn owe_no_reply(&mut self, generation: u32) {
        if self.generation == generation {
            self.replies = self.replies.saturating_sub(1);
        }
    }

    /// Takes an update of `weight` bytes, as its class and the room allow.
    #[inline]
    pub(crate) fn push(
        &mut self,
        generation: u32,
        update: &Arc<Update>,
        class: Class,
        weight: u32,
        bounds: &Bounds,
    ) -> Pushed {
        if generation != self.generation || self.closed {
            return Pushed::default();
        }
        // What nearly always happens, without a call.
        let lasting = matches!(class, Class::Logged { .. } | Class::Transient);
        if lasting && self.standing == Standing::Live && self.has_room(weight, bounds) {
            return self.enqueue(update, weight);
        }
        self.push_seldom(update, class, weight, bounds)
    }

    #[cold]
    fn push_seldom(&mut self, update: &Arc<Update>, class: Class, weight: u32, bounds: &Bounds) -> Pushed {
        match class {
            _ if self.standing == Standing::Vacant => Pushed::default(),
            Class::Reply => self.push_reply(update, weight, bounds),
            Class::Transient => self.push_transient(update, weight, bounds),
            Class::Logged { .. } if self.standing == Standing::Live => self.push_lasting(update, weight, bounds),
            Class::Logged { .. } => Pushed::default(),
            Class::Page { catch_up, .. } => self.push_page(update, catch_up, weight, bounds),
        }
    }

    /// A reply is never dropped. The answer to a question that finds no place is a refusal, after which the client can ask
    /// again; whoever leaves even more unread is ended, and may resume.
    fn push_reply(&mut self, update: &Arc<Update>, weight: u32, bounds: &Bounds) -> Pushed {
        let bytes = self.bytes as usize + weight as usize;
        let is_last = matches!(**update, Update::Closed { .. });
        let fits = bytes <= bounds.answer_bytes() || (self.ring.is_empty() && bytes <= bounds.hard_bytes());
        if fits || is_last {
            let gap = self.gap_before(update);
            let queued = self.enqueue(update, weight);
            return Pushed { first: gap || queued.first, ..queued };
        }
        if let Some(refusal) = refusal_of(update, bounds) {
            return self.enqueue(&refusal, weigh(&refusal));
        }
        if self.ring.is_empty() || bytes <= bounds.hard_bytes() {
            return self.enqueue(update, weight);
        }
        self.overrun(bounds)
    }

    /// Too much is unread: all of it goes, and the session ends with the reason.
    fn overrun(&mut self, bounds: &Bounds) -> Pushed {
        self.ring = VecDeque::new();
        (self.bytes, self.replies) = (0, 0);
        let last = Arc::new(Update::Closed { error: Some(over_reply_bytes(bounds)) });
        self.enqueue(&last, weigh(&last));
        self.closed = true;
        // It was not empty before: who drains it knows.
        Pushed { queued: true, overrun: true, ..Pushed::default() }
    }

    fn push_transient(&mut self, update: &Arc<Update>, weight: u32, bounds: &Bounds) -> Pushed {
        let behind = self.standing != Standing::Live && matches!(**update, Update::Message { .. });
        if behind || !self.has_room(weight, bounds) {
            return self.count_dropped(1);
        }
        self.enqueue(update, weight)
    }

    fn push_page(&mut self, update: &Arc<Update>, catch_up: u32, weight: u32, bounds: &Bounds) -> Pushed {
        let stale = catch_up < self.catch_up || (catch_up == self.catch_up && self.standing == Standing::Lagging);
        if stale {
            return Pushed::default();
        }
        self.catch_up = catch_up;
        if self.standing == Standing::Lagging {
            self.standing = Standing::CatchingUp;
        }
        if let Some(extras) = self.extras.as_mut().filter(|extras| extras.room == Room::Offered) {
            extras.room = Room::Wanted;
        }
        self.push_lasting(update, weight, bounds)
    }

    /// Takes what is in the log, at the cost of what is not; without room the session lags.
    fn push_lasting(&mut self, update: &Arc<Update>, weight: u32, bounds: &Bounds) -> Pushed {
        if self.has_room(weight, bounds) {
            return self.enqueue(update, weight);
        }
        let evicted = self.evict_transient();
        let mut pushed = self.count_dropped(evicted);
        if self.has_room(weight, bounds) {
            let queued = self.enqueue(update, weight);
            return Pushed { dropped: evicted, ..queued };
        }
        self.standing = Standing::Lagging;
        self.extras.get_or_insert_default().room = Room::Untold;
        pushed.overflowed = true;
        pushed
    }

    /// One update fits whatever its size, or nothing ever would.
    #[inline]
    fn has_room(&self, weight: u32, bounds: &Bounds) -> bool {
        self.ring.is_empty()
            || (self.ring.len() < bounds.events && self.bytes as usize + weight as usize <= bounds.bytes)
    }

    #[inline]
    fn enqueue(&mut self, update: &Arc<Update>, weight: u32) -> Pushed {
        let first = self.ring.is_empty();
        self.ring.push_back(Arc::clone(update));
        self.bytes = self.bytes.saturating_add(weight);
        Pushed { queued: true, first, ..Pushed::default() }
    }

    fn evict_transient(&mut self) -> u32 {
        let before = self.ring.len();
        self.ring.retain(|update| !is_transient(update));
        let evicted = before - self.ring.len();
        if evicted > 0 {
            self.bytes = self.ring.iter().fold(0, |sum: u32, update| sum.saturating_add(weigh(update)));
        }
        u32::try_from(evicted).unwrap_or(u32::MAX)
    }

    fn count_dropped(&mut self, count: u32) -> Pushed {
        if count > 0 {
            self.extras.get_or_insert_default().dropped += u64::from(count);
        }
        Pushed { dropped: count, ..Pushed::default() }
    }

    /// The engine knows that the session lags. Returns the room to offer, where the consumer has made some already.
    pub(crate) fn told(&mut self, generation: u32, bounds: &Bounds) -> Option<usize> {
        let tenant = self.is_tenant(generation);
        self.extras.as_mut().filter(|_| tenant)?.room = Room::Wanted;
        self.offer_room(generation, bounds)
    }

    /// The catch-up is over: logged updates come directly again.
    pub(crate) fn live(&mut self, generation: u32, catch_up: u32) {
        let newer = catch_up > self.catch_up;
        let ends = match self.standing {
            Standing::Vacant => false,
            Standing::Lagging => newer,
            Standing::Live | Standing::CatchingUp => newer || catch_up == self.catch_up,
        };
        if self.generation == generation && ends {
            self.standing = Standing::Live;
            self.catch_up = catch_up;
        }
    }

    /// The session is over. Tells whether somebody has to learn it now.
    pub(crate) fn close(&mut self, generation: u32) -> bool {
        if !self.is_tenant(generation) || self.closed {
            return false;
        }
        self.closed = true;
        self.ring.is_empty()
    }

    /// The hub ends: whoever is here is told, and takes nothing more. Returns the tenant that has to be announced.
    pub(crate) fn finish(&mut self, last: &Arc<Update>) -> Option<u32> {
        if self.standing == Standing::Vacant || self.closed {
            return None;
        }
        self.gap_before(last);
        self.enqueue(last, weigh(last));
        self.closed = true;
        Some(self.generation)
    }

    /// Moves up to `max` updates to `out`, oldest first; after the last, one [`Gap`] tells how many transient ones were
    /// dropped. Beside the state, whether the engine should hear of room: once for each time that it waits for some.
    #[inline]
    pub(crate) fn drain(&mut self, out: &mut Vec<Arc<Update>>, max: usize, bounds: &Bounds) -> (DrainState, bool) {
        if max > self.ring.len() {
            self.take_replies();
            while let Some(update) = self.ring.pop_front() {
                out.push(update);
            }
            self.bytes = 0;
            if self.extras.is_none() && !self.closed {
                return (DrainState::Empty, false);
            }
            out.extend(self.take_gap());
        } else {
            self.take_some(out, max);
        }
        let state = match (self.ring.is_empty() && !self.has_dropped(), self.closed) {
            (false, _) => DrainState::More,
            (true, false) => DrainState::Empty,
            (true, true) => DrainState::Closed,
        };
        (state, self.finds_room(bounds))
    }

    /// Everything in the ring is about to be read. Who is owed nothing, as most are in a fan-out, has no reply there.
    fn take_replies(&mut self) {
        if self.replies > 0 {
            let read = self.ring.iter().filter(|update| is_reply(update)).count();
            self.replies = self.replies.saturating_sub(u16::try_from(read).unwrap_or(u16::MAX));
        }
    }

    fn take_some(&mut self, out: &mut Vec<Arc<Update>>, max: usize) {
        for update in self.ring.drain(..max) {
            self.bytes = self.bytes.saturating_sub(weigh(&update));
            self.replies = self.replies.saturating_sub(u16::from(is_reply(&update)));
            out.push(update);
        }
    }

    fn has_dropped(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.dropped > 0)
    }

    fn take_gap(&mut self) -> Option<Arc<Update>> {
        let count = std::mem::take(&mut self.extras.as_mut()?.dropped);
        let gap = Gap { conversation: None, from: 0, to: 0, count, cause: GapCause::Overflow };
        (count > 0).then(|| Arc::new(Update::Gap(gap)))
    }

    /// The end of a session stays the last that it reads. Returns whether the ring was empty before a gap went into it.
    fn gap_before(&mut self, update: &Update) -> bool {
        let gap = if matches!(update, Update::Closed { .. }) { self.take_gap() } else { None };
        gap.is_some_and(|gap| self.enqueue(&gap, weigh(&gap)).first)
    }

    /// Whether this drain has made the room that the engine waits for.
    fn finds_room(&mut self, bounds: &Bounds) -> bool {
        let wanted = self.is_behind() && self.is_half_free(bounds);
        let extras = self.extras.as_mut().filter(|extras| wanted && extras.room == Room::Wanted);
        extras.map(|extras| extras.room = Room::Found).is_some()
    }

    /// The room to offer to the engine. It is asked for when nothing else is on its way to the session, and offered once
    /// for what then comes: so pages never meet a ring that was promised twice.
    pub(crate) fn offer_room(&mut self, generation: u32, bounds: &Bounds) -> Option<usize> {
        let possible = self.is_tenant(generation) && self.is_behind();
        let half_free = self.is_half_free(bounds);
        let extras =
            self.extras.as_mut().filter(|extras| possible && matches!(extras.room, Room::Wanted | Room::Found))?;
        extras.room = if half_free { Room::Offered } else { Room::Wanted };
        let by_bytes = bounds.bytes.saturating_sub(self.bytes as usize) / bounds.message_bytes.max(1);
        half_free.then(|| by_bytes.min(bounds.events - self.ring.len()).max(1))
    }

    fn is_behind(&self) -> bool {
        !self.closed && matches!(self.standing, Standing::Lagging | Standing::CatchingUp)
    }

    fn is_half_free(&self, bounds: &Bounds) -> bool {
        self.ring.len() <= bounds.events / 2 && self.bytes as usize <= bounds.bytes / 2
    }

    /// Whether there is something to drain, the end of the session included; if not, `thread` is woken when there is.
    pub(crate) fn wait(&mut self, generation: u32, thread: Thread) -> bool {
        let ready = !self.is_tenant(generation) || self.closed || !self.ring.is_empty() || self.has_dropped();
        self.forget(generation, &thread);
        if !ready {
            self.extras.get_or_insert_default().waiting.push(thread);
        }
        ready
    }

    /// The thread waits no longer.
    pub(crate) fn forget(&mut self, generation: u32, thread: &Thread) {
        if let Some(extras) = self.extras.as_mut().filter(|_| self.generation == generation) {
            extras.waiting.retain(|waiting| waiting.id() != thread.id());
        }
    }

    /// Who waits; to be woken once every lock is released.
    pub(crate) fn take_waiting(&mut self, wakes: &mut Vec<Thread>) {
        if let Some(extras) = &mut self.extras {
            wakes.append(&mut extras.waiting);
        }
    }
}

/// What may go first where there is no room. Entries carry no class, so it is read off the update.
fn is_transient(update: &Update) -> bool {
    match update {
        Update::Presence { .. } => true,
        Update::Message { message, .. } => message.transient,
        _ => false,
    }
}

fn is_reply(update: &Update) -> bool {
    matches!(update, Update::Reply { .. } | Update::Closed { .. })
}

/// What stands for the answer to a question that finds no place; `None` where the update tells what was done.
fn refusal_of(update: &Update, bounds: &Bounds) -> Option<Arc<Update>> {
    match update {
        Update::Reply {
            ticket,
            result:
                Ok(
                    Reply::History { .. }
                    | Reply::Members { .. }
                    | Reply::Online(_)
                    | Reply::Conversations(_)
                    | Reply::Conversation(_)
                    | Reply::Unread(_),
                ),
        } => Some(Arc::new(Update::Reply { ticket: *ticket, result: Err(over_reply_bytes(bounds)) })),
        _ => None,
    }
}

fn over_reply_bytes(bounds: &Bounds) -> Error {
    Error::OverLimit { limit: "reply_bytes_max", max: bounds.reply_bytes as u64 }
}

/// Bytes that an update keeps in memory, about: its texts and lists, and a round sum for the rest.
pub(crate) fn weigh(update: &Update) -> u32 {
    let bytes = match update {
        Update::Message { message, .. } => weigh_message(message),
        Update::Reply { result: Ok(reply), .. } => weigh_reply(reply),
        Update::Reply { result: Err(Error::InvalidTarget { peers }), .. } => peers.len() * PEER_BYTES,
        Update::Presence { online, offline } => (online.len() + offline.len()) * PEER_BYTES,
        Update::Membership { change, .. } => weigh_change(change),
        Update::Reply { .. }
        | Update::Receipt { .. }
        | Update::ReceivedTo { .. }
        | Update::Gap(_)
        | Update::Closed { .. } => 0,
    };
    u32::try_from(UPDATE_BYTES + bytes).unwrap_or(u32::MAX)
}

fn weigh_reply(reply: &Reply) -> usize {
    match reply {
        Reply::History { messages, .. } => messages.iter().map(|message| weigh_message(message)).sum(),
        Reply::Members { peers, .. }
        | Reply::Online(peers)
        | Reply::Invited { peers, .. }
        | Reply::Kicked { peers, .. } => peers.len() * PEER_BYTES,
        Reply::Opened(opened) => opened.online.len() * PEER_BYTES,
        Reply::Conversations(all) => all.iter().map(weigh_info).sum(),
        Reply::Conversation(info) | Reply::Created { conversation: info, .. } => weigh_info(info),
        Reply::Unread(unread) => unread.len() * size_of::<Unread>(),
        Reply::Accepted(accepted) => accepted.changed.as_ref().map_or(0, Content::len),
        Reply::Joined { .. } | Reply::Left { .. } | Reply::Count(_) | Reply::Done => 0,
    }
}

fn weigh_info(info: &ConversationInfo) -> usize {
    let texts = info.name.as_ref().map_or(0, String::len) + attributes_bytes(&info.attributes);
    UPDATE_BYTES + texts + info.members.len() * PEER_BYTES
}

fn weigh_change(change: &MembershipChange) -> usize {
    match change {
        MembershipChange::MembersJoined(peers) | MembershipChange::MembersLeft(peers) => peers.len() * PEER_BYTES,
        MembershipChange::Joined | MembershipChange::Left => 0,
    }
}

/// Bytes of an update beside its texts.
pub(crate) const UPDATE_BYTES: usize = 256;
/// Bytes of a peer in a list.
const PEER_BYTES: usize = 16;

fn weigh_message(message: &Message) -> usize {
    message.content.len() + message.to.len() * PEER_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::ConversationKind;
    use crate::id::{ConversationId, MessageId, PeerId, Ticket};
    use crate::time::Timestamp;

    const BOUNDS: Bounds = Bounds { events: 4, bytes: 4_000, replies: 3, reply_bytes: 4_000, message_bytes: 500 };

    fn message(number: u64, bytes: usize) -> Arc<Update> {
        let message = Message {
            id: MessageId::from_bytes([0; 16]),
            conversation: ConversationId::new("c").unwrap(),
            kind: ConversationKind::Group,
            number: Some(number),
            timestamp: Timestamp::ZERO,
            from: PeerId::new("alice").unwrap(),
            to: Arc::from([]),
            content: Content::Text("x".repeat(bytes)),
            transient: false,
            receipt: false,
            deleted: false,
            narrowed: false,
            position: number,
            device: None,
        };
        Arc::new(Update::Message { message: Arc::new(message), offline: false })
    }

    fn presence() -> Arc<Update> {
        Arc::new(Update::Presence { online: Vec::new(), offline: Vec::new() })
    }

    fn reply(ticket: u64) -> Arc<Update> {
        Arc::new(Update::Reply { ticket: Ticket(ticket), result: Err(Error::Internal) })
    }

    fn closed() -> Arc<Update> {
        Arc::new(Update::Closed { error: None })
    }

    /// What a consumer reads, as text.
    fn show(updates: &[Arc<Update>]) -> String {
        let one = |update: &Arc<Update>| match &**update {
            Update::Message { message, .. } => format!("m{}", message.number.unwrap_or(0)),
            Update::Reply { ticket, .. } => format!("r{ticket}"),
            Update::Presence { .. } => "p".to_owned(),
            Update::Gap(gap) => format!("gap{}", gap.count),
            Update::Closed { .. } => "end".to_owned(),
            other => format!("{other:?}"),
        };
        updates.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    struct One(Outbox);

    impl One {
        fn new() -> Self {
            let mut outbox = Outbox::default();
            outbox.attach(1);
            // Its open was answered, and that was read.
            outbox.owe_no_reply(1);
            Self(outbox)
        }

        fn push(&mut self, update: &Arc<Update>, class: Class) -> Pushed {
            self.0.push(1, update, class, weigh(update), &BOUNDS)
        }

        fn logged(&mut self, number: u64) -> Pushed {
            self.push(&message(number, 10), Class::Logged { position: number })
        }

        /// The logged updates up to this one; four find room.
        fn fill(&mut self, last: u64) {
            for number in 1..=last {
                assert_eq!(self.logged(number).queued, number <= 4);
            }
        }

        fn page(&mut self, number: u64, catch_up: u32) -> Pushed {
            self.push(&message(number, 10), Class::Page { position: number, catch_up })
        }

        fn drain(&mut self, max: usize) -> (String, DrainState, bool) {
            let mut out = Vec::new();
            let (state, room) = self.0.drain(&mut out, max, &BOUNDS);
            (show(&out), state, room)
        }

        fn read(&mut self) -> String {
            self.drain(usize::MAX).0
        }
    }

    #[test]
    fn a_place_is_one_cache_line() {
        assert_eq!(size_of::<Outbox>(), 56);
        assert_eq!(size_of::<parking_lot::Mutex<Outbox>>(), 64);
    }

    #[test]
    fn updates_come_in_order_and_only_the_first_is_announced() {
        let mut one = One::new();
        assert!(one.logged(1).first);
        assert!(!one.logged(2).first);
        assert!(!one.push(&reply(7), Class::Reply).first);
        assert_eq!(one.drain(2), ("m1 m2".to_owned(), DrainState::More, false));
        assert!(!one.logged(3).first, "it was not empty");
        assert_eq!(one.drain(2), ("r7 m3".to_owned(), DrainState::Empty, false));
        assert!(one.logged(4).first);
    }

    #[test]
    fn a_full_ring_drops_transient_updates_and_says_so_once() {
        let mut one = One::new();
        (1..=4).for_each(|number| assert!(one.logged(number).queued));
        assert_eq!(one.push(&presence(), Class::Transient).dropped, 1);
        assert_eq!(one.push(&presence(), Class::Transient).dropped, 1);
        assert_eq!(one.drain(3).0, "m1 m2 m3");
        assert_eq!(one.drain(1), ("m4".to_owned(), DrainState::More, false), "never more than asked for");
        assert_eq!(one.drain(1), ("gap2".to_owned(), DrainState::Empty, false));
        assert_eq!(one.read(), "");
    }

    #[test]
    fn what_is_logged_takes_the_place_of_what_is_transient() {
        let mut one = One::new();
        one.push(&presence(), Class::Transient);
        one.logged(1);
        one.push(&presence(), Class::Transient);
        one.logged(2);
        let pushed = one.logged(3);
        assert!(pushed.queued && !pushed.overflowed);
        assert_eq!(pushed.dropped, 2);
        assert_eq!(one.read(), "m1 m2 m3 gap2");
    }

    #[test]
    fn bytes_are_bounded_too_and_come_back_with_each_drain() {
        let mut one = One::new();
        let large = message(1, 1_700);
        assert!(one.push(&large, Class::Logged { position: 1 }).queued);
        assert!(one.push(&large, Class::Logged { position: 2 }).queued);
        assert_eq!(one.push(&presence(), Class::Transient).dropped, 1, "256 bytes more than 4,000");
        one.drain(1);
        assert!(one.push(&presence(), Class::Transient).queued);
        one.drain(9);
        assert!(one.push(&message(3, 9_000), Class::Logged { position: 3 }).queued, "one fits always");
        assert!(one.logged(4).overflowed);
    }

    #[test]
    fn a_lagging_session_waits_for_pages_and_live() {
        let mut one = One::new();
        one.fill(4);
        assert!(one.logged(5).overflowed);
        assert_eq!(one.logged(6), Pushed::default(), "told once, then ignored");
        assert_eq!(one.drain(9), ("m1 m2 m3 m4".to_owned(), DrainState::Empty, false), "the engine does not know yet");
        assert_eq!(one.0.told(1, &BOUNDS), Some(4));
        assert!(!one.drain(9).2, "offered already");
        assert!(one.page(5, 1).queued);
        assert_eq!(one.logged(7), Pushed::default());
        assert!(one.page(6, 1).queued);
        one.0.live(1, 1);
        assert!(one.logged(7).queued);
        assert_eq!(one.read(), "m5 m6 m7");
    }

    #[test]
    fn room_is_offered_once_for_the_pages_that_then_come() {
        let mut one = One::new();
        one.fill(5);
        assert_eq!(one.0.told(1, &BOUNDS), None, "the ring is full");
        assert!(!one.drain(1).2);
        assert!(one.drain(1).2, "half of it is free");
        assert!(!one.drain(0).2, "said already");
        assert_eq!(one.0.offer_room(1, &BOUNDS), Some(2));
        assert!(!one.drain(2).2, "what was asked for is on its way");
        assert_eq!(one.0.offer_room(1, &BOUNDS), None);
        one.page(5, 1);
        one.page(6, 1);
        assert_eq!(one.drain(9), ("m5 m6".to_owned(), DrainState::Empty, true));
        assert_eq!(one.0.offer_room(1, &BOUNDS), Some(4));
    }

    #[test]
    fn room_that_is_gone_again_is_not_offered() {
        let mut one = One::new();
        one.fill(5);
        one.0.told(1, &BOUNDS);
        assert!(one.drain(3).2);
        one.push(&reply(1), Class::Reply);
        one.push(&reply(2), Class::Reply);
        assert_eq!(one.0.offer_room(1, &BOUNDS), None);
        assert!(one.drain(3).2);
        assert_eq!(one.0.offer_room(1, &BOUNDS), Some(4));
    }

    #[test]
    fn pages_of_a_stale_catch_up_are_ignored() {
        let mut one = One::new();
        (1..=4).for_each(|number| assert!(one.page(number, 3).queued));
        assert!(one.page(5, 3).overflowed);
        assert_eq!(one.read(), "m1 m2 m3 m4");
        assert_eq!(one.page(6, 3), Pushed::default(), "a hole would be before it");
        one.0.live(1, 3);
        assert_eq!(one.logged(7), Pushed::default(), "the end of that catch-up ends nothing");
        one.0.told(1, &BOUNDS);
        assert!(one.page(5, 4).queued);
        assert_eq!(one.page(5, 3), Pushed::default());
        one.0.live(1, 4);
        assert!(one.logged(8).queued);
    }

    #[test]
    fn transient_messages_skip_a_session_that_is_behind() {
        let mut one = One::new();
        one.fill(5);
        one.read();
        assert_eq!(one.push(&message(9, 1), Class::Transient).dropped, 1);
        assert!(one.push(&presence(), Class::Transient).queued);
        assert_eq!(one.read(), "p gap1");
    }

    #[test]
    fn replies_are_never_dropped_but_stop_requests() {
        let mut one = One::new();
        one.fill(4);
        for ticket in 1..=3 {
            assert!(one.0.may_request(&BOUNDS));
            one.0.owe_reply();
            assert!(one.push(&reply(ticket), Class::Reply).queued);
        }
        assert!(!one.0.may_request(&BOUNDS));
        assert_eq!(one.drain(5).0, "m1 m2 m3 m4 r1");
        assert!(one.0.may_request(&BOUNDS));
        assert_eq!(one.read(), "r2 r3");
    }

    /// Requests were counted when they were answered: whoever asked faster than the store read had all its pages waiting.
    #[test]
    fn requests_whose_answers_are_on_their_way_count() {
        let mut one = One::new();
        (0..3).for_each(|_| one.0.owe_reply());
        assert!(!one.0.may_request(&BOUNDS));
        one.0.owe_no_reply(2);
        assert!(!one.0.may_request(&BOUNDS), "a stranger's refusal changes nothing");
        one.0.owe_no_reply(1);
        assert!(one.0.may_request(&BOUNDS));
        one.push(&reply(1), Class::Reply);
        one.read();
        assert!(one.0.may_request(&BOUNDS));
        one.0.owe_reply();
        one.0.owe_reply();
        assert!(!one.0.may_request(&BOUNDS), "one of the first is still owed");
    }

    fn history(ticket: u64, bytes: usize) -> Arc<Update> {
        let Update::Message { message, .. } = &*message(1, bytes) else { unreachable!() };
        let reply = Reply::History { messages: vec![Arc::clone(message)], more: false };
        Arc::new(Update::Reply { ticket: Ticket(ticket), result: Ok(reply) })
    }

    /// Forty connections that never read held 132 MiB: their replies had no bound.
    #[test]
    fn all_that_a_session_holds_is_bounded() {
        let mut one = One::new();
        assert!(one.push(&history(1, 11_000), Class::Reply).queued, "one has more room");
        one.read();
        one.push(&history(1, 12_000), Class::Reply);
        assert_eq!(one.0.bytes, 256, "but not without bound");
        one.read();
        one.push(&history(2, 5_000), Class::Reply);
        one.push(&history(3, 2_000), Class::Reply);
        let refusal = Update::Reply { ticket: Ticket(4), result: Err(over_reply_bytes(&BOUNDS)) };
        assert!(one.push(&history(4, 2_000), Class::Reply).queued);
        assert_eq!(*one.0.ring[2], refusal, "a question is answered, and can be asked again");
        let accepted = |ticket| Arc::new(Update::Reply { ticket: Ticket(ticket), result: Ok(Reply::Done) });
        let mut ticket = 5;
        while !one.push(&accepted(ticket), Class::Reply).overrun {
            assert!(one.0.bytes as usize <= BOUNDS.hard_bytes());
            ticket += 1;
        }
        assert!(ticket > 15, "what tells what was done has more room");
        let mut out = Vec::new();
        assert_eq!(one.0.drain(&mut out, 9, &BOUNDS).0, DrainState::Closed);
        assert_eq!(out, [Arc::new(Update::Closed { error: Some(over_reply_bytes(&BOUNDS)) })]);
        assert_eq!(one.push(&accepted(99), Class::Reply), Pushed::default());
    }

    #[test]
    fn lists_weigh_what_is_in_them() {
        let mut attributes = crate::conversation::Attributes::new();
        attributes.insert("text".to_owned(), "x".repeat(10_000).into());
        let info = ConversationInfo {
            id: ConversationId::new("c").unwrap(),
            kind: ConversationKind::Group,
            unique: false,
            name: None,
            attributes,
            creator: None,
            members: vec![PeerId::new("alice").unwrap(); 100],
            created_at: Timestamp::ZERO,
            updated_at: Timestamp::ZERO,
            last_message_at: None,
            expires_at: None,
        };
        let result = Ok(Reply::Conversations(vec![info; 3]));
        assert!(weigh(&Update::Reply { ticket: Ticket(1), result }) > 3 * 11_600);
    }

    #[test]
    fn the_end_is_read_last_and_then_closed() {
        let mut one = One::new();
        one.fill(4);
        one.push(&presence(), Class::Transient);
        one.push(&closed(), Class::Reply);
        assert!(!one.0.close(1), "announced already");
        assert_eq!(one.logged(2), Pushed::default());
        assert_eq!(one.drain(2).1, DrainState::More);
        assert_eq!(one.drain(9), ("m3 m4 gap1 end".to_owned(), DrainState::Closed, false));
        assert_eq!(one.drain(9), (String::new(), DrainState::Closed, false));
    }

    #[test]
    fn a_new_tenant_gets_nothing_of_the_former() {
        let mut outbox = One::new();
        outbox.logged(1);
        outbox.push(&closed(), Class::Reply);
        outbox.0.close(1);
        let (former, leftover) = outbox.0.attach(2);
        assert_eq!((former, leftover.last, leftover.over), (1, Some(closed()), true));
        assert_eq!(outbox.logged(2), Pushed::default(), "for the former tenant");
        assert!(outbox.0.push(2, &message(3, 1), Class::Logged { position: 3 }, 1, &BOUNDS).queued);
        assert!(!outbox.0.is_tenant(1), "a stale handle reads closed");
        assert_eq!(outbox.read(), "m3");
    }

    #[test]
    fn a_tenant_whose_end_has_not_come_is_not_over() {
        let mut outbox = One::new();
        outbox.logged(1);
        let (_, leftover) = outbox.0.attach(2);
        assert!(!leftover.over && leftover.last.is_none());
        outbox.0.push(2, &closed(), Class::Reply, 256, &BOUNDS);
        let (_, leftover) = outbox.0.attach(2);
        assert!(leftover.over && leftover.last.is_some(), "its close may still be on the way");
        assert!(outbox.0.detach(2).is_some());
        assert!(outbox.0.attach(3).1.over, "whose host has left it, needs no end");
    }

    #[test]
    fn a_detached_outbox_takes_nothing_and_reads_closed() {
        let mut one = One::new();
        one.logged(1);
        assert!(one.0.detach(2).is_none());
        assert!(one.0.detach(1).is_some());
        assert!(one.0.detach(1).is_none());
        assert_eq!(one.logged(2), Pushed::default());
        assert!(!one.0.is_tenant(1), "it reads closed");
    }
}
