//! Rows 59 to 62, 67 and 70: one client does not lock out or slow down the others. In virtual time, counted and never timed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use switchboard::signature::{Action, Signer};
use switchboard::store::Durability;
use switchboard::store::faulty::{Failure, Faults, FaultyStore};
use switchboard::{
    Config, ConversationId, Create, Credentials, DeviceId, Draft, Engine, Error, Event, NoHooks, Open, Origin, Output,
    PeerId, Reply, Request, ResumeToken, RetryToken, SessionId, Shape, Ticket, Timestamp, Update,
};

use crate::world::START;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// An engine whose outputs are read at once, and whose store takes everything at once.
struct House {
    engine: Engine,
    faults: Faults,
    now: Timestamp,
    replies: Vec<(Ticket, Result<Reply, Error>)>,
    updates: Vec<Update>,
    events: Vec<Event>,
    pushes: usize,
}

impl House {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        Self::on(config, FaultyStore::new(Durability::Fsync), START)
    }

    fn on(config: Config, store: FaultyStore, now: Timestamp) -> Self {
        let faults = store.faults();
        let engine = Engine::start(config, Arc::new(store), Box::new(NoHooks), [7; 32], now).unwrap();
        Self { engine, faults, now, replies: vec![], updates: vec![], events: vec![], pushes: 0 }
    }

    fn restart(&mut self) {
        let config = self.engine.config().clone();
        *self = Self::on(config, self.faults.restart(), self.now);
    }

    fn pump(&mut self) {
        while self.engine.has_work() && self.engine.commit(self.now).is_ok() {
            self.read();
        }
        self.read();
    }

    fn read(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Deliver(deliver) => match &*deliver.update {
                    Update::Reply { ticket, result } => self.replies.push((*ticket, result.clone())),
                    update => self.updates.push(update.clone()),
                },
                Output::Event(Event::Answered { ticket, result }) => self.replies.push((ticket, result)),
                Output::Event(event) => self.events.push(event),
                Output::Push(_) => self.pushes += 1,
                _ => {}
            }
        }
    }

    fn wait(&mut self, span: Duration, step: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now = (self.now + step).min(end);
            self.wake();
        }
    }

    fn wake(&mut self) {
        for _ in 0..1_000 {
            self.engine.handle_timeout(self.now);
            self.pump();
            if self.engine.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
        }
    }

    fn open(&mut self, open: Open) -> Result<SessionId, Error> {
        let opened = self.engine.open(open, self.now);
        self.pump();
        opened.map(|(session, _)| session)
    }

    fn enter(&mut self, name: &str) -> SessionId {
        self.open(Open::new(peer(name))).unwrap()
    }

    fn ask(&mut self, session: SessionId, request: Request) -> Result<Reply, Error> {
        let ticket = self.engine.request(session, request, self.now)?;
        self.pump();
        let at = self.replies.iter().position(|(answered, _)| *answered == ticket);
        at.map_or(Ok(Reply::Done), |at| self.replies.swap_remove(at).1)
    }

    fn send(&mut self, session: SessionId, to: &str, text: &str) -> Result<Reply, Error> {
        self.ask(session, Request::Send(Draft::to_peer(peer(to), text)))
    }

    fn watch(&mut self, session: SessionId, peers: Vec<PeerId>) -> Result<Reply, Error> {
        self.ask(session, Request::Watch { peers, signature: None })
    }

    fn create(&mut self, session: SessionId, shape: Shape, members: &[&str]) -> Result<ConversationId, Error> {
        let members = members.iter().map(|name| peer(name)).collect();
        match self.ask(session, Request::Create(Create::new(shape, members)))? {
            Reply::Created { conversation, .. } => Ok(conversation.id),
            other => panic!("{other:?}"),
        }
    }

    /// Whoever comes new can open, and write to somebody who is new as well.
    fn lets_newcomers_in(&mut self) {
        let name = format!("newcomer{}", self.replies.len() + self.events.len());
        let session = self.open(Open { origin: Some(Origin::new(u64::MAX)), ..Open::new(peer(&name)) }).unwrap();
        self.send(session, &format!("{name}'s friend"), "hello").unwrap();
        self.create(session, Shape::Room, &[]).unwrap();
        self.engine.pause(session, self.now);
        self.pump();
    }

    fn peer_rows(&self) -> usize {
        self.faults.keys().iter().filter(|key| key.first() == Some(&b'p')).count()
    }
}

fn peer(name: &str) -> PeerId {
    PeerId::new(name).unwrap()
}

fn over(limit: &'static str, max: u64) -> Error {
    Error::OverLimit { limit, max }
}

fn hostile(name: &str) -> Open {
    Open { origin: Some(Origin::new(1)), ..Open::new(peer(name)) }
}

