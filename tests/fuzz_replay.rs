//! What the fuzzers found, run again: each target on its whole corpus, with the plain toolchain.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::PathBuf;

use switchboard::fuzzing::{TARGETS, Target};

/// All corpora together, in bytes: they are seeds, not an archive.
const BYTES_MAX: usize = 300 * 1024;

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("no corpus {}: {error}", folder.display()));
    let mut inputs: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    assert!(!inputs.is_empty(), "the corpus {} is empty", folder.display());
    inputs.sort();
    inputs
}

fn replay((name, body): Target) -> usize {
    let inputs = corpus(name);
    for (path, input) in &inputs {
        let outcome = std::panic::catch_unwind(|| body(input));
        assert!(outcome.is_ok(), "{name} fails on {}", path.display());
    }
    inputs.iter().map(|(_, input)| input.len()).sum()
}

#[test]
fn every_target_holds_on_its_corpus() {
    let bytes: usize = TARGETS.iter().copied().map(replay).sum();
    assert!(bytes <= BYTES_MAX, "{bytes} bytes of corpora");
}
