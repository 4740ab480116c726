//! The one dependency that the engine calls: an ordered map of bytes with atomic batches.
//!
//! The trait is narrow enough that a `BTreeMap` implements it. What a row means, how it is checked and how keys are built is
//! the business of the floors above; a store keeps bytes.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;

#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "testing")]
pub mod faulty;
pub(crate) mod guarded;
pub mod memory;
#[cfg(feature = "sled")]
pub mod sled;

/// An ordered map of bytes whose batches are atomic and, once [`apply`](Self::apply) returns, as durable as its
/// [`Durability`] promises.
///
/// All methods may be called from several threads at once. At most one `apply` runs at a time. A panic is caught and counts
/// as a failed call ([`StoreError::Panicked`]); in a host built with `panic = "abort"` it ends the process.
pub trait Store: Send + Sync {
    /// The value under `key`.
    ///
    /// # Errors
    /// Any [`StoreError`]; the row may or may not exist.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the rows with `range.start <= key < range.end` in the order asked for, until `visit` breaks.
    ///
    /// # Errors
    /// Any [`StoreError`]; rows visited before it were right.
    fn scan(&self, range: Range<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// Applies all writes of `batch` or none, and returns when they are durable.
    ///
    /// Applying the same batch again is harmless: the engine repeats a failed one unchanged.
    ///
    /// # Errors
    /// Any [`StoreError`]; [`StoreError::may_be_stored`] tells whether the batch surely was not applied.
    fn apply(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Does what is due by itself: a periodic sync, reopening after a fault, a bounded step of compaction.
    ///
    /// Whoever commits calls this about once a second, between commits, on a thread that may wait for a disk.
    ///
    /// # Errors
    /// Any [`StoreError`]; the engine goes on and calls again.
    fn maintain(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What the store promises, and how it stands.
    fn status(&self) -> StoreStatus;

    /// Makes everything durable and lets go of files and locks. Later calls fail with [`StoreError::Closed`].
    ///
    /// # Errors
    /// Any [`StoreError`] of the last sync.
    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What [`Store::scan`] calls with each key and value.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// The order of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// One write of a [`Batch`]: a whole row, under an explicit key, so that repeating it is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets the row.
    Put {
        /// Where.
        key: Vec<u8>,
        /// What.
        value: Vec<u8>,
    },
    /// Removes the row, if it is there.
    Delete {
        /// Where.
        key: Vec<u8>,
    },
}

/// The writes of one commit, in order; a later write to the same key wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    writes: Vec<Write>,
    bytes: usize,
}

impl Batch {
    /// Sets a row.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.writes.push(Write::Put { key, value });
    }

    /// Removes a row.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.bytes += key.len();
        self.writes.push(Write::Delete { key });
    }

    /// The writes, in order.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// How many writes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The bytes of all keys and values.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Durability {
    /// Nothing: it is gone with the process.
    Memory,
    /// The end of the process, `kill -9` included. A power cut may lose the last ten seconds.
    ///
    /// What is missing after the end of the process alone is told. That the machine stayed up is known where the system
    /// names its starts (Linux); elsewhere each end without a close counts as one that may have lost something.
    Process,
    /// A power cut.
    Fsync,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Process => "process",
            Self::Fsync => "fsync",
        })
    }
}

/// How a store stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatus {
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// Whether writes acknowledged before this start may be missing: the machine went down since the last real sync, in a
    /// mode that allows it, or a damaged store was opened with a recovery option. The engine then numbers on above what it
    /// had reserved.
    pub loss_possible: bool,
    /// Bytes on disk, all files together; zero in memory.
    pub disk_bytes: u64,
    /// Bytes of live rows, about; zero where unknown.
    pub live_bytes: u64,
    /// Counts real syncs. The engine reserves numbers ahead of each.
    pub syncs: u64,
}

impl StoreStatus {
    /// The status of a store that has just started and lost nothing.
    #[must_use]
    pub const fn new(durability: Durability) -> Self {
        Self { durability, loss_possible: false, disk_bytes: 0, live_bytes: 0, syncs: 0 }
    }
}

/// What a store answers when it cannot do what was asked.
///
/// Paths and texts here are for the host's log; clients see code 4200 and no detail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process holds the folder.
    #[error("the store at {} is locked by another process", path.display())]
    Locked {
        /// The store's folder.
        path: PathBuf,
    },
    /// The folder cannot be written to.
    #[error("the store at {} cannot be written: {reason}", path.display())]
    ReadOnly {
        /// The store's folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Bytes on disk are not what was written. The folder is left as it is.
    #[error("the store at {} is corrupt: {reason}; restore it, or open with a recovery option", path.display())]
    Corrupt {
        /// The store's folder.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The store is intact but older than it promised to be, on the same start of the machine too: acknowledged commits are
    /// missing.
    #[error("the store at {} has lost {lost} acknowledged commits", path.display())]
    RolledBack {
        /// The store's folder.
        path: PathBuf,
        /// How many commits are missing.
        lost: u64,
    },
    /// The store was written by a newer version, or by something else.
    #[error("the store at {} has format {found}, this version reads {expected}", path.display())]
    Format {
        /// The store's folder.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format this version reads.
        expected: u32,
    },
    /// No space is left; the batch may be stored in part of the log that a restart drops.
    #[error("the store is full")]
    Full,
    /// The system is short of something that comes back: handles, memory, an uninterrupted moment. The store goes on by
    /// itself once there is some.
    #[error("the store waits for the system: {0}")]
    Exhausted(String),
    /// The system refused, with its own words. The store tries again by itself.
    #[error("the store failed: {0}")]
    Io(String),
    /// A write failed, or could not be made durable. Nothing built on it can be believed, since the system may have dropped
    /// what it could not write: writes are refused until the disk was looked at and the store is opened anew.
    #[error("the store takes no writes until it is opened anew, look at its disk first: {0}")]
    Broken(String),
    /// The store panicked, with these words. That is a failed call like any other.
    #[error("the store panicked: {0}")]
    Panicked(String),
    /// The store had not answered when time was up.
    #[error("the store has not answered yet")]
    Unfinished,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the failed batch may be found stored after all. A store that finds itself damaged in the middle of a batch
    /// cannot tell.
    #[must_use]
    pub const fn may_be_stored(&self) -> bool {
        matches!(
            self,
            Self::Full
                | Self::Exhausted(_)
                | Self::Io(_)
                | Self::Broken(_)
                | Self::Panicked(_)
                | Self::Unfinished
                | Self::Corrupt { .. }
        )
    }
}
