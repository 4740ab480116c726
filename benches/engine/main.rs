//! What the engine costs, beside what the same work costs without it: each group has its rival in it, measured in the same
//! run, so that the ratio holds on a noisy machine.
//!
//! `cargo bench --bench engine` runs all groups, `cargo bench --bench engine -- fan_out` one.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on should stop")]

mod append;
mod away;
mod codec;
mod fan_out;
mod hosts;
mod pairs;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

fn settings() -> Criterion {
    Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3))
}

criterion_group! {
    name = engine;
    config = settings();
    targets = fan_out::benches, fan_out::slow_consumer, pairs::benches, append::benches, away::all_away, away::backlog, codec::signature, codec::codec
}
criterion_main!(engine);
