//! What every store does, and the one that fails on request.

use std::panic::{AssertUnwindSafe, catch_unwind};

use switchboard::store::conformance;
use switchboard::store::faulty::{Failure, Faults, FaultyStore, Operation};
use switchboard::store::memory::MemoryStore;
use switchboard::store::sled::SledStore;
use switchboard::store::{Durability, Store, StoreError};

use super::{batch, fsync, key, numbers, options, rows};

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

#[test]
fn faulty_panics_as_scripted() {
    let store = FaultyStore::new(Durability::Fsync);
    let panics = |call: &dyn Fn()| catch_unwind(AssertUnwindSafe(call)).is_err();
    let apply = || drop(store.apply(&batch(0, 1, 1)));
    store.faults().panic_next(Operation::Apply, 2);
    assert_eq!([panics(&apply), panics(&apply), panics(&apply)], [true, true, false]);
    for operation in [Operation::Get, Operation::Scan, Operation::Maintain, Operation::Close] {
        store.faults().panic_next(operation, usize::MAX);
    }
    for _ in 0..3 {
        assert!(panics(&|| drop(store.get(b"x"))) && panics(&|| drop(rows(&store))));
        assert!(panics(&|| drop(store.maintain())) && panics(&|| drop(store.close())));
    }
    store.faults().panic_next(Operation::Scan, 0);
    assert_eq!(numbers(&store), [0]);
}
