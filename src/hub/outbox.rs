//! What waits for one session: a small ring, bounded in events and in bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::Thread;

use crate::message::Message;
use crate::output::Class;
use crate::update::{Gap, GapCause, Reply, Update};

/// What one outbox may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Updates, replies aside.
    pub(crate) events: usize,
    /// Bytes, replies aside.
    pub(crate) bytes: usize,
    /// Replies over which the session's requests are refused.
    pub(crate) replies: usize,
    /// Bytes of replies over which the session's requests are refused.
    pub(crate) reply_bytes: usize,
    /// Bytes of the largest single message, by which bytes become events.
    pub(crate) message_bytes: usize,
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
    /// How many fleeting updates were dropped, itself or others.
    pub(crate) dropped: u32,
    /// The session lags from here on: the engine has to be told.
    pub(crate) overflowed: bool,
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
    rare: Option<Box<Rare>>,
    bytes: u32,
    generation: u32,
    /// The newest catch-up that was seen.
    catch_up: u32,
    replies: u16,
    standing: Standing,
    closed: bool,
}

/// What few sessions need.
#[derive(Debug, Default)]
struct Rare {
    /// Fleeting updates that the consumer has not been told of.
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
    /// Its generation and its unread end.
    pub(crate) farewell: Option<(u32, Arc<Update>)>,
    /// Who was waiting for it.
    pub(crate) waiting: Vec<Thread>,
}

impl Outbox {
    /// Gives the place to a new tenant.
    pub(crate) fn attach(&mut self, generation: u32) -> Leftover {
        let former = std::mem::take(self);
        self.generation = generation;
        self.standing = Standing::Live;
        let farewell = match former.ring.back() {
            Some(last) if former.closed && matches!(**last, Update::Closed { .. }) => {
                Some((former.generation, Arc::clone(last)))
            }
            _ => None,
        };
        Leftover { farewell, waiting: former.rare.map(|rare| rare.waiting).unwrap_or_default() }
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
        open.then(|| former.rare.map(|rare| rare.waiting).unwrap_or_default())
    }

    #[inline]
    pub(crate) fn is_tenant(&self, generation: u32) -> bool {
        self.generation == generation && self.standing != Standing::Vacant
    }

    /// Whether a request may be made, or its reply might find no place.
    pub(crate) fn may_request(&self, bounds: &Bounds) -> bool {
        usize::from(self.replies) < bounds.replies && (self.bytes as usize) < bounds.bytes + bounds.reply_bytes
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
        let lasting = matches!(class, Class::Logged { .. } | Class::Fleeting);
        if lasting && self.standing == Standing::Live && self.has_room(weight, bounds) {
            return self.enqueue(update, weight);
        }
        self.push_seldom(update, class, weight, bounds)
    }

    #[cold]
    fn push_seldom(&mut self, update: &Arc<Update>, class: Class, weight: u32, bounds: &Bounds) -> Pushed {
        match class {
            _ if self.standing == Standing::Vacant => Pushed::default(),
            Class::Reply => {
                self.replies = self.replies.saturating_add(u16::from(is_reply(update)));
                let gap = self.gap_before(update);
                let queued = self.enqueue(update, weight);
                Pushed { first: gap || queued.first, ..queued }
            }
            Class::Fleeting => self.push_fleeting(update, weight, bounds),
            Class::Logged { .. } if self.standing == Standing::Live => self.push_lasting(update, weight, bounds),
            Class::Logged { .. } => Pushed::default(),
            Class::Page { catch_up, .. } => self.push_page(update, catch_up, weight, bounds),
        }
    }

    fn push_fleeting(&mut self, update: &Arc<Update>, weight: u32, bounds: &Bounds) -> Pushed {
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
        if let Some(rare) = self.rare.as_mut().filter(|rare| rare.room == Room::Offered) {
            rare.room = Room::Wanted;
        }
        self.push_lasting(update, weight, bounds)
    }

