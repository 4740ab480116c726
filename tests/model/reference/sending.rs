//! Sending: who may, to whom, and who hears it.
//!
//! Every session of every member but the sending one hears a message once, in the order of the numbers; a member that is away
//! may be pushed to.

use std::collections::BTreeSet;

use crate::command::Verdict;

use super::hooks::Actor;
use super::{Answer, Code, Cursor, Kind, Model, Peer, What, limits};

#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// What it says: no other message ever says it.
    pub(crate) content: String,
    pub(crate) conversation: Option<usize>,
    pub(crate) kind: Kind,
    /// Its number, where it is in a log.
    pub(crate) number: Option<u64>,
    pub(crate) from: Peer,
    /// The session that sent it.
    pub(crate) sent_by: Option<usize>,
    pub(crate) to: BTreeSet<Peer>,
    pub(crate) at: u64,
    /// What the host's clock showed.
    pub(crate) noted_at: u64,
    pub(crate) receipt: bool,
    /// For whom alone it is, beside its sender, where a hook said so.
    pub(crate) only: Option<BTreeSet<Peer>>,
    /// Whether a hook has changed what it says.
    pub(crate) changed: bool,
    /// In which life of the engine it was sent.
    pub(crate) life: u32,
}

#[derive(Clone, Debug)]
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

/// What is said, after hooks.
struct Said<'a> {
    from: Peer,
    session: Option<usize>,
    send: &'a SendRequest,
    only: Option<BTreeSet<Peer>>,
    changed: bool,
}

impl Message {
    /// Whether a hook has left it to this peer.
    pub(crate) fn is_for(&self, peer: Peer) -> bool {
        self.from == peer || self.only.as_ref().is_none_or(|only| only.contains(&peer))
    }
}

impl Model {
    pub(crate) fn send(&mut self, session: usize, send: &SendRequest, ticket: u64) -> Result<(), Code> {
        let held = &self.sessions[session];
        let actor = Actor { peer: held.peer, session: Some((session, held.attached)), ticket };
        self.hooks.newest_ticket = ticket;
        self.send_for(actor, send)
    }

    pub(super) fn send_for(&mut self, actor: Actor, send: &SendRequest) -> Result<(), Code> {
        if self.joins(actor, send.token) {
            return Ok(());
        }
        if let Some(first) = self.known_transient(actor.peer, send) {
            self.accept(actor, first, true);
            return Ok(());
        }
        if let Some(first) = self.known_token(actor.peer, send.token) {
            self.accept(actor, first, false);
            return Ok(());
        }
        let place = self.check_send(actor.peer, send)?;
        let lane = self.lane(actor.peer, &place);
        if self.is_held(&lane) {
            self.hooks.behind.entry(lane).or_default().push_back((actor, send.clone()));
            return Ok(());
        }
        match self.ask_message(actor, send, &place, lane) {
            Some(verdict) => self.finish_send(actor, send, place, &verdict),
            None => Ok(()),
        }
    }

    /// The hook has answered: what was checked before is checked again.
    pub(super) fn send_again(&mut self, actor: Actor, send: &SendRequest, verdict: &Verdict) -> Result<(), Code> {
        let place = self.check_send(actor.peer, send)?;
        self.finish_send(actor, send, place, verdict)
    }

    fn finish_send(&mut self, actor: Actor, send: &SendRequest, place: Place, verdict: &Verdict) -> Result<(), Code> {
        if *verdict == Verdict::Drop {
            return Err(4402);
        }
        let asked = send;
        let mut send = send.clone();
        let (changed, only) = (self.changed_by(&send, verdict), self.left_of(&place, verdict));
        let is_changed = changed.is_some();
        send.content = changed.unwrap_or(send.content);
        let is_room = matches!(place, Place::Known(at) if self.conversations[at].kind == Kind::Room);
        // The log of a room is everyone's: what is not for everyone is live only.
        send.transient |= is_room && only.is_some();
        let session = self.still_there(actor);
        let draft = Said { from: actor.peer, session, send: &send, only, changed: is_changed };
        let message =
            if send.transient { self.make_transient(draft, &place) } else { self.make_persistent(draft, place) };
        let at_once = send.transient || is_room;
        if send.transient {
            self.remember_transient(actor.peer, asked, message);
        }
        self.accept(actor, message, at_once);
        if send.transient && !is_room {
            let behind = |other: &usize| Some(*other) != session && self.sessions[*other].reading;
            let passed: Vec<usize> = self.recipients(message).into_iter().filter(behind).collect();
            passed.into_iter().for_each(|other| self.sessions[other].passed_by += 1);
        }
        for listener in self.listeners(message).into_iter().filter(|listener| Some(*listener) != session) {
            let what = What::Message { message, offline: false };
            if at_once { self.tell(listener, what) } else { self.tell_after(listener, what) }
        }
        if !at_once {
            self.push(actor.peer, message, send.push);
        }
        Ok(())
    }

