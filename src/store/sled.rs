//! The embedded default: a store on sled, with what sled leaves out.
//!
//! sled 0.34 is fast and calls itself beta. Around it stand: a real sync before a commit is acknowledged, a guard around each
//! call (sled panics where it is damaged), a side file that finds a store rolled back, degraded operation while the disk is
//! full, and rotation to a new folder where space does not come back by itself. No thread but sled's own; the guard needs a
//! host that unwinds (`panic = "unwind"`, the default).

mod database;
mod folder;
mod options;
mod rotation;
mod salvage;
mod side;

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

pub use self::options::{InvalidOption, OnDamage, SledOptions};

use self::database::{Database, State, is_released, release, system_error, wait_until_released};
use self::folder::{Backup, Folder, folder_bytes, move_dispensable_away, sync_folder};
use self::rotation::Rotation;
use self::side::{Mark, SideFile, boot_id};
use super::{Batch, Direction, Durability, Store, StoreError, StoreStatus, Visit};

/// How often `Process` mode syncs for real. With a `maintain` about every second that is within the ten seconds promised.
const SYNC_EVERY: Duration = Duration::from_secs(8);
/// How long a failed store waits before it opens its database again, at first and at most. Space that is freed is found
/// within the longer one.
const RETRY_AFTER: Duration = Duration::from_millis(100);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);
/// What must fit on the disk before a full store tries again.
const PROBE_BYTES: usize = 256 * 1024;
/// How many calls of `maintain` pass between two looks at the disk, or after a rotation that failed.
const ROTATION_CHECK_EVERY: u32 = 10;
const ROTATION_RETRY_AFTER: u32 = 300;
/// How many rows a salvaged store takes in one batch.
const SALVAGE_ROWS: usize = 256;

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
    loss_possible: bool,
    recovery: Option<Recovery>,
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
    /// As of the last acknowledged commit.
    state: State,
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
        match Opening::run(&folder, &options) {
            Ok(opening) => Ok(Self::assemble(options, folder, opening)),
            Err(error) => {
                folder.abandon();
                Err(error)
            }
        }
    }

    /// What was done to a damaged store, if this one was.
    #[must_use]
    pub const fn recovery(&self) -> Option<&Recovery> {
        self.recovery.as_ref()
    }

    fn assemble(options: SledOptions, folder: Folder, opening: Opening) -> Self {
        let writer = Writer {
            folder: Some(folder),
            data: opening.data,
            side: opening.side,
            state: opening.state,
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
            loss_possible: opening.loss_possible,
            recovery: opening.recovery,
        }
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let open = self.open.read();
        open.database.clone().ok_or_else(|| open.absent.clone())
    }

    fn commit(&self, writer: &mut Writer, batch: &Batch) -> Result<(), StoreError> {
        let database = self.database()?;
        let before = writer.state;
        let state = database.apply(batch.writes(), before.commit + 1, before.live_bytes)?;
        database.flush()?;
        writer.unsynced = true;
        if self.options.durability == Durability::Fsync || writer.synced_at.elapsed() >= SYNC_EVERY {
            self.sync(writer, &database, state.commit)?;
        }
        writer.state = state;
        self.live_bytes.store(state.live_bytes, Ordering::Relaxed);
        writer.mirror(batch);
        Ok(())
    }

    /// A real sync, and then the side file: it never leads.
    fn sync(&self, writer: &mut Writer, database: &Database, commit: u64) -> Result<(), StoreError> {
        database.sync()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        (writer.unsynced, writer.synced_at) = (false, now());
        writer.side.record(commit).map_err(|error| system_error(&self.options.path, &error))
    }

    /// Opens the database again where an earlier call failed and it is time to try.
    fn recover(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let Some(folder) = &writer.folder else { return Err(StoreError::Closed) };
        let Some(fault) = &writer.fault else { return Ok(()) };
        if fault.retry_at.is_none_or(|at| now() < at) {
            return Err(fault.error.clone());
        }
        let data = folder.path(&writer.data);
        let outcome = probe(folder).and_then(|()| self.reopen(&data, writer.state.commit));
        match outcome {
            Ok(state) => {
                tracing::info!(path = %data.display(), "the store is back");
                writer.state = state;
                writer.fault = None;
                Ok(())
            }
            Err(error) => {
                self.retry_later(writer, error.clone());
                Err(error)
            }
        }
    }

    fn reopen(&self, data: &std::path::Path, acknowledged: u64) -> Result<State, StoreError> {
        let database = self.open.write().database.take();
        release(database);
        wait_until_released(data);
        let database = Database::open(data, self.options.cache_bytes)?;
        let state = database.state()?.unwrap_or_default();
        if state.commit < acknowledged {
            return Err(StoreError::RolledBack { path: data.to_owned(), lost: acknowledged - state.commit });
        }
        self.open.write().database = Some(Arc::new(database));
        Ok(state)
    }

    /// Refuses writes after a call that failed; readers keep the database until it is opened again.
    fn degrade(&self, writer: &mut Writer, error: StoreError) -> StoreError {
        tracing::warn!(%error, "the store takes no writes for now");
        if let Some(rotation) = writer.rotation.take() {
            rotation.abandon();
        }
        match error {
            // The system may have dropped what it could not write and call it clean: nothing built on it can be believed.
            StoreError::Io(_) => {
                self.open.write().absent = error.clone();
                writer.fault = Some(Fault { error: error.clone(), retry_at: None });
            }
            _ => self.retry_later(writer, error.clone()),
        }
        error
    }

    fn retry_later(&self, writer: &mut Writer, error: StoreError) {
        self.open.write().absent = error.clone();
        writer.fault = Some(Fault { error, retry_at: Some(now() + writer.retry_after) });
        writer.retry_after = (writer.retry_after * 2).min(RETRY_AFTER_MAX);
    }

    fn maintain_open(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let database = self.database()?;
        if writer.unsynced && writer.synced_at.elapsed() >= SYNC_EVERY {
            self.sync(writer, &database, writer.state.commit)?;
        }
        writer.side.sync().map_err(|error| system_error(&self.options.path, &error))?;
        writer.remove_retired();
        if let Err(error) = self.rotate(writer, database) {
            tracing::warn!(%error, "the store could not be rotated");
            writer.give_up_rotation();
        }
        Ok(())
    }

    /// One bounded step of a rotation, if one is due.
    fn rotate(&self, writer: &mut Writer, database: Arc<Database>) -> Result<(), StoreError> {
        let Some(folder) = &writer.folder else { return Ok(()) };
        let Some(rotation) = &mut writer.rotation else {
            if writer.rotation_due(&self.options) {
                writer.rotation = writer.begin_rotation(self.options.cache_bytes)?;
            }
            return Ok(());
        };
        if rotation.step(&database)? {
            rotation.finish(folder, writer.state.commit)?;
            drop(database);
            self.switch(writer);
        }
        Ok(())
    }

    /// Goes on with the new folder. The old one goes when its last reader has.
    fn switch(&self, writer: &mut Writer) {
        let Some(rotation) = writer.rotation.take() else { return };
        let (database, state, name) = rotation.into_database();
        let old = self.open.write().database.replace(Arc::new(database));
        release(old);
        writer.retired.push(std::mem::replace(&mut writer.data, name));
        (writer.state, writer.unsynced) = (state, false);
        self.live_bytes.store(state.live_bytes, Ordering::Relaxed);
        if let Some(folder) = &writer.folder {
            writer.rotated_bytes = folder_bytes(&folder.path(&writer.data));
        }
        tracing::info!(data = %writer.data, "the store has moved to a new folder");
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
        StoreStatus {
            durability: self.options.durability,
            loss_possible: self.loss_possible,
            disk_bytes: folder::data_bytes(&self.options.path),
            live_bytes: self.live_bytes.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock();
        writer.remove_retired();
        let Some(folder) = writer.folder.take() else { return Ok(()) };
        let outcome = self.last_sync(&mut writer);
        if let Some(rotation) = writer.rotation.take() {
            rotation.abandon();
        }
        let database = {
            let mut open = self.open.write();
            open.absent = StoreError::Closed;
            open.database.take()
        };
        release(database);
        wait_until_released(&folder.path(&writer.data));
        outcome
    }
}

