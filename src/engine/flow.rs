//! What joins verbs and time: requests and timers that call them, catching up, commits, loads, reads, deferred answers.

pub(crate) mod alarms;
pub(crate) mod attach;
pub(crate) mod catch_up;
pub(crate) mod commit;
pub(crate) mod dispatch;
pub(crate) mod expire;
pub(crate) mod gather;
pub(crate) mod hold;
pub(crate) mod host;
pub(crate) mod load;
pub(crate) mod park;
pub(crate) mod read;
