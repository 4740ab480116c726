//! A life that leaves every kind of row behind, and all that a host can read of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use switchboard::signature::{Action, Signer};
use switchboard::store::Durability;
use switchboard::store::faulty::FaultyStore;
use switchboard::{
    Answer, Config, Content, ConversationId, ConversationInfo, Create, Credentials, DeviceId, Draft, Engine, Event,
    Hooks, Interests, Message, MessageReceived, Open, Output, Page, PeerId, Reply, Request, RetryToken, SessionId,
    SessionRef, Shape, Signature, Ticket, Timestamp, Update, Verdict,
};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// When a store is read: a minute later.
pub(crate) const READ_AT: Timestamp = Timestamp::from_millis(1_700_000_060_000);
const KEY: &[u8] = b"the master key of the fixture";
const NAMES: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];
/// Members of the large group: enough rows for fifty steps of an upgrade.
const CROWD: usize = 1_100;

pub(crate) fn config() -> Config {
    Config { app_id: "app".to_owned(), master_keys: vec![KEY.to_vec()], members_max: 0, ..Config::default() }
}

/// Narrows what begins with `only NAME:` to that one recipient.
struct Narrowing;

impl Hooks for Narrowing {
    fn interests(&self) -> Interests {
        Interests { message_received: true, ..Interests::default() }
    }

    fn message_received(&mut self, message: &MessageReceived<'_>) -> Answer<Verdict> {
        let text = message.content.as_text().unwrap_or_default();
        match text.strip_prefix("only ").and_then(|rest| rest.split_once(':')) {
            Some((name, _)) => Answer::Now(Verdict { to: Some(vec![peer(name)]), ..Verdict::default() }),
            None => Answer::Default,
        }
    }
}

fn peer(name: &str) -> PeerId {
    PeerId::new(name).unwrap()
}

/// An engine, its clients by name, and what they were told.
struct Host {
    engine: Engine,
    now: Timestamp,
    sessions: BTreeMap<String, SessionId>,
    names: BTreeMap<SessionRef, String>,
    opening: BTreeMap<Ticket, String>,
    told: Vec<String>,
    answered: BTreeMap<Ticket, Reply>,
    texts: BTreeMap<String, Arc<Message>>,
}

impl Host {
    fn start(store: Arc<FaultyStore>, now: Timestamp) -> Self {
        let engine = Engine::start(config(), store, Box::new(Narrowing), [7; 32], now).unwrap();
        Self {
            engine,
            now,
            sessions: BTreeMap::new(),
            names: BTreeMap::new(),
            opening: BTreeMap::new(),
            told: Vec::new(),
            answered: BTreeMap::new(),
            texts: BTreeMap::new(),
        }
    }

