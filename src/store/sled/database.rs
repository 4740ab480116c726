//! One sled database: the only file that calls sled.
//!
//! Every call is guarded: sled panics where it finds its pages damaged. `flush` of sled is `sync_file_range`, which no power
//! cut respects, so [`Database::sync`] syncs a second descriptor of the file for real. Everything lives in the default tree;
//! subscribers, merge operators, transactions and further trees are not used.

use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fs2::FileExt;
use parking_lot::Mutex;

use super::blobs::Blobs;
use super::causes::{shown_error, sync_error, system_error, write_error};
use super::seam::{Call, Seam};
use crate::store::{Direction, StoreError, Visit, Write};

/// The bytes of one segment of sled's log, four times sled's default.
///
/// A page of more than a quarter of it becomes a file of its own, which sled never syncs. Pages hold up to 17 rows, so chunks
/// of 16 KiB stay inline.
pub(super) const SEGMENT_BYTES: usize = 2 * 1024 * 1024;

/// The row of the store itself; the engine's rows have keys that start with [`ROWS`].
pub(super) const STATE: &[u8] = &[0];
/// The first byte of the key of each of the engine's rows.
pub(super) const ROWS: u8 = 1;
/// The least byte string that is above every row.
const ROWS_END: &[u8] = &[ROWS + 1];

/// How often an open that finds the lock held looks again, and how long it waits each time: 0.8 s in all.
const LOCK_TRIES: u32 = 40;
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// The store's own facts, written with every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Counts commits.
    pub(super) commit: u64,
    /// The bytes of all rows, keys included.
    pub(super) live_bytes: u64,
}

/// The format that this version writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

impl State {
    fn encode(self) -> [u8; 24] {
        let mut row = [0; 24];
        row[..4].copy_from_slice(&FORMAT.to_le_bytes());
        row[4..12].copy_from_slice(&self.commit.to_le_bytes());
        row[12..20].copy_from_slice(&self.live_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&row[..20]);
        row[20..].copy_from_slice(&crc.to_le_bytes());
        row
    }

