//! The naive model: the observable rules of the engine, with plain maps and lists, slow and plain.
//!
//! Everything is counted anew whenever it is asked: there are no caches, no indexes and no store. What a session is to be
//! told is a list of [`Expected`].

use std::collections::{BTreeMap, BTreeSet};

use super::command::PEERS;

const DAY: u64 = 86_400_000;

/// Settings of the small world, small enough to be hit often.
pub(crate) mod limits {
    pub(crate) const OFFLINE: usize = 5;
    pub(crate) const RECIPIENTS: usize = 3;
    pub(crate) const MEMBERS: usize = 3;
    pub(crate) const TEMPORARY_MEMBERS: usize = 3;
    pub(crate) const GROUPS: usize = 3;
    pub(crate) const SESSIONS: usize = 3;
    pub(crate) const WATCHED: usize = 3;
    pub(crate) const PAGE: usize = 4;
    pub(crate) const DEVICES: usize = 3;
    pub(crate) const BEYOND: usize = 3;
    pub(crate) const TOKENS: usize = 3;
    pub(crate) const CONVERSATIONS: usize = 12;
    pub(crate) const BYTES: usize = 64;
}

pub(crate) type Peer = u8;

/// Why a request is refused: the documented code.
pub(crate) type Code = u16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Direct,
    Group,
    Room,
    Temporary,
}

/// To whom something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ear {
    Session(usize),
    Host,
}

/// When it is told: in this step, or once a commit is durable and everything before it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    After(u64),
}

/// Something that is to be told.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) ear: Ear,
    pub(crate) when: When,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// The answer to the request with this number.
    Reply(u64, Result<Answer, Code>),
    Message {
        message: usize,
        offline: bool,
    },
    /// `maybe` says that it may have been told before, in a life that ended with a crash.
    Receipt {
        message: usize,
        peer: Peer,
        at: u64,
        maybe: bool,
    },
    Presence {
        online: BTreeSet<Peer>,
        offline: BTreeSet<Peer>,
    },
    Membership {
        conversation: usize,
        change: Change,
        by: Peer,
    },
    Gap {
        conversation: usize,
        from: u64,
        to: u64,
        count: u64,
        cause: Cause,
    },
    Closed(Option<Code>),
    Push {
        message: usize,
        badges: BTreeMap<Peer, u64>,
    },
    /// A catch-up of unknown extent, up to its end: after a crash.
    Anything,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Opened {
        online: BTreeSet<Peer>,
        room: Option<usize>,
    },
    Accepted(usize),
    Online(BTreeSet<Peer>),
    /// Made, or found: one of these.
    Created {
        infos: Vec<Info>,
        existing: bool,
    },
    Joined(usize),
    Left(usize),
    Invited(usize, BTreeSet<Peer>),
    Kicked(usize, BTreeSet<Peer>),
    Members(usize, BTreeSet<Peer>),
    Conversation(Info),
    Conversations(Vec<Info>),
    Count(u64),
    History {
        messages: Vec<usize>,
        more: bool,
    },
    Unread(BTreeMap<usize, u64>),
    Done,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Info {
    pub(crate) conversation: usize,
    pub(crate) kind: Kind,
    pub(crate) unique: bool,
    pub(crate) creator: Option<Peer>,
    pub(crate) members: BTreeSet<Peer>,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    pub(crate) last_message_at: Option<u64>,
    pub(crate) expires_at: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Joined,
    Left,
    MembersJoined(BTreeSet<Peer>),
    MembersLeft(BTreeSet<Peer>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    Limit,
    Age,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// What it says: no other message ever says it.
    pub(crate) content: String,
    pub(crate) conversation: Option<usize>,
    pub(crate) kind: Kind,
    /// Its number, where it is in a log.
    pub(crate) number: Option<u64>,
    pub(crate) from: Peer,
    pub(crate) to: BTreeSet<Peer>,
    pub(crate) at: u64,
    pub(crate) receipt: bool,
    /// In which life of the engine it was sent.
    pub(crate) life: u32,
}

/// What a device has acknowledged: everything up to a number, and some beyond it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) received: u64,
    pub(crate) beyond: BTreeSet<u64>,
}

impl Cursor {
    pub(crate) fn at(received: u64) -> Self {
        Self { received, beyond: BTreeSet::new() }
    }

    /// How far it is: first the number up to which nothing is missing, then the runs beyond.
    fn furthest(&self) -> (u64, Vec<(u64, u64)>) {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &number in &self.beyond {
            match runs.last_mut().filter(|run| run.1 + 1 == number) {
                Some(run) => run.1 = number,
                None => runs.push((number, number)),
            }
        }
        (self.received, runs)
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        number <= self.received || self.beyond.contains(&number)
    }

    fn acknowledge(&mut self, first: u64, last: u64) {
        self.beyond.extend(first..=last);
        while self.beyond.contains(&(self.received + 1)) {
            self.received += 1;
        }
        let received = self.received;
        self.beyond.retain(|number| *number > received);
        // So many runs beyond a hole are remembered, the nearest ones.
        let (mut runs, mut before) = (0, 0);
        self.beyond.retain(|number| {
            runs += usize::from(before + 1 != *number);
            before = *number;
            runs <= limits::BEYOND
        });
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) id: Option<u8>,
    pub(crate) seen_at: u64,
    pub(crate) cursors: BTreeMap<usize, Cursor>,
    /// After a crash its acknowledgements may be lost, never more than those.
    pub(crate) uncertain: bool,
    /// It started at the cursors of uncertain devices.
    pub(crate) copied: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PeerState {
    /// Whether anything that is kept names it: it was in a conversation or sent something.
    pub(crate) known: bool,
    pub(crate) logged_out: bool,
    pub(crate) devices: Vec<Device>,
    pub(crate) told_online: bool,
    pub(crate) changed: bool,
    /// Retry tokens and their messages, oldest first.
    pub(crate) tokens: Vec<(u8, usize)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) spans: Vec<(u64, Option<u64>)>,
    pub(crate) left_at: Option<u64>,
    pub(crate) read: u64,
}

impl Member {
    fn new(last: u64) -> Self {
        Self { spans: vec![(last, None)], left_at: None, read: last }
    }

    /// Whether a message with this number is for the member.
    pub(crate) fn sees(&self, number: u64) -> bool {
        self.spans.iter().any(|(after, to)| number > *after && to.is_none_or(|to| number <= to))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    pub(crate) kind: Kind,
    pub(crate) unique: bool,
    pub(crate) creator: Option<Peer>,
    pub(crate) members: BTreeMap<Peer, Member>,
    /// Sessions in a room.
    pub(crate) present: BTreeSet<usize>,
    /// Its messages: the first has number 1.
    pub(crate) log: Vec<usize>,
    /// How many of them are durable.
    pub(crate) durable: u64,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    pub(crate) expires_at: Option<u64>,
    pub(crate) check_at: u64,
    pub(crate) gone: bool,
}

impl Conversation {
    pub(crate) fn last(&self) -> u64 {
        self.log.len() as u64
    }

