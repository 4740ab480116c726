//! A world to test in: one engine, named sessions, a clock that the test moves, scripted hooks, and a log of everything that
//! can be seen. The only place that calls verbs.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use switchboard::filter::WordFilter;
use switchboard::signature::{Action, Signer};
use switchboard::store::faulty::{Faults, FaultyStore};
use switchboard::store::{Durability, Store};
use switchboard::{
    Accepted, Class, Config, ConversationId, ConversationInfo, ConversationKind, Create, Credentials, Deliver,
    DeviceId, Draft, Engine, Error, Event, Gap, MembershipChange, Message, MessageId, Open, Output, Page, PeerId, Push,
    Reply, Request, Resolution, ResumeToken, SessionId, SessionRef, Signature, Ticket, Timestamp, Update,
};

use crate::hooks::{Script, ScriptedHooks};

/// When every world begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const KEY: &[u8] = b"the master key of the tests";

/// A session as its client and the host's outbox see it.
pub(crate) struct Client {
    pub(crate) peer: PeerId,
    device: Option<DeviceId>,
    pub(crate) id: Option<SessionId>,
    pub(crate) token: Option<ResumeToken>,
    /// Messages that it has and has not acknowledged.
    pub(crate) unacknowledged: Vec<MessageId>,
    /// How many updates its outbox holds; none is any number, read at once.
    room: Option<usize>,
    outbox: VecDeque<Arc<Update>>,
    /// Whether logged updates reach it directly.
    is_live: bool,
    /// The catch-up that did not fit.
    broken: Option<u32>,
    lagging: bool,
    pub(crate) dropped: usize,
    /// The last number that this session got, conversation by conversation.
    last: BTreeMap<ConversationId, u64>,
    is_open: bool,
}

impl Client {
    /// Each session sees every conversation in order, and nothing of it twice.
    fn check_order(&mut self, message: &Message) {
        let Some(number) = message.number else { return };
        let last = self.last.insert(message.conversation.clone(), number).unwrap_or_default();
        assert!(number > last, "{} got #{number} after #{last} of {}", self.peer, message.conversation);
    }

    /// The first that a session hears is that it is open, or why it is not.
    fn check_open(&mut self, update: &Update) {
        match update {
            Update::Reply { result: Ok(Reply::Opened(_)), .. } => self.is_open = true,
            Update::Reply { result: Err(_), .. } | Update::Closed { .. } => {}
            _ => assert!(self.is_open, "{} hears before it is open: {update:?}", self.peer),
        }
    }
}

/// What a test knows of a message by its text.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) id: MessageId,
    pub(crate) at: Timestamp,
    pub(crate) number: u64,
    pub(crate) conversation: ConversationId,
}

