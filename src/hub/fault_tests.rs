//! The host's code misbehaves: hooks that call back, stall or hold on, stores that panic or stand still.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::machine_tests::{PATIENCE, answer, open, peer, read, start, texts, wait_for};
use super::{Commits, DrainState, Hub, HubClock, HubConfig, ManualClock, SessionHandle, ShutdownReport, WeakHub};
use crate::config::Config;
use crate::error::Error;
use crate::event::{Event, HookFault};
use crate::hooks::{Also, Answer, Hooks, Interests, MessageReceived, NoHooks, Question, Resolution, Verdict};
use crate::id::ResumeToken;
use crate::id::{ConversationId, SessionId, Ticket};
use crate::message::Draft;
use crate::page::Page;
use crate::request::{Create, Credentials, Open, Request, Shape};
use crate::store::memory::MemoryStore;
use crate::store::{Batch, Direction, Durability, Store, StoreError, StoreStatus, Visit};
use crate::time::Timestamp;
use crate::update::{Reply, Update};

/// What a call of a wild store does, for the next so many times.
#[derive(Clone, Copy)]
enum Deed {
    Panic(usize),
    Fail(usize),
    Stall,
}

const ALWAYS: usize = usize::MAX;

/// A store whose calls do what a test says.
#[derive(Default)]
struct Wild {
    rows: MemoryStore,
    deeds: Mutex<HashMap<&'static str, Deed>>,
    changed: Condvar,
    calls: Mutex<HashMap<&'static str, usize>>,
}

impl Wild {
    fn set(&self, call: &'static str, deed: Deed) {
        self.deeds.lock().insert(call, deed);
    }

    fn tame(&self) {
        self.deeds.lock().clear();
        self.changed.notify_all();
    }

    fn calls(&self, call: &'static str) -> usize {
        self.calls.lock().get(call).copied().unwrap_or_default()
    }

    fn act(&self, call: &'static str) -> Result<(), StoreError> {
        *self.calls.lock().entry(call).or_default() += 1;
        let mut deeds = self.deeds.lock();
        let deed = deeds.get(call).copied();
        match deed {
            None | Some(Deed::Panic(0) | Deed::Fail(0)) => Ok(()),
            Some(Deed::Stall) => {
                self.changed.wait_while(&mut deeds, |deeds| deeds.contains_key(call));
                Ok(())
            }
            Some(Deed::Panic(left)) => {
                deeds.insert(call, Deed::Panic(left - usize::from(left < ALWAYS)));
                drop(deeds);
                panic!("{call} of a wild store");
            }
            Some(Deed::Fail(left)) => {
                deeds.insert(call, Deed::Fail(left - usize::from(left < ALWAYS)));
                Err(StoreError::Full)
            }
        }
    }
}

impl Store for Wild {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.act("get")?;
        self.rows.get(key)
    }
    fn scan(&self, range: Range<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.act("scan")?;
        self.rows.scan(range, direction, visit)
    }
    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.act("apply")?;
        self.rows.apply(batch)
    }
    fn maintain(&self) -> Result<(), StoreError> {
        self.act("maintain")
    }
    fn status(&self) -> StoreStatus {
        self.act("status").expect("a panic or nothing");
        StoreStatus::new(Durability::Process)
    }
    fn close(&self) -> Result<(), StoreError> {
        self.act("close")
    }
}

/// Tames a store when a test ends, however it does.
struct Tamed<'a>(&'a Wild);

impl Drop for Tamed<'_> {
    fn drop(&mut self) {
        self.0.tame();
    }
}

fn wild(settings: HubConfig) -> (Arc<Wild>, Hub) {
    let store = Arc::new(Wild::default());
    let hub = start(Arc::clone(&store) as Arc<dyn Store>, settings);
    (store, hub)
}

fn with(commits: Commits) -> HubConfig {
    HubConfig { commits, ..HubConfig::default() }
}

/// Does something that might never end, and says so where it does not.
fn in_time<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || done.send(act()));
    wait.recv_timeout(PATIENCE).expect("it hangs")
}

fn until(mut happens: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happens() {
        assert!(started.elapsed() < PATIENCE, "it does not happen");
        thread::sleep(Duration::from_millis(1));
    }
}

fn hears(session: &SessionHandle, text: &str) {
    wait_for(session, |update| texts(&[Arc::new(update.clone())]).contains(&text.to_owned()).then_some(()));
}

