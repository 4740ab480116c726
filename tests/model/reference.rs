//! The naive model: what every peer must see and hear, with plain maps and lists, slow and plain.
//!
//! Everything is counted anew whenever it is asked: there are no caches, no indexes and no store. What a session is to be
//! told is a list of [`Expected`]. Each file below holds the rules of one topic, and opens with what a peer may rely on.

use crate::command::PEERS;

mod catching_up;
mod conversations;
mod devices;
mod durable;
mod history;
mod hooks;
mod membership;
mod presence;
mod receipts;
mod retry;
mod sending;
mod sessions;
mod time;
mod told;
mod watching;

pub(crate) use catching_up::Pending;
pub(crate) use conversations::{Conversation, Kind, Shape};
pub(crate) use devices::{Cursor, Device};
pub(crate) use history::PageRequest;
pub(crate) use hooks::{HookState, Question, Waits};
pub(crate) use membership::Member;
pub(crate) use presence::PeerState;
pub(crate) use sending::{Message, SendRequest, SendTo};
pub(crate) use sessions::{OpenRequest, Session, State};
pub(crate) use told::{Answer, Cause, Change, Ear, Expected, Info, What, When};

const DAY: u64 = 86_400_000;

/// Settings of the small world, small enough to be hit often.
pub(crate) mod limits {
    pub(crate) const OFFLINE: usize = 5;
    pub(crate) const RECIPIENTS: usize = 3;
    pub(crate) const MEMBERS: usize = 3;
    pub(crate) const TEMPORARY_MEMBERS: usize = 3;
    pub(crate) const GROUPS: usize = 3;
    pub(crate) const SESSIONS: usize = 3;
    pub(crate) const WATCHED: usize = 3;
    pub(crate) const PAGE: usize = 4;
    pub(crate) const DEVICES: usize = 3;
    pub(crate) const BEYOND: usize = 3;
    pub(crate) const TOKENS: usize = 3;
    pub(crate) const CONVERSATIONS: usize = 12;
    pub(crate) const BYTES: usize = 64;
}

pub(crate) type Peer = u8;

/// Why a request is refused: the documented code.
pub(crate) type Code = u16;

/// The whole world as it should be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    /// By how much the host's clock was set back; `now` goes on.
    pub(crate) set_back: u64,
    /// The time of the newest message, and whether the process has sent none since.
    newest_at: u64,
    has_started: bool,
    /// Whether a token was forgotten by its age: were the clock set back, a start might find it young again.
    pub(crate) has_forgotten: bool,
    pub(crate) in_doubt: bool,
    pub(crate) devices_max: usize,
    /// Whether the last commit failed.
    pub(crate) failed: bool,
    pub(crate) life: u32,
    pub(crate) peers: Vec<PeerState>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) conversations: Vec<Conversation>,
    pub(crate) messages: Vec<Message>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) expected: Vec<Expected>,
    pub(crate) hooks: HookState,
    presence_due: Option<u64>,
    attachments: u64,
    /// The commit that is being filled, the newest one that surely has something, and the newest durable one.
    pub(crate) filling: u64,
    pub(crate) newest: u64,
    pub(crate) durable: u64,
}

impl Model {
    pub(crate) fn new(now: u64) -> Self {
        Self { now, peers: vec![PeerState::default(); usize::from(PEERS)], filling: 1, ..Self::default() }
    }

    fn peer(&mut self, peer: Peer) -> &mut PeerState {
        &mut self.peers[usize::from(peer)]
    }

    fn tell(&mut self, session: usize, what: What) {
        self.expected.push(Expected { ear: Ear::Session(session), when: When::Now, what });
    }

    fn tell_after(&mut self, session: usize, what: What) {
        self.expected.push(Expected { ear: Ear::Session(session), when: When::After(self.newest), what });
    }

    fn reply(&mut self, session: usize, ticket: u64, answer: Answer) {
        self.tell_after(session, What::Reply(ticket, Ok(answer)));
    }

    fn reply_now(&mut self, session: usize, ticket: u64, answer: Answer) {
        self.tell(session, What::Reply(ticket, Ok(answer)));
    }
}
