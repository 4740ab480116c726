//! Pages too large for sled's log: files of their own, which sled syncs neither themselves nor their folder.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::causes::{sync_error, system_error};
use super::folder::OpenFolder;
use crate::store::StoreError;

/// The time of change that a looked-at folder is given. Whatever comes or goes in it afterwards moves the time on.
const LOOKED_AT: SystemTime = SystemTime::UNIX_EPOCH;
/// File systems keep times to two seconds at worst.
const COARSE: Duration = Duration::from_secs(2);

/// The folder of such files, and which of them are synced.
pub(super) struct Blobs {
    path: PathBuf,
    folder: OpenFolder,
    synced: HashSet<OsString>,
    /// Whether all that was there at the last look is synced.
    looked: bool,
}

impl Blobs {
    pub(super) fn open(database: &Path) -> io::Result<Self> {
        let path = database.join("blobs");
        let folder = OpenFolder::open(&path)?;
        Ok(Self { path, folder, synced: HashSet::new(), looked: false })
    }

    /// Syncs what is new. Where nothing is, that is one question to the open folder: no file is opened.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        if self.looked && self.is_as_left() {
            return Ok(());
        }
        // Before the look, so that what comes during it is found the next time. Where the time cannot be set, each sync looks.
        let _ = self.folder.set_modified(LOOKED_AT);
        self.looked = false;
        self.sync_new()?;
        self.looked = true;
        Ok(())
    }

    fn is_as_left(&self) -> bool {
        self.folder.modified().is_ok_and(|modified| modified < LOOKED_AT + COARSE)
    }

    fn sync_new(&mut self) -> Result<(), StoreError> {
        let failed = |error: io::Error| system_error(&self.path, &error);
        let mut found = HashSet::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if !self.synced.contains(&name) {
                match File::open(entry.path()) {
                    Ok(blob) => blob.sync_data().map_err(|error| sync_error(&self.path, &error))?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(failed(error)),
                }
            }
            found.insert(name);
        }
        if !found.is_subset(&self.synced) {
            self.folder.sync().map_err(|error| sync_error(&self.path, &error))?;
        }
        self.synced = found;
        Ok(())
    }
}
