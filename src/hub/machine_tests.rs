//! The hub on the real machine.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Commits, DrainState, Hub, HubClock, HubConfig, ManualClock, SessionHandle};
use crate::config::Config;
use crate::error::Error;
use crate::event::Event;
use crate::hooks::NoHooks;
use crate::id::{ConversationId, PeerId, ResumeToken, Ticket};
use crate::message::Draft;
use crate::request::{Create, Credentials, Open, Request, Shape};
use crate::store::memory::MemoryStore;
use crate::store::{Batch, Direction, Durability, Store, StoreError, StoreStatus, Visit};
use crate::time::Timestamp;
use crate::update::{Reply, Update};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A store whose writes can be slow, fail, or stand still.
#[derive(Default)]
struct Moody {
    rows: MemoryStore,
    slow: Duration,
    failures: AtomicUsize,
    stands: Mutex<bool>,
    moved: Condvar,
}

impl Moody {
    fn stand(&self, still: bool) {
        *self.stands.lock() = still;
        self.moved.notify_all();
    }
}

impl Store for Moody {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.get(key)
    }
    fn scan(&self, range: Range<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.rows.scan(range, direction, visit)
    }
    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        thread::sleep(self.slow);
        self.moved.wait_while(&mut self.stands.lock(), |stands| *stands);
        let left = |left: usize| left.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            return Err(StoreError::Full);
        }
        self.rows.apply(batch)
    }
    fn status(&self) -> StoreStatus {
        StoreStatus::new(Durability::Process)
    }
}

pub(super) fn start(store: Arc<dyn Store>, settings: HubConfig) -> Hub {
    Hub::start(Config::default(), store, Box::new(NoHooks), [7; 32], settings).unwrap()
}

fn in_memory() -> Hub {
    start(Arc::new(MemoryStore::new()), HubConfig::default())
}

pub(super) fn peer(name: &str) -> PeerId {
    PeerId::new(name).unwrap()
}

pub(super) fn read(session: &SessionHandle) -> Vec<Arc<Update>> {
    let mut out = Vec::new();
    session.drain(&mut out, usize::MAX);
    out
}

/// The first thing in what a session is told that `pick` takes.
pub(super) fn wait_for<T>(session: &SessionHandle, mut pick: impl FnMut(&Update) -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        let update = session.recv_timeout(PATIENCE).unwrap();
        if let Some(found) = pick(&update) {
            return found;
        }
        assert!(started.elapsed() < PATIENCE);
    }
}

pub(super) fn answer(session: &SessionHandle, asked: Ticket) -> Result<Reply, Error> {
    wait_for(session, |update| match update {
        Update::Reply { ticket, result } if *ticket == asked => Some(result.clone()),
        _ => None,
    })
}

pub(super) fn open(hub: &Hub, name: &str) -> SessionHandle {
    let (session, ticket) = hub.open(Open::new(peer(name))).unwrap();
    assert!(matches!(answer(&session, ticket), Ok(Reply::Opened(_))));
    session
}

/// A group of sessions, the first its creator, with nothing left to read.
fn group(hub: &Hub, members: usize) -> (Vec<SessionHandle>, ConversationId) {
    let sessions: Vec<_> = (0..members).map(|n| open(hub, &format!("peer-{n}"))).collect();
    let peers = (1..members).map(|n| peer(&format!("peer-{n}"))).collect();
    let ticket = sessions[0].request(Request::Create(Create::new(Shape::Group, peers))).unwrap();
    let Ok(Reply::Created { conversation, .. }) = answer(&sessions[0], ticket) else { panic!("no group") };
    for session in &sessions[1..] {
        wait_for(session, |update| matches!(update, Update::Membership { .. }).then_some(()));
    }
    let _ = hub.try_ready();
    (sessions, conversation.id)
}

pub(super) fn texts(updates: &[Arc<Update>]) -> Vec<String> {
    let text = |update: &Arc<Update>| match &**update {
        Update::Message { message, .. } => message.content.as_text().map(str::to_owned),
        _ => None,
    };
    updates.iter().filter_map(text).collect()
}

#[test]
fn a_send_on_the_memory_store_is_delivered_when_it_returns() {
    let hub = in_memory();
    let (sessions, group) = group(&hub, 20);
    let ticket = sessions[0].send(Draft::to_conversation(group, "hello")).unwrap();
    assert_eq!(hub.try_ready().into_iter().collect::<HashSet<_>>().len(), 20);
    for session in &sessions[1..] {
        assert_eq!(texts(&read(session)), ["hello"]);
    }
    assert!(matches!(answer(&sessions[0], ticket), Ok(Reply::Accepted(_))));
}

