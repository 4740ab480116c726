//! A store that fails, fills up, stalls, panics, tears and loses power when a test says so.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, Range};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::{Batch, Direction, Durability, Store, StoreError, StoreStatus, Visit, Write};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A [`Store`] in memory that does to its user what disks do, on request and repeatably.
///
/// It keeps apart what would be on disk for good and what a power cut would take. [`FaultyStore::faults`] gives the handle
/// that scripts it.
///
/// ```
/// use switchboard::store::faulty::{Failure, FaultyStore};
/// use switchboard::store::{Batch, Durability, Store};
///
/// let store = FaultyStore::new(Durability::Fsync);
/// store.faults().fail_next(1, Failure::NotStored);
/// let mut batch = Batch::default();
/// batch.put(b"key".to_vec(), b"value".to_vec());
/// assert!(!store.apply(&batch).unwrap_err().may_be_stored());
/// assert_eq!(store.apply(&batch), Ok(()));
/// ```
#[derive(Debug)]
pub struct FaultyStore {
    faults: Faults,
}

/// The script of a [`FaultyStore`]; clones script the same store.
#[derive(Clone, Debug)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Apart from the state, so that a stalled `apply` stalls nobody else.
    stall: Mutex<Stall>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Stall {
    on: bool,
    waiting: usize,
}

#[derive(Debug)]
struct State {
    durability: Durability,
    /// What a power cut leaves.
    synced: Rows,
    /// What readers see.
    rows: Rows,
    /// What lies between the two, in order.
    unsynced: Vec<Batch>,
    failures: Vec<Failure>,
    /// How many of the next calls panic.
    panics: BTreeMap<Operation, usize>,
    full: bool,
    tear_after: Option<usize>,
    gone: Option<StoreError>,
    loss_possible: bool,
    counts: Counts,
}

/// How a scripted `apply` fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Surely not stored, and the error says so.
    NotStored,
    /// The error says "may be stored", and it is not.
    MaybeAndNot,
    /// The error says "may be stored", and it is.
    MaybeAndStored,
}

/// A call of a store that may [panic](Faults::panic_next).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// [`Store::get`].
    Get,
    /// [`Store::scan`].
    Scan,
    /// [`Store::apply`].
    Apply,
    /// [`Store::maintain`].
    Maintain,
    /// [`Store::close`].
    Close,
}

/// How often a store was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Calls of `get`.
    pub gets: u64,
    /// Calls of `scan`.
    pub scans: u64,
    /// Calls of `apply`, failed ones included.
    pub applies: u64,
    /// Real syncs.
    pub syncs: u64,
}

impl FaultyStore {
    /// An empty store that promises `durability` and, until it is told otherwise, keeps the promise.
    ///
    /// `Fsync` syncs at each `apply`, `Process` at each `maintain`, `Memory` never.
    #[must_use]
    pub fn new(durability: Durability) -> Self {
        Self::with_rows(durability, Rows::new())
    }

    fn with_rows(durability: Durability, rows: Rows) -> Self {
        let state = State {
            durability,
            synced: rows.clone(),
            rows,
            unsynced: Vec::new(),
            failures: Vec::new(),
            panics: BTreeMap::new(),
            full: false,
            tear_after: None,
            gone: None,
            loss_possible: false,
            counts: Counts::default(),
        };
        let shared = Shared { state: Mutex::new(state), stall: Mutex::default(), changed: Condvar::new() };
        Self { faults: Faults { shared: Arc::new(shared) } }
    }

    /// The handle that scripts this store.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }
}

impl Faults {
    /// Lets the next `count` calls of `apply` fail.
    pub fn fail_next(&self, count: usize, failure: Failure) {
        let mut state = self.shared.state.lock();
        state.failures.extend(std::iter::repeat_n(failure, count));
    }

    /// Lets the next `count` calls of this kind panic before they do anything; `usize::MAX` of them are all, zero none.
    pub fn panic_next(&self, operation: Operation, count: usize) {
        self.shared.state.lock().panics.insert(operation, count);
    }

