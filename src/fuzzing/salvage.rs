//! A log as sled writes it, damaged somewhere: what is salvaged was there once, and what is missing is told.

use std::collections::{BTreeMap, BTreeSet};

use super::Choices;
use crate::store::sled::salvaged_rows;

/// Small segments, so that a few messages fill several.
const SEGMENT: usize = 512;
/// What stands before a segment's messages.
const HEADER: usize = 20;
/// A segment's number stands in its header times this, whatever its real size.
const PLACES: u64 = 2 * 1024 * 1024;
/// The least key of the second page.
const MIDDLE: [u8; 2] = [1, 8];
const FREE: u8 = 4;
const NODE: u8 = 8;
const LINK: u8 = 10;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The first bytes are what was written, then come some damaged places: two bytes each, where and how.
pub fn salvage(data: &[u8]) {
    let mut choices = Choices(data);
    let mut log = Log::default();
    log.base(0);
    log.base(1);
    for _ in 0..choices.below(48) {
        log.write(&mut choices);
    }
    let bytes = log.bytes();
    let (rows, unreadable) = salvaged_rows(&bytes, SEGMENT);
    assert_eq!((&rows, unreadable), (&log.rows, 0), "all of a sound log is salvaged");
    let (damaged, is_told) = log.damage(bytes, &mut choices);
    let (rows, unreadable) = salvaged_rows(&damaged, SEGMENT);
    for (key, value) in &rows {
        let ever = log.ever.get(key).is_some_and(|values| values.contains(value));
        assert!(ever, "{key:?} never was {value:?}");
    }
    assert!(!is_told || unreadable > 0, "a hole is told");
}

#[derive(Default)]
struct Log {
    /// Full segments and the one that is being filled, without their headers, each with where its messages end.
    segments: Vec<(Vec<u8>, Vec<usize>)>,
    rows: Rows,
    /// All values that a key ever had.
    ever: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
}

impl Log {
    fn write(&mut self, choices: &mut Choices<'_>) {
        let key = vec![1, choices.byte() % 16];
        let page = usize::from(key.as_slice() >= &MIDDLE[..]);
        match choices.below(8) {
            0 => self.base(page),
            1 => {
                self.message(FREE, page, &[]);
                self.base(page);
            }
            2 | 3 => {
                self.rows.remove(&key);
                self.message(LINK, page, &change(1, page, &key, &[]));
            }
            _ => {
                let value = vec![choices.byte(); choices.below(20)];
                self.rows.insert(key.clone(), value.clone());
                self.ever.entry(key.clone()).or_default().insert(value.clone());
                self.message(LINK, page, &change(0, page, &key, &value));
            }
        }
    }

    /// A whole page: all rows of its half. The keys of the second are written without their first byte, which all share.
    fn base(&mut self, page: usize) {
        let held: Vec<_> =
            self.rows.iter().filter(|(key, _)| usize::from(key.as_slice() >= &MIDDLE[..]) == page).collect();
        let mut body = vec![0, 0, 0, page as u8];
        let (low, high): (&[u8], &[u8]) = if page == 0 { (&[], &MIDDLE) } else { (&MIDDLE, &[]) };
        body.extend([string(low), string(high), vec![0, held.len() as u8]].concat());
        held.iter().for_each(|(key, _)| body.extend(string(&key[page..])));
        held.iter().for_each(|(_, value)| body.extend(string(value)));
        self.message(NODE, page, &body);
    }

    fn message(&mut self, kind: u8, page: usize, body: &[u8]) {
        let fits = |(segment, _): &(Vec<u8>, Vec<usize>)| HEADER + segment.len() + body.len() + 16 <= SEGMENT;
        if !self.segments.last().is_some_and(fits) {
            self.segments.push((Vec::new(), Vec::new()));
        }
        let number = self.segments.len() as u64 - 1;
        let Some((segment, ends)) = self.segments.last_mut() else { return };
        let header = [vec![kind], varint(body.len() as u64), varint(number), varint(page as u64)].concat();
        let crc = crc32fast::hash(&[body, &header].concat()) ^ u32::MAX;
        segment.extend([&crc.to_le_bytes()[..], &header, body].concat());
        ends.push(segment.len());
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, (segment, _)) in (0u64..).zip(&self.segments) {
            let places = [number * PLACES, 0].map(|place| (place ^ 0x7FFF_FFFF_FFFF_FFFF).to_le_bytes());
            let crc = crc32fast::hash(&places.concat()) ^ u32::MAX;
            bytes.extend([&crc.to_le_bytes()[..], &places.concat(), segment].concat());
            bytes.resize((number as usize + 1) * SEGMENT, 0);
        }
        bytes
    }

    /// Damages some bytes; says whether anything stood behind one of them in its segment, so that the hole shows.
    fn damage(&self, mut bytes: Vec<u8>, choices: &mut Choices<'_>) -> (Vec<u8>, bool) {
        let (mut places, mut lasts) = (BTreeSet::new(), true);
        for _ in 0..=choices.below(4) {
            let at = usize::from(u16::from_be_bytes([choices.byte(), choices.byte()])) % bytes.len();
            let Some((segment, ends)) = self.segments.get(at / SEGMENT) else { continue };
            let inside = at % SEGMENT;
            if inside < HEADER + segment.len() && places.insert(at) {
                bytes[at] ^= choices.byte().max(1);
                let last = ends.len().checked_sub(2).and_then(|before| ends.get(before)).copied().unwrap_or_default();
                lasts &= inside >= HEADER + last;
            }
        }
        // Where the last message of a segment is broken too, nothing may be left behind the hole.
        let one = places.len() == 1;
        (bytes, one && !lasts)
    }
}

fn change(kind: u8, page: usize, key: &[u8], value: &[u8]) -> Vec<u8> {
    let value = if kind == 0 { string(value) } else { Vec::new() };
    [vec![kind], string(&key[page..]), value].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A number in sled's variable length: the short forms, and the one of two bytes.
fn varint(number: u64) -> Vec<u8> {
    match number {
        0..=240 => vec![number as u8],
        _ => vec![241 + ((number - 240) / 256) as u8, ((number - 240) % 256) as u8],
    }
}
