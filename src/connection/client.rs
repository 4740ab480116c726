//! The client's end of a transport, for the first generation's frames: what examples, tests and small clients need.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use super::inbox::Inbox;
use super::json::{Body, Flag, read_object};
use super::wire::{Address, Serial};
use super::{Framing, Transmit, v1};
use crate::id::{ConversationId, DeviceId, MessageId, PeerId, ResumeToken, RetryToken, Tag};
use crate::message::{Content, Draft, Target};
use crate::request::{Create, Credentials, Open, Request, Shape};
use crate::signature::Signature;
use crate::time::Timestamp;

/// The client's end of one transport, sans-IO like the server's: requests in, bytes out; bytes in, frames out.
///
/// It keeps no sessions: which frame belongs to which request says its serial.
#[derive(Debug)]
pub struct ClientConnection {
    framing: Framing,
    inbox: Inbox,
    transmit: VecDeque<Transmit>,
    serial: Serial,
    heard_at: Timestamp,
    sent_at: Timestamp,
    /// When a sign of life was asked for that has not come.
    asked_at: Option<Timestamp>,
}

impl ClientConnection {
    /// After so long without a frame in either direction the client sends a sign of life, as the documents' client does.
    pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(60);
    /// After so long without an answer to it the transport is dead.
    pub const HEARTBEAT_AFTER: Duration = Duration::from_secs(10);
    /// Bytes of one frame from the server: it lists the members of large groups in one.
    pub const FRAME_BYTES_MAX: usize = 16 << 20;

    /// A transport that has just connected.
    #[must_use]
    pub const fn new(framing: Framing, now: Timestamp) -> Self {
        Self {
            framing,
            inbox: Inbox::new(Self::FRAME_BYTES_MAX),
            transmit: VecDeque::new(),
            serial: 0,
            heard_at: now,
            sent_at: now,
            asked_at: None,
        }
    }

    /// Opens a session; the serial is that of the reply.
    pub fn open(&mut self, open: &Open, now: Timestamp) -> Serial {
        self.send(&open.peer, encode_open(open), now)
    }

    /// Asks for something as a peer whose session is open; the serial is that of the reply. `None` where these frames have
    /// no words for it: history, unread counts, unique and temporary conversations, names and attributes.
    pub fn request(&mut self, peer: &PeerId, request: &Request, now: Timestamp) -> Option<Serial> {
        encode_request(request).map(|body| self.send(peer, body, now))
    }

    /// Takes what a byte stream brought.
    pub fn receive(&mut self, bytes: &[u8], now: Timestamp) {
        self.heard(now);
        self.inbox.push_bytes(bytes);
    }

    /// Takes one frame of a message transport.
    pub fn receive_frame(&mut self, frame: &[u8], now: Timestamp) {
        self.heard(now);
        self.inbox.push_frame(frame);
    }

    /// The next frame from the server. Signs of life are not told.
    pub fn poll_frame(&mut self) -> Option<FromServer> {
        loop {
            let frame = match self.inbox.next_frame()? {
                Ok(frame) => decode(frame),
                Err(_) => return None,
            };
            if frame.frame != ServerFrame::Heartbeat {
                return Some(frame);
            }
        }
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmit.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        match self.asked_at {
            Some(asked_at) => asked_at + Self::HEARTBEAT_AFTER,
            None => self.heard_at.min(self.sent_at) + Self::HEARTBEAT_EVERY,
        }
    }

    /// Sends a sign of life when it is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.asked_at.is_none() && now >= self.poll_timeout() {
            self.asked_at = Some(now);
            self.queue(v1::HEARTBEAT.to_owned(), now);
        }
    }

    /// Whether the server no longer answers: connect anew.
    #[must_use]
    pub fn is_dead(&self, now: Timestamp) -> bool {
        self.asked_at.is_some_and(|asked_at| now >= asked_at + Self::HEARTBEAT_AFTER)
    }

    fn heard(&mut self, now: Timestamp) {
        self.heard_at = now;
        self.asked_at = None;
    }

    fn send(&mut self, peer: &PeerId, body: Body, now: Timestamp) -> Serial {
        self.serial += 1;
        let address = Address { peer: Some(peer.clone()), serial: Some(self.serial) };
        self.queue(v1::frame(&address, &body.finish()), now);
        self.serial
    }

    fn queue(&mut self, frame: String, now: Timestamp) {
        self.sent_at = now;
        self.transmit.push_back(self.framing.end(frame));
    }
}

