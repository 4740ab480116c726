//! What every [`Store`] must do, as one suite: run it on yours.
//!
//! ```
//! use switchboard::store::{conformance, memory::MemoryStore};
//!
//! conformance::check(|| Box::new(MemoryStore::new()));
//! ```

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Batch, Direction, Durability, Store, StoreError};

type Row = (Vec<u8>, Vec<u8>);

/// Runs the whole suite.
///
/// `open` gives an empty store at first. One that persists ([`Durability`] above memory) is closed and opened again: from
/// then on `open` gives the same store. One without persistence may be new each time.
///
/// # Panics
/// At the first breach, saying which.
pub fn check(mut open: impl FnMut() -> Box<dyn Store>) {
    let store = open();
    is_empty_at_first(&*store);
    rows_round_trip(&*store);
    scans_are_ordered_and_bounded(&*store);
    scans_break_early(&*store);
    later_writes_win(&*store);
    repeated_batches_are_harmless(&*store);
    batches_are_seen_whole_by_readers(&*store);
    store.maintain().expect("maintain works on a healthy store");
    let before = all(&*store);
    closed_stores_say_so(&*store);
    drop(store);
    let store = open();
    if store.status().durability != Durability::Memory {
        assert_eq!(all(&*store), before, "a persistent store holds the same rows after it was closed and opened");
        assert!(!store.status().loss_possible, "nothing can be lost by closing in order");
    }
    store.close().expect("close works");
}

fn is_empty_at_first(store: &dyn Store) {
    assert_eq!(all(store), [], "a new store is empty");
    assert_eq!(store.get(b"nothing"), Ok(None), "a missing row is no error");
    assert_eq!(store.get(b""), Ok(None), "the empty key is a key like any other");
    put(store, &[]);
    assert_eq!(all(store), [], "an empty batch writes nothing");
}

fn rows_round_trip(store: &dyn Store) {
    let large = vec![0xA5; 64 * 1024];
    let rows: [(&[u8], &[u8]); 5] = [
        (b"a/empty", b""),
        (b"a/zero\0\0", b"\0"),
        (b"a/\xff\xff", b"high"),
        (b"a/large", &large),
        (b"", b"empty key"),
    ];
    put(store, &rows);
    for (key, value) in rows {
        assert_eq!(
            store.get(key).as_ref().map(Option::as_deref),
            Ok(Some(value)),
            "row {key:?} reads as it was written"
        );
    }
    let mut batch = Batch::default();
    rows.iter().for_each(|(key, _)| batch.delete(key.to_vec()));
    batch.delete(b"a/never written".to_vec());
    apply(store, &batch);
    assert_eq!(all(store), [], "deleted rows are gone, and deleting a missing one is no error");
}

fn scans_are_ordered_and_bounded(store: &dyn Store) {
    let keys: Vec<Vec<u8>> = (0..200_u32).map(|number| [b"s/".as_slice(), &number.to_be_bytes()].concat()).collect();
    let mut batch = Batch::default();
    for key in keys.iter().rev() {
        batch.put(key.clone(), key.clone());
    }
    apply(store, &batch);
    let expected: Vec<_> = keys[20..120].iter().map(|key| (key.clone(), key.clone())).collect();
    let found = scan(store, &keys[20], &keys[120], Direction::Ascending);
    assert_eq!(found, expected, "an ascending scan takes its start and not its end");
    let mut found = scan(store, &keys[20], &keys[120], Direction::Descending);
    found.reverse();
    assert_eq!(found, expected, "a descending scan visits the same rows, backwards");
    for direction in [Direction::Ascending, Direction::Descending] {
        assert_eq!(scan(store, &keys[7], &keys[7], direction), [], "an empty range has no rows");
        assert_eq!(scan(store, &keys[9], &keys[7], direction), [], "a range that ends before it starts has no rows");
        assert_eq!(scan(store, b"t", b"u", direction), [], "a range without rows has none");
        let first = scan(store, b"s/", &keys[1], direction);
        assert_eq!(first.len(), 1, "bounds need not be rows");
    }
}

