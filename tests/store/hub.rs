//! The same troubles seen by a client of a hub: refused with 4200 meanwhile, taken again in time, nothing acknowledged lost.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchboard::store::sled::{Call, SledStore, Trouble};
use switchboard::store::{Durability, StoreError};
use switchboard::{
    Config, ConversationId, Draft, Event, Hub, HubConfig, MessageId, NoHooks, Open, Page, PeerId, Reply, Request,
    SessionHandle, Update,
};

use super::options;

/// Within this a message is taken again once the cause is gone.
const RECOVERED_WITHIN: Duration = Duration::from_secs(5);
const HANG: Duration = Duration::from_secs(30);

/// A client that sends to a peer who is away, and remembers what it was told.
struct Client {
    store: Arc<SledStore>,
    hub: Hub,
    session: SessionHandle,
    sent: usize,
    accepted: Vec<(ConversationId, u64, MessageId, String)>,
}

fn peer(name: &str) -> PeerId {
    PeerId::new(name).unwrap()
}

impl Client {
    fn start(root: &Path, durability: Durability) -> Self {
        let store = Arc::new(SledStore::open(options(root, durability)).unwrap());
        let config = Config { commit_after: Duration::from_millis(300), tell_sent: false, ..Config::default() };
        let hub =
            Hub::start(config, Arc::clone(&store) as _, Box::new(NoHooks), [3; 32], HubConfig::default()).unwrap();
        let (session, _) = hub.open(Open::new(peer("sender"))).unwrap();
        Self { store, hub, session, sent: 0, accepted: Vec::new() }
    }

