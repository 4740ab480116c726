//! Conversations: made, found, described and listed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Change, Code, DAY, Info, Member, Model, Peer, limits};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Direct,
    Group,
    Room,
    Temporary,
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
    /// The numbers of those that the host deleted.
    pub(crate) deleted: BTreeSet<u64>,
    /// How many of them are durable.
    pub(crate) durable: u64,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    pub(crate) expires_at: Option<u64>,
    pub(crate) check_at: u64,
    /// Whether its end was noticed: it stays over though the clock is set back.
    pub(crate) lapsed: bool,
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
pub(crate) enum Shape {
    Group,
    Unique,
    Room,
    Temporary(u64),
}

impl Model {
    pub(super) fn check_conversations(&self) -> Result<(), Code> {
        let count = self.conversations.iter().filter(|held| !held.gone).count();
        if count >= limits::CONVERSATIONS { Err(4318) } else { Ok(()) }
    }

    /// A conversation that a peer may send to: one that it is in, or a room.
    pub(super) fn of(&self, peer: Peer, conversation: Option<usize>) -> Result<usize, Code> {
        let at = self.there(conversation)?;
        let held = &self.conversations[at];
        if held.kind == Kind::Room || held.active().contains(&peer) { Ok(at) } else { Err(4401) }
    }

    pub(super) fn there(&self, conversation: Option<usize>) -> Result<usize, Code> {
        let at = conversation.ok_or(4401u16)?;
        // Only temporary ones ever go.
        if self.is_over(at) { Err(4323) } else { Ok(at) }
    }

    /// Whether a conversation is gone, or its end has passed.
    pub(super) fn is_over(&self, at: usize) -> bool {
        let held = &self.conversations[at];
        held.gone || held.lapsed || held.expires_at.is_some_and(|end| end < self.shown())
    }

    pub(super) fn new_conversation(
        &mut self,
        kind: Kind,
        unique: bool,
        creator: Option<Peer>,
        members: &BTreeSet<Peer>,
    ) -> usize {
        self.stage();
        members.iter().copied().chain(creator).for_each(|peer| self.peer(peer).known = true);
        self.conversations.push(Conversation {
            kind,
            unique,
            creator,
            members: members.iter().map(|peer| (*peer, Member::new(0))).collect(),
            present: BTreeSet::new(),
            log: Vec::new(),
            deleted: BTreeSet::new(),
            durable: 0,
            created_at: self.shown(),
            updated_at: self.shown(),
            expires_at: None,
            check_at: u64::MAX,
            lapsed: false,
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

    /// The conversations that are found by their members; several where members came and went.
    fn found(&self, shape: Shape, members: &BTreeSet<Peer>) -> Vec<usize> {
        let fits = |held: &Conversation| match shape {
            Shape::Unique => held.kind == Kind::Group && held.unique,
            Shape::Temporary(_) => held.kind == Kind::Temporary,
            Shape::Group | Shape::Room => false,
        };
        let is_it = |at: &usize| {
            let held = &self.conversations[*at];
            fits(held) && !self.is_over(*at) && held.active() == *members
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
            let expires_at = self.shown() + if life == 0 { DAY } else { life };
            self.conversations[at].expires_at = Some(expires_at);
            self.conversations[at].check_at = expires_at + self.set_back + 1;
        }
        if shape == Shape::Room {
            self.enter_room(session, at);
        }
        let infos = vec![self.info(at)];
        self.reply(session, ticket, Answer::Created { infos, existing: false });
        self.tell_change(session, at, &members, Change::Joined, Change::MembersJoined(members.clone()));
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
        let is_mine = |at: &usize| !self.is_over(*at) && self.conversations[*at].active().contains(&me);
        let infos = (0..self.conversations.len()).filter(is_mine).map(|at| self.info(at)).collect();
        self.reply(session, ticket, Answer::Conversations(infos));
    }
}