    /// Takes what is in the log, at the cost of what is not; without room the session lags.
    fn push_lasting(&mut self, update: &Arc<Update>, weight: u32, bounds: &Bounds) -> Pushed {
        if self.has_room(weight, bounds) {
            return self.enqueue(update, weight);
        }
        let evicted = self.evict_fleeting();
        let mut pushed = self.count_dropped(evicted);
        if self.has_room(weight, bounds) {
            let queued = self.enqueue(update, weight);
            return Pushed { dropped: evicted, ..queued };
        }
        self.standing = Standing::Lagging;
        self.rare.get_or_insert_default().room = Room::Untold;
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

    fn evict_fleeting(&mut self) -> u32 {
        let before = self.ring.len();
        self.ring.retain(|update| !is_fleeting(update));
        let evicted = before - self.ring.len();
        if evicted > 0 {
            self.bytes = self.ring.iter().fold(0, |sum: u32, update| sum.saturating_add(weigh(update)));
        }
        u32::try_from(evicted).unwrap_or(u32::MAX)
    }

    fn count_dropped(&mut self, count: u32) -> Pushed {
        if count > 0 {
            self.rare.get_or_insert_default().dropped += u64::from(count);
        }
        Pushed { dropped: count, ..Pushed::default() }
    }

    /// The engine knows that the session lags. Returns the room to offer, where the consumer has made some already.
    pub(crate) fn told(&mut self, generation: u32, bounds: &Bounds) -> Option<usize> {
        let tenant = self.is_tenant(generation);
        self.rare.as_mut().filter(|_| tenant)?.room = Room::Wanted;
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

    /// Moves up to `max` updates to `out`, oldest first; after the last, one [`Gap`] tells how many fleeting ones were
    /// dropped. Beside the state, whether the engine should hear of room: once for each time that it waits for some.
    #[inline]
    pub(crate) fn drain(&mut self, out: &mut Vec<Arc<Update>>, max: usize, bounds: &Bounds) -> (DrainState, bool) {
        if max > self.ring.len() {
            while let Some(update) = self.ring.pop_front() {
                out.push(update);
            }
            (self.bytes, self.replies) = (0, 0);
            if self.rare.is_none() && !self.closed {
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

    fn take_some(&mut self, out: &mut Vec<Arc<Update>>, max: usize) {
        for update in self.ring.drain(..max) {
            self.bytes = self.bytes.saturating_sub(weigh(&update));
            self.replies = self.replies.saturating_sub(u16::from(is_reply(&update)));
            out.push(update);
        }
    }

    fn has_dropped(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.dropped > 0)
    }

    fn take_gap(&mut self) -> Option<Arc<Update>> {
        let count = std::mem::take(&mut self.rare.as_mut()?.dropped);
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
        let rare = self.rare.as_mut().filter(|rare| wanted && rare.room == Room::Wanted);
        rare.map(|rare| rare.room = Room::Found).is_some()
    }

    /// The room to offer to the engine. It is asked for when nothing else is on its way to the session, and offered once
    /// for what then comes: so pages never meet a ring that was promised twice.
    pub(crate) fn offer_room(&mut self, generation: u32, bounds: &Bounds) -> Option<usize> {
        let possible = self.is_tenant(generation) && self.is_behind();
        let half_free = self.is_half_free(bounds);
        let rare = self.rare.as_mut().filter(|rare| possible && matches!(rare.room, Room::Wanted | Room::Found))?;
        rare.room = if half_free { Room::Offered } else { Room::Wanted };
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
            self.rare.get_or_insert_default().waiting.push(thread);
        }
        ready
    }

    /// The thread waits no longer.
    pub(crate) fn forget(&mut self, generation: u32, thread: &Thread) {
        if let Some(rare) = self.rare.as_mut().filter(|_| self.generation == generation) {
            rare.waiting.retain(|waiting| waiting.id() != thread.id());
        }
    }

    /// Who waits; to be woken once every lock is released.
    pub(crate) fn take_waiting(&mut self, wakes: &mut Vec<Thread>) {
        if let Some(rare) = &mut self.rare {
            wakes.append(&mut rare.waiting);
        }
    }
}

/// What may go first where there is no room. Entries carry no class, so it is read off the update.
fn is_fleeting(update: &Update) -> bool {
    match update {
        Update::Presence { .. } => true,
        Update::Message { message, .. } => message.transient,
        _ => false,
    }
}

fn is_reply(update: &Update) -> bool {
    matches!(update, Update::Reply { .. } | Update::Closed { .. })
}

/// Bytes that an update keeps in memory, about: its texts, and a round sum for the rest.
pub(crate) fn weigh(update: &Update) -> u32 {
    let bytes = match update {
        Update::Message { message, .. } => weigh_message(message),
        Update::Reply { result: Ok(Reply::History { messages, .. }), .. } => {
            messages.iter().map(|message| weigh_message(message)).sum()
        }
        Update::Reply { result: Ok(Reply::Members { peers, .. } | Reply::Online(peers)), .. } => {
            peers.len() * PEER_BYTES
        }
        Update::Reply { result: Ok(Reply::Conversations(all)), .. } => all.len() * UPDATE_BYTES,
        Update::Presence { online, offline } => (online.len() + offline.len()) * PEER_BYTES,
        _ => 0,
    };
    u32::try_from(UPDATE_BYTES + bytes).unwrap_or(u32::MAX)
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
    use crate::error::Error;
    use crate::id::{ConversationId, MessageId, PeerId, Ticket};
    use crate::message::Content;
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
    fn a_full_ring_drops_fleeting_updates_and_says_so_once() {
        let mut one = One::new();
        (1..=4).for_each(|number| assert!(one.logged(number).queued));
        assert_eq!(one.push(&presence(), Class::Fleeting).dropped, 1);
        assert_eq!(one.push(&presence(), Class::Fleeting).dropped, 1);
        assert_eq!(one.drain(3).0, "m1 m2 m3");
        assert_eq!(one.drain(1), ("m4".to_owned(), DrainState::More, false), "never more than asked for");
        assert_eq!(one.drain(1), ("gap2".to_owned(), DrainState::Empty, false));
        assert_eq!(one.read(), "");
    }

    #[test]
    fn what_is_logged_takes_the_place_of_what_is_fleeting() {
        let mut one = One::new();
        one.push(&presence(), Class::Fleeting);
        one.logged(1);
        one.push(&presence(), Class::Fleeting);
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
        assert_eq!(one.push(&presence(), Class::Fleeting).dropped, 1, "256 bytes more than 4,000");
        one.drain(1);
        assert!(one.push(&presence(), Class::Fleeting).queued);
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
        assert_eq!(one.push(&message(9, 1), Class::Fleeting).dropped, 1);
        assert!(one.push(&presence(), Class::Fleeting).queued);
        assert_eq!(one.read(), "p gap1");
    }

    #[test]
    fn replies_are_never_dropped_but_stop_requests() {
        let mut one = One::new();
        one.fill(4);
        assert!(one.0.may_request(&BOUNDS));
        (1..=3).for_each(|ticket| assert!(one.push(&reply(ticket), Class::Reply).queued));
        assert!(!one.0.may_request(&BOUNDS));
        assert_eq!(one.drain(5).0, "m1 m2 m3 m4 r1");
        assert!(one.0.may_request(&BOUNDS));
        assert_eq!(one.read(), "r2 r3");
    }

    #[test]
    fn the_end_is_read_last_and_then_closed() {
        let mut one = One::new();
        one.fill(4);
        one.push(&presence(), Class::Fleeting);
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
        let leftover = outbox.0.attach(2);
        assert_eq!(leftover.farewell, Some((1, closed())));
        assert_eq!(outbox.logged(2), Pushed::default(), "for the former tenant");
        assert!(outbox.0.push(2, &message(3, 1), Class::Logged { position: 3 }, 1, &BOUNDS).queued);
        assert!(!outbox.0.is_tenant(1), "a stale handle reads closed");
        assert_eq!(outbox.read(), "m3");
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
