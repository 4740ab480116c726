//! Kills children, and compares what the store holds with what they were told.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use switchboard::store::Durability;
use switchboard::{
    Clock, ConversationId, Draft, Hub, Message, MessageId, Open, Page, PeerId, Reply, Request, SessionHandle, Update,
};

use super::told::Told;
use super::{CHILD, CURSORS_EVERY, PEERS, Workload, child, receiver, sender};

/// Kills of each mode.
const KILLS: u32 = 15;
/// Lives in one folder.
const LIVES: u32 = 4;
/// How many of the newest messages of a sender are repeated under their tokens.
const REPEATS: usize = 5;
const SOON: Duration = Duration::from_secs(30);
/// Beyond the time between two writes of the cursors: for a thread to be scheduled and a disk to sync.
const CURSOR_SLACK: Duration = Duration::from_millis(1_000);

/// What the runs of one mode came to.
#[derive(Default)]
struct Sum {
    kills: u32,
    acknowledged: usize,
    stored: usize,
    received: usize,
    receipts: usize,
    changes: usize,
    repeated: usize,
    reopened_max: Duration,
}

pub(super) fn run() {
    let kills = std::env::var("SWITCHBOARD_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    for durability in [Durability::Process, Durability::Fsync] {
        run_mode(durability, kills);
    }
}

#[expect(clippy::disallowed_methods, reason = "the run is timed")]
fn run_mode(durability: Durability, kills: u32) {
    let started = Instant::now();
    let mut sum = Sum::default();
    for workload in Workload::ALL.into_iter().cycle() {
        let lives = LIVES.min(kills - sum.kills);
        if lives == 0 {
            break;
        }
        live_and_die(workload, durability, lives, &mut sum);
    }
    println!(
        "crash, {durability}: {} kills, {} messages acknowledged, {} stored, {} acknowledged by receivers, {} receipts, \
         {} memberships changed, {} messages repeated under their tokens; 0 lost, 0 numbers or ids given twice; \
         reopened within {:.2?}; {:.0?}",
        sum.kills,
        sum.acknowledged,
        sum.stored,
        sum.received,
        sum.receipts,
        sum.changes,
        sum.repeated,
        sum.reopened_max,
        started.elapsed()
    );
}

fn live_and_die(workload: Workload, durability: Durability, lives: u32, sum: &mut Sum) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("store");
    let mut told = Told::default();
    let mut stored = 0;
    for life in 0..lives {
        let name = format!("{workload:?}, {durability}, life {life}");
        kill_one(workload, durability, life, &folder, &mut told, &name);
        sum.kills += 1;
        if folder.exists() {
            stored = check(workload, durability, &folder, &told, &name, sum);
        }
    }
    sum.acknowledged += told.sent.len();
    sum.received += told.received;
    sum.receipts += told.receipts.len();
    sum.changes += told.changes;
    sum.stored += stored;
}

/// Runs a child and kills it at a random moment: mostly while it works, sometimes while it opens the store.
fn kill_one(workload: Workload, durability: Durability, life: u32, folder: &Path, told: &mut Told, name: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, child::task(workload, durability, life, folder))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (ready, is_ready) = mpsc::channel();
    let lines = child.stdout.take().unwrap();
    let reader = thread::Builder::new().spawn(move || read_lines(lines, &ready)).unwrap();
    if below(5) == 0 {
        thread::sleep(Duration::from_millis(below(200)));
    } else {
        is_ready.recv_timeout(SOON).unwrap_or_else(|_| panic!("{name}: the child does not start"));
        // Cursors need some time before it is worth looking at them.
        let longest = if workload == Workload::Offline { 1_000 } else { 300 };
        thread::sleep(Duration::from_millis(below(longest)));
    }
    let killed_at = Clock::start().now();
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "{name}: the child ended by itself");
    reader.join().unwrap().iter().for_each(|line| told.note(line, name));
    told.settle(killed_at - (CURSORS_EVERY + CURSOR_SLACK));
}

/// All whole lines that the child wrote before it was killed.
fn read_lines(lines: ChildStdout, ready: &mpsc::Sender<()>) -> Vec<String> {
    let mut lines = BufReader::new(lines);
    let mut all = Vec::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            return all;
        }
        if line == "ready\n" {
            // Who kills early does not listen.
            let _ = ready.send(());
        }
        all.push(line.trim_end().to_owned());
    }
}

