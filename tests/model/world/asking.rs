//! What sessions ask of both, and that both refuse the same.

use std::time::Duration;

use switchboard::{
    Bound, ConversationId, Create, Draft, MessageId, Order, Page, PeerId, Request, RetryToken, Shape, Target, Timestamp,
};

use crate::command::{Bytes, Command, NewShape, To, Which};
use crate::ids::Ids;
use crate::reference::{self, Code, Model, PageRequest, SendRequest, SendTo, State, limits};

use super::{Checked, NOWHERE, START, World, same};

impl World {
    /// What sessions ask.
    pub(super) fn ask(&mut self, command: &Command) -> Checked {
        let Some(which) = command.session() else { return Ok(()) };
        let Some(session) = self.pick(which) else { return Ok(()) };
        self.refuse_strangers(which)?;
        match command {
            Command::Send { to, transient, token, receipt, push, bytes, .. } => {
                self.send(session, to, *transient, *token, *receipt, *push, *bytes)
            }
            Command::Create { shape, members, .. } => self.create(session, *shape, members),
            Command::Acknowledge { which, read, .. } => self.acknowledge(session, which, *read),
            Command::MarkRead { conversation, up_to, .. } => self.mark_read(session, *conversation, *up_to),
            Command::History { conversation, newest_first, limit, from, .. } => {
                self.history(session, *conversation, *newest_first, usize::from(*limit), *from)
            }
            Command::Watch { peers, .. } => {
                let request = Request::Watch { peers: Ids::peers(peers), signature: None };
                self.both(session, request, |model, ticket| model.watch(session, peers, ticket))
            }
            Command::Unwatch { peers, .. } => {
                let request = Request::Unwatch { peers: Ids::peers(peers) };
                self.both(session, request, |model, ticket| {
                    model.unwatch(session, peers, ticket);
                    Ok(())
                })
            }
            Command::QueryOnline { peers, .. } => {
                let request = Request::QueryOnline { peers: Ids::peers(peers) };
                self.both(session, request, |model, ticket| {
                    model.query_online(session, peers, ticket);
                    Ok(())
                })
            }
            Command::Conversations { .. } => self.both(session, Request::Conversations, |model, ticket| {
                model.list_conversations(session, ticket);
                Ok(())
            }),
            Command::Unread { .. } => self.both(session, Request::Unread, |model, ticket| {
                model.unread(session, ticket);
                Ok(())
            }),
            Command::Close(_) => self.both(session, Request::Close, |model, ticket| {
                model.close(session, ticket);
                Ok(())
            }),
            _ => self.ask_about(session, command),
        }
    }

    /// What sessions ask about one conversation.
    fn ask_about(&mut self, session: usize, command: &Command) -> Checked {
        let Some((at, conversation)) = command.conversation().and_then(|which| self.pick_conversation(which)) else {
            return Ok(());
        };
        match command {
            Command::Join { .. } => {
                self.both(session, Request::Join { conversation, signature: None }, |model, ticket| {
                    model.join(session, at, ticket)
                })
            }
            Command::Leave { .. } => {
                self.both(session, Request::Leave { conversation }, |model, ticket| model.leave(session, at, ticket))
            }
            Command::Invite { peers, .. } => {
                let request = Request::Invite { conversation, peers: Ids::peers(peers), signature: None };
                self.both(session, request, |model, ticket| model.invite(session, at, peers, ticket))
            }
            Command::Kick { peers, .. } => {
                let request = Request::Kick { conversation, peers: Ids::peers(peers), signature: None };
                self.both(session, request, |model, ticket| model.kick(session, at, peers, ticket))
            }
            Command::Members { .. } => self
                .both(session, Request::Members { conversation }, |model, ticket| model.members(session, at, ticket)),
            Command::Describe { .. } => self
                .both(session, Request::Describe { conversation }, |model, ticket| model.describe(session, at, ticket)),
            Command::Count { .. } => {
                self.both(session, Request::Count { conversation }, |model, ticket| model.count(session, at, ticket))
            }
            _ => Ok(()),
        }
    }