/// One client wrote to a hundred new names a message, and after ten thousand messages nobody new got in.
#[test]
fn row_59_new_names_are_counted_for_the_peer_and_for_its_connection() {
    let mut house = House::new();
    let mut accepted = 0;
    for n in 0..12 {
        let session = house.open(hostile(&format!("mallory{n}"))).unwrap();
        let mut refused = None;
        for message in 0..11 {
            let to = (0..100).map(|to| peer(&format!("{n}-{message}-{to}"))).collect();
            match house.ask(session, Request::Send(Draft::to_peers(to, "spam"))) {
                Ok(_) => accepted += 100,
                Err(error) => refused = Some(error),
            }
        }
        let expected = if n < 9 { over("names_per_hour_max", 1_000) } else { over("names_per_hour_max", 10_000) };
        assert_eq!(refused, Some(expected), "peer {n}");
        // What it knows already costs nothing, and a group with new names is the same as a message.
        assert_eq!(house.send(session, &format!("mallory{n}"), "to myself").map(|_| ()), Ok(()));
        if n < 9 {
            let new: Vec<String> = (0..11).map(|to| format!("g{n}-{to}")).collect();
            let new: Vec<&str> = new.iter().map(String::as_str).collect();
            assert!(house.create(session, Shape::Group, &new).is_err());
        }
    }
    assert!(accepted <= 10_000, "{accepted}");
    house.lets_newcomers_in();
    let metrics = house.engine.metrics();
    assert!(metrics.peers <= 10_000 + 12 + 2, "{metrics:?}");
    // The host is exempt.
    let to = (0..100).map(|to| peer(&format!("host-{to}"))).collect();
    house.engine.send_as(&peer("mallory0"), Draft::to_peers(to, "news"), house.now).unwrap();
    // An hour later the peer has its share again.
    house.now = house.now + HOUR;
    let session = house.open(hostile("mallory0")).unwrap();
    house.send(session, "somebody new", "hello").unwrap();
}

/// One client watched ids that nobody has: each became a peer, until there was no room for another.
#[test]
fn row_59_watching_makes_no_peer_and_what_nobody_has_is_watched_within_a_share() {
    let mut house = House::new();
    let (mut watched, mut refused) = (0, 0);
    for n in 0..100 {
        for device in 0..10 {
            let device = Some(DeviceId::new(&format!("d{device}")).unwrap());
            let session = house.open(Open { device, ..hostile(&format!("mallory{n}")) }).unwrap();
            for list in 0..10 {
                let names = (0..100).map(|name| peer(&format!("{n}-{}-{list}-{name}", session.slot()))).collect();
                match house.watch(session, names) {
                    Ok(_) => watched += 100,
                    Err(error) => {
                        assert_eq!(error, over("unknown_watched_max", 100_000));
                        refused += 1;
                    }
                }
            }
        }
    }
    assert_eq!((watched, refused), (100_000, 9_000));
    house.lets_newcomers_in();
    let metrics = house.engine.metrics();
    assert_eq!((metrics.watched, metrics.peers), (100_000, 100 + 2));
}

/// A name that nobody has was told apart from one that is away by what watching it did.
#[test]
fn watching_an_unknown_peer_looks_like_watching_one_that_is_away() {
    let mut house = House::new();
    let (alice, bob) = (house.enter("alice"), house.enter("bob"));
    house.send(bob, "alice", "hello").unwrap();
    house.ask(bob, Request::Close).unwrap();
    let peers = house.engine.metrics().peers;
    let seen = house.watch(alice, vec![peer("bob"), peer("nobody")]).unwrap();
    assert_eq!(seen, Reply::Online(Vec::new()));
    assert_eq!(house.engine.metrics().peers, peers);
    house.updates.clear();
    house.enter("nobody");
    house.wait(Duration::from_secs(2), Duration::from_secs(1));
    let came = Update::Presence { online: vec![peer("nobody")], offline: Vec::new() };
    assert_eq!(house.updates, [came]);
    // It leaves nothing behind, and its coming again is told again.
    house.engine.close_peer(&peer("nobody"), Error::KickedByApp, house.now);
    house.wait(Duration::from_secs(2), Duration::from_secs(1));
    assert_eq!(house.engine.metrics().peers, peers);
    house.updates.clear();
    house.enter("nobody");
    house.wait(Duration::from_secs(2), Duration::from_secs(1));
    assert_eq!(house.updates, [Update::Presence { online: vec![peer("nobody")], offline: Vec::new() }]);
}

/// One client opened with a new device id and dropped, again and again: each pause held a session for half an hour.
#[test]
fn row_59_devices_that_open_and_drop_end_the_oldest_pause() {
    let mut house = House::new();
    for n in 0..10_000 {
        let device = Some(DeviceId::new(&format!("d{n}")).unwrap());
        let session = house.open(Open { device, ..hostile("mallory") }).unwrap();
        house.engine.pause(session, house.now);
        house.pump();
    }
    let metrics = house.engine.metrics();
    assert_eq!((metrics.sessions, metrics.paused_sessions, metrics.peers), (10, 10, 1));
    // Many peers of one connection have a hundred pauses together.
    for n in 0..1_000 {
        let session = house.open(hostile(&format!("mallory{n}"))).unwrap();
        house.engine.pause(session, house.now);
        house.pump();
    }
    assert_eq!(house.engine.metrics().paused_sessions, 100);
    house.lets_newcomers_in();
    house.wait(HOUR, MINUTE);
    let metrics = house.engine.metrics();
    assert_eq!((metrics.sessions, metrics.paused_sessions), (0, 0));
    assert_eq!(metrics.peers, 2, "the newcomer and its friend, who have a conversation");
}

