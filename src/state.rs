//! The nouns as the engine holds them.

pub(crate) mod accepted;
pub(crate) mod actor;
pub(crate) mod conversation;
pub(crate) mod counts;
pub(crate) mod held;
pub(crate) mod notices;
pub(crate) mod owed;
pub(crate) mod parked;
pub(crate) mod pauses;
pub(crate) mod peer;
pub(crate) mod reads;
pub(crate) mod recent;
pub(crate) mod retry;
pub(crate) mod session;
pub(crate) mod shares;
pub(crate) mod watches;
