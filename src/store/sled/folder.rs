//! The store's folder: what lies where, and how it changes without ever being half changed.
//!
//! No file is opened on the way of a commit: what a commit syncs or writes is held open, so that a process without a free
//! handle still commits.
//!
//! ```text
//! lock            held while the store is open
//! current         one line: the folder in use and its CRC
//! commits         the side file
//! data-1          a sled database
//! data-1.damaged-1   one that was moved aside on request
//! data-1.before   a copy of the database as it was, while it is being opened
//! data-1.opened   what sled made of one that is refused, while the copy takes its place
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs2::FileExt;

use super::causes::{sync_error, system_error};
use super::database::corrupt;
use crate::store::StoreError;

/// What the names end with of a copy made before sled opens a database, and of what sled made of one that is refused.
const BEFORE: &str = "before";
const OPENED: &str = "opened";
/// What the names end with that an interrupted step leaves.
const LEFTOVERS: [&str; 4] = [".before", ".opened", ".filling", ".next"];

/// A folder held open. Only Unix gives handles of folders; elsewhere the file system orders names by itself.
#[derive(Debug)]
pub(super) struct OpenFolder(Option<File>);

impl OpenFolder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(if cfg!(unix) { Some(File::open(path)?) } else { None }))
    }

    /// Makes the names in the folder outlive the machine.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), File::sync_all)
    }

    /// When a name last came or went, where that can be asked for.
    pub(super) fn modified(&self) -> io::Result<SystemTime> {
        self.0.as_ref().ok_or(io::ErrorKind::Unsupported)?.metadata()?.modified()
    }

    pub(super) fn set_modified(&self, at: SystemTime) -> io::Result<()> {
        self.0.as_ref().ok_or(io::ErrorKind::Unsupported)?.set_modified(at)
    }
}

/// What the store says of the folder in use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Current {
    /// There is no `current`.
    Missing,
    /// What it says cannot be read.
    Damaged,
    /// It names this folder, which may be there or not.
    Named(String),
}

/// A store's folder, locked.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    names: OpenFolder,
    /// Dropping it lets the next one in.
    _lock: File,
    /// Whether this open made the folder, so that a failed one can leave no trace.
    made: bool,
}

