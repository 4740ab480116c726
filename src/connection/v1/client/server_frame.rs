//! What a frame from the server says.

use std::time::Duration;

use serde::Deserialize;

use super::super::json::{self, Flag, read_object};
use crate::connection::wire::Serial;
use crate::id::{ConversationId, MessageId, PeerId, ResumeToken};
use crate::message::{Content, Target};
use crate::time::Timestamp;

/// A frame from the server and whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromServer {
    /// The peer it is for; none where the whole connection is concerned.
    pub peer: Option<PeerId>,
    /// Which request it answers.
    pub serial: Option<Serial>,
    /// What it says.
    pub frame: ServerFrame,
}

/// What a frame from the server says. [`contract`](crate::connection::contract) lists the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerFrame {
    /// A sign of life.
    Heartbeat,
    /// The session is open.
    Opened {
        /// Which of the watched peers are online.
        online: Vec<PeerId>,
        /// By what it is resumed.
        token: Option<ResumeToken>,
        /// How long the token is good after the connection broke.
        token_after: Duration,
        /// The open group it is in again.
        room: Option<ConversationId>,
    },
    /// The peers are watched; these of them are online.
    Added {
        /// Who is online.
        online: Vec<PeerId>,
    },
    /// These of the peers asked for are online.
    QueryResult {
        /// Who is online.
        online: Vec<PeerId>,
    },
    /// The session is over. Do not open it again unasked.
    Closed {
        /// Why; 0 is its own wish.
        code: u16,
    },
    /// The message is as durable as the server promises.
    Ack {
        /// Its id.
        id: MessageId,
        /// Its time.
        timestamp: Timestamp,
        /// What was stored instead of what was sent.
        changed: Option<Content>,
    },
    /// A message.
    Direct {
        /// Its id; to be acknowledged unless the message is transient or one's own.
        id: MessageId,
        /// Who sent it.
        from: PeerId,
        /// Where it went.
        target: Target,
        /// What it says.
        content: Content,
        /// When it was accepted.
        timestamp: Timestamp,
        /// Whether it was accepted before the session opened.
        offline: bool,
        /// Whether it is seen only by who is online.
        transient: bool,
    },
    /// A message sent with a receipt has arrived.
    Receipt {
        /// Which message.
        id: MessageId,
        /// When.
        at: Timestamp,
    },
    /// Watched peers came or went.
    Presence {
        /// Whether they came.
        online: bool,
        /// Who.
        peers: Vec<PeerId>,
    },
    /// The peer is a member of a group, or in an open one.
    Joined {
        /// Which group.
        room: ConversationId,
        /// Who did it; none where it is the reply to one's own request.
        by: Option<PeerId>,
    },
    /// The peer is a member no more.
    Left {
        /// Which group.
        room: ConversationId,
        /// Who did it; none where it is the reply to one's own request.
        by: Option<PeerId>,
    },
    /// The peers are members, at one's own request.
    Invited {
        /// Which group.
        room: ConversationId,
        /// Who.
        peers: Vec<PeerId>,
    },
    /// The peers are members no more, at one's own request.
    Kicked {
        /// Which group.
        room: ConversationId,
        /// Who.
        peers: Vec<PeerId>,
    },
    /// Others became members.
    MembersJoined {
        /// Which group.
        room: ConversationId,
        /// Who.
        peers: Vec<PeerId>,
        /// Who did it.
        by: Option<PeerId>,
    },
    /// Others are members no more.
    MembersLeft {
        /// Which group.
        room: ConversationId,
        /// Who.
        peers: Vec<PeerId>,
        /// Who did it.
        by: Option<PeerId>,
    },
    /// The members of a group.
    Members {
        /// Which group.
        room: ConversationId,
        /// Who.
        peers: Vec<PeerId>,
    },
    /// The groups that the peer is in.
    Rooms(Vec<ConversationId>),
    /// Messages that the peer will not get.
    Gap {
        /// In which conversation, where it is one.
        conversation: Option<ConversationId>,
        /// The first number missed.
        from: u64,
        /// The last number missed.
        to: u64,
        /// How many.
        count: u64,
        /// Why, by the name on the wire.
        cause: String,
    },
    /// Something was refused, or the connection ends.
    Error {
        /// The documented code.
        code: u16,
        /// A text for the log.
        reason: String,
        /// The recipients that failed.
        peers: Vec<PeerId>,
    },
    /// A frame that this client does not know, to be ignored.
    Unknown,
}

/// Every field that a server's frame may have.
#[derive(Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Fields {
    cmd: String,
    op: String,
    peer_id: Option<String>,
    i: Option<Serial>,
    online_session_peer_ids: Vec<String>,
    session_peer_ids: Vec<String>,
    to_peer_ids: Vec<String>,
    room_peer_ids: Vec<String>,
    room_ids: Vec<String>,
    pids: Vec<String>,
    st: Option<String>,
    st_ttl: u64,
    code: u16,
    reason: String,
    id: String,
    uid: String,
    t: u64,
    timestamp: u64,
    from_peer_id: String,
    by_peer_id: Option<String>,
    room_id: Option<String>,
    msg: Option<String>,
    bin: Flag,
    offline: Flag,
    transient: Flag,
    status: String,
    conversation: Option<String>,
    from: u64,
    to: u64,
    count: u64,
    cause: String,
}

