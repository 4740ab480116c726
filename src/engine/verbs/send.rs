//! Sending: from a draft to a message that its recipients see once it is durable.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::conversation::ConversationKind;
use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Event, HookFault};
use crate::hooks::{Also, Answer, Hook, MessageReceived, Question, Resolution, Verdict};
use crate::id::{ConversationId, PeerId};
use crate::message::{Accepted, Content, Draft, Message, Target};
use crate::output::{Audience, Class, Deliver, Output, SessionRef};
use crate::rows::entry::Entry;
use crate::rows::meta;
use crate::state::actor::Actor;
use crate::state::conversation::{Conversation, Member, Set};
use crate::state::parked::{Command, Lane};
use crate::state::recent::Whereabouts;
use crate::state::retry::Sent;
use crate::state::session::Flow;
use crate::update::{Reply, Update};

/// Where a checked draft goes.
#[derive(Clone, Debug)]
enum Place {
    /// A conversation that is there.
    Known(u32),
    /// The direct conversation of these peers, sorted, the sender among them: not made yet.
    Direct(Vec<PeerId>),
}

/// A draft that nothing forbids.
#[derive(Debug)]
struct Checked {
    place: Place,
    /// Whether a super peer reaches someone whom it does not watch.
    unwatched: bool,
}

/// A draft after hooks and filter.
#[derive(Debug)]
struct Decided {
    content: Content,
    /// Whether that is not what the sender wrote.
    changed: bool,
    /// The recipients, where a hook named them, sorted.
    narrowed: Option<Vec<PeerId>>,
}

/// A message that is staged, or transient, and not told yet.
#[derive(Debug)]
struct Outgoing {
    message: Arc<Message>,
    /// The conversation; `None` for a transient message to peers who have none.
    slot: Option<u32>,
    changed: bool,
    narrowed: Option<Vec<u32>>,
    position: u64,
}

impl Outgoing {
    /// What its sender is told.
    fn accepted(&self) -> Accepted {
        let message = &self.message;
        Accepted {
            conversation: message.conversation.clone(),
            id: message.id,
            number: message.number,
            timestamp: message.timestamp,
            changed: self.changed.then(|| message.content.clone()),
        }
    }
}

impl Engine {
    /// Sends for a session or the host.
    pub(crate) fn send(&mut self, actor: Actor, draft: Draft) -> Result<(), Error> {
        // Before any check: whatever was forbidden or broke since, the first attempt's answer stands.
        if self.repeat(actor, &draft)? {
            return Ok(());
        }
        let checked = self.check_send(actor, &draft)?;
        if self.parked.holds_any() {
            let lane = self.lane(actor, &checked.place);
            if self.parked.is_held(&lane) {
                self.may_park()?;
                self.peers[actor.peer].pinned += 1;
                self.parked.hold(lane, actor, draft);
                return Ok(());
            }
        }
        match self.ask_message(actor, &draft, &checked)? {
            Answer::Defer => {
                self.may_park()?;
                self.peers[actor.peer].pinned += 1;
                let lane = self.lane(actor, &checked.place);
                self.park(actor.ticket, Command::Send { actor, draft, lane, also: Vec::new() });
                Ok(())
            }
            Answer::Now(Resolution::Message(verdict)) => self.finish_send(actor, draft, checked, verdict),
            Answer::Default | Answer::Now(_) => self.finish_send(actor, draft, checked, Verdict::default()),
        }
    }

    /// Goes on with a message whose hook has answered: from the check again, with the answer in hand.
    pub(crate) fn resume_send(&mut self, actor: Actor, draft: Draft, mut verdict: Verdict) -> Result<(), Error> {
        self.note_also(actor, std::mem::take(&mut verdict.also));
        let checked = self.check_send(actor, &draft)?;
        self.finish_send(actor, draft, checked, verdict)
    }

    /// Takes what a hook wants said beside a message. What it says so is not asked about for more.
    fn note_also(&mut self, actor: Actor, also: Vec<Also>) {
        if also.is_empty() {
            return;
        }
        if actor.by_hook || also.len() > Verdict::ALSO_MAX {
            self.tell_fault(Hook::MessageReceived, HookFault::Invalid);
            return;
        }
        let sender = self.peers[actor.peer].id.clone();
        self.also.extend(also.into_iter().map(|Also { from, draft }| (from.unwrap_or_else(|| sender.clone()), draft)));
    }

