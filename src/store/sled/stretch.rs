//! The stretch of sled's log that sled reads as it opens, looked at before sled does.
//!
//! sled takes a damaged message in the middle of its log for the end of a segment that was being used anew, leaves out the
//! rest of that segment and goes on with the next: rows are older or missing, and neither it nor the number of commits says
//! so. What lies above its last snapshot and below what its newest segment calls stable was surely whole once, so a hole
//! there is damage.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::causes::system_error;
use super::database::{SEGMENT_BYTES, corrupt};
use super::salvage::{SEGMENT_HEADER, guess_segment_number, message, segment_header};
use crate::store::StoreError;

/// What is left of a segment when sled begins no message in it any more.
const TOO_SHORT: usize = 32;
/// The message that ends a segment.
const CAP: u8 = 2;

/// Finds a hole in what sled is about to read of the log in `database`.
pub(super) fn check(database: &Path) -> Result<(), StoreError> {
    match hole(database) {
        Ok(None) => Ok(()),
        Ok(Some(segment)) => Err(corrupt(database, &format!("the log has a hole in segment {segment}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(system_error(database, &error)),
    }
}

/// The number of the first segment found with a hole.
fn hole(database: &Path) -> io::Result<Option<u64>> {
    let mut log = File::open(database.join("db"))?;
    let segments = log.metadata()?.len().div_ceil(SEGMENT_BYTES as u64);
    let mut headers = Vec::new();
    for index in 0..segments {
        headers.push(segment_header(&read(&mut log, index, SEGMENT_HEADER)?));
    }
    let from = snapshot(database)? / SEGMENT_BYTES as u64;
    let stable = headers.iter().flatten().map(|(_, below)| below / SEGMENT_BYTES as u64).max().unwrap_or(0);
    let stretch = from..stable;
    for (index, header) in (0..).zip(headers) {
        // A segment whose header is damaged may be of the stretch; most of the others are not, and need not be read.
        if stretch.is_empty() || header.is_some_and(|(number, _)| !stretch.contains(&number)) {
            continue;
        }
        let segment = read(&mut log, index, SEGMENT_BYTES)?;
        let number = header.map(|(number, _)| number).or_else(|| guess_segment_number(&segment));
        if let Some(number) = number.filter(|number| stretch.contains(number) && !is_whole(&segment, *number)) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// The first `bytes` of a segment, or what there is of them.
fn read(log: &mut File, index: u64, bytes: usize) -> io::Result<Vec<u8>> {
    log.seek(SeekFrom::Start(index * SEGMENT_BYTES as u64))?;
    let mut segment = Vec::with_capacity(bytes);
    log.take(bytes as u64).read_to_end(&mut segment)?;
    Ok(segment)
}

/// Where in the log the newest snapshot stands, as its name says; the start of the log without one.
fn snapshot(database: &Path) -> io::Result<u64> {
    fs::read_dir(database)?.try_fold(0, |newest, entry| {
        let name = entry?.file_name();
        let at = name.to_str().and_then(|name| name.strip_prefix("snap.")).filter(|digits| digits.len() == 16);
        Ok(at.and_then(|digits| u64::from_str_radix(digits, 16).ok()).map_or(newest, |at| newest.max(at)))
    })
}

/// Whether a segment can be read from its header to its end, or was being used anew when the process ended.
fn is_whole(segment: &[u8], number: u64) -> bool {
    let mut at = SEGMENT_HEADER;
    while segment.len() - at >= TOO_SHORT {
        match message(&segment[at..], Some(number)) {
            Some((message, _)) if message.kind == CAP => break,
            Some((_, length)) => at += length,
            None => return guess_segment_number(&segment[at..]).is_some_and(|newest| newest > number),
        }
    }
    segment_header(segment).is_some()
}
