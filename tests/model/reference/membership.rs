//! Who belongs to a conversation, from which message to which.
//!
//! A member sees what was sent while it was one; who comes and goes is told to those concerned and to all others in it.

use std::collections::BTreeSet;

use super::sessions::State;
use super::{Answer, Change, Code, Conversation, Cursor, DAY, Kind, Model, Peer, What, limits};

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) spans: Vec<(u64, Option<u64>)>,
    pub(crate) left_at: Option<u64>,
    pub(crate) read: u64,
}

impl Member {
    pub(super) fn new(last: u64) -> Self {
        Self { spans: vec![(last, None)], left_at: None, read: last }
    }

    /// Whether a message with this number is for the member.
    pub(crate) fn sees(&self, number: u64) -> bool {
        self.spans.iter().any(|(after, to)| number > *after && to.is_none_or(|to| number <= to))
    }
}

impl Model {
    pub(super) fn groups_of(&self, peer: Peer) -> usize {
        let is_in = |held: &&Conversation| held.kind == Kind::Group && held.active().contains(&peer);
        self.conversations.iter().filter(is_in).count()
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
        let (last, now) = (self.conversations[at].last(), self.shown());
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
            self.conversations[at].updated_at = now.max(self.conversations[at].updated_at);
            self.stage();
        }
        new
    }

    /// A new member has nothing to receive of what was before.
    pub(super) fn skip_to(&mut self, peer: Peer, conversation: usize, last: u64) {
        for device in &mut self.peer(peer).devices {
            device.cursors.insert(conversation, Cursor::at(last));
        }
    }

    fn remove_members(&mut self, at: usize, peers: &BTreeSet<Peer>) {
        let (last, now) = (self.conversations[at].last(), self.shown());
        for peer in peers {
            if let Some(member) = self.conversations[at].members.get_mut(peer) {
                member.left_at = Some(now);
                if let Some(span) = member.spans.last_mut() {
                    span.1 = Some(last);
                }
            }
        }
        self.conversations[at].updated_at = now.max(self.conversations[at].updated_at);
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
    pub(super) fn tell_change(
        &mut self,
        session: usize,
        at: usize,
        whom: &BTreeSet<Peer>,
        own: Change,
        others: Change,
    ) {
        if whom.is_empty() {
            return;
        }
        let by = self.sessions[session].peer;
        let active = self.conversations[at].active();
        for listener in (0..self.sessions.len()).filter(|listener| *listener != session) {
            let peer = self.sessions[listener].peer;
            let change = match (whom.contains(&peer), active.contains(&peer)) {
                (true, _) => own.clone(),
                (false, true) => others.clone(),
                (false, false) => continue,
            };
            let notice = What::Membership { conversation: at, change, by };
            match self.sessions[listener].state {
                State::Open => self.tell_after(listener, notice),
                State::Paused { .. } => self.sessions[listener].missed.push(notice),
                State::Gone | State::Opening => {}
            }
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

    pub(super) fn enter_room(&mut self, session: usize, room: usize) {
        if let Some(before) = self.sessions[session].room.replace(room) {
            self.conversations[before].present.remove(&session);
        }
        self.conversations[room].present.insert(session);
    }

    /// A week after one left, nothing remains of the membership.
    pub(super) fn forget_former_members(&mut self) {
        let now = self.shown();
        for at in 0..self.conversations.len() {
            let is_over = |member: &Member| member.left_at.is_some_and(|left| left + 7 * DAY <= now);
            let members = &self.conversations[at].members;
            let over: Vec<Peer> = members.iter().filter(|(_, member)| is_over(member)).map(|(peer, _)| *peer).collect();
            for peer in over {
                self.conversations[at].members.remove(&peer);
                self.peer(peer).devices.iter_mut().for_each(|device| drop(device.cursors.remove(&at)));
                self.peer(peer).owed.remove(&at);
            }
        }
    }
}
