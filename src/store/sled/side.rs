//! The side file: how far the store came, kept apart from the database.
//!
//! It says two things, each in a pair of slots of its own. A *mark* names the last commit that is surely on disk: it is
//! written only after a real sync, so that it may lag behind the store and never leads it. A *note* names the last commit
//! that the system has taken: it is written before each acknowledgement that waits for no sync, itself without one, and holds
//! for the start of the machine during which it was written. A database that knows fewer commits than either has been rolled
//! back, however intact it looks.
//!
//! The slots of a pair are written in turn, each with its CRC, so that one is whole whatever happens during a write.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Slots lie in pages of their own, so that no torn write of the disk hits two.
const SLOT_EVERY: u64 = 4096;
const SLOT_BYTES: usize = 64;
const MARKS: Pair = Pair { first: 0, magic: *b"SBc1" };
const NOTES: Pair = Pair { first: 2, magic: *b"SBn1" };

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// How far the store came.
    pub(super) commit: u64,
    /// Whether the store ended by `close`.
    pub(super) clean: bool,
    /// Whether commits above `commit` may have been acknowledged before they were synced.
    pub(super) process: bool,
    /// Whether the store was complete when this was written: `current` and a note lie beside it. Earlier versions did not
    /// say, and wrote no notes.
    pub(super) complete: bool,
    /// The start of the machine during which this was written; `None` where the system names none.
    pub(super) boot: Option<[u8; 36]>,
}

impl Mark {
    /// Whether the machine surely has not gone down since.
    pub(super) fn is_of_this_boot(&self) -> bool {
        self.boot.is_some() && self.boot == boot_id()
    }
}

/// What the last run left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// `None` where there is nothing readable.
    pub(super) mark: Option<Mark>,
    note: Option<Mark>,
    mark_sequence: u64,
    note_sequence: u64,
}

impl Left {
    /// Reads the side file, which need not be there.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            outcome => outcome?,
        };
        let ((mark_sequence, mark), (note_sequence, note)) = (MARKS.read(&file)?, NOTES.read(&file)?);
        Ok(Self { mark, note, mark_sequence, note_sequence })
    }

    /// The commits that the database must know.
    pub(super) fn promised(&self) -> u64 {
        let noted = self.note.filter(|note| self.keeps_notes() && note.is_of_this_boot());
        self.mark.map_or(0, |mark| mark.commit).max(noted.map_or(0, |note| note.commit))
    }

    /// Whether a note must lie beside the mark, and none does: then nobody knows how far the store came.
    pub(super) fn lacks_its_note(&self) -> bool {
        let needed = self.mark.is_some_and(|mark| mark.process && !mark.clean && mark.is_of_this_boot());
        needed && self.keeps_notes() && self.note.is_none()
    }

    fn keeps_notes(&self) -> bool {
        self.mark.is_some_and(|mark| mark.complete)
    }
}

/// The open side file.
#[derive(Debug)]
pub(super) struct SideFile {
    file: File,
    mark_sequence: u64,
    note_sequence: u64,
    mark: Mark,
    unsynced: bool,
}

impl SideFile {
    /// Opens the side file, or makes one, to go on after what was left.
    pub(super) fn open(path: &Path, left: &Left, process: bool) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mark = Mark { commit: 0, clean: false, process, complete: false, boot: boot_id() };
        let (mark_sequence, note_sequence) = (left.mark_sequence, left.note_sequence);
        Ok(Self { file, mark_sequence, note_sequence, mark, unsynced: true })
    }

    /// Says that `commit` is surely on disk.
    pub(super) fn record(&mut self, commit: u64) -> io::Result<()> {
        self.mark.commit = commit;
        self.write()
    }

    /// Says that the system has taken `commit`, which then survives the end of this process. Asks for no sync: the note is
    /// good for as long as the system is up.
    pub(super) fn note(&mut self, commit: u64) -> io::Result<()> {
        self.note_sequence += 1;
        NOTES.write(&self.file, self.note_sequence, &Mark { commit, ..self.mark })
    }

    /// Says that the store stands at `commit` and that all its parts are there, and forgets what was said before. Each slot
    /// is written, so that later ones need no space.
    pub(super) fn complete(&mut self, commit: u64) -> io::Result<()> {
        self.mark.complete = true;
        for _ in 0..2 {
            self.note(commit)?;
            self.record(commit)?;
            self.sync()?;
        }
        Ok(())
    }

    /// Says that the store ends here, in order.
    pub(super) fn record_clean(&mut self, commit: u64) -> io::Result<()> {
        self.mark.clean = true;
        self.record(commit)?;
        self.sync()
    }

    fn write(&mut self) -> io::Result<()> {
        self.mark_sequence += 1;
        self.unsynced = true;
        MARKS.write(&self.file, self.mark_sequence, &self.mark)
    }

    /// Syncs the file itself, where it was written since.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.file.sync_data()?;
            self.unsynced = false;
        }
        Ok(())
    }
}

/// Two slots that are written in turn.
struct Pair {
    first: u64,
    magic: [u8; 4],
}

