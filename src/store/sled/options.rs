//! How a [`SledStore`](super::SledStore) is opened.

use std::path::{Path, PathBuf};

use crate::store::Durability;

/// The cache unless told otherwise. sled's own default, 1 GiB, was measured at 783 MB resident.
const CACHE_BYTES: u64 = 48 << 20;
/// The least cache that sled works with at all well.
const CACHE_BYTES_MIN: u64 = 1 << 20;
/// Disk over live bytes at which the store moves to a new folder. sled's log takes about twice its rows by itself.
const ROTATE_AT: u32 = 4;
/// Below this a store is never rotated: there is nothing to gain.
const ROTATE_BYTES_MIN: u64 = 64 << 20;
/// Up to this size a database is copied before sled opens it (about 0.1 s for 100 MB).
const COPY_BYTES_MAX: u64 = 256 << 20;

/// What to do with a store that is damaged, or older than it promised to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDamage {
    /// Refuse to open, with an error that names the folder. Nothing is changed.
    #[default]
    Refuse,
    /// Move the damaged folder aside, to `….damaged-N`, and start empty.
    SetAside,
    /// Read what can be read, record by record, into a new folder, and move the damaged one aside. The rows are held in
    /// memory meanwhile. What could not be read is in [`SledStore::recovery`](super::SledStore::recovery).
    Salvage,
}

/// An option that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} must be {must_be}")]
pub struct InvalidOption {
    /// The option's name.
    pub option: &'static str,
    /// What it may be.
    pub must_be: &'static str,
}

/// Where and how a [`SledStore`](super::SledStore) keeps its rows.
///
/// ```
/// use switchboard::store::Durability;
/// use switchboard::store::sled::SledOptions;
///
/// let options = SledOptions::new("data/chat").durability(Durability::Process)?.cache_bytes(32 << 20)?;
/// # Ok::<_, switchboard::store::sled::InvalidOption>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SledOptions {
    pub(super) path: PathBuf,
    pub(super) durability: Durability,
    pub(super) cache_bytes: u64,
    pub(super) on_damage: OnDamage,
    pub(super) rotate_at: u32,
    pub(super) rotate_bytes_min: u64,
    pub(super) copy_bytes_max: u64,
}

impl SledOptions {
    /// A store in the folder `path`, which is made where it is missing: synced at every commit, 48 MiB of cache, refusing to
    /// open when damaged, rotated at 4 times its live bytes.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            durability: Durability::Fsync,
            cache_bytes: CACHE_BYTES,
            on_damage: OnDamage::default(),
            rotate_at: ROTATE_AT,
            rotate_bytes_min: ROTATE_BYTES_MIN,
            copy_bytes_max: COPY_BYTES_MAX,
        }
    }

    /// What an acknowledged commit survives.
    ///
    /// # Errors
    /// [`Durability::Memory`]: a store on disk promises more.
    pub fn durability(mut self, durability: Durability) -> Result<Self, InvalidOption> {
        if durability == Durability::Memory {
            return Err(InvalidOption { option: "durability", must_be: "process or fsync" });
        }
        self.durability = durability;
        Ok(self)
    }

    /// The bytes that sled may keep in memory.
    ///
    /// # Errors
    /// Less than 1 MiB.
    pub fn cache_bytes(mut self, bytes: u64) -> Result<Self, InvalidOption> {
        if bytes < CACHE_BYTES_MIN {
            return Err(InvalidOption { option: "cache_bytes", must_be: "at least 1 MiB" });
        }
        self.cache_bytes = bytes;
        Ok(self)
    }

    /// What to do with a damaged store.
    #[must_use]
    pub const fn on_damage(mut self, on_damage: OnDamage) -> Self {
        self.on_damage = on_damage;
        self
    }

    /// Moves the store to a new folder when the disk holds more than `multiple` times the live bytes, and at least
    /// `bytes_min`.
    ///
    /// # Errors
    /// A multiple below 2: sled's own log takes that.
    pub fn rotate_at(mut self, multiple: u32, bytes_min: u64) -> Result<Self, InvalidOption> {
        if multiple < 2 {
            return Err(InvalidOption { option: "rotate_at", must_be: "at least 2" });
        }
        (self.rotate_at, self.rotate_bytes_min) = (multiple, bytes_min);
        Ok(self)
    }

    /// Databases up to this size are copied while they are opened, so that one that turns out damaged is left exactly as it
    /// was. Of a larger one sled may have cut a damaged end off before the store refuses it. Zero never copies.
    #[must_use]
    pub const fn copy_bytes_max(mut self, bytes: u64) -> Self {
        self.copy_bytes_max = bytes;
        self
    }
}
