//! The embedded default: a store on sled, with what sled leaves out.
//!
//! sled 0.34 is fast and calls itself beta. Around it stand: a real sync before a commit is acknowledged, a guard around each
//! call (sled panics where it is damaged), a side file that finds a store rolled back, degraded operation while the disk is
//! full or handles run out, and rotation to a new folder where space does not come back by itself. No thread but sled's own;
//! the guard needs a host that unwinds (`panic = "unwind"`, the default).
//!
//! What a failed call means for the next ones: what comes back by itself (space, handles, memory, an interrupted call) is
//! tried again with growing pauses, up to two seconds; so is a panic of sled, with the database opened anew. After a sync that
//! failed, or a disk that failed a write, nothing is tried any more ([`StoreError::Broken`]).

mod blobs;
mod causes;
mod database;
mod folder;
mod opening;
mod options;
mod rotation;
mod salvage;
mod seam;
mod side;
mod stretch;

#[cfg(feature = "testing")]
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

pub use self::options::{InvalidOption, OnDamage, SledOptions};
#[cfg(feature = "testing")]
pub use self::seam::{Call, Trouble};

use self::causes::{sync_error, system_error, write_error};
use self::database::{Database, State, is_released, wait_until_released};
use self::folder::{Folder, folder_bytes};
use self::opening::Opening;
use self::rotation::Rotation;
#[cfg(not(feature = "testing"))]
use self::seam::Call;
use self::seam::Seam;
use self::side::SideFile;
use super::{Batch, Direction, Durability, Store, StoreError, StoreStatus, Visit};

/// What a damaged log of sled's still holds, for the fuzzers: rows by their keys in sled, and how many places are unreadable.
#[cfg(feature = "testing")]
pub(crate) fn salvaged_rows(log: &[u8], segment_bytes: usize) -> (BTreeMap<Vec<u8>, Vec<u8>>, u64) {
    let found = salvage::salvage_log(log, segment_bytes, PathBuf::new());
    let rows = found.rows.into_iter().map(|(key, value)| ([&[database::ROWS][..], &key].concat(), value));
    (rows.collect(), found.unreadable)
}

/// How often `Process` mode syncs for real. With a `maintain` about every second that is within the ten seconds promised.
const SYNC_EVERY: Duration = Duration::from_secs(8);
/// How long a failed store waits before it opens its database again, at first and at most. Space that is freed is found
/// within the longer one.
const RETRY_AFTER: Duration = Duration::from_millis(100);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);
/// What must fit on the disk before a full store tries again.
const PROBE_BYTES: usize = 256 * 1024;
/// The handles that opening a database takes, and some for the threads that take handles at the same time. They must be there
/// before readers lose the database that they have.
const PROBE_HANDLES: usize = 12;
/// How many calls of `maintain` pass between two looks at the disk, after a rotation that lacked something, or after one that
/// failed.
const ROTATION_CHECK_EVERY: u32 = 10;
const ROTATION_RETRY_SOON: u32 = 3;
const ROTATION_RETRY_AFTER: u32 = 300;

/// What was done to a damaged store as it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// What was wrong.
    pub damage: StoreError,
    /// Where the damaged database is now; `None` if its folder was gone.
    pub moved_to: Option<PathBuf>,
    /// Rows in the store now. Each is still checked, by its record's checksum, when it is read.
    pub rows: u64,
    /// Damaged places in the log; of each it is unknown how many rows it held.
    pub unreadable: u64,
    /// Acknowledged commits that the side file knows and the newest readable state does not.
    pub lost_commits: u64,
}

/// A [`Store`] on sled.
pub struct SledStore {
    options: SledOptions,
    /// Held by `apply`, `maintain` and `close`: one of them runs at a time.
    writer: Mutex<Writer>,
    /// What readers see; changed only under `writer`.
    open: RwLock<Open>,
    syncs: AtomicU64,
    live_bytes: AtomicU64,
    disk_bytes: AtomicU64,
    loss_possible: bool,
    recovery: Option<Recovery>,
    seam: Seam,
}

