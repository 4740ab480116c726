//! Opening a store: which folder, whether it is all there, and what to do where it is not.

use std::fs;
use std::io;
use std::path::Path;

use super::causes::{sync_error, system_error, write_error};
use super::database::{Database, State, corrupt, wait_until_released};
use super::folder::{Backup, Current, Folder, forget_dispensable, move_dispensable_away, sync_folder};
use super::options::{OnDamage, SledOptions};
use super::seam::Seam;
use super::side::{Left, Mark, SideFile};
use super::{Recovery, salvage, stretch};
use crate::store::{Batch, Durability, StoreError};

/// How many rows a salvaged store takes in one batch.
const SALVAGE_ROWS: usize = 256;

/// A store as it comes out of opening.
pub(super) struct Opening {
    pub(super) database: Database,
    pub(super) state: State,
    pub(super) data: String,
    pub(super) side: SideFile,
    pub(super) loss_possible: bool,
    pub(super) recovery: Option<Recovery>,
}

impl Opening {
    pub(super) fn run(folder: &Folder, options: &SledOptions, seam: &Seam) -> Result<Self, StoreError> {
        let path = folder.path("commits");
        let left = Left::read(&path).map_err(|error| system_error(folder.root(), &error))?;
        let opener = Opener { folder, options, seam, promised: left.promised() };
        let (data, database, state, recovery) = opener.open_or_recover(&left)?;
        database.sync()?;
        let process = options.durability == Durability::Process;
        let mut side = SideFile::open(&path, &left, process).map_err(|error| system_error(folder.root(), &error))?;
        let written = |outcome: io::Result<()>| outcome.map_err(|error| write_error(folder.root(), &error));
        // The side file first: between the two it may lag behind the database that becomes current, and never leads it.
        written(side.record(state.commit))?;
        side.sync().map_err(|error| sync_error(folder.root(), &error))?;
        folder.set_current(&data)?;
        folder.remove_leftovers(&data)?;
        written(side.complete(state.commit))?;
        let loss_possible = recovery.is_some() || left.mark.is_some_and(loss_possible);
        Ok(Self { database, state, data, side, loss_possible, recovery })
    }
}

/// Whether commits acknowledged by the last run may be missing without anything being wrong.
fn loss_possible(last: Mark) -> bool {
    last.process && !last.clean && !last.is_of_this_boot()
}

/// What must be in a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// A database that was in use.
    Whole,
    /// Nothing, or what an open left that was ended before the store was complete: no commit.
    Nothing,
}

type Opened = (String, Database, State, Option<Recovery>);

struct Opener<'a> {
    folder: &'a Folder,
    options: &'a SledOptions,
    seam: &'a Seam,
    /// The commits that must be there.
    promised: u64,
}