pub(super) fn decode(frame: &[u8]) -> FromServer {
    let fields = std::str::from_utf8(frame).ok().and_then(|text| read_object::<Fields>(text).ok());
    match fields {
        None => FromServer { peer: None, serial: None, frame: ServerFrame::Unknown },
        Some(fields) if fields == Fields::default() => {
            FromServer { peer: None, serial: None, frame: ServerFrame::Heartbeat }
        }
        Some(fields) => FromServer {
            peer: fields.peer_id.as_deref().and_then(peer),
            serial: fields.i,
            frame: fields.read().unwrap_or(ServerFrame::Unknown),
        },
    }
}

impl Fields {
    fn read(&self) -> Option<ServerFrame> {
        match (self.cmd.as_str(), self.op.as_str()) {
            ("session", op) => self.session(op),
            ("room", op) => self.room(op),
            ("direct", _) => self.direct(),
            ("ack", _) => Some(ServerFrame::Ack {
                id: MessageId::parse(&self.uid)?,
                timestamp: Timestamp::from_millis(self.t),
                changed: self.content(),
            }),
            ("rcp", _) => {
                Some(ServerFrame::Receipt { id: MessageId::parse(&self.id)?, at: Timestamp::from_millis(self.t) })
            }
            ("presence", _) => {
                Some(ServerFrame::Presence { online: self.status == "on", peers: peers(&self.session_peer_ids)? })
            }
            ("gap", _) => Some(ServerFrame::Gap {
                conversation: conversation(self.conversation.as_deref()),
                from: self.from,
                to: self.to,
                count: self.count,
                cause: self.cause.clone(),
            }),
            ("error", _) => {
                Some(ServerFrame::Error { code: self.code, reason: self.reason.clone(), peers: peers(&self.pids)? })
            }
            _ => None,
        }
    }

    fn session(&self, op: &str) -> Option<ServerFrame> {
        let online = peers(&self.online_session_peer_ids)?;
        Some(match op {
            "opened" => ServerFrame::Opened {
                online,
                token: self.st.as_deref().map(ResumeToken::new),
                token_after: Duration::from_secs(self.st_ttl),
                room: conversation(self.room_id.as_deref()),
            },
            "added" => ServerFrame::Added { online },
            "query-result" => ServerFrame::QueryResult { online },
            "closed" => ServerFrame::Closed { code: self.code },
            _ => return None,
        })
    }

    fn room(&self, op: &str) -> Option<ServerFrame> {
        if op == "list-result" {
            return self
                .room_ids
                .iter()
                .map(|id| conversation(Some(id)))
                .collect::<Option<_>>()
                .map(ServerFrame::Rooms);
        }
        let room = conversation(self.room_id.as_deref())?;
        let peers = peers(&self.room_peer_ids)?;
        let by = self.by_peer_id.as_deref().and_then(peer);
        Some(match op {
            "joined" => ServerFrame::Joined { room, by },
            "left" => ServerFrame::Left { room, by },
            "invited" => ServerFrame::Invited { room, peers },
            "kicked" => ServerFrame::Kicked { room, peers },
            "members-joined" => ServerFrame::MembersJoined { room, peers, by },
            "members-left" => ServerFrame::MembersLeft { room, peers, by },
            "members-result" => ServerFrame::Members { room, peers },
            _ => return None,
        })
    }

    fn direct(&self) -> Option<ServerFrame> {
        let target = match conversation(self.room_id.as_deref()) {
            Some(room) => Target::Conversation(room),
            None => Target::Peers(peers(&self.to_peer_ids)?),
        };
        Some(ServerFrame::Direct {
            id: MessageId::parse(&self.id)?,
            from: peer(&self.from_peer_id)?,
            target,
            content: self.content()?,
            timestamp: Timestamp::from_millis(self.timestamp),
            offline: self.offline.0,
            transient: self.transient.0,
        })
    }

    fn content(&self) -> Option<Content> {
        let text = self.msg.as_deref()?;
        match self.bin.0 {
            true => json::bytes(text).map(Content::Binary),
            false => Some(Content::from(text)),
        }
    }
}

/// The server has checked the id; here only what no rule allows is refused.
fn peer(id: &str) -> Option<PeerId> {
    PeerId::with_max(id, crate::id::PEER_ID_BYTES_MAX).ok()
}

fn peers(ids: &[String]) -> Option<Vec<PeerId>> {
    ids.iter().map(|id| peer(id)).collect()
}

fn conversation(id: Option<&str>) -> Option<ConversationId> {
    ConversationId::new(id?).ok()
}
