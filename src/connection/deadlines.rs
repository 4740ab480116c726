//! How long a connection may be silent, and how long without a session.

use super::ConnectionConfig;
use crate::error::Error;
use crate::time::Timestamp;

/// The two reasons to end a connection that does nothing.
#[derive(Debug)]
pub(super) struct Deadlines {
    heard_at: Timestamp,
    /// When the connection ends for want of a session; `None` while there is one.
    login_at: Option<Timestamp>,
}

impl Deadlines {
    /// Those of a transport that has just connected.
    pub(super) fn new(config: &ConnectionConfig, now: Timestamp) -> Self {
        Self { heard_at: now, login_at: Some(now + config.login_after) }
    }

    pub(super) fn heard(&mut self, now: Timestamp) {
        self.heard_at = self.heard_at.max(now);
    }

    pub(super) const fn logged_in(&mut self) {
        self.login_at = None;
    }

    /// There is no session any more: the time for another login begins, where it does not run yet.
    pub(super) fn logged_out(&mut self, config: &ConnectionConfig, now: Timestamp) {
        self.login_at.get_or_insert(now + config.login_after);
    }

    /// For what the connection ends now, where it does.
    pub(super) fn over(&self, config: &ConnectionConfig, now: Timestamp) -> Option<Error> {
        if self.login_at.is_some_and(|at| now >= at) {
            Some(Error::LoginTimeout)
        } else {
            (now >= self.heard_at + config.read_after).then_some(Error::ReadTimeout)
        }
    }

    /// When to look again.
    pub(super) fn next(&self, config: &ConnectionConfig) -> Timestamp {
        let read_at = self.heard_at + config.read_after;
        self.login_at.map_or(read_at, |login_at| login_at.min(read_at))
    }
}
