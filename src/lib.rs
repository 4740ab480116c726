//! Switchboard: an embeddable messaging engine.

pub mod config;
pub mod connection;
pub mod conversation;
mod cursor;
pub mod error;
pub mod filter;
mod gate;
pub mod hooks;
pub mod hub;
pub mod id;
mod keys;
mod log;
pub mod message;
pub mod output;
mod peer;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod probes;
mod recent;
pub mod record;
pub mod request;
mod retry;
mod session;
pub mod signature;
mod slots;
pub mod store;
mod table;
pub mod time;
mod timers;

mod engine;

pub use config::{Alarms, Config, ConfigError, HistoryScope, SignatureChecks};
pub use connection::{Action, ClientConnection, Connection, ConnectionConfig, Framing, ServerFrame, Transmit, Wire};
pub use conversation::{ConversationInfo, ConversationKind};
pub use engine::{Commit, Committed, Engine, Metrics, Read, ReadDone, StartError};
pub use error::{Advice, Error};
pub use hooks::{
    Answer, Hooks, Interests, MessageReceived, NoHooks, PushChoice, ReceiversOffline, Resolution, SignIn, Verdict,
};
pub use hub::{DrainState, Hub, HubConfig, SessionHandle};
pub use id::{ConversationId, DeviceId, MessageId, PeerId, RetryToken, SessionId, Tag, Ticket};
pub use message::{Accepted, Content, Draft, Message, Target};
pub use output::{
    Audience, Class, Deliver, Event, Gap, GapCause, HookFault, Measure, MembershipChange, OfflineReason, Opened,
    Output, Push, PushRecipient, Reply, SessionRef, Unread, Update,
};
pub use request::{Attributes, Bound, Create, Credentials, Open, Order, Page, Request, ResumeToken, Shape};
pub use signature::Signature;
pub use time::{Clock, Timestamp};