    pub(crate) fn active(&self) -> BTreeSet<Peer> {
        self.members.iter().filter(|(_, member)| member.left_at.is_none()).map(|(peer, _)| *peer).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Paused { until: u64 },
    Gone,
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) peer: Peer,
    pub(crate) device: Option<u8>,
    pub(crate) tag: Option<u8>,
    pub(crate) state: State,
    /// How often it was attached.
    pub(crate) attached: u32,
    /// When its peer's sessions are looked through, in this order.
    pub(crate) order: u64,
    pub(crate) reading: bool,
    pub(crate) watched: BTreeSet<Peer>,
    pub(crate) room: Option<usize>,
    /// Messages before this one are offline messages for it.
    pub(crate) opened_at: usize,
    /// Messages from catching up that it may acknowledge.
    pub(crate) given: BTreeSet<usize>,
    /// Everything that it was given, for choosing what to acknowledge.
    pub(crate) seen: Vec<usize>,
}

/// A stretch of a log that a session has not received.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    conversation: usize,
    from: u64,
    to: u64,
    cursor: Cursor,
}

/// A read that waits for the store.
#[derive(Clone, Debug)]
pub(crate) enum Pending {
    Backlog { session: usize, attached: u32, parts: Vec<Part>, head: usize, cutoff: Option<u64> },
    History { session: usize, attached: u32, ticket: u64, conversation: usize, messages: Vec<usize>, more: bool },
}

pub(crate) struct OpenRequest {
    pub(crate) peer: Peer,
    pub(crate) device: Option<u8>,
    pub(crate) tag: Option<u8>,
    pub(crate) watch: Vec<Peer>,
    pub(crate) reconnect: bool,
    /// The session that its token names, or a token that names none.
    pub(crate) token: Option<Option<usize>>,
}

pub(crate) struct SendRequest {
    pub(crate) to: SendTo,
    pub(crate) content: String,
    pub(crate) transient: bool,
    pub(crate) token: Option<u8>,
    pub(crate) receipt: bool,
    pub(crate) push: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum SendTo {
    Peers(Vec<Peer>),
    Conversation(Option<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Group,
    Unique,
    Room,
    Temporary(u64),
}

pub(crate) struct PageRequest {
    pub(crate) newest_first: bool,
    pub(crate) limit: usize,
    /// Begins at this message, itself included or not.
    pub(crate) from: Option<(usize, bool)>,
}

/// The whole world as it should be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    pub(crate) in_doubt: bool,
    pub(crate) devices_max: usize,
    /// Whether the last commit failed.
    pub(crate) failed: bool,
    pub(crate) life: u32,
    pub(crate) peers: Vec<PeerState>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) conversations: Vec<Conversation>,
    pub(crate) messages: Vec<Message>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) expected: Vec<Expected>,
    presence_due: Option<u64>,
    /// Copies of a peer's own messages that are not durable: session and attachment, conversation and number.
    copies: Vec<(usize, u32, usize, u64)>,
    attachments: u64,
    /// The commit that is being filled, the newest one that surely has something, and the newest durable one.
    pub(crate) filling: u64,
    pub(crate) newest: u64,
    pub(crate) durable: u64,
}

/// Where a message goes.
#[derive(Clone, Debug)]
enum Place {
    Known(usize),
    NewDirect(BTreeSet<Peer>),
}

impl Model {
    pub(crate) fn new(now: u64) -> Self {
        Self { now, peers: vec![PeerState::default(); usize::from(PEERS)], filling: 1, ..Self::default() }
    }

    fn tell(&mut self, session: usize, what: What) {
        self.expected.push(Expected { ear: Ear::Session(session), when: When::Now, what });
    }

    fn tell_after(&mut self, session: usize, what: What) {
        self.expected.push(Expected { ear: Ear::Session(session), when: When::After(self.newest), what });
    }

    fn reply(&mut self, session: usize, ticket: u64, answer: Answer) {
        self.tell_after(session, What::Reply(ticket, Ok(answer)));
    }

    fn reply_now(&mut self, session: usize, ticket: u64, answer: Answer) {
        self.tell(session, What::Reply(ticket, Ok(answer)));
    }

    fn stage(&mut self) {
        self.newest = self.filling;
    }

    fn may_stage(&self) -> Result<(), Code> {
        if self.failed { Err(4200) } else { Ok(()) }
    }

    fn peer(&mut self, peer: Peer) -> &mut PeerState {
        &mut self.peers[usize::from(peer)]
    }

    // Who is there.

    /// The open sessions of a peer, in the order in which they were attached.
    pub(crate) fn open_of(&self, peer: Peer) -> Vec<usize> {
        let mut open: Vec<usize> =
            self.open_sessions().into_iter().filter(|session| self.sessions[*session].peer == peer).collect();
        open.sort_by_key(|session| self.sessions[*session].order);
        open
    }

    pub(crate) fn open_sessions(&self) -> Vec<usize> {
        (0..self.sessions.len()).filter(|session| self.sessions[*session].state == State::Open).collect()
    }

    fn paused_of(&self, peer: Peer) -> Vec<usize> {
        let is_paused = |session: &usize| {
            let held = &self.sessions[*session];
            held.peer == peer && matches!(held.state, State::Paused { .. })
        };
        let mut paused: Vec<usize> = (0..self.sessions.len()).filter(is_paused).collect();
        paused.sort_by_key(|session| self.sessions[*session].order);
        paused
    }

    pub(crate) fn is_online(&self, peer: Peer) -> bool {
        !self.open_of(peer).is_empty()
    }

    fn online_among(&self, peers: impl IntoIterator<Item = Peer>) -> BTreeSet<Peer> {
        peers.into_iter().filter(|peer| self.is_online(*peer)).collect()
    }

    fn watchers(&self, peer: Peer) -> Vec<usize> {
        let watches = |session: &usize| {
            let held = &self.sessions[*session];
            held.state != State::Gone && held.watched.contains(&peer)
        };
        (0..self.sessions.len()).filter(watches).collect()
    }

    fn presence_changed(&mut self, peer: Peer) {
        let (watched, online) = (!self.watchers(peer).is_empty(), self.is_online(peer));
        let due = self.now + 1_000;
        let held = self.peer(peer);
        if !watched {
            held.told_online = online;
        }
        held.changed = held.told_online != online;
        if held.changed {
            self.presence_due.get_or_insert(due);
        }
    }

    fn tell_presence(&mut self, peers: &[Peer]) {
        let mut news: BTreeMap<usize, (BTreeSet<Peer>, BTreeSet<Peer>)> = BTreeMap::new();
        for &peer in peers {
            let online = self.is_online(peer);
            self.peer(peer).changed = false;
            if std::mem::replace(&mut self.peer(peer).told_online, online) == online {
                continue;
            }
            for watcher in self.watchers(peer) {
                let (came, went) = news.entry(watcher).or_default();
                if online {
                    came.insert(peer)
                } else {
                    went.insert(peer)
                };
            }
        }
        for (watcher, (online, offline)) in news {
            if self.sessions[watcher].state == State::Open {
                self.tell(watcher, What::Presence { online, offline });
            }
        }
        peers.iter().for_each(|peer| self.forget_stranger(*peer));
    }