    fn finish_send(
        &mut self,
        actor: Actor,
        mut draft: Draft,
        checked: Checked,
        mut verdict: Verdict,
    ) -> Result<(), Error> {
        self.note_also(actor, std::mem::take(&mut verdict.also));
        let decided = self.decide(&mut draft, &checked.place, verdict)?;
        let was_transient = draft.transient;
        // In a room a message that is not for everyone is live only: the log of a room is everyone's.
        draft.transient |= decided.narrowed.is_some() && self.is_room(&checked.place);
        let outgoing = if draft.transient {
            self.make_transient(actor, checked.place, decided)
        } else {
            self.stage_send(actor, &draft, checked.place, decided)
        };
        if let Some(token) = draft.retry_token.clone().filter(|_| draft.transient) {
            self.peers[actor.peer].note_transient(token, was_transient, outgoing.accepted());
        }
        self.emit_send(actor, &draft, &outgoing);
        if checked.unwatched {
            let (peer, id) = (self.peers[actor.peer].id.clone(), outgoing.message.id);
            self.tell(Event::SuperPeerSent { peer, id });
        }
        Ok(())
    }

    // Check.

    fn check_send(&self, actor: Actor, draft: &Draft) -> Result<Checked, Error> {
        self.may_answer()?;
        let max = self.config.message_bytes_max;
        if draft.counted_bytes() > max {
            return Err(Error::TooLong { limit: "message_bytes_max", max: max as u64 });
        }
        let checked = match &draft.target {
            Target::Peers(peers) => self.check_peers(actor, peers, draft.transient)?,
            Target::Conversation(id) => self.check_conversation(actor, id)?,
        };
        // A room is live at once, whatever the store does.
        match draft.transient {
            true => {}
            false if self.is_room(&checked.place) => self.has_space()?,
            false => self.may_stage()?,
        }
        Ok(checked)
    }

    fn check_peers(&self, actor: Actor, named: &[PeerId], transient: bool) -> Result<Checked, Error> {
        let max = self.config.recipients_max;
        if named.len() > max {
            return Err(Error::OverLimit { limit: "recipients_max", max: max as u64 });
        }
        if named.is_empty() {
            return Err(Error::no_target());
        }
        self.check_ids(named)?;
        let me = &self.peers[actor.peer].id;
        // The common case: one recipient, known, with a conversation.
        if let [peer] = named
            && let Some(slot) = self.find_pair(actor.peer, peer)
        {
            let unwatched = self.check_watched(actor, named)?;
            return Ok(Checked { place: Place::Known(slot), unwatched });
        }
        let unwatched = self.check_watched(actor, named)?;
        let mut all: Vec<PeerId> = named.to_vec();
        all.push(me.clone());
        all.sort_unstable();
        all.dedup();
        let known: Option<SmallVec<[u32; 4]>> = all.iter().map(|peer| self.peers.find(peer)).collect();
        let found = known.and_then(|mut slots| {
            slots.sort_unstable();
            self.conversations.by_set(Set::Direct, &slots)
        });
        let place = found.map_or(Place::Direct(all), Place::Known);
        if let (Place::Direct(all), false) = (&place, transient) {
            self.check_room_for(actor, all)?;
        }
        Ok(Checked { place, unwatched })
    }

    /// Whether another direct conversation with these peers fits.
    fn check_room_for(&self, actor: Actor, peers: &[PeerId]) -> Result<(), Error> {
        self.check_new_peers(actor, peers)?;
        self.check_new_conversation(actor)
    }

    /// With signatures on, each recipient must be watched at this moment; super peers and the host are exempt. True where the
    /// exemption was used.
    fn check_watched(&self, actor: Actor, peers: &[PeerId]) -> Result<bool, Error> {
        let Some(slot) = actor.session.map(|session| session.slot) else { return Ok(false) };
        let session = &self.sessions[slot];
        if !self.config.signatures.sessions && !session.super_peer {
            return Ok(false);
        }
        let is_watched = |peer: &&PeerId| self.peers[actor.peer].id == **peer || self.is_watching(slot, peer);
        let failed: Vec<PeerId> = peers.iter().filter(|peer| !is_watched(peer)).cloned().collect();
        if failed.is_empty() || session.super_peer {
            return Ok(!failed.is_empty());
        }
        Err(Error::InvalidTarget { peers: failed })
    }

