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
//! A file imports only from floors below its own, or from its own folder, and inside the engine calls only downwards;
//! `tests/it/floors.rs` holds both, with a finer order inside *ground* and *words*.
//!
//! | floor | room | what lives there |
//! |---|---|---|
//! | ground | [`time`], `timers`, `slots`, `table`, `runs`, `cursor` | [`Timestamp`] and the [`Clock`] of hosts; the reasons to wake; numbers and tables |
//! | words | [`id`], [`error`], [`config`], [`mod@conversation`], [`message`], [`page`], [`request`], [`update`], [`event`], [`output`], [`hooks`] | what is said: to the engine, to a client, to the host; limits with their reasons; one error with the documented codes |
//! | rules | [`signature`], [`filter`], [`store`] | who may, what is masked, and the narrow store trait with its implementations |
//! | rows | `rows`, with the envelope [`record`] | all that is stored: one file a kind of row, and the way from an earlier format |
//! | log | `log`, a file for each concept | one conversation's log: what is found in it, views, runs, walks, what was missed, pages, deletions laid over it, what retention removes |
//! | state | `state`, a file for each noun | peer, conversation, session, parked, held, shares, watches, pauses, reads, retry, recent, owed, notices |
//! | gate | `gate` | what is staged, and what waits for it |
//! | engine, parts | `engine::parts` | what several verbs need: limits, lookup, audience, presence, cursors, signed, push … |
//! | engine, verbs | `engine::verbs` | open, close, watch, send, members, conversations, receipts, history: check, decide, stage, emit |
//! | engine, flow | `engine::flow` | what joins verbs and time: dispatch, attach, catch-up, commit, load, read, park, expire |
//! | wire | [`connection`] with a folder for each wire format | sans-IO: bytes in, requests out, updates in, bytes out |
//! | hub | [`hub`] | the thread-safe face |
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
pub mod event;
pub mod filter;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
pub mod hooks;
pub mod hub;
pub mod id;
mod log;
pub mod message;
pub mod output;
pub mod page;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod probes;
pub mod request;
mod rows;
mod runs;
pub mod signature;
mod slots;
mod state;
pub mod store;
mod table;
pub mod time;
mod timers;
pub mod update;

mod engine;

pub use config::{Alarms, Config, ConfigError, HistoryScope, SignatureChecks};
pub use connection::{
    Action, ClientConnection, Connection, ConnectionConfig, FrameKind, Framing, ServerFrame, Transmit, Wire,
};
pub use conversation::{Attributes, ConversationInfo, ConversationKind};
pub use engine::{Commit, Committed, Engine, Metrics, Read, ReadDone, StartError};
pub use error::{Advice, Error};
pub use event::{Event, HookFault, Measure, OfflineReason};
pub use hooks::{
    Also, Answer, Hook, Hooks, Interests, Login, MessageReceived, NoHooks, PushChoice, Question, ReceiversOffline,
    Resolution, SignIn, Verdict,
};
pub use hub::{DrainState, Hub, HubConfig, SessionHandle, WeakHub};
pub use id::{ConversationId, DeviceId, IdError, MessageId, PeerId, ResumeToken, RetryToken, SessionId, Tag, Ticket};
pub use message::{Accepted, Content, Draft, Message, Target};
pub use output::{Audience, Class, Deliver, Output, Push, PushRecipient, SessionRef};
pub use page::{Bound, Order, Page};
pub use request::{Create, Credentials, Open, Origin, Request, Shape};
pub use rows::record;
pub use signature::Signature;
pub use time::{Clock, Timestamp};
pub use update::{Gap, GapCause, MembershipChange, Opened, Reply, Unread, Update};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
