//! The first generation's frames: one JSON object each. [`contract`] lists them.

pub(super) mod client;
pub mod contract;
mod json;
mod reader;
mod writer;

pub(super) use reader::parse;
pub(super) use writer::{closed, error, frame, reply, update};

/// A sign of life, in both directions.
pub(super) const HEARTBEAT: &str = "{}";
