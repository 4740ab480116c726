//! Rotation: copying the live rows to a new folder, since sled gives little space back.
//!
//! It runs between commits in bounded steps. Until it is done the old folder is the store, and a crash leaves only a folder
//! that the next open removes. A row written meanwhile is written to both if it was copied already, else the copy will meet
//! it. The switch is one rename.

use std::path::PathBuf;

use super::database::{Database, State, wait_until_released};
use super::folder::{Folder, sync_folder};
use super::seam::Seam;
use crate::store::{StoreError, Write};

/// What one step copies at most: about as much as one commit may hold.
const STEP_ROWS: usize = 256;
const STEP_BYTES: usize = 256 * 1024;

/// A rotation under way.
pub(super) struct Rotation {
    target: Database,
    name: String,
    path: PathBuf,
    state: State,
    /// Rows below this key are copied.
    copied_to: Vec<u8>,
    all_copied: bool,
}

impl Rotation {
    /// Begins in a folder that is not there yet. Where that fails, what is left of it is of no use.
    pub(super) fn begin(folder: &Folder, name: String, cache_bytes: u64, seam: &Seam) -> Result<Self, StoreError> {
        let path = folder.path(&name);
        let target = Database::open(&path, cache_bytes, seam)?;
        Ok(Self { target, name, path, state: State::default(), copied_to: Vec::new(), all_copied: false })
    }

    /// Copies some more rows. Returns whether all are copied.
    pub(super) fn step(&mut self, source: &Database) -> Result<bool, StoreError> {
        let (page, last) = source.page(&self.copied_to, STEP_ROWS, STEP_BYTES)?;
        if let Some(Write::Put { key, .. }) = page.last() {
            // The least key above the last one copied.
            self.copied_to.clone_from(key);
            self.copied_to.push(0);
        }
        self.write(&page)?;
        self.target.flush()?;
        self.all_copied = last;
        Ok(last)
    }

    /// Repeats a commit's writes to rows that are copied already.
    pub(super) fn mirror(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let copied = |write: &&Write| match write {
            Write::Put { key, .. } | Write::Delete { key } => self.all_copied || *key < self.copied_to,
        };
        let writes: Vec<_> = writes.iter().filter(copied).cloned().collect();
        if writes.is_empty() { Ok(()) } else { self.write(&writes) }
    }

    fn write(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.state = self.target.apply(writes, 0, self.state.live_bytes)?;
        Ok(())
    }

    /// The finished copy, its state and its name.
    pub(super) fn into_database(self) -> (Database, State, String) {
        (self.target, self.state, self.name)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the copy durable, at the commit where the source stands.
    pub(super) fn seal(&mut self, commit: u64) -> Result<(), StoreError> {
        self.state = self.target.apply(&[], commit, self.state.live_bytes)?;
        self.target.flush()?;
        self.target.sync()?;
        sync_folder(&self.path)
    }

    /// Gives up: nothing but space was used. Returns whether that could be given back.
    pub(super) fn abandon(self) -> bool {
        drop(self.target);
        wait_until_released(&self.path);
        std::fs::remove_dir_all(&self.path).is_ok()
    }
}
