//! The engine and the model side by side: what is done to one is done to the other, and all that can be observed is compared.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use switchboard::store::Store;
use switchboard::{
    Bound, Commit, Config, ConversationId, Create, Credentials, DeviceId, Draft, Engine, Error, Event, MessageId,
    NoHooks, Open, Order, Output, Page, PeerId, Reply, Request, ResumeToken, RetryToken, SessionId, SessionRef, Shape,
    Tag, Target, Ticket, Timestamp, Update,
};

use super::command::{Bytes, Command, NewShape, PEERS, To, Token, Which};
use super::ids::Ids;
use super::reference::{
    self, Code, Ear, Expected, Model, OpenRequest, PageRequest, SendRequest, SendTo, State, What, When, limits,
};
use super::stores::{Disk, Fault};

const START: u64 = 1_700_000_000_000;
/// How long the sweep may take to see what has reached its age.
const SWEEP: u64 = 11_000;
const COMMIT_AFTER: u64 = 5_000;
const NOWHERE: &str = "000000000000000000000000";

/// Where model and engine differ.
pub(crate) type Difference = String;
type Checked = Result<(), Difference>;

/// A session as the host knows it.
#[derive(Clone)]
struct Handle {
    id: SessionId,
    token: String,
}

/// Something expected, and since when.
struct Waiting {
    since: u64,
    expected: Expected,
}

/// A commit, and what the model holds of it.
struct Batch {
    number: u64,
    model: Model,
    /// After a failure: whether the store has it nevertheless.
    stored: bool,
}

/// What was seen of a catch-up of unknown extent.
#[derive(Default)]
struct Seen {
    messages: Vec<usize>,
    gaps: Vec<(usize, u64, u64)>,
}

pub(crate) struct World {
    config: Config,
    disk: Disk,
    engine: Engine,
    model: Model,
    ids: Ids,
    handles: Vec<Handle>,
    by_ref: HashMap<SessionRef, usize>,
    used_tokens: Vec<String>,
    tickets: HashMap<Ticket, u64>,
    requests: u64,
    said: u64,
    queues: BTreeMap<Ear, VecDeque<Waiting>>,
    seen: BTreeMap<usize, Seen>,
    durable: Model,
    in_flight: Option<(Commit, Batch)>,
    failed: Option<Batch>,
    hold_reads: bool,
    steps: u64,
    pub(crate) trace: Vec<String>,
}

pub(crate) fn config(disk: &Disk) -> Config {
    Config {
        message_bytes_max: limits::BYTES,
        recipients_max: limits::RECIPIENTS,
        members_max: limits::MEMBERS,
        temporary_members_max: limits::TEMPORARY_MEMBERS,
        groups_max: limits::GROUPS,
        sessions_max: limits::SESSIONS,
        watched_max: limits::WATCHED,
        watched_per_request_max: limits::WATCHED,
        history_page_max: limits::PAGE,
        // After a crash nobody knows which device was unseen for longest: there is room for all.
        devices_max: if disk.is_faulty() { 10 } else { limits::DEVICES },
        acknowledged_beyond_max: limits::BEYOND,
        conversations_max: limits::CONVERSATIONS,
        offline_messages_max: limits::OFFLINE,
        retry_tokens_max: limits::TOKENS,
        chunk_bytes_max: 256,
        // Where commits fail halfway, one commit is one batch; elsewhere batches are as small as may be.
        batch_rows_max: if disk.is_faulty() { 100_000 } else { 8 },
        batch_bytes_max: if disk.is_faulty() { 1 << 26 } else { 1 << 16 },
        ..Config::default()
    }
}

fn start(config: &Config, store: Arc<dyn Store>, now: u64) -> Result<Engine, Difference> {
    Engine::start(config.clone(), store, Box::new(NoHooks), [7; 32], Timestamp::from_millis(now))
        .map_err(|error| format!("no start: {error}"))
}

