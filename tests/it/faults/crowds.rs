//! Rows 29 to 31 as a host meets them: hooks and crowds behind a `Hub`.
#![expect(clippy::disallowed_methods, reason = "real threads are waited for in real time")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use switchboard::hub::{DrainState, HubClock, ManualClock};
use switchboard::store::memory::MemoryStore;
use switchboard::{
    Answer, Config, ConversationId, Create, Draft, Error, Event, GapCause, HookFault, Hooks, Hub, HubConfig, Interests,
    MessageReceived, NoHooks, Open, Reply, Request, SessionHandle, SessionId, Shape, Update, Verdict,
};

use crate::house::{PATIENCE, answer, ask, open, read, start, text, wait_for};
use crate::world::{START, peer};

// Row 29.

/// Hooks that take longer than they may.
struct Slow;

impl Hooks for Slow {
    fn message_received(&mut self, message: &MessageReceived<'_>) -> Answer<Verdict> {
        if message.from.as_str() == "alice" {
            thread::sleep(2 * Config::default().hook_budget);
        }
        Answer::Now(Verdict {
            content: Some(format!("{}!", message.content.as_text().unwrap()).into()),
            ..Verdict::default()
        })
    }

    fn interests(&self) -> Interests {
        Interests { message_received: true, receivers_offline: false }
    }
}

#[test]
fn row_29_a_hook_that_overruns_is_told_of_and_its_answer_holds() {
    let store = Arc::new(MemoryStore::new());
    let hub = Hub::start(Config::default(), store, Box::new(Slow), [7; 32], HubConfig::default()).unwrap();
    let (alice, bob, carol) = (open(&hub, "alice"), open(&hub, "bob"), open(&hub, "carol"));
    assert!(matches!(ask(&alice, Request::Send(Draft::to_peer(peer("bob"), "slow"))), Ok(Reply::Accepted(_))));
    assert_eq!(wait_for(&bob, text), "slow!");
    assert!(matches!(ask(&carol, Request::Send(Draft::to_peer(peer("bob"), "fast"))), Ok(Reply::Accepted(_))));
    assert_eq!(wait_for(&bob, text), "fast!");
    let faults: Vec<Event> = hub.events().try_iter().filter(|event| matches!(event, Event::HookFault { .. })).collect();
    assert!(matches!(&faults[..], [Event::HookFault { fault: HookFault::Overran, .. }]), "{faults:?}");
}

// Row 30.

const CROWD: usize = 10_000;
const SAID: usize = 300;
const LOGGED: usize = 400;

/// Everyone in one room: the talker, the slow one, the crowd.
struct Hall {
    hub: Hub,
    talker: SessionHandle,
    slow: SessionHandle,
    crowd: BTreeMap<SessionId, SessionHandle>,
    room: ConversationId,
    group: ConversationId,
}

impl Hall {
    fn new() -> Self {
        let hub = start(Arc::new(MemoryStore::new()), HubConfig::default());
        let (talker, slow) = (open(&hub, "talker"), open(&hub, "slow"));
        let create = |shape, members| match ask(&talker, Request::Create(Create::new(shape, members))) {
            Ok(Reply::Created { conversation, .. }) => conversation.id,
            other => panic!("{other:?}"),
        };
        let (room, group) = (create(Shape::Room, Vec::new()), create(Shape::Group, vec![peer("slow"), peer("p0")]));
        let join = || Request::Join { conversation: room.clone(), signature: None };
        assert!(ask(&slow, join()).is_ok());
        let crowd = (0..CROWD - 1).map(|n| open(&hub, &format!("p{n}")));
        let crowd: BTreeMap<_, _> = crowd.map(|session| (session.id(), session)).collect();
        crowd.values().for_each(|session| assert!(ask(session, join()).is_ok()));
        read(&slow);
        let _: Vec<_> = hub.try_ready();
        Self { hub, talker, slow, crowd, room, group }
    }

    /// Sends, and lets everyone read who reads: how many of the crowd got how many messages.
    fn say(&self, draft: Draft, out: &mut Vec<Arc<Update>>) -> usize {
        let ticket = self.talker.send(draft).unwrap();
        assert!(matches!(answer(&self.talker, ticket), Ok(Reply::Accepted(_))));
        let ready = self.hub.try_ready();
        out.clear();
        for session in ready.iter().filter(|id| self.crowd.contains_key(id)) {
            self.hub.drain(*session, out, usize::MAX);
        }
        out.iter().filter(|update| text(update).is_some()).count()
    }
}

