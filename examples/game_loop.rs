//! A game server that owns its engine: 60 ticks a second, 200 simulated players, one commit a tick, no other thread.
//!
//! `cargo run --release --example game_loop -- --seconds 10`
//!
//! Everything that the players asked for in a tick becomes durable together, with the one `commit`, and is delivered after
//! it. A host whose disk syncs more slowly than its ticks pass gives the commit to a thread: `Engine::begin_commit`.
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use switchboard::store::Durability;
use switchboard::store::sled::{SledOptions, SledStore};
use switchboard::{
    Clock, Config, ConversationId, Create, Draft, Engine, Event, MessageId, NoHooks, Open, Output, PeerId, Reply,
    Request, SessionId, Shape, Timestamp, Update,
};

const TICKS_PER_SECOND: u32 = 60;
const PLAYERS: usize = 200;
/// Players of one party: each party is a group.
const PARTY: usize = 5;
/// Deeds in a tick, all players together: each does something about four times a second.
const DEEDS: usize = 14;
const MAINTAIN_EVERY: u32 = TICKS_PER_SECOND;

const HELP: &str = "\
Usage: game_loop [--seconds N] [--data DIR]

  --seconds N   how long to play                    [10]
  --data DIR    where messages are kept             [a temporary folder]
";

/// A simulated player.
struct Player {
    peer: PeerId,
    /// Set while it is online.
    session: Option<SessionId>,
    /// Received and not yet acknowledged.
    received: Vec<MessageId>,
}

/// What was counted.
#[derive(Default)]
struct Counts {
    sent: u64,
    delivered: u64,
    offline: u64,
    joins: u64,
    leaves: u64,
    refused: u64,
}

struct Game {
    engine: Engine,
    players: Vec<Player>,
    /// Which player a session's place belongs to.
    by_slot: Vec<usize>,
    parties: Vec<ConversationId>,
    /// The map's chat, which everyone online is in.
    room: ConversationId,
    counts: Counts,
    dice: Dice,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some((seconds, data)) = arguments()? else { return Ok(()) };
    let temporary = tempfile::tempdir()?;
    let mut game = Game::start(data.as_deref().unwrap_or(temporary.path()))?;
    let mut ticks = game.play(seconds)?;
    ticks.sort_unstable();
    let Counts { sent, delivered, offline, joins, leaves, refused } = game.counts;
    println!("{PLAYERS} players, {} ticks: {joins} joins, {leaves} leaves", ticks.len());
    println!("{sent} messages sent, {delivered} delivered, {offline} of them to who had been away, {refused} refused");
    let part = |of_hundred: usize| ticks.get(ticks.len() * of_hundred / 100).or(ticks.last()).copied();
    let (p50, p99, max) = (part(50), part(99), ticks.last().copied());
    println!(
        "engine's part of a tick: p50 {:.2?}, p99 {:.2?}, max {:.2?}",
        p50.unwrap_or_default(),
        p99.unwrap_or_default(),
        max.unwrap_or_default()
    );
    Ok(())
}

fn arguments() -> Result<Option<(u64, Option<PathBuf>)>, lexopt::Error> {
    let (mut seconds, mut data) = (10, None);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("seconds") => seconds = args.value()?.parse()?,
            Long("data") => data = Some(args.value()?.into()),
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some((seconds, data)))
}