impl Opener<'_> {
    fn open_or_recover(&self, left: &Left) -> Result<Opened, StoreError> {
        let (name, expected) = self.find(left)?;
        let opened = match self.missing_part(&name, expected, left)? {
            Some(damage) => Err(damage),
            None => self.open_unharmed(&name, expected),
        };
        match opened {
            Ok((database, state)) => Ok((name, database, state, None)),
            Err(damage @ (StoreError::Corrupt { .. } | StoreError::RolledBack { .. })) => {
                match self.options.on_damage {
                    OnDamage::Refuse => Err(damage),
                    OnDamage::SetAside => self.start_over(&name, damage),
                    OnDamage::Salvage => self.start_from_salvage(&name, damage),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The data folder, and what must be in it.
    fn find(&self, left: &Left) -> Result<(String, Expected), StoreError> {
        let was_complete = self.promised > 0 || left.mark.is_some_and(|mark| mark.complete);
        let (named, expected) = match self.folder.current()? {
            Current::Named(name) => (Some(name), Expected::Whole),
            Current::Damaged => (None, Expected::Whole),
            Current::Missing => (None, if was_complete { Expected::Whole } else { Expected::Nothing }),
        };
        let there = match named {
            Some(name) => Some(name),
            None => self.folder.only_data_folder()?,
        };
        Ok((there.map_or_else(|| self.folder.next_name(), Ok)?, expected))
    }

    /// What a store that was in use lacks, as far as it can be told before its database is opened.
    fn missing_part(&self, name: &str, expected: Expected, left: &Left) -> Result<Option<StoreError>, StoreError> {
        if expected == Expected::Nothing {
            return Ok(None);
        }
        let data = self.folder.path(name);
        Backup::end_restore(&data).map_err(|error| system_error(&data, &error))?;
        let lack = if !data.is_dir() {
            return Ok(Some(self.vanished(&data)));
        } else if self.folder.current()? == Current::Missing {
            "`current` is missing"
        } else if left.mark.is_none() {
            "the side file `commits` is missing or damaged"
        } else if left.lacks_its_note() {
            "the side file `commits` does not say how far the store came"
        } else {
            return Ok(None);
        };
        Ok(Some(corrupt(self.folder.root(), lack)))
    }

    /// There is no database where there was one.
    fn vanished(&self, data: &Path) -> StoreError {
        match self.promised {
            0 => corrupt(data, "the database is missing or empty"),
            lost => StoreError::RolledBack { path: data.to_owned(), lost },
        }
    }

    /// Opens a data folder. One that is found damaged or rolled back is left as it was.
    fn open_unharmed(&self, name: &str, expected: Expected) -> Result<(Database, State), StoreError> {
        let data = self.folder.path(name);
        let existed = data.is_dir();
        let backup = if existed { Backup::take(&data, self.options.copy_bytes_max)? } else { None };
        match self.open_checked(&data, expected, self.promised) {
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

    /// Opens a database and holds it to what was promised.
    fn open_checked(&self, data: &Path, expected: Expected, promised: u64) -> Result<(Database, State), StoreError> {
        let (database, state) = self.open_without_dispensable(data)?;
        match (expected, state) {
            (Expected::Whole, None) => return Err(self.vanished(data)),
            (Expected::Nothing, Some(state)) if state.commit > 0 => {
                return Err(corrupt(
                    data,
                    "rows lie here, and neither `current` nor the side file `commits` beside them",
                ));
            }
            _ => {}
        }
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
        sync_folder(data)?;
        forget_dispensable(data);
        Ok((database, state))
    }

    /// Opens a database, a second time without what it can do without.
    fn open_without_dispensable(&self, data: &Path) -> Result<(Database, Option<State>), StoreError> {
        let open = || {
            stretch::check(data)?;
            let database = Database::open(data, self.options.cache_bytes, self.seam)?;
            let state = database.state()?;
            Ok((database, state))
        };
        match open() {
            Err(error @ StoreError::Corrupt { .. }) => {
                wait_until_released(data);
                let moved = move_dispensable_away(data).map_err(|error| system_error(data, &error))?;
                if moved { open() } else { Err(error) }
            }
            outcome => outcome,
        }
    }

    /// Moves what is there aside and starts with an empty database.
    fn start_over(&self, name: &str, damage: StoreError) -> Result<Opened, StoreError> {
        let fresh = self.folder.next_name()?;
        let moved_to = self.folder.path(name).is_dir().then(|| self.folder.set_aside(name)).transpose()?;
        let (database, state) = self.open_checked(&self.folder.path(&fresh), Expected::Nothing, 0)?;
        let recovery = Recovery { damage, moved_to, rows: 0, unreadable: 0, lost_commits: self.promised };
        Ok((fresh, database, state, Some(recovery)))
    }

    /// Reads what can be read into a new database, complete before it takes the old one's place.
    fn start_from_salvage(&self, name: &str, damage: StoreError) -> Result<Opened, StoreError> {
        let failed = |error: io::Error| system_error(self.folder.root(), &error);
        let found = salvage::salvage(&self.folder.path(name)).map_err(failed)?;
        let (rows, unreadable) = (found.rows.len() as u64, found.unreadable);
        let lost_commits = self.promised.saturating_sub(found.commit);
        let fresh = self.folder.next_name()?;
        let filling = self.folder.path(&format!("{fresh}.filling"));
        self.fill(&filling, found)?;
        let moved_to = self.folder.path(name).is_dir().then(|| self.folder.set_aside(name)).transpose()?;
        fs::rename(&filling, self.folder.path(&fresh)).map_err(failed)?;
        let (database, state) = self.open_checked(&self.folder.path(&fresh), Expected::Whole, 0)?;
        Ok((fresh, database, state, Some(Recovery { damage, moved_to, rows, unreadable, lost_commits })))
    }

    fn fill(&self, data: &Path, found: salvage::Salvaged) -> Result<(), StoreError> {
        let database = Database::open(data, self.options.cache_bytes, self.seam)?;
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
        drop(database);
        wait_until_released(data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::side::boot_id;
    use super::*;

    #[test]
    fn loss_is_possible_only_when_a_process_store_and_its_machine_both_stopped_short() {
        let mark = Mark { commit: 5, clean: false, process: true, complete: true, boot: Some([b'x'; 36]) };
        assert!(loss_possible(mark), "the machine went down");
        assert!(loss_possible(Mark { boot: None, ..mark }), "the machine may have gone down");
        assert!(!loss_possible(Mark { clean: true, ..mark }), "closed in order");
        assert!(!loss_possible(Mark { process: false, ..mark }), "synced at each commit");
        if boot_id().is_some() {
            assert!(!loss_possible(Mark { boot: boot_id(), ..mark }), "only the process ended");
        }
    }
}