impl Pair {
    /// The newest whole slot, and its sequence.
    fn read(&self, file: &File) -> io::Result<(u64, Option<Mark>)> {
        let slots = [self.read_slot(file, 0)?, self.read_slot(file, 1)?];
        let newest = slots.into_iter().flatten().max_by_key(|slot| slot.0);
        Ok((newest.map_or(0, |(sequence, _)| sequence), newest.map(|(_, mark)| mark)))
    }

    fn read_slot(&self, file: &File, index: u64) -> io::Result<Option<(u64, Mark)>> {
        let mut slot = [0; SLOT_BYTES];
        match read_exact_at(file, &mut slot, self.offset(index)) {
            Ok(()) => Ok(self.decode(&slot)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, file: &File, sequence: u64, mark: &Mark) -> io::Result<()> {
        write_all_at(file, &self.encode(sequence, mark), self.offset(sequence % 2))
    }

    const fn offset(&self, index: u64) -> u64 {
        (self.first + index) * SLOT_EVERY
    }

    fn encode(&self, sequence: u64, mark: &Mark) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        slot[..4].copy_from_slice(&self.magic);
        slot[4..8].copy_from_slice(&[mark.clean, mark.process, mark.boot.is_some(), mark.complete].map(u8::from));
        slot[8..16].copy_from_slice(&sequence.to_le_bytes());
        slot[16..24].copy_from_slice(&mark.commit.to_le_bytes());
        slot[24..60].copy_from_slice(&mark.boot.unwrap_or([0; 36]));
        let crc = crc32c::crc32c(&slot[..60]);
        slot[60..].copy_from_slice(&crc.to_le_bytes());
        slot
    }

    fn decode(&self, slot: &[u8; SLOT_BYTES]) -> Option<(u64, Mark)> {
        if slot[..4] != self.magic || crc32c::crc32c(&slot[..60]).to_le_bytes() != slot[60..] {
            return None;
        }
        let number = |at: usize| slot[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let [clean, process, named, complete] = [slot[4], slot[5], slot[6], slot[7]].map(|flag| flag != 0);
        let boot = slot[24..].first_chunk().copied().filter(|_| named);
        Some((number(8)?, Mark { commit: number(16)?, clean, process, complete, boot }))
    }
}

#[cfg(unix)]
use std::os::unix::fs::FileExt;

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(bytes, offset)
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

#[cfg(not(unix))]
fn read_exact_at(mut file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
    io::Read::read_exact(&mut file, bytes)
}

#[cfg(not(unix))]
fn write_all_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
    io::Write::write_all(&mut file, bytes)
}

/// The name of this start of the machine, where the system gives one: Linux does.
pub(super) fn boot_id() -> Option<[u8; 36]> {
    let text = fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    text.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> SideFile {
        SideFile::open(path, &Left::read(path).unwrap(), true).unwrap()
    }

    #[test]
    fn the_newer_whole_slot_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("side");
        assert_eq!(Left::read(&path).unwrap(), Left::default());
        let mut side = open(&path);
        for commit in 1..=5 {
            side.record(commit).unwrap();
        }
        let found = || Left::read(&path).unwrap().mark.map(|mark| mark.commit);
        assert_eq!(found(), Some(5));
        write_all_at(&side.file, &[0; 20], SLOT_EVERY).unwrap();
        assert_eq!(found(), Some(4), "the slot of commit 5 is damaged");
        write_all_at(&side.file, &[0; 20], 0).unwrap();
        assert_eq!(found(), None, "both slots are damaged");
    }

    #[test]
    fn a_slot_says_how_the_run_ended() {
        let mark = Mark { commit: 9, clean: true, process: true, complete: true, boot: Some([b'x'; 36]) };
        assert_eq!(MARKS.decode(&MARKS.encode(3, &mark)), Some((3, mark)));
        let unnamed = Mark { boot: None, clean: false, ..mark };
        assert_eq!(MARKS.decode(&MARKS.encode(4, &unnamed)), Some((4, unnamed)));
        assert_eq!(NOTES.decode(&MARKS.encode(4, &unnamed)), None, "a mark is no note");
    }

    /// What was acknowledged between two syncs was not written down anywhere but in the database that lost it.
    #[test]
    fn a_note_is_a_promise_for_the_start_of_the_machine_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("side");
        let mut side = open(&path);
        side.complete(10).unwrap();
        (11..=15).for_each(|commit| side.note(commit).unwrap());
        assert!(!side.unsynced, "a note costs no sync, neither now nor later");
        let left = || Left::read(&path).unwrap();
        let known = boot_id().is_some();
        assert_eq!(left().promised(), if known { 15 } else { 10 });
        side.mark.boot = Some([b'x'; 36]);
        side.note(16).unwrap();
        assert_eq!(left().promised(), 10, "the machine went down since");
        assert!(!left().lacks_its_note());
        for slot in [2, 3] {
            write_all_at(&side.file, &[0; 20], slot * SLOT_EVERY).unwrap();
        }
        assert_eq!(left().lacks_its_note(), known);
        side.record_clean(16).unwrap();
        assert!(!left().lacks_its_note(), "a store that was closed needs no note");
        side.complete(3).unwrap();
        assert_eq!(left().promised(), 3, "a recovered store starts from where it stands");
    }
}
