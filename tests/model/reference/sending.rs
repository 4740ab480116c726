//! Sending: who may, to whom, and who hears it.
//!
//! Every session of every member but the sending one hears a message once, in the order of the numbers; a member that is away
//! may be pushed to.

use std::collections::BTreeSet;

use super::{Answer, Code, Ear, Expected, Kind, Model, Peer, What, When, limits};

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

/// Where a message goes.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Known(usize),
    NewDirect(BTreeSet<Peer>),
}

impl Model {
    pub(crate) fn send(&mut self, session: usize, send: &SendRequest, ticket: u64) -> Result<(), Code> {
        let me = self.sessions[session].peer;
        if let Some(first) = self.known_transient(me, send) {
            self.reply_now(session, ticket, Answer::Accepted(first));
            return Ok(());
        }
        if let Some(first) = self.known_token(me, send.token) {
            self.reply(session, ticket, Answer::Accepted(first));
            return Ok(());
        }
        let place = self.check_send(session, send)?;
        let is_room = matches!(place, Place::Known(at) if self.conversations[at].kind == Kind::Room);
        let message = if send.transient {
            let message = self.make_transient(me, send, &place);
            self.remember_transient(me, send.token, message);
            message
        } else {
            self.make_persistent(session, send, place)
        };
        if send.transient || is_room {
            self.reply_now(session, ticket, Answer::Accepted(message));
        } else {
            self.reply(session, ticket, Answer::Accepted(message));
        }
        if send.transient && !is_room {
            let behind = |other: &usize| *other != session && self.sessions[*other].reading;
            let passed: Vec<usize> = self.recipients(message).into_iter().filter(behind).collect();
            passed.into_iter().for_each(|other| self.sessions[other].passed_by += 1);
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
        self.remember_token(me, send.token, message);
        if kind != Kind::Room {
            // The sending device has its own message, the others are given a copy.
            self.acknowledge_range(session, at, number, number, false);
            let is_other = |other: &usize| *other != session && !self.sessions[*other].reading;
            let others: Vec<usize> = self.open_of(me).into_iter().filter(is_other).collect();
            others.into_iter().for_each(|other| self.sessions[other].copies.push(message));
        }
        message
    }

    /// The sessions that get a message as it is sent.
    fn listeners(&self, message: usize) -> Vec<usize> {
        let is_room = self.messages[message].kind == Kind::Room;
        self.recipients(message).into_iter().filter(|session| is_room || !self.sessions[*session].reading).collect()
    }

    /// The sessions of those whom a message is for; in a room those who are there.
    fn recipients(&self, message: usize) -> Vec<usize> {
        let message = &self.messages[message];
        let members = match message.conversation.map(|at| &self.conversations[at]) {
            Some(held) if held.kind == Kind::Room => return held.present.iter().copied().collect(),
            Some(held) => held.active(),
            None => message.to.clone(),
        };
        let is_one = |session: &usize| members.contains(&self.sessions[*session].peer);
        self.open_sessions().into_iter().filter(is_one).collect()
    }

    pub(super) fn push(&mut self, me: Peer, message: usize) {
        let Some(conversation) = self.messages[message].conversation else { return };
        let is_away = |peer: &Peer| *peer != me && !self.is_online(*peer) && !self.peers[usize::from(*peer)].logged_out;
        let away: Vec<Peer> = self.conversations[conversation].active().into_iter().filter(is_away).collect();
        if !away.is_empty() {
            let badges = away.into_iter().map(|peer| (peer, self.unread_of(peer).values().sum())).collect();
            let when = When::After(self.newest);
            self.expected.push(Expected { ear: Ear::Host, when, what: What::Push { message, badges } });
        }
    }
}