struct Open {
    database: Option<Arc<Database>>,
    /// What a reader is told where there is no database.
    absent: StoreError,
}

struct Writer {
    /// `None` once closed.
    folder: Option<Folder>,
    data: String,
    side: SideFile,
    /// As of the last commit that the database took, acknowledged or not.
    state: State,
    acknowledged: u64,
    /// A descriptor of a database that failed and was let go of: its syncs tell what the system could not write.
    witness: Option<Arc<fs::File>>,
    unsynced: bool,
    synced_at: Instant,
    fault: Option<Fault>,
    retry_after: Duration,
    rotation: Option<Rotation>,
    rotation_check_in: u32,
    /// The bytes that the last rotation could not get rid of.
    rotated_bytes: u64,
    /// Data folders that rotation has left and that a reader may still hold.
    retired: Vec<String>,
}

/// Why writes are refused for now.
struct Fault {
    error: StoreError,
    /// When to open the database again; `None` where only the host can help, by looking at the disk and starting anew.
    retry_at: Option<Instant>,
}

impl std::fmt::Debug for SledStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledStore").field("options", &self.options).finish_non_exhaustive()
    }
}

impl SledStore {
    /// Opens the store, or makes one where there is none.
    ///
    /// # Errors
    /// [`StoreError::Locked`] (within a second), [`StoreError::ReadOnly`], [`StoreError::Full`], [`StoreError::Corrupt`],
    /// [`StoreError::RolledBack`], [`StoreError::Format`] or [`StoreError::Io`]. A store that could not be made leaves no
    /// folder; one that is refused as damaged is left as it was ([`SledOptions::copy_bytes_max`]).
    pub fn open(options: SledOptions) -> Result<Self, StoreError> {
        let folder = Folder::open(&options.path)?;
        let seam = Seam::default();
        match Opening::run(&folder, &options, &seam) {
            Ok(opening) => Ok(Self::assemble(options, folder, opening, seam)),
            Err(error) => {
                folder.abandon();
                Err(error)
            }
        }
    }

    /// Lets the next `times` calls of this kind fail, as no healthy machine lets them.
    #[cfg(feature = "testing")]
    pub fn trouble(&self, call: Call, trouble: Trouble, times: usize) {
        self.seam.trouble(call, trouble, times);
    }

    /// Ends all troubles.
    #[cfg(feature = "testing")]
    pub fn end_troubles(&self) {
        self.seam.clear();
    }

    /// What was done to a damaged store, if this one was.
    #[must_use]
    pub const fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    fn assemble(options: SledOptions, folder: Folder, opening: Opening, seam: Seam) -> Self {
        let writer = Writer {
            folder: Some(folder),
            data: opening.data,
            side: opening.side,
            state: opening.state,
            acknowledged: opening.state.commit,
            witness: None,
            unsynced: false,
            synced_at: now(),
            fault: None,
            retry_after: RETRY_AFTER,
            rotation: None,
            rotation_check_in: 0,
            rotated_bytes: 0,
            retired: Vec::new(),
        };
        Self {
            options,
            writer: Mutex::new(writer),
            open: RwLock::new(Open { database: Some(Arc::new(opening.database)), absent: StoreError::Closed }),
            syncs: AtomicU64::new(1),
            live_bytes: AtomicU64::new(opening.state.live_bytes),
            disk_bytes: AtomicU64::new(0),
            loss_possible: opening.loss_possible,
            recovery: opening.recovery,
            seam,
        }
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let open = self.open.read();
        open.database.clone().ok_or_else(|| open.absent.clone())
    }