/// Opens what the kill left. Returns how many messages there are.
#[expect(clippy::disallowed_methods, reason = "opening is timed")]
fn check(workload: Workload, durability: Durability, folder: &Path, told: &Told, name: &str, sum: &mut Sum) -> usize {
    let started = Instant::now();
    let hub = super::start(folder, durability);
    sum.reopened_max = sum.reopened_max.max(started.elapsed());
    // The conversations that were heard of; what was never acknowledged need not be there.
    let conversations: BTreeSet<&ConversationId> = told.sent.keys().map(|(conversation, _)| conversation).collect();
    let mut logs = HashMap::new();
    for number in 0..PEERS {
        let (session, _) = hub.open(Open::new(sender(number))).unwrap();
        for conversation in &conversations {
            if !logs.contains_key(*conversation)
                && let Some(log) = read_log(&session, conversation)
            {
                logs.insert((*conversation).clone(), log);
            }
        }
    }
    for ((conversation, number), (id, body)) in &told.sent {
        let log = logs.get(conversation).unwrap_or_else(|| panic!("{name}: {conversation} is lost"));
        let found = usize::try_from(*number - 1).ok().and_then(|at| log.get(at));
        let found = found.unwrap_or_else(|| panic!("{name}: {conversation} {number} {id} is lost"));
        assert_eq!((found.id, text(found)), (*id, body.as_str()), "{name}: {conversation} {number}");
    }
    let mut ids = HashSet::new();
    for log in logs.values() {
        check_log(log, name);
        assert!(log.iter().all(|message| ids.insert(message.id)), "{name}: an id twice");
    }
    let unheard = told.receipts.iter().find(|id| !told.will.contains(id));
    assert_eq!(unheard, None, "{name}: a receipt for what nobody received");
    check_members(&hub, told, name);
    sum.repeated += logs.values().map(|log| check_repeats(&hub, log, name)).sum::<usize>();
    if matches!(workload, Workload::Direct | Workload::Offline) {
        (0..PEERS).for_each(|number| check_backlog(&hub, number, &logs, told, name));
    }
    check_goes_on(&hub, &logs, name);
    let report = hub.shut_down(SOON).unwrap();
    assert!(report.committed && report.store.is_ok(), "{name}: {report:?}");
    ids.len()
}

/// Numbers without holes, times and ids in order, each sender's messages in the order sent and none twice.
fn check_log(log: &[Arc<Message>], name: &str) {
    let mut sent: HashMap<&str, (u64, u64)> = HashMap::new();
    for (message, number) in log.iter().zip(1..) {
        assert_eq!(message.number, Some(number), "{name}: {message:?}");
        let Some((life, rest)) = text(message).split_once('.') else { continue };
        let (from, count) = rest.split_once('.').unwrap();
        assert_eq!(from, message.from.as_str(), "{name}: not what was sent");
        let count = (life.parse().unwrap(), count.parse().unwrap());
        let before = sent.insert(from, count);
        assert!(before.is_none_or(|before| before < count), "{name}: {count:?} after {before:?}");
    }
    let order = |pair: &[Arc<Message>]| (pair[0].timestamp, pair[0].id) < (pair[1].timestamp, pair[1].id);
    assert!(log.windows(2).all(order), "{name}: times or ids go back");
}

/// What waits for a receiver: nothing that it acknowledged a while ago, and the newest of what it did not.
fn check_backlog(hub: &Hub, number: usize, logs: &HashMap<ConversationId, Vec<Arc<Message>>>, told: &Told, name: &str) {
    let Some(log) = logs.values().find(|log| log[0].from == sender(number)) else { return };
    let (session, _) = hub.open(Open::new(receiver(number))).unwrap();
    let last = log.last().unwrap().id;
    let unknown = log.iter().rposition(|message| told.will.contains(&message.id)).map_or(0, |at| at + 1);
    let wanted = log.len().saturating_sub(50).max(unknown);
    let mut waiting = Vec::new();
    // Where the last message may have been acknowledged, nothing says that there is no more to come.
    let patience = if wanted < log.len() { SOON } else { Duration::from_millis(50) };
    while waiting.last() != Some(&last)
        && let Ok(update) = session.recv_timeout(patience)
    {
        if let Update::Message { message, offline: true } = &*update {
            waiting.push(message.id);
        }
    }
    let held: Vec<MessageId> = log[wanted..].iter().map(|message| message.id).collect();
    assert!(waiting.ends_with(&held), "{name}: {number} waits for {held:?}, gets {waiting:?}");
    assert!(waiting.len() <= 50, "{name}: {} messages", waiting.len());
    let again = waiting.iter().find(|id| told.settled.contains(id));
    assert_eq!(again, None, "{name}: acknowledged, and comes again");
}

