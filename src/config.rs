//! The settings: every limit with its reason beside it, checked when an engine is built.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The largest setting of [`Config::message_bytes_max`]: with its fields such a message fits a record of the store.
pub(crate) const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// The largest setting of [`Config::attributes_bytes_max`]: they stand in one record with a conversation's other fields.
pub(crate) const ATTRIBUTES_BYTES_MAX: usize = 128 * 1024;
/// Members of a conversation whose members are fixed: they stand in its record.
pub(crate) const FIXED_MEMBERS_MAX: usize = 1_001;

/// Which signatures are asked for. All are off by default, as in the documents; a super peer's is always asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SignatureChecks {
    /// On open and watch. Then a peer must also be watched before it can be messaged.
    pub sessions: bool,
    /// On creating, joining, inviting to and kicking from groups.
    pub groups: bool,
}

impl SignatureChecks {
    /// Every check on.
    pub const ALL: Self = Self { sessions: true, groups: true };
}

/// What a member may read of a conversation's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HistoryScope {
    /// What was sent while it was a member.
    #[default]
    Membership,
    /// Everything, as the second generation's FAQ has it.
    Everything,
}

/// Settings of an engine. `Config::default()` is the documented system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The application's id, part of every signed string. No `:`.
    pub app_id: String,
    /// The master keys that sign for the application, each at least 16 bytes; several while they are rotated.
    #[serde(skip)]
    pub master_keys: Vec<Vec<u8>>,
    /// Which signatures are asked for.
    pub signatures: SignatureChecks,
    /// Which node of a cluster this engine is; part of every session id.
    pub node: u16,

    /// Characters of a peer id: 50 in the first guide, 64 in the second.
    pub peer_id_chars_max: usize,
    /// Bytes of content plus push data (4109): the documents' 5 KB. At most 128 KiB, so that a message with its fields fits a
    /// record of the store.
    pub message_bytes_max: usize,
    /// Recipients of one direct message: enough for a party, too few for a broadcast.
    pub recipients_max: usize,
    /// Members of a group (4304); 0 is no limit.
    pub members_max: usize,
    /// Members of a temporary conversation, fixed at its creation.
    pub temporary_members_max: usize,
    /// Groups that one peer is in.
    pub groups_max: usize,
    /// Sessions that one peer has open.
    pub sessions_max: usize,
    /// Peers that one session watches.
    pub watched_max: usize,
    /// Peers in one watch or query request.
    pub watched_per_request_max: usize,
    /// Bytes of a conversation's name and attributes together. At most 128 KiB, so that they fit a record of the store.
    pub attributes_bytes_max: usize,
    /// Messages in one page of history.
    pub history_page_max: usize,
    /// Devices of a peer that keep a cursor of their own.
    pub devices_max: usize,
    /// How long a device keeps its cursor unseen.
    pub device_after: Duration,
    /// Acknowledgements remembered beyond a hole, in one conversation of one device.
    pub acknowledged_beyond_max: usize,
    /// Peers held in memory. Each costs some hundred bytes, and everyone who ever took part is held.
    pub peers_max: usize,
    /// Conversations held in memory.
    pub conversations_max: usize,
    /// Sessions open at once. Paused ones may fill what these leave, and always a tenth of it beside: where there are more,
    /// the oldest pause of the peer with most of them ends, so that an open is never refused for the sake of a pause.
    pub all_sessions_max: usize,
    /// Names that the engine first hears of through one peer in an hour, a connection ten times as many
    /// ([`Open::origin`](crate::Open::origin)): each is a peer in memory and a row in the store for good.
    pub names_per_hour_max: u64,
    /// Conversations made by one peer in a day, a connection ten times as many.
    pub conversations_per_day_max: u64,
    /// Rooms made by one peer and still there, a connection ten times as many: nobody leaves a room for good, so that it
    /// stands until the host ends it.
    pub rooms_made_max: u64,
    /// Paused sessions of one peer, a connection ten times as many: beyond, the oldest ends.
    pub paused_max: usize,
    /// Names of whom nothing is known that one peer's sessions watch, a connection's ten times as many.
    pub unknown_watched_max: u64,
    /// Commands that wait for a deferred hook.
    pub parked_max: usize,
    /// Bytes that wait for the store.
    pub staged_bytes_max: usize,
    /// Bytes that one connection, or one peer without one, may have waiting for the store while another has something waiting:
    /// over it, its requests wait until a commit ends. Alone one has everything.
    pub staged_share_bytes_max: usize,
    /// Outputs that wait for the host.
    pub outputs_max: usize,

    /// Messages kept for an absent peer, over all its conversations.
    pub offline_messages_max: usize,
    /// How long they are kept.
    pub offline_after: Duration,
    /// How long a paused session can be resumed, and how long a room waits for it.
    pub resume_after: Duration,
    /// How long changes of presence are gathered before they are told.
    pub presence_every: Duration,
    /// How long a retry token is known, if its sender does not use more than
    /// [`retry_tokens_max`](Self::retry_tokens_max) newer ones meanwhile.
    pub retry_token_after: Duration,
    /// Retry tokens known of one peer, the newest; 0 is none. An older one is forgotten before its time, and counted
    /// ([`Metrics::retry_tokens_forgotten`](crate::Metrics::retry_tokens_forgotten)).
    pub retry_tokens_max: usize,
    /// Nonces remembered, 32 bytes each: at least [`signed_per_second`](Self::signed_per_second) all through the window. When it
    /// is full, signed requests are refused with 4200 and the host is told ([`Event::NoncesFull`](crate::Event::NoncesFull)).
    pub nonces_max: usize,
    /// Signed requests a second that the memory of nonces is sized for.
    pub signed_per_second: u64,
    /// How old a signature may be.
    pub signature_window: Duration,
    /// How far ahead of the engine's clock a signature may be.
    pub signature_ahead: Duration,
    /// The longest life of a temporary conversation.
    pub temporary_max: Duration,
    /// How long messages are kept in the log; none is for ever.
    pub retention_age: Option<Duration>,
    /// How many messages a conversation's log keeps, about: it is trimmed in whole chunks. None is all.
    pub retention_count: Option<u64>,
    /// What members may read of the log.
    pub history: HistoryScope,

    /// How long a deferred hook may take until the default flow goes on.
    pub hook_deadline: Duration,
    /// How long a hook may take inside the command before it is reported.
    pub hook_budget: Duration,
    /// Whether a message is refused (4402) where its hook fails, instead of the documented default flow.
    pub hooks_fail_closed: bool,
    /// The text of a push where neither the hook nor the message has one; none is no push.
    pub push_text: Option<String>,
    /// Whether the word filter sees one-to-one messages too. Groups and rooms always.
    pub filter_direct: bool,

    /// A send that waits longer for the store is answered 4200.
    pub commit_after: Duration,
    /// A store call that takes longer is reported.
    pub store_stall_after: Duration,
    /// How often cursors are written at most.
    pub cursors_every: Duration,
    /// Rows of one commit: beside batches of a thousand rows a reader was seen to wait 13 ms at p99, beside small ones 0.2 ms.
    pub batch_rows_max: usize,
    /// Bytes of one commit.
    pub batch_bytes_max: usize,
    /// Bytes of one chunk of a log, about: the message that reaches it is its last. At most 256 KiB, what a record of the
    /// store holds.
    pub chunk_bytes_max: usize,
    /// Deadlines handled in one call of `handle_timeout`, so that no call is long.
    pub timeouts_per_call_max: usize,

    /// Whether the host is told of each message that was sent ([`Event::Sent`](crate::Event::Sent)).
    pub tell_sent: bool,
    /// Thresholds of [`Event::Anomaly`](crate::Event::Anomaly); none is silent.
    pub alarms: Alarms,
}

