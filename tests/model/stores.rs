//! What the engine under test stands on.

use std::sync::Arc;

use switchboard::store::faulty::{Failure, Faults, FaultyStore};
use switchboard::store::memory::MemoryStore;
use switchboard::store::sled::{SledOptions, SledStore};
use switchboard::store::{Durability, Store};
use tempfile::TempDir;

/// What became of a batch whose commit failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NotStored,
    Stored,
}

/// A store that outlives the engines on it.
pub(crate) enum Disk {
    Memory(Arc<MemoryStore>),
    Sled { folder: TempDir, store: Option<Arc<SledStore>> },
    Faulty { faults: Faults, store: Option<FaultyStore> },
}

impl Disk {
    pub(crate) fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    pub(crate) fn sled() -> Self {
        Self::Sled { folder: TempDir::new().unwrap(), store: None }
    }

    pub(crate) fn faulty() -> Self {
        let store = FaultyStore::new(Durability::Fsync);
        Self::Faulty { faults: store.faults(), store: Some(store) }
    }

    pub(crate) fn is_faulty(&self) -> bool {
        matches!(self, Self::Faulty { .. })
    }

    pub(crate) fn store(&mut self) -> Arc<dyn Store> {
        match self {
            Self::Memory(store) => Arc::clone(store) as Arc<dyn Store>,
            Self::Sled { folder, store } => {
                let options = SledOptions::new(folder.path().join("store")).durability(Durability::Process).unwrap();
                let opened = Arc::new(SledStore::open(options.cache_bytes(8 << 20).unwrap()).unwrap());
                *store = Some(Arc::clone(&opened));
                opened
            }
            Self::Faulty { faults, store } => {
                let next = store.take().unwrap_or_else(|| faults.restart());
                *faults = next.faults();
                Arc::new(next)
            }
        }
    }

    /// The next write fails, in a way that `seed` chooses.
    pub(crate) fn fail(&self, seed: u64) -> Option<Fault> {
        let Self::Faulty { faults, .. } = self else { return None };
        let (failure, fault) = match seed % 3 {
            0 => (Failure::NotStored, Fault::NotStored),
            1 => (Failure::MaybeAndNot, Fault::NotStored),
            _ => (Failure::MaybeAndStored, Fault::Stored),
        };
        faults.fail_next(1, failure);
        Some(fault)
    }

    /// The process has ended; another will open the store.
    pub(crate) fn restart(&mut self) {
        match self {
            Self::Memory(_) => {}
            Self::Sled { store, .. } => {
                if let Some(store) = store.take() {
                    store.close().unwrap();
                }
            }
            Self::Faulty { faults, store } => *store = Some(faults.restart()),
        }
    }

    pub(crate) fn power_cut(&mut self, seed: u64) {
        match self {
            Self::Faulty { faults, store } => *store = Some(faults.power_cut(seed)),
            Self::Memory(_) | Self::Sled { .. } => self.restart(),
        }
    }
}
