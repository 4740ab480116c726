//! Files that are not what was written (rows 36, 42 and 43).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use switchboard::store::sled::{OnDamage, SledStore};
use switchboard::store::{Durability, Store, StoreError};

use super::processes::{child, end, folder_of_child, hear, said, say, wait_for_parent};
use super::trials::trials;
use super::{Random, batch, contents, copy_folder, data, fsync, numbers, options, rows};

/// A store with ten commits beside a side file that knows of twenty-five.
fn rolled_back(root: &Path) {
    let store = SledStore::open(fsync(root)).unwrap();
    (0..10).for_each(|number| store.apply(&batch(number, 1, 1)).unwrap());
    store.close().unwrap();
    let older = root.join("older");
    copy_folder(&data(root), &older);
    let store = SledStore::open(fsync(root)).unwrap();
    (10..25).for_each(|number| store.apply(&batch(number, 1, 1)).unwrap());
    store.close().unwrap();
    let data = data(root);
    fs::remove_dir_all(&data).unwrap();
    fs::rename(older, data).unwrap();
}

#[test]
fn row_36_restored_older_copy_is_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    rolled_back(folder.path());
    let before = contents(&data(folder.path()));
    for _ in 0..2 {
        let outcome = SledStore::open(fsync(folder.path()));
        assert!(matches!(outcome, Err(StoreError::RolledBack { lost: 15, .. })), "{outcome:?}");
        assert_eq!(contents(&data(folder.path())), before, "the folder is left as it was");
    }
    let store = SledStore::open(fsync(folder.path()).on_damage(OnDamage::Salvage)).unwrap();
    let recovery = store.recovery().unwrap();
    assert_eq!((recovery.rows, recovery.lost_commits), (10, 15));
    assert!(store.status().loss_possible);
    assert_eq!(numbers(&store).len(), 10);
    store.close().unwrap();
    assert_eq!(numbers(&SledStore::open(fsync(folder.path())).unwrap()).len(), 10, "all is well from here on");
}

#[test]
fn row_36_vanished_data_folder_is_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(fsync(folder.path())).unwrap();
    store.apply(&batch(0, 1, 1)).unwrap();
    store.close().unwrap();
    fs::remove_dir_all(data(folder.path())).unwrap();
    let outcome = SledStore::open(fsync(folder.path()));
    assert!(matches!(outcome, Err(StoreError::RolledBack { lost: 1, .. })), "{outcome:?}");
    let store = SledStore::open(fsync(folder.path()).on_damage(OnDamage::SetAside)).unwrap();
    assert!(numbers(&store).is_empty());
}

/// The rows of a store to be damaged, all at version 2, the first 25 at version 3, and one more.
const DAMAGE_ROWS: u32 = 1000;

fn expected_rows() -> BTreeMap<u32, Option<u32>> {
    let version = |number| match number {
        0..25 => 3,
        DAMAGE_ROWS => 1,
        _ => 2,
    };
    (0..=DAMAGE_ROWS).map(|number| (number, Some(version(number)))).collect()
}

/// Fills a store with rows, each written twice, opens it in the mode that is asked for, and waits to be killed.
fn fill_and_wait(durability: Durability) {
    let store = SledStore::open(options(&folder_of_child(), Durability::Process)).unwrap();
    for version in 1..=2 {
        for first in (0..DAMAGE_ROWS).step_by(25) {
            store.apply(&batch(first, 25, version)).unwrap();
        }
    }
    store.apply(&batch(DAMAGE_ROWS, 1, 1)).unwrap();
    store.close().unwrap();
    let store = SledStore::open(options(&folder_of_child(), durability)).unwrap();
    store.apply(&batch(0, 25, 3)).unwrap();
    say("filled");
    wait_for_parent();
    drop(store);
}

#[test]
#[ignore = "a child of other tests"]
fn child_fills_with_fsync() {
    fill_and_wait(Durability::Fsync);
}

#[test]
#[ignore = "a child of other tests"]
fn child_fills_in_process_mode() {
    fill_and_wait(Durability::Process);
}

/// A folder of a store whose process was killed.
fn killed_store(durability: Durability) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let name = match durability {
        Durability::Fsync => "damage::child_fills_with_fsync",
        _ => "damage::child_fills_in_process_mode",
    };
    let mut process = child(name, folder.path(), None);
    hear(&said(&mut process), "filled");
    end(process);
    folder
}

/// Damages one file of the database: flips a bit, or cuts it. Says what it did.
fn damage(data: &Path, random: &mut Random) -> String {
    let mut files: Vec<_> = contents(data).into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    files.sort();
    // The log is most of the bytes; the small files get their share too.
    let log = files.iter().position(|(path, _)| path.ends_with("db")).unwrap();
    let chosen = if random.below(3) > 0 { log } else { random.below(files.len()) };
    let (path, mut bytes) = files.swap_remove(chosen);
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |at| at + 1);
    let at = random.below(used);
    let what = if random.below(4) == 0 {
        bytes.truncate(at);
        "cut at"
    } else {
        bytes[at] ^= 1 << random.below(8);
        "bit flipped at"
    };
    fs::write(&path, bytes).unwrap();
    format!("{} {what} {at}", path.file_name().unwrap().to_string_lossy())
}

