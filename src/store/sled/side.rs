//! The side file: the number of the last commit that is surely on disk, kept apart from the database.
//!
//! Two slots are written in turn, each with its CRC, so that one is whole whatever happens during a write. A slot is written
//! only after a real sync: the file may lag behind the store and never leads it. A database that knows fewer commits than
//! this file has therefore been rolled back, however intact it looks.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::store::Durability;

/// Slots lie in pages of their own, so that no torn write of the disk hits both.
const SLOT_EVERY: u64 = 4096;
const SLOT_BYTES: usize = 64;
const MAGIC: [u8; 4] = *b"SBc1";

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The last commit that is surely on disk.
    pub(super) commit: u64,
    /// Whether the store ended by `close`.
    pub(super) clean: bool,
    /// Whether commits above `commit` may have been acknowledged before they were synced.
    pub(super) process: bool,
    /// The start of the machine during which this was written; `None` where the system names none.
    pub(super) boot: Option<[u8; 36]>,
}

/// The open side file.
#[derive(Debug)]
pub(super) struct SideFile {
    file: File,
    sequence: u64,
    mark: Mark,
    unsynced: bool,
}

impl SideFile {
    /// Opens the side file, or makes one. Also gives what the last run left: `None` where there is nothing readable.
    pub(super) fn open(path: &Path, durability: Durability) -> io::Result<(Self, Option<Mark>)> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let found = [read_slot(&file, 0)?, read_slot(&file, 1)?].into_iter().flatten().max_by_key(|slot| slot.0);
        let mark = Mark { commit: 0, clean: false, process: durability == Durability::Process, boot: boot_id() };
        let sequence = found.map_or(0, |(sequence, _)| sequence);
        Ok((Self { file, sequence, mark, unsynced: true }, found.map(|(_, mark)| mark)))
    }

    /// Says that `commit` is surely on disk.
    pub(super) fn record(&mut self, commit: u64) -> io::Result<()> {
        self.mark.commit = commit;
        self.mark.clean = false;
        self.write()
    }

    /// Says that the store ends here, in order.
    pub(super) fn record_clean(&mut self, commit: u64) -> io::Result<()> {
        self.mark.commit = commit;
        self.mark.clean = true;
        self.write()?;
        self.sync()
    }

    fn write(&mut self) -> io::Result<()> {
        self.sequence += 1;
        self.unsynced = true;
        write_slot(&self.file, self.sequence % 2, &encode(self.sequence, &self.mark))
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

fn encode(sequence: u64, mark: &Mark) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..4].copy_from_slice(&MAGIC);
    slot[4..7].copy_from_slice(&[u8::from(mark.clean), u8::from(mark.process), u8::from(mark.boot.is_some())]);
    slot[8..16].copy_from_slice(&sequence.to_le_bytes());
    slot[16..24].copy_from_slice(&mark.commit.to_le_bytes());
    slot[24..60].copy_from_slice(&mark.boot.unwrap_or([0; 36]));
    let crc = crc32c::crc32c(&slot[..60]);
    slot[60..].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn write_slot(mut file: &File, index: u64, slot: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(index * SLOT_EVERY))?;
    file.write_all(slot)
}

fn read_slot(mut file: &File, index: u64) -> io::Result<Option<(u64, Mark)>> {
    let mut slot = [0; SLOT_BYTES];
    file.seek(SeekFrom::Start(index * SLOT_EVERY))?;
    match file.read_exact(&mut slot) {
        Ok(()) => Ok(decode(&slot)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn decode(slot: &[u8; SLOT_BYTES]) -> Option<(u64, Mark)> {
    if slot[..4] != MAGIC || crc32c::crc32c(&slot[..60]).to_le_bytes() != slot[60..] {
        return None;
    }
    let number = |at: usize| slot[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let boot = slot[24..].first_chunk().copied().filter(|_| slot[6] != 0);
    Some((number(8)?, Mark { commit: number(16)?, clean: slot[4] != 0, process: slot[5] != 0, boot }))
}

/// The name of this start of the machine, where the system gives one.
pub(super) fn boot_id() -> Option<[u8; 36]> {
    let text = fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    text.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_whole_slot_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("side");
        let (mut side, found) = SideFile::open(&path, Durability::Fsync).unwrap();
        assert_eq!(found, None);
        for commit in 1..=5 {
            side.record(commit).unwrap();
        }
        let found = || SideFile::open(&path, Durability::Fsync).unwrap().1.map(|mark| mark.commit);
        assert_eq!(found(), Some(5));
        write_slot(&side.file, 1, &[0; 20]).unwrap();
        assert_eq!(found(), Some(4), "the slot of commit 5 is damaged");
        write_slot(&side.file, 0, &[0; 20]).unwrap();
        assert_eq!(found(), None, "both slots are damaged");
    }

    #[test]
    fn a_slot_says_how_the_run_ended() {
        let mark = Mark { commit: 9, clean: true, process: true, boot: Some([b'x'; 36]) };
        assert_eq!(decode(&encode(3, &mark)), Some((3, mark)));
        let unnamed = Mark { boot: None, clean: false, ..mark };
        assert_eq!(decode(&encode(4, &unnamed)), Some((4, unnamed)));
    }
}