fn encode_open(open: &Open) -> Body {
    let body = Body::op("session", "open")
        .with("sessionPeerIds", &v1::texts(&open.watch))
        .with_some("deviceId", open.device.as_ref().map(DeviceId::as_str))
        .with_some("tag", open.tag.as_ref().map(Tag::as_str))
        .with_flag("r", open.reconnect)
        .with_flag("sp", open.super_peer);
    match &open.credentials {
        Credentials::None => body,
        Credentials::Signature(signature) => with_signature(body, Some(signature)),
        Credentials::Account(token) => body.with("sessionToken", token),
        Credentials::Token(token) => body.with("st", token.as_str()),
    }
}

fn encode_request(request: &Request) -> Option<Body> {
    let session = |op, peers: &[PeerId]| Body::op("session", op).with("sessionPeerIds", &v1::texts(peers));
    Some(match request {
        Request::Send(draft) => encode_draft(draft),
        Request::Watch { peers, signature } => with_signature(session("add", peers), signature.as_ref()),
        Request::Unwatch { peers } => session("remove", peers),
        Request::QueryOnline { peers } => session("query", peers),
        Request::Close => Body::op("session", "close"),
        Request::Create(create) => encode_create(create)?,
        Request::Join { conversation, signature } => with_signature(room("join", conversation), signature.as_ref()),
        Request::Leave { conversation } => room("leave", conversation),
        Request::Invite { conversation, peers, signature } => {
            with_signature(room("invite", conversation).with("roomPeerIds", &v1::texts(peers)), signature.as_ref())
        }
        Request::Kick { conversation, peers, signature } => {
            with_signature(room("kick", conversation).with("roomPeerIds", &v1::texts(peers)), signature.as_ref())
        }
        Request::Members { conversation } => room("members", conversation),
        Request::Conversations => Body::op("room", "list"),
        Request::Acknowledge { messages: ids, read: true } => {
            Body::new("ack").with("ids", &ids.iter().map(ToString::to_string).collect::<Vec<_>>())
        }
        Request::Acknowledge { .. }
        | Request::MarkRead { .. }
        | Request::Describe { .. }
        | Request::Count { .. }
        | Request::History { .. }
        | Request::Unread => return None,
    })
}

fn encode_draft(draft: &Draft) -> Body {
    let body = Body::new("direct");
    let body = match &draft.target {
        Target::Peers(peers) => body.with("toPeerIds", &v1::texts(peers)),
        Target::Conversation(conversation) => body.with("roomId", conversation.as_str()),
    };
    v1::with_content(body, &draft.content)
        .with_flag("transient", draft.transient)
        .with_flag("r", draft.receipt)
        .with_some("dt", draft.retry_token.as_ref().map(RetryToken::as_str))
        .with_some("pushData", draft.push.as_ref())
}

fn encode_create(create: &Create) -> Option<Body> {
    let is_room = match create.shape {
        Shape::Group => false,
        Shape::Room => true,
        Shape::Unique | Shape::Temporary(_) => return None,
    };
    if create.name.is_some() || !create.attributes.is_empty() {
        return None;
    }
    let body = Body::op("room", "join").with_flag("transient", is_room);
    let members = (!create.members.is_empty()).then(|| v1::texts(&create.members));
    Some(with_signature(body.with_some("roomPeerIds", members.as_ref()), create.signature.as_ref()))
}

fn room(op: &str, conversation: &ConversationId) -> Body {
    Body::op("room", op).with("roomId", conversation.as_str())
}

fn with_signature(body: Body, signature: Option<&Signature>) -> Body {
    match signature {
        Some(Signature { timestamp, nonce, signature }) => {
            body.with("s", signature).with("t", timestamp).with("n", nonce)
        }
        None => body,
    }
}

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

/// What a frame from the server says. [`contract`](super::contract) lists the fields.
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

