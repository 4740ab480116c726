//! Settings of connections, with the reason beside each.

use std::time::Duration;

use super::{FrameKind, Framing, Wire};
use crate::config::ConfigError;
use crate::id::{PEER_ID_BYTES_MAX, PeerId};

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
    /// Bytes that wait for the transport, from where on there is no [`room`](super::Connection::room) for more: what a session
    /// is still to get waits in its outbox, which is bounded, and what a client still asks waits with the client.
    pub transmit_bytes_max: usize,
    /// Bytes that wait behind the next frame at most, whatever the host hands over (4318, close): the backlog of 50 messages
    /// of 5 KB, each escaped sixfold, fits, and a dozen lists of 500 members with the longest names. A host that looks at the
    /// room comes near it only with lists of tens of thousands.
    pub unsent_bytes_max: usize,
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
            transmit_bytes_max: 64 * 1024,
            unsent_bytes_max: 4 * 1024 * 1024,
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
    /// Bytes of an application's name.
    const APP_ID_BYTES_MAX: usize = 200;

    /// Checks every setting against its bounds. [`Connection::new`](super::Connection::new) does it too; a listener that asks
    /// before it listens tells its operator at once.
    ///
    /// # Errors
    /// The first setting that is out of bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.app_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > Self::APP_ID_BYTES_MAX) {
            let reason = format!("is empty or over {} bytes", Self::APP_ID_BYTES_MAX);
            return Err(ConfigError { setting: "app_id", reason });
        }
        if self.framing == Framing::Lines && self.wire.format().kind() == FrameKind::Binary {
            return Err(ConfigError { setting: "framing", reason: "has no lines for binary frames".to_owned() });
        }
        self.bounds().into_iter().find(|(_, value, min, max)| !(min..=max).contains(&value)).map_or(
            Ok(()),
            |(setting, value, min, max)| {
                Err(ConfigError { setting, reason: format!("is {value}, not between {min} and {max}") })
            },
        )
    }

    /// Name, value, least and most of each number; the most keeps a call under milliseconds and a connection under megabytes.
    fn bounds(&self) -> [(&'static str, u64, u64, u64); 12] {
        let (minute, hour) = (60_000, 3_600_000);
        [
            ("peer_id_chars_max", self.peer_id_chars_max as u64, 1, PEER_ID_BYTES_MAX as u64),
            // The largest content that a record holds, escaped sixfold, and its fields.
            ("frame_bytes_max", self.frame_bytes_max as u64, 256, 1 << 21),
            ("transmit_bytes_max", self.transmit_bytes_max as u64, 1 << 12, 1 << 24),
            ("unsent_bytes_max", self.unsent_bytes_max as u64, self.transmit_bytes_max as u64, 1 << 26),
            ("login_after", millis(self.login_after), 1, hour),
            ("read_after", millis(self.read_after), 1, 24 * hour),
            ("requests_max", self.requests_max as u64, 1, 1 << 16),
            ("peers_max", self.peers_max as u64, 1, 1_000),
            ("signature_failures_max", self.signature_failures_max as u64, 1, 100),
            ("signature_delay", millis(self.signature_delay), 0, minute),
            ("unparseable_max", self.unparseable_max as u64, 1, 1_000),
            ("faults_within", millis(self.faults_within), 1, hour),
        ]
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Connection;
    use super::*;
    use crate::time::Timestamp;
    use std::sync::Arc;

    /// The setting for which no connection is built.
    fn refused(config: ConnectionConfig) -> Option<&'static str> {
        Connection::new(Arc::new(config), None, Timestamp::ZERO).err().map(|error| error.setting)
    }

    fn size(value: u64) -> usize {
        usize::try_from(value).unwrap_or(usize::MAX)
    }

    #[test]
    fn the_defaults_hold_together() {
        assert_eq!(refused(ConnectionConfig::default()), None);
    }

    /// A connection took settings that `validate` refuses: with room for no byte it never read a frame, with a day of
    /// memory for a million requests one client filled it.
    #[test]
    fn row_67_each_setting_is_refused_by_name_beyond_its_bounds() {
        type Set = fn(&mut ConnectionConfig, u64);
        let settings: [(&str, Set); 12] = [
            ("peer_id_chars_max", |config, value| config.peer_id_chars_max = size(value)),
            ("frame_bytes_max", |config, value| config.frame_bytes_max = size(value)),
            ("transmit_bytes_max", |config, value| config.transmit_bytes_max = size(value)),
            ("unsent_bytes_max", |config, value| config.unsent_bytes_max = size(value)),
            ("login_after", |config, value| config.login_after = Duration::from_millis(value)),
            ("read_after", |config, value| config.read_after = Duration::from_millis(value)),
            ("requests_max", |config, value| config.requests_max = size(value)),
            ("peers_max", |config, value| config.peers_max = size(value)),
            ("signature_failures_max", |config, value| config.signature_failures_max = size(value)),
            ("signature_delay", |config, value| config.signature_delay = Duration::from_millis(value)),
            ("unparseable_max", |config, value| config.unparseable_max = size(value)),
            ("faults_within", |config, value| config.faults_within = Duration::from_millis(value)),
        ];
        let named = settings.map(|(name, _)| name);
        let bounds = ConnectionConfig::default().bounds();
        assert_eq!(named, bounds.map(|(name, ..)| name), "every setting is tried");
        for ((name, set), (_, _, min, max)) in settings.into_iter().zip(bounds) {
            let with = |value| {
                let mut config = ConnectionConfig { unsent_bytes_max: 1 << 26, ..ConnectionConfig::default() };
                set(&mut config, value);
                refused(config)
            };
            assert_eq!((with(min), with(max)), (None, None), "{name}");
            assert_eq!((with(max + 1), with(u64::MAX)), (Some(name), Some(name)), "{name}");
            assert_eq!(with(0), (min > 0).then_some(name), "{name}");
            assert_eq!(with(min.saturating_sub(1)), (min > 0).then_some(name), "{name}");
        }
    }

    #[test]
    fn row_67_room_for_more_than_may_wait_is_a_contradiction() {
        let config = ConnectionConfig { unsent_bytes_max: 64 * 1024 - 1, ..ConnectionConfig::default() };
        assert_eq!(refused(config.clone()), Some("unsent_bytes_max"));
        assert_eq!(refused(ConnectionConfig { transmit_bytes_max: 32 * 1024, ..config }), None);
    }

    #[test]
    fn row_67_an_application_without_a_name_is_refused() {
        let named = |id: &str| refused(ConnectionConfig { app_id: Some(id.to_owned()), ..ConnectionConfig::default() });
        assert_eq!((named("a"), named(""), named(&"a".repeat(201))), (None, Some("app_id"), Some("app_id")));
    }
}
