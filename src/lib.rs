//! Switchboard: an embeddable messaging engine.
//!
//! It gives any program complete messaging: peers with several devices, sessions, presence, one-to-one messages, groups,
//! open rooms, temporary conversations, offline messages, history, receipts, unread counts, signatures, a word filter and
//! hooks. There is no server to run and no socket inside: a host links the crate, plugs in its own network layer and pumps it.
//!
//! # Two faces, one machine
//!
//! * [`Engine`]: a synchronous, deterministic machine behind `&mut self`. For a game loop, an owner task, a simulator, a test.
//!   Time is an argument, work for the host comes out of [`Engine::poll_output`], and [`Engine::commit`] writes what is staged.
//! * [`Hub`]: the same machine for many threads, with bounded outboxes, group commit and a ready signal.
//!
//! # The way of a message
//!
//! ```text
//!  bytes -> Connection -> Request -> Engine verb --+
//!                                                  | 1 check    conversation, session, rights, limits     -> error, nothing happened
//!                                                  | 2 decide   filter, hooks                             -> error, nothing happened
//!                                                  | 3 stage    the writes into the open batch, then memory
//!                                                  | 4 emit     outputs (cannot fail)
//!  bytes <- Connection <- Update <-- poll_output <-+   only what is durable enough
//! ```
//!
//! The *commit gate* stands between 4 and the way out: an output that rests on a staged write is handed over once that write
//! is as durable as the store promises. It delays, it never reorders.
//!
//! # The map of the house
//!
//! A file imports from floors below its own, or from its own folder; `tests/it/floors.rs` holds that, and names the few
//! neighbours that know each other.
//!
//! | floor | room | what lives there |
//! |---|---|---|
//! | 0 | [`time`], [`store`], [`record`], `keys`, `slots`, `table`, `cursor` | [`Timestamp`] and the [`Clock`] of hosts; the narrow store trait and its implementations; stored records; numbers and tables, no word of the domain |
//! | 1 | [`id`], [`error`], `timers` | parsed ids; one error with the documented codes; the reasons to wake |
//! | 2 | [`config`], [`signature`], [`filter`], `peer`, `recent` | limits with their reasons; rules and data that know ids alone |
//! | 3 | [`message`], [`mod@conversation`], [`request`], [`output`], [`hooks`], `session`, `log`, `retry` | the nouns and their words: `Draft` becomes `Message`, the verbs as data, work for the host, questions |
//! | 4 | [`connection`] with a file for each wire format, `gate` | sans-IO: bytes in, requests out, updates in, bytes out; what holds outputs back until the store has them |
//! | 5 | [`Engine`], a file for each verb under `engine/` | open, watch, send, receipts, members, conversations, catch-up, history, park (deferred hooks), expire, commit, load |
//! | 6 | [`hub`] | the thread-safe face |
//!
//! # Where a rule comes from
//!
//! The documents are the two guides of LeanCloud's realtime service; rustdoc names them as *the first guide* (peers, sessions,
//! groups) and *the second* (clients, conversations). Limits and their reasons stand in [`Config`], wire frames in
//! [`connection::contract`].

pub mod config;
pub mod connection;
pub mod conversation;
mod cursor;
pub mod error;
pub mod filter;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fuzzing;
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
pub use hub::{DrainState, Hub, HubConfig, SessionHandle, WeakHub};
pub use id::{ConversationId, DeviceId, MessageId, PeerId, RetryToken, SessionId, Tag, Ticket};
pub use message::{Accepted, Content, Draft, Message, Target};
pub use output::{
    Audience, Class, Deliver, Event, Gap, GapCause, HookFault, Measure, MembershipChange, OfflineReason, Opened,
    Output, Push, PushRecipient, Reply, SessionRef, Unread, Update,
};
pub use request::{Attributes, Bound, Create, Credentials, Open, Order, Page, Request, ResumeToken, Shape};
pub use signature::Signature;
pub use time::{Clock, Timestamp};
