//! Row 69: a store of an earlier format opens, is upgraded in place, and holds everything, wherever it is killed meanwhile.
//!
//! `fixtures/format_1.rows` is what the last version of format 1 left of the life in `story`, a row a line as hex of key and
//! value; the tests put these rows into a store, for real files of sled are a thousand times as large. `format_1.read` is all
//! that this same version could read of it. `write_the_fixture` made both.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[cfg(feature = "sled")]
#[path = "upgrade/killed.rs"]
mod killed;
#[path = "upgrade/story.rs"]
mod story;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use switchboard::record::{self, Kind};
use switchboard::store::faulty::FaultyStore;
use switchboard::store::memory::MemoryStore;
use switchboard::store::{Batch, Direction, Durability, Store, StoreError, StoreStatus, Visit};
use switchboard::{Engine, NoHooks, StartError};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 16).unwrap()).collect()
}

/// The store of format 1.
fn old_rows() -> Rows {
    let text = fs::read_to_string(fixtures().join("format_1.rows")).unwrap();
    let rows = text.lines().map(|line| line.split_once(' ').unwrap());
    rows.map(|(key, value)| (bytes(key), bytes(value))).collect()
}

/// What could be read of it before.
fn readable() -> Vec<String> {
    let text = fs::read_to_string(fixtures().join("format_1.read")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn fill(store: &dyn Store, rows: &Rows) {
    let mut batch = Batch::default();
    rows.iter().for_each(|(key, value)| batch.put(key.clone(), value.clone()));
    store.apply(&batch).unwrap();
}

fn rows_of(store: &dyn Store) -> Rows {
    let mut rows = Rows::new();
    store
        .scan(&[0][..]..&[255][..], Direction::Ascending, &mut |key, value| {
            rows.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

/// A process that is killed after so many commits: from then on its store takes nothing.
struct Killed {
    rows: MemoryStore,
    commits_left: AtomicUsize,
}

impl Killed {
    fn after(commits: usize, rows: &Rows) -> Self {
        let store = MemoryStore::new();
        fill(&store, rows);
        Self { rows: store, commits_left: AtomicUsize::new(commits) }
    }
}

impl Store for Killed {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.get(key)
    }

    fn scan(&self, range: Range<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.rows.scan(range, direction, visit)
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let left = self.commits_left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(StoreError::Io("killed".to_owned()));
        }
        self.commits_left.store(left - 1, Ordering::Relaxed);
        self.rows.apply(batch)
    }

    fn status(&self) -> StoreStatus {
        self.rows.status()
    }
}

fn start(store: Arc<dyn Store>) -> Result<Engine, StartError> {
    Engine::start(story::config(), store, Box::new(NoHooks), [7; 32], story::READ_AT)
}

/// Starts on these rows and is killed after so many commits; what it left, and whether it had come to its end before.
fn killed_start(rows: &Rows, commits: usize) -> (Rows, bool) {
    let store = Arc::new(Killed::after(commits, rows));
    let started = match start(Arc::clone(&store) as Arc<dyn Store>) {
        Ok(_) => true,
        Err(StartError::Store(StoreError::Io(_))) => false,
        Err(other) => panic!("{other}"),
    };
    (rows_of(&store.rows), started)
}

fn read(rows: &Rows) -> Vec<String> {
    let store = FaultyStore::new(Durability::Process);
    fill(&store, rows);
    story::read(Arc::new(store))
}

fn is_of_version_1(row: &[u8]) -> bool {
    row.first() == Some(&1)
}

/// Rows of format 1 that an upgrade is to rewrite: all but the log and the store's own facts.
fn old_left(rows: &Rows) -> usize {
    rows.iter().filter(|(key, row)| !b"lm".contains(&key[0]) && is_of_version_1(row)).count()
}

fn assert_holds_everything(found: &[String], moment: &str) {
    let expected = readable();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "{moment}");
    }
    assert_eq!(found.len(), expected.len(), "{moment}");
}

#[test]
fn row_69_a_store_of_format_1_is_upgraded_and_holds_everything() {
    let old = old_rows();
    assert!(old_left(&old) > 3_000, "the fixture is one of format 1");
    assert_holds_everything(&read(&old), "at once");
    let (new, started) = killed_start(&old, usize::MAX);
    assert!(started && old_left(&new) == 0, "every row is rewritten");
    let logs =
        |rows: &Rows| rows.iter().filter(|(key, _)| key[0] == b'l').map(|(key, _)| key.clone()).collect::<Vec<_>>();
    assert_eq!(logs(&old), logs(&new));
    assert!(!new.contains_key(b"mupgraded_to".as_slice()), "the upgrade is over");
    assert_holds_everything(&read(&new), "started again");
}

#[test]
fn row_69_a_kill_at_any_moment_of_the_upgrade_loses_nothing() {
    let old = old_rows();
    let mut moments = 0;
    let mut left_before = usize::MAX;
    for commits in 0.. {
        let (rows, started) = killed_start(&old, commits);
        let left = old_left(&rows);
        assert!(left <= left_before.saturating_sub(1) || commits < 2, "each step rewrites something");
        assert!(left_before == usize::MAX || left_before - left <= 64, "and not too much");
        left_before = left;
        // Killed there, and once more in the middle of what is left.
        let (again, _) = killed_start(&rows, commits % 7);
        assert_holds_everything(&read(&again), &format!("killed after {commits} commits"));
        moments += 1;
        if started {
            break;
        }
    }
    assert!(moments > 50, "killed at {moments} moments");
}

/// The format is told in the first commit, before any row is rewritten, as a row that every version reads: so an earlier
/// version never takes a store that is half upgraded for its own.
#[test]
fn row_69_an_earlier_version_refuses_from_the_first_commit_on() {
    // What version 1 writes for the format 2; it answers every format but 1 with `StoreError::Format`.
    let announced = record::seal(Kind::Meta, b"mformat", &2u32).unwrap();
    let old = old_rows();
    let like_before = record::seal(Kind::Meta, b"mformat", &1u32).unwrap();
    assert_eq!(old[b"mformat".as_slice()], like_before, "facts are written as they were");
    for commits in [1, 2, 30, usize::MAX] {
        let (rows, _) = killed_start(&old, commits);
        assert_eq!(rows[b"mformat".as_slice()], announced, "after {commits} commits");
    }
    let (untouched, _) = killed_start(&old, 0);
    assert_eq!(untouched, old);
}

#[test]
fn row_69_a_newer_format_is_a_typed_error_and_nothing_changes() {
    let mut rows = old_rows();
    for found in [0, 3, u32::MAX] {
        rows.insert(b"mformat".to_vec(), record::seal(Kind::Meta, b"mformat", &found).unwrap());
        let store = Arc::new(Killed::after(usize::MAX, &rows));
        let refused = start(Arc::clone(&store) as Arc<dyn Store>).unwrap_err();
        let expected = StoreError::Format { path: "engine".into(), found, expected: 2 };
        assert_eq!(refused, StartError::Store(expected));
        assert_eq!(rows_of(&store.rows), rows);
    }
}

/// A damaged row stays as it is and is told; the upgrade goes on around it.
#[test]
fn row_69_a_damaged_row_stops_no_upgrade() {
    let mut old = old_rows();
    let key = old.keys().find(|key| key[0] == b'g').unwrap().clone();
    old.get_mut(&key).unwrap()[14] ^= 1;
    let (new, started) = killed_start(&old, usize::MAX);
    assert!(started && old_left(&new) == 1);
    assert_eq!(new[&key], old[&key]);
}

#[test]
#[ignore = "writes the fixture of a format anew, into the folder that FIXTURE_FOLDER names: run it at the last commit of that format"]
fn write_the_fixture() {
    let store = story::live();
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    };
    let rows = rows_of(&store);
    let lines: String = rows.iter().map(|(key, value)| format!("{} {}\n", hex(key), hex(value))).collect();
    let folder = PathBuf::from(std::env::var_os("FIXTURE_FOLDER").unwrap());
    fs::write(folder.join("format_1.rows"), lines).unwrap();
    let read: String = story::read(Arc::new(store)).iter().map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("format_1.read"), read).unwrap();
}
