//! Settings of connections, with the reason beside each.

use std::time::Duration;

use super::{Framing, Wire};
use crate::config::ConfigError;
use crate::id::PeerId;

/// Settings of connections, shared by all of a listener. The defaults are those of the documents, or chosen where they are
/// silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// How frames are written.
    pub wire: Wire,
    /// How the transport keeps them apart.
    pub framing: Framing,
    /// The application that frames may name (`appId`), any other is 4100; none is not to look.
    pub app_id: Option<String>,
    /// Characters of a peer id, as in [`Config`](crate::Config).
    pub peer_id_chars_max: usize,
    /// Bytes of one frame (4109, close): JSON may escape 5 KB of content sixfold.
    pub frame_bytes_max: usize,
    /// Bytes that wait for the transport, from where on [`Connection::is_congested`].
    pub transmit_bytes_max: usize,
    /// How long a connection may be without a session (4108, close).
    pub login_after: Duration,
    /// How long nothing may be received (4107, close): clients ping every 1 to 3 minutes.
    pub read_after: Duration,
    /// Requests that wait for their reply: more than a client sends while the slowest commit takes place.
    pub requests_max: usize,
    /// Peers that share the connection.
    pub peers_max: usize,
    /// Refused signatures within [`faults_within`](Self::faults_within); the last one closes.
    pub signature_failures_max: usize,
    /// Each refused signature waits so much longer for its answer than the one before; the first does not wait.
    pub signature_delay: Duration,
    /// Frames that cannot be parsed within [`faults_within`](Self::faults_within); the last one closes.
    pub unparseable_max: usize,
    /// How long faults count.
    pub faults_within: Duration,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            wire: Wire::V1,
            framing: Framing::Lines,
            app_id: None,
            peer_id_chars_max: PeerId::CHARS_MAX,
            frame_bytes_max: 64 * 1024,
            transmit_bytes_max: 256 * 1024,
            login_after: Duration::from_secs(15),
            read_after: Duration::from_secs(360),
            requests_max: 1_024,
            peers_max: 100,
            signature_failures_max: 5,
            signature_delay: Duration::from_secs(1),
            unparseable_max: 10,
            faults_within: Duration::from_secs(60),
        }
    }
}

impl ConnectionConfig {
    /// Checks every setting against its bounds.
    ///
    /// # Errors
    /// The first setting that is out of bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let hour = 3_600_000;
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        [
            ("peer_id_chars_max", self.peer_id_chars_max as u64, 1, 200),
            ("frame_bytes_max", self.frame_bytes_max as u64, 256, 1 << 24),
            ("transmit_bytes_max", self.transmit_bytes_max as u64, 1 << 12, 1 << 30),
            ("login_after", millis(self.login_after), 1, hour),
            ("read_after", millis(self.read_after), 1, 24 * hour),
            ("requests_max", self.requests_max as u64, 1, 1 << 20),
            ("peers_max", self.peers_max as u64, 1, 10_000),
            ("signature_failures_max", self.signature_failures_max as u64, 1, 1_000),
            ("signature_delay", millis(self.signature_delay), 0, 60_000),
            ("unparseable_max", self.unparseable_max as u64, 1, 1_000),
            ("faults_within", millis(self.faults_within), 1, hour),
        ]
        .into_iter()
        .find(|(_, value, min, max)| !(min..=max).contains(&value))
        .map_or(Ok(()), |(setting, value, min, max)| {
            Err(ConfigError { setting, reason: format!("is {value}, not between {min} and {max}") })
        })
    }
}