/// Thresholds over which the host is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alarms {
    /// Messages accepted in a minute.
    pub messages_per_minute: Option<u64>,
    /// Requests refused of a thousand, in a minute with at least a hundred requests.
    pub refused_per_mille: Option<u64>,
    /// Bytes waiting for the store.
    pub staged_bytes: Option<u64>,
    /// Outputs waiting for the host.
    pub outputs_waiting: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            app_id: "switchboard".to_owned(),
            master_keys: Vec::new(),
            signatures: SignatureChecks::default(),
            node: 0,
            peer_id_chars_max: 50,
            message_bytes_max: 5_120,
            recipients_max: 100,
            members_max: 500,
            temporary_members_max: 10,
            groups_max: 500,
            sessions_max: 10,
            watched_max: 1_000,
            watched_per_request_max: 100,
            attributes_bytes_max: 16 * 1024,
            history_page_max: 1_000,
            devices_max: 10,
            device_after: 7 * DAY,
            acknowledged_beyond_max: 64,
            peers_max: 1_000_000,
            conversations_max: 1_000_000,
            all_sessions_max: 1_000_000,
            names_per_hour_max: 1_000,
            conversations_per_day_max: 1_000,
            rooms_made_max: 100,
            paused_max: 10,
            unknown_watched_max: 10_000,
            parked_max: 10_000,
            staged_bytes_max: 64 * 1024 * 1024,
            staged_share_bytes_max: 1024 * 1024,
            outputs_max: 1_000_000,
            offline_messages_max: 50,
            offline_after: 7 * DAY,
            resume_after: 30 * MINUTE,
            presence_every: SECOND,
            retry_token_after: DAY,
            retry_tokens_max: 1_000,
            nonces_max: 1_000_000,
            signed_per_second: 45,
            signature_window: 6 * HOUR,
            signature_ahead: 5 * MINUTE,
            temporary_max: 30 * DAY,
            retention_age: None,
            retention_count: None,
            history: HistoryScope::default(),
            hook_deadline: 3 * SECOND,
            hook_budget: Duration::from_millis(5),
            hooks_fail_closed: false,
            push_text: None,
            filter_direct: true,
            commit_after: 5 * SECOND,
            store_stall_after: 5 * SECOND,
            cursors_every: 5 * SECOND,
            batch_rows_max: 64,
            batch_bytes_max: 256 * 1024,
            chunk_bytes_max: 16 * 1024,
            timeouts_per_call_max: 256,
            tell_sent: true,
            alarms: Alarms::default(),
        }
    }
}

