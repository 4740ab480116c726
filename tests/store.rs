//! What stores do when disks, processes and neighbours misbehave.
//!
//! Tests that need a process to die or to be limited start this binary again as a child; the children are the ignored tests.
//! A name that starts with `row_N` proves row N of the table of faults.

#![cfg(feature = "sled")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use switchboard::record::{self, Kind};
use switchboard::store::faulty::{Failure, Faults, FaultyStore};
use switchboard::store::memory::MemoryStore;
use switchboard::store::sled::{OnDamage, SledOptions, SledStore};
use switchboard::store::{Batch, Direction, Durability, Store, StoreError, conformance};

/// Generous: only a hang takes this long.
const HANG: Duration = Duration::from_secs(60);

fn options(path: &Path, durability: Durability) -> SledOptions {
    SledOptions::new(path).durability(durability).unwrap().cache_bytes(8 << 20).unwrap()
}

fn fsync(path: &Path) -> SledOptions {
    options(path, Durability::Fsync)
}

fn key(number: u32) -> Vec<u8> {
    format!("row/{number:08}").into_bytes()
}

/// A row that says what it is: its number and its version, and bytes that follow from both.
fn sealed(number: u32, version: u32) -> Vec<u8> {
    let filling = vec![u8::try_from((number ^ version) % 251).unwrap(); 40 + (number as usize * 7) % 3000];
    record::seal(Kind::Meta, &key(number), &(number, version, filling.as_slice())).unwrap()
}

/// The version of a row that is what was written; panics where the bytes are right and say something else.
fn opened(number: u32, row: &[u8]) -> Result<u32, record::RecordError> {
    let (found, version, _) = record::open::<(u32, u32, &[u8])>(Kind::Meta, &key(number), row)?;
    assert_eq!((found, row), (number, sealed(number, version).as_slice()), "wrong bytes");
    Ok(version)
}

/// One commit: rows `first..first + rows`, all at `version`.
fn batch(first: u32, rows: u32, version: u32) -> Batch {
    let mut batch = Batch::default();
    for number in first..first + rows {
        batch.put(key(number), sealed(number, version));
    }
    batch
}

/// All rows of a store with their versions, or the store's error. A row that fails its checksum is `None`.
fn rows(store: &dyn Store) -> Result<BTreeMap<u32, Option<u32>>, StoreError> {
    let mut found = BTreeMap::new();
    store.scan(b"row/".as_slice()..b"row0".as_slice(), Direction::Ascending, &mut |key, value| {
        let number = std::str::from_utf8(&key[4..]).unwrap().parse().unwrap();
        found.insert(number, opened(number, value).ok());
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn numbers(store: &dyn Store) -> Vec<u32> {
    rows(store).unwrap().into_keys().collect()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every file below `path` with its bytes.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// The one data folder of a store.
fn data(root: &Path) -> PathBuf {
    let is_data = |name: &str| name.starts_with("data-") && !name.contains('.');
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
    let found: Vec<_> = entries.filter(|entry| is_data(entry.file_name().to_str().unwrap())).collect();
    assert_eq!(found.len(), 1, "one data folder");
    found[0].path()
}

/// Numbers that follow from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) % end as u64) as usize
    }
}

// ---- children ----------------------------------------------------------------------------------------------------------

/// A child that runs the ignored test `name` with `folder`, started through `shell` where it needs limits.
fn child(name: &str, folder: &Path, shell: Option<&str>) -> Child {
    let binary = std::env::current_exe().unwrap();
    let mut command = match shell {
        Some(script) => {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{script}; exec \"$0\" \"$@\"")]).arg(&binary);
            command
        }
        None => Command::new(binary),
    };
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("STORE_TEST_FOLDER", folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// The lines that the child says, until it ends.
#[expect(clippy::disallowed_methods, reason = "a child that hangs must not hang its test")]
fn said(child: &mut Child) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            // The first line of a test run shares its line with the name of the test.
            if let Some(at) = line.find("say ") {
                let _ = send.send(line[at + 4..].to_owned());
            }
        }
    });
    receive
}

fn hear(lines: &mpsc::Receiver<String>, expected: &str) {
    while lines.recv_timeout(HANG).expect("the child speaks") != expected {}
}

fn say(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "say {text}").and_then(|()| out.flush()).unwrap();
}

fn end(mut child: Child) {
    let _ = child.kill();
    child.wait().unwrap();
}

fn folder_of_child() -> PathBuf {
    PathBuf::from(std::env::var_os("STORE_TEST_FOLDER").expect("started by another test"))
}