#[test]
fn row_30_one_of_ten_thousand_never_reads_and_costs_its_outbox_alone() {
    let hall = Hall::new();
    let mut out = Vec::new();
    for n in 0..SAID {
        let words = format!("r{n} {}", "x".repeat(1_000));
        assert_eq!(hall.say(Draft::to_conversation(hall.room.clone(), words), &mut out), CROWD - 1, "others miss none");
    }
    for n in 0..LOGGED {
        let heard = hall.say(Draft::to_conversation(hall.group.clone(), format!("m{n}")), &mut out);
        assert_eq!(heard, 1, "the other member hears it at once");
    }
    let bounds = HubConfig::default();
    let mut waiting = Vec::new();
    let mut bytes = 0;
    while hall.slow.drain(&mut waiting, 1) == DrainState::More && waiting.len() <= bounds.outbox_events_max {
        bytes += waiting.last().and_then(|update| text(update)).map_or(0, |text| text.len());
    }
    assert!(waiting.len() <= bounds.outbox_events_max + 1, "{} updates were kept for it", waiting.len());
    assert!(bytes <= bounds.outbox_bytes_max, "{bytes} bytes were kept for it");
    // What is in the log comes, each message once and in order; of what is not it is told how much it missed.
    let mut seen: Vec<Arc<Update>> = waiting;
    let persistent = |seen: &[Arc<Update>]| -> Vec<String> {
        seen.iter().filter_map(|update| text(update)).filter(|text| text.starts_with('m')).collect()
    };
    while persistent(&seen).len() < LOGGED {
        seen.push(hall.slow.recv_timeout(PATIENCE).expect("the log is read for it"));
    }
    seen.extend(read(&hall.slow));
    assert_eq!(persistent(&seen), (0..LOGGED).map(|n| format!("m{n}")).collect::<Vec<_>>());
    let transient = seen.iter().filter_map(|update| text(update)).filter(|text| text.starts_with('r')).count();
    let gaps = seen.iter().filter_map(|update| match &**update {
        Update::Gap(gap) if gap.cause == GapCause::Overflow => Some(usize::try_from(gap.count).unwrap()),
        _ => None,
    });
    assert_eq!(transient + gaps.sum::<usize>(), SAID, "what was dropped is counted and told");
    let metrics = hall.hub.metrics();
    assert_eq!(usize::try_from(metrics.transient_dropped).unwrap(), SAID - transient);
    assert_eq!(metrics.overflows, 1, "nobody else was ever behind");
}

// Row 31.

/// Sessions that come and go; `MALLOC_ARENA_MAX=1 SESSIONS=1000000 cargo test --test it row_31_a_storm` is the
/// whole storm: one heap, since glibc gives each new thread one of its own, and those never shrink alike.
fn storm() -> usize {
    std::env::var("SESSIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(60_000)
}

/// The process's memory in pages, where the system tells.
fn resident() -> Option<usize> {
    std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()
}

/// One client's life; `false` where the hub refused it by name.
fn come_and_go(hub: &Hub, n: usize, out: &mut Vec<Arc<Update>>) -> bool {
    let name = format!("p{}", n % 500);
    let open = Open { watch: vec![peer(&format!("q{}", n % 700))], ..Open::new(peer(&name)) };
    let session = match hub.open(open) {
        Ok((session, _)) => session,
        Err(Error::OverLimit { .. }) => return false,
        Err(error) => panic!("neither accepted nor overload: {error}"),
    };
    out.clear();
    session.drain(out, usize::MAX);
    if n.is_multiple_of(3) {
        drop(session)
    } else {
        session.close()
    }
    true
}

#[test]
fn row_31_a_storm_of_sessions_leaves_nothing_behind() {
    const THREADS: usize = 4;
    let clock = ManualClock::new(START);
    let settings = HubConfig { clock: HubClock::Manual(clock.clone()), ..HubConfig::default() };
    let config = Config { tell_sent: false, all_sessions_max: 400, ..Config::default() };
    let hub = Hub::start(config, Arc::new(MemoryStore::new()), Box::new(NoHooks), [7; 32], settings).unwrap();
    let (mut rounds, mut overload) = (Vec::new(), 0);
    for _ in 0..10 {
        let refused = AtomicUsize::new(0);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (hub, refused) = (&hub, &refused);
                scope.spawn(move || {
                    let mut out = Vec::new();
                    for n in (0..storm() / 10).skip(thread).step_by(THREADS) {
                        let taken = come_and_go(hub, n, &mut out);
                        refused.fetch_add(usize::from(!taken), Ordering::Relaxed);
                    }
                });
            }
        });
        let open = hub.with_engine(|engine, _| engine.metrics().open_sessions).unwrap();
        assert_eq!(open, 0);
        // Whoever is only paused has half an hour.
        clock.advance(Duration::from_secs(1_801));
        let started = Instant::now();
        while hub.with_engine(|engine, _| engine.metrics().sessions).unwrap() > 0 {
            assert!(started.elapsed() < PATIENCE, "pauses end");
            thread::sleep(Duration::from_millis(1));
        }
        let metrics = hub.with_engine(|engine, _| engine.metrics()).unwrap();
        let _: Vec<_> = hub.try_ready();
        hub.events().try_iter().for_each(drop);
        overload += refused.load(Ordering::Relaxed);
        rounds.push((metrics.peers, metrics.outputs, metrics.staged_bytes, metrics.conversations, resident()));
        assert!(refused.into_inner() < storm() / 20, "most are accepted");
    }
    println!("of {} sessions {overload} were refused; left after each tenth: {rounds:?}", storm());
    // Those who logged out are remembered as such, nothing else.
    assert!(rounds.iter().all(|round| (round.1, round.2, round.3) == (0, 0, 0)));
    assert!(rounds[9].0 <= 500, "{} peers for 500 names", rounds[9].0);
    // Other tests share the process unless this is run alone, as the whole storm is.
    if let (Some(before), Some(after), true) = (rounds[4].4, rounds[9].4, std::env::var("SESSIONS").is_ok()) {
        assert!(after <= before + before / 20, "{before} pages at half time, {after} at the end");
    }
}
