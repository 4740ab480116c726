//! Folders that are held by another, or not to be written (row 35).

use std::fs;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::Command;
use std::time::{Duration, Instant};

use switchboard::store::sled::SledStore;
use switchboard::store::{Store, StoreError};

use super::fsync;
use super::processes::{child, folder_of_child, hear, said, say, wait_for_parent};
#[cfg(target_os = "linux")]
use super::processes::{on_a_small_disk, started_by};

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
    refused_at_once(folder.path(), |error| matches!(error, StoreError::Locked { .. }));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before, "nothing was made");
    drop(process.stdin.take());
    assert!(process.wait().unwrap().success());
    SledStore::open(fsync(folder.path())).unwrap();
}

#[test]
fn row_35_locked_by_this_process() {
    let folder = tempfile::tempdir().unwrap();
    let _store = SledStore::open(fsync(folder.path())).unwrap();
    refused_at_once(folder.path(), |error| matches!(error, StoreError::Locked { .. }));
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
        refused_at_once(&path, |error| matches!(error, StoreError::ReadOnly { .. }));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");
}

#[cfg(target_os = "linux")]
#[test]
fn row_35_folder_without_permission() {
    let folder = tempfile::tempdir().unwrap();
    // Who is root does without the right to write anywhere.
    let starter = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    let tried = Command::new(starter[0]).args([starter[1], "true"]).status();
    let mut process = if tried.is_ok_and(|status| status.success()) {
        started_by(&starter, "locks::child_has_no_permission", folder.path())
    } else {
        child("locks::child_has_no_permission", folder.path(), None)
    };
    hear(&said(&mut process), "well");
    assert!(process.wait().unwrap().success());
}

#[cfg(unix)]
#[test]
#[ignore = "a child of other tests"]
fn child_has_no_permission() {
    use std::os::unix::fs::PermissionsExt;
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let folder = folder_of_child();
    let (missing, there) = (folder.join("missing"), folder.join("there"));
    SledStore::open(fsync(&there)).unwrap().close().unwrap();
    let before = fs::read_dir(&there).unwrap().count();
    allow(&there, 0o500);
    allow(&folder, 0o500);
    if fs::write(folder.join("probe"), "").is_ok() {
        eprintln!("not tested: this user may write anywhere");
        return say("well");
    }
    refused_at_once(&missing, |error| matches!(error, StoreError::ReadOnly { .. }));
    assert!(!missing.exists(), "nothing was made");
    allow(&there.join("lock"), 0o400);
    refused_at_once(&there, |error| matches!(error, StoreError::ReadOnly { .. }));
    assert_eq!(fs::read_dir(&there).unwrap().count(), before);
    allow(&folder, 0o700);
    allow(&there, 0o700);
    allow(&there.join("lock"), 0o600);
    SledStore::open(fsync(&there)).unwrap();
    say("well");
}

#[cfg(target_os = "linux")]
#[test]
fn row_35_disk_that_is_mounted_to_be_read() {
    on_a_small_disk("locks::child_is_read_only");
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "a child of other tests"]
fn child_is_read_only() {
    say("mounted");
    let folder = folder_of_child();
    let there = folder.join("there");
    SledStore::open(fsync(&there)).unwrap().close().unwrap();
    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(&folder).status().unwrap().success());
    for path in [folder.join("missing"), there] {
        refused_at_once(&path, |error| matches!(error, StoreError::ReadOnly { .. }));
    }
    assert!(!folder.join("missing").exists(), "nothing was made");
    say("well");
}

#[expect(clippy::disallowed_methods, reason = "how long a refusal takes is what is tested")]
fn refused_at_once(path: &Path, is_right: impl Fn(&StoreError) -> bool) {
    let started = Instant::now();
    let error = SledStore::open(fsync(path)).unwrap_err();
    assert!(is_right(&error), "{}: {error}", path.display());
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}