    fn check_conversation(&self, actor: Actor, id: &ConversationId) -> Result<Checked, Error> {
        let slot = self.conversation_named(id)?;
        let conversation = &self.conversations[slot];
        conversation.may_send(actor.peer)?;
        let unwatched = if conversation.kind == ConversationKind::Direct {
            let others: Vec<PeerId> = conversation.active_members().map(|peer| self.peers[peer].id.clone()).collect();
            self.check_watched(actor, &others)?
        } else {
            false
        };
        Ok(Checked { place: Place::Known(slot), unwatched })
    }

    fn kind_of(&self, place: &Place) -> ConversationKind {
        match place {
            Place::Direct(_) => ConversationKind::Direct,
            Place::Known(slot) => self.conversations[*slot].kind,
        }
    }

    fn is_room(&self, place: &Place) -> bool {
        self.kind_of(place) == ConversationKind::Room
    }

    /// What a sender's messages keep their order in, while one of them waits for a hook. A direct conversation may be made
    /// meanwhile by another of its members: its lane is the set of them before and after.
    fn lane(&mut self, actor: Actor, place: &Place) -> Lane {
        match place {
            Place::Known(slot) if self.conversations[*slot].kind == ConversationKind::Direct => {
                Lane::Peers(actor.peer, self.names_of_direct(*slot))
            }
            Place::Known(slot) => Lane::Conversation(actor.peer, self.conversations[*slot].number),
            Place::Direct(peers) => Lane::Peers(actor.peer, Arc::from(peers.as_slice())),
        }
    }

    /// Answers a repeated attempt with the first one's answer, or lets it wait with the first one.
    pub(crate) fn repeat(&mut self, actor: Actor, draft: &Draft) -> Result<bool, Error> {
        let Some(token) = &draft.retry_token else { return Ok(false) };
        self.may_answer()?;
        if self.parked.has_send(actor.peer, token) {
            self.may_park()?;
            return Ok(self.parked.join(actor, token));
        }
        if let Some(accepted) = self.peers[actor.peer].transient_answer(token, draft.transient).cloned() {
            self.reply_now(actor, Ok(Reply::Accepted(accepted)));
            return Ok(true);
        }
        let Some(sent) = self.retry_tokens.find(actor.peer, token).cloned() else { return Ok(false) };
        let Some(slot) = self.conversations.by_number(sent.conversation) else { return Ok(false) };
        let conversation = &self.conversations[slot];
        let accepted = Accepted {
            conversation: conversation.id.clone(),
            id: sent.id,
            number: (conversation.kind != ConversationKind::Room).then_some(sent.number),
            timestamp: sent.timestamp,
            changed: sent.changed,
        };
        self.reply(actor, Reply::Accepted(accepted));
        Ok(true)
    }

    // Decide.

    fn ask_message(&mut self, actor: Actor, draft: &Draft, checked: &Checked) -> Result<Answer<Resolution>, Error> {
        if !self.interests().message_received {
            return Ok(Answer::Default);
        }
        let to = self.names_for_hook(actor, &checked.place);
        let conversation = match &checked.place {
            Place::Known(slot) => Some(&self.conversations[*slot]).filter(|c| c.kind != ConversationKind::Direct),
            Place::Direct(_) => None,
        };
        let conversation = conversation.map(|conversation| conversation.id.clone());
        let from = self.peers[actor.peer].id.clone();
        let question = MessageReceived {
            ticket: actor.ticket,
            from: &from,
            to: &to,
            conversation: conversation.as_ref(),
            transient: draft.transient,
            content: &draft.content,
            receipt: draft.receipt,
            timestamp: self.stamp(),
            source_ip: self.source_ip(actor),
        };
        match self.ask(Question::MessageReceived(&question)) {
            Ok(answer) => Ok(answer),
            Err(()) if self.config.hooks_fail_closed => Err(Error::MessageRejected),
            Err(()) => Ok(Answer::Default),
        }
    }