impl World {
    pub(crate) fn new(mut disk: Disk) -> Result<Self, Difference> {
        let config = config(&disk);
        let engine = start(&config, disk.store(), START)?;
        let mut model = Model::new(START);
        model.devices_max = config.devices_max;
        Ok(Self {
            config,
            disk,
            engine,
            durable: model.clone(),
            model,
            ids: Ids::default(),
            handles: Vec::new(),
            by_ref: HashMap::new(),
            used_tokens: Vec::new(),
            tickets: HashMap::new(),
            requests: 0,
            said: 0,
            queues: BTreeMap::new(),
            seen: BTreeMap::new(),
            in_flight: None,
            failed: None,
            hold_reads: false,
            steps: 0,
            trace: Vec::new(),
        })
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.model.now)
    }

    /// One step on both sides, and a look at everything afterwards.
    pub(crate) fn step(&mut self, command: &Command) -> Checked {
        self.steps += 1;
        self.perform(command)?;
        self.settle()?;
        self.compare_unread((self.steps % u64::from(PEERS)) as u8)
    }

    /// Ends a run: everything that waits is told.
    pub(crate) fn finish(&mut self) -> Checked {
        self.commit()?;
        self.settle()?;
        (0..PEERS).try_for_each(|peer| self.compare_unread(peer))
    }

    fn perform(&mut self, command: &Command) -> Checked {
        match command {
            Command::Open { peer, device, tag, watch, reconnect, token } => {
                self.open(*peer, *device, *tag, watch, *reconnect, *token)
            }
            Command::Pause(session) => {
                if let Some(session) = self.pick(*session) {
                    self.trace.push(format!("session {session} pauses"));
                    self.engine.pause(self.handles[session].id, self.now());
                    self.model.pause(session);
                }
                Ok(())
            }
            Command::ClosePeer(peer) => {
                self.trace.push(format!("the host closes peer {peer}"));
                self.engine.close_peer(&Ids::peer(*peer), Error::KickedByApp, self.now());
                self.model.close_peer(*peer);
                Ok(())
            }
            Command::Wait { millis, confirm } => self.wait(*millis, *confirm),
            Command::Commit => self.commit(),
            Command::Begin => {
                self.begin();
                Ok(())
            }
            Command::Finish { fails } => self.finish_commit(*fails),
            Command::HoldReads(hold) => {
                self.hold_reads = *hold;
                Ok(())
            }
            Command::Restart => self.restart(),
            Command::Crash { power } => self.crash(*power),
            _ => self.ask(command),
        }
    }

    /// An open session, or none where there is none.
    fn pick(&self, which: u8) -> Option<usize> {
        let open = self.model.open_sessions();
        (!open.is_empty()).then(|| open[usize::from(which) % open.len()])
    }

    /// A conversation whose id is known, or one that does not exist; `None` where the id is not known yet.
    fn pick_conversation(&self, which: u8) -> Option<(Option<usize>, ConversationId)> {
        let at = usize::from(which) % (self.model.conversations.len() + 1);
        if at == self.model.conversations.len() {
            return Some((None, ConversationId::new(NOWHERE).ok()?));
        }
        Some((Some(at), self.ids.conversation(at)?))
    }

    // Requests.

    /// What sessions ask.
    fn ask(&mut self, command: &Command) -> Checked {
        let Some(which) = session_of(command) else { return Ok(()) };
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
        let Some((at, conversation)) = conversation_of(command).and_then(|which| self.pick_conversation(which)) else {
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
        let over: Vec<usize> =
            (0..self.handles.len()).filter(|session| self.model.sessions[*session].state != State::Open).collect();
        let Some(session) = (which > 250).then(|| over.first().copied()).flatten() else { return Ok(()) };
        let asked = self.engine.request(self.handles[session].id, Request::Unread, self.now());
        same("a session that is over", asked.map(drop).map_err(|error| error.code()), Err(4105))
    }

    fn open(
        &mut self,
        peer: u8,
        device: Option<u8>,
        tag: Option<u8>,
        watch: &[u8],
        reconnect: bool,
        token: Token,
    ) -> Checked {
        let (text, resumed) = self.token(peer, token);
        let mut device = device;
        if let Some(session) = resumed {
            device = self.model.sessions[session].device;
        }
        self.trace.push(format!(
            "[{}] peer {peer} opens: device {device:?} tag {tag:?} watches {watch:?} reconnect {reconnect} resumes {resumed:?} ({token:?})",
            self.model.now - START
        ));
        let mut open = Open::new(Ids::peer(peer));
        open.device = device.and_then(|device| DeviceId::new(&format!("device{device}")).ok());
        open.tag = tag.and_then(|tag| Tag::new(&format!("tag{tag}")).ok());
        open.watch = Ids::peers(watch);
        open.reconnect = reconnect;
        if let Some(text) = &text {
            open.credentials = Credentials::Token(ResumeToken::new(text));
        }
        self.requests += 1;
        let opened = self.engine.open(open, self.now());
        let request = OpenRequest { peer, device, tag, watch: watch.to_vec(), reconnect, token: text.map(|_| resumed) };
        let should = self.model.open(&request, self.requests);
        same("open", opened.as_ref().map(drop).map_err(Error::code), should.map(drop))?;
        let (Ok((id, ticket)), Ok(session)) = (opened, should) else { return Ok(()) };
        self.tickets.insert(ticket, self.requests);
        self.take_handle(session, id);
        if self.model.device(session).is_some_and(|device| device.uncertain) {
            self.seen.insert(session, Seen::default());
            self.commit()?;
        }
        Ok(())
    }

    fn take_handle(&mut self, session: usize, id: SessionId) {
        if session == self.handles.len() {
            self.handles.push(Handle { id, token: String::new() });
        }
        self.used_tokens.push(std::mem::take(&mut self.handles[session].token));
        self.handles[session].id = id;
        self.by_ref.retain(|_, held| *held != session);
        self.by_ref.insert(reference_of(id), session);
        self.queues.remove(&Ear::Session(session));
    }

    /// The text of a token, and which session it resumes.
    fn token(&self, peer: u8, token: Token) -> (Option<String>, Option<usize>) {
        match token {
            Token::None => (None, None),
            Token::Of(which) => {
                let is_candidate = |session: &usize| {
                    self.model.sessions[*session].peer == peer && !self.handles[*session].token.is_empty()
                };
                let of: Vec<usize> = (0..self.handles.len()).filter(is_candidate).collect();
                if of.is_empty() {
                    return (None, None);
                }
                let session = of[of.len() - 1 - usize::from(which) % of.len()];
                let there = self.model.sessions[session].state != State::Gone;
                (Some(self.handles[session].token.clone()), there.then_some(session))
            }
            Token::Used(which) => {
                let used: Vec<&String> = self.used_tokens.iter().filter(|token| !token.is_empty()).collect();
                let text = used.get(used.len().wrapping_sub(1 + usize::from(which)));
                (Some(text.map_or_else(|| "0".repeat(32), |text| (*text).clone())), None)
            }
        }
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
        let mut draft = Draft::to_peers(Vec::new(), content.clone());
        draft.target = target;
        draft.transient = transient;
        draft.receipt = receipt;
        draft.retry_token = token.and_then(|token| RetryToken::new(&format!("token{token}")).ok());
        draft.push = push.then(|| "!".to_owned());
        let before = self.model.conversations.len();
        let send = SendRequest { to, content, transient, token, receipt, push };
        self.both(session, Request::Send(draft), |model, ticket| model.send(session, &send, ticket))?;
        for at in before..self.model.conversations.len() {
            let peers: Vec<PeerId> = self.model.conversations[at].active().into_iter().map(Ids::peer).collect();
            self.ids.bind_conversation(at, &ConversationId::direct(&peers))?;
        }
        Ok(())
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

    // Time.

    fn wait(&mut self, millis: u64, confirm: bool) -> Checked {
        const STEPS: u64 = 120_000;
        let until = self.model.now + millis;
        self.trace.push(format!("[{}] waits {millis} ms, confirm {confirm}", self.model.now - START));
        if millis <= STEPS {
            self.step_to(until)?
        } else {
            self.jump_to(until)?
        }
        if confirm && self.model.in_doubt {
            self.engine.confirm_time();
            self.model.in_doubt = false;
            self.step_to(until + SWEEP)?;
        }
        self.leave_edges()
    }

    /// What reaches its age goes a little later, with the next sweep: nobody looks in between.
    fn leave_edges(&mut self) -> Checked {
        while self.model.is_at_an_edge(SWEEP) {
            self.step_to(self.model.now + SWEEP)?;
        }
        Ok(())
    }

    /// Handles each deadline when it comes.
    fn step_to(&mut self, until: u64) -> Checked {
        while let Some(at) = self.engine.poll_timeout().filter(|at| at.as_millis() <= until) {
            self.jump_to(at.as_millis().max(self.model.now))?;
        }
        self.jump_to(until)
    }

    /// Nobody looks at the clock before this time.
    fn jump_to(&mut self, now: u64) -> Checked {
        let at = Timestamp::from_millis(now);
        self.engine.handle_timeout(at);
        let mut rounds = 0;
        while self.engine.poll_timeout().is_some_and(|next| next <= at) {
            self.engine.handle_timeout(at);
            rounds += 1;
            if rounds > 1_000 {
                return Err("deadlines never end".to_owned());
            }
        }
        self.model.tick(now);
        self.settle()
    }

    // The store.

    fn begin(&mut self) {
        if self.in_flight.is_some() || !self.disk.is_faulty() {
            return;
        }
        let Some(commit) = self.engine.begin_commit() else { return };
        let batch = self.failed.take().unwrap_or_else(|| {
            let number = self.model.begin();
            Batch { number, model: self.model.clone(), stored: false }
        });
        self.trace.push(format!("[{}] commit {} begins", self.model.now - START, batch.number));
        self.in_flight = Some((commit, batch));
    }

    fn finish_commit(&mut self, fails: bool) -> Checked {
        let Some((commit, mut batch)) = self.in_flight.take() else { return Ok(()) };
        let fault = if fails { self.disk.fail(self.steps) } else { None };
        self.trace.push(format!("[{}] commit {} ends: {fault:?}", self.model.now - START, batch.number));
        let committed = commit.run();
        let error = committed.error().cloned();
        self.engine.finish_commit(committed, self.now());
        if error.is_some() != fault.is_some() {
            return Err(format!("the commit ended with {error:?}"));
        }
        match fault {
            None => self.committed(batch),
            Some(fault) => {
                self.model.failed = true;
                batch.stored |= fault == Fault::Stored;
                self.failed = Some(batch);
            }
        }
        Ok(())
    }

    fn committed(&mut self, batch: Batch) {
        let numbers: Vec<u64> = batch.model.conversations.iter().map(reference::Conversation::last).collect();
        self.model.done(batch.number, &numbers);
        self.durable = batch.model;
    }

    /// Everything is written and read.
    fn commit(&mut self) -> Checked {
        self.trace.push(format!("[{}] commit", self.model.now - START));
        if self.disk.is_faulty() {
            self.finish_commit(false)?;
            loop {
                self.begin();
                if self.in_flight.is_none() {
                    break;
                }
                self.finish_commit(false)?;
                self.read();
            }
        } else {
            let number = self.model.begin();
            let model = self.model.clone();
            self.write_all()?;
            self.committed(Batch { number, model, stored: false });
        }
        self.read();
        self.drain()?;
        self.expect_silence()
    }

    fn write_all(&mut self) -> Checked {
        while let Some(commit) = self.engine.begin_commit() {
            let committed = commit.run();
            if let Some(error) = committed.error() {
                return Err(format!("the store failed: {error}"));
            }
            self.engine.finish_commit(committed, self.now());
        }
        Ok(())
    }

    /// After a commit and all reads nobody waits for anything, unless a read staged something.
    fn expect_silence(&mut self) -> Checked {
        self.queues.values_mut().for_each(|queue| queue.retain(|waiting| !is_optional(waiting)));
        for _ in 0..3 {
            if self.queues.values().all(VecDeque::is_empty) {
                return Ok(());
            }
            if !self.engine.has_work() {
                break;
            }
            if self.disk.is_faulty() {
                self.begin();
                self.finish_commit(false)?;
            } else {
                self.write_all()?;
            }
            self.read();
            self.drain()?;
        }
        let left = self.queues.iter().find(|(_, queue)| !queue.is_empty());
        match left.and_then(|(ear, queue)| Some((ear, queue.front()?))) {
            Some((ear, first)) => Err(format!("{ear:?} was never told {:?}", first.expected)),
            None => Ok(()),
        }
    }

    fn read(&mut self) {
        while let Some(read) = self.engine.begin_read() {
            self.engine.finish_read(read.run(), self.now());
        }
        self.model.read_all();
    }

    fn restart(&mut self) -> Checked {
        self.commit()?;
        self.trace.push(format!("[{}] restart", self.model.now - START));
        self.engine.shut_down(self.now());
        self.model.open_sessions().into_iter().for_each(|session| self.model.pause(session));
        self.model.expected.clear();
        self.write_all_after_end()?;
        self.disk.restart();
        self.start_again(false)
    }

    fn write_all_after_end(&mut self) -> Checked {
        let done = self.engine.commit(self.now());
        done.map_err(|error| format!("the last commit failed: {error}"))
    }

    /// The process ends; what the store has not, is gone.
    fn crash(&mut self, power: bool) -> Checked {
        if !self.disk.is_faulty() {
            return Ok(());
        }
        self.trace.push(format!("[{}] crash, power {power}", self.model.now - START));
        // The last write may have reached the store although nobody ever heard of it.
        let written = self.in_flight.take().filter(|_| power).map(|(commit, batch)| {
            let _: switchboard::Committed = commit.run();
            batch
        });
        let stored = written.or_else(|| self.failed.take().filter(|batch| batch.stored));
        let lossless = stored.is_some() || !power;
        self.model = stored.map_or_else(|| self.durable.clone(), |batch| batch.model);
        if lossless {
            self.disk.restart()
        } else {
            self.disk.power_cut(self.steps)
        }
        self.start_again(true)
    }

    fn start_again(&mut self, crashed: bool) -> Checked {
        // A process that starts again does so a moment later: its messages come after those of before.
        let now = self.engine.now().as_millis() + 1;
        self.in_flight = None;
        self.failed = None;
        self.engine = start(&self.config, self.disk.store(), now)?;
        let now = self.engine.now().as_millis();
        self.model.now = now;
        self.model.restarted(crashed);
        let is_old = self.model.is_at_an_edge(now);
        self.durable = self.model.clone();
        self.ids.truncate(self.model.conversations.len(), self.model.messages.len());
        self.handles.truncate(self.model.sessions.len());
        self.used_tokens.extend(self.handles.iter_mut().map(|handle| std::mem::take(&mut handle.token)));
        self.queues.clear();
        self.by_ref.clear();
        self.tickets.clear();
        self.seen.clear();
        // Temporary conversations whose time has come, and whatever reached its age while nobody looked.
        self.step_to(if is_old { now + SWEEP } else { now })?;
        if crashed {
            self.learn_reads()?;
        }
        (0..PEERS).try_for_each(|peer| self.compare_unread(peer))?;
        self.leave_edges()
    }

    /// After a crash, positions read may be older than they were, never newer.
    fn learn_reads(&mut self) -> Checked {
        for at in 0..self.model.conversations.len() {
            let Some(id) = self.ids.conversation(at) else { continue };
            let peers: Vec<u8> = self.model.conversations[at].members.keys().copied().collect();
            for peer in peers {
                let actual = self.engine.unread_count_in(&Ids::peer(peer), &id);
                while self.model.unread_in(peer, at) != actual {
                    let Some(member) = self.model.conversations[at].members.get_mut(&peer).filter(|m| m.read > 0)
                    else {
                        return Err(format!("after a crash peer {peer} has {actual} unread in conversation {at}"));
                    };
                    member.read -= 1;
                }
            }
        }
        Ok(())
    }

    // Comparing.

    fn compare_unread(&self, peer: u8) -> Checked {
        for (at, _) in self.model.conversations.iter().enumerate() {
            let Some(id) = self.ids.conversation(at) else { continue };
            let (is, should) = (self.engine.unread_count_in(&Ids::peer(peer), &id), self.model.unread_in(peer, at));
            if is != should {
                return Err(format!("peer {peer} has {is} unread in conversation {at}, not {should}"));
            }
        }
        same("online", self.engine.is_online(&Ids::peer(peer)), self.model.is_online(peer))
    }

    /// Waiting reads are done, unless they are held; everything told is compared.
    fn settle(&mut self) -> Checked {
        if !self.hold_reads {
            self.read();
        }
        self.drain()?;
        self.expect_answers()
    }

    fn drain(&mut self) -> Checked {
        let since = self.model.now;
        for expected in std::mem::take(&mut self.model.expected) {
            self.queues.entry(expected.ear).or_default().push_back(Waiting { since, expected });
        }
        while let Some(output) = self.engine.poll_output() {
            self.hear(output)?;
        }
        for (ear, queue) in &self.queues {
            if let Some(missing) = queue.iter().find(|waiting| waiting.expected.when == When::Now) {
                return Err(format!("{ear:?} was not told at once {:?}", missing.expected.what));
            }
        }
        Ok(())
    }

    /// A reply that waited too long for the store has been answered.
    fn expect_answers(&self) -> Checked {
        let is_late = |waiting: &&Waiting| {
            let gated = matches!(waiting.expected.when, When::After(commit) if commit > self.model.durable);
            let is_reply = matches!(waiting.expected.what, What::Reply(..));
            gated && is_reply && waiting.since + COMMIT_AFTER <= self.model.now
        };
        let late = self.queues.values().flatten().find(is_late);
        late.map_or(Ok(()), |late| Err(format!("nobody says that the store is slow: {:?}", late.expected)))
    }

    fn hear(&mut self, output: Output) -> Checked {
        match output {
            Output::Deliver(deliver) => {
                for session in deliver.audience.iter() {
                    if let Some(session) = self.by_ref.get(&session).copied() {
                        self.trace.push(format!("        session {session} hears {:?}", deliver.update));
                        self.hear_update(session, &deliver.update)?;
                    }
                }
                Ok(())
            }
            Output::Push(push) => {
                let Some(waiting) = self.queues.get_mut(&Ear::Host).and_then(VecDeque::pop_front) else {
                    return Err(format!("an unexpected push: {push:?}"));
                };
                self.ids.check_push(&self.model, &waiting.expected.what, &push)
            }
            Output::Live { session, .. } => self.hear_live(session),
            Output::Close { session } => {
                if let Some(session) = self.by_ref.remove(&reference_of(session)) {
                    self.queues.remove(&Ear::Session(session));
                }
                Ok(())
            }
            Output::Event(Event::HookFault { .. } | Event::RecordDamaged { .. } | Event::SignatureRefused { .. }) => {
                Err(format!("an event that must not be: {output:?}"))
            }
            _ => Ok(()),
        }
    }

    fn hear_update(&mut self, session: usize, update: &Update) -> Checked {
        if let Update::Message { message, .. } = update
            && let Some(at) =
                self.model.messages.iter().position(|held| message.content.as_text() == Some(&held.content))
        {
            self.model.sessions[session].seen.push(at);
        }
        if let Update::Reply { result: Ok(Reply::Opened(opened)), .. } = update {
            self.handles[session].token = opened.token.as_str().to_owned();
        }
        if self.is_late_answer(session, update) {
            return Ok(());
        }
        let Some(queue) = self.queues.get_mut(&Ear::Session(session)) else {
            return Err(format!("session {session} was told {update:?}, and nothing is expected"));
        };
        let durable = self.model.durable;
        let mut wrong = None;
        for at in candidates(queue) {
            let expected = &queue[at].expected;
            if expected.what == What::Anything {
                let missed = match update {
                    Update::Gap(gap) if gap.conversation.is_none() => Some(What::Missed(gap.count)),
                    _ => None,
                };
                if let Some(at) = queue.iter().position(|waiting| Some(&waiting.expected.what) == missed.as_ref()) {
                    queue.remove(at);
                    return Ok(());
                }
                return self.hear_anything(session, update);
            }
            match self.ids.check(&self.model, &self.tickets, &expected.what, update) {
                Ok(()) if matches!(expected.when, When::After(commit) if commit > durable) => {
                    return Err(format!("session {session} was told too early {update:?}"));
                }
                Ok(()) => {
                    queue.remove(at);
                    // What may never be told comes in its turn or not at all.
                    let mut place = 0;
                    queue.retain(|waiting| {
                        place += 1;
                        place > at || !is_optional(waiting) || waiting.expected.when == When::Now
                    });
                    return Ok(());
                }
                Err(difference) => wrong = Some(difference),
            }
        }
        Err(format!("session {session} was told {update:?}: {}", wrong.unwrap_or_default()))
    }

    /// Takes the answer that a request waited too long.
    fn is_late_answer(&mut self, session: usize, update: &Update) -> bool {
        let Update::Reply { ticket, result: Err(Error::MayBeStored) } = update else { return false };
        let (number, now) = (self.tickets.get(ticket).copied(), self.model.now);
        let Some(queue) = self.queues.get_mut(&Ear::Session(session)) else { return false };
        let is_it = |waiting: &Waiting| {
            let is_it = matches!(&waiting.expected.what, What::Reply(held, _) if Some(*held) == number);
            is_it && waiting.since + COMMIT_AFTER <= now
        };
        let found = queue.iter().position(is_it);
        found.map(|at| queue.remove(at)).is_some()
    }

    // After a crash.

    fn hear_anything(&mut self, session: usize, update: &Update) -> Checked {
        let seen = self.seen.entry(session).or_default();
        match update {
            Update::Message { message, offline: true } => {
                let is_it = |held: &reference::Message| message.content.as_text() == Some(&held.content);
                let Some(at) = self.model.messages.iter().position(is_it) else {
                    return Err(format!("a message that nobody sent: {message:?}"));
                };
                seen.messages.push(at);
                self.ids.check(&self.model, &self.tickets, &What::Message { message: at, offline: true }, update)
            }
            Update::Gap(gap) => {
                let conversation = gap.conversation.as_ref().and_then(|id| self.ids.find_conversation(id));
                let Some(conversation) = conversation else { return Err(format!("a gap nowhere: {gap:?}")) };
                seen.gaps.push((conversation, gap.from, gap.to));
                Ok(())
            }
            _ => Err(format!("session {session} catches up and is told {update:?}")),
        }
    }

    fn hear_live(&mut self, session: SessionId) -> Checked {
        let Some(session) = self.by_ref.get(&reference_of(session)).copied() else { return Ok(()) };
        let Some(queue) = self.queues.get_mut(&Ear::Session(session)) else { return Ok(()) };
        if queue.pop_front_if(|waiting| waiting.expected.what == What::Anything).is_none() {
            return Ok(());
        }
        let seen = self.seen.remove(&session).unwrap_or_default();
        self.learn_cursors(session, &seen)
    }

    /// After a crash a device is given at least what it did not acknowledge; what it is not given it has.
    fn learn_cursors(&mut self, session: usize, seen: &Seen) -> Checked {
        let peer = self.model.sessions[session].peer;
        if seen.messages.len() > limits::OFFLINE || !seen.messages.is_sorted() {
            return Err(format!("a backlog of {:?}", seen.messages));
        }
        let copied = self.model.device(session).is_some_and(|device| device.copied);
        let mut learned = Vec::new();
        for (at, held) in self.model.conversations.iter().enumerate() {
            let Some(member) = held.members.get(&peer).filter(|_| !held.gone) else { continue };
            let had = self.model.cursor(session, at);
            let by_any = |number: u64| {
                let devices = &self.model.peers[usize::from(peer)].devices;
                devices.iter().any(|device| device.cursors.get(&at).is_some_and(|cursor| cursor.has(number)))
            };
            let mut acknowledged = BTreeSet::new();
            for (number, message) in (1u64..).zip(&held.log) {
                let given = seen.messages.contains(message);
                let told = given || seen.gaps.iter().any(|gap| gap.0 == at && (gap.1..=gap.2).contains(&number));
                let has = had.has(number) || copied && by_any(number);
                if member.sees(number) && !has && !told {
                    return Err(format!("after a crash session {session} lost message {message}"));
                }
                if given && !member.sees(number) {
                    return Err(format!("session {session} was given message {message} of others"));
                }
                if !given && (member.sees(number) || has) {
                    acknowledged.insert(number);
                }
            }
            learned.push((at, acknowledged));
        }
        self.model.sessions[session].given.extend(&seen.messages);
        let is_copy = |message: &usize| self.model.messages[*message].from == peer;
        let copies: Vec<usize> = seen.messages.iter().copied().filter(is_copy).collect();
        copies.into_iter().for_each(|copy| self.model.sessions[session].copies.push(copy));
        let Some(device) = self.model.device(session) else { return Ok(()) };
        device.uncertain = false;
        device.cursors = learned.into_iter().map(|(at, numbers)| (at, cursor_of(numbers))).collect();
        Ok(())
    }
}

fn cursor_of(mut numbers: BTreeSet<u64>) -> reference::Cursor {
    let mut received = 0;
    while numbers.remove(&(received + 1)) {
        received += 1;
    }
    reference::Cursor { received, beyond: numbers }
}

/// Where in a queue the next update may be: the first that is due at once, or the first that waits; of several gaps any.
fn candidates(queue: &VecDeque<Waiting>) -> Vec<usize> {
    let is_now = |at: &usize| queue[*at].expected.when == When::Now;
    let first_now = (0..queue.len()).find(is_now);
    let mut ordered = (0..queue.len()).filter(|at| !is_now(at));
    let mut found: Vec<usize> = first_now.into_iter().collect();
    let Some(first) = ordered.next() else { return found };
    found.push(first);
    let is_gap = |at: &usize| matches!(queue[*at].expected.what, What::Gap { .. });
    if is_optional(&queue[first]) {
        let optional = ordered.clone().take_while(|at| is_optional(&queue[*at])).count();
        found.extend(ordered.take(optional + 1));
    } else if is_gap(&first) {
        found.extend(ordered.take_while(is_gap));
    }
    found
}

fn is_optional(waiting: &Waiting) -> bool {
    matches!(waiting.expected.what, What::Receipt { maybe: true, .. })
}

fn reference_of(id: SessionId) -> SessionRef {
    SessionRef { slot: id.slot(), generation: id.generation() }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, should: T) -> Checked {
    if is == should { Ok(()) } else { Err(format!("{what}: {is:?}, not {should:?}")) }
}

fn session_of(command: &Command) -> Option<u8> {
    match command {
        Command::Close(session)
        | Command::Send { session, .. }
        | Command::Acknowledge { session, .. }
        | Command::MarkRead { session, .. }
        | Command::Create { session, .. }
        | Command::Join { session, .. }
        | Command::Leave { session, .. }
        | Command::Invite { session, .. }
        | Command::Kick { session, .. }
        | Command::Watch { session, .. }
        | Command::Unwatch { session, .. }
        | Command::QueryOnline { session, .. }
        | Command::Members { session, .. }
        | Command::Describe { session, .. }
        | Command::Count { session, .. }
        | Command::Conversations { session }
        | Command::Unread { session }
        | Command::History { session, .. } => Some(*session),
        _ => None,
    }
}

fn conversation_of(command: &Command) -> Option<u8> {
    match command {
        Command::Join { conversation, .. }
        | Command::Leave { conversation, .. }
        | Command::Invite { conversation, .. }
        | Command::Kick { conversation, .. }
        | Command::Members { conversation, .. }
        | Command::Describe { conversation, .. }
        | Command::Count { conversation, .. } => Some(*conversation),
        _ => None,
    }
}
