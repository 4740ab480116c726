//! Disks and sled that fail a call (rows 45 and 63), as no healthy machine has them at hand.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use switchboard::store::sled::{Call, SledStore, Trouble};
use switchboard::store::{Batch, Direction, Durability, Store, StoreError};

use super::{batch, numbers, options};

const EINTR: Trouble = Trouble::Refused(4);
const EIO: Trouble = Trouble::Refused(5);
const ENOMEM: Trouble = Trouble::Refused(12);
const EMFILE: Trouble = Trouble::Refused(24);
const ENOSPC: Trouble = Trouble::Refused(28);
/// Within this the store takes writes again once the cause is gone.
const RECOVERED_WITHIN: Duration = Duration::from_secs(5);
const BOTH: [Durability; 2] = [Durability::Process, Durability::Fsync];

/// Repeats a call, as whoever commits does, until it succeeds in time. Returns the first error.
#[expect(clippy::disallowed_methods, reason = "the time until the store is back is what is tested")]
fn recovers(store: &SledStore, batch: &Batch) -> Option<StoreError> {
    let started = Instant::now();
    let mut first = None;
    while let Err(error) = store.apply(batch) {
        assert!(started.elapsed() < RECOVERED_WITHIN, "{error}");
        first.get_or_insert(error);
        std::thread::sleep(Duration::from_millis(10));
    }
    first
}

/// A store with ten rows, a call that meets a trouble some times, and what the next batch answers at first.
fn after(durability: Durability, call: Call, trouble: Trouble, times: usize) -> Option<StoreError> {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(options(folder.path(), durability)).unwrap();
    store.apply(&batch(0, 10, 1)).unwrap();
    store.trouble(call, trouble, times);
    let first = recovers(&store, &batch(10, 10, 1));
    store.end_troubles();
    store.apply(&batch(20, 10, 1)).unwrap();
    let whole: Vec<_> = (0..30).collect();
    assert_eq!(numbers(&store), whole, "{call:?}, {trouble:?}");
    let live = store.status().live_bytes;
    store.close().unwrap();
    let store = SledStore::open(options(folder.path(), durability)).unwrap();
    assert_eq!(numbers(&store), whole, "{call:?}, {trouble:?}");
    assert_eq!(store.status().live_bytes, live);
    let unharmed = tempfile::tempdir().unwrap();
    let unharmed = SledStore::open(options(unharmed.path(), durability)).unwrap();
    unharmed.apply(&batch(0, 30, 1)).unwrap();
    assert_eq!(unharmed.status().live_bytes, live, "rows are counted once, however often they were tried");
    first
}

/// An interrupted call, or a moment without memory or handles, made the store refuse for good.
#[test]
fn row_45_what_comes_back_is_tried_again() {
    for durability in BOTH {
        let synced_or_noted = if durability == Durability::Fsync { Call::Sync } else { Call::Note };
        for trouble in [EINTR, ENOMEM, EMFILE] {
            for call in [Call::Apply, Call::Write, synced_or_noted] {
                let times = if trouble == EINTR { 3 } else { 1 };
                let first = after(durability, call, trouble, times);
                assert!(matches!(first, Some(StoreError::Exhausted(_))), "{call:?}, {trouble:?}: {first:?}");
            }
        }
        for call in [Call::Apply, Call::Write] {
            assert_eq!(after(durability, call, ENOSPC, 1), Some(StoreError::Full));
        }
    }
}