    /// A peer that nothing names is a stranger again when it is gone: its devices are not known.
    fn forget_stranger(&mut self, peer: Peer) {
        let is_here = self.is_online(peer) || !self.paused_of(peer).is_empty();
        let held = self.peer(peer);
        if !held.known && !is_here && !held.told_online {
            held.devices.clear();
        }
    }

    // Sessions.

    pub(crate) fn open(&mut self, open: &OpenRequest, ticket: u64) -> Result<usize, Code> {
        let resumes = self.check_open(open)?;
        if let Some(holder) = self.tag_holder(open, resumes) {
            self.end(holder, Some(4111));
        }
        self.peer(open.peer).logged_out = false;
        let same_device = |session: &usize| self.sessions[*session].device == open.device;
        let continued = resumes.or_else(|| self.paused_of(open.peer).into_iter().find(same_device));
        let session = continued.unwrap_or_else(|| self.new_session(open));
        if self.sessions[session].state == State::Open {
            self.detach(session, State::Paused { until: u64::MAX });
        }
        if resumes.is_none() {
            self.watch_only(session, &open.watch);
            self.sessions[session].tag = open.tag;
        }
        self.attach(session, open);
        self.presence_changed(open.peer);
        let room = self.sessions[session].room.filter(|room| !self.conversations[*room].gone);
        self.sessions[session].room = room;
        if let Some(room) = room {
            self.conversations[room].present.insert(session);
        }
        let online = self.online_among(self.sessions[session].watched.clone());
        self.reply_now(session, ticket, Answer::Opened { online, room });
        self.begin_backlog(session);
        Ok(session)
    }

    fn check_open(&self, open: &OpenRequest) -> Result<Option<usize>, Code> {
        self.check_watch_list(&open.watch, 0)?;
        let resumes = match open.token {
            None => None,
            Some(Some(session)) if self.may_resume(session, open) => Some(session),
            Some(_) => return Err(4112),
        };
        let taken_over = resumes.is_some_and(|session| self.sessions[session].state == State::Open);
        let holder = self.tag_holder(open, resumes);
        let leaving = usize::from(taken_over || holder.is_some());
        if self.open_of(open.peer).len() - leaving >= limits::SESSIONS {
            return Err(4318);
        }
        if open.reconnect && holder.is_some() { Err(4111) } else { Ok(resumes) }
    }

    fn may_resume(&self, session: usize, open: &OpenRequest) -> bool {
        let held = &self.sessions[session];
        held.state != State::Gone && held.peer == open.peer && held.device == open.device
    }

    /// The open session of another device that holds the tag.
    fn tag_holder(&self, open: &OpenRequest, resumes: Option<usize>) -> Option<usize> {
        let tag = open.tag?;
        self.open_of(open.peer).into_iter().find(|session| {
            let held = &self.sessions[*session];
            let same_device = open.device.is_some() && held.device == open.device;
            held.tag == Some(tag) && !same_device && Some(*session) != resumes
        })
    }

    fn new_session(&mut self, open: &OpenRequest) -> usize {
        self.sessions.push(Session {
            peer: open.peer,
            device: open.device,
            tag: open.tag,
            state: State::Gone,
            attached: 0,
            order: 0,
            reading: false,
            watched: BTreeSet::new(),
            room: None,
            opened_at: 0,
            given: BTreeSet::new(),
            seen: Vec::new(),
        });
        self.sessions.len() - 1
    }

    fn attach(&mut self, session: usize, open: &OpenRequest) {
        self.note_device(open.peer, open.device);
        self.attachments += 1;
        let (order, opened_at) = (self.attachments, self.messages.len());
        let held = &mut self.sessions[session];
        held.state = State::Open;
        held.attached += 1;
        held.order = order;
        held.reading = true;
        held.opened_at = opened_at;
        held.tag = open.tag.or(held.tag);
        held.given.clear();
        held.seen.clear();
    }

    /// An unknown device starts at the furthest cursor of its peer; the one unseen for longest makes room.
    fn note_device(&mut self, peer: Peer, id: Option<u8>) {
        let now = self.now;
        let uncertain = self.peer(peer).devices.iter().any(|device| device.uncertain);
        let fresh = Device { id, seen_at: now, cursors: self.furthest(peer), uncertain, copied: uncertain };
        let max = self.devices_max;
        let devices = &mut self.peer(peer).devices;
        match devices.iter().position(|device| device.id == id) {
            Some(at) if devices[at].seen_at + 7 * DAY < now => devices[at] = fresh,
            Some(at) => {
                // A crash may have taken that it was seen lately: then it starts like one unseen for too long.
                devices[at].copied |= devices[at].uncertain && devices[at].seen_at + 3 * DAY < now;
                devices[at].seen_at = now;
            }
            None if devices.len() < max => devices.push(fresh),
            None => {
                if let Some(oldest) = devices.iter_mut().min_by_key(|device| device.seen_at) {
                    *oldest = fresh;
                }
            }
        }
    }

    fn furthest(&self, peer: Peer) -> BTreeMap<usize, Cursor> {
        let mut furthest: BTreeMap<usize, Cursor> = BTreeMap::new();
        for device in &self.peers[usize::from(peer)].devices {
            for (conversation, cursor) in &device.cursors {
                let best = furthest.entry(*conversation).or_insert_with(|| cursor.clone());
                if cursor.furthest() >= best.furthest() {
                    *best = cursor.clone();
                }
            }
        }
        furthest
    }

    pub(crate) fn device(&mut self, session: usize) -> Option<&mut Device> {
        let (peer, id) = (self.sessions[session].peer, self.sessions[session].device);
        self.peer(peer).devices.iter_mut().find(|device| device.id == id)
    }

    fn seen(&mut self, session: usize) {
        let now = self.now;
        if let Some(device) = self.device(session) {
            device.seen_at = now;
        }
    }

    /// A device's cursor; one that the device has never moved stands where its peer became a member.
    pub(crate) fn cursor(&self, session: usize, conversation: usize) -> Cursor {
        let held = &self.sessions[session];
        let device = self.peers[usize::from(held.peer)].devices.iter().find(|device| device.id == held.device);
        let cursor = match device {
            Some(device) => device.cursors.get(&conversation).cloned(),
            None => self.furthest(held.peer).remove(&conversation),
        };
        cursor.unwrap_or_else(|| {
            let member = self.conversations[conversation].members.get(&held.peer);
            Cursor::at(member.and_then(|member| member.spans.first()).map_or(0, |span| span.0))
        })
    }

    pub(crate) fn pause(&mut self, session: usize) {
        let until = self.now + 30 * 60_000;
        self.detach(session, State::Paused { until });
    }