fn scans_break_early(store: &dyn Store) {
    for (direction, expected) in [(Direction::Ascending, [0, 1, 2]), (Direction::Descending, [199, 198, 197])] {
        let mut seen = Vec::new();
        let outcome = store.scan(b"s/".as_slice()..b"s0".as_slice(), direction, &mut |key, _| {
            seen.push(u32::from(key[key.len() - 1]));
            if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((outcome, seen.as_slice()), (Ok(()), expected.as_slice()), "a scan ends where the visitor breaks");
    }
}

fn later_writes_win(store: &dyn Store) {
    let mut batch = Batch::default();
    batch.put(b"w/1".to_vec(), b"first".to_vec());
    batch.put(b"w/1".to_vec(), b"second".to_vec());
    batch.put(b"w/2".to_vec(), b"put".to_vec());
    batch.delete(b"w/2".to_vec());
    batch.delete(b"w/3".to_vec());
    batch.put(b"w/3".to_vec(), b"put".to_vec());
    apply(store, &batch);
    let found = [b"w/1", b"w/2", b"w/3"].map(|key| store.get(key).expect("get works"));
    let expected = [Some(b"second".to_vec()), None, Some(b"put".to_vec())];
    assert_eq!(found, expected, "of two writes to one key in a batch the later one wins");
}

fn repeated_batches_are_harmless(store: &dyn Store) {
    let mut batch = Batch::default();
    batch.put(b"r/1".to_vec(), b"one".to_vec());
    batch.delete(b"w/1".to_vec());
    apply(store, &batch);
    let once = all(store);
    apply(store, &batch);
    assert_eq!(all(store), once, "applying a batch again changes nothing");
}

/// A reader may see a batch or not, yet a row never with bytes of two batches, and none missing once it was there.
fn batches_are_seen_whole_by_readers(store: &dyn Store) {
    const ROUNDS: u8 = 40;
    let round = |number: u8| {
        let mut batch = Batch::default();
        for row in 0..8_u8 {
            batch.put(vec![b'c', b'/', row], vec![number; 300]);
        }
        batch
    };
    apply(store, &round(0));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for direction in [Direction::Ascending, Direction::Descending] {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let rows = scan(store, b"c/", b"c0", direction);
                    assert_eq!(rows.len(), 8, "a reader beside a batch sees every row");
                    for (_, value) in rows {
                        let whole = value.len() == 300 && value.iter().all(|byte| *byte == value[0]);
                        assert!(whole, "a reader beside a batch sees whole rows");
                    }
                }
            });
        }
        for number in 1..=ROUNDS {
            apply(store, &round(number));
            let found = store.get(b"c/\x07").expect("get works");
            assert_eq!(found, Some(vec![number; 300]), "what was applied is seen at once");
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn closed_stores_say_so(store: &dyn Store) {
    store.close().expect("close works");
    store.close().expect("closing again does nothing");
    if store.status().durability == Durability::Memory {
        return;
    }
    let mut batch = Batch::default();
    batch.put(b"x".to_vec(), b"x".to_vec());
    assert_eq!(store.apply(&batch), Err(StoreError::Closed), "a closed store takes no batch");
    assert_eq!(store.get(b"x"), Err(StoreError::Closed), "a closed store answers no get");
    let outcome =
        store.scan(b"a".as_slice()..b"b".as_slice(), Direction::Ascending, &mut |_, _| ControlFlow::Continue(()));
    assert_eq!(outcome, Err(StoreError::Closed), "a closed store answers no scan");
    assert_eq!(store.maintain(), Err(StoreError::Closed), "a closed store maintains nothing");
}

fn put(store: &dyn Store, rows: &[(&[u8], &[u8])]) {
    let mut batch = Batch::default();
    rows.iter().for_each(|(key, value)| batch.put(key.to_vec(), value.to_vec()));
    apply(store, &batch);
}

fn apply(store: &dyn Store, batch: &Batch) {
    store.apply(batch).expect("apply works on a healthy store");
}

/// Every row whose key is below `0xFF 0xFF`.
fn all(store: &dyn Store) -> Vec<Row> {
    scan(store, b"", b"\xff\xff", Direction::Ascending)
}

fn scan(store: &dyn Store, start: &[u8], end: &[u8], direction: Direction) -> Vec<Row> {
    let mut rows = Vec::new();
    let outcome = store.scan(start..end, direction, &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    });
    outcome.expect("scan works on a healthy store");
    rows
}
