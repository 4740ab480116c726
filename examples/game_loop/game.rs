//! The game: who plays, what they do in a tick, and what comes of it.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use switchboard::store::sled::{SledOptions, SledStore};
use switchboard::store::{Durability, Store};
use switchboard::{
    Config, ConversationId, Create, Draft, Engine, Event, MessageId, NoHooks, Open, Output, PeerId, Reply, Request,
    SessionId, Shape, Timestamp, Update,
};

use crate::slow::Slow;
use crate::writer::{Done, Writer};

pub(crate) const PLAYERS: usize = 200;
/// Players of one party: each party is a group.
const PARTY: usize = 5;
/// Deeds in a tick, all players together: each does something about four times a second.
const DEEDS: usize = 14;

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
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) offline: u64,
    pub(crate) joins: u64,
    pub(crate) leaves: u64,
    pub(crate) refused: u64,
    pub(crate) commits: u64,
    pub(crate) failures: u64,
    /// How long a commit took at most.
    pub(crate) slowest: Duration,
}

pub(crate) struct Game {
    engine: Engine,
    writer: Writer,
    players: Vec<Player>,
    /// Which player a session's place belongs to.
    by_slot: Vec<usize>,
    parties: Vec<ConversationId>,
    /// The map's chat, which everyone online is in.
    room: ConversationId,
    counts: Counts,
    dice: Dice,
}

impl Game {
    /// Opens the store, where each commit takes `disk` longer, and makes the world.
    pub(crate) fn start(data: &Path, disk: Duration, now: Timestamp) -> Result<Self, Box<dyn Error>> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        // A crash of the game loses nothing; a power cut may take the last ten seconds, which is fair for a game.
        let store = SledStore::open(SledOptions::new(data).durability(Durability::Process)?)?;
        let store: Arc<dyn Store> = Arc::new(Slow { store, span: disk });
        let engine = Engine::start(Config::default(), Arc::clone(&store), Box::new(NoHooks), seed, now)?;
        let players = (0..PLAYERS).map(|number| {
            let peer = PeerId::new(&format!("player-{number}"))?;
            Ok(Player { peer, session: None, received: Vec::new() })
        });
        let players = players.collect::<Result<Vec<_>, switchboard::Error>>()?;
        let mut game = Self {
            engine,
            writer: Writer::start(store)?,
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
        // Nobody plays yet: here the disk may be waited for.
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

    /// The engine's part of a tick: what the disk has done, what is due, what the players do, what the disk is to do, and
    /// what comes of it all. Nothing of it waits.
    pub(crate) fn tick(&mut self, now: Timestamp) -> Result<(), Box<dyn Error>> {
        while let Some(done) = self.writer.poll() {
            self.take_back(done, now);
        }
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
        self.writer.take_from(&mut self.engine)?;
        self.perform_all();
        Ok(())
    }

    /// Gives the engine what the disk has done. A commit that failed is staged still, and goes out with the next.
    fn take_back(&mut self, done: Done, now: Timestamp) {
        match done {
            Done::Commit(committed, took) => {
                self.counts.commits += 1;
                self.counts.failures += u64::from(committed.error().is_some());
                self.counts.slowest = self.counts.slowest.max(took);
                self.engine.finish_commit(committed, now);
            }
            Done::Read(read) => self.engine.finish_read(*read, now),
        }
    }

    /// Ends the game: everything is stored, or the error says why not.
    pub(crate) fn finish(mut self, now: Timestamp) -> Result<Counts, Box<dyn Error>> {
        self.engine.shut_down(now);
        loop {
            self.writer.take_from(&mut self.engine)?;
            let Some(done) = self.writer.wait()? else { break };
            if let Done::Commit(committed, _) = &done
                && let Some(error) = committed.error()
            {
                return Err(error.clone().into());
            }
            self.take_back(done, now);
        }
        self.perform_all();
        self.writer.finish()?;
        Ok(self.counts)
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

    fn perform_all(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            self.perform(&output);
        }
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
