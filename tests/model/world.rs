//! The engine and the model side by side: what is done to one is done to the other, and all that can be observed is compared.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use switchboard::store::Store;
use switchboard::{Commit, Config, Engine, Error, SessionId, SessionRef, Ticket, Timestamp};

use crate::command::{Command, PEERS};
use crate::ids::Ids;
use crate::reference::{Ear, Model, limits};
use crate::stores::Disk;

use hearing::Waiting;
use hooking::Script;
use lagging::Outbox;
use restarting::Seen;
use storing::Batch;

mod asking;
mod clock;
mod hearing;
mod hooking;
mod lagging;
mod opening;
mod restarting;
mod storing;

/// No clock is set back to before this.
const START: u64 = 1_700_000_000_000;
/// When a world begins.
const BEGINS: u64 = START + 10 * 86_400_000;

const COMMIT_AFTER: u64 = 5_000;

const NOWHERE: &str = "000000000000000000000000";

/// Where model and engine differ.
pub(crate) type Difference = String;

type Checked = Result<(), Difference>;

/// A session as the host knows it.
#[derive(Clone)]
struct Handle {
    id: SessionId,
    token: String,
}

pub(crate) struct World {
    config: Config,
    disk: Disk,
    engine: Engine,
    model: Model,
    ids: Ids,
    handles: Vec<Handle>,
    by_ref: HashMap<SessionRef, usize>,
    used_tokens: Vec<String>,
    tickets: HashMap<Ticket, u64>,
    requests: u64,
    said: u64,
    queues: BTreeMap<Ear, VecDeque<Waiting>>,
    seen: BTreeMap<usize, Seen>,
    durable: Model,
    in_flight: Option<(Commit, Batch)>,
    failed: Option<Batch>,
    hold_reads: bool,
    /// How old the time is that the host's calls bear.
    late: u64,
    /// By how much its clock was set back.
    set_back: u64,
    /// Sessions that were told that they are live.
    live: BTreeSet<usize>,
    /// What the host holds for those that read slowly.
    outboxes: BTreeMap<usize, Outbox>,
    script: Script,
    /// The questions of hooks, in their order.
    questions: Vec<Ticket>,
    /// How often the host was told of a hook's fault.
    faults: u64,
    steps: u64,
    pub(crate) trace: Vec<String>,
}