    /// Answers each `apply` with [`StoreError::Full`], until told otherwise.
    pub fn set_full(&self, full: bool) {
        self.shared.state.lock().full = full;
    }

    /// Lets each `apply` block until [`release`](Self::release). Reads go on.
    pub fn stall(&self) {
        self.shared.stall.lock().on = true;
    }

    /// Lets stalled calls go on.
    pub fn release(&self) {
        self.shared.stall.lock().on = false;
        self.shared.changed.notify_all();
    }

    /// Waits until a call of `apply` is stalled.
    pub fn wait_until_stalled(&self) {
        let mut stall = self.shared.stall.lock();
        while stall.waiting == 0 {
            self.shared.changed.wait(&mut stall);
        }
    }

    /// Lets the next `apply` write only its first `writes` writes, and the process end there. Everything fails afterwards;
    /// [`restart`](Self::restart) goes on with what is left. No sound store tears: this shows that a test would notice.
    pub fn tear_next(&self, writes: usize) {
        self.shared.state.lock().tear_after = Some(writes);
    }

    /// Ends the process: this store fails from now on, the returned one holds what a new process finds.
    #[must_use]
    pub fn restart(&self) -> FaultyStore {
        let mut state = self.shared.state.lock();
        state.gone.get_or_insert_with(|| StoreError::Io("the process ended".to_owned()));
        let rows = if state.durability == Durability::Memory { Rows::new() } else { state.rows.clone() };
        let next = FaultyStore::with_rows(state.durability, rows);
        let mut after = next.faults.shared.state.lock();
        after.synced = if state.durability == Durability::Memory { Rows::new() } else { state.synced.clone() };
        after.unsynced.clone_from(&state.unsynced);
        drop(after);
        next
    }

    /// Cuts the power: this store fails from now on. The returned one holds what was synced and, of what was not, the first
    /// batches, how many chosen by `seed`. A batch is there whole or not at all, as a log with checksums keeps it.
    #[must_use]
    pub fn power_cut(&self, seed: u64) -> FaultyStore {
        let mut state = self.shared.state.lock();
        state.gone = Some(StoreError::Io("the power was cut".to_owned()));
        if state.durability == Durability::Memory {
            return FaultyStore::new(Durability::Memory);
        }
        let mut rows = state.synced.clone();
        let kept = mix(seed) % (state.unsynced.len() as u64 + 1);
        for batch in state.unsynced.iter().take(usize::try_from(kept).unwrap_or(0)) {
            write(&mut rows, batch.writes());
        }
        let next = FaultyStore::with_rows(state.durability, rows);
        next.faults.shared.state.lock().loss_possible = state.durability == Durability::Process;
        next
    }

    /// Flips one bit of the value under `key`, chosen by `seed`. Returns whether there was one.
    pub fn corrupt(&self, key: &[u8], seed: u64) -> bool {
        let mut state = self.shared.state.lock();
        let flip = |rows: &mut Rows| {
            let Some(value) = rows.get_mut(key).filter(|value| !value.is_empty()) else { return false };
            let bit = mix(seed) % (value.len() as u64 * 8);
            if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| value.get_mut(at)) {
                *byte ^= 1 << (bit % 8);
            }
            true
        };
        let flipped = flip(&mut state.rows);
        flip(&mut state.synced);
        flipped
    }

    /// The keys that readers see, in order: what a test may [`corrupt`](Self::corrupt).
    #[must_use]
    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.shared.state.lock().rows.keys().cloned().collect()
    }

    /// How often the store was called so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.state.lock().counts
    }

    fn panic_where_told(&self, operation: Operation) {
        let panics = {
            let mut state = self.shared.state.lock();
            let left = state.panics.entry(operation).or_default();
            let panics = *left > 0;
            *left = left.saturating_sub(usize::from(*left < usize::MAX));
            panics
        };
        if panics {
            // The process's panic hook is not asked: a fuzzer's would end it.
            std::panic::resume_unwind(Box::new(format!("a scripted panic in {operation:?}")));
        }
    }

    fn wait_while_stalled(&self) {
        let mut stall = self.shared.stall.lock();
        if !stall.on {
            return;
        }
        stall.waiting += 1;
        self.shared.changed.notify_all();
        while stall.on {
            self.shared.changed.wait(&mut stall);
        }
        stall.waiting -= 1;
    }
}

