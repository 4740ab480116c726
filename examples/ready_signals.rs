//! Three kinds of host, each waiting for the hub in its own way: one that blocks, one that polls, one that is async.
//!
//! `cargo run --example ready_signals`
//!
//! The ready signal names each session whose outbox is no longer empty, once. Who takes the name drains the session until
//! it is empty; how the host waits for the next name is its own affair.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use switchboard::store::memory::MemoryStore;
use switchboard::{Config, Draft, DrainState, Hub, HubConfig, NoHooks, Open, PeerId, SessionHandle, SessionId, Update};

const MESSAGES: usize = 3;

/// Runs until it has heard everything, and tells how many messages that was.
type Host = fn(&Hub) -> usize;

fn main() -> Result<(), Box<dyn Error>> {
    let hosts: [(&str, Host); 3] = [("blocking", blocking), ("polling", polling), ("async", asynchronous)];
    for (name, host) in hosts {
        let (hub, alice, _bob) = start()?;
        // The host waits on a thread of its own, so that this one can be the world outside.
        let heard = thread::scope(|scope| {
            let host = scope.spawn(|| host(&hub));
            let spoken = speak(&alice);
            // The end of the hub is what ends each host's loop; what is in the outboxes can still be drained.
            let ended = hub.shut_down(Duration::from_secs(5));
            spoken.and(ended).map(|_| host.join())
        })?;
        let heard = heard.map_err(|_| "the host panicked")?;
        say(format!("{name:>8}: heard {heard} of {MESSAGES} messages"));
    }
    Ok(())
}

/// A thread that has nothing else to do sleeps until there is work.
fn blocking(hub: &Hub) -> usize {
    let mut heard = 0;
    while let Some(ready) = hub.ready().recv() {
        heard += drain(hub, &ready);
    }
    heard
}

/// A loop that turns anyway, such as a game's, looks in each turn and never waits for the hub.
fn polling(hub: &Hub) -> usize {
    let mut heard = 0;
    let mut ready = Vec::new();
    // This host needs no other sign of the end: it stops when it has what it came for.
    while heard < MESSAGES {
        // The memory of the list is used on.
        if hub.ready().take_into(&mut ready) {
            heard += drain(hub, &ready);
        }
        // The game itself would be here.
        thread::sleep(Duration::from_millis(16));
    }
    heard
}

/// A task awaits the next list. Any executor does; it needs neither timers nor I/O for this.
fn asynchronous(hub: &Hub) -> usize {
    pollster::block_on(async {
        let mut heard = 0;
        loop {
            let ready = hub.ready().take().await;
            if ready.is_empty() {
                return heard;
            }
            heard += drain(hub, &ready);
        }
    })
}

/// Takes everything that waits for some sessions. A server would write it to their connections.
fn drain(hub: &Hub, ready: &[SessionId]) -> usize {
    let mut updates = Vec::new();
    for session in ready {
        // Nothing announces what is left in an outbox.
        while hub.drain(*session, &mut updates, 64) == DrainState::More {}
    }
    updates.iter().filter(|update| matches!(***update, Update::Message { .. })).count()
}

fn start() -> Result<(Hub, SessionHandle, SessionHandle), Box<dyn Error>> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let store = Arc::new(MemoryStore::new());
    let hub = Hub::start(Config::default(), store, Box::new(NoHooks), seed, HubConfig::default())?;
    let (alice, _) = hub.open(Open::new(PeerId::new("alice")?))?;
    let (bob, _) = hub.open(Open::new(PeerId::new("bob")?))?;
    Ok((hub, alice, bob))
}

fn speak(alice: &SessionHandle) -> Result<(), switchboard::Error> {
    for number in 1..=MESSAGES {
        alice.send(Draft::to_peer(PeerId::new("bob")?, format!("message {number}")))?;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Shows a line. `println!` would panic where nobody reads it, as in `ready_signals | head -1`.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}
