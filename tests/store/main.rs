//! What stores do when disks, processes and neighbours misbehave.
//!
//! Tests that need a process to die or to be limited start this binary again as a child; the children are the ignored tests.
//! A name that starts with `row_N` proves row N of the table of faults.

#![cfg(feature = "sled")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod basics;
mod conforms;
mod damage;
#[cfg(target_os = "linux")]
mod handles;
#[cfg(unix)]
mod hub;
mod kills;
mod locks;
mod power;
mod processes;
mod rotation;
mod space;
mod trials;
#[cfg(unix)]
mod troubles;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use switchboard::record::{self, Kind};
use switchboard::store::sled::SledOptions;
use switchboard::store::{Batch, Direction, Durability, Store, StoreError};

fn options(path: &Path, durability: Durability) -> SledOptions {
    SledOptions::new(path).durability(durability).unwrap().cache_bytes(8 << 20).unwrap()
}

fn fsync(path: &Path) -> SledOptions {
    options(path, Durability::Fsync)
}

fn key(number: u32) -> Vec<u8> {
    format!("row/{number:08}").into_bytes()
}

/// A row that says what it is: its number and its version, and bytes that follow from both.
fn sealed(number: u32, version: u32) -> Vec<u8> {
    let filling = vec![u8::try_from((number ^ version) % 251).unwrap(); 40 + (number as usize * 7) % 3000];
    record::seal(Kind::Meta, &key(number), &(number, version, filling.as_slice())).unwrap()
}

/// The version of a row that is what was written; panics where the bytes are right and say something else.
fn opened(number: u32, row: &[u8]) -> Result<u32, record::RecordError> {
    let (found, version, _) = record::open::<(u32, u32, &[u8])>(Kind::Meta, &key(number), row)?;
    assert_eq!((found, row), (number, sealed(number, version).as_slice()), "wrong bytes");
    Ok(version)
}

/// One commit: rows `first..first + rows`, all at `version`.
fn batch(first: u32, rows: u32, version: u32) -> Batch {
    let mut batch = Batch::default();
    for number in first..first + rows {
        batch.put(key(number), sealed(number, version));
    }
    batch
}

/// All rows of a store with their versions, or the store's error. A row that fails its checksum is `None`.
fn rows(store: &dyn Store) -> Result<BTreeMap<u32, Option<u32>>, StoreError> {
    let mut found = BTreeMap::new();
    store.scan(b"row/".as_slice()..b"row0".as_slice(), Direction::Ascending, &mut |key, value| {
        let number = std::str::from_utf8(&key[4..]).unwrap().parse().unwrap();
        found.insert(number, opened(number, value).ok());
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn numbers(store: &dyn Store) -> Vec<u32> {
    rows(store).unwrap().into_keys().collect()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every file below `path` with its bytes.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// The one data folder of a store.
fn data(root: &Path) -> PathBuf {
    let is_data = |name: &str| name.starts_with("data-") && !name.contains('.');
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
    let found: Vec<_> = entries.filter(|entry| is_data(entry.file_name().to_str().unwrap())).collect();
    assert_eq!(found.len(), 1, "one data folder");
    found[0].path()
}

/// Numbers that follow from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) % end as u64) as usize
    }
}
