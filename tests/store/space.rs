//! Disks that fill up (row 34).

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use switchboard::store::sled::SledStore;
use switchboard::store::{Durability, Store, StoreError};

#[cfg(target_os = "linux")]
use super::processes::on_a_small_disk;
use super::processes::{child, end, folder_of_child, hear, said, say, wait_for_parent};
use super::{batch, fsync, numbers, options};

#[test]
#[ignore = "a child of other tests"]
fn child_fills_up_and_recovers() {
    let store = SledStore::open(fsync(&folder_of_child())).unwrap();
    let mut acknowledged = 0;
    let error = loop {
        match store.apply(&batch(acknowledged * 30, 30, 1)) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, StoreError::Full);
    assert!(acknowledged > 10, "there was room for something");
    for _ in 0..5 {
        let _ = store.maintain();
        let outcome = store.apply(&batch(acknowledged * 30, 30, 1));
        assert_eq!(outcome, Err(StoreError::Full), "the disk is still full");
        std::thread::sleep(Duration::from_millis(150));
    }
    say("full");
    wait_for_parent();
    let recovered = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        store.apply(&batch(acknowledged * 30, 30, 1)).is_ok()
    });
    assert!(recovered, "the store takes writes within 5 s of room");
    let whole: Vec<_> = (0..(acknowledged + 1) * 30).collect();
    assert_eq!(numbers(&store), whole, "nothing acknowledged is lost");
    store.close().unwrap();
    say("recovered");
}

#[cfg(target_os = "linux")]
#[test]
fn row_34_full_disk_is_typed_and_passes_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    // Blocks of 512 bytes in some shells and of 1,024 in others; the soft limit, so that it can be raised.
    let mut process = child(
        "space::child_fills_up_and_recovers",
        &folder.path().join("store"),
        Some("trap '' XFSZ; ulimit -S -f 9000"),
    );
    let lines = said(&mut process);
    hear(&lines, "full");
    let raised = Command::new("prlimit").args(["--pid", &process.id().to_string(), "--fsize=unlimited"]).status();
    if !raised.is_ok_and(|status| status.success()) {
        eprintln!("recovery not tested: there is no prlimit here");
        return end(process);
    }
    drop(process.stdin.take());
    hear(&lines, "recovered");
    assert!(process.wait().unwrap().success());
}

/// A disk that was full for a moment was full for good.
#[cfg(target_os = "linux")]
#[test]
fn row_34_a_real_disk_fills_up_and_is_freed() {
    on_a_small_disk("space::child_on_a_small_disk");
}

#[test]
#[ignore = "a child of other tests"]
fn child_on_a_small_disk() {
    say("mounted");
    for durability in [Durability::Process, Durability::Fsync] {
        let root = folder_of_child().join(durability.to_string());
        let store = SledStore::open(options(&root, durability)).unwrap();
        let mut acknowledged = 0;
        for round in 0..3 {
            fill_up_and_free(&store, &mut acknowledged);
            let whole: Vec<_> = (0..acknowledged).collect();
            assert_eq!(numbers(&store), whole, "round {round}: nothing acknowledged is lost");
        }
        store.close().unwrap();
        fill_the_disk();
        let other = SledStore::open(options(&folder_of_child().join("other"), durability));
        assert!(matches!(other, Err(StoreError::Full)), "{other:?}");
        assert!(!folder_of_child().join("other").exists(), "nothing was made");
        let again = SledStore::open(options(&root, durability));
        assert!(again.is_ok() || matches!(again, Err(StoreError::Full)), "{again:?}");
        drop(again);
        fs::remove_file(filler()).unwrap();
        let store = SledStore::open(options(&root, durability)).unwrap();
        assert_eq!(numbers(&store).len(), acknowledged as usize);
        drop(store);
        fs::remove_dir_all(root).unwrap();
    }
    say("well");
}

fn filler() -> PathBuf {
    folder_of_child().join("filler")
}

fn fill_the_disk() {
    let mut file = File::create(filler()).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
}

/// Commits until there is no room, goes on trying, makes room, and is taken in time.
#[expect(clippy::disallowed_methods, reason = "the time until the store is back is what is tested")]
fn fill_up_and_free(store: &SledStore, acknowledged: &mut u32) {
    let next = |acknowledged: u32| batch(acknowledged, 20, 1);
    (0..3).for_each(|_| {
        store.apply(&next(*acknowledged)).unwrap();
        *acknowledged += 20;
    });
    fill_the_disk();
    let mut tries = 0;
    while store.apply(&next(*acknowledged)).is_ok() {
        *acknowledged += 20;
        tries += 1;
        assert!(tries < 1_000, "the disk does not fill up");
    }
    for _ in 0..4 {
        assert_eq!(store.apply(&next(*acknowledged)), Err(StoreError::Full));
        assert_eq!(store.maintain(), Err(StoreError::Full));
        assert_eq!(store.get(b"no such row"), Ok(None), "readers go on");
        std::thread::sleep(Duration::from_millis(120));
    }
    fs::remove_file(filler()).unwrap();
    let freed = Instant::now();
    while let Err(error) = store.apply(&next(*acknowledged)) {
        assert!(freed.elapsed() < Duration::from_secs(5), "{error}");
        std::thread::sleep(Duration::from_millis(20));
    }
    *acknowledged += 20;
}