#[test]
fn many_senders_are_seen_in_one_order_by_all() {
    const EACH: usize = 40;
    for commits in [Commits::Inline, Commits::Threaded] {
        let hub = start(Arc::new(Moody::default()), HubConfig { commits, ..HubConfig::default() });
        let (sessions, group) = group(&hub, 6);
        thread::scope(|scope| {
            for (n, session) in sessions.iter().enumerate().take(4) {
                let group = &group;
                scope.spawn(move || {
                    for m in 0..EACH {
                        session.send(Draft::to_conversation(group.clone(), format!("{n}-{m}"))).unwrap();
                    }
                });
            }
        });
        let all = |session: &SessionHandle| {
            let mut seen = Vec::new();
            while seen.len() < 4 * EACH {
                seen.extend(texts(&[session.recv_timeout(PATIENCE).unwrap()]));
            }
            seen
        };
        let (first, second) = (all(&sessions[4]), all(&sessions[5]));
        assert_eq!(first, second);
        for n in 0..4 {
            let own: Vec<_> = first.iter().filter(|text| text.starts_with(&format!("{n}-"))).cloned().collect();
            assert_eq!(own, (0..EACH).map(|m| format!("{n}-{m}")).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_slow_consumer_reads_everything_once_from_the_log() {
    const MESSAGES: usize = 3_000;
    for commits in [Commits::Inline, Commits::Threaded] {
        let hub = start(Arc::new(Moody::default()), HubConfig { commits, ..HubConfig::default() });
        let (sessions, group) = group(&hub, 3);
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..MESSAGES {
                    // A sender that outruns the store is told so, and reads its replies first.
                    while sessions[0].send(Draft::to_conversation(group.clone(), n.to_string())).is_err() {
                        assert!(sessions[0].wait(PATIENCE));
                        read(&sessions[0]);
                    }
                    read(&sessions[0]);
                }
            });
            scope.spawn(|| {
                // One reads all the time, however slow the other is.
                let mut seen = 0;
                while seen < MESSAGES {
                    seen += texts(&[sessions[1].recv_timeout(PATIENCE).unwrap()]).len();
                }
            });
        });
        assert!(hub.metrics().overflows >= 1);
        let mut seen = Vec::new();
        while seen.len() < MESSAGES {
            seen.extend(texts(&[sessions[2].recv_timeout(PATIENCE).unwrap()]));
        }
        assert_eq!(seen, (0..MESSAGES).map(|n| n.to_string()).collect::<Vec<_>>());
        read(&sessions[0]);
        sessions[0].send(Draft::to_conversation(group.clone(), "live")).unwrap();
        wait_for(&sessions[2], |update| texts(&[Arc::new(update.clone())]).contains(&"live".to_owned()).then_some(()));
    }
}

#[test]
fn a_lost_connection_is_resumed_under_a_new_id() {
    let hub = in_memory();
    let (alice, ticket) = hub.open(Open::new(peer("alice"))).unwrap();
    let Ok(Reply::Opened(opened)) = answer(&alice, ticket) else { panic!("not open") };
    let (bob, old) = (open(&hub, "bob"), alice.id());
    drop(alice);
    assert_eq!(hub.drain(old, &mut Vec::new(), 9), DrainState::Closed);
    bob.send(Draft::to_peer(peer("alice"), "missed")).unwrap();
    let token = ResumeToken::new(opened.token.as_str());
    let (alice, _) = hub.open(Open { credentials: Credentials::Token(token), ..Open::new(peer("alice")) }).unwrap();
    assert_ne!(alice.id(), old);
    wait_for(&alice, |update| texts(&[Arc::new(update.clone())]).contains(&"missed".to_owned()).then_some(()));
    assert_eq!(hub.drain(old, &mut Vec::new(), 9), DrainState::Closed);
    assert_eq!(hub.request(old, Request::Conversations), Err(Error::SessionRequired));
}

#[test]
fn a_failed_commit_is_tried_again_until_it_succeeds() {
    for commits in [Commits::Inline, Commits::Threaded] {
        let store = Arc::new(Moody::default());
        let hub = start(Arc::clone(&store) as Arc<dyn Store>, HubConfig { commits, ..HubConfig::default() });
        let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
        store.failures.store(3, Ordering::SeqCst);
        // Where the commit of what was before has failed already, a send is refused until it succeeds.
        let ticket = loop {
            match alice.send(Draft::to_peer(peer("bob"), "hello")) {
                Ok(ticket) => break ticket,
                Err(error) => assert_eq!(error, Error::StoreUnavailable),
            }
            thread::sleep(Duration::from_millis(5));
        };
        assert!(matches!(answer(&alice, ticket), Ok(Reply::Accepted(_))));
        wait_for(&bob, |update| (!texts(&[Arc::new(update.clone())]).is_empty()).then_some(()));
        assert_eq!(hub.metrics().commit_failures, 3);
        let events: Vec<_> = hub.events().try_iter().collect();
        assert!(events.contains(&Event::StoreRecovered), "{events:?}");
    }
}