    /// The recipients by name, without the sender; none for a room.
    fn names_for_hook(&mut self, actor: Actor, place: &Place) -> Vec<PeerId> {
        let me = self.peers[actor.peer].id.clone();
        let all: Vec<PeerId> = match place {
            Place::Direct(peers) => peers.clone(),
            Place::Known(slot) if self.conversations[*slot].kind == ConversationKind::Room => Vec::new(),
            Place::Known(slot) => self.member_names(*slot).to_vec(),
        };
        let alone = all.len() == 1;
        all.into_iter().filter(|peer| alone || *peer != me).collect()
    }

    /// What a hook's answer and the filter make of the draft, whose content they take. A hook's answer that breaks a limit is set aside.
    fn decide(&mut self, draft: &mut Draft, place: &Place, mut verdict: Verdict) -> Result<Decided, Error> {
        if verdict.drop {
            return Err(Error::MessageRejected);
        }
        let push = draft.push.as_ref().map_or(0, String::len);
        let too_long = verdict.content.as_ref().is_some_and(|c| c.len() + push > self.config.message_bytes_max);
        let members = match place {
            Place::Known(slot) => self.conversations[*slot].active,
            Place::Direct(peers) => peers.len(),
        };
        let too_many = verdict.to.as_ref().is_some_and(|to| to.len() > members.max(self.config.recipients_max));
        if too_long || too_many {
            self.tell_fault(Hook::MessageReceived, HookFault::Invalid);
            verdict = Verdict::default();
        }
        let changed = verdict.content.is_some();
        let content =
            verdict.content.unwrap_or_else(|| std::mem::replace(&mut draft.content, Content::Text(String::new())));
        let narrowed = verdict.to.map(|mut to| {
            to.sort_unstable();
            to.dedup();
            to
        });
        let kind = self.kind_of(place);
        draft.push = draft.push.take().map(|push| self.masked_text(kind, &push));
        Ok(match self.masked(kind, &content, self.config.message_bytes_max.saturating_sub(push)) {
            Some(masked) => Decided { content: masked, changed: true, narrowed },
            None => Decided { content, changed, narrowed },
        })
    }

    // Stage.

    /// A message that nobody stores.
    fn make_transient(&mut self, actor: Actor, place: Place, decided: Decided) -> Outgoing {
        let (id, timestamp) = self.next_id();
        let (slot, conversation, kind, to) = match place {
            Place::Known(slot) => {
                let names = self.names_of_direct(slot);
                let conversation = &self.conversations[slot];
                (Some(slot), conversation.id.clone(), conversation.kind, names)
            }
            Place::Direct(peers) => {
                let id = ConversationId::direct(&peers);
                (None, id, ConversationKind::Direct, Arc::from(peers))
            }
        };
        let narrowed = self.narrowed(slot, decided.narrowed, &to);
        let message = Message {
            id,
            conversation,
            kind,
            number: None,
            timestamp,
            from: self.peers[actor.peer].id.clone(),
            to: narrowed.as_ref().map_or(to, |(names, _)| Arc::clone(names)),
            content: decided.content,
            transient: true,
            receipt: false,
            deleted: false,
            narrowed: narrowed.is_some(),
            position: 0,
            device: None,
        };
        let narrowed = narrowed.map(|(_, peers)| peers);
        Outgoing { message: Arc::new(message), slot, changed: decided.changed, narrowed, position: 0 }
    }

    /// The names and the slots of the recipients that a hook left, where it named any; `to` are all of a direct message.
    pub(crate) fn narrowed(
        &self,
        slot: Option<u32>,
        named: Option<Vec<PeerId>>,
        to: &[PeerId],
    ) -> Option<(Arc<[PeerId]>, Vec<u32>)> {
        let is_recipient = |peer: &PeerId| match slot {
            Some(slot) => self.peers.find(peer).is_some_and(|peer| self.is_in(slot, peer)),
            None => to.contains(peer),
        };
        let names: Arc<[PeerId]> = named?.into_iter().filter(is_recipient).collect();
        let mut slots: Vec<u32> = names.iter().filter_map(|peer| self.peers.find(peer)).collect();
        slots.sort_unstable();
        Some((names, slots))
    }

