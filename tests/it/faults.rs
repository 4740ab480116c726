//! Bad input and faults: one test for each row that lives above the store, named after it.

mod access;
mod catching_up;
mod clock;
mod counted;
mod crowds;
mod delivery;
mod frames;
mod hooks;
mod hub;
mod rows;
mod shares;
mod signed;
mod sizes;
mod stored;
mod timed;
