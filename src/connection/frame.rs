//! How frames go over a transport.

/// How a transport keeps frames apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// It does not: a byte stream, one frame a line.
    #[default]
    Lines,
    /// By itself, as a WebSocket does.
    Messages,
}

impl Framing {
    /// A frame as it goes over the transport.
    pub(super) fn end(self, mut frame: String) -> Transmit {
        if self == Self::Lines {
            frame.push('\n');
        }
        Transmit::Text(frame)
    }
}

/// Something to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transmit {
    /// A frame of text, on a byte stream with its line end.
    Text(String),
}

impl Transmit {
    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
        }
    }
}
