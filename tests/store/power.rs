//! Power cuts (row 33).

use std::fs;
use std::path::Path;

use switchboard::store::faulty::{Failure, FaultyStore};
use switchboard::store::sled::SledStore;
use switchboard::store::{Durability, Store};

use super::{Random, batch, copy_folder, data, numbers, options};

#[test]
fn row_33_power_cut_takes_only_what_was_not_promised() {
    for seed in 0..50 {
        let store = FaultyStore::new(Durability::Fsync);
        (0..5).for_each(|number| store.apply(&batch(number, 1, 1)).unwrap());
        store.faults().fail_next(1, Failure::MaybeAndStored);
        assert!(store.apply(&batch(5, 1, 1)).is_err());
        let after = store.faults().power_cut(seed);
        let kept = numbers(&after).len();
        assert!((5..=6).contains(&kept) && !after.status().loss_possible);
        assert!(store.get(b"x").is_err(), "the old store is gone");

        let store = FaultyStore::new(Durability::Process);
        (0..5).for_each(|number| store.apply(&batch(number, 1, 1)).unwrap());
        store.maintain().unwrap();
        (5..9).for_each(|number| store.apply(&batch(number, 1, 1)).unwrap());
        assert_eq!(numbers(&store.faults().restart()).len(), 9, "the process ends, the machine goes on");
        let after = store.faults().power_cut(seed);
        let kept = numbers(&after);
        assert!(kept.len() >= 5 && after.status().loss_possible);
        assert!(
            (0..).zip(&kept).all(|(expected, found)| expected == *found),
            "later batches are never there without earlier ones"
        );
    }
}

/// What a power cut may make of a file: of the blocks written since the last real sync, any may be there and any not.
fn half_written(synced: &[u8], later: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = synced.to_vec();
    bytes.resize(later.len().max(synced.len()), 0);
    for (at, block) in later.chunks(4096).enumerate() {
        if random.below(3) > 0 {
            bytes[at * 4096..at * 4096 + block.len()].copy_from_slice(block);
        }
    }
    bytes.truncate(synced.len() + random.below(bytes.len() - synced.len() + 1));
    bytes
}

#[test]
fn row_33_power_cut_on_disk_keeps_what_was_synced() {
    let folder = tempfile::tempdir().unwrap();
    let options = |path: &Path| options(path, Durability::Process);
    let store = SledStore::open(options(folder.path())).unwrap();
    (0..20).for_each(|number| store.apply(&batch(number * 5, 5, 1)).unwrap());
    store.close().unwrap();
    let store = SledStore::open(options(folder.path())).unwrap();
    let copies = tempfile::tempdir().unwrap();
    let (synced, later) = (copies.path().join("synced"), copies.path().join("later"));
    copy_folder(folder.path(), &synced);
    (20..50).for_each(|number| store.apply(&batch(number * 5, 5, 1)).unwrap());
    copy_folder(folder.path(), &later);
    let [synced_log, later_log] = [&synced, &later].map(|path| fs::read(data(path).join("db")).unwrap());
    let mut commits = std::collections::BTreeSet::new();
    for seed in 0..25 {
        let root = copies.path().join(format!("cut-{seed}"));
        copy_folder(&synced, &root);
        fs::write(data(&root).join("db"), half_written(&synced_log, &later_log, &mut Random(seed))).unwrap();
        let after = SledStore::open(options(&root)).unwrap();
        let found = numbers(&after);
        assert!(found.len() >= 100 && found.len().is_multiple_of(5), "seed {seed}: {} rows", found.len());
        assert!((0..).zip(&found).all(|(expected, found)| expected == *found), "seed {seed}: a hole");
        commits.insert(found.len());
    }
    assert!(commits.len() > 1, "some of what was not synced survives");
}
