//! What every wire format says, in types: between the rules of a connection and the frames of one format.

use super::ConnectionConfig;
use crate::connection::v1;
use crate::error::Error;
use crate::id::PeerId;
use crate::request::{Open, Request};
use crate::update::{Reply, Update};

/// A client's number for a request, which its reply echoes (`i`).
pub type Serial = u64;

/// A wire format: how frames are written. The rules of a connection are the same for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wire {
    /// The first generation's JSON frames, as [`contract`](super::contract) lists them.
    #[default]
    V1,
}

/// Whom a frame names, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) peer: Option<PeerId>,
    pub(super) serial: Option<Serial>,
}

/// A frame of a client.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Frame {
    /// A sign of life, to be answered with one.
    Heartbeat,
    /// A peer asks for something.
    Command { peer: PeerId, serial: Option<Serial>, verb: Verb },
}

/// What a peer asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verb {
    Open(Box<Open>),
    Request(Request),
}

/// A frame that is refused before anyone is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rejected {
    pub(super) address: Address,
    pub(super) error: Error,
    /// Whether the connection ends with it.
    pub(super) is_fatal: bool,
}

/// What a reply answers, where the reply itself does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Open,
    Watch,
    /// A message without an acknowledgement.
    SendTransient,
    Close,
    /// Has no reply at all.
    Acknowledge,
    Other,
}

impl Asked {
    pub(super) const fn of(request: &Request) -> Self {
        match request {
            Request::Watch { .. } => Self::Watch,
            Request::Send(draft) if draft.transient => Self::SendTransient,
            Request::Close => Self::Close,
            Request::Acknowledge { .. } | Request::MarkRead { .. } => Self::Acknowledge,
            _ => Self::Other,
        }
    }
}

impl Wire {
    /// Reads one frame.
    pub(super) fn parse(self, frame: &[u8], config: &ConnectionConfig) -> Result<Frame, Rejected> {
        match self {
            Self::V1 => v1::parse(frame, config),
        }
    }

    /// The answer to a sign of life.
    pub(super) const fn heartbeat(self) -> &'static str {
        match self {
            Self::V1 => v1::HEARTBEAT,
        }
    }

    /// The body of a frame that refuses something.
    pub(super) fn error(self, error: &Error) -> String {
        match self {
            Self::V1 => v1::error(error),
        }
    }

    /// The body of the frame that answers a request; some requests have none.
    pub(super) fn reply(self, asked: Asked, reply: &Reply) -> Option<String> {
        match self {
            Self::V1 => v1::reply(asked, reply),
        }
    }

    /// The body of the frame that ends a session.
    pub(super) fn closed(self, error: Option<&Error>) -> String {
        match self {
            Self::V1 => v1::closed(error),
        }
    }

    /// The bodies of the frames that tell an update.
    pub(super) fn update(self, update: &Update) -> Vec<String> {
        match self {
            Self::V1 => v1::update(update),
        }
    }

    /// A whole frame: a body for somebody.
    pub(super) fn frame(self, address: &Address, body: &str) -> String {
        match self {
            Self::V1 => v1::frame(address, body),
        }
    }
}