    /// Whether a peer is a member, or one of its sessions in the room.
    fn is_in(&self, slot: u32, peer: u32) -> bool {
        let conversation = &self.conversations[slot];
        let is_present = || self.peers[peer].sessions.iter().any(|session| conversation.present.contains(session));
        conversation.has_member(peer) || conversation.kind == ConversationKind::Room && is_present()
    }

    /// Stages a message: one append to its conversation's log, however many its recipients.
    fn stage_send(&mut self, actor: Actor, draft: &Draft, place: Place, decided: Decided) -> Outgoing {
        let slot = match place {
            Place::Known(slot) => slot,
            Place::Direct(peers) => self.make_direct(actor, &peers),
        };
        let sender = self.persist_peer(actor.peer);
        self.peers[actor.peer].wrote = true;
        let (id, now) = self.next_id();
        let position = self.next_position();
        let to = self.names_of_direct(slot);
        let narrowed = self.narrowed(Some(slot), decided.narrowed, &to);
        let conversation = &self.conversations[slot];
        let number = conversation.last_number + 1;
        let is_room = conversation.kind == ConversationKind::Room;
        let message = Arc::new(Message {
            id,
            conversation: conversation.id.clone(),
            kind: conversation.kind,
            number: (!is_room).then_some(number),
            timestamp: now.max(conversation.last_at),
            from: self.peers[actor.peer].id.clone(),
            to: narrowed.as_ref().map_or(to, |(names, _)| Arc::clone(names)),
            content: decided.content,
            transient: is_room,
            receipt: draft.receipt && !is_room && conversation.active <= 2,
            deleted: false,
            narrowed: narrowed.is_some(),
            position,
            device: actor.session.and_then(|session| self.sessions[session.slot].rare.device.clone()),
        });
        let narrowed = narrowed.map(|(_, peers)| peers);
        if narrowed.is_some() && !std::mem::replace(&mut self.narrows, true) {
            self.gate.put(meta::NARROWS.key(), meta::NARROWS.seal(&true));
        }
        let recipients = self.recipients(slot, narrowed.as_deref());
        let token = draft.retry_token.as_ref();
        let entry = Entry::new(&message, sender, &recipients, token.map(crate::RetryToken::as_str));
        let conversation_number = self.conversations[slot].number;
        self.gate.append(slot, conversation_number, number, &entry);
        for (key, row) in recipients.rows(conversation_number, number) {
            self.put_row(key, &row);
        }
        self.append(slot, number, &message);
        self.note_accepted(&message, slot, number, sender);
        if let Some(token) = token {
            let sent = Sent {
                conversation: conversation_number,
                id,
                number,
                timestamp: message.timestamp,
                noted_at: self.host_time.shown(),
                changed: decided.changed.then(|| message.content.clone()),
                row: 0,
            };
            self.note_token(actor.peer, token, sent);
        }
        if !is_room {
            let device = message.device.clone();
            self.count_message(slot, number, actor.peer, device.as_ref(), narrowed.as_deref());
            self.note_copies(actor, slot, &message);
            let at = self.whereabouts(slot, &message);
            self.recent.note(id, Whereabouts { sent_by: actor.session, ..at });
        }
        self.alarms.messages += 1;
        Outgoing { message, slot: Some(slot), changed: decided.changed, narrowed, position }
    }

    /// Puts a message at the end of its conversation's log in memory.
    pub(crate) fn append(&mut self, slot: u32, number: u64, message: &Arc<Message>) {
        if self.conversations[slot].kind.has_fixed_members() {
            for peer in self.conversations[slot].active_members() {
                self.peers[peer].change_direct_unread(0, 1);
            }
        }
        let conversation = &mut self.conversations[slot];
        conversation.last_number = number;
        conversation.last_at = message.timestamp;
        conversation.last_position = message.position;
        // A room's live message carries no number; its log does.
        let logged = match message.number {
            Some(_) => Arc::clone(message),
            None => Arc::new(Message { number: Some(number), transient: false, ..(**message).clone() }),
        };
        conversation.tail.push_back(logged);
        self.reads.note_arrival(message.position, slot);
    }

