//! Disks that fill up (row 34).

use std::process::Command;
use std::time::Duration;

use switchboard::store::sled::SledStore;
use switchboard::store::{Store, StoreError};

use super::processes::{child, end, folder_of_child, hear, said, say, wait_for_parent};
use super::{batch, fsync, numbers};

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