/// Memberships are as they were answered.
fn check_members(hub: &Hub, told: &Told, name: &str) {
    for ((conversation, peer), is_in) in &told.members {
        let Some(is_in) = is_in else { continue };
        let is_owner = |peer: &PeerId| told.members.contains_key(&(conversation.clone(), peer.clone()));
        let owner = (0..PEERS).map(sender).find(is_owner).unwrap();
        let (session, _) = hub.open(Open::new(owner)).unwrap();
        session.request(Request::Members { conversation: conversation.clone() }).unwrap();
        let peers = wait_for(&session, |update| match update {
            Update::Reply { result: Ok(Reply::Members { peers, .. }), .. } => Some(peers.clone()),
            Update::Reply { result: Err(error), .. } => panic!("{name}: {conversation} is lost: {error}"),
            _ => None,
        });
        assert_eq!(peers.contains(peer), *is_in, "{name}: {peer} in {conversation}");
    }
}

/// What was accepted before is accepted again under its token as what it was, acknowledged or not.
fn check_repeats(hub: &Hub, log: &[Arc<Message>], name: &str) -> usize {
    let senders: BTreeSet<_> = log.iter().map(|message| message.from.clone()).collect();
    let mut repeated = 0;
    for from in senders {
        let (session, _) = hub.open(Open::new(from.clone())).unwrap();
        let own = log.iter().rev().filter(|message| message.from == from && text(message).contains('.'));
        for message in own.take(REPEATS) {
            let draft = Draft::to_conversation(message.conversation.clone(), text(message));
            session.send(draft.with_retry_token(super::token(text(message)))).unwrap();
            let again = wait_for(&session, |update| match update {
                Update::Reply { result: Ok(Reply::Accepted(accepted)), .. } => Some((accepted.id, accepted.number)),
                Update::Reply { result: Err(error), .. } => panic!("{name}: {error}"),
                _ => None,
            });
            assert_eq!(again, (message.id, message.number), "{name}: a repeated message");
            repeated += 1;
        }
    }
    repeated
}

/// The store takes messages, and gives them fresh numbers.
fn check_goes_on(hub: &Hub, logs: &HashMap<ConversationId, Vec<Arc<Message>>>, name: &str) {
    for (conversation, log) in logs {
        let (session, _) = hub.open(Open::new(log[0].from.clone())).unwrap();
        session.send(Draft::to_conversation(conversation.clone(), "check")).unwrap();
        let number = wait_for(&session, |update| match update {
            Update::Reply { result: Ok(Reply::Accepted(accepted)), .. } => accepted.number,
            Update::Reply { result: Err(error), .. } => panic!("{name}: {error}"),
            _ => None,
        });
        assert_eq!(number, log.len() as u64 + 1, "{name}: the next number");
    }
}

/// A whole log, page by page; none where the session's peer is no member.
fn read_log(session: &SessionHandle, conversation: &ConversationId) -> Option<Vec<Arc<Message>>> {
    let mut log: Vec<Arc<Message>> = Vec::new();
    loop {
        let page = Page::oldest(1_000);
        let page = log.last().map_or(page, |last| page.after(last.timestamp, last.id));
        if session.request(Request::History { conversation: conversation.clone(), page }).is_err() {
            return None;
        }
        let (messages, more) = wait_for(session, |update| match update {
            Update::Reply { result: Ok(Reply::History { messages, more }), .. } => Some((messages.clone(), *more)),
            _ => None,
        });
        log.extend(messages);
        if !more {
            return Some(log);
        }
    }
}

fn wait_for<T>(session: &SessionHandle, pick: impl Fn(&Update) -> Option<T>) -> T {
    loop {
        if let Some(picked) = pick(&session.recv_timeout(SOON).unwrap()) {
            return picked;
        }
    }
}

fn text(message: &Message) -> &str {
    message.content.as_text().unwrap_or_default()
}

fn below(end: u64) -> u64 {
    getrandom::u64().unwrap() % end
}
