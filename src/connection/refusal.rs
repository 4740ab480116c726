//! What a client is told that it may not, and the end of its connection.

use super::Connection;
use super::unanswered::Unanswered;
use super::wire::Address;
use crate::error::Error;
use crate::time::Timestamp;

impl Connection {
    pub(super) fn refuse(&mut self, address: Address, error: &Error, now: Timestamp) {
        if self.closing.is_some() {
            return;
        }
        let within = self.config.faults_within;
        match error {
            Error::SignatureFailed | Error::ConversationSignatureFailed => {
                let failures = self.signature_failures.strike(within, now);
                self.refuse_signature(address, error, failures, now);
            }
            Error::Unparseable if self.unparseable.strike(within, now) >= self.config.unparseable_max => {
                self.close(address, error);
            }
            _ => self.send(address, self.format().error(error)),
        }
    }

    /// Whoever guesses at signatures waits longer for each answer, and has few guesses.
    fn refuse_signature(&mut self, address: Address, error: &Error, failures: usize, now: Timestamp) {
        if failures >= self.config.signature_failures_max {
            self.close(address, error);
        } else {
            let earlier = u32::try_from(failures - 1).unwrap_or(u32::MAX);
            let at = now + self.config.signature_delay.saturating_mul(earlier);
            self.outgoing.delay(at, address, self.format().error(error).into());
            self.outgoing.release(now);
        }
    }

    pub(super) fn refuse_length(&mut self) {
        let max = self.config.frame_bytes_max as u64;
        self.close(Address::default(), &Error::TooLong { limit: "frame_bytes_max", max });
    }

    /// A client that does not read is told why, and nothing else: what it did not acknowledge comes again.
    pub(super) fn close_overfull(&mut self) {
        self.outgoing.clear();
        let max = self.config.unsent_bytes_max as u64;
        self.close(Address::default(), &Error::OverLimit { limit: "unsent_bytes_max", max });
    }

    /// The last frame says why. The sessions stay until the host takes them with [`lost`](Self::lost).
    pub(super) fn close(&mut self, address: Address, error: &Error) {
        if self.closing.is_some() {
            return;
        }
        self.outgoing.release_all();
        self.outgoing.push(address, self.format().error(error).into());
        self.closing = Some(error.code());
        self.forget_work();
    }

    pub(super) fn forget_work(&mut self) {
        self.inbox.clear();
        self.held = None;
        self.unanswered = Unanswered::default();
    }
}