    fn detach(&mut self, session: usize, state: State) {
        self.seen(session);
        self.attachments += 1;
        self.sessions[session].order = self.attachments;
        self.sessions[session].state = state;
        self.sessions[session].reading = false;
        if let Some(room) = self.sessions[session].room {
            self.conversations[room].present.remove(&session);
        }
        self.presence_changed(self.sessions[session].peer);
    }

    fn end(&mut self, session: usize, code: Option<Code>) {
        self.detach(session, State::Paused { until: u64::MAX });
        self.tell(session, What::Closed(code));
        self.forget(session);
    }

    pub(crate) fn close(&mut self, session: usize, ticket: u64) {
        let peer = self.sessions[session].peer;
        if self.open_of(peer).len() + self.paused_of(peer).len() == 1 {
            // Of a stranger, nothing is kept for having gone.
            self.peer(peer).logged_out = self.peers[usize::from(peer)].known;
        }
        self.reply_now(session, ticket, Answer::Done);
        self.end(session, None);
    }

    pub(crate) fn close_peer(&mut self, peer: Peer) {
        self.open_of(peer).into_iter().for_each(|session| self.end(session, Some(4115)));
        for session in self.paused_of(peer) {
            self.forget(session);
        }
    }

    fn forget(&mut self, session: usize) {
        self.watch_only(session, &[]);
        self.sessions[session].state = State::Gone;
        self.forget_stranger(self.sessions[session].peer);
    }

    // Watching.

    fn check_watch_list(&self, peers: &[Peer], held: usize) -> Result<(), Code> {
        if peers.len() > limits::WATCHED || held + peers.len() > limits::WATCHED {
            return Err(4318);
        }
        let once: BTreeSet<Peer> = peers.iter().copied().collect();
        if once.len() == peers.len() { Ok(()) } else { Err(4114) }
    }

    fn watch_only(&mut self, session: usize, peers: &[Peer]) {
        for peer in std::mem::take(&mut self.sessions[session].watched) {
            self.forget_stranger(peer);
        }
        for &peer in peers {
            self.watch_one(session, peer);
        }
    }

    fn watch_one(&mut self, session: usize, peer: Peer) {
        if self.peers[usize::from(peer)].changed {
            self.tell_presence(&[peer]);
        }
        self.sessions[session].watched.insert(peer);
    }

    pub(crate) fn watch(&mut self, session: usize, peers: &[Peer], ticket: u64) -> Result<(), Code> {
        self.check_watch_list(peers, self.sessions[session].watched.len())?;
        peers.iter().for_each(|peer| self.watch_one(session, *peer));
        let online = self.online_among(peers.iter().copied());
        self.reply_now(session, ticket, Answer::Online(online));
        Ok(())
    }

    pub(crate) fn unwatch(&mut self, session: usize, peers: &[Peer], ticket: u64) {
        for peer in peers {
            if self.sessions[session].watched.remove(peer) {
                self.forget_stranger(*peer);
            }
        }
        self.reply_now(session, ticket, Answer::Done);
    }

    pub(crate) fn query_online(&mut self, session: usize, peers: &[Peer], ticket: u64) {
        let online = self.online_among(peers.iter().copied());
        self.reply_now(session, ticket, Answer::Online(online));
    }

    // Sending.

    pub(crate) fn send(&mut self, session: usize, send: &SendRequest, ticket: u64) -> Result<(), Code> {
        let me = self.sessions[session].peer;
        if let Some(first) = self.known_token(me, send.token) {
            self.reply(session, ticket, Answer::Accepted(first));
            return Ok(());
        }
        let place = self.check_send(session, send)?;
        let is_room = matches!(place, Place::Known(at) if self.conversations[at].kind == Kind::Room);
        let message = if send.transient {
            self.make_transient(me, send, &place)
        } else {
            self.make_persistent(session, send, place)
        };
        if send.transient || is_room {
            self.reply_now(session, ticket, Answer::Accepted(message));
        } else {
            self.reply(session, ticket, Answer::Accepted(message));
        }
        for listener in self.listeners(message).into_iter().filter(|listener| *listener != session) {
            let what = What::Message { message, offline: false };
            if send.transient || is_room { self.tell(listener, what) } else { self.tell_after(listener, what) }
        }
        if send.push && !send.transient && !is_room {
            self.push(me, message);
        }
        Ok(())
    }

    fn check_send(&self, session: usize, send: &SendRequest) -> Result<Place, Code> {
        if send.content.len() + if send.push { 1 } else { 0 } > limits::BYTES {
            return Err(4109);
        }
        let me = self.sessions[session].peer;
        let place = match &send.to {
            SendTo::Peers(peers) => self.check_peers(me, peers, send.transient)?,
            SendTo::Conversation(conversation) => Place::Known(self.of(me, *conversation)?),
        };
        let is_room = matches!(place, Place::Known(at) if self.conversations[at].kind == Kind::Room);
        if !send.transient && !is_room {
            self.may_stage()?;
        }
        Ok(place)
    }

    fn check_peers(&self, me: Peer, peers: &[Peer], transient: bool) -> Result<Place, Code> {
        if peers.len() > limits::RECIPIENTS {
            return Err(4318);
        }
        if peers.is_empty() {
            return Err(4401);
        }
        let all: BTreeSet<Peer> = peers.iter().copied().chain([me]).collect();
        let found = self.conversations.iter().position(|held| held.kind == Kind::Direct && held.active() == all);
        if let Some(found) = found {
            return Ok(Place::Known(found));
        }
        if transient { Ok(()) } else { self.check_conversations() }?;
        Ok(Place::NewDirect(all))
    }

    fn check_conversations(&self) -> Result<(), Code> {
        let count = self.conversations.iter().filter(|held| !held.gone).count();
        if count >= limits::CONVERSATIONS { Err(4318) } else { Ok(()) }
    }

    /// A conversation that a peer may send to: one that it is in, or a room.
    fn of(&self, peer: Peer, conversation: Option<usize>) -> Result<usize, Code> {
        let at = self.there(conversation)?;
        let held = &self.conversations[at];
        if held.kind == Kind::Room || held.active().contains(&peer) { Ok(at) } else { Err(4401) }
    }

    fn there(&self, conversation: Option<usize>) -> Result<usize, Code> {
        let at = conversation.ok_or(4401u16)?;
        // Only temporary ones ever go.
        if self.conversations[at].gone { Err(4323) } else { Ok(at) }
    }

    fn known_token(&self, me: Peer, token: Option<u8>) -> Option<usize> {
        let token = token?;
        let known = self.peers[usize::from(me)].tokens.iter().rev().find(|known| known.0 == token)?;
        let conversation = self.messages[known.1].conversation?;
        (!self.conversations[conversation].gone).then_some(known.1)
    }

