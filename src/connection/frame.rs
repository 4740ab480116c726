//! Frames as bytes, and how a transport keeps them apart.

/// What the bytes of a frame are, where a transport tells (a WebSocket does).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// How a transport keeps frames apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// It does not: a byte stream, one frame a line. For wire formats of text alone.
    #[default]
    Lines,
    /// By itself, as a WebSocket does.
    Messages,
}

impl Framing {
    /// A frame as it goes over the transport.
    pub(super) fn end(self, kind: FrameKind, mut bytes: Vec<u8>) -> Transmit {
        if self == Self::Lines {
            bytes.push(b'\n');
        }
        Transmit { kind, bytes }
    }
}

/// A frame to be sent: its bytes, on a byte stream with their line end, and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    kind: FrameKind,
    bytes: Vec<u8>,
}

impl Transmit {
    /// Whether a message transport sends it as text or as binary. A byte stream does not ask.
    #[must_use]
    pub const fn kind(&self) -> FrameKind {
        self.kind
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Its bytes, to keep.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
