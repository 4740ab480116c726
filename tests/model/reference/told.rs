//! What is told: to whom, when, and what it says.
//!
//! A list of these is all that the model says about a step. Everything gated waits for its commit; everything else is told
//! in the step itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{Code, Kind, Peer};

/// To whom something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ear {
    Session(usize),
    Host,
}

/// When it is told: in this step, or once a commit is durable and everything before it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Now,
    After(u64),
}

/// Something that is to be told.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) ear: Ear,
    pub(crate) when: When,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// The answer to the request with this number.
    Reply(u64, Result<Answer, Code>),
    Message {
        message: usize,
        offline: bool,
    },
    /// `maybe` says that it may have been told before, in a life that ended with a crash.
    Receipt {
        message: usize,
        peer: Peer,
        at: u64,
        maybe: bool,
    },
    ReceivedTo {
        message: usize,
        peer: Peer,
        at: u64,
    },
    Presence {
        online: BTreeSet<Peer>,
        offline: BTreeSet<Peer>,
    },
    Membership {
        conversation: usize,
        change: Change,
        by: Peer,
    },
    Gap {
        conversation: usize,
        from: u64,
        to: u64,
        count: u64,
        cause: Cause,
    },
    /// So many transient messages passed it by while it was catching up.
    Missed(u64),
    Closed(Option<Code>),
    Push {
        message: usize,
        badges: BTreeMap<Peer, u64>,
        text: &'static str,
    },
    /// A catch-up of unknown extent, up to its end: after a crash.
    Anything,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Opened {
        online: BTreeSet<Peer>,
        room: Option<usize>,
    },
    Accepted(usize),
    Online(BTreeSet<Peer>),
    /// Made, or found: one of these.
    Created {
        infos: Vec<Info>,
        existing: bool,
    },
    Joined(usize),
    Left(usize),
    Invited(usize, BTreeSet<Peer>),
    Kicked(usize, BTreeSet<Peer>),
    Members(usize, BTreeSet<Peer>),
    Conversation(Info),
    Conversations(Vec<Info>),
    Count(u64),
    History {
        /// Each with whether it was deleted.
        messages: Vec<(usize, bool)>,
        more: bool,
    },
    Unread(BTreeMap<usize, u64>),
    Done,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Info {
    pub(crate) conversation: usize,
    pub(crate) kind: Kind,
    pub(crate) unique: bool,
    pub(crate) creator: Option<Peer>,
    pub(crate) members: BTreeSet<Peer>,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    pub(crate) last_message_at: Option<u64>,
    pub(crate) expires_at: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Joined,
    Left,
    MembersJoined(BTreeSet<Peer>),
    MembersLeft(BTreeSet<Peer>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    Limit,
    Age,
}
