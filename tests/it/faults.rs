//! Bad input and faults: one test for each row that lives above the store, named after it.

mod delivery;
mod frames;
mod hooks;
mod shares;
mod signed;
mod stored;
mod timed;
