//! A game server that owns its engine: 60 ticks a second, 200 simulated players, one commit a tick, and one thread that
//! waits for the disk so that no tick does.
//!
//! `cargo run --release --example game_loop -- --seconds 10`
//!
//! What the players ask for in a tick becomes durable together, with one commit, and is delivered in the tick after that is
//! done. While a commit is under way the next ticks go on, and stage the next one. A host whose disk is always fast, or
//! whose store is in memory, may call `Engine::commit` in its tick instead: it needs no thread then.

mod game;
mod settings;
mod slow;
mod writer;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use switchboard::Clock;

use game::{Counts, Game, PLAYERS};
use settings::Settings;

const TICKS_PER_SECOND: u32 = 60;
const TICK: Duration = Duration::from_nanos(1_000_000_000 / TICKS_PER_SECOND as u64);

fn main() -> ExitCode {
    let settings = match Settings::from_args() {
        Ok(Some(settings)) => settings,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return complain(&format!("{error}\nTry --help."), 2),
    };
    match run(&settings) {
        Ok(text) => {
            // Nobody may be reading it.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => complain(&error.to_string(), 1),
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "game_loop: {text}");
    ExitCode::from(code)
}

fn run(settings: &Settings) -> Result<String, Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    ctrlc::set_handler(move || stopped.store(true, Ordering::Release))?;
    let temporary = tempfile::tempdir()?;
    let data = settings.data.as_deref().unwrap_or(temporary.path());
    let clock = Clock::start();
    let mut game = Game::start(data, settings.disk, clock.now())?;
    let pace = play(&mut game, settings.seconds, clock, &stop)?;
    // However the loop ended: what the players did in its last ticks is stored.
    let counts = game.finish(clock.now())?;
    Ok(report(&counts, pace))
}

/// How the ticks went.
#[derive(Default)]
struct Pace {
    /// How long the engine's part of each tick took.
    costs: Vec<Duration>,
    /// Ticks whose time had passed before they could begin.
    missed: u64,
}

#[expect(clippy::disallowed_methods, reason = "a game loop keeps real time")]
fn play(game: &mut Game, seconds: u32, clock: Clock, stop: &AtomicBool) -> Result<Pace, Box<dyn Error>> {
    let mut pace = Pace::default();
    let ticks = u64::from(seconds) * u64::from(TICKS_PER_SECOND);
    let mut next = Instant::now();
    while pace.ticks() < ticks && !stop.load(Ordering::Acquire) {
        let started = Instant::now();
        game.tick(clock.now())?;
        pace.costs.push(started.elapsed());
        // The game's own work would be here: physics, players' input, the network.
        next += TICK;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        // Whoever is late leaves ticks out. To make up for them would be to be late again.
        while next + TICK <= Instant::now() && pace.ticks() < ticks {
            next += TICK;
            pace.missed += 1;
        }
    }
    Ok(pace)
}

impl Pace {
    fn ticks(&self) -> u64 {
        self.costs.len() as u64 + self.missed
    }
}

fn report(counts: &Counts, mut pace: Pace) -> String {
    pace.costs.sort_unstable();
    let last = pace.costs.len().saturating_sub(1);
    let part = |of_hundred: usize| pace.costs.get((last + 1) * of_hundred / 100).or(pace.costs.last());
    let [p50, p99, max] = [50, 99, 100].map(|of_hundred| part(of_hundred).copied().unwrap_or_default());
    format!(
        "{PLAYERS} players, {} ticks, {} of them missed: {} joins, {} leaves\n\
         {} messages sent, {} delivered, {} of them to who had been away, {} refused\n\
         {} commits, {} of them failed and were tried again; a commit took {:.2?} at most\n\
         engine's part of a tick: p50 {p50:.2?}, p99 {p99:.2?}, max {max:.2?}\n",
        pace.ticks(),
        pace.missed,
        counts.joins,
        counts.leaves,
        counts.sent,
        counts.delivered,
        counts.offline,
        counts.refused,
        counts.commits,
        counts.failures,
        counts.slowest,
    )
}
