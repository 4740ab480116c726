//! Pages of history: where they start and end, and in which order.

use crate::id::MessageId;
use crate::time::Timestamp;

/// Where a page of history starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The message's time.
    pub timestamp: Timestamp,
    /// The message's id, to tell apart messages of one millisecond. Without one the whole millisecond is excluded.
    pub id: Option<MessageId>,
    /// Whether the message itself belongs to the page.
    pub included: bool,
}

/// The order in which history is paged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// From the start bound towards older messages.
    #[default]
    NewestFirst,
    /// From the start bound towards newer messages.
    OldestFirst,
}

/// A page of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where to begin; none is the newest or the oldest message, by the order.
    pub start: Option<Bound>,
    /// Where to end at the latest.
    pub end: Option<Bound>,
    /// In which order.
    pub order: Order,
    /// How many messages at most: 1 to 1,000.
    pub limit: usize,
}

impl Page {
    /// The newest `limit` messages.
    #[must_use]
    pub const fn newest(limit: usize) -> Self {
        Self { start: None, end: None, order: Order::NewestFirst, limit }
    }

    /// The oldest `limit` messages.
    #[must_use]
    pub const fn oldest(limit: usize) -> Self {
        Self { start: None, end: None, order: Order::OldestFirst, limit }
    }

    /// The bound towards older messages, and the one towards newer ones.
    pub(crate) const fn bounds(&self) -> (Option<Bound>, Option<Bound>) {
        match self.order {
            Order::NewestFirst => (self.end, self.start),
            Order::OldestFirst => (self.start, self.end),
        }
    }

    /// The same, beginning after (or before, by the order) the message with this time and id.
    #[must_use]
    pub const fn after(mut self, timestamp: Timestamp, id: MessageId) -> Self {
        self.start = Some(Bound { timestamp, id: Some(id), included: false });
        self
    }
}
