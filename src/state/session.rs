//! Sessions: the live attachments of a peer's devices. Who is online is known here.

use std::collections::VecDeque;
use std::net::IpAddr;

use rustc_hash::FxHashMap;

use crate::id::{DeviceId, MessageId, SessionId, Tag};
use crate::output::SessionRef;
use crate::request::Origin;
use crate::slots::Slots;
use crate::state::notices::Notices;
use crate::time::Timestamp;

/// Whether a session is attached to a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its open waits for a deferred hook.
    Opening,
    /// Open.
    Open,
    /// Its connection broke; it can be resumed until then.
    Paused(Timestamp),
}

/// How a session gets what is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Directly.
    Live,
    /// A read is under way.
    Reading,
    /// From this position on it reads from the log, as soon as its outbox has room.
    Lagging(u64),
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer: u32,
    pub(crate) generation: u32,
    pub(crate) state: State,
    pub(crate) flow: Flow,
    /// Which catch-up is under way, or was the last.
    pub(crate) catch_up: u32,
    /// Messages at or before this position are offline messages for it.
    pub(crate) opened_at: u64,
    /// Until this commit is durable, its `opened` is not released, and nothing overtakes it.
    pub(crate) opened_with: u64,
    /// The names that it watches, by their places, sorted.
    pub(crate) watched: Vec<u32>,
    /// The room it is in.
    pub(crate) room: Option<u32>,
    pub(crate) super_peer: bool,
    /// The hash of the token that resumes it.
    pub(crate) token: u128,
    /// For whom it is counted what it has staged: its connection, or its peer.
    pub(crate) payer: u64,
    pub(crate) rare: Box<Rare>,
}

/// What is seldom looked at.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    pub(crate) device: Option<DeviceId>,
    pub(crate) tag: Option<Tag>,
    pub(crate) source_ip: Option<IpAddr>,
    /// Whom its use counts for beside its peer.
    pub(crate) origin: Option<Origin>,
    /// Which key signed its open.
    pub(crate) key: Option<crate::signature::KeyId>,
    /// What it was given from the log: the acknowledgements of these cannot be looked up among recent messages.
    pub(crate) given: FxHashMap<MessageId, crate::state::recent::Whereabouts>,
    /// Copies of its peer's own messages that it was given, in their order, until something after them is acknowledged.
    pub(crate) copies: VecDeque<crate::state::recent::Whereabouts>,
    /// Transient messages that it missed while it was behind.
    pub(crate) missed: u64,
    /// What it missed in its pause and is in no log.
    pub(crate) notices: Notices,
}

impl Session {
    /// A session that is about to open.
    pub(crate) fn new(peer: u32) -> Self {
        Self {
            peer,
            generation: 0,
            state: State::Opening,
            flow: Flow::Reading,
            catch_up: 0,
            opened_at: 0,
            opened_with: 0,
            watched: Vec::new(),
            room: None,
            super_peer: false,
            token: 0,
            payer: 0,
            rare: Box::default(),
        }
    }

    /// Whether it watches the name in this place.
    pub(crate) fn is_watching(&self, watched: u32) -> bool {
        self.watched.binary_search(&watched).is_ok()
    }
}

/// What the host is still to be told of a place.
#[derive(Clone, Copy, Debug, Default)]
struct Closing {
    /// How many ends.
    ends: u32,
    /// Whether nobody is there: once the host knows, the place is free.
    empty: bool,
}

/// All sessions, and by which token each is resumed.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    slots: Slots<Session>,
    /// How often each place was given.
    generations: Vec<u32>,
    pub(crate) by_token: FxHashMap<u128, u32>,
    /// Places whose sessions were closed and whose hosts do not know yet.
    closing: FxHashMap<u32, Closing>,
    node: u16,
    epoch: u32,
    open: usize,
    /// The token just made, until the reply takes it.
    pub(crate) fresh_token: Option<String>,
}

impl Sessions {
    pub(crate) fn new(node: u16, epoch: u32) -> Self {
        Self { node, epoch, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Gives a new session a place.
    pub(crate) fn insert(&mut self, session: Session) -> u32 {
        let slot = self.slots.insert(session);
        self.attach(slot);
        slot
    }

    /// Starts a new tenancy of a place: whoever held it before is a stranger from here on.
    pub(crate) fn attach(&mut self, slot: u32) {
        if self.generations.len() <= slot as usize {
            self.generations.resize(slot as usize + 1, 0);
        }
        self.generations[slot as usize] = self.generations[slot as usize].wrapping_add(1);
        self.slots[slot].generation = self.generations[slot as usize];
    }

    /// The host will be told that the tenant of a place is closed. Until it was, nobody else gets the place.
    pub(crate) fn closes(&mut self, slot: u32) {
        self.closing.entry(slot).or_default().ends += 1;
    }

    /// The host was told.
    pub(crate) fn was_told(&mut self, slot: u32) {
        let Some(closing) = self.closing.get_mut(&slot) else { return };
        closing.ends -= 1;
        if closing.ends == 0 && self.closing.remove(&slot).is_some_and(|closing| closing.empty) {
            self.slots.release(slot);
        }
    }

    /// Ends a session for good.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Session> {
        let session = match self.closing.get_mut(&slot) {
            Some(closing) => {
                closing.empty = true;
                self.slots.withhold(slot)?
            }
            None => self.slots.remove(slot)?,
        };
        if self.by_token.get(&session.token) == Some(&slot) {
            self.by_token.remove(&session.token);
        }
        Some(session)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Session> {
        self.slots.get(slot)
    }

    /// The place of the session that a host names, if it is still this one's and attached.
    pub(crate) fn find(&self, id: SessionId) -> Option<u32> {
        let session = self.slots.get(id.slot)?;
        let same = session.generation == id.generation && self.node == id.node && self.epoch == id.epoch;
        (same && !matches!(session.state, State::Paused(_))).then_some(id.slot)
    }

    /// The name that the host knows a place's session by.
    pub(crate) fn id(&self, slot: u32) -> SessionId {
        SessionId { node: self.node, epoch: self.epoch, slot, generation: self.slots[slot].generation }
    }

    /// How outputs name a place's session.
    pub(crate) fn reference(&self, slot: u32) -> SessionRef {
        SessionRef { slot, generation: self.slots[slot].generation }
    }

    /// Counts sessions that are open.
    pub(crate) fn count_open(&mut self, change: isize) {
        self.open = self.open.saturating_add_signed(change);
    }

    /// How many sessions are open.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// A room is gone: no session is in it any more, nor will be after its pause.
    pub(crate) fn forget_room(&mut self, room: u32) {
        self.slots.iter_mut().filter(|session| session.room == Some(room)).for_each(|session| session.room = None);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Session)> {
        self.slots.iter()
    }
}

impl std::ops::Index<u32> for Sessions {
    type Output = Session;
    fn index(&self, slot: u32) -> &Session {
        &self.slots[slot]
    }
}

impl std::ops::IndexMut<u32> for Sessions {
    fn index_mut(&mut self, slot: u32) -> &mut Session {
        &mut self.slots[slot]
    }
}
