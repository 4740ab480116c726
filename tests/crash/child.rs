//! What is killed: a hub, and threads that use it and report line by line.
//!
//! | line | means |
//! |---|---|
//! | `ready` | the store is open and work begins |
//! | `sent CONVERSATION NUMBER ID BODY` | the sender was told that the message is durable |
//! | `will ID…` | the receiver is about to acknowledge these |
//! | `did MILLIS ID…` | it has, at that time |
//! | `receipt ID` | the sender was told that the message was received |
//! | `about CONVERSATION PEER in` | a membership is about to change, to `in` or `out` |
//! | `member CONVERSATION PEER in` | it has |
//! | `wrong TEXT` | a session saw what it must not see |

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use switchboard::store::Durability;
use switchboard::{
    Accepted, Clock, ConversationId, Create, Draft, Hub, MessageId, Open, PeerId, Reply, Request, SessionHandle, Shape,
    Target, Ticket, Update,
};

use super::{PEERS, Workload, receiver, sender};

/// Requests of one session that wait for their answer.
const WINDOW: usize = 16;
/// The parent kills long before.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// The task of a child, as its environment says it: workload, durability, life and folder.
pub(super) fn task(workload: Workload, durability: Durability, life: u32, folder: &Path) -> String {
    format!("{workload:?} {durability} {life} {}", folder.display())
}

pub(super) fn run(task: &str) {
    let mut words = task.splitn(4, ' ');
    let mut word = || words.next().unwrap();
    let (workload, durability, life, folder) = (word(), word(), word(), word());
    let workload = Workload::ALL.into_iter().find(|known| format!("{known:?}") == workload).unwrap();
    let durability = if durability == "fsync" { Durability::Fsync } else { Durability::Process };
    let hub = super::start(Path::new(folder), durability);
    let groups = if workload == Workload::Groups { groups(&hub) } else { Vec::new() };
    report("ready");
    thread::scope(|scope| {
        for number in 0..PEERS {
            let (hub, groups) = (&hub, &groups);
            scope.spawn(move || match groups.get(number % 2) {
                None if workload == Workload::Members => churn(hub, number, life),
                Some(group) => talk(hub, sender(number), &Target::Conversation(group.clone()), life),
                None => talk(hub, sender(number), &Target::Peers(vec![receiver(number)]), life),
            });
            if workload == Workload::Offline {
                scope.spawn(move || come_and_go(hub, &receiver(number)));
            }
        }
        thread::sleep(LIFE_MAX);
        std::process::exit(1);
    });
}

/// Two groups of all senders, found again in each life.
fn groups(hub: &Hub) -> Vec<ConversationId> {
    let (session, _) = hub.open(Open::new(sender(0))).unwrap();
    let everyone: Vec<PeerId> = (0..PEERS).map(sender).collect();
    let create = |members: &[PeerId]| {
        session.request(Request::Create(Create::new(Shape::Unique, members.to_vec()))).unwrap();
        loop {
            let update = session.recv_timeout(LIFE_MAX).unwrap();
            if let Update::Reply { result: Ok(Reply::Created { conversation, .. }), .. } = &*update {
                return conversation.id.clone();
            }
        }
    };
    let quiet = PeerId::new("listener").unwrap();
    vec![create(&everyone), create(&[everyone, vec![quiet]].concat())]
}

/// Sends for ever, and reports each message once it is acknowledged.
fn talk(hub: &Hub, me: PeerId, target: &Target, life: &str) {
    let (session, _) = hub.open(Open::new(me.clone())).unwrap();
    let mut waiting: HashMap<Ticket, String> = HashMap::new();
    let mut watcher = Watcher::default();
    for count in 0u64.. {
        let body = format!("{life}.{}.{count}", me.as_str());
        let draft = match target.clone() {
            Target::Peers(peers) => Draft::to_peers(peers, body.as_str()),
            Target::Conversation(conversation) => Draft::to_conversation(conversation, body.as_str()),
        };
        // Receipts are for messages to one.
        let draft = if matches!(target, Target::Peers(_)) { draft.with_receipt() } else { draft };
        waiting.insert(session.send(draft.with_retry_token(super::token(&body))).unwrap(), body);
        while waiting.len() >= WINDOW {
            listen(&session, &mut waiting, &mut watcher);
        }
    }
}

fn listen(session: &SessionHandle, waiting: &mut HashMap<Ticket, String>, watcher: &mut Watcher) {
    let update = session.recv_timeout(LIFE_MAX).unwrap();
    match &*update {
        Update::Reply { ticket, result: Ok(Reply::Accepted(accepted)) } => {
            report_sent(accepted, &waiting.remove(ticket).unwrap());
        }
        Update::Receipt { id, .. } => report(&format!("receipt {id}")),
        Update::Reply { result: Err(error), .. } => report(&format!("wrong refused: {error}")),
        other => drop(watcher.see(other)),
    }
}

