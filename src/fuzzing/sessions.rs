//! Sessions that do anything: every accepted message reaches each live session of each member once, and nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Choices;
use crate::store::memory::MemoryStore;
use crate::{
    Config, ConversationId, Create, DeviceId, Draft, Engine, Event, Message, MessageId, NoHooks, Open, Output, PeerId,
    Reply, Request, SessionId, SessionRef, Shape, Timestamp, Update,
};

pub(super) const PEERS: usize = 4;

/// Each few bytes are one request.
pub fn sessions(data: &[u8]) {
    let mut world = World::new();
    let mut choices = Choices(data);
    for _ in 0..256 {
        if choices.is_empty() {
            return;
        }
        world.step(&mut choices);
        world.look();
    }
}

struct Attached {
    id: SessionId,
    peer: PeerId,
    seen: BTreeSet<MessageId>,
}

struct World {
    engine: Engine,
    now: Timestamp,
    attached: BTreeMap<SessionRef, Attached>,
    asker: Asker,
    last: BTreeMap<ConversationId, u64>,
}

/// What clients ask for, out of few and awkward parts.
#[derive(Default)]
pub(super) struct Asker {
    /// Those that were made.
    pub(super) conversations: Vec<ConversationId>,
    said: u64,
}

impl Asker {
    fn conversation(&self, choices: &mut Choices<'_>) -> Option<ConversationId> {
        self.conversations.get(choices.below(self.conversations.len())).cloned()
    }

    /// A request; `seen` are messages that may be acknowledged.
    pub(super) fn request(&mut self, choices: &mut Choices<'_>, seen: Vec<MessageId>) -> Option<Request> {
        Some(match choices.below(12) {
            0..=2 => Request::Send(self.draft(choices)),
            3 => Request::Send(Draft::to_conversation(self.conversation(choices)?, self.words())),
            4 => {
                let shape = [Shape::Group, Shape::Unique, Shape::Room, Shape::Temporary(Duration::from_secs(9))];
                Request::Create(Create::new(shape[choices.below(4)], peers(choices)))
            }
            5 => Request::Join { conversation: self.conversation(choices)?, signature: None },
            6 => Request::Leave { conversation: self.conversation(choices)? },
            7 => Request::Invite { conversation: self.conversation(choices)?, peers: peers(choices), signature: None },
            8 => Request::Kick { conversation: self.conversation(choices)?, peers: peers(choices), signature: None },
            9 => Request::Acknowledge { messages: Self::some_ids(&seen, choices), read: choices.below(2) == 0 },
            10 => Request::Watch { peers: peers(choices), signature: None },
            _ => Request::Close,
        })
    }

    fn words(&mut self) -> String {
        self.said += 1;
        format!("message {}", self.said)
    }

    fn draft(&mut self, choices: &mut Choices<'_>) -> Draft {
        let draft = Draft::to_peers(peers(choices), self.words());
        if choices.below(4) == 0 { draft.transient() } else { draft.with_receipt() }
    }

    fn some_ids(seen: &[MessageId], choices: &mut Choices<'_>) -> Vec<MessageId> {
        (0..choices.below(4)).filter_map(|_| seen.get(choices.below(seen.len())).copied()).collect()
    }
}

pub(super) fn peer(at: usize) -> PeerId {
    PeerId::new(["ann", "bob", "cat", "dan"][at % PEERS]).expect("a legal id")
}

pub(super) fn peers(choices: &mut Choices<'_>) -> Vec<PeerId> {
    (0..choices.below(4)).map(|_| peer(choices.below(PEERS))).collect()
}