impl SledStore {
    fn last_sync(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if let Some(fault) = &writer.fault {
            return Err(fault.error.clone());
        }
        let database = self.database()?;
        database.flush()?;
        let commit = writer.state.commit;
        self.sync(writer, &database, commit)?;
        writer.side.record_clean(commit).map_err(|error| system_error(&self.options.path, &error))
    }
}

/// Lets go of sled without letting a panic of it out. The side file then tells the next start that nobody closed.
impl Drop for SledStore {
    fn drop(&mut self) {
        release(self.open.get_mut().database.take());
    }
}

impl Writer {
    fn begin_rotation(&self, cache_bytes: u64) -> Result<Option<Rotation>, StoreError> {
        self.folder.as_ref().map(|folder| Rotation::begin(folder, cache_bytes)).transpose()
    }

    /// Repeats a commit in the copy under way. The copy is not the store yet: where it fails, only it is given up.
    fn mirror(&mut self, batch: &Batch) {
        let Some(rotation) = &mut self.rotation else { return };
        if let Err(error) = rotation.mirror(batch.writes()) {
            tracing::warn!(%error, "the store could not be rotated");
            self.give_up_rotation();
        }
    }

    fn give_up_rotation(&mut self) {
        self.rotation_check_in = ROTATION_RETRY_AFTER;
        if let Some(rotation) = self.rotation.take() {
            rotation.abandon();
        }
    }

