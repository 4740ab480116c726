//! Reading what a damaged database still holds, without opening it.
//!
//! sled keeps a log of segments, each a header and a run of messages with a CRC and a page number: whole pages, or single
//! changes of one. Playing all readable messages in the order of their log numbers gives the rows; what a damaged place held
//! is missing or older, which the record's own CRC and the counts below tell. The format is that of sled 0.34
//! (`serialization.rs`, `logger.rs`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::database::{ROWS, SEGMENT_BYTES, STATE, State};

/// What could be read.
#[derive(Debug, Default)]
pub(super) struct Salvaged {
    /// Rows by their keys as the engine knows them.
    pub(super) rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The commit at which the newest readable state of the store stands.
    pub(super) commit: u64,
    /// Damaged places: of each it is unknown how many rows it held.
    pub(super) unreadable: u64,
}

/// Reads all messages of the database in `folder`.
pub(super) fn salvage(folder: &Path) -> io::Result<Salvaged> {
    let log = match fs::read(folder.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        outcome => outcome?,
    };
    Ok(salvage_log(&log, SEGMENT_BYTES, folder.join("blobs")))
}

/// Reads all messages of a log whose segments have so many bytes, and whose largest pages are in files of the folder `blobs`.
pub(super) fn salvage_log(log: &[u8], segment_bytes: usize, blobs: PathBuf) -> Salvaged {
    let mut unreadable = 0;
    let mut messages = Vec::new();
    for segment in log.chunks(segment_bytes) {
        let header = segment_header(segment).map(|(number, _)| number);
        let used = header.is_some() || segment.iter().any(|byte| *byte != 0);
        unreadable += u64::from(used && header.is_none());
        if let Some(number) = header.or_else(|| guess_segment_number(segment).filter(|_| used)) {
            unreadable += read_segment(segment, number, &mut messages);
        }
    }
    messages.sort_by_key(|message| (message.segment, message.offset));
    let mut replay = Replay { blobs, unreadable, ..Replay::default() };
    for message in &messages {
        replay.play(message);
    }
    replay.finish()
}

pub(super) const SEGMENT_HEADER: usize = 20;
const FREE: u8 = 4;
const NODE: u8 = 8;
const BLOB_NODE: u8 = 9;
const LINK: u8 = 10;
const BLOB_LINK: u8 = 11;

pub(super) struct Message<'a> {
    segment: u64,
    offset: usize,
    pub(super) kind: u8,
    page: u64,
    body: &'a [u8],
}

/// The number of a segment whose header is whole, which is its place in the log in segments; and below which place of the
/// log everything was written when this segment was begun.
pub(super) fn segment_header(segment: &[u8]) -> Option<(u64, u64)> {
    let (header, _) = segment.split_first_chunk::<SEGMENT_HEADER>()?;
    let crc = u32::from_le_bytes(*header.first_chunk()?) ^ u32::MAX;
    if crc32fast::hash(&header[4..]) != crc {
        return None;
    }
    let place = |at: usize| header[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes) ^ 0x7FFF_FFFF_FFFF_FFFF);
    // Where nothing was written yet the place is -1.
    let stable = place(12)?;
    Some((place(4)? / SEGMENT_BYTES as u64, if stable > i64::MAX as u64 { 0 } else { stable }))
}

/// The number that the newest message of a segment without a header belongs to. Older ones are left from an earlier use.
pub(super) fn guess_segment_number(segment: &[u8]) -> Option<u64> {
    let (mut at, mut newest) = (SEGMENT_HEADER, None);
    while let Some(bytes) = segment.get(at..).filter(|bytes| !bytes.is_empty()) {
        match message(bytes, None) {
            Some((found, length)) => {
                newest = newest.max(Some(found.segment));
                at += length;
            }
            None => at += 1,
        }
    }
    newest
}

/// Collects the segment's messages and counts its holes: places that are no message and have one behind them.
fn read_segment<'a>(segment: &'a [u8], number: u64, messages: &mut Vec<Message<'a>>) -> u64 {
    let (mut at, mut holes, mut in_hole) = (SEGMENT_HEADER, 0, false);
    while let Some(bytes) = segment.get(at..).filter(|bytes| !bytes.is_empty()) {
        match message(bytes, Some(number)) {
            Some((mut message, length)) => {
                holes += u64::from(in_hole);
                in_hole = false;
                message.offset = at;
                messages.push(message);
                at += length;
            }
            None => {
                in_hole = true;
                at += 1;
            }
        }
    }
    holes
}

/// The message at the start of `bytes`, of this segment if one is given, and the bytes that it takes.
pub(super) fn message(bytes: &[u8], segment: Option<u64>) -> Option<(Message<'_>, usize)> {
    let mut rest = Bytes(bytes);
    let crc = u32::from_le_bytes(*rest.take(4)?.first_chunk()?);
    let kind = rest.byte()?;
    if !(1..=BLOB_LINK).contains(&kind) {
        return None;
    }
    let (length, number, page) = (rest.number()?, rest.number()?, rest.number()?);
    if segment.is_some_and(|segment| number != segment) {
        return None;
    }
    let header = bytes.get(4..bytes.len() - rest.0.len())?;
    let body = rest.take(usize::try_from(length).ok()?)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(body);
    hasher.update(header);
    let right = hasher.finalize() ^ u32::MAX == crc;
    right.then_some((Message { segment: number, offset: 0, kind, page, body }, bytes.len() - rest.0.len()))
}