    /// The same request to both; refusals must have the same code.
    fn both(
        &mut self,
        session: usize,
        request: Request,
        act: impl FnOnce(&mut Model, u64) -> Result<(), Code>,
    ) -> Checked {
        self.requests += 1;
        let number = self.requests;
        let peer = self.model.sessions[session].peer;
        self.trace.push(format!("[{}] session {session} of peer {peer}: {request:?}", self.model.now - START));
        let asked = self.engine.request(self.handles[session].id, request, self.now());
        let should = act(&mut self.model, number);
        if let Ok(ticket) = &asked {
            self.tickets.insert(*ticket, number);
        }
        same("request", asked.map(drop).map_err(|error| error.code()), should)
    }

    /// A session that is over is refused whatever it asks.
    fn refuse_strangers(&mut self, which: u8) -> Checked {
        let over: Vec<usize> = (0..self.handles.len())
            .filter(|session| matches!(self.model.sessions[*session].state, State::Gone | State::Paused { .. }))
            .collect();
        let Some(session) = (which > 250).then(|| over.first().copied()).flatten() else { return Ok(()) };
        let asked = self.engine.request(self.handles[session].id, Request::Unread, self.now());
        same("a session that is over", asked.map(drop).map_err(|error| error.code()), Err(4105))
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one command")]
    fn send(
        &mut self,
        session: usize,
        to: &To,
        transient: bool,
        token: Option<u8>,
        receipt: bool,
        push: bool,
        bytes: Bytes,
    ) -> Checked {
        let (to, target) = match to {
            To::Peers(peers) => (SendTo::Peers(peers.clone()), Target::Peers(Ids::peers(peers))),
            To::Conversation(which) => {
                let Some((at, id)) = self.pick_conversation(*which) else { return Ok(()) };
                (SendTo::Conversation(at), Target::Conversation(id))
            }
        };
        self.said += 1;
        let mut content = format!("message {}", self.said);
        let room = limits::BYTES - content.len() - usize::from(push);
        match bytes {
            Bytes::Few => {}
            Bytes::Most => content.push_str(&".".repeat(room)),
            Bytes::TooMany => content.push_str(&".".repeat(room + 1)),
        }
        let send = SendRequest { to, content, transient, token, receipt, push };
        let mut draft = Draft::to_peers(Vec::new(), send.content.clone());
        draft.target = target;
        draft.transient = transient;
        draft.receipt = receipt;
        draft.retry_token = token.and_then(|token| RetryToken::new(&format!("token{token}")).ok());
        draft.push = push.then(|| "!".to_owned());
        self.both(session, Request::Send(draft), |model, ticket| model.send(session, &send, ticket))
    }

    /// The documents say which id a direct conversation has.
    pub(super) fn bind_directs(&mut self) -> Checked {
        for at in 0..self.model.conversations.len() {
            let held = &self.model.conversations[at];
            if held.kind == reference::Kind::Direct && self.ids.conversation(at).is_none() {
                let peers: Vec<PeerId> = held.active().into_iter().map(Ids::peer).collect();
                self.ids.bind_conversation(at, &ConversationId::direct(&peers))?;
            }
        }
        Ok(())
    }

    /// The host deletes a message, or one that was never sent.
    pub(super) fn delete(&mut self, conversation: u8, which: u8) -> Checked {
        let Some((at, id)) = self.pick_conversation(conversation) else { return Ok(()) };
        let last = at.map_or(0, |at| self.model.conversations[at].last());
        let number = 1 + u64::from(which) % (last + 1);
        self.trace.push(format!("[{}] the host deletes #{number} of {id}", self.model.now - START));
        let is = self.engine.delete_message(&id, number, self.now());
        same("delete", is.map_err(|error| error.code()), self.model.delete(at, number))
    }

    fn create(&mut self, session: usize, shape: NewShape, members: &[u8]) -> Checked {
        let (wanted, should) = match shape {
            NewShape::Group => (Shape::Group, reference::Shape::Group),
            NewShape::Unique => (Shape::Unique, reference::Shape::Unique),
            NewShape::Room => (Shape::Room, reference::Shape::Room),
            NewShape::Temporary(life) => {
                (Shape::Temporary(Duration::from_millis(life)), reference::Shape::Temporary(life))
            }
        };
        let request = Request::Create(Create::new(wanted, Ids::peers(members)));
        let before = self.model.conversations.len();
        self.both(session, request, |model, ticket| model.create(session, should, members, ticket))?;
        if before < self.model.conversations.len() && should != reference::Shape::Room {
            let me = Ids::peer(self.model.sessions[session].peer);
            let known = self.engine.conversations_of(&me);
            let Some(new) = known.iter().find(|info| self.ids.find_conversation(&info.id).is_none()) else {
                return Err("the conversation just made is not among its creator's".to_owned());
            };
            self.ids.bind_conversation(before, &new.id)?;
        }
        Ok(())
    }

    fn acknowledge(&mut self, session: usize, which: &Which, read: bool) -> Checked {
        let seen = &self.model.sessions[session].seen;
        let one = |from: &[usize], at: u8| (!from.is_empty()).then(|| from[usize::from(at) % from.len()]);
        let all: Vec<usize> = (0..self.model.messages.len()).collect();
        let chosen: Vec<usize> = match which {
            Which::All => seen.clone(),
            Which::Some(some) => some.iter().filter_map(|at| one(seen, *at)).collect(),
            // What a slow session may acknowledge is known by what it heard.
            Which::Any(some) if self.outboxes.contains_key(&session) => {
                some.iter().filter_map(|at| one(seen, *at)).collect()
            }
            Which::Any(any) => any.iter().filter_map(|at| one(&all, *at)).collect(),
        };
        let known: Vec<(usize, MessageId)> =
            chosen.into_iter().filter_map(|message| Some((message, self.ids.message(message)?))).collect();
        let (messages, ids): (Vec<usize>, Vec<MessageId>) = known.into_iter().unzip();
        self.both(session, Request::Acknowledge { messages: ids, read }, |model, _| {
            model.acknowledge(session, &messages, read);
            Ok(())
        })
    }

    fn mark_read(&mut self, session: usize, conversation: u8, up_to: Option<u8>) -> Checked {
        let Some((at, conversation)) = self.pick_conversation(conversation) else { return Ok(()) };
        let message = up_to.filter(|_| !self.model.messages.is_empty()).and_then(|which| {
            let message = usize::from(which) % self.model.messages.len();
            Some((message, self.ids.message(message)?))
        });
        let (message, up_to) = message.unzip();
        self.both(session, Request::MarkRead { conversation, up_to }, |model, ticket| {
            model.mark_read(session, at, message, ticket)
        })
    }

    fn history(
        &mut self,
        session: usize,
        conversation: u8,
        newest_first: bool,
        limit: usize,
        from: Option<(u8, bool)>,
    ) -> Checked {
        let Some((at, conversation)) = self.pick_conversation(conversation) else { return Ok(()) };
        let log = at.map_or(&[][..], |at| &self.model.conversations[at].log);
        let bound = from.filter(|_| !log.is_empty()).and_then(|(which, included)| {
            let message = log[usize::from(which) % log.len()];
            let timestamp = Timestamp::from_millis(self.model.messages[message].at);
            Some((message, Bound { timestamp, id: Some(self.ids.message(message)?), included }))
        });
        let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
        let page = Page { start: bound.map(|(_, bound)| bound), end: None, order, limit };
        let from = bound.map(|(message, bound)| (message, bound.included));
        let should = PageRequest { newest_first, limit, from };
        self.both(session, Request::History { conversation, page }, |model, ticket| {
            model.history(session, at, &should, ticket)
        })
    }

    /// A conversation whose id is known, or one that does not exist; `None` where the id is not known yet.
    fn pick_conversation(&self, which: u8) -> Option<(Option<usize>, ConversationId)> {
        let at = usize::from(which) % (self.model.conversations.len() + 1);
        if at == self.model.conversations.len() {
            return Some((None, ConversationId::new(NOWHERE).ok()?));
        }
        Some((Some(at), self.ids.conversation(at)?))
    }
}