    /// The sender's other sessions get a copy.
    fn note_copies(&mut self, actor: Actor, slot: u32, message: &Message) {
        if !self.conversations[slot].members.contains_key(&actor.peer) {
            return;
        }
        let own = actor.session.map(|session| session.slot);
        for at in 0..self.peers[actor.peer].sessions.len() {
            let session = self.peers[actor.peer].sessions[at];
            if self.sessions[session].flow == Flow::Live && Some(session) != own {
                self.note_copy(session, slot, message);
            }
        }
    }

    /// Makes the direct conversation of these peers, sorted by name.
    fn make_direct(&mut self, actor: Actor, peers: &[PeerId]) -> u32 {
        let slots = self.make_peers(actor, peers);
        self.count_made(actor);
        for &peer in &slots {
            self.persist_peer(peer);
        }
        let documented = ConversationId::direct(peers);
        // Two different sets may have the same md5, where ids contain `:`: the second gets a normal id.
        let id = match self.conversations.find(&documented) {
            Some(_) => self.fresh_conversation_id(""),
            None => documented,
        };
        let mut conversation = Conversation::new(id, ConversationKind::Direct, self.host_time.shown());
        conversation.active = slots.len();
        conversation.members = slots.iter().map(|peer| (*peer, Member::joined_after(0))).collect();
        conversation.names = Some(Arc::from(peers));
        let slot = self.conversations.insert(conversation);
        slots.into_iter().for_each(|peer| self.peers[peer].enter(slot));
        self.write_conversation(slot);
        slot
    }

    // Emit.

    fn emit_send(&mut self, actor: Actor, draft: &Draft, outgoing: &Outgoing) {
        let message = &outgoing.message;
        let is_room = message.kind == ConversationKind::Room;
        let accepted = Reply::Accepted(outgoing.accepted());
        if draft.transient || is_room {
            self.reply_now(actor, Ok(accepted))
        } else {
            self.reply(actor, accepted)
        }
        let sessions = self.spread(actor, outgoing);
        if outgoing.position == 0 {
            self.count_missed(actor, outgoing.slot, outgoing.narrowed.as_deref(), &message.to);
        }
        if self.config.tell_sent {
            let event = Output::Event(Event::Sent { message: Arc::clone(message), sessions });
            if draft.transient || is_room { self.gate.emit_now(event) } else { self.gate.emit(event) }
        }
        if !draft.transient && !is_room {
            self.wake_absent(actor, draft.push.as_deref(), outgoing.slot, message, outgoing.narrowed.as_deref());
        }
    }

    /// Delivers a message to everyone's sessions; says to how many.
    fn spread(&mut self, actor: Actor, outgoing: &Outgoing) -> usize {
        let message = &outgoing.message;
        let sessions = match (outgoing.slot, &outgoing.narrowed) {
            (Some(slot), None) => Arc::clone(&self.reach(slot).sessions),
            (Some(slot), Some(narrowed)) if message.kind == ConversationKind::Room => {
                let present = Arc::clone(&self.reach(slot).sessions);
                let is_for = |session: &&SessionRef| {
                    let peer = self.sessions[session.slot].peer;
                    peer == actor.peer || narrowed.binary_search(&peer).is_ok()
                };
                Arc::new(present.iter().filter(is_for).copied().collect())
            }
            (_, Some(narrowed)) => Arc::new(self.live_sessions(narrowed.iter().copied().chain([actor.peer]))),
            (None, None) => {
                let peers: Vec<u32> = message.to.iter().filter_map(|peer| self.peers.find(peer)).collect();
                Arc::new(self.live_sessions(peers.into_iter()))
            }
        };
        let mine = actor.session.filter(|session| sessions.binary_search(session).is_ok());
        let count = sessions.len() - usize::from(mine.is_some());
        if count == 0 {
            return 0;
        }
        let update = Arc::new(Update::Message { message: Arc::clone(message), offline: false });
        let class = match outgoing.position {
            0 => Class::Fleeting,
            _ if message.kind == ConversationKind::Room => Class::Fleeting,
            position => Class::Logged { position },
        };
        let output = Output::Deliver(Deliver { audience: Audience::Many { sessions, except: mine }, update, class });
        if class == Class::Fleeting {
            self.gate.emit_now(output)
        } else {
            self.gate.emit(output)
        }
        count
    }
}
