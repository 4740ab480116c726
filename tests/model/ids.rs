//! Which id of the engine stands for what in the model, and whether an update says what it should.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use switchboard::{
    ConversationId, ConversationInfo, ConversationKind, GapCause, MembershipChange, Message, MessageId, PeerId, Push,
    Reply, Ticket, Update,
};

use super::reference::{Answer, Cause, Change, Info, Kind, Model, Peer, What};

const NAMES: [&str; 4] = ["ann", "bob", "cat", "dan"];

type Checked = Result<(), String>;

/// Ids as they become known: each of a conversation and of a message is learnt once, and never changes.
#[derive(Default)]
pub(crate) struct Ids {
    conversations: Vec<Option<ConversationId>>,
    messages: Vec<Option<MessageId>>,
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, is: T, should: T) -> Checked {
    if is == should { Ok(()) } else { Err(format!("{what} is {is:?}, not {should:?}")) }
}

impl Ids {
    pub(crate) fn peer(peer: Peer) -> PeerId {
        PeerId::new(NAMES[usize::from(peer)]).unwrap()
    }

    pub(crate) fn peers(peers: &[Peer]) -> Vec<PeerId> {
        peers.iter().copied().map(Self::peer).collect()
    }

    pub(crate) fn find_peer(id: &PeerId) -> Peer {
        NAMES.iter().position(|name| *name == id.as_str()).unwrap() as Peer
    }

    fn names(peers: &BTreeSet<Peer>) -> Vec<PeerId> {
        peers.iter().copied().map(Self::peer).collect()
    }

    pub(crate) fn conversation(&self, at: usize) -> Option<ConversationId> {
        self.conversations.get(at).cloned().flatten()
    }

    pub(crate) fn find_conversation(&self, id: &ConversationId) -> Option<usize> {
        self.conversations.iter().position(|held| held.as_ref() == Some(id))
    }

    pub(crate) fn message(&self, at: usize) -> Option<MessageId> {
        self.messages.get(at).copied().flatten()
    }

    pub(crate) fn find_message(&self, id: MessageId) -> Option<usize> {
        self.messages.iter().position(|held| *held == Some(id))
    }

    /// Forgets what a crash took.
    pub(crate) fn truncate(&mut self, conversations: usize, messages: usize) {
        self.conversations.truncate(conversations);
        self.messages.truncate(messages);
    }

    pub(crate) fn bind_conversation(&mut self, at: usize, id: &ConversationId) -> Checked {
        if let Some(held) = self.find_conversation(id) {
            return equal("conversation", held, at);
        }
        if self.conversations.len() <= at {
            self.conversations.resize(at + 1, None);
        }
        let held = self.conversations[at].get_or_insert_with(|| id.clone());
        equal("the id of a conversation", &*held, id)
    }

    /// Ids of messages in logs rise in the order in which they are accepted, restarts included.
    fn bind_message(&mut self, model: &Model, at: usize, id: MessageId) -> Checked {
        if let Some(held) = self.message(at) {
            return equal("the id of a message", id, held);
        }
        if self.messages.len() <= at {
            self.messages.resize(at + 1, None);
        }
        let is_logged = |at: &usize| model.messages[*at].number.is_some();
        let before = (0..at).rev().filter(is_logged).find_map(|at| self.messages[at]);
        let after = (at..self.messages.len()).filter(is_logged).find_map(|at| self.messages[at]);
        if is_logged(&at) && (before.is_some_and(|before| before >= id) || after.is_some_and(|after| after <= id)) {
            return Err(format!("the id {id:?} is out of order"));
        }
        self.messages[at] = Some(id);
        Ok(())
    }