/// Pauses filled the table of sessions, and whoever wanted to open was refused for their sake.
#[test]
fn an_open_is_never_refused_for_the_sake_of_a_pause() {
    let mut house = House::with(Config { all_sessions_max: 100, ..Config::default() });
    let resumes = |house: &mut House, token: ResumeToken, name: &str| {
        house.open(Open { credentials: Credentials::Token(token), ..Open::new(peer(name)) })
    };
    let mut tokens = Vec::new();
    let mut pause = |house: &mut House, name: &str, device: usize| {
        let device = Some(DeviceId::new(&format!("d{device}")).unwrap());
        let (session, ticket) = house.engine.open(Open { device, ..Open::new(peer(name)) }, house.now).unwrap();
        house.pump();
        let answer = house.replies.iter().find(|(answered, _)| *answered == ticket);
        if let Some((_, Ok(Reply::Opened(opened)))) = answer {
            tokens.push(opened.token.clone());
        }
        house.engine.pause(session, house.now);
        house.now = house.now + Duration::from_millis(1);
        house.pump();
    };
    pause(&mut house, "honest", 0);
    (0..9).for_each(|n| (0..10).for_each(|device| pause(&mut house, &format!("mallory{n}"), device)));
    assert_eq!(house.engine.metrics().paused_sessions, 91);
    (0..100).for_each(|n| {
        house.enter(&format!("p{n}"));
    });
    let metrics = house.engine.metrics();
    assert_eq!((metrics.open_sessions, metrics.paused_sessions), (100, 10));
    assert_eq!(house.open(Open::new(peer("one more"))), Err(over("all_sessions_max", 100)));
    // Those with most gave up theirs: who has one kept it.
    house.engine.close_peer(&peer("p0"), Error::KickedByApp, house.now);
    let token = tokens.swap_remove(0);
    let device = Some(DeviceId::new("d0").unwrap());
    assert_eq!(resumes(&mut house, token.clone(), "honest"), Err(Error::TokenExpired), "another device");
    let open = Open { device, credentials: Credentials::Token(token), ..Open::new(peer("honest")) };
    house.open(open).unwrap();
}

/// One client made rooms until no conversation could be made any more, after restarts too.
#[test]
fn row_59_rooms_and_conversations_are_made_within_a_share() {
    let mut house = House::new();
    let mut rooms = 0;
    for n in 0..12 {
        let session = house.open(hostile(&format!("mallory{n}"))).unwrap();
        for _ in 0..(10_000 / 12) {
            match house.create(session, Shape::Room, &[]) {
                Ok(_) => rooms += 1,
                Err(error) => {
                    let max = if n < 10 { 100 } else { 1_000 };
                    assert_eq!(error, over("rooms_made_max", max));
                }
            }
        }
    }
    assert_eq!(rooms, 1_000);
    house.lets_newcomers_in();
    assert_eq!(house.engine.metrics().conversations, 1_000 + 2);
    house.restart();
    let session = house.open(hostile("mallory0")).unwrap();
    assert_eq!(house.create(session, Shape::Room, &[]), Err(over("rooms_made_max", 100)));

    let mut house = House::with(Config { groups_max: 100_000, ..Config::default() });
    let session = house.enter("mallory");
    for _ in 0..1_000 {
        house.create(session, Shape::Group, &[]).unwrap();
    }
    assert_eq!(house.create(session, Shape::Group, &[]), Err(over("conversations_per_day_max", 1_000)));
    assert_eq!(house.send(session, "bob", "hi"), Err(over("conversations_per_day_max", 1_000)));
    house.lets_newcomers_in();
    house.now = house.now + DAY;
    house.engine.confirm_time();
    house.send(session, "bob", "hi").unwrap();
}

/// Whoever had once been in a conversation stayed in memory and in the store for good.
#[test]
fn who_left_nothing_behind_is_forgotten_and_who_wrote_is_not() {
    let mut house = House::new();
    let alice = house.enter("alice");
    let group = house.create(alice, Shape::Group, &["bob", "carol"]).unwrap();
    let carol = house.enter("carol");
    house.ask(carol, Request::Send(Draft::to_conversation(group.clone(), "hello"))).unwrap();
    house.ask(carol, Request::Leave { conversation: group.clone() }).unwrap();
    house.ask(carol, Request::Close).unwrap();
    let bob = house.enter("bob");
    house.ask(bob, Request::Leave { conversation: group.clone() }).unwrap();
    house.ask(bob, Request::Close).unwrap();
    // A newer name, so that bob's number is not the newest.
    house.send(alice, "dave", "hi").unwrap();
    house.wait(7 * DAY - HOUR, HOUR / 2);
    house.engine.confirm_time();
    assert_eq!((house.engine.metrics().peers, house.peer_rows()), (4, 4));
    house.wait(2 * HOUR, HOUR / 2);
    assert_eq!((house.engine.metrics().peers, house.peer_rows()), (3, 3), "alice, carol and dave");
    house.restart();
    assert_eq!(house.engine.metrics().peers, 3);
    let alice = house.enter("alice");
    let page = switchboard::Page::oldest(10);
    let Reply::History { messages, .. } = house.ask(alice, Request::History { conversation: group, page }).unwrap()
    else {
        panic!("no page")
    };
    assert_eq!(messages[0].from, peer("carol"));
}

/// An open and a close left a row behind, so that a million of them filled the store.
#[test]
fn an_open_and_a_close_alone_store_nothing() {
    let mut house = House::new();
    let before = house.faults.keys().len();
    for n in 0..100 {
        let session = house.enter(&format!("p{n}"));
        house.ask(session, Request::Close).unwrap();
    }
    house.wait(MINUTE, Duration::from_secs(1));
    assert_eq!((house.faults.keys().len(), house.engine.metrics().peers), (before, 0));
}

