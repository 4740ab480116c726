//! The engine from outside: text scenarios, the rows of faults, determinism and the floors of the house.

mod commands;
mod hooks;
mod scenarios;
mod world;