    fn remove_retired(&mut self) {
        let Some(folder) = &self.folder else { return };
        self.retired.retain(|name| {
            let data = folder.path(name);
            !(is_released(&data) && fs::remove_dir_all(&data).is_ok())
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
        let disk = folder_bytes(&folder.path(&self.data));
        disk >= options.rotate_bytes_min
            && disk / u64::from(options.rotate_at) > self.state.live_bytes
            && disk / 2 >= self.rotated_bytes
    }
}

/// Whether the disk has room again. A small file stands for it: opening a database on a full disk costs its readers.
fn probe(folder: &Folder) -> Result<(), StoreError> {
    let path = folder.path("probe");
    let outcome = fs::write(&path, vec![0; PROBE_BYTES]).and_then(|()| fs::File::open(&path)?.sync_all());
    let _ = fs::remove_file(&path);
    outcome.map_err(|error| system_error(folder.root(), &error))
}

#[expect(clippy::disallowed_methods, reason = "spans between syncs and retries; no time reaches the engine")]
fn now() -> Instant {
    Instant::now()
}

/// A store as it comes out of opening.
struct Opening {
    database: Database,
    state: State,
    data: String,
    side: SideFile,
    loss_possible: bool,
    recovery: Option<Recovery>,
}

impl Opening {
    fn run(folder: &Folder, options: &SledOptions) -> Result<Self, StoreError> {
        let system = |error: std::io::Error| system_error(folder.root(), &error);
        let (mut side, last) = SideFile::open(&folder.path("commits"), options.durability).map_err(system)?;
        let known = folder.current()?;
        let (data, database, state, recovery) = open_or_recover(folder, options, known.as_deref(), last)?;
        database.sync()?;
        // The side file first: between the two it may lag behind the database that becomes current, and never leads it.
        side.record(state.commit).and_then(|()| side.sync()).map_err(system)?;
        folder.set_current(&data)?;
        folder.remove_leftovers(&data)?;
        let loss_possible = recovery.is_some() || loss_possible(known.is_some() && state.commit > 0, last);
        Ok(Self { database, state, data, side, loss_possible, recovery })
    }
}

/// Whether commits acknowledged by the last run may be missing without anything being wrong.
fn loss_possible(existed: bool, last: Option<Mark>) -> bool {
    match last {
        // Without a side file nothing can be ruled out.
        None => existed,
        Some(mark) => !mark.clean && mark.process && (mark.boot.is_none() || mark.boot != boot_id()),
    }
}

type Opened = (String, Database, State, Option<Recovery>);

fn open_or_recover(
    folder: &Folder,
    options: &SledOptions,
    known: Option<&str>,
    last: Option<Mark>,
) -> Result<Opened, StoreError> {
    let name = known.map_or_else(|| folder.next_name(), |name| Ok(name.to_owned()))?;
    let promised = last.map_or(0, |mark| mark.commit);
    match open_unharmed(folder, &name, options, promised) {
        Ok((database, state)) => Ok((name, database, state, None)),
        Err(damage @ (StoreError::Corrupt { .. } | StoreError::RolledBack { .. })) => match options.on_damage {
            OnDamage::Refuse => Err(damage),
            OnDamage::SetAside => start_over(folder, options, &name, damage, promised),
            OnDamage::Salvage => start_from_salvage(folder, options, &name, damage, promised),
        },
        Err(error) => Err(error),
    }
}

/// Opens a data folder. One that is found damaged or rolled back is left as it was.
fn open_unharmed(
    folder: &Folder,
    name: &str,
    options: &SledOptions,
    promised: u64,
) -> Result<(Database, State), StoreError> {
    let data = folder.path(name);
    let existed = data.is_dir();
    let backup = if existed { Backup::take(&data, options.copy_bytes_max) } else { None };
    match open_checked(&data, options, promised) {
        Ok(opened) => {
            if let Some(backup) = backup {
                backup.discard();
            }
            Ok(opened)
        }
        Err(error) => {
            match (backup, &error) {
                (Some(backup), StoreError::Corrupt { .. } | StoreError::RolledBack { .. }) => {
                    wait_until_released(&data);
                    backup.restore().map_err(|error| system_error(&data, &error))?;
                }
                (Some(backup), _) => backup.discard(),
                (None, _) => {}
            }
            if !existed {
                let _ = fs::remove_dir_all(&data);
            }
            Err(error)
        }
    }
}

/// Opens a database, a second time without what it can do without, and holds it to what was promised.
fn open_checked(data: &std::path::Path, options: &SledOptions, promised: u64) -> Result<(Database, State), StoreError> {
    let open = || {
        let database = Database::open(data, options.cache_bytes)?;
        let state = database.state()?;
        Ok((database, state))
    };
    let system = |error: std::io::Error| system_error(data, &error);
    let (database, state) = match open() {
        Err(error @ StoreError::Corrupt { .. }) => {
            wait_until_released(data);
            if !move_dispensable_away(data).map_err(system)? {
                return Err(error);
            }
            open()?
        }
        outcome => outcome?,
    };
    let commit = state.map_or(0, |state| state.commit);
    if commit < promised {
        return Err(StoreError::RolledBack { path: data.to_owned(), lost: promised - commit });
    }
    let state = match state {
        Some(state) => state,
        None => {
            let state = database.apply(&[], 0, 0)?;
            database.flush()?;
            state
        }
    };
    sync_folder(data).map_err(system)?;
    folder::forget_dispensable(data);
    Ok((database, state))
}

/// Moves what is there aside and starts with an empty database.
fn start_over(
    folder: &Folder,
    options: &SledOptions,
    name: &str,
    damage: StoreError,
    promised: u64,
) -> Result<Opened, StoreError> {
    let fresh = folder.next_name()?;
    let moved_to = folder.path(name).is_dir().then(|| folder.set_aside(name)).transpose()?;
    let (database, state) = open_checked(&folder.path(&fresh), options, 0)?;
    let recovery = Recovery { damage, moved_to, rows: 0, unreadable: 0, lost_commits: promised };
    Ok((fresh, database, state, Some(recovery)))
}

/// Reads what can be read into a new database, complete before it takes the old one's place.
fn start_from_salvage(
    folder: &Folder,
    options: &SledOptions,
    name: &str,
    damage: StoreError,
    promised: u64,
) -> Result<Opened, StoreError> {
    let found = salvage::salvage(&folder.path(name)).map_err(|error| system_error(folder.root(), &error))?;
    let (rows, unreadable) = (found.rows.len() as u64, found.unreadable);
    let lost_commits = promised.saturating_sub(found.commit);
    let fresh = folder.next_name()?;
    let filling = folder.path(&format!("{fresh}.filling"));
    fill(&filling, options, found)?;
    let moved_to = folder.path(name).is_dir().then(|| folder.set_aside(name)).transpose()?;
    fs::rename(&filling, folder.path(&fresh)).map_err(|error| system_error(folder.root(), &error))?;
    let (database, state) = open_checked(&folder.path(&fresh), options, 0)?;
    Ok((fresh, database, state, Some(Recovery { damage, moved_to, rows, unreadable, lost_commits })))
}

fn fill(data: &std::path::Path, options: &SledOptions, found: salvage::Salvaged) -> Result<(), StoreError> {
    let database = Database::open(data, options.cache_bytes)?;
    let mut state = State::default();
    let mut batch = Batch::default();
    for (key, value) in found.rows {
        batch.put(key, value);
        if batch.len() == SALVAGE_ROWS {
            state = database.apply(batch.writes(), found.commit, state.live_bytes)?;
            batch = Batch::default();
        }
    }
    database.apply(batch.writes(), found.commit, state.live_bytes)?;
    database.flush()?;
    database.sync()?;
    release(database);
    wait_until_released(data);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_possible_only_when_a_process_store_and_its_machine_both_stopped_short() {
        let here = boot_id().or(Some([b'h'; 36]));
        let mark = Mark { commit: 5, clean: false, process: true, boot: Some([b'x'; 36]) };
        assert!(loss_possible(true, Some(mark)), "the machine went down");
        assert!(loss_possible(true, Some(Mark { boot: None, ..mark })), "the machine may have gone down");
        assert!(!loss_possible(true, Some(Mark { clean: true, ..mark })), "closed in order");
        assert!(!loss_possible(true, Some(Mark { process: false, ..mark })), "synced at each commit");
        if boot_id().is_some() {
            assert!(!loss_possible(true, Some(Mark { boot: here, ..mark })), "only the process ended");
        }
        assert!(loss_possible(true, None) && !loss_possible(false, None), "rows without a side file");
    }
}