/// A message that gets there in spite of everything: its sender repeats what is refused with 4200.
fn send(session: &SessionHandle, to: &str, text: &str) -> Ticket {
    let started = Instant::now();
    loop {
        match session.send(Draft::to_peer(peer(to), text)) {
            Ok(ticket) => return ticket,
            Err(error) => assert_eq!(error, Error::StoreUnavailable),
        }
        assert!(started.elapsed() < PATIENCE, "the store stays away");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_told(hub: &Hub, wanted: impl Fn(&Event) -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if hub.events().recv_timeout(PATIENCE).is_ok_and(|event| wanted(&event)) {
            return true;
        }
    }
    false
}

fn page() -> Page {
    Page::newest(100)
}

// ---- hooks

type Act = Box<dyn FnMut(&WeakHub, &MessageReceived<'_>) -> Answer<Verdict> + Send>;

/// A hook that knows its hub.
struct Knows {
    hub: WeakHub,
    act: Act,
}

impl Hooks for Knows {
    fn message_received(&mut self, message: &MessageReceived<'_>) -> Answer<Verdict> {
        (self.act)(&self.hub, message)
    }
    fn interests(&self) -> Interests {
        Interests::ALL
    }
}

fn with_hook(
    settings: HubConfig,
    act: impl FnMut(&WeakHub, &MessageReceived<'_>) -> Answer<Verdict> + Send + 'static,
) -> (Arc<Wild>, Hub) {
    let store = Arc::new(Wild::default());
    let kept = Arc::clone(&store) as Arc<dyn Store>;
    let hooks = |hub| Box::new(Knows { hub, act: Box::new(act) }) as Box<dyn Hooks>;
    let hub = Hub::start_cyclic(Config::default(), kept, hooks, [7; 32], settings).unwrap();
    (store, hub)
}

/// A hook that called its own hub waited for itself, and so did everybody after it: the process hung. (Row 64.)
#[test]
fn a_hook_that_calls_its_hub_is_refused_and_the_flow_goes_on() {
    for commits in [Commits::Inline, Commits::Threaded] {
        let (tell, told) = mpsc::channel();
        let bob_id = Arc::new(Mutex::new(None::<SessionId>));
        let known = Arc::clone(&bob_id);
        let (_store, hub) = with_hook(with(commits), move |hub, message| {
            let hub = hub.upgrade().expect("it runs");
            let bob = known.lock().expect("bob is there");
            let draft = || Draft::to_peer(message.from.clone(), "from inside");
            let refused = [
                hub.request(bob, Request::Send(draft())).err(),
                hub.request(bob, Request::Conversations).err(),
                hub.open(Open::new(peer("carol"))).err(),
                hub.send_as(peer("bob"), draft()).err(),
                hub.resolve(message.ticket, Resolution::Default).err(),
                hub.with_engine(|engine, _| engine.metrics()).err(),
                hub.shut_down(PATIENCE).err(),
            ];
            let mut out = Vec::new();
            let drained = hub.drain(bob, &mut out, 9);
            let waited = hub.wait(bob, Duration::MAX);
            let ready = (hub.ready().recv_timeout(Duration::MAX).is_ok(), hub.ready().recv().is_some());
            assert_eq!(hub.metrics().hook_stalls, 0);
            tell.send((refused, drained, out.len(), waited, ready)).unwrap();
            Answer::Default
        });
        in_time(move || {
            let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
            *bob_id.lock() = Some(bob.id());
            let _ = hub.try_ready();
            let ticket = send(&alice, "bob", "hello");
            let (refused, drained, _, waited, ready) = told.recv().unwrap();
            assert_eq!(refused, [const { Some(Error::InsideHook) }; 7]);
            assert_eq!((drained, waited, ready), (DrainState::Empty, false, (false, false)));
            assert!(matches!(answer(&alice, ticket), Ok(Reply::Accepted(_))));
            hears(&bob, "hello");
            assert_eq!(Error::InsideHook.code(), 4200);
        });
    }
}

/// A handle that was dropped inside a hook waited for the engine that its thread had.
#[test]
fn what_a_hook_lets_go_of_is_done_afterwards() {
    let handles = Arc::new(Mutex::new(Vec::<SessionHandle>::new()));
    let held = Arc::clone(&handles);
    let (_store, hub) = with_hook(HubConfig::default(), move |_, _| {
        held.lock().clear();
        Answer::Default
    });
    in_time(move || {
        let alice = open(&hub, "alice");
        let (bob, carol) = (open(&hub, "bob"), open(&hub, "carol"));
        let is_online = |name: &str| hub.with_engine(|engine, _| engine.is_online(&peer(name))).unwrap();
        assert!(is_online("bob") && is_online("carol"));
        handles.lock().extend([bob, carol]);
        send(&alice, "bob", "hello");
        until(|| !is_online("bob") && !is_online("carol"));
    });
}

/// The last hub, dropped by a hook, had its end wait for the engine that its own thread held.
#[test]
fn the_last_hub_dropped_inside_a_hook_is_ended_by_another_thread() {
    let last = Arc::new(Mutex::new(None::<Hub>));
    let held = Arc::clone(&last);
    let (store, hub) = with_hook(HubConfig::default(), move |_, _| {
        drop(held.lock().take());
        Answer::Default
    });
    in_time(move || {
        let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
        *last.lock() = Some(hub);
        let ticket = send(&alice, "bob", "hello");
        assert!(matches!(answer(&alice, ticket), Ok(Reply::Accepted(_))));
        wait_for(&alice, |update| matches!(update, Update::Closed { .. }).then_some(()));
        drop((alice, bob));
        until(|| Arc::strong_count(&store) == 1);
        assert_eq!(store.calls("close"), 1);
    });
}

/// A hook that kept its hub kept it running for ever. (Row 66.)
#[test]
fn a_hook_that_holds_a_weak_hub_keeps_nothing_running() {
    let (store, hub) = with_hook(HubConfig::default(), |hub, _| {
        assert!(hub.upgrade().is_some());
        Answer::Default
    });
    let (alice, bob, weak) = (open(&hub, "alice"), open(&hub, "bob"), hub.downgrade());
    send(&alice, "bob", "hello");
    hears(&bob, "hello");
    assert!(weak.upgrade().is_some());
    drop(hub);
    assert!(weak.upgrade().is_none());
    drop((alice, bob));
    assert_eq!(Arc::strong_count(&store), 1, "threads have ended");
    assert_eq!(store.calls("close"), 1);
}

/// The same while an answer is still out: whoever was to give it finds no hub any more. (Row 66.)
#[test]
fn a_deferred_answer_keeps_nothing_running() {
    let (ask, asked) = mpsc::channel();
    let (store, hub) = with_hook(HubConfig::default(), move |hub, message| {
        ask.send((hub.clone(), message.ticket)).unwrap();
        Answer::Defer
    });
    let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
    send(&alice, "bob", "first");
    let (weak, ticket) = asked.recv_timeout(PATIENCE).unwrap();
    weak.upgrade().unwrap().resolve(ticket, Resolution::Default).unwrap();
    hears(&bob, "first");
    send(&alice, "bob", "second");
    let (weak, _) = asked.recv_timeout(PATIENCE).unwrap();
    drop(hub);
    assert!(weak.upgrade().is_none());
    drop((alice, bob, asked));
    until(|| Arc::strong_count(&store) == 1);
    assert_eq!(store.calls("close"), 1);
}

/// A hook that stood still was reported when it returned: never, where it did not. (Row 65.)
#[test]
fn a_hook_that_stalls_is_reported_while_it_stalls() {
    for commits in [Commits::Inline, Commits::Threaded] {
        let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
        let settings = HubConfig { clock: HubClock::Manual(clock.clone()), ..with(commits) };
        let (enter, entered) = mpsc::channel();
        let (leave, left) = mpsc::channel();
        let (_store, hub) = with_hook(settings, move |_, message| {
            if message.content.as_text() == Some("slow") {
                enter.send(()).unwrap();
                left.recv_timeout(PATIENCE).unwrap();
            }
            Answer::Default
        });
        let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
        thread::scope(|scope| {
            scope.spawn(|| send(&alice, "bob", "slow"));
            entered.recv_timeout(PATIENCE).unwrap();
            clock.advance(Duration::from_millis(1_001));
            let stalled =
                |event: &Event| *event == Event::HookFault { hook: "message_received", fault: HookFault::Stalled };
            assert!(is_told(&hub, stalled));
            assert_eq!(hub.metrics().hook_stalls, 1);
            let mut out = Vec::new();
            hub.drain(bob.id(), &mut out, 9);
            leave.send(()).unwrap();
        });
        hears(&bob, "slow");
        send(&alice, "bob", "fast");
        hears(&bob, "fast");
        assert_eq!(hub.metrics().hook_stalls, 1);
    }
}

/// A hub whose hook does not return could not be shut down in time.
#[test]
fn a_shutdown_ends_in_time_while_a_hook_stalls() {
    let (enter, entered) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    let (store, hub) = with_hook(HubConfig::default(), move |_, _| {
        enter.send(()).unwrap();
        left.recv().unwrap();
        Answer::Default
    });
    let alice = open(&hub, "alice");
    thread::scope(|scope| {
        let sender = scope.spawn(|| alice.send(Draft::to_peer(peer("bob"), "hello")));
        entered.recv_timeout(PATIENCE).unwrap();
        let started = Instant::now();
        let report = hub.shut_down(Duration::from_millis(900)).unwrap();
        assert!(started.elapsed() < Duration::from_secs(3));
        assert!(!report.committed);
        assert!(report.threads_panicked.is_empty());
        leave.send(()).unwrap();
        let _ = sender.join().unwrap();
    });
    drop((hub, alice));
    until(|| Arc::strong_count(&store) == 1);
}

/// A hub without hooks was asked for every message all the same, and copied all members' names for it: the hub's stop watch
/// hid what its hooks are interested in.
#[test]
fn a_hub_without_hooks_is_asked_nothing() {
    struct Probe(Arc<AtomicUsize>, Interests);
    impl Hooks for Probe {
        fn message_received(&mut self, message: &MessageReceived<'_>) -> Answer<Verdict> {
            self.0.fetch_add(1 + message.to.len(), Ordering::SeqCst);
            Answer::Default
        }
        fn interests(&self) -> Interests {
            self.1
        }
    }
    let all = Interests { message_received: true, receivers_offline: true };
    for (interests, asked) in [(NoHooks.interests(), 0), (all, 2)] {
        for time_hooks in [true, false] {
            let count = Arc::new(AtomicUsize::new(0));
            let hooks = Box::new(Probe(Arc::clone(&count), interests));
            let settings = HubConfig { time_hooks, ..HubConfig::default() };
            let hub = Hub::start(Config::default(), Arc::new(MemoryStore::new()), hooks, [7; 32], settings).unwrap();
            let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
            send(&alice, "bob", "hello");
            hears(&bob, "hello");
            assert_eq!(count.load(Ordering::SeqCst), asked);
        }
    }
}

fn also(from: Option<&str>, to: &str, text: &str) -> Also {
    Also { from: from.map(peer), draft: Draft::to_peer(peer(to), text) }
}

fn verdict(also: Vec<Also>) -> Verdict {
    Verdict { also, ..Verdict::default() }
}

fn faults(hub: &Hub) -> Vec<HookFault> {
    let fault = |event| match event {
        Event::HookFault { hook: "message_received", fault } => Some(fault),
        _ => None,
    };
    hub.events().try_iter().filter_map(fault).collect()
}

/// A hook that wanted to answer its sender had no way but to call its hub, which hung.
#[test]
fn what_a_hook_wants_said_is_sent_once_the_verb_has_ended() {
    let (_store, hub) = with_hook(with(Commits::Inline), |_, message| match message.content.as_text() {
        Some("both") => {
            Answer::Now(verdict(vec![also(None, "bob", "from alice too"), also(Some("bot"), "alice", "from the bot")]))
        }
        Some("drop") => Answer::Now(Verdict { drop: true, ..verdict(vec![also(Some("bot"), "alice", "dropped")]) }),
        Some("later") => Answer::Defer,
        Some("many") => Answer::Now(verdict(vec![also(None, "bob", "one of many"); 17])),
        Some("bad") => Answer::Now(verdict(vec![also(None, "bob", &"x".repeat(9_999))])),
        Some("nest" | "nested") => Answer::Now(verdict(vec![also(None, "bob", "nested")])),
        _ => Answer::Default,
    });
    let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
    let say = |text: &str| alice.send(Draft::to_peer(peer("bob"), text)).unwrap();
    let heard = |session: &SessionHandle| texts(&read(session));
    assert!(answer(&alice, say("both")).is_ok());
    assert_eq!(heard(&bob), ["both", "from alice too"]);
    assert!(heard(&alice).ends_with(&["from the bot".to_owned()]));
    assert_eq!(alice.send(Draft::to_peer(peer("bob"), "drop")), Err(Error::MessageRejected));
    assert_eq!((heard(&bob), heard(&alice)), (vec![], vec!["dropped".to_owned()]));
    let later = say("later");
    hub.resolve(later, Resolution::Message(verdict(vec![also(Some("bot"), "bob", "even later")]))).unwrap();
    assert_eq!(heard(&bob), ["later", "even later"]);
    assert_eq!(faults(&hub), []);
    say("many");
    assert_eq!((heard(&bob), faults(&hub)), (vec!["many".to_owned()], vec![HookFault::Invalid]));
    say("nest");
    assert_eq!(heard(&bob), ["nest", "nested"]);
    assert_eq!(faults(&hub), [HookFault::Invalid], "what a hook says does not say more");
    say("bad");
    assert_eq!(heard(&bob), ["bad"]);
    let refused = |event: &Event| matches!(event, Event::AlsoRefused { error: Error::TooLong { .. }, .. });
    assert!(is_told(&hub, refused));
}

/// The answer to a push's question let a message go that nobody had judged.
#[test]
fn an_answer_to_another_question_is_none() {
    struct Confused(bool);
    impl Hooks for Confused {
        fn ask(&mut self, _: Question<'_>) -> Answer<Resolution> {
            Answer::Now(Resolution::SignIn(crate::hooks::Login::admit()))
        }
        fn interests(&self) -> Interests {
            assert!(!self.0, "a hook that cannot say what it wants");
            Interests::ALL
        }
    }
    let (_store, hub) = with_hook(with(Commits::Inline), |_, _| Answer::Defer);
    let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
    let ticket = send(&alice, "bob", "hello");
    for wrong in [Resolution::Push(crate::PushChoice::default()), Resolution::SignIn(crate::hooks::Login::admit())] {
        assert_eq!(hub.resolve(ticket, wrong), Err(Error::WrongAnswer));
    }
    assert!(read(&bob).iter().all(|update| !matches!(**update, Update::Message { .. })));
    hub.resolve(ticket, Resolution::Message(Verdict::default())).unwrap();
    hears(&bob, "hello");
    assert_eq!(hub.resolve(ticket, Resolution::Default), Err(Error::no_target()));
    for (fail_closed, panics) in [(false, false), (true, false), (false, true)] {
        let config = Config { hooks_fail_closed: fail_closed, ..Config::default() };
        let store = Arc::new(MemoryStore::new());
        let hub = Hub::start(config, store, Box::new(Confused(panics)), [7; 32], HubConfig::default()).unwrap();
        let (alice, _bob) = (open(&hub, "alice"), open(&hub, "bob"));
        let sent = alice.send(Draft::to_peer(peer("bob"), "hello"));
        assert_eq!(sent.err(), fail_closed.then_some(Error::MessageRejected));
        assert_eq!(faults(&hub), [HookFault::Invalid]);
    }
}

// ---- stores

/// A store that panicked took the commit thread with it, and nothing was ever stored again. (Row 63.)
#[test]
fn a_store_that_panics_once_at_a_commit_has_failed_once() {
    for commits in [Commits::Inline, Commits::Threaded] {
        let (store, hub) = wild(with(commits));
        let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
        store.set("apply", Deed::Panic(1));
        let ticket = send(&alice, "bob", "hello");
        assert!(matches!(answer(&alice, ticket), Ok(Reply::Accepted(_))));
        hears(&bob, "hello");
        let panicked = StoreError::Panicked("apply of a wild store".to_owned());
        assert!(is_told(&hub, |event| *event == Event::StoreFailed { error: panicked.clone() }));
        assert!(is_told(&hub, |event| *event == Event::StoreRecovered));
        assert_eq!(hub.metrics().commit_failures, 1);
        let report = hub.shut_down(PATIENCE).unwrap();
        assert!(report.committed && report.store.is_ok(), "{report:?}");
        assert!(report.threads_left.is_empty() && report.threads_panicked.is_empty(), "{report:?}");
    }
}

/// What was acknowledged before and after a store that fails, panics and recovers is there after a restart.
#[test]
fn nothing_acknowledged_is_lost_to_a_store_that_panics_fails_and_recovers() {
    const MESSAGES: usize = 60;
    for commits in [Commits::Inline, Commits::Threaded] {
        let (store, hub) = wild(with(commits));
        let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
        let mut accepted = Vec::new();
        for n in 0..MESSAGES {
            match n % 20 {
                5 => store.set("apply", Deed::Panic(2)),
                12 => store.set("apply", Deed::Fail(2)),
                _ => {}
            }
            let ticket = send(&alice, "bob", &n.to_string());
            if let Ok(Reply::Accepted(_)) = answer(&alice, ticket) {
                accepted.push(n.to_string());
            }
        }
        assert_eq!(accepted.len(), MESSAGES);
        accepted.iter().for_each(|text| hears(&bob, text));
        assert!(hub.metrics().commit_failures >= 12);
        drop((alice, bob, hub));
        let hub = start(Arc::clone(&store) as Arc<dyn Store>, with(commits));
        let bob = open(&hub, "bob");
        let conversation = ConversationId::direct(&[peer("alice"), peer("bob")]);
        let ticket = bob.request(Request::History { conversation, page: page() }).unwrap();
        let Ok(Reply::History { messages, .. }) = answer(&bob, ticket) else { panic!("no history") };
        let mut found: Vec<_> = messages.iter().filter_map(|message| message.content.as_text()).collect();
        found.reverse();
        assert_eq!(found, accepted);
    }
}

/// A store that always panics: persistent sends are refused, the rest goes on, and the report says what is not stored.
#[test]
fn a_store_that_always_panics_at_commits_refuses_sends_and_nothing_else() {
    for commits in [Commits::Inline, Commits::Threaded] {
        let (store, hub) = wild(with(commits));
        let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
        store.set("apply", Deed::Panic(ALWAYS));
        let lost = alice.send(Draft::to_peer(peer("bob"), "never stored")).ok();
        until(|| alice.send(Draft::to_peer(peer("bob"), "refused")) == Err(Error::StoreUnavailable));
        alice.send(Draft::to_peer(peer("bob"), "transient").transient()).unwrap();
        hears(&bob, "transient");
        let report = hub.shut_down(Duration::from_millis(600)).unwrap();
        assert!(!report.committed, "{report:?}");
        assert!(report.threads_left.is_empty() && report.threads_panicked.is_empty(), "{report:?}");
        assert_eq!(report.store, Ok(()));
        let is_receipt = |update: &Arc<Update>| matches!(&**update, Update::Reply { ticket, result: Ok(_) } if Some(*ticket) == lost);
        assert!(!read(&alice).iter().any(is_receipt));
        assert!(read(&bob).iter().all(|update| !matches!(**update, Update::Message { .. })));
    }
}

/// A store that panicked at a read took the read thread with it, and no page of history ever came again. (Row 63.)
#[test]
fn a_store_that_panics_at_a_read_has_failed_at_that_read() {
    for commits in [Commits::Inline, Commits::Threaded] {
        for call in ["get", "scan"] {
            let (store, hub) = wild(with(commits));
            let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
            let ticket = send(&alice, "bob", "hello");
            assert!(answer(&alice, ticket).is_ok());
            hears(&bob, "hello");
            let conversation = ConversationId::direct(&[peer("alice"), peer("bob")]);
            let history = || {
                let page = page();
                let ticket = alice.request(Request::History { conversation: conversation.clone(), page }).unwrap();
                answer(&alice, ticket)
            };
            let before = store.calls(call);
            assert!(matches!(history(), Ok(Reply::History { messages, .. }) if messages.len() == 1));
            if store.calls(call) == before {
                continue; // This read does not go that way.
            }
            store.set(call, Deed::Panic(ALWAYS));
            assert_eq!(history(), Err(Error::Internal));
            assert!(is_told(&hub, |event| matches!(event, Event::StoreCallFailed { call: "read", .. })));
            assert!(hub.metrics().read_failures >= 1);
            store.tame();
            assert!(matches!(history(), Ok(Reply::History { messages, .. }) if messages.len() == 1));
            let report = hub.shut_down(PATIENCE).unwrap();
            assert!(report.committed && report.threads_left.is_empty() && report.threads_panicked.is_empty());
        }
    }
}

/// A store that panicked while it was closed was reported as closed. (Row 63.)
#[test]
fn the_report_of_a_shutdown_tells_how_the_store_was_closed() {
    for commits in [Commits::Inline, Commits::Threaded] {
        let ends = |deed: Option<Deed>| {
            let (store, hub) = wild(with(commits));
            if let Some(deed) = deed {
                store.set("close", deed);
            }
            let report: ShutdownReport = hub.shut_down(Duration::from_millis(600)).unwrap();
            store.tame();
            report
        };
        let panicked = StoreError::Panicked("close of a wild store".to_owned());
        assert_eq!(ends(None).store, Ok(()));
        assert_eq!(ends(Some(Deed::Panic(1))).store, Ok(()), "it was asked once more");
        assert_eq!(ends(Some(Deed::Panic(ALWAYS))).store, Err(panicked));
        assert_eq!(ends(Some(Deed::Fail(ALWAYS))).store, Err(StoreError::Full));
        let stalled = ends(Some(Deed::Stall));
        let closes = if commits == Commits::Inline { "switchboard-timer" } else { "switchboard-commit" };
        assert_eq!((stalled.store, stalled.threads_left), (Err(StoreError::Unfinished), vec![closes]));
        assert!(stalled.committed);
    }
}

#[test]
fn a_store_that_panics_at_its_upkeep_is_reported_and_asked_again() {
    for commits in [Commits::Inline, Commits::Threaded] {
        let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
        let (store, hub) = wild(HubConfig { clock: HubClock::Manual(clock.clone()), ..with(commits) });
        store.set("maintain", Deed::Panic(3));
        until(|| {
            clock.advance(Duration::from_secs(1));
            thread::sleep(Duration::from_millis(5));
            store.calls("maintain") > 4
        });
        assert_eq!(hub.metrics().upkeep_failures, 3);
        let failures = hub.events().try_iter().filter(|event| matches!(event, Event::StoreCallFailed { .. }));
        assert_eq!(failures.count(), 1, "told once");
    }
}

#[test]
fn a_store_that_panics_at_its_status_does_not_start_a_hub() {
    let store = Arc::new(Wild::default());
    store.set("status", Deed::Panic(1));
    let kept = Arc::clone(&store) as Arc<dyn Store>;
    let started = Hub::start(Config::default(), kept, Box::new(NoHooks), [7; 32], HubConfig::default());
    assert!(started.unwrap_err().to_string().contains("panicked"));
    assert_eq!(Arc::strong_count(&store), 1);
}

/// Reads, upkeep and the close were not watched where callers do them themselves, nor the close anywhere. (Row 39.)
#[test]
fn every_call_that_stalls_is_reported_while_it_stalls() {
    for commits in [Commits::Inline, Commits::Threaded] {
        let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
        let (store, hub) = wild(HubConfig { clock: HubClock::Manual(clock.clone()), ..with(commits) });
        let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
        send(&alice, "bob", "hello");
        hears(&bob, "hello");
        let (stalled, recovered) = (Event::StoreStalled, Event::StoreRecovered);
        let conversation = ConversationId::direct(&[peer("alice"), peer("bob")]);
        thread::scope(|scope| {
            let _tamed = Tamed(&store);
            let (get, scan) = (store.calls("get"), store.calls("scan"));
            store.set("get", Deed::Stall);
            store.set("scan", Deed::Stall);
            scope.spawn(|| alice.request(Request::History { conversation, page: page() }).unwrap());
            until(|| store.calls("get") + store.calls("scan") > get + scan);
            clock.advance(Duration::from_secs(6));
            assert!(is_told(&hub, |event| *event == stalled), "a read");
            // Who does not need the store goes on.
            bob.send(Draft::to_peer(peer("alice"), "transient").transient()).unwrap();
            hears(&alice, "transient");
            store.tame();
            assert!(is_told(&hub, |event| *event == recovered));
            store.set("maintain", Deed::Stall);
            let upkeep = store.calls("maintain");
            until(|| {
                clock.advance(Duration::from_secs(1));
                thread::sleep(Duration::from_millis(5));
                store.calls("maintain") > upkeep
            });
            clock.advance(Duration::from_secs(6));
            assert!(is_told(&hub, |event| *event == stalled), "upkeep");
            store.tame();
            assert!(is_told(&hub, |event| *event == recovered));
            store.set("close", Deed::Stall);
            let ends = scope.spawn(|| hub.shut_down(PATIENCE).unwrap());
            until(|| store.calls("close") == 1);
            clock.advance(Duration::from_secs(6));
            assert!(is_told(&hub, |event| *event == stalled), "the close");
            store.tame();
            assert_eq!(ends.join().unwrap().store, Ok(()));
        });
        assert_eq!(hub.metrics().stalls, 3);
    }
}

/// A shutdown while a read does not return: it takes its time and says which thread is left. (Row 39.)
#[test]
fn a_shutdown_ends_in_time_while_a_read_stalls() {
    let (store, hub) = wild(with(Commits::Threaded));
    let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
    send(&alice, "bob", "hello");
    hears(&bob, "hello");
    store.set("get", Deed::Stall);
    store.set("scan", Deed::Stall);
    let conversation = ConversationId::direct(&[peer("alice"), peer("bob")]);
    alice.request(Request::History { conversation, page: page() }).unwrap();
    let started = Instant::now();
    let report = hub.shut_down(Duration::from_millis(600)).unwrap();
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(report.threads_left, ["switchboard-read"]);
    assert!(!report.committed, "a read that ends may have something stored");
    store.tame();
    drop((alice, bob, hub));
    until(|| Arc::strong_count(&store) == 1);
}

// ---- places

fn tagged(name: &str, device: &str) -> Open {
    let device = Some(crate::DeviceId::new(device).unwrap());
    Open { tag: Some(crate::Tag::new("phone").unwrap()), device, ..Open::new(peer(name)) }
}

fn open_as(hub: &Hub, open: Open) -> SessionHandle {
    let (session, ticket) = hub.open(open).unwrap();
    assert!(matches!(answer(&session, ticket), Ok(Reply::Opened(_))));
    session
}

fn last_of(updates: &[Arc<Update>]) -> Option<&Update> {
    updates.last().map(|last| &**last)
}

/// A device that was pushed off by its tag saw its line end and was never told why: its place was given away at once.
/// (Row 48.)
#[test]
fn whoever_is_pushed_off_by_its_tag_reads_why() {
    for commits in [Commits::Inline, Commits::Threaded] {
        for waiting in [0, 256, 300] {
            let (_store, hub) = wild(with(commits));
            let (sender, first) = (open(&hub, "bob"), open_as(&hub, tagged("alice", "one")));
            for n in 0..waiting {
                let ticket = send(&sender, "alice", &n.to_string());
                assert!(answer(&sender, ticket).is_ok());
            }
            let second = open_as(&hub, tagged("alice", "two"));
            let mut updates = Vec::new();
            until(|| hub.drain(first.id(), &mut updates, 64) == DrainState::Closed);
            let conflict = Update::Closed { error: Some(Error::SessionConflict) };
            assert_eq!(last_of(&updates), Some(&conflict), "{waiting} waited");
            send(&sender, "alice", "for the second");
            hears(&second, "for the second");
            assert_eq!(hub.drain(first.id(), &mut Vec::new(), 9), DrainState::Closed);
        }
    }
}

/// The place of whoever was pushed off went to whoever pushed, before anybody was told.
#[test]
fn a_place_is_given_to_nobody_before_its_end_was_polled() {
    let store = Arc::new(MemoryStore::new());
    let now = Timestamp::from_millis(1_700_000_000_000);
    let mut engine = crate::Engine::start(Config::default(), store, Box::new(NoHooks), [7; 32], now).unwrap();
    let mut open = |device: &str| engine.open(tagged("alice", device), now).unwrap().0;
    let (first, second) = (open("one"), open("two"));
    assert_ne!(first.slot(), second.slot());
    assert_ne!(open("three").slot(), first.slot());
    while engine.poll_output().is_some() {}
    let fourth = engine.open(tagged("bob", "four"), now).unwrap().0;
    assert!([first.slot(), second.slot()].contains(&fourth.slot()), "then it is free");
}

/// The same, by many at once: each that loses reads why, whoever delivers it and whenever.
#[test]
fn of_many_that_take_one_tag_all_but_one_read_why() {
    const THREADS: usize = 4;
    const EACH: usize = 50;
    for commits in [Commits::Inline, Commits::Threaded] {
        let (_store, hub) = wild(with(commits));
        let told = AtomicUsize::new(0);
        let left = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (hub, told, left) = (&hub, &told, &left);
                scope.spawn(move || {
                    for n in 0..EACH {
                        let (session, _) = hub.open(tagged("alice", &format!("{thread}-{n}"))).unwrap();
                        let mut updates = Vec::new();
                        if n + 1 == EACH {
                            left.lock().push(session);
                            return;
                        }
                        // The next of this thread pushes it off, if nobody has.
                        let next = hub.open(tagged("alice", &format!("{thread}-{n}-next"))).unwrap();
                        while session.drain(&mut updates, 64) != DrainState::Closed {
                            assert!(session.wait(PATIENCE));
                        }
                        let conflict = Update::Closed { error: Some(Error::SessionConflict) };
                        assert_eq!(last_of(&updates), Some(&conflict));
                        told.fetch_add(1, Ordering::SeqCst);
                        drop(next);
                    }
                });
            }
        });
        assert_eq!(told.into_inner(), THREADS * (EACH - 1));
    }
}