    /// Whether an update is what was expected.
    pub(crate) fn check(
        &mut self,
        model: &Model,
        tickets: &HashMap<Ticket, u64>,
        what: &What,
        update: &Update,
    ) -> Checked {
        match (what, update) {
            (What::Reply(number, Ok(answer)), Update::Reply { ticket, result: Ok(reply) }) => {
                equal("the ticket", tickets.get(ticket), Some(number))?;
                self.check_answer(model, answer, reply)
            }
            (What::Reply(number, Err(code)), Update::Reply { ticket, result: Err(error) }) => {
                equal("the ticket", tickets.get(ticket), Some(number))?;
                equal("the code", error.code(), *code)
            }
            (What::Message { message, offline }, Update::Message { message: is, offline: is_offline }) => {
                let live_room = model.messages[*message].kind == Kind::Room;
                self.check_message(model, *message, is, live_room, false)?;
                equal("offline", is_offline, offline)
            }
            (What::Receipt { message, peer, at, .. }, Update::Receipt { conversation, id, peer: by, at: is_at }) => {
                let held = &model.messages[*message];
                self.bind_conversation(held.conversation.unwrap_or_default(), conversation)?;
                equal("the message", Some(*id), self.message(*message))?;
                equal("the peer", by, &Self::peer(*peer))?;
                equal("the time", is_at.as_millis(), *at)
            }
            (
                What::ReceivedTo { message, peer, at },
                Update::ReceivedTo { conversation, id, number, peer: by, at: is_at },
            ) => {
                let held = &model.messages[*message];
                self.bind_conversation(held.conversation.unwrap_or_default(), conversation)?;
                equal("the message", (Some(*id), Some(*number)), (self.message(*message), held.number))?;
                equal("the peer", by, &Self::peer(*peer))?;
                equal("the time", is_at.as_millis(), *at)
            }
            (What::Presence { online, offline }, Update::Presence { online: came, offline: went }) => {
                equal("who came", came, &Self::names(online))?;
                equal("who went", went, &Self::names(offline))
            }
            (
                What::Membership { conversation, change, by },
                Update::Membership { conversation: id, kind, change: is, by: is_by },
            ) => {
                self.bind_conversation(*conversation, id)?;
                equal("the kind", *kind, kind_of(model.conversations[*conversation].kind))?;
                equal("the change", is, &change_of(change))?;
                equal("who did it", is_by, &Self::peer(*by))
            }
            (What::Gap { conversation, from, to, count, cause }, Update::Gap(gap)) => {
                let id = self.conversation(*conversation);
                equal("the conversation", &gap.conversation, &id)?;
                let cause = match cause {
                    Cause::Limit => GapCause::Limit,
                    Cause::Age => GapCause::Age,
                };
                equal("the gap", (gap.from, gap.to, gap.count, gap.cause), (*from, *to, *count, cause))
            }
            (What::Missed(count), Update::Gap(gap)) => {
                equal("the gap", (&gap.conversation, gap.from, gap.to), (&None, 0, 0))?;
                equal("what passed by", (gap.count, gap.cause), (*count, GapCause::Overflow))
            }
            (What::Closed(code), Update::Closed { error }) => {
                equal("the code", error.as_ref().map(switchboard::Error::code), *code)
            }
            _ => Err(format!("expected {what:?}")),
        }
    }

    fn check_answer(&mut self, model: &Model, answer: &Answer, reply: &Reply) -> Checked {
        match (answer, reply) {
            (Answer::Opened { online, room }, Reply::Opened(opened)) => {
                equal("who is online", &opened.online, &Self::names(online))?;
                match (&opened.room, room) {
                    (Some(id), Some(room)) => self.bind_conversation(*room, id),
                    (is, should) => equal("in a room", is.is_some(), should.is_some()),
                }
            }
            (Answer::Accepted(message), Reply::Accepted(accepted)) => {
                let held = &model.messages[*message];
                self.bind_message(model, *message, accepted.id)?;
                if let Some(conversation) = held.conversation {
                    self.bind_conversation(conversation, &accepted.conversation)?;
                }
                let number = held.number.filter(|_| held.kind != Kind::Room);
                equal("the number", accepted.number, number)?;
                equal("the time", accepted.timestamp.as_millis(), held.at)?;
                // A receipt that is given again after a restart does not repeat the content.
                let changed = held.changed && held.life == model.life;
                let content = accepted.changed.as_ref().map(|content| content.as_text());
                equal("the changed content", content, changed.then_some(Some(held.content.as_str())))
            }
            (Answer::Online(peers), Reply::Online(is)) => equal("who is online", is, &Self::names(peers)),
            (Answer::Created { infos, existing }, Reply::Created { conversation, existing: is }) => {
                equal("existing", is, existing)?;
                let at = self.find_conversation(&conversation.id);
                let known = infos.iter().find(|info| Some(info.conversation) == at);
                self.check_info(known.unwrap_or(&infos[0]), conversation)
            }
            (Answer::Joined(at), Reply::Joined { conversation }) | (Answer::Left(at), Reply::Left { conversation }) => {
                self.bind_conversation(*at, conversation)
            }
            (Answer::Invited(at, peers), Reply::Invited { conversation, peers: is })
            | (Answer::Kicked(at, peers), Reply::Kicked { conversation, peers: is })
            | (Answer::Members(at, peers), Reply::Members { conversation, peers: is }) => {
                self.bind_conversation(*at, conversation)?;
                equal("the peers", is, &Self::names(peers))
            }
            (Answer::Conversation(info), Reply::Conversation(is)) => self.check_info(info, is),
            (Answer::Conversations(infos), Reply::Conversations(is)) => self.check_infos(infos, is),
            (Answer::Count(count), Reply::Count(is)) => equal("the count", is, count),
            (Answer::History { messages, more }, Reply::History { messages: is, more: is_more }) => {
                equal("how many messages", is.len(), messages.len())?;
                messages.iter().zip(is).try_for_each(|((message, deleted), is)| {
                    self.check_message(model, *message, is, false, *deleted)
                })?;
                equal("more", is_more, more)
            }
            (Answer::Unread(unread), Reply::Unread(is)) => {
                let is: BTreeMap<ConversationId, u64> =
                    is.iter().map(|unread| (unread.conversation.clone(), unread.count)).collect();
                let should = unread.iter().filter_map(|(at, count)| Some((self.conversation(*at)?, *count))).collect();
                equal("unread", is, should)
            }
            (Answer::Done, Reply::Done) => Ok(()),
            _ => Err(format!("expected {answer:?}")),
        }
    }

