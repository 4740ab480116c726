//! Processes without a free handle (row 44). Each test runs in a child with few handles of its own.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use switchboard::store::sled::{Call, SledStore, Trouble};
use switchboard::store::{Batch, Durability, Store, StoreError};

use super::processes::{child, folder_of_child, hear, said, say};
use super::{batch, data, fsync, numbers, options};

/// Within this the store takes writes again once the cause is gone.
const RECOVERED_WITHIN: Duration = Duration::from_secs(5);

const EINTR: i32 = 4;

/// Runs a child that may have 64 handles at once, and waits until it says that all was well.
fn with_few_handles(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut process = child(name, &folder.path().join("store"), Some("ulimit -n 64"));
    hear(&said(&mut process), "well");
    assert!(process.wait().unwrap().success());
}

/// All handles that are left but `free`.
fn take_handles(free: usize) -> Vec<File> {
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
        assert!(taken.len() < 1_000, "the limit does not hold");
    }
    taken.truncate(taken.len().saturating_sub(free));
    taken
}

/// Repeats a call, as whoever commits does, until it succeeds in time.
#[expect(clippy::disallowed_methods, reason = "the time until the store is back is what is tested")]
fn recovers(store: &SledStore, batch: &Batch) {
    let started = Instant::now();
    while let Err(error) = store.apply(batch) {
        assert!(started.elapsed() < RECOVERED_WITHIN, "{error}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A sync opened a folder each time: without a free handle the store refused for good.
#[test]
fn row_44_commits_and_syncs_need_no_handle() {
    with_few_handles("handles::child_commits_without_handles");
}

#[test]
#[ignore = "a child of other tests"]
fn child_commits_without_handles() {
    for durability in [Durability::Fsync, Durability::Process] {
        let root = folder_of_child().join(durability.to_string());
        let store = SledStore::open(options(&root, durability)).unwrap();
        let disk_bytes = store.status().disk_bytes;
        let taken = take_handles(0);
        assert!(disk_bytes > 0 && store.status().disk_bytes == disk_bytes, "what cannot be seen is not nothing");
        for number in 0..300 {
            store.apply(&batch(number, 5, 1)).unwrap();
            store.maintain().unwrap();
        }
        assert_eq!(numbers(&store).len(), 304);
        store.close().unwrap();
        drop(taken);
        assert_eq!(numbers(&SledStore::open(options(&root, durability)).unwrap()).len(), 304);
    }
    say("well");
}

#[test]
fn row_44_an_open_without_handles_is_typed_and_leaves_nothing() {
    with_few_handles("handles::child_opens_without_handles");
}

#[test]
#[ignore = "a child of other tests"]
fn child_opens_without_handles() {
    let root = folder_of_child();
    let mut refused = 0;
    for free in 0..24 {
        let taken = take_handles(free);
        let outcome = SledStore::open(fsync(&root));
        drop(taken);
        match outcome {
            Ok(store) => return after_opening(&root, store, refused),
            Err(StoreError::Exhausted(_)) => refused += 1,
            Err(error) => panic!("{free} handles: {error}"),
        }
        assert!(!root.exists(), "{free} handles: something was made");
    }
    panic!("24 handles are enough");
}

/// The same for a store that is there: nothing that is in it is harmed.
fn after_opening(root: &Path, store: SledStore, refused: usize) {
    assert!(refused > 3, "an open takes some handles");
    store.apply(&batch(0, 40, 1)).unwrap();
    drop(store);
    for free in 0..24 {
        let taken = take_handles(free);
        let outcome = SledStore::open(fsync(root));
        drop(taken);
        match outcome {
            Ok(store) => store.apply(&batch(40, 1, free as u32)).unwrap(),
            Err(StoreError::Exhausted(_)) => {}
            Err(error) => panic!("{free} handles: {error}"),
        }
    }
    assert_eq!(numbers(&SledStore::open(fsync(root)).unwrap()).len(), 41);
    say("well");
}

/// A write that fails spoils sled, and opening it again takes handles: readers keep what they have until there are some.
#[test]
fn row_44_a_store_that_needs_handles_waits_for_them() {
    with_few_handles("handles::child_waits_for_handles");
}

#[test]
#[ignore = "a child of other tests"]
fn child_waits_for_handles() {
    for durability in [Durability::Fsync, Durability::Process] {
        let store = SledStore::open(options(&folder_of_child().join(durability.to_string()), durability)).unwrap();
        for (round, free) in (0..4).zip([0, 2, 6, 16]) {
            store.apply(&batch(round * 20, 10, 1)).unwrap();
            let taken = take_handles(free);
            store.trouble(Call::Write, Trouble::Refused(EINTR), 1);
            let next = batch(round * 20 + 10, 10, 1);
            for _ in 0..5 {
                let outcome = store.apply(&next);
                let waits = matches!(outcome, Err(StoreError::Exhausted(_)));
                assert!(waits || (free == 16 && outcome.is_ok()), "{free} handles: {outcome:?}");
                assert!(store.get(b"no such row").is_ok(), "readers go on");
                std::thread::sleep(Duration::from_millis(60));
            }
            drop(taken);
            recovers(&store, &next);
        }
        assert_eq!(numbers(&store), (0..80).collect::<Vec<_>>(), "nothing acknowledged is lost");
        store.close().unwrap();
    }
    say("well");
}

/// A copy to a new folder takes handles: without them the store stays where it is and goes on, and moves later.
#[test]
fn row_44_rotation_without_handles_is_put_off() {
    with_few_handles("handles::child_rotates_without_handles");
}

#[test]
#[ignore = "a child of other tests"]
fn child_rotates_without_handles() {
    let root = folder_of_child();
    let options = || options(&root, Durability::Process).rotate_at(2, 1).unwrap();
    let store = SledStore::open(options()).unwrap();
    let first = data(&root);
    for version in 1..60 {
        // From none to enough for each step of a rotation.
        let taken = take_handles((version as usize / 2) % 16);
        (0..8).for_each(|part| store.apply(&batch(part * 50, 50, version)).unwrap());
        (0..4).for_each(|_| store.maintain().unwrap());
        drop(taken);
    }
    for _ in 0..100 {
        store.maintain().unwrap();
    }
    store.close().unwrap();
    let store = SledStore::open(options()).unwrap();
    assert_ne!(data(&root), first, "it has moved");
    let found = super::rows(&store).unwrap();
    assert!(found.len() == 400 && found.values().all(|version| *version == Some(59)));
    say("well");
}
