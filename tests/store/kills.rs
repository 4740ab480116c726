//! Ends of the process at random moments (row 32).

use switchboard::store::sled::SledStore;
use switchboard::store::{Durability, Store};

use super::processes::{HANG, child, end, folder_of_child, said, say};
use super::{Random, batch, options, rows};

/// Commits eight rows at a time for ever, each time at the next version, and says what is acknowledged.
fn commit_for_ever(durability: Durability) {
    let store = SledStore::open(options(&folder_of_child(), durability)).unwrap();
    let first = rows(&store).unwrap().get(&0).copied().flatten().unwrap_or(0);
    for version in first + 1.. {
        store.apply(&batch(0, 8, version)).unwrap();
        say(&version.to_string());
    }
}

#[test]
#[ignore = "a child of other tests"]
fn child_commits_with_fsync() {
    commit_for_ever(Durability::Fsync);
}

#[test]
#[ignore = "a child of other tests"]
fn child_commits_in_process_mode() {
    commit_for_ever(Durability::Process);
}

fn kill_while_committing(name: &str, durability: Durability) {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(32);
    for _ in 0..6 {
        let mut process = child(name, folder.path(), None);
        let lines = said(&mut process);
        let acknowledgements = 3 + random.below(60);
        (0..acknowledgements).for_each(|_| drop(lines.recv_timeout(HANG).expect("the child commits")));
        end(process);
        let acknowledged = lines.iter().last().unwrap_or_default();
        let store = SledStore::open(options(folder.path(), durability)).unwrap();
        let found = rows(&store).unwrap();
        let version = found[&0].unwrap();
        assert!(found.len() == 8 && found.values().all(|found| *found == Some(version)), "no commit is torn");
        if let Ok(acknowledged) = acknowledged.parse::<u32>() {
            assert!((acknowledged..=acknowledged + 1).contains(&version), "{version} of {acknowledged}");
        }
        assert!(!store.status().loss_possible, "the machine never went down");
    }
}

#[test]
fn row_32_killed_with_fsync_loses_nothing() {
    kill_while_committing("kills::child_commits_with_fsync", Durability::Fsync);
}

#[test]
fn row_32_killed_in_process_mode_loses_nothing() {
    kill_while_committing("kills::child_commits_in_process_mode", Durability::Process);
}
