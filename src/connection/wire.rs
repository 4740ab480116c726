//! What every wire format says, in types: between the rules of a connection and the frames of one format.
//!
//! A format is a folder beside this file that implements [`Format`], and an arm of [`Wire::format`].

use crate::connection::v1;
use crate::error::Error;
use crate::id::PeerId;
use crate::request::{Open, Request};
use crate::update::{Reply, Update};

use super::{ConnectionConfig, FrameKind};

/// A client's number for a request, which its reply echoes (`i`).
pub type Serial = u64;

/// A wire format: how frames are written. The rules of a connection are the same for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wire {
    /// The first generation's JSON frames, as [`contract`](super::contract) lists them.
    #[default]
    V1,
    /// Frames of bytes, for tests: a second format is a folder and an arm.
    #[cfg(test)]
    Bytes,
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

/// What the wing of a wire format has to be able to do. It keeps nothing between frames.
pub(super) trait Format {
    /// What its frames are. Those of the other kind cannot be read.
    fn kind(&self) -> FrameKind;

    /// Reads one frame of a client.
    fn read(&self, frame: &[u8], config: &ConnectionConfig) -> Result<Frame, Rejected>;

    /// The answer to a sign of life.
    fn heartbeat(&self) -> &'static [u8];

    /// The body of a frame that refuses something.
    fn error(&self, error: &Error) -> Vec<u8>;

    /// The body of the frame that answers a request; some requests have none.
    fn reply(&self, asked: Asked, reply: &Reply) -> Option<Vec<u8>>;

    /// The body of the frame that ends a session.
    fn closed(&self, error: Option<&Error>) -> Vec<u8>;

    /// The bodies of the frames that tell an update.
    fn update(&self, update: &Update) -> Vec<Vec<u8>>;

    /// A whole frame: a body, which may be shared, for somebody.
    fn frame(&self, address: &Address, body: &[u8]) -> Vec<u8>;
}

impl Wire {
    /// The one place that tells wire formats apart.
    pub(super) const fn format(self) -> &'static dyn Format {
        match self {
            Self::V1 => &v1::V1,
            #[cfg(test)]
            Self::Bytes => &super::tests::second_format::Bytes,
        }
    }

    /// Reads one frame of a client.
    pub(super) fn read(self, kind: FrameKind, frame: &[u8], config: &ConnectionConfig) -> Result<Frame, Rejected> {
        let format = self.format();
        if kind == format.kind() {
            format.read(frame, config)
        } else {
            Err(Rejected { address: Address::default(), error: Error::Unparseable, is_fatal: false })
        }
    }
}