    /// `Err` with the format found, zero where this is no state at all.
    pub(super) fn decode(row: &[u8]) -> Result<Self, u32> {
        let Some((format, _)) = row.split_first_chunk::<4>() else { return Err(0) };
        let format = u32::from_le_bytes(*format);
        let Ok(row) = <[u8; 24]>::try_from(row) else { return Err(if format == FORMAT { 0 } else { format }) };
        if crc32c::crc32c(&row[..20]).to_le_bytes() != row[20..] {
            return Err(0);
        }
        if format != FORMAT {
            return Err(format);
        }
        let number = |at: usize| row[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Ok(Self { commit: number(4), live_bytes: number(12) })
    }
}

/// An open database. Its last user lets go of sled, without letting a panic of it out.
pub(super) struct Database {
    /// `None` only while it is dropped.
    db: Option<sled::Db>,
    /// The second descriptor of sled's file.
    file: Arc<File>,
    folder: PathBuf,
    blobs: Mutex<Blobs>,
    seam: Seam,
    /// Whether a write failed: sled refuses all later ones.
    spoilt: AtomicBool,
}

impl Drop for Database {
    fn drop(&mut self) {
        self.db.take().into_iter().for_each(release);
    }
}

impl Database {
    /// Opens the database in `folder`, or makes one. Waits a moment for a lock that a close just before has not released.
    pub(super) fn open(folder: &Path, cache_bytes: u64, seam: &Seam) -> Result<Self, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::open_once(folder, cache_bytes, seam) {
                Err(StoreError::Locked { .. }) if tries < LOCK_TRIES => std::thread::sleep(LOCK_WAIT),
                outcome => return outcome,
            }
        }
    }

    fn open_once(folder: &Path, cache_bytes: u64, seam: &Seam) -> Result<Self, StoreError> {
        let config = sled::Config::new().path(folder).segment_size(SEGMENT_BYTES).cache_capacity(cache_bytes);
        // Before sled: what fails here leaves nothing open that has to be let go of.
        let failed = |error: io::Error| system_error(folder, &error);
        std::fs::create_dir_all(folder.join("blobs")).map_err(failed)?;
        let blobs = Mutex::new(Blobs::open(folder).map_err(failed)?);
        let db = caught(folder, || config.open()).and_then(|opened| opened.map_err(|error| refusal(folder, error)))?;
        let file = File::options().read(true).write(true).open(folder.join("db"));
        match file {
            Ok(file) => Ok(Self {
                db: Some(db),
                file: Arc::new(file),
                folder: folder.to_owned(),
                blobs,
                seam: seam.clone(),
                spoilt: AtomicBool::new(false),
            }),
            Err(error) => {
                release(db);
                Err(failed(error))
            }
        }
    }

    /// Whether it must be opened again before it takes another write.
    pub(super) fn is_spoilt(&self) -> bool {
        self.spoilt.load(Ordering::Relaxed)
    }

    /// A descriptor of the log, older than any write that may fail: a sync on it tells what the system could not write.
    pub(super) fn witness(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    fn read<T>(&self, call: Call, read: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, StoreError> {
        self.guarded(call, read)?.map_err(|error| refusal(&self.folder, error))
    }

    fn write<T>(&self, call: Call, write: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, StoreError> {
        let outcome = self.guarded(call, write).and_then(|outcome| {
            outcome.map_err(|error| match error {
                sled::Error::Io(error) => write_error(&self.folder, &error),
                error => refusal(&self.folder, error),
            })
        });
        if outcome.is_err() {
            self.spoilt.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn guarded<T>(
        &self,
        call: Call,
        work: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<sled::Result<T>, StoreError> {
        let Some(db) = &self.db else { return Err(StoreError::Closed) };
        caught(&self.folder, || self.seam.pass(call).map_err(sled::Error::Io).and_then(|()| work(db)))
    }

    /// The store's own facts; `None` in a database without a row.
    pub(super) fn state(&self) -> Result<Option<State>, StoreError> {
        match self.read(Call::Get, |db| db.get(STATE))? {
            Some(row) => State::decode(&row).map(Some).map_err(|found| self.wrong_format(found)),
            None if self.read(Call::Get, |db| db.first())?.is_none() => Ok(None),
            None => Err(self.wrong_format(0)),
        }
    }

    fn wrong_format(&self, found: u32) -> StoreError {
        if found == 0 {
            return corrupt(&self.folder, "the store's own row is missing or damaged");
        }
        StoreError::Format { path: self.folder.clone(), found, expected: FORMAT }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.read(Call::Get, |db| db.get(row_key(key)))?;
        Ok(found.map(|value| value.to_vec()))
    }

    pub(super) fn scan(
        &self,
        range: Range<&[u8]>,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let range = row_key(range.start)..row_key(range.end);
        let mut rows = self.read(Call::Scan, |db| Ok(db.range(range)))?;
        loop {
            // The visitor runs outside the guard: its panics are its own.
            let next = self.read(Call::Scan, |_| match direction {
                Direction::Ascending => rows.next().transpose(),
                Direction::Descending => rows.next_back().transpose(),
            })?;
            let Some((key, value)) = next else { return Ok(()) };
            if let ControlFlow::Break(()) = visit(key.get(1..).unwrap_or_default(), &value) {
                return Ok(());
            }
        }
    }

    /// Up to `rows_max` rows and about `bytes_max` bytes from `start` on, and whether they were the last.
    pub(super) fn page(
        &self,
        start: &[u8],
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<(Vec<Write>, bool), StoreError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        let mut rows = self.read(Call::Scan, |db| Ok(db.range(row_key(start).as_slice()..ROWS_END)))?;
        while page.len() < rows_max && bytes < bytes_max {
            let Some((key, value)) = self.read(Call::Scan, |_| rows.next().transpose())? else {
                return Ok((page, true));
            };
            bytes += key.len() + value.len();
            page.push(Write::Put { key: key.get(1..).unwrap_or_default().to_vec(), value: value.to_vec() });
        }
        Ok((page, false))
    }

    /// Applies all writes and the state that counts them, as one batch, and returns that state. Not yet flushed.
    pub(super) fn apply(&self, writes: &[Write], commit: u64, live_bytes: u64) -> Result<State, StoreError> {
        let mut batch = sled::Batch::default();
        let mut live = live_bytes;
        for write in writes {
            let key = match write {
                Write::Put { key, .. } | Write::Delete { key } => row_key(key),
            };
            let row_bytes = |value: usize| (key.len() - 1 + value) as u64;
            let old = self.read(Call::Get, |db| db.get(&key))?;
            live = live.saturating_sub(old.map_or(0, |value| row_bytes(value.len())));
            match write {
                Write::Put { value, .. } => {
                    live += row_bytes(value.len());
                    batch.insert(key, value.as_slice());
                }
                Write::Delete { .. } => batch.remove(key),
            }
        }
        let state = State { commit, live_bytes: live };
        batch.insert(STATE, &state.encode());
        self.write(Call::Apply, |db| db.apply_batch(batch))?;
        Ok(state)
    }

    /// Hands what was applied to the system, so that it outlives this process.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        self.write(Call::Write, |db| db.flush()).map(drop)
    }

    /// Makes what was flushed outlive the machine. Opens no file, unless sled made one since the last sync.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.blobs.lock().sync()?;
        self.seam
            .pass(Call::Sync)
            .and_then(|()| self.file.sync_data())
            .map_err(|error| sync_error(&self.folder, &error))
    }
}

/// Waits, two seconds at most, until sled has really released the database in `folder`: dropping it is asynchronous. Without
/// a handle to look with there is no waiting: whoever opens it next tries for a while.
pub(super) fn wait_until_released(folder: &Path) {
    for _ in 0..100 {
        if is_held(folder) != Some(true) {
            return;
        }
        std::thread::sleep(LOCK_WAIT);
    }
}

/// Whether surely nobody holds the database in `folder`.
pub(super) fn is_released(folder: &Path) -> bool {
    is_held(folder) == Some(false)
}

/// `None` where it cannot be told.
fn is_held(folder: &Path) -> Option<bool> {
    match File::open(folder.join("db")) {
        Ok(file) => Some(FileExt::try_lock_exclusive(&file).is_err()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

/// Drops sled without letting a panic of it out.
fn release(db: sled::Db) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
}

fn row_key(key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(key.len() + 1);
    row.push(ROWS);
    row.extend_from_slice(key);
    row
}

/// What a call of sled gives, a panic of it as an error of the store.
fn caught<T>(folder: &Path, call: impl FnOnce() -> T) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| panicked(folder, panic.as_ref()))
}

fn refusal(folder: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock") => {
            StoreError::Locked { path: folder.to_owned() }
        }
        sled::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            corrupt(folder, "a file ends too early")
        }
        sled::Error::Io(error) => system_error(folder, &error),
        sled::Error::Corruption { at, .. } => {
            let place = at.map_or_else(|| "the snapshot or the log".to_owned(), |at| format!("{at:?}"));
            corrupt(folder, &format!("damaged at {place}"))
        }
        sled::Error::Unsupported(text) => corrupt(folder, &text),
        sled::Error::ReportableBug(text) => StoreError::Io(text),
        sled::Error::CollectionNotFound(_) => corrupt(folder, "the tree is missing"),
    }
}

fn panicked(folder: &Path, panic: &(dyn std::any::Any + Send)) -> StoreError {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("sled panicked");
    shown_error(text).map_or_else(|| corrupt(folder, text), |error| write_error(folder, &error))
}

pub(super) fn corrupt(folder: &Path, reason: &str) -> StoreError {
    StoreError::Corrupt { path: folder.to_owned(), reason: reason.to_owned() }
}