impl State {
    fn check(&self) -> Result<(), StoreError> {
        self.gone.clone().map_or(Ok(()), Err)
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.check()?;
        if self.full {
            return Err(StoreError::Full);
        }
        if let Some(writes) = self.tear_after.take() {
            write(&mut self.rows, batch.writes().get(..writes).unwrap_or(batch.writes()));
            self.gone = Some(StoreError::Io("the process ended".to_owned()));
            return self.check();
        }
        match (!self.failures.is_empty()).then(|| self.failures.remove(0)) {
            None => {
                self.store(batch);
                if self.durability == Durability::Fsync {
                    self.sync();
                }
                Ok(())
            }
            Some(Failure::NotStored) => {
                Err(StoreError::ReadOnly { path: PathBuf::from("faulty"), reason: "scripted".to_owned() })
            }
            Some(failure) => {
                if failure == Failure::MaybeAndStored {
                    self.store(batch);
                }
                Err(StoreError::Io("scripted".to_owned()))
            }
        }
    }

    fn store(&mut self, batch: &Batch) {
        write(&mut self.rows, batch.writes());
        self.unsynced.push(batch.clone());
    }

    fn sync(&mut self) {
        self.counts.syncs += 1;
        for batch in self.unsynced.drain(..) {
            write(&mut self.synced, batch.writes());
        }
    }
}

impl Store for FaultyStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.faults.panic_where_told(Operation::Get);
        let mut state = self.faults.shared.state.lock();
        state.counts.gets += 1;
        state.check()?;
        Ok(state.rows.get(key).cloned())
    }

    fn scan(&self, range: Range<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.faults.panic_where_told(Operation::Scan);
        let found = {
            let mut state = self.faults.shared.state.lock();
            state.counts.scans += 1;
            state.check()?;
            if range.start >= range.end {
                return Ok(());
            }
            let bounds = (Bound::Included(range.start), Bound::Excluded(range.end));
            state.rows.range::<[u8], _>(bounds).map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
        };
        let mut visit = |(key, value): &(Vec<u8>, Vec<u8>)| visit(key, value);
        let _: ControlFlow<()> = match direction {
            Direction::Ascending => found.iter().try_for_each(&mut visit),
            Direction::Descending => found.iter().rev().try_for_each(&mut visit),
        };
        Ok(())
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.faults.shared.state.lock().counts.applies += 1;
        self.faults.panic_where_told(Operation::Apply);
        self.faults.wait_while_stalled();
        self.faults.shared.state.lock().apply(batch)
    }

    fn maintain(&self) -> Result<(), StoreError> {
        self.faults.panic_where_told(Operation::Maintain);
        let mut state = self.faults.shared.state.lock();
        state.check()?;
        if state.durability == Durability::Process {
            state.sync();
        }
        Ok(())
    }

    fn status(&self) -> StoreStatus {
        let state = self.faults.shared.state.lock();
        let bytes = state.rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        StoreStatus {
            loss_possible: state.loss_possible,
            live_bytes: bytes,
            syncs: state.counts.syncs,
            ..StoreStatus::new(state.durability)
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        self.faults.panic_where_told(Operation::Close);
        let mut state = self.faults.shared.state.lock();
        if state.gone == Some(StoreError::Closed) {
            return Ok(());
        }
        state.check()?;
        state.sync();
        state.gone = Some(StoreError::Closed);
        Ok(())
    }
}

fn write(rows: &mut Rows, writes: &[Write]) {
    for write in writes {
        match write {
            Write::Put { key, value } => drop(rows.insert(key.clone(), value.clone())),
            Write::Delete { key } => drop(rows.remove(key)),
        }
    }
}

/// A seed's scattered bits (splitmix64).
const fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}