impl World {
    fn new() -> Self {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let config =
            Config { offline_messages_max: 5, members_max: 3, groups_max: 4, sessions_max: 3, ..Config::default() };
        let engine = Engine::start(config, Arc::new(MemoryStore::new()), Box::new(NoHooks), [7; 32], now);
        Self {
            engine: engine.expect("memory starts"),
            now,
            attached: BTreeMap::new(),
            asker: Asker::default(),
            last: BTreeMap::new(),
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.below(16) {
            0 | 1 => self.open(choices),
            2 => {
                if let Some(session) = self.session(choices) {
                    self.engine.pause(session, self.now);
                }
            }
            3 => {
                self.now = self.now + Duration::from_millis(1 << choices.below(30));
                self.engine.handle_timeout(self.now);
            }
            _ => {
                let Some(session) = self.session(choices) else { return };
                let seen = self.attached.values().flat_map(|attached| &attached.seen).copied().collect();
                let Some(request) = self.asker.request(choices, seen) else { return };
                // A refusal is an answer too.
                let _: Result<crate::Ticket, crate::Error> = self.engine.request(session, request, self.now);
            }
        }
    }

    fn open(&mut self, choices: &mut Choices<'_>) {
        let mut open = Open::new(peer(choices.below(PEERS)));
        open.device = (choices.below(3) > 0).then(|| DeviceId::new(["a", "b"][choices.below(2)]).expect("a legal id"));
        open.watch = peers(choices);
        let peer = open.peer.clone();
        if let Ok((id, _)) = self.engine.open(open, self.now) {
            let reference = SessionRef { slot: id.slot(), generation: id.generation() };
            self.attached.insert(reference, Attached { id, peer, seen: BTreeSet::new() });
        }
    }

    fn session(&self, choices: &mut Choices<'_>) -> Option<SessionId> {
        self.attached.values().nth(choices.below(self.attached.len())).map(|attached| attached.id)
    }

    /// Everything is written and told, and what is told is right.
    fn look(&mut self) {
        self.engine.commit(self.now).expect("memory takes everything");
        let (mut heard, mut sent): (BTreeMap<MessageId, BTreeSet<SessionRef>>, _) = (BTreeMap::new(), Vec::new());
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Deliver(deliver) => {
                    for session in deliver.audience.iter() {
                        self.hear(session, &deliver.update, &mut heard);
                    }
                }
                Output::Event(Event::Sent { message, .. }) => sent.push(message),
                Output::Event(Event::HookFault { .. } | Event::RecordDamaged { .. }) => panic!("{output:?}"),
                Output::Close { session } => {
                    self.attached.remove(&SessionRef { slot: session.slot(), generation: session.generation() });
                }
                _ => {}
            }
        }
        sent.iter().for_each(|message| self.check_sent(message, heard.get(&message.id)));
    }

    fn hear(&mut self, session: SessionRef, update: &Update, heard: &mut BTreeMap<MessageId, BTreeSet<SessionRef>>) {
        let Some(attached) = self.attached.get_mut(&session) else { return };
        match update {
            Update::Message { message, offline } => {
                assert!(attached.seen.insert(message.id), "a session is given a message once");
                if !offline {
                    heard.entry(message.id).or_default().insert(session);
                }
            }
            Update::Reply { result: Ok(Reply::Created { conversation, existing: false }), .. } => {
                self.asker.conversations.push(conversation.id.clone());
            }
            _ => {}
        }
    }

    /// A message that was just sent: its number is the next, and all its listeners but the sending session have it.
    fn check_sent(&mut self, message: &Message, heard: Option<&BTreeSet<SessionRef>>) {
        if let Some(number) = message.number {
            let last = self.last.insert(message.conversation.clone(), number).unwrap_or_default();
            assert_eq!(number, last + 1, "numbers have no holes");
        }
        if message.kind == crate::ConversationKind::Room {
            return;
        }
        let empty = BTreeSet::new();
        let heard = heard.unwrap_or(&empty);
        let members = self.members(message);
        let listening: BTreeSet<SessionRef> =
            self.attached.iter().filter(|(_, held)| members.contains(&held.peer)).map(|(at, _)| *at).collect();
        assert!(heard.is_subset(&listening), "no stranger hears it");
        // All but one: the session that sent it.
        let deaf: Vec<&Attached> = listening.difference(heard).filter_map(|at| self.attached.get(at)).collect();
        assert!(deaf.len() <= 1 && deaf.iter().all(|held| held.peer == message.from), "everyone else hears it");
    }

    fn members(&mut self, message: &Message) -> Vec<PeerId> {
        let in_it = |engine: &mut Engine, peer: &PeerId| {
            engine.conversations_of(peer).iter().any(|info| info.id == message.conversation)
        };
        let all = (0..PEERS).map(peer);
        if message.kind == crate::ConversationKind::Direct {
            return message.to.to_vec();
        }
        all.filter(|peer| in_it(&mut self.engine, peer)).collect()
    }
}
