//! The engine from outside: text scenarios, the rows of faults, determinism and the floors of the house.
#![expect(clippy::unwrap_used, reason = "helpers of tests are not in `#[test]` functions")]
#![expect(clippy::print_stdout, reason = "a failing test shows the life that led to it")]

mod commands;
mod determinism;
mod faults;
mod floors;
mod hooks;
mod house;
mod scenarios;
mod wired;
mod world;
