//! Folders that are held by another, or not to be written (row 35).

use std::fs;

use switchboard::store::sled::SledStore;
use switchboard::store::{Store, StoreError};

use super::fsync;
use super::processes::{child, folder_of_child, hear, said, say, wait_for_parent};

#[test]
#[ignore = "a child of other tests"]
fn child_holds_the_store() {
    let store = SledStore::open(fsync(&folder_of_child())).unwrap();
    say("open");
    wait_for_parent();
    store.close().unwrap();
}

#[test]
fn row_35_locked_by_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = child("locks::child_holds_the_store", folder.path(), None);
    hear(&said(&mut process), "open");
    let before = fs::read_dir(folder.path()).unwrap().count();
    let outcome = SledStore::open(fsync(folder.path()));
    assert!(matches!(outcome, Err(StoreError::Locked { .. })), "{outcome:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before, "nothing was made");
    drop(process.stdin.take());
    assert!(process.wait().unwrap().success());
    SledStore::open(fsync(folder.path())).unwrap();
}

#[test]
fn row_35_locked_by_this_process() {
    let folder = tempfile::tempdir().unwrap();
    let _store = SledStore::open(fsync(folder.path())).unwrap();
    assert!(matches!(SledStore::open(fsync(folder.path())), Err(StoreError::Locked { .. })));
}

#[test]
fn row_35_path_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let mut paths = vec![file.clone(), file.join("store")];
    if cfg!(target_os = "linux") {
        paths.push("/proc/self/store".into());
    }
    for path in paths {
        let outcome = SledStore::open(fsync(&path));
        assert!(matches!(outcome, Err(StoreError::ReadOnly { .. })), "{outcome:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");
}

#[cfg(unix)]
#[test]
fn row_35_folder_without_permission() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(folder.path().join("probe"), "").is_ok() {
        return; // This user may write anywhere.
    }
    let path = folder.path().join("store");
    assert!(matches!(SledStore::open(fsync(&path)), Err(StoreError::ReadOnly { .. })));
    assert!(!path.exists());
}