    /// No file is opened on this way, so that a process without a free handle still commits.
    fn commit(&self, writer: &mut Writer, batch: &Batch) -> Result<(), StoreError> {
        let database = self.database()?;
        let before = writer.state;
        writer.state = database.apply(batch.writes(), before.commit + 1, before.live_bytes)?;
        let commit = writer.state.commit;
        database.flush()?;
        writer.unsynced = true;
        if self.options.durability == Durability::Fsync || writer.synced_at.elapsed() >= SYNC_EVERY {
            self.sync(writer, &database, commit)?;
        }
        if self.options.durability == Durability::Process {
            self.noted(|| writer.side.note(commit))?;
        }
        writer.acknowledged = commit;
        self.live_bytes.store(writer.state.live_bytes, Ordering::Relaxed);
        writer.mirror(batch);
        Ok(())
    }

    /// A real sync, and then the mark in the side file: it never leads.
    fn sync(&self, writer: &mut Writer, database: &Database, commit: u64) -> Result<(), StoreError> {
        database.sync()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        (writer.unsynced, writer.synced_at) = (false, now());
        self.noted(|| writer.side.record(commit))
    }

    fn noted(&self, write: impl FnOnce() -> std::io::Result<()>) -> Result<(), StoreError> {
        let outcome = self.seam.pass(Call::Note).and_then(|()| write());
        outcome.map_err(|error| write_error(&self.options.path, &error))
    }

    /// Goes on where an earlier call failed and it is time to try, with the database opened anew where that is needed.
    fn recover(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if writer.folder.is_none() {
            return Err(StoreError::Closed);
        }
        let Some(fault) = &writer.fault else { return Ok(()) };
        if fault.retry_at.is_none_or(|at| now() < at) {
            return Err(fault.error.clone());
        }
        self.try_again(writer)
    }

    fn try_again(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let Some(folder) = &writer.folder else { return Err(StoreError::Closed) };
        let data = folder.path(&writer.data);
        let needs_reopening = self.open.read().database.as_ref().is_none_or(|database| database.is_spoilt());
        let outcome = if needs_reopening { probe(folder).and_then(|()| self.reopen(writer, &data)) } else { Ok(()) };
        match outcome {
            Ok(()) => {
                tracing::info!(path = %data.display(), "the store takes writes again");
                writer.fault = None;
                Ok(())
            }
            Err(error) => Err(self.refuse_writes(writer, error)),
        }
    }

    fn reopen(&self, writer: &mut Writer, data: &Path) -> Result<(), StoreError> {
        let database = self.open.write().database.take();
        if let Some(database) = database {
            writer.witness = Some(database.witness());
        }
        wait_until_released(data);
        // sled's own descriptor may have been told of the failure, and then a new one is not: the system would call clean
        // what it has dropped. This one was open all the time.
        if let Some(witness) = &writer.witness {
            self.seam.pass(Call::Sync).and_then(|()| witness.sync_data()).map_err(|error| sync_error(data, &error))?;
        }
        let database = Database::open(data, self.options.cache_bytes, &self.seam)?;
        let state = database.state()?.unwrap_or_default();
        if state.commit < writer.acknowledged {
            return Err(StoreError::RolledBack { path: data.to_owned(), lost: writer.acknowledged - state.commit });
        }
        database.sync()?;
        self.open.write().database = Some(Arc::new(database));
        (writer.state, writer.witness) = (state, None);
        Ok(())
    }

    /// Refuses writes after a call that failed; readers keep the database until it is opened again.
    fn degrade(&self, writer: &mut Writer, error: StoreError) -> StoreError {
        if let Some(rotation) = writer.rotation.take() {
            writer.abandon(rotation);
        }
        self.refuse_writes(writer, error)
    }

    fn refuse_writes(&self, writer: &mut Writer, error: StoreError) -> StoreError {
        self.open.write().absent = error.clone();
        let retry_at = if let StoreError::Broken(_) = error {
            tracing::error!(%error, "the store takes no writes any more");
            None
        } else {
            tracing::warn!(%error, "the store takes no writes for now");
            Some(now() + writer.retry_after)
        };
        writer.retry_after = (writer.retry_after * 2).min(RETRY_AFTER_MAX);
        writer.fault = Some(Fault { error: error.clone(), retry_at });
        error
    }