fn wait_for_parent() {
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
#[ignore = "a child of other tests"]
fn child_holds_the_store() {
    let store = SledStore::open(fsync(&folder_of_child())).unwrap();
    say("open");
    wait_for_parent();
    store.close().unwrap();
}

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

/// Fills a store with rows, each written twice, and waits to be killed.
#[test]
#[ignore = "a child of other tests"]
fn child_fills_and_waits() {
    let store = SledStore::open(options(&folder_of_child(), Durability::Process)).unwrap();
    for version in 1..=2 {
        for first in (0..DAMAGE_ROWS).step_by(25) {
            store.apply(&batch(first, 25, version)).unwrap();
        }
    }
    store.apply(&batch(DAMAGE_ROWS, 1, 1)).unwrap();
    store.close().unwrap();
    let store = SledStore::open(options(&folder_of_child(), Durability::Fsync)).unwrap();
    store.apply(&batch(0, 25, 3)).unwrap();
    say("filled");
    wait_for_parent();
    drop(store);
}

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

// ---- every store -------------------------------------------------------------------------------------------------------

#[test]
fn memory_conforms() {
    conformance::check(|| Box::new(MemoryStore::new()));
}

#[test]
fn faulty_conforms_while_it_is_told_nothing() {
    for durability in [Durability::Memory, Durability::Process, Durability::Fsync] {
        let mut last: Option<Faults> = None;
        conformance::check(|| {
            let store = last.take().map_or_else(|| FaultyStore::new(durability), |faults| faults.restart());
            last = Some(store.faults());
            Box::new(store)
        });
    }
}

#[test]
fn sled_conforms_with_fsync() {
    let folder = tempfile::tempdir().unwrap();
    conformance::check(|| Box::new(SledStore::open(fsync(folder.path())).unwrap()));
}

#[test]
fn sled_conforms_in_process_mode() {
    let folder = tempfile::tempdir().unwrap();
    conformance::check(|| Box::new(SledStore::open(options(folder.path(), Durability::Process)).unwrap()));
}

// ---- the faulty store --------------------------------------------------------------------------------------------------

#[test]
fn faulty_fails_as_scripted() {
    let store = FaultyStore::new(Durability::Fsync);
    let faults = store.faults();
    for (failure, maybe, stored) in
        [(Failure::NotStored, false, 0), (Failure::MaybeAndNot, true, 0), (Failure::MaybeAndStored, true, 1)]
    {
        faults.fail_next(1, failure);
        let error = store.apply(&batch(0, 1, 1)).unwrap_err();
        assert_eq!((error.may_be_stored(), numbers(&store).len()), (maybe, stored), "{failure:?}");
    }
    faults.set_full(true);
    assert_eq!(store.apply(&batch(1, 1, 1)), Err(StoreError::Full));
    faults.set_full(false);
    assert_eq!(store.apply(&batch(1, 1, 1)), Ok(()));
    faults.tear_next(2);
    assert!(store.apply(&batch(2, 4, 1)).is_err() && store.get(b"x").is_err());
    assert_eq!(numbers(&faults.restart()), [0, 1, 2, 3], "half of the batch is there");
}

#[test]
fn faulty_flips_a_bit_that_the_record_notices() {
    let store = FaultyStore::new(Durability::Memory);
    store.apply(&batch(0, 3, 1)).unwrap();
    assert!(store.faults().corrupt(&key(1), 7) && !store.faults().corrupt(b"no such row", 7));
    let found: Vec<_> = rows(&store).unwrap().into_values().collect();
    assert_eq!(found, [Some(1), None, Some(1)]);
}

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

#[test]
fn row_39_stalled_apply_leaves_readers_alone() {
    let store = FaultyStore::new(Durability::Fsync);
    let faults = store.faults();
    faults.stall();
    std::thread::scope(|scope| {
        let stalled = scope.spawn(|| store.apply(&batch(0, 1, 1)));
        faults.wait_until_stalled();
        assert!(numbers(&store).is_empty());
        assert_eq!(faults.counts().applies, 1);
        faults.release();
        assert_eq!(stalled.join().unwrap(), Ok(()));
    });
    assert_eq!(numbers(&store), [0]);
}

// ---- sled --------------------------------------------------------------------------------------------------------------

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
    kill_while_committing("child_commits_with_fsync", Durability::Fsync);
}

#[test]
fn row_32_killed_in_process_mode_loses_nothing() {
    kill_while_committing("child_commits_in_process_mode", Durability::Process);
}

#[cfg(target_os = "linux")]
#[test]
fn row_34_full_disk_is_typed_and_passes_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    // Blocks of 512 bytes in some shells and of 1,024 in others; the soft limit, so that it can be raised.
    let mut process =
        child("child_fills_up_and_recovers", &folder.path().join("store"), Some("trap '' XFSZ; ulimit -S -f 9000"));
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

#[test]
fn row_35_locked_by_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = child("child_holds_the_store", folder.path(), None);
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

/// A folder of a store whose process was killed.
fn killed_store() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut process = child("child_fills_and_waits", folder.path(), None);
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
fn row_36_damage_anywhere_is_typed_or_healed() {
    let template = killed_store();
    let unharmed = tempfile::tempdir().unwrap();
    copy_folder(template.path(), unharmed.path());
    let store = SledStore::open(fsync(unharmed.path())).unwrap();
    assert_eq!(rows(&store).unwrap(), expected_rows(), "a killed store is whole");
    let (mut healed, mut refused, mut found_late) = (0, 0, 0);
    for seed in 0..50 {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        copy_folder(template.path(), &root);
        let what = damage(&data(&root), &mut Random(seed));
        let before = contents(&data(&root));
        match SledStore::open(fsync(&root)) {
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
    eprintln!("{healed} healed, {refused} refused, {found_late} found while reading");
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
    let template = killed_store();
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
        let mut process = child("child_rotates_for_ever", folder.path(), None);
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