#[test]
fn row_36_damage_anywhere_is_typed_or_healed_with_fsync() {
    damage_anywhere_is_typed_or_healed(Durability::Fsync);
}

#[test]
fn row_36_damage_anywhere_is_typed_or_healed_in_process_mode() {
    damage_anywhere_is_typed_or_healed(Durability::Process);
}

fn damage_anywhere_is_typed_or_healed(durability: Durability) {
    let template = killed_store(durability);
    let unharmed = tempfile::tempdir().unwrap();
    copy_folder(template.path(), unharmed.path());
    let store = SledStore::open(options(unharmed.path(), durability)).unwrap();
    assert_eq!(rows(&store).unwrap(), expected_rows(), "a killed store is whole");
    let (mut healed, mut refused, mut found_late) = (0, 0, 0);
    for seed in 0..trials() as u64 {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        copy_folder(template.path(), &root);
        let what = damage(&data(&root), &mut Random(seed));
        let before = contents(&data(&root));
        match SledStore::open(options(&root, durability)) {
            Ok(store) => match rows(&store) {
                Ok(found) => {
                    assert_eq!(found, expected_rows(), "seed {seed}, {what}: silent loss");
                    healed += 1;
                }
                Err(StoreError::Corrupt { .. }) => found_late += 1,
                Err(error) => panic!("seed {seed}, {what}: {error}"),
            },
            Err(StoreError::Corrupt { .. } | StoreError::RolledBack { .. }) => {
                assert_eq!(contents(&data(&root)), before, "seed {seed}, {what}: the folder was changed");
                refused += 1;
                assert!(what.starts_with("db "), "seed {seed}, {what}: the store can do without this file");
                let salvaged = salvages(&root, seed);
                // A cut takes what it takes; a single bit is one place.
                assert!(
                    what.contains("cut") || salvaged > DAMAGE_ROWS as usize * 9 / 10,
                    "{what}: {salvaged} salvaged"
                );
            }
            Err(error) => panic!("seed {seed}, {what}: {error}"),
        }
    }
    eprintln!("row 36, {durability}: {healed} healed, {refused} refused, {found_late} found while reading");
    assert!(refused > 0, "some damage is seen");
    assert!(healed > 0, "some damage is healed");
}

/// Salvages a refused store and returns how many rows are there again.
fn salvages(root: &Path, seed: u64) -> usize {
    let store = SledStore::open(fsync(root).on_damage(OnDamage::Salvage)).unwrap();
    let recovery = store.recovery().unwrap();
    assert!(recovery.moved_to.as_ref().is_some_and(|path| path.is_dir()), "seed {seed}: the original is kept");
    let found = rows(&store).unwrap();
    assert_eq!(found.len() as u64, recovery.rows);
    for (number, version) in &found {
        assert!(version.is_none_or(|version| (1..=3).contains(&version)), "row {number}");
    }
    store.apply(&batch(5000, 1, 1)).unwrap();
    store.close().unwrap();
    SledStore::open(fsync(root)).unwrap();
    found.len()
}

#[test]
fn row_36_set_aside_starts_empty_and_keeps_the_original() {
    let template = killed_store(Durability::Fsync);
    let root = template.path();
    let db = data(root).join("db");
    let mut bytes = fs::read(&db).unwrap();
    bytes[100..].fill(0xEE);
    fs::write(&db, bytes).unwrap();
    let before: Vec<_> = contents(&data(root)).into_values().collect();
    let store = SledStore::open(fsync(root).on_damage(OnDamage::SetAside)).unwrap();
    assert!(numbers(&store).is_empty());
    let moved_to = store.recovery().unwrap().moved_to.clone().unwrap();
    assert_eq!(contents(&moved_to).into_values().collect::<Vec<_>>(), before);
    store.apply(&batch(0, 1, 1)).unwrap();
    store.close().unwrap();
    assert_eq!(numbers(&SledStore::open(fsync(root)).unwrap()), [0]);
    assert!(moved_to.is_dir(), "what was set aside stays");
}

#[test]
fn row_36_lost_pointer_to_the_data_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(fsync(folder.path())).unwrap();
    store.apply(&batch(0, 1, 1)).unwrap();
    store.close().unwrap();
    fs::write(folder.path().join("current"), "data-9 00000000\n").unwrap();
    assert_eq!(numbers(&SledStore::open(fsync(folder.path())).unwrap()), [0]);
}

/// A refused store is put back as it was found; an open that was killed in the middle of that left it without a database.
#[test]
fn row_36_a_store_that_was_being_put_back_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(fsync(folder.path())).unwrap();
    store.apply(&batch(0, 5, 1)).unwrap();
    store.close().unwrap();
    let data = data(folder.path());
    fs::rename(&data, data.with_extension("before")).unwrap();
    fs::create_dir(data.with_extension("opened")).unwrap();
    assert_eq!(numbers(&SledStore::open(fsync(folder.path())).unwrap()), [0, 1, 2, 3, 4]);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "nothing is left over: {left:?}");
}
