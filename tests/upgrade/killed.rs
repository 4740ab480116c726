//! The same with real files and real kills: a child upgrades a store on sled, and is killed after so many commits.

use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use switchboard::store::sled::{SledOptions, SledStore};
use switchboard::store::{Batch, Direction, Durability, Store, StoreError, StoreStatus, Visit};

use crate::{assert_holds_everything, fill, old_left, old_rows, read, rows_of, start};

fn open(folder: &Path) -> SledStore {
    let options = SledOptions::new(folder).durability(Durability::Process).unwrap().cache_bytes(8 << 20).unwrap();
    SledStore::open(options).unwrap()
}

/// Says each commit on its standard output.
struct Telling(SledStore);

impl Store for Telling {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }

    fn scan(&self, range: Range<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.0.scan(range, direction, visit)
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.0.apply(batch)?;
        std::io::stdout().write_all(b"committed\n").unwrap();
        Ok(())
    }

    fn status(&self) -> StoreStatus {
        self.0.status()
    }
}

#[test]
#[ignore = "the child of the test below"]
fn child_that_upgrades() {
    let folder = std::env::var_os("UPGRADE_TEST_FOLDER").unwrap();
    start(Arc::new(Telling(open(Path::new(&folder))))).unwrap();
}

fn child(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "killed::child_that_upgrades", "--ignored", "--nocapture"]);
    command.env("UPGRADE_TEST_FOLDER", folder).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn row_69_processes_killed_in_the_middle_of_the_upgrade_lose_nothing() {
    let old = old_rows();
    let mut in_the_middle = 0;
    for commits in (1..50).step_by(4) {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        fill(&store, &old);
        store.close().unwrap();
        drop(store);
        // Killed in two lives, so that the second goes on where the first was.
        for _ in 0..2 {
            let mut child = child(folder.path());
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let committed = lines.map_while(Result::ok).filter(|line| line.ends_with("committed"));
            assert_eq!(committed.take(commits / 2 + 1).count(), commits / 2 + 1, "the child goes on until then");
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let store = open(folder.path());
        let rows = rows_of(&store);
        store.close().unwrap();
        in_the_middle += usize::from((1..old_left(&old)).contains(&old_left(&rows)));
        assert_holds_everything(&read(&rows), &format!("killed after {commits} commits"));
    }
    assert!(in_the_middle >= 5, "{in_the_middle} of 13 in the middle");
}