    fn make_transient(&mut self, me: Peer, send: &SendRequest, place: &Place) -> usize {
        let (conversation, kind, to) = match place {
            Place::Known(at) => {
                let held = &self.conversations[*at];
                let to = if held.kind == Kind::Direct { held.active() } else { BTreeSet::new() };
                (Some(*at), held.kind, to)
            }
            Place::NewDirect(all) => (None, Kind::Direct, all.clone()),
        };
        self.messages.push(Message {
            content: send.content.clone(),
            conversation,
            kind,
            number: None,
            from: me,
            to,
            at: self.now,
            receipt: false,
            life: self.life,
        });
        self.messages.len() - 1
    }

    fn make_persistent(&mut self, session: usize, send: &SendRequest, place: Place) -> usize {
        let at = match place {
            Place::Known(at) => at,
            Place::NewDirect(all) => self.new_conversation(Kind::Direct, false, None, &all),
        };
        self.stage();
        let me = self.sessions[session].peer;
        self.peer(me).known = true;
        let message = self.messages.len();
        let held = &mut self.conversations[at];
        held.log.push(message);
        let (kind, number, active) = (held.kind, held.last(), held.active());
        self.messages.push(Message {
            content: send.content.clone(),
            conversation: Some(at),
            kind,
            number: Some(number),
            from: me,
            to: if kind == Kind::Direct { active.clone() } else { BTreeSet::new() },
            at: self.now,
            receipt: send.receipt && kind != Kind::Room && active.len() <= 2,
            life: self.life,
        });
        if let Some(token) = send.token {
            let tokens = &mut self.peer(me).tokens;
            tokens.push((token, message));
            if tokens.len() > limits::TOKENS {
                tokens.remove(0);
            }
        }
        if kind != Kind::Room {
            // The sending device has its own message, the others have a copy once it is safe.
            self.acknowledge_range(session, at, number, number, false);
            let others: Vec<usize> = self.open_of(me).into_iter().filter(|other| *other != session).collect();
            others.into_iter().for_each(|other| self.copy(other, at, number));
        }
        message
    }

