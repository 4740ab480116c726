//! One file a verb, or a family of them: check, decide, stage, emit. A verb calls parts, never another file of verbs.

pub(crate) mod close;
pub(crate) mod conversations;
pub(crate) mod history;
pub(crate) mod members;
pub(crate) mod open;
pub(crate) mod receipts;
pub(crate) mod send;
pub(crate) mod watch;