/// A setting that makes no sense, found when the engine is built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("setting {setting}: {reason}")]
pub struct ConfigError {
    /// Which setting.
    pub setting: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Config {
    /// Places that sessions take at most: those of open ones, and the tenth that paused ones always have.
    pub(crate) const fn session_places_max(&self) -> usize {
        self.all_sessions_max.saturating_add(self.all_sessions_max.div_ceil(10))
    }

    /// Checks every setting against its bounds.
    ///
    /// # Errors
    /// The first setting that is out of bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.app_id.is_empty() || self.app_id.contains(':') {
            return Err(ConfigError { setting: "app_id", reason: "is empty or contains `:`".to_owned() });
        }
        if let Some(short) = self.master_keys.iter().find(|key| key.len() < 16) {
            let reason = format!("has {} bytes, under 16", short.len());
            return Err(ConfigError { setting: "master_keys", reason });
        }
        if self.master_keys.is_empty() && (self.signatures.sessions || self.signatures.groups) {
            return Err(ConfigError { setting: "signatures", reason: "are on without a master key".to_owned() });
        }
        self.numbers().into_iter().try_for_each(|(setting, value, min, max)| within(setting, value, min, max))?;
        self.spans().into_iter().try_for_each(|(setting, span, max)| {
            within(setting, millis(span), 1, millis(max))
                .map_err(|_| ConfigError { setting, reason: format!("is {span:?}, not between 1ms and {max:?}") })
        })
    }

    /// Name, value, least and most of each number.
    fn numbers(&self) -> [(&'static str, u64, u64, u64); 34] {
        // What one call may have to look through, and what fits into memory on any machine.
        let (call, memory) = (1_000_000, 1 << 36);
        [
            ("peer_id_chars_max", self.peer_id_chars_max as u64, 1, 200),
            ("message_bytes_max", self.message_bytes_max as u64, 1, MESSAGE_BYTES_MAX as u64),
            ("recipients_max", self.recipients_max as u64, 1, FIXED_MEMBERS_MAX as u64 - 1),
            ("members_max", self.members_max as u64, 0, call),
            ("temporary_members_max", self.temporary_members_max as u64, 1, FIXED_MEMBERS_MAX as u64 - 1),
            ("groups_max", self.groups_max as u64, 1, call),
            ("sessions_max", self.sessions_max as u64, 1, (self.all_sessions_max as u64).min(1_000)),
            ("watched_max", self.watched_max as u64, 1, 1_000_000),
            ("watched_per_request_max", self.watched_per_request_max as u64, 1, self.watched_max as u64),
            ("attributes_bytes_max", self.attributes_bytes_max as u64, 0, ATTRIBUTES_BYTES_MAX as u64),
            ("history_page_max", self.history_page_max as u64, 1, 10_000),
            ("devices_max", self.devices_max as u64, 1, 100),
            ("acknowledged_beyond_max", self.acknowledged_beyond_max as u64, 0, 10_000),
            ("peers_max", self.peers_max as u64, 1, u64::from(u32::MAX)),
            ("conversations_max", self.conversations_max as u64, 1, u64::from(u32::MAX)),
            ("all_sessions_max", self.all_sessions_max as u64, 1, 1 << 31),
            ("names_per_hour_max", self.names_per_hour_max, 1, 1 << 32),
            ("conversations_per_day_max", self.conversations_per_day_max, 1, 1 << 32),
            ("rooms_made_max", self.rooms_made_max, 0, 1 << 32),
            ("paused_max", self.paused_max as u64, 1, 1_000),
            ("unknown_watched_max", self.unknown_watched_max, 0, 1 << 32),
            ("parked_max", self.parked_max as u64, 0, call),
            ("staged_bytes_max", self.staged_bytes_max as u64, self.staged_bytes_min(), memory),
            ("staged_share_bytes_max", self.staged_share_bytes_max as u64, 1 << 12, self.staged_bytes_max as u64),
            ("outputs_max", self.outputs_max as u64, 1_000, 1 << 28),
            ("offline_messages_max", self.offline_messages_max as u64, 0, 10_000),
            ("retry_tokens_max", self.retry_tokens_max as u64, 0, 1_000_000),
            ("signed_per_second", self.signed_per_second, 1, 1_000_000),
            ("nonces_max", self.nonces_max as u64, self.nonces_min(), 1 << 32),
            ("batch_rows_max", self.batch_rows_max as u64, 8, 100_000),
            ("batch_bytes_max", self.batch_bytes_max as u64, 1 << 16, 1 << 26),
            // A chunk must hold at least one message of the largest size, with its fields.
            ("chunk_bytes_max", self.chunk_bytes_max as u64, 256, (self.batch_bytes_max as u64).min(1 << 18)),
            ("timeouts_per_call_max", self.timeouts_per_call_max as u64, 1, 10_000),
            ("retention_count", self.retention_count.unwrap_or(1), 1, 1 << 48),
        ]
    }

    /// What waits for the store has room for the largest message, and for a batch of small ones.
    fn staged_bytes_min(&self) -> u64 {
        (self.message_bytes_max as u64).saturating_mul(2).max(1 << 16)
    }

    /// Nonces that come while one is remembered, at the rate that the settings name.
    fn nonces_min(&self) -> u64 {
        /// They are forgotten in steps of ten seconds, by a sweep that comes every ten seconds.
        const LATE: Duration = Duration::from_secs(20);
        let held_for = self.signature_window.saturating_add(self.signature_ahead).saturating_add(LATE);
        self.signed_per_second.saturating_mul(held_for.as_secs())
    }

    /// Name, value and most of each span.
    fn spans(&self) -> [(&'static str, Duration, Duration); 14] {
        let year = 366 * DAY;
        [
            ("device_after", self.device_after, year),
            ("offline_after", self.offline_after, year),
            ("resume_after", self.resume_after, 30 * DAY),
            ("presence_every", self.presence_every, MINUTE),
            ("retry_token_after", self.retry_token_after, 7 * DAY),
            ("signature_window", self.signature_window, 7 * DAY),
            ("signature_ahead", self.signature_ahead, HOUR),
            ("temporary_max", self.temporary_max, year),
            ("retention_age", self.retention_age.unwrap_or(year), 100 * year),
            ("hook_deadline", self.hook_deadline, HOUR),
            ("hook_budget", self.hook_budget, MINUTE),
            ("commit_after", self.commit_after, HOUR),
            ("store_stall_after", self.store_stall_after, HOUR),
            ("cursors_every", self.cursors_every, HOUR),
        ]
    }
}

fn within(setting: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError { setting, reason: format!("is {value}, not between {min} and {max}") })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_documented_system_and_valid() {
        let config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!((config.message_bytes_max, config.offline_messages_max), (5_120, 50));
        assert_eq!(config.offline_after, Duration::from_secs(604_800));
    }

    #[test]
    fn nonsense_is_named() {
        let setting = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().map_err(|error| error.setting)
        };
        assert_eq!(setting(|c| c.app_id = "a:b".to_owned()), Err("app_id"));
        assert_eq!(setting(|c| c.master_keys = vec![vec![7; 15]]), Err("master_keys"));
        assert_eq!(setting(|c| c.signatures = SignatureChecks::ALL), Err("signatures"));
        assert_eq!(setting(|c| c.message_bytes_max = 0), Err("message_bytes_max"));
        assert_eq!(setting(|c| c.watched_per_request_max = 2_000), Err("watched_per_request_max"));
        assert_eq!(setting(|c| c.presence_every = Duration::ZERO), Err("presence_every"));
        assert_eq!(setting(|c| c.retention_age = Some(Duration::ZERO)), Err("retention_age"));
    }
}