fn decode(frame: &[u8]) -> FromServer {
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
            true => super::base64::decode(text).map(Content::Binary),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::wire::{Asked, Frame, Verb, Wire};
    use super::super::{Action, Connection, ConnectionConfig, Encoded};
    use super::*;
    use crate::conversation::ConversationKind;
    use crate::id::{SessionId, Ticket};
    use crate::message::{Accepted, Message};
    use crate::update::{Gap, GapCause, MembershipChange, Reply, Update};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn alice() -> PeerId {
        PeerId::new("alice").unwrap()
    }

    /// What the server makes of the one frame that the client sends.
    fn on_the_server(client: &mut ClientConnection) -> Frame {
        let Transmit::Text(frame) = client.poll_transmit().unwrap();
        assert_eq!(client.poll_transmit(), None);
        super::v1::parse(frame.as_bytes(), &ConnectionConfig::default()).unwrap()
    }

    /// What the client makes of a body that the server sends.
    fn on_the_client(body: &str) -> FromServer {
        let address = Address { peer: Some(alice()), serial: Some(3) };
        let from_server = decode(super::v1::frame(&address, body).as_bytes());
        assert_eq!((&from_server.peer, from_server.serial), (&address.peer, address.serial));
        from_server
    }

    #[test]
    fn it_sends_a_sign_of_life_when_idle_and_gives_up_without_an_answer() {
        let mut client = ClientConnection::new(Framing::Lines, at(0));
        client.handle_timeout(at(59));
        assert_eq!((client.poll_transmit(), client.poll_timeout()), (None, at(60)));
        client.handle_timeout(at(60));
        client.handle_timeout(at(61));
        assert_eq!((client.poll_transmit(), client.poll_transmit()), (Some(Transmit::Text("{}\n".to_owned())), None));
        assert_eq!((client.poll_timeout(), client.is_dead(at(69)), client.is_dead(at(70))), (at(70), false, true));
        client.receive(b"{}\n", at(69));
        assert_eq!((client.poll_frame(), client.is_dead(at(70))), (None, false));
        client.request(&alice(), &Request::Conversations, at(100));
        assert_eq!(client.poll_timeout(), at(129), "it was last heard at 69");
        client.receive(b"{}\n", at(120));
        assert_eq!(client.poll_timeout(), at(160), "it last spoke at 100");
    }

    #[test]
    fn what_these_frames_cannot_say_is_not_sent() {
        let mut client = ClientConnection::new(Framing::Messages, at(0));
        let unique = Request::Create(Create::new(Shape::Unique, Vec::new()));
        let named = Create { name: Some("n".to_owned()), ..Create::new(Shape::Group, Vec::new()) };
        for request in [Request::Unread, unique, Request::Create(named)] {
            assert_eq!(client.request(&alice(), &request, at(0)), None);
        }
        assert_eq!(client.poll_transmit(), None);
    }

    #[test]
    fn a_client_and_a_server_talk_over_a_stream() {
        let mut client = ClientConnection::new(Framing::Lines, at(0));
        let mut server = Connection::new(Arc::new(ConnectionConfig::default()), None, at(0));
        let session = SessionId { node: 0, epoch: 0, slot: 1, generation: 0 };
        assert_eq!(client.open(&Open::new(alice()), at(0)), 1);
        assert_eq!(client.request(&alice(), &Request::Conversations, at(0)), Some(2));
        while let Some(frame) = client.poll_transmit() {
            server.receive(frame.as_bytes(), at(0));
        }
        let Some(Action::Open { key, .. }) = server.poll_action(at(0)) else { panic!("no open") };
        assert_eq!(server.poll_action(at(0)), None, "one at a time");
        server.opened(key, Ok((session, Ticket(1))), at(0));
        let Some(Action::Request { key, .. }) = server.poll_action(at(0)) else { panic!("no request") };
        server.answered(key, Ok(Ticket(2)), at(0));
        let reply = Update::Reply { ticket: Ticket(2), result: Ok(Reply::Conversations(Vec::new())) };
        server.update(session, &reply, at(0));
        while let Some(frame) = server.poll_transmit() {
            client.receive(frame.as_bytes(), at(0));
        }
        let answer = FromServer { peer: Some(alice()), serial: Some(2), frame: ServerFrame::Rooms(Vec::new()) };
        assert_eq!((client.poll_frame(), client.poll_frame()), (Some(answer), None));
    }

    #[test]
    fn an_unknown_frame_is_told_and_does_no_harm() {
        for frame in ["nonsense", "[]", r#"{"cmd":"goaway"}"#, r#"{"cmd":"ack","uid":"short"}"#, "\u{0}"] {
            assert_eq!(decode(frame.as_bytes()).frame, ServerFrame::Unknown, "{frame:?}");
        }
        assert_eq!(decode(b"\xff").frame, ServerFrame::Unknown);
    }

    fn peer_ids() -> impl Strategy<Value = PeerId> {
        "[a-z\"\\\\/:é\u{1F600}]{1,50}".prop_map(|id| PeerId::new(&id).unwrap())
    }

    fn conversations() -> impl Strategy<Value = ConversationId> {
        "[0-9a-f_:\"]{1,32}".prop_map(|id| ConversationId::new(&id).unwrap())
    }

    fn message_ids() -> impl Strategy<Value = MessageId> {
        any::<[u8; 16]>().prop_map(MessageId::from_bytes)
    }

    fn signatures() -> impl Strategy<Value = Signature> {
        ("[0-9]{0,13}", "\\PC{0,9}", "[0-9a-fA-F]{0,40}").prop_map(|(timestamp, nonce, signature)| Signature {
            timestamp,
            nonce,
            signature,
        })
    }

    fn contents() -> impl Strategy<Value = Content> {
        prop_oneof![
            any::<String>().prop_filter("empty", |text| !text.is_empty()).prop_map(Content::Text),
            vec(any::<u8>(), 1..99).prop_map(Content::Binary),
        ]
    }

    fn drafts() -> impl Strategy<Value = Draft> {
        let targets =
            prop_oneof![vec(peer_ids(), 1..4).prop_map(Target::Peers), conversations().prop_map(Target::Conversation)];
        let tokens = prop::option::of("[a-z]{1,9}".prop_map(|token| RetryToken::new(&token).unwrap()));
        (targets, contents(), any::<(bool, bool)>(), tokens, any::<Option<String>>()).prop_map(
            |(target, content, (transient, receipt), retry_token, push)| Draft {
                target,
                content,
                transient,
                receipt,
                retry_token,
                push,
            },
        )
    }

    fn requests() -> impl Strategy<Value = Request> {
        let peers = || vec(peer_ids(), 1..4);
        let signed = || prop::option::of(signatures());
        prop_oneof![
            drafts().prop_map(Request::Send),
            (peers(), signed()).prop_map(|(peers, signature)| Request::Watch { peers, signature }),
            peers().prop_map(|peers| Request::Unwatch { peers }),
            peers().prop_map(|peers| Request::QueryOnline { peers }),
            Just(Request::Close),
            (any::<bool>(), vec(peer_ids(), 0..4), signed()).prop_map(|(is_room, members, signature)| {
                let shape = if is_room { Shape::Room } else { Shape::Group };
                Request::Create(Create { signature, ..Create::new(shape, members) })
            }),
            (conversations(), signed()).prop_map(|(conversation, signature)| Request::Join { conversation, signature }),
            conversations().prop_map(|conversation| Request::Leave { conversation }),
            (conversations(), peers(), signed()).prop_map(|(conversation, peers, signature)| Request::Invite {
                conversation,
                peers,
                signature
            }),
            (conversations(), peers(), signed()).prop_map(|(conversation, peers, signature)| Request::Kick {
                conversation,
                peers,
                signature
            }),
            conversations().prop_map(|conversation| Request::Members { conversation }),
            Just(Request::Conversations),
            vec(message_ids(), 1..9).prop_map(|ids| Request::Acknowledge { messages: ids, read: true }),
        ]
    }

    fn opens() -> impl Strategy<Value = Open> {
        let credentials = prop_oneof![
            Just(Credentials::None),
            signatures().prop_map(Credentials::Signature),
            "\\PC{0,40}".prop_map(Credentials::Account),
            "[0-9a-f]{32}".prop_map(|token| Credentials::Token(ResumeToken::new(&token))),
        ];
        let device = prop::option::of("[a-z]{1,9}".prop_map(|id| DeviceId::new(&id).unwrap()));
        let tag = prop::option::of("[a-z]{1,9}".prop_map(|tag| Tag::new(&tag).unwrap()));
        (peer_ids(), device, tag, credentials, vec(peer_ids(), 0..4), any::<(bool, bool)>()).prop_map(
            |(peer, device, tag, credentials, watch, (reconnect, super_peer))| Open {
                device,
                tag,
                credentials,
                watch,
                reconnect,
                super_peer,
                ..Open::new(peer)
            },
        )
    }

    proptest! {
        #[test]
        fn the_server_understands_every_request(peer in peer_ids(), request in requests()) {
            let mut client = ClientConnection::new(Framing::Messages, at(0));
            let serial = client.request(&peer, &request, at(0));
            prop_assert!(serial.is_some());
            let verb = Verb::Request(request);
            prop_assert_eq!(on_the_server(&mut client), Frame::Command { peer, serial, verb });
        }

        #[test]
        fn the_server_understands_every_open(open in opens()) {
            let mut client = ClientConnection::new(Framing::Messages, at(0));
            let serial = Some(client.open(&open, at(0)));
            let peer = open.peer.clone();
            let verb = Verb::Open(Box::new(open));
            prop_assert_eq!(on_the_server(&mut client), Frame::Command { peer, serial, verb });
        }

        #[test]
        fn the_client_understands_every_message(
            id in message_ids(),
            from in peer_ids(),
            conversation in conversations(),
            to in vec(peer_ids(), 1..4),
            content in contents(),
            millis in any::<u64>(),
            (offline, transient, is_group) in any::<(bool, bool, bool)>(),
        ) {
            let kind = if is_group { ConversationKind::Group } else { ConversationKind::Direct };
            let timestamp = Timestamp::from_millis(millis);
            let message = Message {
                id,
                conversation: conversation.clone(),
                kind,
                number: None,
                timestamp,
                from: from.clone(),
                to: to.into(),
                content: content.clone(),
                transient,
                receipt: false,
                deleted: false,
                narrowed: false,
                position: 0,
                device: None,
            };
            let target = match is_group {
                true => Target::Conversation(conversation),
                false => Target::Peers(message.recipients().cloned().collect()),
            };
            let encoded = Encoded::new(Wire::V1, &Update::Message { message: Arc::new(message), offline }).unwrap();
            let expected = ServerFrame::Direct { id, from, target, content, timestamp, offline, transient };
            prop_assert_eq!(on_the_client(&encoded.bodies[0]).frame, expected);
        }

        #[test]
        fn the_client_understands_every_notice(
            room in conversations(),
            by in peer_ids(),
            peers in vec(peer_ids(), 1..4),
            id in message_ids(),
            millis in any::<u64>(),
        ) {
            use MembershipChange::{Joined, Left, MembersJoined, MembersLeft};
            let timestamp = Timestamp::from_millis(millis);
            let kind = ConversationKind::Group;
            let told = |update: &Update| on_the_client(&super::v1::update(update)[0]).frame;
            let noticed = |change| {
                told(&Update::Membership { conversation: room.clone(), kind, change, by: by.clone() })
            };
            let by = || Some(by.clone());
            let (room, peers) = (|| room.clone(), || peers.clone());
            prop_assert_eq!(noticed(Joined), ServerFrame::Joined { room: room(), by: by() });
            prop_assert_eq!(noticed(Left), ServerFrame::Left { room: room(), by: by() });
            let joined = ServerFrame::MembersJoined { room: room(), peers: peers(), by: by() };
            prop_assert_eq!(noticed(MembersJoined(peers())), joined);
            let left = ServerFrame::MembersLeft { room: room(), peers: peers(), by: by() };
            prop_assert_eq!(noticed(MembersLeft(peers())), left);
            let presence = Update::Presence { online: Vec::new(), offline: peers() };
            prop_assert_eq!(told(&presence), ServerFrame::Presence { online: false, peers: peers() });
            let gap = Gap { conversation: None, from: 1, to: millis, count: 3, cause: GapCause::Limit };
            let expected =
                ServerFrame::Gap { conversation: None, from: 1, to: millis, count: 3, cause: "limit".to_owned() };
            prop_assert_eq!(told(&Update::Gap(gap)), expected);
            let receipt = Update::Receipt { conversation: room(), id, peer: by().unwrap(), at: timestamp };
            prop_assert_eq!(told(&receipt), ServerFrame::Receipt { id, at: timestamp });
            let answered = |reply| on_the_client(&super::v1::reply(Asked::Other, &reply).unwrap()).frame;
            let invited = Reply::Invited { conversation: room(), peers: peers() };
            prop_assert_eq!(answered(invited), ServerFrame::Invited { room: room(), peers: peers() });
            let members = Reply::Members { conversation: room(), peers: peers() };
            prop_assert_eq!(answered(members), ServerFrame::Members { room: room(), peers: peers() });
            let accepted = Accepted { conversation: room(), id, number: None, timestamp, changed: None };
            prop_assert_eq!(answered(Reply::Accepted(accepted)), ServerFrame::Ack { id, timestamp, changed: None });
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let mut client = ClientConnection::new(Framing::Lines, at(0));
            client.receive(&bytes, at(0));
            while client.poll_frame().is_some() {}
        }
    }
}
