//! The engine against a naive model: thousands of small worlds in which anything may happen in any order.
//!
//! `PROPTEST_CASES` multiplies the number of worlds, `TRANSITIONS` sets the length of each, `MODEL_SEED` repeats a run. A
//! difference is shrunk to the shortest sequence that still shows it, and printed with what everyone heard.

#![cfg(feature = "sled")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stdout, reason = "the figures are part of the proof")]

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

mod command;
mod ids;
mod reference;
mod stores;
mod stories;
mod world;

use command::Command;
use stores::Disk;
use world::World;

static TRANSITIONS: AtomicU64 = AtomicU64::new(0);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One world from its beginning to its end; returns what everyone heard, and the difference.
fn live(disk: Disk, commands: &[Command]) -> (Vec<String>, Result<(), String>) {
    let mut world = match World::new(disk) {
        Ok(world) => world,
        Err(error) => return (Vec::new(), Err(error)),
    };
    for command in commands {
        TRANSITIONS.fetch_add(1, Ordering::Relaxed);
        if let Err(difference) = world.step(command) {
            return (world.trace, Err(difference));
        }
    }
    let end = world.finish();
    (world.trace, end)
}

/// Runs worlds on one kind of store, unless `MODEL_STORE` names another.
fn compare(name: &str, worlds: u64, disk: fn() -> Disk, command: impl Strategy<Value = Command>) {
    if std::env::var("MODEL_STORE").is_ok_and(|only| only != name) {
        return;
    }
    let cases = u32::try_from(worlds * setting("PROPTEST_CASES", 1)).unwrap();
    let length = usize::try_from(setting("TRANSITIONS", 100)).unwrap();
    let seed = setting("MODEL_SEED", 1);
    let config = Config { cases, max_shrink_iters: 4_000, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let trace = RefCell::new(Vec::new());
    let commands = prop::collection::vec(command, 1..=length * 2);
    let outcome = runner.run(&commands, |commands| {
        let (heard, result) = live(disk(), &commands);
        result.map_err(|difference| {
            *trace.borrow_mut() = heard;
            TestCaseError::fail(difference)
        })
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(difference, commands)) => {
            let trace = trace.borrow().join("\n");
            let commands: Vec<String> = commands.iter().map(|command| format!("    {command:?}")).collect();
            panic!("{}\n{trace}\n{name}, MODEL_SEED={seed}: {difference}\n", commands.join("\n"));
        }
        Err(error) => panic!("{name}, seed {seed}: {error}"),
    }
}

#[test]
fn the_engine_does_what_the_naive_model_says() {
    std::thread::scope(|scope| {
        scope.spawn(|| compare("faulty", 500, Disk::faulty, command::stormy()));
        compare("sled", 60, Disk::sled, command::calm());
        compare("memory", 900, Disk::memory, command::calm());
    });
    let transitions = TRANSITIONS.load(Ordering::Relaxed);
    println!("model: {transitions} transitions, 0 mismatches");
    assert!(transitions >= 100_000, "only {transitions} transitions");
}

#[test]
fn what_the_model_found_stays_fixed() {
    let differs = |story: &stories::Story| {
        let lived = std::panic::catch_unwind(|| live((story.disk)(), &story.commands).1);
        lived.unwrap_or_else(|_| Err("a panic".to_owned())).err()
    };
    let again: Vec<_> = stories::all().iter().filter_map(|story| Some((story.told, differs(story)?))).collect();
    assert!(again.is_empty(), "{again:#?}");
}
