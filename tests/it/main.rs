#![expect(clippy::print_stdout, reason = "a failing test shows the life that led to it")]
//! The engine from outside: text scenarios, the rows of faults, determinism and the floors of the house.

mod commands;
mod determinism;
mod faults;
mod floors;
mod hooks;
mod scenarios;
mod wired;
mod world;
