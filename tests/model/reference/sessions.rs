//! Sessions: opened, paused, resumed, taken over and ended.
//!
//! One tag is held by one session; a device continues its paused session; whoever is ended by the engine hears why.

use std::collections::BTreeSet;

use super::{Answer, Code, Model, Peer, What, limits};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its sign-in waits for a hook.
    Opening,
    Open,
    Paused {
        until: u64,
    },
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
    /// What happened in its pause and is told when it is resumed.
    pub(crate) missed: Vec<What>,
    /// Copies of its peer's own messages that it was given, until something after them is acknowledged.
    pub(crate) copies: Vec<usize>,
    /// How many transient messages passed it by while it was catching up.
    pub(super) passed_by: u64,
    /// Whether it may be told of receipts that a crash made uncertain.
    pub(crate) unsure: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct OpenRequest {
    pub(crate) peer: Peer,
    pub(crate) device: Option<u8>,
    pub(crate) tag: Option<u8>,
    pub(crate) watch: Vec<Peer>,
    pub(crate) reconnect: bool,
    /// The session that its token names, or a token that names none.
    pub(crate) token: Option<Option<usize>>,
    /// By an account: a hook lets it in.
    pub(crate) account: bool,
}

impl Model {
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

    pub(super) fn paused_of(&self, peer: Peer) -> Vec<usize> {
        let is_paused = |session: &usize| {
            let held = &self.sessions[*session];
            held.peer == peer && matches!(held.state, State::Paused { .. })
        };
        let mut paused: Vec<usize> = (0..self.sessions.len()).filter(is_paused).collect();
        paused.sort_by_key(|session| self.sessions[*session].order);
        paused
    }

    pub(crate) fn open(&mut self, open: &OpenRequest, ticket: u64) -> Result<usize, Code> {
        let resumes = self.check_open(open)?;
        self.hooks.newest_ticket = ticket;
        let allowed = if open.account { self.ask_sign_in(open) } else { Some(true) };
        match allowed {
            Some(true) => Ok(self.open_now(open, resumes, None, ticket)),
            Some(false) => Err(4102),
            None => Ok(self.park_open(open, ticket)),
        }
    }

    /// Opens: one that waited for a hook has its place already, and takes over what the paused one of its device has.
    pub(super) fn open_now(
        &mut self,
        open: &OpenRequest,
        resumes: Option<usize>,
        reserved: Option<usize>,
        ticket: u64,
    ) -> usize {
        if let Some(holder) = self.tag_holder(open, resumes) {
            self.end(holder, Some(4111));
        }
        self.peer(open.peer).logged_out = false;
        let same_device = |session: &usize| self.sessions[*session].device == open.device;
        let continued = resumes.or_else(|| self.paused_of(open.peer).into_iter().find(same_device));
        let session = match (reserved, continued) {
            (Some(reserved), Some(former)) => {
                self.sessions[reserved].room = self.sessions[former].room;
                self.sessions[reserved].missed = std::mem::take(&mut self.sessions[former].missed);
                self.forget(former);
                reserved
            }
            (Some(reserved), None) => reserved,
            (None, Some(former)) => former,
            (None, None) => self.new_session(open),
        };
        if self.sessions[session].state == State::Open {
            self.detach(session, State::Paused { until: u64::MAX });
        }
        if resumes.is_none() {
            self.sessions[session].tag = open.tag;
        }
        if resumes.is_none() || !open.watch.is_empty() {
            self.watch_only(session, &open.watch);
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
        for notice in std::mem::take(&mut self.sessions[session].missed) {
            self.tell_after(session, notice);
        }
        self.tell_owed(session);
        self.begin_backlog(session);
        session
    }

    pub(super) fn check_open(&self, open: &OpenRequest) -> Result<Option<usize>, Code> {
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
        let yields = open.reconnect || resumes.is_some();
        if yields && holder.is_some() { Err(4111) } else { Ok(resumes) }
    }

    fn may_resume(&self, session: usize, open: &OpenRequest) -> bool {
        let held = &self.sessions[session];
        held.state != State::Gone && held.peer == open.peer && held.device == open.device
    }

    /// The other open session that holds the tag which is asked for, or kept.
    fn tag_holder(&self, open: &OpenRequest, resumes: Option<usize>) -> Option<usize> {
        let tag = open.tag.or_else(|| self.sessions[resumes?].tag)?;
        let holds = |session: &usize| self.sessions[*session].tag == Some(tag) && Some(*session) != resumes;
        self.open_of(open.peer).into_iter().find(holds)
    }

    pub(super) fn new_session(&mut self, open: &OpenRequest) -> usize {
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
            missed: Vec::new(),
            copies: Vec::new(),
            passed_by: 0,
            unsure: false,
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
        held.copies.clear();
        held.passed_by = 0;
        held.unsure = false;
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

    pub(super) fn forget(&mut self, session: usize) {
        self.watch_only(session, &[]);
        self.sessions[session].state = State::Gone;
        self.forget_stranger(self.sessions[session].peer);
    }
}