    /// A copy of what another device sent needs no acknowledgement: it counts as received once it is durable.
    fn copy(&mut self, session: usize, conversation: usize, number: u64) {
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

    /// The sessions that get a message as it is sent.
    fn listeners(&self, message: usize) -> Vec<usize> {
        let message = &self.messages[message];
        let members = match message.conversation.map(|at| &self.conversations[at]) {
            Some(held) if held.kind == Kind::Room => return held.present.iter().copied().collect(),
            Some(held) => held.active(),
            None => message.to.clone(),
        };
        let is_one =
            |session: &usize| members.contains(&self.sessions[*session].peer) && !self.sessions[*session].reading;
        self.open_sessions().into_iter().filter(is_one).collect()
    }

    fn push(&mut self, me: Peer, message: usize) {
        let Some(conversation) = self.messages[message].conversation else { return };
        let is_away = |peer: &Peer| *peer != me && !self.is_online(*peer) && !self.peers[usize::from(*peer)].logged_out;
        let away: Vec<Peer> = self.conversations[conversation].active().into_iter().filter(is_away).collect();
        if !away.is_empty() {
            let badges = away.into_iter().map(|peer| (peer, self.unread_of(peer).values().sum())).collect();
            let when = When::After(self.newest);
            self.expected.push(Expected { ear: Ear::Host, when, what: What::Push { message, badges } });
        }
    }

    // Received and read.

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

    fn acknowledge_range(&mut self, session: usize, conversation: usize, first: u64, last: u64, seen: bool) {
        let mut cursor = self.cursor(session, conversation);
        cursor.acknowledge(first, last);
        if let Some(device) = self.device(session) {
            device.cursors.insert(conversation, cursor);
            if seen {
                self.seen(session);
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
        let Some(member) = held.members.get(&peer).filter(|_| held.kind != Kind::Room && !held.gone) else { return 0 };
        let counts = |number: &u64| {
            let message = held.log[*number as usize - 1];
            member.sees(*number) && self.messages[message].from != peer
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

    // Conversations.

    fn new_conversation(&mut self, kind: Kind, unique: bool, creator: Option<Peer>, members: &BTreeSet<Peer>) -> usize {
        self.stage();
        members.iter().copied().chain(creator).for_each(|peer| self.peer(peer).known = true);
        self.conversations.push(Conversation {
            kind,
            unique,
            creator,
            members: members.iter().map(|peer| (*peer, Member::new(0))).collect(),
            present: BTreeSet::new(),
            log: Vec::new(),
            durable: 0,
            created_at: self.now,
            updated_at: self.now,
            expires_at: None,
            check_at: u64::MAX,
            gone: false,
        });
        let at = self.conversations.len() - 1;
        if kind == Kind::Group {
            members.iter().for_each(|peer| self.skip_to(*peer, at, 0));
        }
        at
    }

    pub(crate) fn info(&self, conversation: usize) -> Info {
        let held = &self.conversations[conversation];
        Info {
            conversation,
            kind: held.kind,
            unique: held.unique,
            creator: held.creator,
            members: held.active(),
            created_at: held.created_at,
            updated_at: held.updated_at,
            last_message_at: held.log.last().map(|message| self.messages[*message].at),
            expires_at: held.expires_at,
        }
    }

    fn groups_of(&self, peer: Peer) -> usize {
        let is_in = |held: &&Conversation| held.kind == Kind::Group && held.active().contains(&peer);
        self.conversations.iter().filter(is_in).count()
    }

    /// The conversations that are found by their members; several where members came and went.
    fn found(&self, shape: Shape, members: &BTreeSet<Peer>) -> Vec<usize> {
        let fits = |held: &Conversation| match shape {
            Shape::Unique => held.kind == Kind::Group && held.unique,
            Shape::Temporary(_) => held.kind == Kind::Temporary,
            Shape::Group | Shape::Room => false,
        };
        let is_it = |at: &usize| {
            let held = &self.conversations[*at];
            fits(held) && !held.gone && held.active() == *members
        };
        (0..self.conversations.len()).filter(is_it).collect()
    }

    /// Makes a conversation, or finds one: any, where several have come to have the same members.
    pub(crate) fn create(&mut self, session: usize, shape: Shape, members: &[Peer], ticket: u64) -> Result<(), Code> {
        let me = self.sessions[session].peer;
        let members: BTreeSet<Peer> = match shape {
            Shape::Room => BTreeSet::new(),
            _ => members.iter().copied().chain([me]).collect(),
        };
        let found = self.check_create(shape, &members)?;
        if !found.is_empty() {
            let infos = found.into_iter().map(|at| self.info(at)).collect();
            self.reply(session, ticket, Answer::Created { infos, existing: true });
            return Ok(());
        }
        let kind = match shape {
            Shape::Group | Shape::Unique => Kind::Group,
            Shape::Room => Kind::Room,
            Shape::Temporary(_) => Kind::Temporary,
        };
        let at = self.new_conversation(kind, shape == Shape::Unique, Some(me), &members);
        if let Shape::Temporary(life) = shape {
            let expires_at = self.now + if life == 0 { DAY } else { life };
            self.conversations[at].expires_at = Some(expires_at);
            self.conversations[at].check_at = expires_at;
        }
        if shape == Shape::Room {
            self.enter_room(session, at);
        }
        let infos = vec![self.info(at)];
        self.reply(session, ticket, Answer::Created { infos, existing: false });
        let others: BTreeSet<Peer> = members.into_iter().filter(|peer| *peer != me).collect();
        self.tell_change(session, at, &others, Change::Joined, Change::MembersJoined(others.clone()));
        Ok(())
    }

    fn check_create(&self, shape: Shape, members: &BTreeSet<Peer>) -> Result<Vec<usize>, Code> {
        self.may_stage()?;
        let max = match shape {
            Shape::Temporary(life) if life > 30 * DAY => return Err(4318),
            Shape::Temporary(_) => limits::TEMPORARY_MEMBERS,
            _ => limits::MEMBERS,
        };
        if members.len() > max {
            return Err(4304);
        }
        let found = self.found(shape, members);
        if !found.is_empty() {
            return Ok(found);
        }
        let is_group = matches!(shape, Shape::Group | Shape::Unique);
        if is_group && members.iter().any(|peer| self.groups_of(*peer) >= limits::GROUPS) {
            return Err(4318);
        }
        self.check_conversations()?;
        Ok(found)
    }

    fn enter_room(&mut self, session: usize, room: usize) {
        if let Some(before) = self.sessions[session].room.replace(room) {
            self.conversations[before].present.remove(&session);
        }
        self.conversations[room].present.insert(session);
    }

    pub(crate) fn join(&mut self, session: usize, conversation: Option<usize>, ticket: u64) -> Result<(), Code> {
        let at = self.there(conversation)?;
        let me = self.sessions[session].peer;
        match self.conversations[at].kind {
            Kind::Room => self.enter_room(session, at),
            Kind::Direct | Kind::Temporary => return Err(4401),
            Kind::Group => {
                if !self.conversations[at].active().contains(&me) {
                    self.check_new_members(at, &BTreeSet::from([me]))?;
                    self.may_stage()?;
                }
            }
        }
        let joined = self.add_members(at, &BTreeSet::from([me]));
        self.reply(session, ticket, Answer::Joined(at));
        self.tell_change(session, at, &joined, Change::Joined, Change::MembersJoined(joined.clone()));
        Ok(())
    }

    fn check_new_members(&self, at: usize, peers: &BTreeSet<Peer>) -> Result<(), Code> {
        let active = self.conversations[at].active();
        let new: Vec<Peer> = peers.difference(&active).copied().collect();
        if active.len() + new.len() > limits::MEMBERS {
            return Err(4304);
        }
        if new.into_iter().any(|peer| self.groups_of(peer) >= limits::GROUPS) { Err(4318) } else { Ok(()) }
    }

    fn add_members(&mut self, at: usize, peers: &BTreeSet<Peer>) -> BTreeSet<Peer> {
        if self.conversations[at].kind == Kind::Room {
            return BTreeSet::new();
        }
        let new: BTreeSet<Peer> = peers.difference(&self.conversations[at].active()).copied().collect();
        let (last, now) = (self.conversations[at].last(), self.now);
        for &peer in &new {
            self.peer(peer).known = true;
            let members = &mut self.conversations[at].members;
            let member = members.entry(peer).or_insert_with(|| Member { spans: Vec::new(), ..Member::new(last) });
            member.left_at = None;
            member.spans.push((last, None));
            if member.spans.len() == 1 {
                self.skip_to(peer, at, last);
            }
        }
        if !new.is_empty() {
            self.conversations[at].updated_at = now;
            self.stage();
        }
        new
    }

    /// A new member has nothing to receive of what was before.
    fn skip_to(&mut self, peer: Peer, conversation: usize, last: u64) {
        for device in &mut self.peer(peer).devices {
            device.cursors.insert(conversation, Cursor::at(last));
        }
    }

    fn remove_members(&mut self, at: usize, peers: &BTreeSet<Peer>) {
        let (last, now) = (self.conversations[at].last(), self.now);
        for peer in peers {
            if let Some(member) = self.conversations[at].members.get_mut(peer) {
                member.left_at = Some(now);
                if let Some(span) = member.spans.last_mut() {
                    span.1 = Some(last);
                }
            }
        }
        self.conversations[at].updated_at = now;
        self.stage();
    }

    pub(crate) fn leave(&mut self, session: usize, conversation: Option<usize>, ticket: u64) -> Result<(), Code> {
        let me = self.sessions[session].peer;
        let at = self.of(me, conversation)?;
        let left = BTreeSet::from([me]);
        match self.conversations[at].kind {
            Kind::Room => {
                if !self.conversations[at].present.remove(&session) {
                    return Err(4401);
                }
                self.sessions[session].room = None;
                self.reply(session, ticket, Answer::Left(at));
                return Ok(());
            }
            Kind::Direct | Kind::Temporary => return Err(4314),
            Kind::Group => self.may_stage()?,
        }
        self.remove_members(at, &left);
        self.reply(session, ticket, Answer::Left(at));
        self.tell_change(session, at, &left, Change::Left, Change::MembersLeft(left.clone()));
        Ok(())
    }

    fn check_change(&self, session: usize, conversation: Option<usize>, peers: &[Peer]) -> Result<usize, Code> {
        let at = self.there(conversation)?;
        let me = self.sessions[session].peer;
        if self.conversations[at].kind == Kind::Room {
            return Err(4314);
        }
        self.of(me, conversation)?;
        if self.conversations[at].kind != Kind::Group {
            return Err(4314);
        }
        if peers.is_empty() || peers.len() > limits::MEMBERS.max(limits::WATCHED) {
            return Err(4318);
        }
        self.may_stage()?;
        Ok(at)
    }

    pub(crate) fn invite(
        &mut self,
        session: usize,
        conversation: Option<usize>,
        peers: &[Peer],
        ticket: u64,
    ) -> Result<(), Code> {
        let at = self.check_change(session, conversation, peers)?;
        let peers: BTreeSet<Peer> = peers.iter().copied().collect();
        self.check_new_members(at, &peers)?;
        let joined = self.add_members(at, &peers);
        self.reply(session, ticket, Answer::Invited(at, peers));
        self.tell_change(session, at, &joined, Change::Joined, Change::MembersJoined(joined.clone()));
        Ok(())
    }

    pub(crate) fn kick(
        &mut self,
        session: usize,
        conversation: Option<usize>,
        peers: &[Peer],
        ticket: u64,
    ) -> Result<(), Code> {
        let at = self.check_change(session, conversation, peers)?;
        let peers: BTreeSet<Peer> = peers.iter().copied().collect();
        let (me, active) = (self.sessions[session].peer, self.conversations[at].active());
        if peers.iter().any(|peer| *peer == me || !active.contains(peer)) {
            return Err(4401);
        }
        self.remove_members(at, &peers);
        self.reply(session, ticket, Answer::Kicked(at, peers.clone()));
        self.tell_change(session, at, &peers, Change::Left, Change::MembersLeft(peers.clone()));
        Ok(())
    }

    /// Those concerned are told about themselves, the other members about them; the asking session has its reply.
    fn tell_change(&mut self, session: usize, at: usize, whom: &BTreeSet<Peer>, own: Change, others: Change) {
        if whom.is_empty() {
            return;
        }
        let by = self.sessions[session].peer;
        let active = self.conversations[at].active();
        for listener in self.open_sessions().into_iter().filter(|listener| *listener != session) {
            let peer = self.sessions[listener].peer;
            let change = match (whom.contains(&peer), active.contains(&peer)) {
                (true, _) => own.clone(),
                (false, true) => others.clone(),
                (false, false) => continue,
            };
            self.tell_after(listener, What::Membership { conversation: at, change, by });
        }
    }

    pub(crate) fn members(&mut self, session: usize, conversation: Option<usize>, ticket: u64) -> Result<(), Code> {
        let at = self.of(self.sessions[session].peer, conversation)?;
        if self.conversations[at].kind == Kind::Room {
            return Err(4314);
        }
        let members = self.conversations[at].active();
        self.reply(session, ticket, Answer::Members(at, members));
        Ok(())
    }

    pub(crate) fn describe(&mut self, session: usize, conversation: Option<usize>, ticket: u64) -> Result<(), Code> {
        let at = self.of(self.sessions[session].peer, conversation)?;
        let info = self.info(at);
        self.reply(session, ticket, Answer::Conversation(info));
        Ok(())
    }

    pub(crate) fn count(&mut self, session: usize, conversation: Option<usize>, ticket: u64) -> Result<(), Code> {
        let at = self.of(self.sessions[session].peer, conversation)?;
        let held = &self.conversations[at];
        // Who is in a room is in no store.
        if held.kind == Kind::Room {
            let count = held.present.len() as u64;
            self.reply_now(session, ticket, Answer::Count(count));
        } else {
            let count = held.active().len() as u64;
            self.reply(session, ticket, Answer::Count(count));
        }
        Ok(())
    }

    pub(crate) fn list_conversations(&mut self, session: usize, ticket: u64) {
        let me = self.sessions[session].peer;
        let is_mine = |at: &usize| !self.conversations[*at].gone && self.conversations[*at].active().contains(&me);
        let infos = (0..self.conversations.len()).filter(is_mine).map(|at| self.info(at)).collect();
        self.reply(session, ticket, Answer::Conversations(infos));
    }

    pub(crate) fn history(
        &mut self,
        session: usize,
        conversation: Option<usize>,
        page: &PageRequest,
        ticket: u64,
    ) -> Result<(), Code> {
        let me = self.sessions[session].peer;
        let at = self.of(me, conversation)?;
        let held = &self.conversations[at];
        if held.kind == Kind::Room && !held.present.contains(&session) {
            return Err(4401);
        }
        if page.limit == 0 || page.limit > limits::PAGE {
            return Err(4318);
        }
        let is_visible = |number: u64| held.members.get(&me).is_none_or(|member| member.sees(number));
        let is_inside = |message: usize| match page.from {
            None => true,
            Some((from, included)) if from == message => included,
            Some((from, _)) => (message < from) == page.newest_first,
        };
        let numbered = (1u64..).zip(held.log.iter().copied());
        let mut messages: Vec<usize> =
            numbered.filter(|(number, message)| is_visible(*number) && is_inside(*message)).map(|(_, m)| m).collect();
        if page.newest_first {
            messages.reverse();
        }
        let more = messages.len() > page.limit;
        messages.truncate(page.limit);
        let attached = self.sessions[session].attached;
        self.pending.push(Pending::History { session, attached, ticket, conversation: at, messages, more });
        Ok(())
    }

    // Catching up.

    fn begin_backlog(&mut self, session: usize) {
        let parts = self.parts(session);
        let in_memory = parts.iter().all(|part| part.from > self.conversations[part.conversation].durable);
        let attached = self.sessions[session].attached;
        let cutoff = (!self.in_doubt).then(|| self.now - 7 * DAY);
        let backlog = Pending::Backlog { session, attached, parts, head: self.messages.len(), cutoff };
        if in_memory { self.read(backlog) } else { self.pending.push(backlog) }
    }

    fn parts(&self, session: usize) -> Vec<Part> {
        let peer = self.sessions[session].peer;
        let mut parts = Vec::new();
        for (at, held) in self.conversations.iter().enumerate().filter(|(_, held)| !held.gone) {
            let Some(member) = held.members.get(&peer) else { continue };
            let cursor = self.cursor(session, at);
            for (after, to) in &member.spans {
                let (from, to) = (cursor.received.max(*after) + 1, to.unwrap_or(held.last()));
                if from <= to {
                    parts.push(Part { conversation: at, from, to, cursor: cursor.clone() });
                }
            }
        }
        parts
    }

    /// Does every read that waits.
    pub(crate) fn read_all(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            self.read(pending);
        }
    }

    fn is_attached(&self, session: usize, attached: u32) -> bool {
        self.sessions[session].state == State::Open && self.sessions[session].attached == attached
    }

    fn read(&mut self, pending: Pending) {
        match pending {
            Pending::History { session, attached, .. } if !self.is_attached(session, attached) => {}
            Pending::History { session, ticket, conversation, messages, more, .. } => {
                if self.conversations[conversation].gone {
                    self.tell(session, What::Reply(ticket, Err(4323)));
                } else {
                    self.reply(session, ticket, Answer::History { messages, more });
                }
            }
            Pending::Backlog { session, attached, parts, head, cutoff } => {
                if self.is_attached(session, attached) {
                    self.give_backlog(session, &parts, head, cutoff);
                }
            }
        }
    }

    /// What waits: the newest few that are not too old, over all conversations; the rest is told as gaps.
    fn give_backlog(&mut self, session: usize, parts: &[Part], head: usize, cutoff: Option<u64>) {
        if self.device(session).is_some_and(|device| device.uncertain) {
            self.tell_after(session, What::Anything);
            self.sessions[session].reading = false;
            return;
        }
        let mut waiting: Vec<(usize, usize, u64)> = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let log = &self.conversations[part.conversation].log;
            waiting.extend((part.from..=part.to).map(|number| (log[number as usize - 1], at, number)));
        }
        waiting.sort_unstable();
        let (mut messages, mut cuts) = (Vec::new(), Vec::new());
        let mut cut_parts = BTreeSet::new();
        for (message, at, number) in waiting.into_iter().rev() {
            let part = &parts[at];
            if cut_parts.contains(&at) {
                continue;
            }
            let wanted = !part.cursor.has(number);
            let cause = match () {
                () if cutoff.is_some_and(|cutoff| self.messages[message].at <= cutoff) => Cause::Age,
                () if wanted && messages.len() >= limits::OFFLINE => Cause::Limit,
                () => {
                    messages.extend(wanted.then_some(message));
                    continue;
                }
            };
            cut_parts.insert(at);
            let count = (part.from..=number).filter(|number| !part.cursor.has(*number)).count() as u64;
            if count > 0 {
                cuts.push((part.conversation, part.from, number, count, cause));
            }
        }
        messages.reverse();
        messages.extend(self.newer(session, head));
        let over = messages.len().saturating_sub(limits::OFFLINE);
        for message in messages.drain(..over) {
            let held = &self.messages[message];
            if let (Some(conversation), Some(number)) = (held.conversation, held.number) {
                cuts.push((conversation, number, number, 1, Cause::Limit));
            }
        }
        self.give_cuts(session, cuts);
        self.sessions[session].reading = false;
        self.give_messages(session, messages);
    }

    /// What was sent while the read was under way.
    fn newer(&self, session: usize, head: usize) -> Vec<usize> {
        let peer = self.sessions[session].peer;
        let is_newer = |message: &usize| {
            let held = &self.messages[*message];
            let (Some(conversation), Some(number)) = (held.conversation, held.number) else { return false };
            let log = &self.conversations[conversation];
            let is_for = log.members.get(&peer).is_some_and(|member| member.sees(number));
            is_for && !log.gone && !self.cursor(session, conversation).has(number)
        };
        (head..self.messages.len()).filter(is_newer).collect()
    }

    fn give_cuts(&mut self, session: usize, mut cuts: Vec<(usize, u64, u64, u64, Cause)>) {
        cuts.sort_unstable();
        cuts.dedup_by(|next, cut| {
            let joins = (next.0, next.4) == (cut.0, cut.4) && next.1 <= cut.2 + 1;
            if joins {
                (cut.2, cut.3) = (cut.2.max(next.2), cut.3 + next.3);
            }
            joins
        });
        for (conversation, from, to, count, cause) in cuts {
            let gone = self.conversations[conversation].gone;
            if !gone {
                self.acknowledge_range(session, conversation, from, to, true);
                self.tell_after(session, What::Gap { conversation, from, to, count, cause });
            }
        }
    }

    fn give_messages(&mut self, session: usize, messages: Vec<usize>) {
        let opened_at = self.sessions[session].opened_at;
        for message in messages {
            let Some(conversation) = self.messages[message].conversation else { continue };
            if !self.conversations[conversation].gone {
                self.sessions[session].given.insert(message);
                if self.messages[message].from == self.sessions[session].peer {
                    self.copy(session, conversation, self.messages[message].number.unwrap_or_default());
                }
                self.tell_after(session, What::Message { message, offline: message < opened_at });
            }
        }
    }

    // Time and the store.

    /// Time is now `now`, and everything that is due has been done.
    pub(crate) fn tick(&mut self, now: u64) {
        self.in_doubt |= now > self.now + 3_600_000;
        self.now = now;
        if self.presence_due.take_if(|due| *due <= now).is_some() {
            let changed: Vec<Peer> = (0..PEERS).filter(|peer| self.peers[usize::from(*peer)].changed).collect();
            self.tell_presence(&changed);
        }
        for session in 0..self.sessions.len() {
            if matches!(self.sessions[session].state, State::Paused { until } if until <= now) {
                self.forget(session);
            }
        }
        for at in 0..self.conversations.len() {
            self.expire(at);
        }
        self.sweep();
    }

    fn expire(&mut self, at: usize) {
        let (now, in_doubt) = (self.now, self.in_doubt);
        let held = &mut self.conversations[at];
        if held.gone || held.check_at > now {
            return;
        }
        if in_doubt || held.durable < held.last() {
            held.check_at = now + if in_doubt { 10_000 } else { 1_000 };
            return;
        }
        held.gone = true;
        for peer in &mut self.peers {
            peer.devices.iter_mut().for_each(|device| drop(device.cursors.remove(&at)));
        }
        self.stage();
    }

    /// What is too old goes, once the time is sure.
    fn sweep(&mut self) {
        if self.in_doubt {
            return;
        }
        let now = self.now;
        for peer in &mut self.peers {
            let messages = &self.messages;
            peer.tokens.retain(|(_, message)| messages[*message].at + DAY >= now);
        }
        for at in 0..self.conversations.len() {
            let members = &mut self.conversations[at].members;
            let gone: Vec<Peer> = members
                .iter()
                .filter(|(_, m)| m.left_at.is_some_and(|left| left + 7 * DAY <= now))
                .map(|(peer, _)| *peer)
                .collect();
            for peer in gone {
                self.conversations[at].members.remove(&peer);
                self.peer(peer).devices.iter_mut().for_each(|device| drop(device.cursors.remove(&at)));
            }
        }
    }

    /// Whether something reached its age in the last `span` milliseconds: it goes at some moment soon.
    pub(crate) fn is_at_an_edge(&self, span: u64) -> bool {
        let passed = |at: u64| at <= self.now && at + span >= self.now;
        let tokens =
            self.peers.iter().flat_map(|peer| &peer.tokens).map(|(_, message)| self.messages[*message].at + DAY);
        let members = self.conversations.iter().flat_map(|held| held.members.values());
        let left = members.filter_map(|member| Some(member.left_at? + 7 * DAY));
        !self.in_doubt && tokens.chain(left).any(passed)
    }

    /// A commit is on its way: what is staged from here on belongs to the next.
    pub(crate) fn begin(&mut self) -> u64 {
        self.filling += 1;
        self.filling - 1
    }

    /// A commit is durable: that one, with these numbers of messages.
    pub(crate) fn done(&mut self, commit: u64, numbers: &[u64]) {
        self.durable = commit;
        self.failed = false;
        for (held, number) in self.conversations.iter_mut().zip(numbers) {
            held.durable = *number;
        }
        for (session, attached, conversation, number) in std::mem::take(&mut self.copies) {
            if self.is_attached(session, attached) && !self.conversations[conversation].gone {
                self.copy(session, conversation, number);
            }
        }
    }

    /// Another engine has started on what the store holds.
    pub(crate) fn restarted(&mut self, crashed: bool) {
        self.life += 1;
        self.in_doubt = false;
        self.failed = false;
        self.presence_due = None;
        self.pending.clear();
        self.copies.clear();
        self.expected.clear();
        (self.filling, self.newest, self.durable) = (1, 0, 0);
        for session in &mut self.sessions {
            session.state = State::Gone;
            session.watched.clear();
        }
        for peer in &mut self.peers {
            (peer.told_online, peer.changed) = (false, false);
            if !peer.known {
                peer.devices.clear();
            }
            peer.devices.iter_mut().for_each(|device| device.uncertain |= crashed);
        }
        for held in &mut self.conversations {
            held.present.clear();
            held.durable = held.last();
            if let Some(at) = held.expires_at {
                held.check_at = at;
            }
        }
    }
}
