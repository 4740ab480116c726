//! What sessions weigh: resident memory of the process, before and after. Prints a line for each figure; Linux only, since it
//! reads `/proc`.
//!
//! `cargo bench --bench footprint`

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on should stop")]
#![expect(clippy::print_stdout, reason = "its figures are its purpose")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use crossbeam_channel::bounded;
use switchboard::store::memory::MemoryStore;
use switchboard::{Config, Draft, Hub, HubConfig, NoHooks, Open, PeerId};

const SESSIONS: usize = 100_000;
/// Opens and closes of the storm, over a thousand peers.
const STORM: usize = 1_000_000;

fn main() {
    // Under `cargo test` and in checks a benchmark only has to run.
    let small = std::env::args().any(|arg| arg == "--test");
    let (sessions, storm) = if small { (1_000, 1_000) } else { (SESSIONS, STORM) };
    let rival = weigh(sessions, || channels(sessions));
    println!("crossbeam channel of 256 and map entry: {rival} B a session");
    let ours = weigh(sessions, || open(sessions));
    println!(
        "idle session in a hub, with its peer:    {ours} B a session ({:.2} of the channel)",
        ours as f64 / rival as f64
    );
    storm_over(storm);
}

/// Resident bytes that `make` adds for each of `count`. What it made is never given back, so that the next does not reuse its
/// memory.
fn weigh<T>(count: usize, make: impl FnOnce() -> T) -> usize {
    let before = resident();
    let made = black_box(make());
    let after = resident();
    std::mem::forget(made);
    after.saturating_sub(before) / count
}

fn channels(count: usize) -> HashMap<String, impl Sized> {
    (0..count).map(|n| (peer(n).to_string(), bounded::<Arc<String>>(256))).collect()
}

fn hub() -> Hub {
    Hub::start(Config::default(), Arc::new(MemoryStore::new()), Box::new(NoHooks), [7; 32], HubConfig::default())
        .unwrap()
}

fn open(count: usize) -> (Hub, Vec<switchboard::SessionId>) {
    let hub = hub();
    let mut updates = Vec::new();
    let sessions = (0..count).map(|n| {
        let session = hub.open(Open::new(peer(n))).unwrap().0;
        session.drain(&mut updates, 8);
        updates.clear();
        session.into_id()
    });
    let sessions = sessions.collect();
    hub.events().try_iter().for_each(drop);
    let _ = hub.try_ready();
    (hub, sessions)
}

/// Sessions of a thousand peers open, send and close again and again: what stays must not grow with them.
fn storm_over(count: usize) {
    let hub = hub();
    let mut updates = Vec::new();
    let mut round = |n: usize| {
        let (session, _) = hub.open(Open::new(peer(n % 1_000))).unwrap();
        session.send(Draft::to_peer(peer((n + 1) % 1_000), "x").transient()).unwrap();
        session.drain(&mut updates, 64);
        updates.clear();
        session.close();
        let _ = hub.try_ready();
        hub.events().try_iter().for_each(drop);
    };
    (0..count / 10).for_each(&mut round);
    let before = resident();
    (0..count).for_each(&mut round);
    let after = resident();
    let change = (after as f64 - before as f64) / before as f64 * 100.0;
    println!("{count} sessions opened and closed:      resident memory {before} B, then {after} B ({change:+.1} %)");
}

fn peer(n: usize) -> PeerId {
    PeerId::new(&format!("player-{n:06}")).unwrap()
}

/// Resident bytes of this process.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}