#[test]
fn a_store_that_stalls_is_reported_and_blocks_nothing_else() {
    let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
    let store = Arc::new(Moody::default());
    let settings = HubConfig { clock: HubClock::Manual(clock.clone()), ..HubConfig::default() };
    let hub = start(Arc::clone(&store) as Arc<dyn Store>, settings);
    let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
    store.stand(true);
    let ticket = alice.send(Draft::to_peer(peer("bob"), "persistent")).unwrap();
    thread::sleep(Duration::from_millis(50));
    clock.advance(Duration::from_secs(6));
    let told = |wanted: &Event| {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if hub.events().recv_timeout(PATIENCE).is_ok_and(|event| event == *wanted) {
                return true;
            }
        }
        false
    };
    assert!(told(&Event::StoreStalled));
    assert_eq!(answer(&alice, ticket), Err(Error::MayBeStored));
    alice.send(Draft::to_peer(peer("bob"), "transient").transient()).unwrap();
    let first = wait_for(&bob, |update| texts(&[Arc::new(update.clone())]).pop());
    assert_eq!(first, "transient");
    store.stand(false);
    assert!(told(&Event::StoreRecovered));
    assert_eq!(wait_for(&bob, |update| texts(&[Arc::new(update.clone())]).pop()), "persistent");
    assert_eq!(hub.metrics().stalls, 1);
}

#[test]
fn a_shutdown_ends_in_time_while_the_store_stalls() {
    let store = Arc::new(Moody::default());
    let hub = start(Arc::clone(&store) as Arc<dyn Store>, HubConfig::default());
    let (alice, _bob) = (open(&hub, "alice"), open(&hub, "bob"));
    store.stand(true);
    alice.send(Draft::to_peer(peer("bob"), "hello")).unwrap();
    let started = Instant::now();
    let report = hub.shut_down(Duration::from_secs(1)).unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(!report.committed);
    assert_eq!(report.threads_left, ["switchboard-commit"]);
    assert!(matches!(**read(&alice).last().unwrap(), Update::Closed { .. }));
    store.stand(false);
    drop((hub, alice, _bob));
    let started = Instant::now();
    while Arc::strong_count(&store) > 1 {
        assert!(started.elapsed() < PATIENCE, "the thread is still there");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_shutdown_answers_each_of_ten_thousand_sends() {
    const THREADS: usize = 4;
    const EACH: usize = 2_500;
    for commits in [Commits::Inline, Commits::Threaded] {
        let store = Arc::new(Moody { slow: Duration::from_micros(200), ..Moody::default() });
        let settings = HubConfig { commits, replies_max: 60_000, reply_bytes_max: 1 << 29, ..HubConfig::default() };
        let hub = start(Arc::clone(&store) as Arc<dyn Store>, settings);
        let senders: Vec<_> = (0..THREADS).map(|n| open(&hub, &format!("sender-{n}"))).collect();
        let sent = AtomicUsize::new(0);
        thread::scope(|scope| {
            let asked: Vec<_> = senders
                .iter()
                .map(|sender| {
                    scope.spawn(|| {
                        let mut taken = HashSet::new();
                        while taken.len() < EACH {
                            let Ok(ticket) = sender.send(Draft::to_peer(peer("away"), "hello")) else { break };
                            taken.insert(ticket);
                            sent.fetch_add(1, Ordering::SeqCst);
                        }
                        taken
                    })
                })
                .collect();
            while sent.load(Ordering::SeqCst) < THREADS * EACH / 4 {
                thread::yield_now();
            }
            let report = hub.shut_down(PATIENCE).unwrap();
            assert!(report.committed && report.threads_left.is_empty(), "{report:?}");
            for (asked, sender) in asked.into_iter().zip(&senders) {
                let asked = asked.join().unwrap();
                let updates = read(sender);
                let answers = updates.iter().filter_map(|update| match &**update {
                    Update::Reply { ticket, result } => Some((*ticket, result.clone())),
                    _ => None,
                });
                let answers: HashMap<_, _> = answers.collect();
                for ticket in asked {
                    assert!(matches!(answers.get(&ticket), Some(Ok(Reply::Accepted(_)))), "{:?}", answers.get(&ticket));
                }
                assert!(matches!(**updates.last().unwrap(), Update::Closed { .. }));
            }
        });
        assert_eq!(senders[0].send(Draft::to_peer(peer("away"), "late")), Err(Error::Closed));
        assert!(matches!(hub.open(Open::new(peer("late"))), Err(Error::Closed)));
        let started = Instant::now();
        assert!(hub.shut_down(PATIENCE).unwrap().committed, "the first report again");
        assert!(started.elapsed() < Duration::from_secs(1));
        assert_eq!(hub.ready().recv_timeout(PATIENCE).map(|_| ()), Ok(()));
        assert!(hub.ready().recv().is_none());
    }
}

#[test]
fn dropping_the_last_hub_leaves_no_thread() {
    let store: Arc<dyn Store> = Arc::new(Moody::default());
    let hub = start(Arc::clone(&store), HubConfig::default());
    let (clone, alice) = (hub.clone(), open(&hub, "alice"));
    drop(hub);
    assert!(alice.request(Request::Conversations).is_ok());
    drop(clone);
    assert_eq!(alice.request(Request::Conversations), Err(Error::Closed));
    drop(alice);
    assert_eq!(Arc::strong_count(&store), 1);
}