#[derive(Default)]
struct Replay {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first bytes of all keys of a page, which its changes leave out.
    prefixes: HashMap<u64, Vec<u8>>,
    /// Pages of which only changes were found.
    baseless: HashSet<u64>,
    blobs: PathBuf,
    unreadable: u64,
}

impl Replay {
    fn play(&mut self, message: &Message<'_>) {
        let blob;
        let body = match message.kind {
            BLOB_NODE | BLOB_LINK => {
                blob = self.blob(message.body);
                blob.as_deref()
            }
            _ => Some(message.body),
        };
        let played = match (message.kind, body) {
            (NODE | BLOB_NODE, Some(body)) => self.page(message.page, body),
            (LINK | BLOB_LINK, Some(body)) => self.change(message.page, body),
            (FREE, _) => {
                self.baseless.remove(&message.page);
                self.prefixes.remove(&message.page);
                Some(())
            }
            (_, None) => None,
            _ => Some(()),
        };
        self.unreadable += u64::from(played.is_none());
    }

    /// A page that was too large for the log: CRC, kind and content in a file named by its log number.
    fn blob(&self, name: &[u8]) -> Option<Vec<u8>> {
        let number = i64::from_le_bytes(*name.first_chunk()?);
        let file = fs::read(self.blobs.join(number.to_string())).ok()?;
        let (crc, content) = file.split_first_chunk::<4>()?;
        let right = crc32fast::hash(content).to_le_bytes() == *crc;
        right.then(|| content.get(1..).unwrap_or_default().to_vec())
    }

    /// A whole page replaces all rows in its range.
    fn page(&mut self, page: u64, body: &[u8]) -> Option<()> {
        let mut body = Bytes(body);
        let (_next, _merging_child, _merging) = (body.number()?, body.number()?, body.byte()?);
        let prefix_length = usize::from(body.byte()?);
        let (low, high) = (body.string()?.to_vec(), body.string()?.to_vec());
        let prefix = low.get(..prefix_length)?.to_vec();
        let (is_index, count) = (body.byte()? != 0, body.number()?);
        self.baseless.remove(&page);
        if is_index {
            return Some(());
        }
        let keys = (0..count).map(|_| body.string()).collect::<Option<Vec<_>>>()?;
        let values = (0..count).map(|_| body.string()).collect::<Option<Vec<_>>>()?;
        self.forget(&low, &high);
        for (key, value) in keys.into_iter().zip(values) {
            self.rows.insert([prefix.as_slice(), key].concat(), value.to_vec());
        }
        self.prefixes.insert(page, prefix);
        Some(())
    }

    fn forget(&mut self, low: &[u8], high: &[u8]) {
        let end = if high.is_empty() { Bound::Unbounded } else { Bound::Excluded(high) };
        let range = (Bound::Included(low), end);
        let gone: Vec<_> = self.rows.range::<[u8], _>(range).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.rows.remove(&key);
        }
    }

    fn change(&mut self, page: u64, body: &[u8]) -> Option<()> {
        let mut body = Bytes(body);
        let kind = body.byte()?;
        if kind > 1 {
            return Some(());
        }
        let Some(prefix) = self.prefixes.get(&page) else {
            // A leftover of a page since freed, or a change of one whose content is lost.
            self.baseless.insert(page);
            return Some(());
        };
        let key = [prefix.as_slice(), body.string()?].concat();
        match kind {
            0 => drop(self.rows.insert(key, body.string()?.to_vec())),
            _ => drop(self.rows.remove(&key)),
        }
        Some(())
    }

    fn finish(mut self) -> Salvaged {
        let state = self.rows.remove(STATE).and_then(|row| State::decode(&row).ok());
        let rows = self.rows.into_iter().filter(|(key, _)| key.first() == Some(&ROWS));
        Salvaged {
            rows: rows.map(|(key, value)| (key.get(1..).unwrap_or_default().to_vec(), value)).collect(),
            commit: state.map_or(0, |state| state.commit),
            unreadable: self.unreadable + self.baseless.len() as u64,
        }
    }
}

/// Bytes being read from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// A number in sled's variable length.
    fn number(&mut self) -> Option<u64> {
        let first = u64::from(self.byte()?);
        Some(match first {
            0..=240 => first,
            241..=248 => 240 + 256 * (first - 241) + u64::from(self.byte()?),
            249 => 2288 + 256 * u64::from(self.byte()?) + u64::from(self.byte()?),
            _ => {
                let mut bytes = [0; 8];
                let taken = self.take(usize::try_from(first).ok()? - 247)?;
                bytes.get_mut(..taken.len())?.copy_from_slice(taken);
                u64::from_le_bytes(bytes)
            }
        })
    }

    /// Bytes behind their length.
    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }
}
