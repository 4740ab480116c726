//! The move to a new folder.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use switchboard::store::sled::{Call, SledStore, Trouble};
use switchboard::store::{Durability, Store, StoreError};

use super::processes::{HANG, child, end, folder_of_child, said, say};
use super::{Random, batch, copy_folder, data, key, options, rows};

/// Overwrites rows while the store rotates again and again.
#[test]
#[ignore = "a child of other tests"]
fn child_rotates_for_ever() {
    let options = options(&folder_of_child(), Durability::Process).rotate_at(2, 1).unwrap();
    let store = SledStore::open(options).unwrap();
    let first = rows(&store).unwrap().get(&0).copied().flatten().unwrap_or(0);
    for version in first + 1.. {
        for part in 0..8 {
            store.apply(&batch(part * 50, 50, version)).unwrap();
            store.maintain().unwrap();
        }
        say(&version.to_string());
    }
}

#[test]
fn rotation_gives_space_back_and_keeps_what_is_written_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let options = || options(folder.path(), Durability::Process).rotate_at(3, 1 << 20).unwrap();
    let store = SledStore::open(options()).unwrap();
    for version in 1..=30 {
        (0..8).for_each(|part| store.apply(&batch(part * 50, 50, version)).unwrap());
    }
    let before = store.status();
    let name = data(folder.path());
    for round in 0..200_u32 {
        store.maintain().unwrap();
        let mut change = batch(round, 1, 100);
        change.delete(key(399 - round));
        store.apply(&change).unwrap();
    }
    let after = store.status();
    assert!(after.disk_bytes * 2 < before.disk_bytes, "{} -> {}", before.disk_bytes, after.disk_bytes);
    assert_ne!(data(folder.path()), name, "the old folder is gone");
    let check = |store: &SledStore| {
        let expected: BTreeMap<_, _> = (0..200).map(|number| (number, Some(100))).collect();
        assert_eq!(rows(store).unwrap(), expected);
    };
    check(&store);
    store.close().unwrap();
    check(&SledStore::open(options()).unwrap());
}

#[test]
fn row_32_killed_during_rotation_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(35);
    for _ in 0..6 {
        let mut process = child("rotation::child_rotates_for_ever", folder.path(), None);
        let lines = said(&mut process);
        (0..2 + random.below(12)).for_each(|_| drop(lines.recv_timeout(HANG).expect("the child commits")));
        std::thread::sleep(Duration::from_millis(random.below(40) as u64));
        end(process);
        let acknowledged = lines.iter().last().and_then(|line| line.parse::<u32>().ok()).unwrap_or(0);
        let store = SledStore::open(options(folder.path(), Durability::Process)).unwrap();
        let found = rows(&store).unwrap();
        assert_eq!(found.len(), 400);
        for (number, version) in found {
            assert!(version.is_some_and(|version| version >= acknowledged), "row {number}: {version:?}");
        }
    }
}

/// A move whose new name may not last went on in a folder that nobody would find.
#[test]
fn a_move_whose_name_may_not_last_is_final_and_harms_neither_folder() {
    let folder = tempfile::tempdir().unwrap();
    let options = || options(folder.path(), Durability::Process).rotate_at(2, 1).unwrap();
    let store = SledStore::open(options()).unwrap();
    store.trouble(Call::Rename, Trouble::Refused(5), 1);
    let error = (1..1_000).find_map(|version| {
        store.apply(&batch(0, 50, version)).unwrap();
        store.maintain().err().map(|error| (version, error))
    });
    let (version, error) = error.expect("it moves sooner or later");
    assert!(matches!(error, StoreError::Broken(_)), "{error}");
    assert!(store.apply(&batch(0, 50, version + 1)).is_err());
    assert!(store.close().is_err());
    let folders = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let folders: Vec<_> = folders.filter(|name| name.to_str().unwrap().starts_with("data-")).collect();
    assert_eq!(folders.len(), 2);
    // A power cut may have taken the new name back.
    let line = |name: &str| format!("{name} {:08x}\n", crc32c::crc32c(name.as_bytes()));
    for name in folders {
        let root = folder.path().with_extension(name.to_str().unwrap());
        copy_folder(folder.path(), &root);
        fs::write(root.join("current"), line(name.to_str().unwrap())).unwrap();
        let store = SledStore::open(super::options(&root, Durability::Process)).unwrap();
        let found = rows(&store).unwrap();
        assert!(found.len() == 50 && found.values().all(|found| *found == Some(version)), "{name:?}");
        drop(store);
        fs::remove_dir_all(root).unwrap();
    }
}