/// A full memory of nonces looked like a bad signature: the client was delayed and closed, and the host heard nothing.
#[test]
fn row_70_a_full_nonce_memory_is_said_to_the_host_and_is_no_fault_of_the_client() {
    let config = Config {
        signatures: switchboard::SignatureChecks { sessions: true, groups: false },
        signature_window: MINUTE,
        signature_ahead: Duration::from_secs(1),
        signed_per_second: 2,
        nonces_max: 162,
        master_keys: vec![b"the master key of the tests".to_vec()],
        ..Config::default()
    };
    let mut house = House::with(config.clone());
    let signer = Signer::new(&config.app_id, &config.master_keys[0]).unwrap();
    let signed = |name: &str, nonce: &str, now| {
        let peer = peer(name);
        let signature = signer.sign(&Action::Open { peer: &peer, watch: &[], super_peer: false }, nonce, now).unwrap();
        Open { credentials: Credentials::Signature(signature), ..Open::new(peer) }
    };
    // At the rate in the settings nobody is refused, however long.
    for n in 0..600 {
        house.now = house.now + Duration::from_millis(500);
        house.wake();
        let session = house.open(signed("alice", &format!("n{n}"), house.now)).unwrap();
        house.engine.pause(session, house.now);
        house.pump();
    }
    let mut refused = 0;
    for n in 0..200 {
        match house.open(signed("mallory", &format!("m{n}"), house.now)) {
            Ok(session) => house.engine.pause(session, house.now),
            Err(error) => {
                assert_eq!((error.code(), error.advice()), (4200, switchboard::Advice::Retry));
                refused += 1;
            }
        }
        house.pump();
    }
    assert!(refused > 0);
    let told = house.events.iter().filter(|event| matches!(event, Event::NoncesFull { max: 162 })).count();
    assert_eq!(told, 1, "and not once for each request");
    assert!(!house.events.iter().any(|event| matches!(event, Event::SignatureRefused { .. })));
    // A replay is a replay, full or not; and what was refused was not used up.
    let replay = house.open(signed("alice", "n599", house.now));
    assert_eq!(replay, Err(Error::SignatureFailed));
    house.wait(2 * MINUTE, Duration::from_secs(1));
    house.open(signed("mallory", "m199", house.now)).unwrap();
    // Too small a memory for the window and the rate is no setting.
    let short = Config { nonces_max: 161, ..config };
    assert_eq!(short.validate().map_err(|error| error.setting), Err("nonces_max"));
}

type Change = fn(&mut Config);

/// Each setting at 0, far beyond its bound, and under a name that is none: refused by its name, or it works.
#[test]
fn row_67_every_number_has_a_bound_and_is_refused_by_its_name() {
    let fields = serde_json::to_value(Config::default()).unwrap();
    let numbers = fields.as_object().unwrap().iter().filter(|(_, value)| value.is_u64());
    let names: Vec<String> = numbers.map(|(name, _)| name.clone()).collect();
    assert!(names.len() > 30, "{names:?}");
    let with = |name: &str, value: u64| {
        let mut fields = fields.clone();
        fields[name] = value.into();
        serde_json::from_value::<Config>(fields).map(|config| config.validate().map_err(|error| error.setting))
    };
    for name in names.iter().filter(|name| *name != "node") {
        // What is contradicted may be named instead of what was changed.
        let pairs = ["watched_max", "signed_per_second", "message_bytes_max", "all_sessions_max", "batch_bytes_max"];
        for value in [0, u64::MAX, u64::MAX >> 2] {
            let Ok(result) = with(name, value) else { continue };
            match result {
                Ok(()) => {
                    assert_eq!(value, 0, "{name} may be {value}");
                    let mut fields = fields.clone();
                    fields[name.as_str()] = 0.into();
                    House::with(serde_json::from_value(fields).unwrap()).enter("alice");
                }
                Err(setting) => assert!(setting == name || pairs.contains(&name.as_str()), "{name}: {setting}"),
            }
        }
    }
    let unknown = serde_json::from_str::<Config>(r#"{"sessions_maximum": 4}"#).unwrap_err();
    assert!(unknown.to_string().contains("sessions_maximum"), "{unknown}");
    let contradictions: [(&str, Change); 6] = [
        ("watched_per_request_max", |c| c.watched_max = 10),
        ("sessions_max", |c| c.all_sessions_max = 9),
        ("chunk_bytes_max", |c| (c.batch_bytes_max, c.chunk_bytes_max) = (1 << 16, 1 << 17)),
        ("staged_share_bytes_max", |c| c.staged_bytes_max = 1 << 19),
        ("staged_bytes_max", |c| (c.message_bytes_max, c.staged_bytes_max) = (1 << 17, 1 << 17)),
        ("nonces_max", |c| c.signed_per_second = 46),
    ];
    for (setting, change) in contradictions {
        let mut config = Config { staged_share_bytes_max: 1 << 16, ..Config::default() };
        if setting == "staged_share_bytes_max" {
            config.staged_share_bytes_max = 1 << 20;
        }
        change(&mut config);
        assert_eq!(config.validate().map_err(|error| error.setting), Err(setting));
    }
    assert_eq!(with("timeouts_per_call_max", 10_000).unwrap(), Ok(()));
    assert_eq!(with("timeouts_per_call_max", 10_001).unwrap(), Err("timeouts_per_call_max"));
}

fn limit_of(result: Result<Ticket, Error>) -> Option<&'static str> {
    match result {
        Err(Error::OverLimit { limit, .. }) => Some(limit),
        Err(Error::StoreUnavailable) => Some("store"),
        other => panic!("{other:?}"),
    }
}