/// A line that a resume took its session from ended without a word.
#[test]
fn whoever_is_taken_over_kicked_or_ended_reads_why() {
    let (_store, hub) = wild(with(Commits::Threaded));
    let (first, ticket) = hub.open(Open::new(peer("alice"))).unwrap();
    let Ok(Reply::Opened(opened)) = answer(&first, ticket) else { panic!("not open") };
    let token = ResumeToken::new(opened.token.as_str());
    let second = open_as(&hub, Open { credentials: Credentials::Token(token), ..Open::new(peer("alice")) });
    let why = |session: &SessionHandle| {
        wait_for(session, |update| match update {
            Update::Closed { error } => Some(error.clone()),
            _ => None,
        })
    };
    assert_eq!(why(&first), Some(Error::SessionConflict));
    hub.with_engine(|engine, now| engine.close_peer(&peer("alice"), Error::KickedByApp, now)).unwrap();
    // Its place is taken at once.
    let third = open(&hub, "carol");
    assert_eq!(why(&second), Some(Error::KickedByApp));
    hub.shut_down(PATIENCE).unwrap();
    assert_eq!(why(&third), Some(Error::Closed));
}

/// One client that asked and never read had a page of history waiting for each request: 132 MiB for forty such.
#[test]
fn a_client_that_never_reads_holds_no_more_than_its_bound() {
    let (_store, hub) = wild(with(Commits::Threaded));
    let (alice, bob) = (open(&hub, "alice"), open(&hub, "bob"));
    let ticket = alice.request(Request::Create(Create::new(Shape::Group, vec![peer("bob")]))).unwrap();
    let Ok(Reply::Created { conversation, .. }) = answer(&alice, ticket) else { panic!("no group") };
    for _ in 0..100 {
        let draft = Draft::to_conversation(conversation.id.clone(), "x".repeat(5_000));
        let ticket = alice.send(draft).unwrap();
        assert!(answer(&alice, ticket).is_ok());
    }
    read(&bob);
    let ask = || bob.request(Request::History { conversation: conversation.id.clone(), page: page() });
    let mut asked = 0;
    while asked < 1_000 && ask().is_ok() {
        asked += 1;
    }
    assert!(asked <= 256, "{asked} requests were taken");
    let answers =
        |updates: &[Arc<Update>]| updates.iter().filter(|update| matches!(***update, Update::Reply { .. })).count();
    until(|| hub.with_engine(|engine, _| !engine.has_work()).unwrap());
    let waiting = read(&bob);
    let bytes: u64 = waiting.iter().map(|update| u64::from(super::outbox::weigh(update))).sum();
    assert!(bytes <= (256 + 1_024 + 256) * 1_024, "{bytes} bytes waited");
    let mut all = answers(&waiting);
    while all < asked {
        all += answers(&[bob.recv_timeout(PATIENCE).unwrap()]);
    }
    let ticket = ask().unwrap();
    assert!(matches!(answer(&bob, ticket), Ok(Reply::History { .. })), "and who reads may ask again");
}