impl Folder {
    /// Makes the folder where it is missing, and locks it.
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        let missing: Vec<_> =
            root.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
        let made = !missing.is_empty();
        if made {
            fs::create_dir_all(root).map_err(|error| unwritable(root, &error))?;
            missing.into_iter().for_each(sync_parent);
        }
        let names = OpenFolder::open(root).map_err(|error| unwritable(root, &error));
        match lock(root).and_then(|lock| Ok((lock, names?))) {
            Ok((lock, names)) => Ok(Self { root: root.to_owned(), names, _lock: lock, made }),
            Err(error) => {
                if made {
                    let _ = fs::remove_file(root.join("lock"));
                    let _ = fs::remove_dir(root);
                }
                Err(error)
            }
        }
    }

    /// Leaves no trace of a store that could not be made.
    pub(super) fn abandon(self) {
        let Self { root, names, _lock, made } = self;
        // Removing folders takes handles, and these may be the last ones.
        drop((names, _lock));
        if made {
            let _ = fs::remove_dir_all(root);
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What `current` says.
    pub(super) fn current(&self) -> Result<Current, StoreError> {
        match fs::read(self.path("current")) {
            Ok(line) => {
                let name = String::from_utf8(line).ok().and_then(|line| checked_name(&line));
                Ok(name.map_or(Current::Damaged, Current::Named))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Current::Missing),
            Err(error) => Err(system_error(&self.root, &error)),
        }
    }

    /// The only data folder, if there is one. It is surely the one in use: rotation makes a second one only beside a
    /// `current`.
    pub(super) fn only_data_folder(&self) -> Result<Option<String>, StoreError> {
        let mut names = self.data_folders()?;
        match (names.pop(), names.is_empty()) {
            (only, true) => Ok(only),
            _ => Err(corrupt(&self.root, "`current` is missing or damaged and there are several data folders")),
        }
    }

    /// Makes `name` the folder in use, in one step that either happens or does not.
    pub(super) fn set_current(&self, name: &str) -> Result<(), StoreError> {
        // A full disk must not keep a store from opening that needs no change.
        if self.current()? == Current::Named(name.to_owned()) {
            return Ok(());
        }
        self.point_to(name)?;
        self.sync_names()
    }

    /// The one step, which [`sync_names`](Self::sync_names) makes outlive the machine. Where it fails, nothing has changed.
    pub(super) fn point_to(&self, name: &str) -> Result<(), StoreError> {
        let line = format!("{name} {:08x}\n", crc32c::crc32c(name.as_bytes()));
        let next = self.path("current.next");
        let failed = |error: io::Error| system_error(&self.root, &error);
        fs::write(&next, &line).map_err(failed)?;
        let written = File::open(&next).map_err(failed)?;
        written.sync_all().map_err(|error| sync_error(&self.root, &error))?;
        fs::rename(&next, self.path("current")).map_err(failed)
    }

    pub(super) fn sync_names(&self) -> Result<(), StoreError> {
        self.names.sync().map_err(|error| sync_error(&self.root, &error))
    }

    /// A name that no data folder has had.
    pub(super) fn next_name(&self) -> Result<String, StoreError> {
        let mut highest = 0;
        for name in self.entries()? {
            let digits = name.strip_prefix("data-").map(|rest| rest.split('.').next().unwrap_or(rest));
            highest = digits.and_then(|digits| digits.parse().ok()).map_or(highest, |number: u64| highest.max(number));
        }
        Ok(format!("data-{}", highest + 1))
    }

    /// Removes what an interrupted rotation or open has left. Only what was moved aside on request stays.
    pub(super) fn remove_leftovers(&self, current: &str) -> Result<(), StoreError> {
        for name in self.entries()? {
            let leftover = is_data(&name) || LEFTOVERS.iter().any(|end| name.ends_with(end));
            if leftover && name != current {
                remove(&self.path(&name)).map_err(|error| system_error(&self.root, &error))?;
            }
        }
        Ok(())
    }

    /// Moves a damaged data folder out of the way and says where to.
    pub(super) fn set_aside(&self, name: &str) -> Result<PathBuf, StoreError> {
        let aside = (1_u32..).map(|number| self.path(&format!("{name}.damaged-{number}")));
        let target = aside.into_iter().find(|path| !path.exists()).unwrap_or_else(|| self.path("damaged"));
        fs::rename(self.path(name), &target).map_err(|error| system_error(&self.root, &error))?;
        self.sync_names()?;
        Ok(target)
    }

    fn data_folders(&self) -> Result<Vec<String>, StoreError> {
        let mut names = self.entries()?;
        names.retain(|name| is_data(name));
        Ok(names)
    }

    fn entries(&self) -> Result<Vec<String>, StoreError> {
        let list = || {
            let entries = fs::read_dir(&self.root)?.collect::<io::Result<Vec<_>>>()?;
            Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
        };
        list().map_err(|error| system_error(&self.root, &error))
    }
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| unwritable(root, &error))?;
    match FileExt::try_lock_exclusive(&file) {
        Ok(()) => Ok(file),
        Err(error) if error.kind() == fs2::lock_contended_error().kind() => {
            Err(StoreError::Locked { path: root.to_owned() })
        }
        Err(error) => Err(system_error(root, &error)),
    }
}

/// Whatever keeps a folder from being made or locked makes it unwritable; only a full disk and a lack of handles pass.
fn unwritable(root: &Path, error: &io::Error) -> StoreError {
    match system_error(root, error) {
        passing @ (StoreError::Full | StoreError::Exhausted(_)) => passing,
        _ => StoreError::ReadOnly { path: root.to_owned(), reason: error.to_string() },
    }
}

fn is_data(name: &str) -> bool {
    name.strip_prefix("data-").is_some_and(|digits| digits.parse::<u64>().is_ok())
}

fn checked_name(line: &str) -> Option<String> {
    let (name, crc) = line.trim_end().split_once(' ')?;
    let right = u32::from_str_radix(crc, 16).ok()? == crc32c::crc32c(name.as_bytes());
    (right && is_data(name)).then(|| name.to_owned())
}

/// A copy of a database as it was before sled opened it.
///
/// sled repairs in place as it opens, before anyone can say whether the repair lost something. With this copy a database that
/// turns out damaged, or older than it should be, is left exactly as it was found.
#[derive(Debug)]
pub(super) struct Backup {
    original: PathBuf,
    copy: PathBuf,
}

