//! `kill -9` at random moments, while messages are sent and acknowledged (faults.md, row 32).
//!
//! This binary runs itself as a child with a hub on sled. The child writes to a pipe what it was told: each acknowledged
//! message, each acknowledgement of a receiver, each receipt, each change of a membership. The parent kills it, opens the
//! store itself, compares, and repeats messages under their tokens. A handful of kills goes to the same folder, so that the
//! log of one life is read by all later ones.
//!
//! `SWITCHBOARD_KILLS=500 cargo test --release --test crash` raises the number of kills of each mode; any arguments are
//! ignored but `--list`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a test of its own, without the harness")]

#[path = "crash/child.rs"]
mod child;
#[path = "crash/parent.rs"]
mod parent;
#[path = "crash/told.rs"]
mod told;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use switchboard::store::Durability;
use switchboard::store::sled::{SledOptions, SledStore};
use switchboard::{Config, Hub, HubConfig, NoHooks};

/// Set for the child alone.
const CHILD: &str = "SWITCHBOARD_CRASH_CHILD";
/// Pairs of sender and receiver; members of a group.
const PEERS: usize = 4;
/// How often cursors are written: what a receiver acknowledged longer ago does not come again.
const CURSORS_EVERY: Duration = Duration::from_millis(50);

/// What a child does until it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workload {
    /// Senders message peers who are away.
    Direct,
    /// All members of two groups talk and listen.
    Groups,
    /// Receivers come, acknowledge some of what they get, and go.
    Offline,
    /// Members come and go in groups that are talked in.
    Members,
}

impl Workload {
    const ALL: [Self; 4] = [Self::Direct, Self::Groups, Self::Offline, Self::Members];
}

fn main() {
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    match std::env::var(CHILD) {
        Ok(task) => child::run(&task),
        Err(_) => parent::run(),
    }
}

fn start(folder: &Path, durability: Durability) -> Hub {
    let store = SledStore::open(SledOptions::new(folder).durability(durability).unwrap()).unwrap();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    let config = Config { cursors_every: CURSORS_EVERY, tell_sent: false, ..Config::default() };
    Hub::start(config, Arc::new(store), Box::new(NoHooks), seed, HubConfig::default()).unwrap()
}

fn sender(number: usize) -> switchboard::PeerId {
    switchboard::PeerId::new(&format!("sender-{number}")).unwrap()
}

fn receiver(number: usize) -> switchboard::PeerId {
    switchboard::PeerId::new(&format!("receiver-{number}")).unwrap()
}

/// The token of a message is what it says: both are made once.
fn token(body: &str) -> switchboard::RetryToken {
    switchboard::RetryToken::new(body).unwrap()
}