/// A group of one's own, whose members are invited and kicked and come and go by themselves, and in which one talks.
fn churn(hub: &Hub, number: usize, life: &str) {
    let me = sender(number);
    let (session, _) = hub.open(Open::new(me.clone())).unwrap();
    let group = own_group(&session, &me);
    let guests = ["invited", "walking"].map(|kind| PeerId::new(&format!("{kind}-{number}")).unwrap());
    let (walker, _) = hub.open(Open::new(guests[1].clone())).unwrap();
    let members = Request::Members { conversation: group.clone() };
    let Reply::Members { peers, .. } = ask(&session, members) else { return report("wrong: no members") };
    let mut is_in = guests.clone().map(|guest| peers.contains(&guest));
    for count in 0_usize.. {
        let which = count % 2;
        let (guest, conversation) = (guests[which].clone(), group.clone());
        let step = if is_in[which] { "out" } else { "in" };
        let (peers, signature) = (vec![guest.clone()], None);
        let (who, request) = match (which, is_in[which]) {
            (0, false) => (&session, Request::Invite { conversation, peers, signature }),
            (0, true) => (&session, Request::Kick { conversation, peers, signature }),
            (_, false) => (&walker, Request::Join { conversation, signature }),
            (_, true) => (&walker, Request::Leave { conversation }),
        };
        report(&format!("about {group} {guest} {step}"));
        ask(who, request);
        report(&format!("member {group} {guest} {step}"));
        is_in[which] = !is_in[which];
        let body = format!("{life}.{}.{count}", me.as_str());
        let draft = Draft::to_conversation(group.clone(), body.as_str()).with_retry_token(super::token(&body));
        let Reply::Accepted(accepted) = ask(&session, Request::Send(draft)) else { return report("wrong: no reply") };
        report_sent(&accepted, &body);
    }
}

/// The group that an earlier life made, or a new one.
fn own_group(session: &SessionHandle, me: &PeerId) -> ConversationId {
    let Reply::Conversations(mine) = ask(session, Request::Conversations) else { panic!("no conversations") };
    let group = mine.first().map_or_else(
        || {
            let create = Request::Create(Create::new(Shape::Group, Vec::new()));
            let Reply::Created { conversation, .. } = ask(session, create) else { panic!("no group") };
            conversation.id
        },
        |group| group.id.clone(),
    );
    // Again in each life: the one that made it may have been killed before it could say so.
    report(&format!("member {group} {me} in"));
    group
}

/// Asks and waits for the answer.
fn ask(session: &SessionHandle, request: Request) -> Reply {
    let asked = session.request(request).unwrap();
    loop {
        if let Update::Reply { ticket, result } = &*session.recv_timeout(LIFE_MAX).unwrap()
            && *ticket == asked
        {
            return result.clone().unwrap();
        }
    }
}

fn report_sent(accepted: &Accepted, body: &str) {
    report(&format!("sent {} {} {} {body}", accepted.conversation, accepted.number.unwrap(), accepted.id));
}

/// Opens, takes some messages, acknowledges most of them, goes, and comes again.
fn come_and_go(hub: &Hub, me: &PeerId) {
    let clock = Clock::start();
    loop {
        let (session, _) = hub.open(Open::new(me.clone())).unwrap();
        let mut watcher = Watcher::default();
        for round in 0..6 {
            let mut updates: Vec<Arc<Update>> = Vec::new();
            let _ = session.wait(Duration::from_millis(20));
            session.drain(&mut updates, 100);
            let ids: Vec<String> =
                updates.iter().filter_map(|update| watcher.see(update)).map(|id| id.to_string()).collect();
            // What comes last before it goes is not acknowledged, and has to come again.
            if ids.is_empty() || round == 5 {
                continue;
            }
            let messages = ids.iter().map(|id| MessageId::parse(id).unwrap()).collect();
            report(&format!("will {}", ids.join(" ")));
            session.request(Request::Acknowledge { messages, read: false }).unwrap();
            report(&format!("did {} {}", clock.now(), ids.join(" ")));
        }
    }
}

/// Checks what one session sees: every id once, numbers of a conversation in order.
#[derive(Default)]
struct Watcher {
    ids: HashSet<MessageId>,
    last: HashMap<ConversationId, u64>,
}

impl Watcher {
    fn see(&mut self, update: &Update) -> Option<MessageId> {
        let Update::Message { message, .. } = update else { return None };
        if !self.ids.insert(message.id) {
            report(&format!("wrong {} came twice to one session", message.id));
        }
        let number = message.number.unwrap();
        let last = self.last.insert(message.conversation.clone(), number);
        if last.is_some_and(|last| last >= number) {
            report(&format!("wrong number {number} came after {last:?}"));
        }
        Some(message.id)
    }
}

/// One line, in one write, so that a kill cuts between lines.
fn report(line: &str) {
    if std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).is_err() {
        // The parent is gone.
        std::process::exit(1);
    }
}