/// Only a send looked at the limits: any other verb could fill the queues of a host that does not read, and the staging of a
/// store that takes nothing.
#[test]
fn row_60_every_verb_holds_what_waits_for_the_host() {
    let config = Config { outputs_max: 1_000, ..Config::default() };
    let mut house = House::with(config);
    let (alice, bob) = (house.enter("alice"), house.enter("bob"));
    let group = house.create(alice, Shape::Group, &["bob"]).unwrap();
    let room = house.create(alice, Shape::Room, &[]).unwrap();
    house.faults.fail_next(10_000, Failure::NotStored);
    drop(house.engine.commit(house.now));
    let now = house.now;
    let requests = verbs(&group, &room);
    // Nobody polls and nothing is stored; everyone asks everything, until nothing is taken any more.
    let mut limits = BTreeSet::new();
    for _ in 0..200 {
        for request in &requests {
            if let Err(error) = house.engine.request(alice, request.clone(), now) {
                limits.extend(limit_of(Err(error)));
            }
        }
        house.engine.handle_timeout(now);
    }
    for request in &requests {
        assert_eq!(limit_of(house.engine.request(alice, request.clone(), now)), Some("outputs_max"), "{request:?}");
    }
    assert!(limits.contains("outputs_max"), "{limits:?}");
    let mallory = (0..100).map(|n| house.engine.open(Open::new(peer(&format!("m{n}"))), now).map(|(_, ticket)| ticket));
    assert!(mallory.map(limit_of).all(|limit| limit == Some("outputs_max")));
    let page = switchboard::Page::oldest(10);
    assert_eq!(limit_of(house.engine.history_of(&group, page, now)), Some("outputs_max"));
    let page = switchboard::Page::oldest(10);
    assert_eq!(limit_of(house.engine.history_by(None, page, now)), Some("outputs_max"));
    assert_eq!(
        limit_of(house.engine.send_as(&peer("bob"), Draft::to_peer(peer("alice"), "x"), now)),
        Some("outputs_max")
    );
    // Answers that come early, timers, acknowledgements, pauses and closes go on.
    house.now = house.now + MINUTE;
    house.engine.handle_timeout(house.now);
    house.engine.request(bob, Request::MarkRead { conversation: group, up_to: None }, house.now).unwrap();
    house.engine.request(bob, Request::Close, house.now).unwrap();
    house.engine.pause(alice, house.now);
    let outputs = house.engine.metrics().outputs;
    assert!((900..=1_100).contains(&outputs), "{outputs}");
}

/// Every request that has an answer.
fn verbs(group: &ConversationId, room: &ConversationId) -> Vec<Request> {
    let conversation = || group.clone();
    vec![
        Request::Send(Draft::to_conversation(group.clone(), "stored")),
        Request::Send(Draft::to_conversation(room.clone(), "live")),
        Request::Send(Draft { transient: true, ..Draft::to_conversation(group.clone(), "transient") }),
        Request::Send(Draft::to_peer(peer("bob"), "direct").with_retry_token(RetryToken::new("t").unwrap())),
        Request::Watch { peers: vec![peer("bob")], signature: None },
        Request::Unwatch { peers: vec![peer("bob")] },
        Request::QueryOnline { peers: vec![peer("bob")] },
        Request::Create(Create::new(Shape::Room, Vec::new())),
        Request::Create(Create::new(Shape::Group, vec![peer("bob")])),
        Request::Join { conversation: room.clone(), signature: None },
        Request::Invite { conversation: conversation(), peers: vec![peer("carol")], signature: None },
        Request::Kick { conversation: conversation(), peers: vec![peer("carol")], signature: None },
        Request::Members { conversation: conversation() },
        Request::Describe { conversation: conversation() },
        Request::Conversations,
        Request::Count { conversation: conversation() },
        Request::History { conversation: conversation(), page: switchboard::Page::oldest(10) },
        Request::Unread,
        Request::Leave { conversation: room.clone() },
    ]
}