impl Backup {
    /// Copies the database in `original`; `None` where it is larger than `bytes_max`, or the disk has no room for a copy.
    ///
    /// # Errors
    /// [`StoreError::Exhausted`]: without handles for a copy there are none for sled.
    pub(super) fn take(original: &Path, bytes_max: u64) -> Result<Option<Self>, StoreError> {
        let backup = Self { original: original.to_owned(), copy: original.with_extension(BEFORE) };
        if folder_bytes(original).map_err(|error| system_error(original, &error))? > bytes_max {
            return Ok(None);
        }
        // An open that was killed may have left half a copy.
        let _ = fs::remove_dir_all(&backup.copy);
        let Err(error) = copy_folder(&backup.original, &backup.copy) else { return Ok(Some(backup)) };
        backup.discard();
        match system_error(original, &error) {
            error @ StoreError::Exhausted(_) => Err(error),
            error => {
                tracing::warn!(%error, "opening the store without a copy to fall back to");
                Ok(None)
            }
        }
    }

    /// Forgets the copy.
    pub(super) fn discard(self) {
        let _ = fs::remove_dir_all(&self.copy);
    }

    /// Puts the copy in the place of what sled has made of the original. Killed on the way, the next open ends it.
    pub(super) fn restore(self) -> io::Result<()> {
        let opened = self.original.with_extension(OPENED);
        fs::rename(&self.original, &opened)?;
        fs::rename(&self.copy, &self.original)?;
        fs::remove_dir_all(opened)
    }

    /// Ends a [`restore`](Self::restore) that was killed between its two steps.
    pub(super) fn end_restore(original: &Path) -> io::Result<()> {
        let (copy, opened) = (original.with_extension(BEFORE), original.with_extension(OPENED));
        // Only a whole copy was about to take the original's place.
        if !original.exists() && opened.is_dir() && copy.is_dir() { fs::rename(copy, original) } else { Ok(()) }
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Moves what sled can do without to names that it does not look for. Returns whether there was any.
///
/// A snapshot only shortens recovery: without it sled reads its whole log. `conf` holds the settings that this version always
/// uses, and is written again.
pub(super) fn move_dispensable_away(data: &Path) -> io::Result<bool> {
    let mut moved = false;
    for entry in fs::read_dir(data)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.starts_with("snap.") || *name == "conf") {
            fs::rename(data.join(name), data.join(format!("unread.{name}")))?;
            moved = true;
        }
    }
    Ok(moved)
}

/// Removes what was moved away, once the database has done without.
pub(super) fn forget_dispensable(data: &Path) {
    for entry in fs::read_dir(data).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with("unread.")) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The bytes of the database in use and of a copy under way; what was moved aside does not count.
pub(super) fn data_bytes(root: &Path) -> io::Result<u64> {
    fs::read_dir(root)?.try_fold(0, |bytes, entry| {
        let entry = entry?;
        let is_data = entry.file_name().to_str().is_some_and(is_data);
        Ok(if is_data { bytes + folder_bytes(&entry.path())? } else { bytes })
    })
}

/// The bytes of all files below `path`, zero where there is nothing.
pub(super) fn folder_bytes(path: &Path) -> io::Result<u64> {
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(0) } else { Err(error) };
    let bytes = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) if found.is_dir() => folder_bytes(&entry.path()),
            Ok(found) => Ok(found.len()),
            Err(error) => gone(error),
        }
    };
    match fs::read_dir(path) {
        Ok(mut entries) => entries.try_fold(0, |sum, entry| Ok(sum + bytes(entry)?)),
        Err(error) => gone(error),
    }
}

/// Makes the names in a folder outlive the machine.
pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let folder = OpenFolder::open(path).map_err(|error| system_error(path, &error))?;
    folder.sync().map_err(|error| sync_error(path, &error))
}

/// A parent that cannot be synced (say, without permission to read it) is no reason to refuse a store inside it.
fn sync_parent(path: &Path) {
    let parent = path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    if let Some(Err(error)) = parent.map(sync_folder) {
        tracing::warn!(%error, "the folder above the store could not be synced");
    }
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}