impl Game {
    fn start(data: &Path) -> Result<Self, Box<dyn Error>> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        // A crash of the game loses nothing; a power cut may take the last ten seconds, which is fair for a game.
        let store = SledStore::open(SledOptions::new(data).durability(Durability::Process)?)?;
        let now = Clock::start().now();
        let engine = Engine::start(Config::default(), Arc::new(store), Box::new(NoHooks), seed, now)?;
        let players = (0..PLAYERS).map(|number| {
            let peer = PeerId::new(&format!("player-{number}"))?;
            Ok(Player { peer, session: None, received: Vec::new() })
        });
        let players = players.collect::<Result<Vec<_>, switchboard::Error>>()?;
        let mut game = Self {
            engine,
            players,
            by_slot: Vec::new(),
            parties: Vec::new(),
            room: ConversationId::new("unset")?,
            counts: Counts::default(),
            dice: Dice(getrandom::u64()?),
        };
        game.build_world(now)?;
        Ok(game)
    }

    /// The parties and the room, made by the game itself in the name of a player.
    fn build_world(&mut self, now: Timestamp) -> Result<(), Box<dyn Error>> {
        for party in self.players.chunks(PARTY) {
            let members: Vec<PeerId> = party.iter().map(|player| player.peer.clone()).collect();
            // In a folder that was played in before, the parties are found again.
            self.engine.create_as(&members[0], Create::new(Shape::Unique, members.clone()), now)?;
        }
        self.engine.create_as(&self.players[0].peer, Create::new(Shape::Room, Vec::new()), now)?;
        self.engine.commit(now)?;
        let mut made = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            if let Output::Event(Event::Answered { result, .. }) = output
                && let Reply::Created { conversation, .. } = result?
            {
                made.push(conversation.id);
            }
        }
        self.room = made.pop().ok_or("no room")?;
        self.parties = made;
        Ok(())
    }

    /// Plays, and returns how long the engine's part of each tick took.
    #[expect(clippy::disallowed_methods, reason = "a game loop keeps real time")]
    fn play(&mut self, seconds: u64) -> Result<Vec<Duration>, Box<dyn Error>> {
        let clock = Clock::start();
        let mut costs = Vec::new();
        let mut next = Instant::now();
        let ticks = u32::try_from(seconds)?.saturating_mul(TICKS_PER_SECOND);
        for tick in 0..ticks {
            let started = Instant::now();
            self.tick(tick, clock.now())?;
            costs.push(started.elapsed());
            // The game's own work would be here: physics, players' input, the network.
            next += Duration::from_secs(1) / TICKS_PER_SECOND;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        Ok(costs)
    }

    /// The engine's part of a tick: what is due, what the players do, one commit, and what comes of it.
    fn tick(&mut self, tick: u32, now: Timestamp) -> Result<(), Box<dyn Error>> {
        if self.engine.poll_timeout().is_some_and(|due| due <= now) {
            self.engine.handle_timeout(now);
        }
        for _ in 0..DEEDS {
            let player = self.dice.below(PLAYERS);
            // Most refusals are the game's own business: somebody asked for what had just become impossible.
            if self.act(player, now).is_err() {
                self.counts.refused += 1;
            }
        }
        self.acknowledge(now)?;
        self.engine.commit(now)?;
        if tick.is_multiple_of(MAINTAIN_EVERY) {
            self.engine.store().maintain()?;
        }
        while let Some(output) = self.engine.poll_output() {
            self.perform(&output);
        }
        Ok(())
    }

    /// A player does something.
    fn act(&mut self, number: usize, now: Timestamp) -> Result<(), switchboard::Error> {
        let Some(session) = self.players[number].session else {
            return self.join(number, now);
        };
        let draft = match self.dice.below(100) {
            0..2 => {
                self.leave(number, session, now);
                return Ok(());
            }
            // Where everybody is. Worth nothing a moment later, so it is not stored.
            2..12 => Draft::to_conversation(self.room.clone(), "at 12,34").transient(),
            12..72 => Draft::to_conversation(self.parties[number / PARTY].clone(), "to me!"),
            _ => {
                let other = self.dice.below(PLAYERS);
                Draft::to_peer(self.players[other].peer.clone(), "trade?").with_receipt()
            }
        };
        self.engine.request(session, Request::Send(draft), now)?;
        self.counts.sent += 1;
        Ok(())
    }

    fn join(&mut self, number: usize, now: Timestamp) -> Result<(), switchboard::Error> {
        let (session, _) = self.engine.open(Open::new(self.players[number].peer.clone()), now)?;
        let slot = session.slot() as usize;
        // Places are small and dense: a table finds the player.
        self.by_slot.resize(self.by_slot.len().max(slot + 1), 0);
        self.by_slot[slot] = number;
        self.players[number].session = Some(session);
        self.counts.joins += 1;
        self.engine.request(session, Request::Join { conversation: self.room.clone(), signature: None }, now)?;
        Ok(())
    }

    /// The connection breaks: what is sent from now on waits.
    fn leave(&mut self, number: usize, session: SessionId, now: Timestamp) {
        self.engine.pause(session, now);
        self.players[number].session = None;
        self.players[number].received.clear();
        self.counts.leaves += 1;
    }

    /// Every player confirms what arrived with the tick before.
    fn acknowledge(&mut self, now: Timestamp) -> Result<(), switchboard::Error> {
        for player in &mut self.players {
            if let Some(session) = player.session.filter(|_| !player.received.is_empty()) {
                let messages = std::mem::take(&mut player.received);
                self.engine.request(session, Request::Acknowledge { messages, read: true }, now)?;
            }
        }
        Ok(())
    }

    /// Does what the engine puts out. Here "the network" is the players themselves.
    fn perform(&mut self, output: &Output) {
        let Output::Deliver(deliver) = output else { return };
        match &*deliver.update {
            Update::Message { message, offline } => {
                for session in deliver.audience.iter() {
                    self.counts.delivered += 1;
                    self.counts.offline += u64::from(*offline);
                    let player = &mut self.players[self.by_slot[session.slot as usize]];
                    // It may have left since, and another may have its place.
                    let here = player.session.map(|held| (held.slot(), held.generation()));
                    if !message.transient && here == Some((session.slot, session.generation)) {
                        player.received.push(message.id);
                    }
                }
            }
            Update::Reply { result: Err(_), .. } => self.counts.refused += 1,
            _ => {}
        }
    }
}

/// Chance, good enough for a simulation (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % end
    }
}