    fn maintain_open(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let database = self.database()?;
        if writer.unsynced && writer.synced_at.elapsed() >= SYNC_EVERY {
            self.sync(writer, &database, writer.state.commit)?;
        }
        writer.side.sync().map_err(|error| sync_error(&self.options.path, &error))?;
        writer.remove_retired();
        match self.rotate(writer, database) {
            Ok(true) => self.switch(writer),
            Ok(false) => Ok(()),
            Err(error) => {
                writer.give_up_rotation(&error);
                Ok(())
            }
        }
    }

    /// One bounded step of a rotation, if one is due. Returns whether the copy is complete and durable.
    fn rotate(&self, writer: &mut Writer, database: Arc<Database>) -> Result<bool, StoreError> {
        let Some(rotation) = &mut writer.rotation else {
            if writer.rotation_due(&self.options) {
                writer.begin_rotation(self.options.cache_bytes, &self.seam)?;
            }
            return Ok(false);
        };
        let complete = rotation.step(&database)?;
        if complete {
            rotation.seal(writer.state.commit)?;
        }
        Ok(complete)
    }

    /// Goes on with the new folder. The old one goes when its last reader has.
    fn switch(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let (Some(rotation), Some(folder)) = (writer.rotation.take(), &writer.folder) else { return Ok(()) };
        if let Err(error) = folder.point_to(rotation.name()) {
            writer.rotation = Some(rotation);
            writer.give_up_rotation(&error);
            return Ok(());
        }
        // Where the new name may not outlive the machine, either folder may be found: both stay as they are.
        let named = self.seam.pass(Call::Rename).map_err(|error| sync_error(folder.root(), &error));
        if let Err(error) = named.and_then(|()| folder.sync_names()) {
            return Err(StoreError::Broken(format!("the move to a new folder failed: {error}")));
        }
        let (database, state, name) = rotation.into_database();
        writer.rotated_bytes = folder_bytes(&folder.path(&name)).unwrap_or(writer.rotated_bytes);
        self.open.write().database = Some(Arc::new(database));
        writer.retired.push(std::mem::replace(&mut writer.data, name));
        (writer.state, writer.unsynced) = (state, false);
        self.live_bytes.store(state.live_bytes, Ordering::Relaxed);
        tracing::info!(data = %writer.data, "the store has moved to a new folder");
        Ok(())
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.database()?.get(key)
    }

    fn scan(&self, range: Range<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let database = self.database()?;
        if range.start >= range.end { Ok(()) } else { database.scan(range, direction, visit) }
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        self.recover(&mut writer)?;
        if batch.is_empty() {
            return Ok(());
        }
        match self.commit(&mut writer, batch) {
            Ok(()) => {
                writer.retry_after = RETRY_AFTER;
                Ok(())
            }
            Err(error) => Err(self.degrade(&mut writer, error)),
        }
    }

    fn maintain(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        self.recover(&mut writer)?;
        match self.maintain_open(&mut writer) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.degrade(&mut writer, error)),
        }
    }

    fn status(&self) -> StoreStatus {
        // Without a handle to look with, what was seen last stands.
        if let Ok(bytes) = folder::data_bytes(&self.options.path) {
            self.disk_bytes.store(bytes, Ordering::Relaxed);
        }
        StoreStatus {
            durability: self.options.durability,
            loss_possible: self.loss_possible,
            disk_bytes: self.disk_bytes.load(Ordering::Relaxed),
            live_bytes: self.live_bytes.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        if writer.folder.is_none() {
            return Ok(());
        }
        let outcome = self.last_sync(&mut writer);
        if let Some(rotation) = writer.rotation.take() {
            writer.abandon(rotation);
        }
        writer.remove_retired();
        let Some(folder) = writer.folder.take() else { return outcome };
        {
            let mut open = self.open.write();
            open.absent = StoreError::Closed;
            open.database = None;
        }
        wait_until_released(&folder.path(&writer.data));
        outcome
    }
}

