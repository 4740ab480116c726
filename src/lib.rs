//! Switchboard: an embeddable messaging engine.

pub mod error;
pub mod id;
pub mod record;
pub mod store;
pub mod time;

pub mod filter;
pub mod signature;

/// Placeholder of the façade while the floors are laid.
#[derive(Debug)]
pub struct Engine;
/// Placeholder of the settings.
#[derive(Debug)]
pub struct Config;