/// An engine with everyone around it.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) config: Config,
    store: Arc<dyn Store>,
    pub(crate) faults: Faults,
    pub(crate) now: Timestamp,
    pub(crate) script: Script,
    pub(crate) clients: BTreeMap<String, Client>,
    attached: BTreeMap<(u32, u32), String>,
    labels: BTreeMap<ConversationId, String>,
    pub(crate) seen: BTreeMap<String, Seen>,
    asked: BTreeMap<Ticket, Result<Reply, Error>>,
    /// A ticket whose answer the test takes itself.
    wanted: Option<Ticket>,
    /// Where in the log its answer came.
    answered_at: usize,
    /// How far each peer has read, as the test knows it.
    read: BTreeMap<(String, ConversationId), u64>,
    signed: BTreeMap<String, Signature>,
    pub(crate) log: Vec<String>,
    /// Whether what is staged is committed after every step.
    pub(crate) commits: bool,
    /// Whether presence and sends are logged as the host is told of them.
    pub(crate) tells_events: bool,
    outputs: DefaultHasher,
    pub(crate) outputs_seen: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self::on(config, FaultyStore::new(Durability::Fsync))
    }

    pub(crate) fn on(mut config: Config, store: FaultyStore) -> Self {
        config.app_id = "app".to_owned();
        config.master_keys = vec![KEY.to_vec()];
        let script = Script::default();
        let faults = store.faults();
        let store: Arc<dyn Store> = Arc::new(store);
        let hooks = Box::new(ScriptedHooks::new(&script));
        let engine = Engine::start(config.clone(), Arc::clone(&store), hooks, [7; 32], START).unwrap();
        Self {
            engine,
            config,
            store,
            faults,
            now: START,
            script,
            clients: BTreeMap::new(),
            attached: BTreeMap::new(),
            labels: BTreeMap::new(),
            seen: BTreeMap::new(),
            asked: BTreeMap::new(),
            wanted: None,
            answered_at: 0,
            read: BTreeMap::new(),
            signed: BTreeMap::new(),
            log: Vec::new(),
            commits: true,
            tells_events: false,
            outputs: DefaultHasher::new(),
            outputs_seen: 0,
        }
    }

    // Time, the store, the end of the process.

    /// Moves the clock, with everything that falls due on the way.
    pub(crate) fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        let step = if span > Duration::from_secs(120) { Duration::from_secs(1_800) } else { Duration::ZERO };
        while self.now < end {
            let next = match self.engine.poll_timeout() {
                _ if !step.is_zero() => self.now + step,
                Some(at) => at.max(self.now),
                None => end,
            };
            self.now = next.min(end);
            self.wake();
            if step.is_zero() && next > end {
                break;
            }
        }
    }

    /// Does what is due now.
    pub(crate) fn wake(&mut self) {
        for _ in 0..1_000 {
            self.engine.handle_timeout(self.now);
            self.pump();
            if self.engine.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
        }
    }

    /// Moves the clock as a machine that slept does: nothing was due on the way.
    pub(crate) fn jump(&mut self, span: Duration) {
        self.now = self.now + span;
        self.wake();
    }

    /// The process ends without a word, and starts again on its store.
    pub(crate) fn restart(&mut self) {
        self.restart_on(self.faults.restart());
    }

    pub(crate) fn restart_on(&mut self, store: FaultyStore) {
        self.faults = store.faults();
        self.store = Arc::new(store);
        let hooks = Box::new(ScriptedHooks::new(&self.script));
        self.engine = Engine::start(self.config.clone(), Arc::clone(&self.store), hooks, [7; 32], self.now).unwrap();
        self.attached.clear();
        self.clients.values_mut().for_each(|client| client.id = None);
        self.pump();
    }

    /// Takes what is staged to the store, and what it lets out to everyone.
    pub(crate) fn commit(&mut self) {
        while self.engine.has_work() && self.engine.commit(self.now).is_ok() {
            self.take_outputs();
        }
        self.take_outputs();
    }

    /// What whoever commits does about once a second.
    pub(crate) fn maintain(&mut self) {
        self.store.maintain().unwrap();
    }

    /// Gives everyone what is theirs.
    pub(crate) fn pump(&mut self) {
        self.take_outputs();
        if self.commits {
            self.commit();
        }
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            format!("{output:?}").hash(&mut self.outputs);
            self.outputs_seen += 1;
            self.act(output);
        }
    }

    /// A number that stands for every output so far.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.outputs.finish()
    }

    // The host.

    fn act(&mut self, output: Output) {
        match output {
            Output::Deliver(deliver) => self.deliver(&deliver),
            Output::Push(push) => self.say_push(&push),
            Output::Live { session, catch_up } => self.go_live(session, catch_up),
            Output::Close { session } => self.detach(session),
            Output::Event(event) => self.say_event(&event),
            _ => self.say("an output that this world does not know"),
        }
    }

    fn deliver(&mut self, deliver: &Deliver) {
        let names: Vec<String> = deliver.audience.iter().filter_map(|to| self.name_of(to)).collect();
        for name in names {
            self.offer(&name, &deliver.update, deliver.class);
        }
    }

    fn name_of(&self, to: SessionRef) -> Option<String> {
        self.attached.get(&(to.slot, to.generation)).cloned()
    }

    /// What an outbox does with an update: engine.md, rule 11.
    fn offer(&mut self, name: &str, update: &Arc<Update>, class: Class) {
        let Some(client) = self.clients.get_mut(name) else { return };
        let has_room = client.room.is_none_or(|room| client.outbox.len() < room);
        let (takes, overflows_at) = match class {
            Class::Reply => (true, None),
            Class::Transient if has_room => (true, None),
            Class::Transient => {
                client.dropped += 1;
                (false, None)
            }
            Class::Logged { position } if client.is_live => (has_room, (!has_room).then_some(position)),
            Class::Logged { .. } => (false, None),
            Class::Page { catch_up, .. } if client.broken == Some(catch_up) => (false, None),
            Class::Page { position, catch_up } => {
                client.broken = if has_room { client.broken } else { Some(catch_up) };
                (has_room, (!has_room).then_some(position))
            }
        };
        if takes {
            client.outbox.push_back(Arc::clone(update));
        }
        if let (Some(position), Some(session)) = (overflows_at, client.id) {
            client.is_live = false;
            client.lagging = true;
            self.engine.overflowed(session, position, self.now);
        }
        if self.clients[name].room.is_none() {
            self.read_outbox(name, usize::MAX);
        }
    }

    fn go_live(&mut self, session: SessionId, catch_up: u32) {
        let Some(name) = self.attached.get(&(session.slot(), session.generation())) else { return };
        if let Some(client) = self.clients.get_mut(name).filter(|client| client.broken != Some(catch_up)) {
            client.is_live = true;
            client.lagging = false;
        }
    }

    fn detach(&mut self, session: SessionId) {
        let Some(name) = self.attached.remove(&(session.slot(), session.generation())) else { return };
        if let Some(client) = self.clients.get_mut(&name).filter(|client| client.id == Some(session)) {
            client.id = None;
            client.outbox.clear();
            self.say(&format!("{name} is disconnected"));
        }
    }

    /// From now on a session's outbox holds so many updates, and nobody reads it.
    pub(crate) fn stop_reading(&mut self, name: &str, room: usize) {
        self.client(name).room = Some(room);
    }

    /// The session reads what its outbox holds, and says that it has room.
    pub(crate) fn read_on(&mut self, name: &str) {
        self.read_outbox(name, usize::MAX);
        let client = self.client(name);
        if let (true, Some(session), Some(room)) = (client.lagging, client.id, client.room) {
            self.engine.drained(session, room, self.now);
            self.pump();
        }
    }

    /// The session reads everything at once again.
    pub(crate) fn read_freely(&mut self, name: &str) {
        for _ in 0..1_000 {
            if !self.client(name).lagging && self.client(name).outbox.is_empty() {
                break;
            }
            self.read_on(name);
        }
        self.client(name).room = None;
    }

    pub(crate) fn outbox_len(&self, name: &str) -> usize {
        self.clients[name].outbox.len()
    }

    fn read_outbox(&mut self, name: &str, max: usize) {
        for _ in 0..max {
            let Some(update) = self.client(name).outbox.pop_front() else { return };
            self.take(name, &update);
        }
    }

    /// What a client does with an update.
    fn take(&mut self, name: &str, update: &Update) {
        self.client(name).check_open(update);
        match update {
            Update::Reply { ticket, result } => {
                if let Ok(Reply::Opened(opened)) = result {
                    self.client(name).token = Some(opened.token.clone());
                }
                if self.wanted == Some(*ticket) {
                    self.asked.insert(*ticket, result.clone());
                    self.answered_at = self.log.len();
                    return;
                }
                let text = self.reply_text(result);
                self.say(&format!("{name} <- {text}"));
            }
            Update::Message { message, offline } => {
                self.client(name).check_order(message);
                if message.number.is_some() && message.from != self.client(name).peer {
                    self.client(name).unacknowledged.push(message.id);
                }
                let text = self.message_text(message, *offline);
                self.say(&format!("{name} <- {text}"));
            }
            _ => {
                let text = self.update_text(update);
                self.say(&format!("{name} <- {text}"));
            }
        }
    }

    // What clients do.

    pub(crate) fn client(&mut self, name: &str) -> &mut Client {
        let (peer, device) = parts_of(name);
        self.clients.entry(name.to_owned()).or_insert_with(|| Client {
            peer,
            device,
            id: None,
            token: None,
            unacknowledged: Vec::new(),
            room: None,
            outbox: VecDeque::new(),
            is_live: false,
            broken: None,
            lagging: false,
            dropped: 0,
            last: BTreeMap::new(),
            is_open: false,
        })
    }

    /// An open in the name of a session, to be completed.
    pub(crate) fn opening(&mut self, name: &str) -> Open {
        let client = self.client(name);
        Open { device: client.device.clone(), ..Open::new(client.peer.clone()) }
    }

    pub(crate) fn open(&mut self, name: &str, open: Open) {
        self.let_go(name, &open);
        match self.engine.open(open, self.now) {
            Ok((session, _)) => {
                self.attached.insert((session.slot(), session.generation()), name.to_owned());
                let client = self.client(name);
                client.id = Some(session);
                client.unacknowledged.clear();
                client.outbox.clear();
                client.last.clear();
                client.is_open = false;
                (client.is_live, client.lagging, client.broken) = (false, false, None);
            }
            Err(error) => self.say_refused(&error),
        }
        self.pump();
    }

    /// A client that opens again has lost its transport: as a connection does, the host pauses the former session. A token
    /// takes it over from wherever it is, but not while its own open still waits for a hook.
    fn let_go(&mut self, name: &str, open: &Open) {
        let takes_over = self.client(name).is_open && matches!(open.credentials, Credentials::Token(_));
        let former = self.client(name).id.filter(|_| !takes_over);
        if let Some(session) = former {
            self.attached.remove(&(session.slot(), session.generation()));
            self.engine.pause(session, self.now);
            self.client(name).id = None;
        }
    }

    pub(crate) fn resuming(&mut self, name: &str) -> Open {
        let token = self.client(name).token.clone().unwrap_or_else(|| ResumeToken::new("none"));
        Open { credentials: Credentials::Token(token), reconnect: true, ..self.opening(name) }
    }

    pub(crate) fn pause(&mut self, name: &str) {
        if let Some(session) = self.client(name).id.take() {
            self.engine.pause(session, self.now);
        }
        self.pump();
    }

    /// The session that a name stands for; one that is in no engine where it has none.
    pub(crate) fn session(&mut self, name: &str) -> SessionId {
        self.client(name).id.unwrap_or_else(no_session)
    }

    pub(crate) fn request(&mut self, name: &str, request: Request) {
        let session = self.session(name);
        if let Err(error) = self.engine.request(session, request, self.now) {
            self.say_refused(&error);
        }
        self.pump();
    }

    /// Asks, and takes the answer instead of logging it.
    pub(crate) fn ask(&mut self, name: &str, request: Request) -> Result<Reply, Error> {
        let session = self.session(name);
        let ticket = self.engine.request(session, request, self.now)?;
        self.wanted = Some(ticket);
        self.pump();
        self.wanted = None;
        self.asked.remove(&ticket).unwrap_or(Err(Error::Internal))
    }

    pub(crate) fn send(&mut self, name: &str, draft: Draft) {
        if let switchboard::Target::Peers(peers) = &draft.target {
            let me = self.client(name).peer.clone();
            self.label_direct(&me, peers);
        }
        self.request(name, Request::Send(draft));
    }

    pub(crate) fn label_direct(&mut self, me: &PeerId, peers: &[PeerId]) {
        let mut all = peers.to_vec();
        all.push(me.clone());
        all.sort_unstable();
        all.dedup();
        let label = all.iter().map(PeerId::as_str).collect::<Vec<_>>().join("+");
        self.labels.insert(ConversationId::direct(&all), label);
    }

    /// Makes a conversation that the log calls `label` from then on.
    pub(crate) fn create(&mut self, name: &str, label: &str, create: Create) {
        match self.ask(name, Request::Create(create)) {
            Ok(Reply::Created { conversation, existing }) => {
                let label = self.labels.entry(conversation.id.clone()).or_insert_with(|| label.to_owned()).clone();
                let what = if existing { "found" } else { "made" };
                let text = self.info_text(&conversation);
                self.log.insert(self.answered_at, format!("{name} <- {what} {label}: {text}"));
                // What everyone else was told came before the name was known.
                let id = conversation.id.to_string();
                self.log.iter_mut().for_each(|line| *line = line.replace(&id, &label));
            }
            Ok(other) => self.say(&format!("{name} <- {other:?}")),
            Err(error) => self.say_refused(&error),
        }
    }

    /// The conversation that the log calls `label`.
    pub(crate) fn conversation(&self, label: &str) -> ConversationId {
        let found = self.labels.iter().find(|(_, known)| *known == label).map(|(id, _)| id.clone());
        found.unwrap_or_else(|| ConversationId::new(label).unwrap())
    }

    pub(crate) fn acknowledge(&mut self, name: &str, texts: &[&str], read: bool) {
        let all = std::mem::take(&mut self.client(name).unacknowledged);
        let messages: Vec<MessageId> = match texts {
            [] => all,
            _ => texts.iter().map(|text| self.seen[*text].id).collect(),
        };
        if read {
            messages.iter().for_each(|id| self.note_read(name, *id));
        }
        self.request(name, Request::Acknowledge { messages, read });
    }

    /// An acknowledgement that reads moves what the peer has read, as the test counts it.
    fn note_read(&mut self, name: &str, id: MessageId) {
        let Some(seen) = self.seen.values().find(|seen| seen.id == id).cloned() else { return };
        let peer = self.client(name).peer.to_string();
        let read = self.read.entry((peer, seen.conversation)).or_default();
        *read = seen.number.max(*read);
    }

    pub(crate) fn mark_read(&mut self, name: &str, label: &str, up_to: Option<&str>) {
        let conversation = self.conversation(label);
        let peer = self.client(name).peer.to_string();
        let number = match up_to {
            Some(text) => self.seen[text].number,
            None => self.last_number(name, label),
        };
        let read = self.read.entry((peer, conversation.clone())).or_default();
        *read = number.max(*read);
        let up_to = up_to.map(|text| self.seen[text].id);
        self.request(name, Request::MarkRead { conversation, up_to });
    }

    fn last_number(&mut self, name: &str, label: &str) -> u64 {
        let page = self.history(name, label, Page::newest(1));
        page.first().and_then(|message| message.number).unwrap_or_default()
    }

    pub(crate) fn history(&mut self, name: &str, label: &str, page: Page) -> Vec<Arc<Message>> {
        let conversation = self.conversation(label);
        match self.ask(name, Request::History { conversation, page }) {
            Ok(Reply::History { messages, .. }) => messages,
            _ => Vec::new(),
        }
    }

    /// What a peer has not read, counted from the log it may read; and whether the engine says the same.
    pub(crate) fn recount(&mut self, name: &str) {
        let me = self.client(name).peer.clone();
        let Ok(Reply::Conversations(mine)) = self.ask(name, Request::Conversations) else { return };
        let mut counted: Vec<(String, u64)> = Vec::new();
        for info in mine {
            let label = self.label(&info.id);
            let read = self.read.get(&(me.to_string(), info.id.clone())).copied().unwrap_or_default();
            let log = self.history(name, &label, Page::newest(1_000));
            let news = log.iter().filter(|message| message.from != me && message.number > Some(read)).count() as u64;
            counted.extend((news > 0).then_some((label, news)));
        }
        counted.sort();
        let mut told: Vec<(String, u64)> = match self.ask(name, Request::Unread) {
            Ok(Reply::Unread(unread)) => unread.iter().map(|u| (self.label(&u.conversation), u.count)).collect(),
            _ => Vec::new(),
        };
        told.sort();
        let verdict = if told == counted { "agrees" } else { "DIFFERS" };
        self.say(&format!("{name} recount {verdict}: {}", counts_text(&counted)));
        if told != counted {
            self.say(&format!("{name} was told: {}", counts_text(&told)));
        }
    }

    /// A signature of the application's server; the same one again under the same nonce.
    pub(crate) fn sign(&mut self, action: &Action<'_>, nonce: &str) -> Signature {
        let at = self.now;
        let made = || Signer::new("app", KEY).unwrap().sign(action, nonce, at).unwrap();
        self.signed.entry(nonce.to_owned()).or_insert_with(made).clone()
    }

    // What the host does.

    pub(crate) fn resolve(&mut self, resolution: Resolution) {
        let Some(ticket) = self.script.next_deferred() else { return self.say("nothing is deferred") };
        if let Err(error) = self.engine.resolve(ticket, resolution, self.now) {
            self.say_refused(&error);
        }
        self.pump();
    }

    pub(crate) fn set_filter(&mut self, words: Option<&[&str]>) {
        self.engine.set_filter(words.map(|words| WordFilter::new(words).unwrap()));
    }

    /// What the host asks, whose answer is an event.
    pub(crate) fn host(&mut self, act: impl FnOnce(&mut Engine, Timestamp) -> Result<Option<Ticket>, Error>) {
        if let Err(error) = act(&mut self.engine, self.now) {
            self.say_refused(&error);
        }
        self.pump();
    }

    // The log.

    pub(crate) fn say(&mut self, line: &str) {
        self.log.push(line.to_owned());
    }

    fn say_refused(&mut self, error: &Error) {
        let text = error_text(error);
        self.say(&format!("refused: {text}"));
    }

    pub(crate) fn label(&self, id: &ConversationId) -> String {
        self.labels.get(id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn say_push(&mut self, push: &Push) {
        let mut to: Vec<String> = push.recipients.iter().map(|to| format!("{} ({})", to.peer, to.badge)).collect();
        to.sort();
        let force = if push.force { ", forced" } else { "" };
        self.say(&format!("push to {}: {}{force}", to.join(", "), push.text));
    }

    fn say_event(&mut self, event: &Event) {
        let text = match event {
            Event::Answered { result, .. } => format!("answered: {}", self.reply_text(result)),
            Event::Online { .. } | Event::Offline { .. } | Event::Sent { .. } if !self.tells_events => return,
            Event::Online { peer, device, tag, reconnect, super_peer, .. } => {
                let device = device.as_ref().map_or_else(String::new, |device| format!("/{device}"));
                let tag = tag.as_ref().map_or_else(String::new, |tag| format!(" tag {tag}"));
                let how = if *reconnect { " again" } else { "" };
                let power = if *super_peer { " as super peer" } else { "" };
                format!("{peer}{device} online{how}{tag}{power}")
            }
            Event::Offline { peer, reason, .. } => format!("{peer} offline: {reason:?}"),
            Event::Sent { message, sessions } => {
                format!("sent to {sessions} sessions: {}", self.message_text(message, false))
            }
            Event::SuperPeerSent { peer, .. } => format!("super peer {peer} sent to one it does not watch"),
            Event::HookFault { hook, fault } => format!("hook {hook}: {fault:?}"),
            Event::SignatureRefused { peer, cause } => format!("signature of {peer} refused: {cause:?}"),
            Event::OfflineDropped { peer, count } => format!("{count} offline messages of {peer} dropped"),
            Event::Anomaly { measure, value, threshold } => format!("{measure:?}: {value} over {threshold}"),
            Event::StoreFailed { error } => format!("store failed: {error}"),
            Event::StoreRecovered => "store recovered".to_owned(),
            Event::StoreStalled => "store stalled".to_owned(),
            Event::RecordDamaged { error } => format!("record damaged: {error}"),
            Event::TimeJumped { from, to } => format!("time jumped by {:?}", to.since(*from)),
            other => format!("{other:?}"),
        };
        self.say(&format!("host: {text}"));
    }

    fn reply_text(&mut self, result: &Result<Reply, Error>) -> String {
        let reply = match result {
            Ok(reply) => reply,
            Err(error) => return format!("failed: {}", error_text(error)),
        };
        match reply {
            Reply::Opened(opened) => {
                let room = opened.room.as_ref().map_or_else(String::new, |room| format!(" in {}", self.label(room)));
                format!("opened{room}, online: {}", names(&opened.online))
            }
            Reply::Accepted(accepted) => self.accepted_text(accepted),
            Reply::Online(peers) => format!("online: {}", names(peers)),
            Reply::Created { conversation, existing } => {
                let what = if *existing { "found" } else { "made" };
                format!("{what} {}: {}", self.label(&conversation.id), self.info_text(conversation))
            }
            Reply::Joined { conversation } => format!("joined {}", self.label(conversation)),
            Reply::Left { conversation } => format!("left {}", self.label(conversation)),
            Reply::Invited { conversation, peers } => {
                format!("invited to {}: {}", self.label(conversation), names(peers))
            }
            Reply::Kicked { conversation, peers } => {
                format!("kicked from {}: {}", self.label(conversation), names(peers))
            }
            Reply::Members { conversation, peers } => {
                format!("members of {}: {}", self.label(conversation), names(peers))
            }
            Reply::Conversation(info) => format!("{} is {}", self.label(&info.id), self.info_text(info)),
            Reply::Conversations(infos) => {
                let mut labels: Vec<String> = infos.iter().map(|info| self.label(&info.id)).collect();
                labels.sort();
                format!("conversations: {}", listed(&labels))
            }
            Reply::Count(count) => format!("count: {count}"),
            Reply::History { messages, more } => {
                let lines: Vec<String> = messages.iter().map(|message| self.line_text(message)).collect();
                let more = if *more { ", more" } else { "" };
                format!("history{more}: {}", listed(&lines))
            }
            Reply::Unread(unread) => {
                let mut counts: Vec<_> = unread.iter().map(|u| (self.label(&u.conversation), u.count)).collect();
                counts.sort();
                format!("unread: {}", counts_text(&counts))
            }
            Reply::Done => "done".to_owned(),
            other => format!("{other:?}"),
        }
    }

    fn accepted_text(&mut self, accepted: &Accepted) -> String {
        let number = accepted.number.map_or_else(String::new, |number| format!(" #{number}"));
        let changed =
            accepted.changed.as_ref().map_or_else(String::new, |content| format!(", changed to: {}", text_of(content)));
        format!("accepted{number} in {}{changed}", self.label(&accepted.conversation))
    }

    fn message_text(&mut self, message: &Message, offline: bool) -> String {
        if let Some(number) = message.number {
            let conversation = message.conversation.clone();
            let seen = Seen { id: message.id, at: message.timestamp, number, conversation };
            self.seen.insert(text_of(&message.content), seen);
        }
        if message.kind == ConversationKind::Direct && !self.labels.contains_key(&message.conversation) {
            let peers: Vec<PeerId> = message.to.to_vec();
            self.label_direct(&message.from, &peers);
        }
        let place = self.label(&message.conversation);
        let number = message.number.map_or_else(String::new, |number| format!(" #{number}"));
        let mut marks = String::new();
        marks += if offline { " (offline)" } else { "" };
        marks += if message.transient { " (transient)" } else { "" };
        marks += if message.receipt { " (receipt)" } else { "" };
        format!("{} in {place}{number}{marks}: {}", message.from, text_of(&message.content))
    }

    fn line_text(&mut self, message: &Message) -> String {
        self.message_text(message, false);
        let number = message.number.unwrap_or_default();
        let text = if message.deleted { "(deleted)".to_owned() } else { text_of(&message.content) };
        format!("#{number} {text}")
    }

    fn update_text(&self, update: &Update) -> String {
        match update {
            Update::Receipt { conversation, id, peer, .. } => {
                let text = self.seen.iter().find(|(_, seen)| seen.id == *id).map_or("?", |(text, _)| text);
                format!("{peer} received in {}: {text}", self.label(conversation))
            }
            Update::ReceivedTo { conversation, peer, number, .. } => {
                format!("{peer} received in {} all up to #{number}", self.label(conversation))
            }
            Update::Presence { online, offline } => {
                format!("presence: online {}, offline {}", names(online), names(offline))
            }
            Update::Membership { conversation, change, by, .. } => {
                let place = self.label(conversation);
                match change {
                    MembershipChange::Joined => format!("is in {place} by {by}"),
                    MembershipChange::Left => format!("is out of {place} by {by}"),
                    MembershipChange::MembersJoined(peers) => format!("{} joined {place} by {by}", names(peers)),
                    MembershipChange::MembersLeft(peers) => format!("{} left {place} by {by}", names(peers)),
                }
            }
            Update::Gap(Gap { conversation, from, to, count, cause }) => {
                let place = conversation.as_ref().map_or_else(|| "-".to_owned(), |id| self.label(id));
                format!("gap in {place}: #{from} to #{to}, {count} messages, {}", cause.as_str())
            }
            Update::Closed { error: None } => "closed".to_owned(),
            Update::Closed { error: Some(error) } => format!("closed: {}", error_text(error)),
            other => format!("{other:?}"),
        }
    }

    fn info_text(&self, info: &ConversationInfo) -> String {
        let mut text = format!("{:?}", info.kind).to_lowercase();
        text += if info.unique { ", unique" } else { "" };
        if let Some(name) = &info.name {
            text += &format!(", named {name}");
        }
        if !info.attributes.is_empty() {
            text += &format!(", {}", serde_json::Value::Object(info.attributes.clone()));
        }
        if let Some(at) = info.expires_at {
            text += &format!(", for {:?}", at.since(info.created_at));
        }
        let creator = info.creator.as_ref().map_or_else(|| "the host".to_owned(), ToString::to_string);
        format!("{text}, by {creator}, members: {}", names(&info.members))
    }
}

/// A session that no engine has.
pub(crate) fn no_session() -> SessionId {
    let mut world = Engine::start(
        Config { node: u16::MAX, ..Config::default() },
        Arc::new(switchboard::store::memory::MemoryStore::new()),
        Box::new(switchboard::NoHooks),
        [0; 32],
        START,
    )
    .unwrap();
    world.open(Open::new(peer("nobody")), START).unwrap().0
}

pub(crate) fn peer(id: &str) -> PeerId {
    PeerId::new(id).unwrap_or_else(|error| panic!("{id}: {error}"))
}

/// `alice/phone` is the peer `alice` on the device `phone`.
fn parts_of(name: &str) -> (PeerId, Option<DeviceId>) {
    match name.split_once('/') {
        Some((id, device)) => (peer(id), Some(DeviceId::new(device).unwrap())),
        None => (peer(name), None),
    }
}

fn text_of(content: &switchboard::Content) -> String {
    content.as_text().map_or_else(|| format!("{} bytes", content.len()), str::to_owned)
}

fn names(peers: &[PeerId]) -> String {
    listed(&peers.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn listed(parts: &[String]) -> String {
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

fn counts_text(counts: &[(String, u64)]) -> String {
    listed(&counts.iter().map(|(label, count)| format!("{label} {count}")).collect::<Vec<_>>())
}

pub(crate) fn error_text(error: &Error) -> String {
    match error {
        Error::InvalidTarget { peers } if !peers.is_empty() => format!("{} {error} ({})", error.code(), names(peers)),
        _ => format!("{} {error}", error.code()),
    }
}