/// Rooms, opens, creations and devices staged on while the store took nothing.
#[test]
fn row_60_every_verb_holds_what_waits_for_the_store() {
    let config = Config {
        staged_bytes_max: 1 << 17,
        staged_share_bytes_max: 1 << 16,
        rooms_made_max: 1 << 20,
        conversations_per_day_max: 1 << 20,
        names_per_hour_max: 1 << 20,
        paused_max: 1_000,
        sessions_max: 1_000,
        ..Config::default()
    };
    let mut house = House::with(config);
    let alice = house.enter("alice");
    let room = house.create(alice, Shape::Room, &[]).unwrap();
    house.send(alice, "bob", "known").unwrap();
    let mut sessions = Vec::new();
    for n in 0..200 {
        let device = Some(DeviceId::new(&format!("d{n}")).unwrap());
        sessions.push(house.open(Open { device, ..Open::new(peer("alice")) }).unwrap());
    }
    // A commit is under way and does not end.
    house.send(alice, "bob", "more").unwrap();
    house.engine.request(alice, Request::Send(Draft::to_peer(peer("bob"), "stuck")), house.now).unwrap();
    let stuck = house.engine.begin_commit().unwrap();
    let mut refused = BTreeSet::new();
    let text = "x".repeat(1_000);
    for n in 0..2_000 {
        house.now = house.now + Duration::from_millis(100);
        let requests = [
            Request::Send(Draft::to_conversation(room.clone(), text.clone())),
            Request::Send(Draft::to_peer(peer("bob"), text.clone())),
            Request::Create(Create::new(Shape::Room, Vec::new())),
        ];
        for request in requests {
            if let Err(Error::OverLimit { limit, .. }) = house.engine.request(alice, request, house.now) {
                refused.insert(limit);
            }
        }
        let device = Some(DeviceId::new(&format!("e{n}")).unwrap());
        if let Err(Error::OverLimit { limit, .. }) =
            house.engine.open(Open { device, ..Open::new(peer("alice")) }, house.now)
        {
            refused.insert(limit);
        }
        if n >= 1_000
            && let Some(session) = sessions.pop()
        {
            house.engine.pause(session, house.now);
        }
        house.engine.handle_timeout(house.now);
        house.read();
    }
    assert!(refused.contains("staged_bytes_max"), "{refused:?}");
    let staged = house.engine.metrics().staged_bytes;
    assert!(staged <= (1 << 17) * 11 / 10, "{staged}");
    // Once the store takes it, what stayed behind is written.
    house.engine.finish_commit(stuck.run(), house.now);
    house.wait(MINUTE, Duration::from_secs(1));
    house.restart();
    let alice = house.enter("alice");
    house.send(alice, "bob", "again").unwrap();
}