    /// Writes what is staged and takes what comes out.
    fn settle(&mut self) {
        self.engine.commit(self.now).unwrap();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Deliver(deliver) => {
                    deliver.audience.iter().for_each(|session| self.tell(session, &deliver.update));
                }
                Output::Event(Event::Answered { ticket, result }) => {
                    drop(self.answered.insert(ticket, result.unwrap()))
                }
                Output::Event(Event::RecordDamaged { error }) => panic!("damaged: {error}"),
                _ => {}
            }
        }
    }

    fn tell(&mut self, session: SessionRef, update: &Update) {
        if let Update::Reply { ticket, result: Ok(Reply::Opened(_)) } = update
            && let Some(name) = self.opening.remove(ticket)
        {
            self.names.insert(session, name);
            return;
        }
        let name = self.names[&session].clone();
        if let Update::Message { message, .. } = update {
            let text = message.content.as_text().unwrap_or_default().to_owned();
            self.texts.insert(text, Arc::clone(message));
        }
        let line = match update {
            Update::Message { message, offline } => format!("{} offline {offline}", line(message)),
            Update::Reply { result: Ok(Reply::Accepted(accepted)), .. } => {
                let (number, at) = (accepted.number.unwrap_or_default(), accepted.timestamp);
                // What is new has an id of this start.
                let id = if at < READ_AT { accepted.id.to_string() } else { "new".to_owned() };
                format!("accepted #{number} {id} in {} at {}", accepted.conversation, millis(at))
            }
            Update::Reply { result, .. } => format!("{result:?}"),
            other => format!("{other:?}"),
        };
        self.told.push(format!("{name} <- {line}"));
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.engine.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
        self.engine.handle_timeout(end);
        self.settle();
    }

    /// Opens a session; `bob/phone` is bob's phone.
    fn open(&mut self, name: &str) {
        let (id, device) = name.split_once('/').map_or((name, None), |(id, device)| (id, Some(device)));
        let device = device.map(|device| DeviceId::new(device).unwrap());
        self.open_as(name, Open { device, ..Open::new(peer(id)) });
    }

    fn open_as(&mut self, name: &str, open: Open) {
        let (session, ticket) = self.engine.open(open, self.now).unwrap();
        self.sessions.insert(name.to_owned(), session);
        self.opening.insert(ticket, name.to_owned());
        self.settle();
    }

    fn drop_line(&mut self, name: &str) {
        self.engine.pause(self.sessions[name], self.now);
        self.settle();
    }

    fn ask(&mut self, name: &str, request: Request) {
        self.engine.request(self.sessions[name], request, self.now).unwrap();
        self.settle();
    }

    fn send(&mut self, name: &str, draft: Draft) {
        self.ask(name, Request::Send(draft));
        self.wait(Duration::from_millis(7));
    }

    fn make(&mut self, by: &str, create: Create) -> ConversationId {
        let ticket = self.engine.create_as(&peer(by), create, self.now).unwrap();
        match self.host_answer(ticket) {
            Reply::Created { conversation, .. } => conversation.id,
            other => panic!("{other:?}"),
        }
    }

    fn host_answer(&mut self, ticket: Ticket) -> Reply {
        self.settle();
        self.answered.remove(&ticket).unwrap()
    }

    fn acknowledge(&mut self, name: &str, texts: &[&str], read: bool) {
        let messages = texts.iter().map(|text| self.texts[*text].id).collect();
        self.ask(name, Request::Acknowledge { messages, read });
    }

    fn history(&mut self, ticket: Ticket) -> Vec<String> {
        match self.host_answer(ticket) {
            Reply::History { messages, more } => {
                let lines = messages.iter().map(|message| line(message));
                lines.chain(more.then(|| "more".to_owned())).collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

fn millis(at: Timestamp) -> i64 {
    at.as_millis().cast_signed() - START.as_millis().cast_signed()
}

fn line(message: &Message) -> String {
    let line = format!("#{} {} {}", message.number.unwrap_or_default(), message.id, message.from);
    let line = line + &format!(" in {} at {} {:?}", message.conversation, millis(message.timestamp), message.content);
    line + &format!(" receipt {} deleted {} to {:?}", message.receipt, message.deleted, message.to)
}

fn described(info: &ConversationInfo) -> String {
    let members =
        if info.members.len() > 20 { format!("{} members", info.members.len()) } else { format!("{:?}", info.members) };
    format!(
        "{} {:?} unique {} name {:?} {:?} by {:?} {members} made {} changed {} newest {:?} ends {:?}",
        info.id,
        info.kind,
        info.unique,
        info.name,
        info.attributes,
        info.creator,
        millis(info.created_at),
        millis(info.updated_at),
        info.last_message_at.map(millis),
        info.expires_at.map(millis),
    )
}

fn super_signature() -> Signature {
    let action = Action::Open { peer: &peer("root"), watch: &[], super_peer: true };
    Signer::new("app", KEY).unwrap().sign(&action, "nonce1", START).unwrap()
}

fn super_open() -> Open {
    Open { super_peer: true, credentials: Credentials::Signature(super_signature()), ..Open::new(peer("root")) }
}

fn with_token(draft: Draft, token: &str) -> Draft {
    draft.with_retry_token(RetryToken::new(token).unwrap())
}

/// Every kind of row, written by the engine under test; what it left, without a clean end.
pub(crate) fn live() -> FaultyStore {
    let store = FaultyStore::new(Durability::Process);
    let faults = store.faults();
    let mut host = Host::start(Arc::new(store), START);
    let crowd: Vec<PeerId> = (0..CROWD).map(|n| peer(&format!("member {n:04}"))).chain([peer("bob")]).collect();
    let crowd = host.make("alice", Create { name: Some("crowd".to_owned()), ..Create::new(Shape::Group, crowd) });
    host.open_as("root", super_open());
    for name in ["alice", "alice/pad", "bob/phone", "bob/desk", "carol", "dave", "erin"] {
        host.open(name);
    }
    first_half(&mut host, &crowd);
    host.wait(Duration::from_secs(6));
    host.engine.store().maintain().unwrap();
    // The power goes: some numbers are skipped, and stand in rows as lost.
    let store = faults.power_cut(3);
    let faults = store.faults();
    let mut host = Host { texts: host.texts, ..Host::start(Arc::new(store), host.now + Duration::from_secs(1)) };
    for name in ["alice", "bob/phone", "carol", "frank"] {
        host.open(name);
    }
    second_half(&mut host, &crowd);
    faults.restart()
}

fn first_half(host: &mut Host, crowd: &ConversationId) {
    let text = |text: &str| Content::Text(text.to_owned());
    for n in 0..4 {
        host.send("alice", Draft::to_peer(peer("bob"), text(&format!("to bob {n}"))).with_receipt());
        host.send("bob/phone", Draft::to_peer(peer("alice"), text(&format!("to alice {n}"))));
    }
    host.acknowledge("bob/phone", &["to bob 0", "to bob 1", "to bob 3"], true);
    host.acknowledge("bob/desk", &["to bob 0"], false);
    host.acknowledge("alice", &["to alice 0", "to alice 2"], false);
    host.send("alice/pad", Draft::to_peer(peer("carol"), Content::Binary(vec![0, 255, 7, 128])));
    host.send("carol", with_token(Draft::to_peer(peer("dave"), text("with a token")), "token 1"));
    host.send("erin", Draft::to_peers(vec![peer("alice"), peer("bob"), peer("erin")], text("to two")));
    for n in 0..3 {
        host.send("alice", Draft::to_conversation(crowd.clone(), text(&format!("to the crowd {n}"))));
        host.send("bob/desk", Draft::to_conversation(crowd.clone(), text(&format!("only member 000{n}: psst"))));
    }
    let mut attributes = switchboard::Attributes::new();
    attributes.insert("colour".to_owned(), "blue".into());
    let named = Create { attributes, name: Some("pair".to_owned()), ..Create::new(Shape::Unique, vec![peer("bob")]) };
    host.ask("alice", Request::Create(named));
    let temporary = Shape::Temporary(Duration::from_secs(86_400 * 3));
    let temporary = host.make("carol", Create::new(temporary, vec![peer("alice"), peer("dave")]));
    host.send("dave", Draft::to_conversation(temporary, text("for three days")));
    let room = host.make("alice", Create { name: Some("lobby".to_owned()), ..Create::new(Shape::Room, Vec::new()) });
    host.ask("erin", Request::Join { conversation: room.clone(), signature: None });
    host.send("erin", Draft::to_conversation(room, text("hello, lobby")));
    comings_and_goings(host);
    host.engine.delete_message(crowd, 3, host.now).unwrap();
    host.settle();
    host.drop_line("bob/desk");
    host.ask("erin", Request::Close);
    host.drop_line("dave");
}

/// A group that some left, one was kicked from and one came back to.
fn comings_and_goings(host: &mut Host) {
    let group = host.make("bob", Create::new(Shape::Group, vec![peer("carol"), peer("dave"), peer("erin")]));
    let say = |host: &mut Host, from: &str, text: &str| host.send(from, Draft::to_conversation(group.clone(), text));
    say(host, "bob/phone", "g1");
    host.ask("carol", Request::Leave { conversation: group.clone() });
    say(host, "dave", "g2");
    host.ask("bob/phone", Request::Kick { conversation: group.clone(), peers: vec![peer("erin")], signature: None });
    say(host, "dave", "g3");
    host.ask("carol", Request::Join { conversation: group.clone(), signature: None });
    say(host, "dave", "g4");
    host.acknowledge("carol", &["g1"], true);
}

fn second_half(host: &mut Host, crowd: &ConversationId) {
    let hers = host.engine.conversations_of(&peer("carol"));
    let temporary = hers.iter().find(|info| info.expires_at.is_some()).unwrap().id.clone();
    for n in 4..7 {
        host.send("alice", Draft::to_peer(peer("bob"), format!("to bob {n}")));
        host.send("frank", with_token(Draft::to_peer(peer("dave"), format!("again {n}")), &format!("token {n}")));
        host.send("carol", Draft::to_conversation(temporary.clone(), "only alice: hush"));
    }
    host.wait(Duration::from_secs(6));
    host.send("alice", Draft::to_conversation(crowd.clone(), "the last word"));
    host.send("carol", with_token(Draft::to_peer(peer("frank"), "newer than any index"), "token 9"));
}

/// All that a host can read of a store that [`live`] left: the same lines, whichever version wrote it.
pub(crate) fn read(store: Arc<FaultyStore>) -> Vec<String> {
    let mut host = Host::start(store, READ_AT);
    let mut lines = Vec::new();
    let mut conversations: BTreeMap<ConversationId, String> = BTreeMap::new();
    for name in NAMES.into_iter().chain(["member 0001", "member 0002", "root"]) {
        for info in host.engine.conversations_of(&peer(name)) {
            lines.push(format!(
                "{name} has {} unread in {}",
                host.engine.unread_count_in(&peer(name), &info.id),
                info.id
            ));
            conversations.insert(info.id.clone(), described(&info));
        }
    }
    let crowd: u64 = (0..CROWD).map(|n| host.engine.unread_count(&peer(&format!("member {n:04}")))).sum();
    lines.push(format!("the crowd has {crowd} unread"));
    for (id, info) in &conversations {
        lines.push(info.clone());
        let ticket = host.engine.history_of(id, Page::oldest(1_000), host.now).unwrap();
        lines.extend(host.history(ticket));
    }
    for sender in [None, Some(peer("alice"))] {
        let ticket = host.engine.history_by(sender.as_ref(), Page::oldest(1_000), host.now).unwrap();
        lines.extend(host.history(ticket).into_iter().map(|line| format!("by {sender:?}: {line}")));
    }
    lines.push(format!("the nonce again: {:?}", host.engine.open(super_open(), host.now).unwrap_err().code()));
    for name in
        ["alice", "alice/pad", "alice/new", "bob/phone", "bob/desk", "carol", "dave", "erin", "frank", "member 0000"]
    {
        host.open(name);
        host.ask(name, Request::Unread);
        host.drop_line(name);
    }
    for (from, token) in [("carol", "token 1"), ("frank", "token 5"), ("carol", "token 9"), ("carol", "token new")] {
        host.open(from);
        host.ask(from, Request::Send(with_token(Draft::to_peer(peer("dave"), "once more"), token)));
        host.drop_line(from);
    }
    lines.extend(host.told);
    lines
}