    fn check_infos(&mut self, infos: &[Info], is: &[ConversationInfo]) -> Checked {
        equal("how many conversations", is.len(), infos.len())?;
        equal("sorted", is.is_sorted_by(|a, b| a.id < b.id), true)?;
        for conversation in is {
            let at = self.find_conversation(&conversation.id);
            let Some(info) = infos.iter().find(|info| Some(info.conversation) == at) else {
                return Err(format!("a conversation that is not the peer's: {conversation:?}"));
            };
            self.check_info(info, conversation)?;
        }
        Ok(())
    }

    fn check_info(&mut self, info: &Info, is: &ConversationInfo) -> Checked {
        self.bind_conversation(info.conversation, &is.id)?;
        equal("the kind", is.kind, kind_of(info.kind))?;
        equal("unique", is.unique, info.unique)?;
        equal("the creator", &is.creator, &info.creator.map(Self::peer))?;
        equal("the members", &is.members, &Self::names(&info.members))?;
        equal("made at", is.created_at.as_millis(), info.created_at)?;
        equal("changed at", is.updated_at.as_millis(), info.updated_at)?;
        equal("the last message's time", is.last_message_at.map(|at| at.as_millis()), info.last_message_at)?;
        equal("the end", is.expires_at.map(|at| at.as_millis()), info.expires_at)
    }

    /// `live_room` says that a room's message is seen as it is sent: then it has no number.
    fn check_message(&mut self, model: &Model, at: usize, is: &Message, live_room: bool, deleted: bool) -> Checked {
        let held = &model.messages[at];
        // What was deleted while a read was under way comes as it was, or without its content.
        let deleted = deleted || is.deleted && model.is_deleted(at);
        let content = if deleted { "" } else { held.content.as_str() };
        equal("the content", is.content.as_text(), Some(content))?;
        self.bind_message(model, at, is.id)?;
        if let Some(conversation) = held.conversation {
            self.bind_conversation(conversation, &is.conversation)?;
        }
        equal("the kind", is.kind, kind_of(held.kind))?;
        equal("the number", is.number, held.number.filter(|_| !live_room))?;
        equal("the time", is.timestamp.as_millis(), held.at)?;
        equal("the sender", &is.from, &Self::peer(held.from))?;
        // Those whom a hook left come in any order.
        let to: BTreeSet<PeerId> = is.to.iter().cloned().collect();
        equal("the recipients", Vec::from_iter(to), Self::names(&held.to))?;
        equal("each recipient once", is.to.len(), held.to.len())?;
        equal("sorted recipients", held.only.is_some() || is.to.is_sorted(), true)?;
        equal("transient", is.transient, held.number.is_none() || live_room)?;
        equal("the receipt", is.receipt, held.receipt)?;
        equal("deleted", is.deleted, deleted)
    }

    pub(crate) fn check_push(&mut self, model: &Model, what: &What, is: &Push) -> Checked {
        let What::Push { message, badges, text } = what else { return Err(format!("expected {what:?}, not a push")) };
        self.check_message(model, *message, &is.message, false, false)?;
        let recipients: BTreeMap<PeerId, u64> =
            is.recipients.iter().map(|recipient| (recipient.peer.clone(), recipient.badge)).collect();
        let should = badges.iter().map(|(peer, badge)| (Self::peer(*peer), *badge)).collect();
        equal("the recipients of a push", recipients, should)?;
        equal("the text of a push", is.text.as_str(), *text)
    }
}

fn kind_of(kind: Kind) -> ConversationKind {
    match kind {
        Kind::Direct => ConversationKind::Direct,
        Kind::Group => ConversationKind::Group,
        Kind::Room => ConversationKind::Room,
        Kind::Temporary => ConversationKind::Temporary,
    }
}

fn change_of(change: &Change) -> MembershipChange {
    match change {
        Change::Joined => MembershipChange::Joined,
        Change::Left => MembershipChange::Left,
        Change::MembersJoined(peers) => MembershipChange::MembersJoined(Ids::names(peers)),
        Change::MembersLeft(peers) => MembershipChange::MembersLeft(Ids::names(peers)),
    }
}