/// Sixteen eager connections filled the staging for all, and honest senders were refused for it.
#[test]
fn who_has_staged_more_than_its_share_waits_and_nobody_else_is_refused() {
    let config =
        Config { staged_bytes_max: 1 << 20, staged_share_bytes_max: 1 << 14, recipients_max: 1, ..Config::default() };
    let mut house = House::with(config);
    let eager: Vec<SessionId> = (0..16)
        .map(|n| house.open(Open { origin: Some(Origin::new(n)), ..Open::new(peer(&format!("eager{n}"))) }).unwrap())
        .collect();
    let honest = house.open(Open { origin: Some(Origin::new(99)), ..Open::new(peer("honest")) }).unwrap();
    house.enter("bob");
    let text = |n: usize| format!("{n:0>1000}");
    let ask = |house: &mut House, session, n: usize| {
        house.engine.request(session, Request::Send(Draft::to_peer(peer("bob"), text(n))), house.now)
    };
    for n in 0..80 {
        for session in &eager {
            match ask(&mut house, *session, n) {
                Ok(_) | Err(Error::OverLimit { limit: "staged_share_bytes_max", .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(house.engine.metrics().staged_bytes <= 17 * (1 << 14) * 2, "{:?}", house.engine.metrics());
    let ticket = ask(&mut house, honest, 0).unwrap();
    house.pump();
    assert!(house.replies.iter().any(|(answered, result)| *answered == ticket && result.is_ok()));
    // The eager ones got what they waited for, each in its own order, one after another.
    let mut last = BTreeMap::new();
    let mut order = Vec::new();
    for update in &house.updates {
        if let Update::Message { message, .. } = update {
            let n: usize = message.content.as_text().unwrap().parse().unwrap();
            let before = last.insert(message.from.clone(), n);
            assert_eq!(n, before.map_or(0, |before| before + 1), "{} kept its order", message.from);
            order.push(message.from.clone());
        }
    }
    assert!(last.len() == 17 && last.values().filter(|n| **n >= 64).count() == 16, "{last:?}");
    let at = order.iter().position(|from| from.as_str() == "honest").unwrap();
    assert!(at < order.len() / 2, "who sends least does not wait for those who send most: {at} of {}", order.len());
    // Alone one has everything.
    let mut sent = 0;
    while ask(&mut house, honest, sent).is_ok() && sent < 600 {
        sent += 1;
    }
    assert_eq!(sent, 600);
    house.pump();
    // A later request of the same session does not overtake, whatever it is; and the end of the engine is told to all.
    for n in 0..40 {
        drop(ask(&mut house, eager[0], n));
        drop(ask(&mut house, honest, n));
    }
    let ticket = house.engine.request(eager[0], Request::Unread, house.now).unwrap();
    house.engine.shut_down(house.now);
    house.pump();
    assert!(house.replies.contains(&(ticket, Err(Error::Closed))));
}

/// Repeated attempts that waited with a parked one were not counted.
#[test]
fn row_60_repeated_attempts_that_wait_count_among_the_parked() {
    struct Waits;
    impl switchboard::Hooks for Waits {
        fn interests(&self) -> switchboard::Interests {
            switchboard::Interests { message_received: true, ..switchboard::Interests::default() }
        }
        fn message_received(
            &mut self,
            _: &switchboard::MessageReceived<'_>,
        ) -> switchboard::Answer<switchboard::Verdict> {
            switchboard::Answer::Defer
        }
    }
    let store = Arc::new(FaultyStore::new(Durability::Fsync));
    let config = Config { parked_max: 10, ..Config::default() };
    let mut engine = Engine::start(config, store, Box::new(Waits), [7; 32], START).unwrap();
    let (alice, _) = engine.open(Open::new(peer("alice")), START).unwrap();
    let send = || Request::Send(Draft::to_peer(peer("bob"), "once").with_retry_token(RetryToken::new("t").unwrap()));
    for _ in 0..10 {
        engine.request(alice, send(), START).unwrap();
    }
    assert_eq!(engine.request(alice, send(), START), Err(over("parked_max", 10)));
    engine.handle_timeout(START + MINUTE);
    engine.commit(START + MINUTE).unwrap();
    let mut accepted = Vec::new();
    while let Some(output) = engine.poll_output() {
        if let Output::Deliver(deliver) = output
            && let Update::Reply { result: Ok(Reply::Accepted(receipt)), .. } = &*deliver.update
        {
            accepted.push(receipt.number);
        }
    }
    assert_eq!(accepted, [Some(1); 10]);
}

/// Eighty thousand messages in turns that nobody marked as read made a row that fitted no record: it was never written.
#[test]
fn row_62_messages_in_turns_are_counted_right_and_in_bounded_memory() {
    let config = Config { tell_sent: false, names_per_hour_max: 10_000, ..Config::default() };
    let mut house = House::with(config);
    let (alice, bob) = (house.enter("alice"), house.enter("bob"));
    let mut ids = Vec::new();
    for n in 0..8_000 {
        let (session, to) = if n % 2 == 0 { (alice, "bob") } else { (bob, "alice") };
        let ticket = house.engine.request(session, Request::Send(Draft::to_peer(peer(to), "turn")), house.now).unwrap();
        if n % 100 == 99 {
            house.pump();
        }
        ids.push(ticket);
    }
    let id_of = |house: &House, number: u64| {
        let answer = house.replies.iter().find_map(|(_, result)| match result {
            Ok(Reply::Accepted(accepted)) if accepted.number == Some(number) => Some(accepted.clone()),
            _ => None,
        });
        answer.unwrap()
    };
    let pair = id_of(&house, 1).conversation;
    let unread = |house: &House, name: &str| house.engine.unread_count(&peer(name));
    // Alice sent the odd numbers, bob the even ones.
    assert_eq!((unread(&house, "alice"), unread(&house, "bob")), (4_000, 4_000));
    let read = |house: &mut House, session, number| {
        let up_to = Some(id_of(house, number).id);
        house.ask(session, Request::MarkRead { conversation: pair.clone(), up_to }).unwrap();
    };
    read(&mut house, alice, 1_001);
    assert_eq!(unread(&house, "alice"), 3_500);
    read(&mut house, alice, 7_990);
    assert_eq!(unread(&house, "alice"), 5);
    house.wait(MINUTE, Duration::from_secs(1));
    house.restart();
    assert_eq!((unread(&house, "alice"), unread(&house, "bob")), (5, 4_000));
    let bob = house.enter("bob");
    house.ask(bob, Request::MarkRead { conversation: pair.clone(), up_to: None }).unwrap();
    assert_eq!(unread(&house, "bob"), 0);
}

/// One that joined and left again and again had a span for each time; at most 64 are kept, and what waited before is told.
#[test]
fn row_59_joining_and_leaving_for_a_minute_keeps_a_bounded_row() {
    let mut house = House::new();
    let alice = house.enter("alice");
    let group = house.create(alice, Shape::Group, &[]).unwrap();
    let mallory = house.enter("mallory");
    let join = Request::Join { conversation: group.clone(), signature: None };
    let leave = Request::Leave { conversation: group.clone() };
    house.ask(mallory, join.clone()).unwrap();
    house.engine.pause(mallory, house.now);
    house.pump();
    let mallory = house.open(Open { device: DeviceId::new("phone").ok(), ..Open::new(peer("mallory")) }).unwrap();
    for n in 0..100 {
        house.ask(alice, Request::Send(Draft::to_conversation(group.clone(), format!("there {n}")))).unwrap();
        house.ask(mallory, leave.clone()).unwrap();
        house.ask(alice, Request::Send(Draft::to_conversation(group.clone(), format!("away {n}")))).unwrap();
        house.ask(mallory, join.clone()).unwrap();
    }
    house.updates.clear();
    house.enter("mallory");
    house.pump();
    let gaps: Vec<&switchboard::Gap> = house
        .updates
        .iter()
        .filter_map(|update| match update {
            // Notices of the pause that were too many are told too.
            Update::Gap(gap) => Some(gap).filter(|gap| gap.conversation.is_some()),
            _ => None,
        })
        .collect();
    let told: u64 = gaps.iter().map(|gap| gap.count).sum();
    let given = house.updates.iter().filter(|update| matches!(update, Update::Message { offline: true, .. })).count();
    assert_eq!((told, given), (50, 50), "{gaps:?}");
    // The one dropped span after another is told, each once.
    house.restart();
    assert_eq!(house.engine.unread_count(&peer("mallory")), 100);
}

/// A hundred thousand strangers wrote to one peer, and each open, pause, list and push of it looked at all of them under the lock.
#[test]
fn row_61_what_strangers_did_does_not_make_a_peers_calls_dearer() {
    let strangers = 20_000_u64;
    let config = Config { tell_sent: false, push_text: Some("news".to_owned()), ..Config::default() };
    let mut house = House::with(config);
    let victim = house.enter("victim");
    let tell = |house: &mut House, n: u64| {
        let draft = Draft::to_peer(peer("victim"), "hello");
        house.engine.send_as(&peer(&format!("s{n}")), draft, house.now).unwrap();
    };
    for n in 0..strangers {
        tell(&mut house, n);
        if n % 500 == 0 {
            house.pump();
        }
    }
    house.pump();
    house.engine.handle_timeout(house.now + Duration::from_secs(6));
    house.pump();
    let steps = |house: &mut House, call: &mut dyn FnMut(&mut House)| {
        let before = house.engine.conversation_visits();
        call(house);
        house.engine.conversation_visits() - before
    };
    let pause = steps(&mut house, &mut |house| house.engine.pause(victim, house.now));
    assert!(pause < 1_000, "pause: {pause}");
    house.pump();
    // The first push sums, each after it does not.
    tell(&mut house, 0);
    house.pump();
    let pushes = house.pushes;
    let push = steps(&mut house, &mut |house| tell(house, 1));
    house.pump();
    assert!(push < 100 && house.pushes == pushes + 1, "push: {push}");
    assert_eq!(house.engine.unread_count(&peer("victim")), strangers + 2);
    // An open is done in steps; each looks at a bounded number, and others go on between them.
    let mut session = None;
    let open = steps(&mut house, &mut |house| {
        session = Some(house.engine.open(Open::new(peer("victim")), house.now).unwrap().0);
    });
    assert!(open < 1_000, "open: {open}");
    let (mut most, mut reads) = (0, 0);
    let mut during = false;
    while let Some(read) = house.engine.begin_read() {
        let done = read.run();
        let mut done = Some(done);
        let cost = steps(&mut house, &mut |house| {
            if let Some(done) = done.take() {
                house.engine.finish_read(done, house.now);
            }
        });
        (most, reads) = (most.max(cost), reads + 1);
        if reads == 20 {
            // While the steps go on: one whose log was looked at, and one whose was not.
            tell(&mut house, 7);
            tell(&mut house, strangers - 1);
            during = true;
        }
    }
    assert!(during && reads > strangers / 512, "{reads} steps");
    assert!(most < 512 * 10, "one step: {most}");
    house.updates.clear();
    house.pump();
    let given: Vec<_> = house
        .updates
        .iter()
        .filter_map(|update| match update {
            Update::Message { message, .. } => Some((message.from.clone(), message.number)),
            _ => None,
        })
        .collect();
    let once: BTreeSet<_> = given.iter().cloned().collect();
    assert_eq!((given.len(), once.len()), (50, 50), "the newest of the offline queue, each once");
    assert!(once.contains(&(peer("s7"), Some(2))) && once.contains(&(peer(&format!("s{}", strangers - 1)), Some(2))));
    // Lists take steps as well, and are whole.
    let session = session.unwrap();
    for request in [Request::Conversations, Request::Unread] {
        let mut ticket = None;
        let asked = steps(&mut house, &mut |house| {
            ticket = Some(house.engine.request(session, request.clone(), house.now).unwrap());
        });
        assert!(asked < 1_000, "{request:?}: {asked}");
        house.pump();
        let at = house.replies.iter().position(|(answered, _)| Some(*answered) == ticket).unwrap();
        let listed = match house.replies.swap_remove(at).1.unwrap() {
            Reply::Conversations(listed) => listed.len(),
            Reply::Unread(listed) => listed.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(listed as u64, strangers);
    }
    house.ask(session, Request::Close).unwrap();
}

/// Whoever had made a hundred rooms could make no other for good, for nothing ever ended one.
#[test]
fn a_conversation_that_the_host_ends_is_gone_and_frees_a_share() {
    let mut house = House::with(Config { rooms_made_max: 1, groups_max: 1, ..Config::default() });
    let alice = house.enter("alice");
    let (room, group) = (house.create(alice, Shape::Room, &[]), house.create(alice, Shape::Group, &["bob"]));
    let (room, group) = (room.unwrap(), group.unwrap());
    let rows = |house: &House, kind: u8| house.faults.keys().iter().filter(|key| key.first() == Some(&kind)).count();
    for id in [&room, &group] {
        house.ask(alice, Request::Send(Draft::to_conversation(id.clone(), "hello"))).unwrap();
    }
    assert_eq!(house.create(alice, Shape::Room, &[]), Err(over("rooms_made_max", 1)));
    assert_eq!(house.create(alice, Shape::Group, &[]), Err(over("groups_max", 1)));
    for id in [&room, &group] {
        house.engine.end_conversation(id, house.now).unwrap();
        house.wake();
        assert_eq!(house.engine.end_conversation(id, house.now), Err(Error::no_target()));
    }
    assert_eq!((rows(&house, b'c'), rows(&house, b'g'), rows(&house, b'l')), (0, 0, 0));
    assert_eq!(house.engine.unread_count(&peer("bob")), 0);
    // The place of the room is another's now: who was in it is not in that one.
    let carol = house.enter("carol");
    let other = house.create(carol, Shape::Room, &[]).unwrap();
    house.ask(carol, Request::Send(Draft::to_conversation(other.clone(), "who is here"))).unwrap();
    assert_eq!(house.ask(alice, Request::Leave { conversation: other }), Err(Error::no_target()));
    house.create(alice, Shape::Room, &[]).unwrap();
    house.create(alice, Shape::Group, &["bob"]).unwrap();
    house.restart();
    assert_eq!(house.engine.metrics().conversations, 3);
}