impl World {
    pub(crate) fn new(mut disk: Disk) -> Result<Self, Difference> {
        let config = config(&disk);
        let script = Script::default();
        let engine = start(&config, disk.store(), &script, BEGINS)?;
        let mut model = Model::new(BEGINS);
        model.devices_max = config.devices_max;
        Ok(Self {
            config,
            disk,
            engine,
            durable: model.clone(),
            model,
            ids: Ids::default(),
            handles: Vec::new(),
            by_ref: HashMap::new(),
            used_tokens: Vec::new(),
            tickets: HashMap::new(),
            requests: 0,
            said: 0,
            queues: BTreeMap::new(),
            seen: BTreeMap::new(),
            in_flight: None,
            failed: None,
            hold_reads: false,
            late: 0,
            set_back: 0,
            live: BTreeSet::new(),
            outboxes: BTreeMap::new(),
            script,
            questions: Vec::new(),
            faults: 0,
            steps: 0,
            trace: Vec::new(),
        })
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.model.now - self.set_back - self.late)
    }

    /// One step on both sides, and a look at everything afterwards.
    pub(crate) fn step(&mut self, command: &Command) -> Checked {
        self.steps += 1;
        self.perform(command)?;
        self.settle()?;
        self.compare_unread((self.steps % u64::from(PEERS)) as u8)
    }

    /// Ends a run: everything that waits is told.
    pub(crate) fn finish(&mut self) -> Checked {
        self.commit()?;
        self.let_all_catch_up()?;
        self.settle()?;
        (0..PEERS).try_for_each(|peer| self.compare_unread(peer))
    }

    fn perform(&mut self, command: &Command) -> Checked {
        if self.is_left_out(command) {
            return Ok(());
        }
        match command {
            Command::Open { peer, device, tag, watch, reconnect, token } => {
                self.open(*peer, *device, *tag, watch, *reconnect, *token)
            }
            Command::Pause(session) => {
                if let Some(session) = self.pick(*session) {
                    self.trace.push(format!("session {session} pauses"));
                    self.engine.pause(self.handles[session].id, self.now());
                    self.model.pause(session);
                }
                Ok(())
            }
            Command::ClosePeer(peer) => {
                self.trace.push(format!("the host closes peer {peer}"));
                self.engine.close_peer(&Ids::peer(*peer), Error::KickedByApp, self.now());
                self.model.close_peer(*peer);
                Ok(())
            }
            Command::Wait { millis, confirm } => self.wait(*millis, *confirm),
            Command::Delete { conversation, which } => self.delete(*conversation, *which),
            Command::Hooks(moods) => {
                self.set_hooks(moods);
                Ok(())
            }
            Command::Resolve { which, verdict, choice, allows } => self.resolve(*which, verdict, choice, *allows),
            Command::Narrow { session, room } => {
                self.narrow(*session, *room);
                Ok(())
            }
            Command::ReadOn(which) => {
                self.read_on(*which);
                Ok(())
            }
            Command::Late { millis } => {
                self.late = *millis;
                Ok(())
            }
            Command::SetBack { millis } => self.set_clock_back(*millis),
            Command::Commit => self.commit(),
            Command::Begin => {
                self.begin();
                Ok(())
            }
            Command::Finish { fails } => self.finish_commit(*fails),
            Command::HoldReads(hold) => {
                self.hold_reads = *hold;
                Ok(())
            }
            Command::Restart => self.restart(),
            Command::Crash { power } => self.crash(*power),
            _ => self.ask(command),
        }
    }

    /// An open session, or none where there is none.
    fn pick(&self, which: u8) -> Option<usize> {
        let open = self.model.open_sessions();
        (!open.is_empty()).then(|| open[usize::from(which) % open.len()])
    }

    fn compare_unread(&self, peer: u8) -> Checked {
        for (at, _) in self.model.conversations.iter().enumerate() {
            let Some(id) = self.ids.conversation(at) else { continue };
            let (is, should) = (self.engine.unread_count_in(&Ids::peer(peer), &id), self.model.unread_in(peer, at));
            if is != should {
                return Err(format!("peer {peer} has {is} unread in conversation {at}, not {should}"));
            }
        }
        same("online", self.engine.is_online(&Ids::peer(peer)), self.model.is_online(peer))
    }
}

pub(crate) fn config(disk: &Disk) -> Config {
    Config {
        message_bytes_max: limits::BYTES,
        recipients_max: limits::RECIPIENTS,
        members_max: limits::MEMBERS,
        temporary_members_max: limits::TEMPORARY_MEMBERS,
        groups_max: limits::GROUPS,
        sessions_max: limits::SESSIONS,
        watched_max: limits::WATCHED,
        watched_per_request_max: limits::WATCHED,
        history_page_max: limits::PAGE,
        // After a crash nobody knows which device was unseen for longest: there is room for all.
        devices_max: if disk.is_faulty() { 10 } else { limits::DEVICES },
        acknowledged_beyond_max: limits::BEYOND,
        conversations_max: limits::CONVERSATIONS,
        offline_messages_max: limits::OFFLINE,
        retry_tokens_max: limits::TOKENS,
        chunk_bytes_max: 256,
        // Where commits fail halfway, one commit is one batch; elsewhere batches are as small as may be.
        batch_rows_max: if disk.is_faulty() { 100_000 } else { 8 },
        batch_bytes_max: if disk.is_faulty() { 1 << 26 } else { 1 << 16 },
        ..Config::default()
    }
}

fn start(config: &Config, store: Arc<dyn Store>, script: &Script, now: u64) -> Result<Engine, Difference> {
    Engine::start(config.clone(), store, Box::new(script.clone()), [7; 32], Timestamp::from_millis(now))
        .map_err(|error| format!("no start: {error}"))
}

fn reference_of(id: SessionId) -> SessionRef {
    SessionRef { slot: id.slot(), generation: id.generation() }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, should: T) -> Checked {
    if is == should { Ok(()) } else { Err(format!("{what}: {is:?}, not {should:?}")) }
}