impl SledStore {
    /// Also after a fault: what can come back may be back.
    fn last_sync(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if let Some(Fault { error: error @ StoreError::Broken(_), .. }) = &writer.fault {
            return Err(error.clone());
        }
        if writer.fault.is_some() {
            self.try_again(writer)?;
        }
        let database = self.database()?;
        database.flush()?;
        let commit = writer.state.commit;
        self.sync(writer, &database, commit)?;
        writer.side.record_clean(commit).map_err(|error| sync_error(&self.options.path, &error))
    }
}

impl Writer {
    fn begin_rotation(&mut self, cache_bytes: u64, seam: &Seam) -> Result<(), StoreError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let name = folder.next_name()?;
        match Rotation::begin(folder, name.clone(), cache_bytes, seam) {
            Ok(rotation) => {
                self.rotation = Some(rotation);
                Ok(())
            }
            Err(error) => {
                self.retired.push(name);
                Err(error)
            }
        }
    }

    /// Repeats a commit in the copy under way. The copy is not the store yet: where it fails, only it is given up.
    fn mirror(&mut self, batch: &Batch) {
        let Some(rotation) = &mut self.rotation else { return };
        if let Err(error) = rotation.mirror(batch.writes()) {
            self.give_up_rotation(&error);
        }
    }

    fn give_up_rotation(&mut self, error: &StoreError) {
        tracing::warn!(%error, "the store could not be rotated");
        let soon = matches!(error, StoreError::Exhausted(_) | StoreError::Full);
        self.rotation_check_in = if soon { ROTATION_RETRY_SOON } else { ROTATION_RETRY_AFTER };
        if let Some(rotation) = self.rotation.take() {
            self.abandon(rotation);
        }
    }

    fn abandon(&mut self, rotation: Rotation) {
        let name = rotation.name().to_owned();
        if !rotation.abandon() {
            self.retired.push(name);
        }
    }

    fn remove_retired(&mut self) {
        let Some(folder) = &self.folder else { return };
        self.retired.retain(|name| {
            let data = folder.path(name);
            let gone = !data.exists() || (is_released(&data) && fs::remove_dir_all(&data).is_ok());
            !gone
        });
    }

    /// Whether the disk holds so much more than the live rows that a copy is worth it.
    fn rotation_due(&mut self, options: &SledOptions) -> bool {
        if self.rotation_check_in > 0 {
            self.rotation_check_in -= 1;
            return false;
        }
        self.rotation_check_in = ROTATION_CHECK_EVERY;
        let Some(folder) = &self.folder else { return false };
        let Ok(disk) = folder_bytes(&folder.path(&self.data)) else { return false };
        disk >= options.rotate_bytes_min
            && disk / u64::from(options.rotate_at) > self.state.live_bytes
            && disk / 2 >= self.rotated_bytes
    }
}

/// Whether the disk has room again, and the process handles. A small file stands for it: opening a database where there is
/// none costs its readers.
fn probe(folder: &Folder) -> Result<(), StoreError> {
    let path = folder.path("probe");
    let room = || {
        fs::write(&path, vec![0; PROBE_BYTES])?;
        let handles = (0..PROBE_HANDLES).map(|_| fs::File::open(&path)).collect::<std::io::Result<Vec<_>>>()?;
        handles.first().map_or(Ok(()), fs::File::sync_all)
    };
    let outcome = room();
    let _ = fs::remove_file(&path);
    outcome.map_err(|error| system_error(folder.root(), &error))
}

#[expect(clippy::disallowed_methods, reason = "spans between syncs and retries; no time reaches the engine")]
fn now() -> Instant {
    Instant::now()
}
