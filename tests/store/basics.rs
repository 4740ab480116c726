//! A store on sled whose machine is well.

use std::fs;

use switchboard::store::sled::{OnDamage, SledOptions, SledStore};
use switchboard::store::{Batch, Durability, Store, StoreError};

use super::{batch, data, fsync, key, numbers, options, sealed};

#[test]
fn reopens_right_after_close() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..25 {
        let store = SledStore::open(fsync(folder.path())).unwrap();
        assert_eq!(numbers(&store).len(), round as usize);
        store.apply(&batch(round, 1, 1)).unwrap();
        store.close().unwrap();
    }
}

#[test]
fn status_counts_bytes_and_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(fsync(folder.path())).unwrap();
    let before = store.status();
    store.apply(&batch(0, 40, 1)).unwrap();
    store.apply(&batch(0, 40, 2)).unwrap();
    let expected: usize = (0..40).map(|number| key(number).len() + sealed(number, 2).len()).sum();
    let after = store.status();
    assert_eq!((after.live_bytes, after.syncs - before.syncs), (expected as u64, 2));
    assert!(after.disk_bytes > after.live_bytes && !after.loss_possible);
    store.close().unwrap();
    let store = SledStore::open(fsync(folder.path())).unwrap();
    assert_eq!(store.status().live_bytes, expected as u64, "the count survives");
}

#[test]
fn process_mode_syncs_later() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(options(folder.path(), Durability::Process)).unwrap();
    let before = store.status().syncs;
    (0..5).for_each(|number| store.apply(&batch(number, 1, 1)).unwrap());
    store.maintain().unwrap();
    assert_eq!(store.status().syncs, before, "nothing is due within the first seconds");
    store.close().unwrap();
    assert_eq!(store.status().syncs, before + 1);
}

#[test]
fn rows_too_large_for_the_log_are_kept_and_salvaged() {
    let folder = tempfile::tempdir().unwrap();
    let row = |number: u8| vec![number; 120 * 1024];
    let store = SledStore::open(fsync(folder.path())).unwrap();
    for number in 0..60 {
        let mut batch = Batch::default();
        batch.put(vec![b'l', number], row(number));
        store.apply(&batch).unwrap();
    }
    drop(store);
    let is_whole = |store: &SledStore| (0..60).all(|number| store.get(&[b'l', number]) == Ok(Some(row(number))));
    let store = SledStore::open(fsync(folder.path())).unwrap();
    assert!(is_whole(&store));
    store.close().unwrap();
    let blobs = fs::read_dir(data(folder.path()).join("blobs")).unwrap().count();
    assert!(blobs > 0, "some pages are files of their own");
    // A newer side file from elsewhere makes the store look rolled back; salvage then reads the log and the files.
    let elsewhere = tempfile::tempdir().unwrap();
    let store = SledStore::open(fsync(elsewhere.path())).unwrap();
    (0..70).for_each(|number| store.apply(&batch(number, 1, 1)).unwrap());
    store.close().unwrap();
    fs::copy(elsewhere.path().join("commits"), folder.path().join("commits")).unwrap();
    let store = SledStore::open(fsync(folder.path()).on_damage(OnDamage::Salvage)).unwrap();
    assert_eq!(store.recovery().map(|found| (found.rows, found.lost_commits)), Some((60, 10)));
    assert!(is_whole(&store));
}

#[test]
fn options_are_checked() {
    let options = || SledOptions::new("unused");
    assert!(options().durability(Durability::Memory).is_err());
    assert!(options().cache_bytes(1000).is_err());
    assert!(options().rotate_at(1, 0).is_err());
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    SledStore::open(fsync(folder.path())).unwrap().close().unwrap();
    {
        let db = sled::Config::new().path(data(folder.path())).segment_size(2 << 20).open().unwrap();
        let mut row = db.get([0]).unwrap().unwrap().to_vec();
        row[..4].copy_from_slice(&7_u32.to_le_bytes());
        let crc = crc32c::crc32c(&row[..20]);
        row[20..].copy_from_slice(&crc.to_le_bytes());
        db.insert([0], row).unwrap();
        db.flush().unwrap();
    }
    let outcome = SledStore::open(fsync(folder.path()));
    assert!(matches!(outcome, Err(StoreError::Format { found: 7, expected: 1, .. })), "{outcome:?}");
}