/// After a failed sync nothing can be believed: the store says so, and goes on only when it is opened anew.
#[test]
fn row_45_what_is_lost_is_refused_for_good() {
    let cases = [
        (Durability::Fsync, Call::Sync, EIO),
        (Durability::Fsync, Call::Sync, ENOSPC),
        (Durability::Fsync, Call::Write, EIO),
        (Durability::Process, Call::Write, EIO),
        (Durability::Process, Call::Note, EIO),
    ];
    for (durability, call, trouble) in cases {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(options(folder.path(), durability)).unwrap();
        store.apply(&batch(0, 10, 1)).unwrap();
        store.trouble(call, trouble, 1);
        for _ in 0..20 {
            let outcome = store.apply(&batch(10, 10, 1));
            assert!(matches!(outcome, Err(StoreError::Broken(_))), "{call:?}, {trouble:?}: {outcome:?}");
            assert!(outcome.unwrap_err().may_be_stored());
            assert!(store.maintain().is_err());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(store.get(b"no such row").is_ok(), "readers go on");
        assert!(
            matches!(store.close(), Err(StoreError::Broken(_))),
            "a close that cannot sync does not say that it did"
        );
        let store = SledStore::open(options(folder.path(), durability)).unwrap();
        let found = numbers(&store);
        assert!(found.len() == 10 || found.len() == 20, "what was acknowledged, and a batch is whole: {}", found.len());
        store.apply(&batch(10, 10, 1)).unwrap();
    }
}

/// sled opened anew gets a new descriptor, which no longer hears of what the system has dropped: the old one is asked first.
#[test]
fn row_45_a_write_that_failed_is_tried_again_only_if_what_was_written_before_can_be_synced() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(options(folder.path(), Durability::Process)).unwrap();
    store.apply(&batch(0, 10, 1)).unwrap();
    store.trouble(Call::Write, EINTR, 1);
    store.trouble(Call::Sync, EIO, 1);
    let error = (0..100).find_map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        store.apply(&batch(10, 10, 1)).err().filter(|error| matches!(error, StoreError::Broken(_)))
    });
    assert!(error.is_some(), "the failed sync is seen");
    assert!(matches!(store.apply(&batch(10, 10, 1)), Err(StoreError::Broken(_))), "and is final");
}

/// sled panics where its pages are damaged, also for a moment: that ended whoever called.
#[test]
fn row_63_a_panic_is_a_failed_call() {
    for durability in BOTH {
        for call in [Call::Apply, Call::Write] {
            let first = after(durability, call, Trouble::Panic, 2);
            assert!(matches!(first, Some(StoreError::Corrupt { .. })), "{call:?}: {first:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(options(folder.path(), durability)).unwrap();
        store.apply(&batch(0, 3, 1)).unwrap();
        store.trouble(Call::Get, Trouble::Panic, 1);
        assert!(matches!(store.get(b"row/00000000"), Err(StoreError::Corrupt { .. })));
        assert!(store.get(b"row/00000000").unwrap().is_some(), "the next read is none the worse");
        store.trouble(Call::Scan, Trouble::Panic, 1);
        assert!(scan(&store).is_err() && scan(&store) == Ok(3));
        store.trouble(Call::Get, Trouble::Panic, 1);
        assert!(matches!(recovers(&store, &batch(3, 1, 1)), Some(StoreError::Corrupt { .. })));
        store.trouble(Call::Write, Trouble::Panic, 1);
        assert!(matches!(store.close(), Err(StoreError::Corrupt { .. })), "the last sync did not happen");
        assert_eq!(store.apply(&batch(0, 1, 1)), Err(StoreError::Closed));
        assert_eq!(numbers(&SledStore::open(options(folder.path(), durability)).unwrap()).len(), 4);
    }
}

/// Panics at every call, for as long as they last: each answers, and nothing that was acknowledged is lost.
#[test]
fn row_63_a_store_that_always_panics_answers_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(options(folder.path(), Durability::Fsync)).unwrap();
    store.apply(&batch(0, 10, 1)).unwrap();
    for call in [Call::Get, Call::Scan, Call::Apply, Call::Write] {
        store.trouble(call, Trouble::Panic, 1_000);
    }
    for _ in 0..40 {
        assert!(store.apply(&batch(10, 10, 1)).is_err() && store.get(b"x").is_err() && scan(&store).is_err());
        let _ = store.maintain();
        std::thread::sleep(Duration::from_millis(10));
    }
    store.end_troubles();
    recovers(&store, &batch(10, 10, 1));
    assert_eq!(numbers(&store).len(), 20);
    store.close().unwrap();
}

fn scan(store: &SledStore) -> Result<usize, StoreError> {
    let mut count = 0;
    store.scan(b"row/".as_slice()..b"row0".as_slice(), Direction::Ascending, &mut |_, _| {
        count += 1;
        ControlFlow::Continue(())
    })?;
    Ok(count)
}
