//! What the host is told: the documents' hooks that only tell, and what an operator wants to know.

use std::net::IpAddr;
use std::sync::Arc;

use crate::error::Error;
use crate::id::{DeviceId, MessageId, PeerId, SessionId, Tag, Ticket};
use crate::message::Message;
use crate::time::Timestamp;
use crate::update::Reply;

/// What the host is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The answer to a request of the host itself, or of a hook's, that came later.
    Answered {
        /// The ticket that the request returned.
        ticket: Ticket,
        /// The answer.
        result: Result<Reply, Error>,
    },
    /// A peer's session opened (`_clientOnline`).
    Online {
        /// Who.
        peer: PeerId,
        /// Which session.
        session: SessionId,
        /// Its device.
        device: Option<DeviceId>,
        /// Its tag.
        tag: Option<Tag>,
        /// From where.
        source_ip: Option<IpAddr>,
        /// Whether it resumed or reconnected.
        reconnect: bool,
        /// Whether it may message anyone.
        super_peer: bool,
    },
    /// A peer's session paused or closed (`_clientOffline`).
    Offline {
        /// Who.
        peer: PeerId,
        /// Which session.
        session: SessionId,
        /// Its tag.
        tag: Option<Tag>,
        /// Why.
        reason: OfflineReason,
    },
    /// A message was sent (`_messageSent`): told once it is durable.
    Sent {
        /// The message.
        message: Arc<Message>,
        /// How many sessions it went to at once.
        sessions: usize,
    },
    /// A super peer messaged a peer that it does not watch.
    SuperPeerSent {
        /// Who.
        peer: PeerId,
        /// Which message.
        id: MessageId,
    },
    /// A hook panicked, overran its budget or its deadline; the default flow went on, or the request failed closed.
    HookFault {
        /// Which hook, by its documented name.
        hook: &'static str,
        /// What happened.
        fault: HookFault,
    },
    /// A message that a hook wanted sent beside another ([`Verdict::also`](crate::Verdict::also)) was refused.
    AlsoRefused {
        /// In whose name.
        from: PeerId,
        /// Why.
        error: Error,
    },
    /// A signature was refused. The public error names no cause; this does.
    SignatureRefused {
        /// Who asked.
        peer: PeerId,
        /// Why it was refused.
        cause: crate::signature::Cause,
    },
    /// The memory of used nonces is full: signed requests are refused with 4200 until signatures of earlier ones have left the
    /// window. Told at most once a minute. [`Config::nonces_max`](crate::Config::nonces_max) is too small for what is signed.
    NoncesFull {
        /// How many it holds.
        max: usize,
    },
    /// Messages were cut off from a peer's offline queue.
    OfflineDropped {
        /// Whose.
        peer: PeerId,
        /// How many.
        count: u64,
    },
    /// A number passed its threshold, for the host's alarms.
    Anomaly {
        /// Which.
        measure: Measure,
        /// The value.
        value: u64,
        /// The threshold it passed.
        threshold: u64,
    },
    /// A commit failed; its batch is kept and tried again.
    StoreFailed {
        /// The store's words, for the log.
        error: crate::store::StoreError,
    },
    /// Another call of the store failed. A read is answered with 4200; upkeep comes again, and is told of once until it
    /// succeeds.
    StoreCallFailed {
        /// Which: `read`, `maintain` or `close`.
        call: &'static str,
        /// The store's words, for the log.
        error: crate::store::StoreError,
    },
    /// The store takes writes again.
    StoreRecovered,
    /// A store call takes longer than [`Config::store_stall_after`](crate::Config::store_stall_after).
    StoreStalled,
    /// A stored row could not be read; it is kept and counted.
    RecordDamaged {
        /// What was found.
        error: crate::rows::record::RecordError,
    },
    /// Time jumped ahead by more than an hour: nothing is deleted by age until
    /// [`confirm_time`](crate::Engine::confirm_time).
    TimeJumped {
        /// From.
        from: Timestamp,
        /// To.
        to: Timestamp,
    },
}

/// Why a session went offline (`closeCode` of the documents).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfflineReason {
    /// The client closed it (1).
    LoggedOut,
    /// Its connection broke; it is paused (2).
    Dropped,
    /// Another device took its tag (3).
    TagConflict,
    /// The host closed it (4).
    Kicked,
    /// The engine closed it, with this error.
    Failed(Error),
}

/// What went wrong with a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookFault {
    /// It panicked.
    Panicked,
    /// It took longer than [`Config::hook_budget`](crate::Config::hook_budget), as
    /// [`Hooks::last_call`](crate::Hooks::last_call) told afterwards.
    Overran,
    /// A deferred answer did not come in time.
    Expired,
    /// It has taken longer than `HubConfig::hook_stall_after`, and still runs: whoever needs the engine waits for it.
    Stalled,
    /// Its answer broke a limit and was set aside.
    Invalid,
}

/// What an anomaly counts, each over one minute or as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Measure {
    /// Messages accepted in a minute.
    MessagesPerMinute,
    /// Refused requests in a minute, of a thousand.
    RefusedPerMille,
    /// Bytes waiting for the store.
    StagedBytes,
    /// Outputs waiting for the host.
    OutputsWaiting,
}