    /// Sends one message and waits for its answer: whether it was accepted. A refusal is 4200.
    fn send(&mut self) -> bool {
        let body = format!("message {}", self.sent);
        self.sent += 1;
        let asked = match self.session.send(Draft::to_peer(peer("away"), body.as_str())) {
            Ok(ticket) => ticket,
            Err(error) => {
                assert_eq!(error.code(), 4200, "{error}");
                return false;
            }
        };
        loop {
            match &*self.session.recv_timeout(HANG).expect("each request is answered") {
                Update::Reply { ticket, result: Ok(Reply::Accepted(told)) } if *ticket == asked => {
                    self.accepted.push((told.conversation.clone(), told.number.unwrap(), told.id, body));
                    return true;
                }
                Update::Reply { ticket, result: Err(error) } if *ticket == asked => {
                    assert_eq!(error.code(), 4200, "{error}");
                    return false;
                }
                _ => {}
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the time until the store is back is what is tested")]
    fn recovers(&mut self) {
        let gone = Instant::now();
        while !self.send() {
            assert!(gone.elapsed() < RECOVERED_WITHIN, "{:?} after the cause was gone", gone.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Transient messages do not wait for the store.
    fn talks_on(&self) {
        let (listener, _) = self.hub.open(Open::new(peer("listener"))).unwrap();
        self.session.send(Draft::to_peer(peer("listener"), "now").transient()).unwrap();
        while !matches!(&*listener.recv_timeout(HANG).unwrap(), Update::Message { .. }) {}
    }

    fn errors(&self) -> Vec<StoreError> {
        let failed = |event| if let Event::StoreFailed { error } = event { Some(error) } else { None };
        self.hub.events().try_iter().filter_map(failed).collect()
    }

    /// Ends this process's part, starts anew and reads what is there: all that was accepted, under its number.
    fn holds_what_was_accepted(self, root: &Path, durability: Durability) {
        let Self { hub, session, store, accepted, .. } = self;
        drop(session);
        let _ = hub.shut_down(HANG);
        drop((hub, store));
        let next = Self::start(root, durability);
        let mut log: Vec<(u64, MessageId, String)> = Vec::new();
        let mut page = Page::oldest(1_000);
        loop {
            let conversation = accepted[0].0.clone();
            next.session.request(Request::History { conversation, page }).unwrap();
            let (messages, more) = loop {
                let update = next.session.recv_timeout(HANG).unwrap();
                if let Update::Reply { result: Ok(Reply::History { messages, more }), .. } = &*update {
                    break (messages.clone(), *more);
                }
            };
            let row = |message: &Arc<switchboard::Message>| {
                let text = message.content.as_text().unwrap_or_default().to_owned();
                (message.number.unwrap(), message.id, text)
            };
            log.extend(messages.iter().map(row));
            let Some(last) = messages.last().filter(|_| more) else { break };
            page = Page::oldest(1_000).after(last.timestamp, last.id);
        }
        assert!((1..).zip(&log).all(|(number, message)| message.0 == number), "numbers have no holes");
        for (_, number, id, body) in accepted {
            let found = log.get(usize::try_from(number - 1).unwrap());
            assert_eq!(found, Some(&(number, id, body)), "{number} of {} is lost", log.len());
        }
        assert!(next.hub.shut_down(HANG).unwrap().store.is_ok());
    }
}

/// What passes by itself was reported once, and the store refused everything until the next start.
#[test]
fn rows_45_and_63_through_a_hub_what_passes_is_passed_over() {
    let troubles = [
        (Call::Write, Trouble::Refused(4)),
        (Call::Apply, Trouble::Refused(12)),
        (Call::Write, Trouble::Refused(28)),
        (Call::Apply, Trouble::Panic),
    ];
    for durability in [Durability::Process, Durability::Fsync] {
        let folder = tempfile::tempdir().unwrap();
        let mut client = Client::start(folder.path(), durability);
        assert!(client.send());
        for (call, trouble) in troubles {
            client.store.trouble(call, trouble, 1_000);
            let refused = (0..3).filter(|_| !client.send()).count();
            assert!(refused > 0, "{call:?}, {trouble:?}");
            client.talks_on();
            client.store.end_troubles();
            client.recovers();
            assert!(!client.errors().is_empty(), "the host hears of it");
        }
        client.holds_what_was_accepted(folder.path(), durability);
    }
}

#[test]
fn row_45_through_a_hub_a_failed_sync_is_final_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut client = Client::start(folder.path(), Durability::Fsync);
    (0..5).for_each(|_| assert!(client.send()));
    client.store.trouble(Call::Sync, Trouble::Refused(5), 1);
    (0..5).for_each(|_| assert!(!client.send()));
    client.talks_on();
    assert!(matches!(client.errors()[..], [StoreError::Broken(_)]));
    client.holds_what_was_accepted(folder.path(), Durability::Fsync);
}

#[cfg(target_os = "linux")]
mod limited {
    use std::fs::{self, File};
    use std::io::Write;

    use super::super::processes::{child, folder_of_child, hear, on_a_small_disk, said, say};
    use super::*;

    /// With the default of 1,024 handles, 2,000 connections ended all acknowledgements until the next start.
    #[test]
    fn row_44_through_a_hub_nobody_notices_that_handles_are_out() {
        let folder = tempfile::tempdir().unwrap();
        let name = "hub::limited::child_talks_without_handles";
        let mut process = child(name, &folder.path().join("store"), Some("ulimit -n 64"));
        hear(&said(&mut process), "well");
        assert!(process.wait().unwrap().success());
    }

    #[test]
    #[ignore = "a child of other tests"]
    fn child_talks_without_handles() {
        for durability in [Durability::Process, Durability::Fsync] {
            let root = folder_of_child().join(durability.to_string());
            let mut client = Client::start(&root, durability);
            assert!(client.send());
            let mut taken = Vec::new();
            while let Ok(file) = File::open("/dev/null") {
                taken.push(file);
            }
            (0..50).for_each(|_| assert!(client.send(), "{:?}", client.errors()));
            client.store.trouble(Call::Write, Trouble::Refused(4), 1);
            while client.send() {}
            drop(taken);
            client.recovers();
            client.holds_what_was_accepted(&root, durability);
        }
        say("well");
    }

    #[test]
    fn row_34_through_a_hub_a_full_disk_passes() {
        on_a_small_disk("hub::limited::child_talks_on_a_small_disk");
    }

    #[test]
    #[ignore = "a child of other tests"]
    fn child_talks_on_a_small_disk() {
        say("mounted");
        for durability in [Durability::Process, Durability::Fsync] {
            let root = folder_of_child().join(durability.to_string());
            let filler = folder_of_child().join("filler");
            let mut client = Client::start(&root, durability);
            for _ in 0..2 {
                assert!(client.send());
                let mut file = File::create(&filler).unwrap();
                while file.write_all(&[7; 4096]).is_ok() {}
                while client.send() {}
                client.talks_on();
                drop(file);
                fs::remove_file(&filler).unwrap();
                client.recovers();
            }
            assert!(client.errors().contains(&StoreError::Full));
            client.holds_what_was_accepted(&root, durability);
        }
        say("well");
    }
}