    fn accept(&mut self, actor: Actor, message: usize, at_once: bool) {
        let Some(session) = self.still_there(actor) else { return };
        if at_once {
            self.reply_now(session, actor.ticket, Answer::Accepted(message));
        } else {
            self.reply(session, actor.ticket, Answer::Accepted(message));
        }
    }

    fn check_send(&self, me: Peer, send: &SendRequest) -> Result<Place, Code> {
        if send.content.len() + if send.push { 1 } else { 0 } > limits::BYTES {
            return Err(4109);
        }
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

    fn make_transient(&mut self, said: Said<'_>, place: &Place) -> usize {
        let (conversation, kind, to) = match place {
            Place::Known(at) => {
                let held = &self.conversations[*at];
                let to = if held.kind == Kind::Direct { held.active() } else { BTreeSet::new() };
                (Some(*at), held.kind, to)
            }
            Place::NewDirect(all) => (None, Kind::Direct, all.clone()),
        };
        let at = self.stamp_message();
        self.messages.push(Message {
            content: said.send.content.clone(),
            conversation,
            kind,
            number: None,
            from: said.from,
            sent_by: said.session,
            to: said.only.clone().unwrap_or(to),
            at,
            noted_at: self.shown(),
            receipt: false,
            only: said.only,
            changed: said.changed,
            life: self.life,
        });
        self.messages.len() - 1
    }

    fn make_persistent(&mut self, said: Said<'_>, place: Place) -> usize {
        let at = match place {
            Place::Known(at) => at,
            Place::NewDirect(all) => self.new_conversation(Kind::Direct, false, None, &all),
        };
        self.stage();
        let me = said.from;
        self.peer(me).known = true;
        let (message, stamp) = (self.messages.len(), self.stamp_message());
        let held = &mut self.conversations[at];
        held.log.push(message);
        let (kind, number, active) = (held.kind, held.last(), held.active());
        let to = if kind == Kind::Direct { active.clone() } else { BTreeSet::new() };
        self.hooks.narrows |= said.only.is_some();
        self.messages.push(Message {
            content: said.send.content.clone(),
            conversation: Some(at),
            kind,
            number: Some(number),
            from: me,
            sent_by: said.session,
            to: said.only.clone().unwrap_or(to),
            at: stamp,
            noted_at: self.shown(),
            receipt: said.send.receipt && kind != Kind::Room && active.len() <= 2,
            only: said.only,
            changed: said.changed,
            life: self.life,
        });
        self.remember_token(me, said.send.token, message);
        if kind != Kind::Room {
            self.count_as_received(said.session, message, at, number);
        }
        message
    }

    /// The sending device has its own message, the others have a copy once it is safe; whom it is not for misses nothing.
    fn count_as_received(&mut self, session: Option<usize>, message: usize, at: usize, number: u64) {
        if let Some(session) = session {
            self.acknowledge_range(session, at, number, number, false);
        }
        let open = self.open_of(self.messages[message].from);
        let is_other = |other: &usize| Some(*other) != session && !self.sessions[*other].reading;
        let others: Vec<usize> = open.into_iter().filter(is_other).collect();
        others.into_iter().for_each(|other| self.sessions[other].copies.push(message));
        for peer in self.left_out(message) {
            let joined = self.conversations[at].members.get(&peer).and_then(|member| member.spans.first());
            let start = Cursor::at(joined.map_or(0, |span| span.0));
            for device in &mut self.peer(peer).devices {
                device.cursors.entry(at).or_insert_with(|| start.clone()).acknowledge(number, number);
            }
        }
    }

    /// The sessions that get a message as it is sent.
    fn listeners(&self, message: usize) -> Vec<usize> {
        let is_room = self.messages[message].kind == Kind::Room;
        self.recipients(message).into_iter().filter(|session| is_room || !self.sessions[*session].reading).collect()
    }

    /// The sessions of those whom a message is for; in a room those who are there.
    fn recipients(&self, message: usize) -> Vec<usize> {
        let message = &self.messages[message];
        let is_for = |session: &usize| message.is_for(self.sessions[*session].peer);
        let members = match message.conversation.map(|at| &self.conversations[at]) {
            Some(held) if held.kind == Kind::Room => return held.present.iter().copied().filter(is_for).collect(),
            Some(held) => held.active(),
            None => message.to.iter().copied().chain([message.from]).collect(),
        };
        let is_one = |session: &usize| members.contains(&self.sessions[*session].peer);
        self.open_sessions().into_iter().filter(is_one).filter(is_for).collect()
    }
}
