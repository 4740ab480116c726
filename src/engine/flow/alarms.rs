//! Counts, and the thresholds over which the host is told.

use std::time::Duration;

use crate::engine::Engine;
use crate::event::{Event, Measure};
use crate::timers::Timer;

/// Requests in a minute below which a share of refusals means nothing.
const REQUESTS_MIN: u64 = 100;

/// How an engine stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Peers in memory.
    pub peers: usize,
    /// Sessions, paused ones among them.
    pub sessions: usize,
    /// Open sessions.
    pub open_sessions: usize,
    /// Paused sessions.
    pub paused_sessions: usize,
    /// Names that somebody watches.
    pub watched: usize,
    /// Peers and connections of whom it is counted what they lately made.
    pub shares: usize,
    /// Conversations in memory.
    pub conversations: usize,
    /// Messages accepted since the start.
    pub messages: u64,
    /// Requests refused since the start.
    pub refused: u64,
    /// Messages cut off from offline queues since the start.
    pub offline_dropped: u64,
    /// Retry tokens that were forgotten before [`Config::retry_token_after`](crate::Config::retry_token_after), because their
    /// sender used more than [`Config::retry_tokens_max`](crate::Config::retry_tokens_max) since; since the start.
    pub retry_tokens_forgotten: u64,
    /// Bytes that wait for the store.
    pub staged_bytes: usize,
    /// Outputs that wait for the host.
    pub outputs: usize,
}

impl Engine {
    /// How the engine stands.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        Metrics {
            peers: self.peers.len(),
            sessions: self.sessions.len(),
            open_sessions: self.sessions.open(),
            paused_sessions: self.pauses.len(),
            watched: self.watches.len(),
            shares: self.shares.len(),
            conversations: self.conversations.len(),
            messages: self.alarms.messages,
            refused: self.alarms.total_refused,
            offline_dropped: self.alarms.offline_dropped,
            retry_tokens_forgotten: self.alarms.retry_tokens_forgotten,
            staged_bytes: self.gate.staged_bytes(),
            outputs: self.gate.outputs(),
        }
    }

    /// How often any call looked at a conversation since the start, for tests that hold what a call costs.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn conversation_visits(&self) -> u64 {
        self.conversations.visits()
    }

    /// Compares a minute's counts with their thresholds.
    pub(crate) fn compare_alarms(&mut self) {
        let counts = &mut self.alarms;
        let messages = counts.messages - std::mem::replace(&mut counts.messages_before, counts.messages);
        let (requests, refused) = (std::mem::take(&mut counts.requests), std::mem::take(&mut counts.refused));
        let share = if requests >= REQUESTS_MIN { refused * 1_000 / requests } else { 0 };
        let alarms = self.config.alarms;
        let measures = [
            (Measure::MessagesPerMinute, messages, alarms.messages_per_minute),
            (Measure::RefusedPerMille, share, alarms.refused_per_mille),
            (Measure::StagedBytes, self.gate.staged_bytes() as u64, alarms.staged_bytes),
            (Measure::OutputsWaiting, self.gate.outputs() as u64, alarms.outputs_waiting),
        ];
        for (measure, value, threshold) in measures {
            if let Some(threshold) = threshold.filter(|threshold| value > *threshold) {
                self.tell(Event::Anomaly { measure, value, threshold });
            }
        }
        self.timers.set(Timer::Alarms, self.now + Duration::from_secs(60));
    }
}
