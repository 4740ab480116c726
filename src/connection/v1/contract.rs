//! The wire contract of the first generation's frames, as data: every command, who sends it, its fields and its answer.
//!
//! A frame is one JSON object: a WebSocket text message, or a line. Fields that are not listed are ignored. `{}` is a sign
//! of life, answered by `{}`. Each frame of a client has `cmd`, mostly `op`, and `peerId`; it may have `appId` and a serial
//! `i`, which the reply echoes. Each frame of the server names the `peerId` that it is for, except errors that concern the
//! whole connection.
//!
//! Where the documents are silent, these frames say more than theirs; such rows are marked [`Source::Ours`], and a client
//! of the documents never meets them, or ignores them:
//! * `sessionToken` on `session/open` is the token of an account, which the host checks.
//! * `bin: true` beside `msg` means that `msg` is base64 (RFC 4648 §4) of binary content.
//! * `room/join` without `roomId` makes a new group, an open one with `transient: true`; `roomPeerIds` are its first members.
//! * `session/close` is answered only where it has a serial.
//! * An `ack` marks as read, too.
//! * Lists of ids have at most 1,000 entries (4318).
//!
//! | refusal | code | connection |
//! |---|---|---|
//! | the frame's own `peerId` is malformed | 4103 | closed |
//! | any other peer id in the frame is malformed: nothing of the frame is done | 4103 | stays |
//! | the frame is over 64 KiB | 4109 | closed |
//! | a binary frame, not a JSON object, not UTF-8, a field of the wrong type, missing or empty where needed | 4114 | stays, closed by the tenth in a minute |
//! | unknown or server-only `cmd` or `op` | 4114 | stays, closed by the tenth in a minute |
//! | the peer has no session on this connection | 4105 | stays |
//! | `appId` names another application | 4100 | stays |
//! | signature refused | 4102, 4302 | stays, the answer comes 1 s later each time; closed by the fifth in a minute |
//! | no session for 15 s | 4108 | closed |
//! | nothing received for 6 minutes | 4107 | closed |
//! | more than 4 MiB that the client does not read, or 256 KiB that it sends while nothing is taken | 4318 | closed |
//! | more than 1,024 requests without a reply, or more than 100 peers | 4318 | stays |

/// Who sends a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The client.
    FromClient,
    /// The server.
    FromServer,
}

/// Where a frame is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The documents.
    Documented,
    /// The documents know it, this server never sends it.
    DocumentedOnly,
    /// Ours, in the same style.
    Ours,
}

/// One kind of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// `cmd`.
    pub command: &'static str,
    /// `op`; empty where the command has none.
    pub op: &'static str,
    /// Who sends it.
    pub direction: Direction,
    /// Where it is from.
    pub source: Source,
    /// The `op`, or the `cmd` where it has none, of the frame that answers it; empty where nothing does.
    pub reply: &'static str,
    /// Its fields beside `cmd`, `op`, `appId`, `peerId` and `i`. Those that end in `?` may be missing.
    pub fields: &'static [&'static str],
}

const fn client(command: &'static str, op: &'static str, reply: &'static str, fields: &'static [&'static str]) -> Row {
    Row { command, op, direction: Direction::FromClient, source: Source::Documented, reply, fields }
}

const fn server(command: &'static str, op: &'static str, fields: &'static [&'static str]) -> Row {
    Row { command, op, direction: Direction::FromServer, source: Source::Documented, reply: "", fields }
}

const fn ours(row: Row) -> Row {
    Row { source: Source::Ours, ..row }
}

const fn never_sent(row: Row) -> Row {
    Row { source: Source::DocumentedOnly, ..row }
}

/// Every frame of the first generation.
pub const V1: &[Row] = &[
    client(
        "session",
        "open",
        "opened",
        &["sessionPeerIds?", "s?", "t?", "n?", "sp?", "r?", "tag?", "deviceId?", "st?", "sessionToken?"],
    ),
    client("session", "add", "added", &["sessionPeerIds", "s?", "t?", "n?"]),
    client("session", "remove", "", &["sessionPeerIds"]),
    client("session", "query", "query-result", &["sessionPeerIds"]),
    client("session", "close", "", &[]),
    client("direct", "", "ack", &["msg", "toPeerIds?", "roomId?", "transient?", "r?", "dt?", "pushData?", "bin?"]),
    client("ack", "", "", &["ids"]),
    client("room", "join", "joined", &["roomId?", "transient?", "roomPeerIds?", "s?", "t?", "n?"]),
    client("room", "leave", "left", &["roomId"]),
    client("room", "invite", "invited", &["roomId", "roomPeerIds", "s?", "t?", "n?"]),
    client("room", "kick", "kicked", &["roomId", "roomPeerIds", "s?", "t?", "n?"]),
    ours(client("room", "members", "members-result", &["roomId"])),
    ours(client("room", "list", "list-result", &[])),
    server("session", "opened", &["onlineSessionPeerIds", "st", "stTtl", "roomId?"]),
    server("session", "added", &["onlineSessionPeerIds"]),
    server("session", "query-result", &["onlineSessionPeerIds"]),
    ours(server("session", "closed", &["code", "reason?"])),
    server("ack", "", &["uid", "t", "msg?", "bin?"]),
    server(
        "direct",
        "",
        &["id", "fromPeerId", "toPeerIds?", "roomId?", "msg", "bin?", "timestamp", "offline?", "transient?"],
    ),
    server("rcp", "", &["id", "t"]),
    server("presence", "", &["status", "sessionPeerIds"]),
    server("room", "joined", &["roomId", "transient?", "byPeerId?"]),
    server("room", "left", &["roomId", "byPeerId?"]),
    server("room", "invited", &["roomId", "roomPeerIds"]),
    server("room", "kicked", &["roomId", "roomPeerIds"]),
    server("room", "members-joined", &["roomId", "roomPeerIds", "byPeerId"]),
    server("room", "members-left", &["roomId", "roomPeerIds", "byPeerId"]),
    ours(server("room", "members-result", &["roomId", "roomPeerIds"])),
    ours(server("room", "list-result", &["roomIds"])),
    // An error frame says it instead.
    never_sent(server("room", "reject", &["roomPeerIds", "byPeerId"])),
    // Clients ignore it.
    never_sent(server("ackreq", "", &[])),
    ours(server("gap", "", &["conversation?", "from", "to", "count", "cause"])),
    server("error", "", &["code", "reason", "pids?"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ConnectionConfig;
    use crate::connection::v1::{reader, writer};
    use crate::connection::wire::{Asked, Frame, Rejected};
    use crate::conversation::Attributes;
    use crate::conversation::{ConversationInfo, ConversationKind};
    use crate::error::Error;
    use crate::id::{ConversationId, MessageId, PeerId, ResumeToken};
    use crate::message::{Accepted, Content, Message};
    use crate::time::Timestamp;
    use crate::update::{Gap, GapCause, MembershipChange, Opened, Reply, Update};
    use serde_json::{Map, Value, json};
    use std::sync::Arc;

    fn name(field: &str) -> &str {
        field.trim_end_matches('?')
    }

    /// A value that the field can have.
    fn example(field: &str) -> Value {
        match name(field) {
            "sessionPeerIds" | "toPeerIds" | "roomPeerIds" => json!(["bob"]),
            "ids" => json!(["----------------------"]),
            "sp" | "r" | "transient" => json!(true),
            "bin" => json!(false),
            "t" => json!(1_700_000_000),
            _ => json!("text"),
        }
    }

    fn client_frame(row: &Row, fields: impl Iterator<Item = &'static str>) -> Map<String, Value> {
        let mut frame = Map::new();
        frame.insert("cmd".to_owned(), json!(row.command));
        frame.insert("peerId".to_owned(), json!("alice"));
        frame.extend((!row.op.is_empty()).then(|| ("op".to_owned(), json!(row.op))));
        frame.extend(fields.map(|field| (name(field).to_owned(), example(field))));
        frame
    }

    fn parse(frame: Map<String, Value>) -> Result<Frame, Rejected> {
        reader::read(Value::Object(frame).to_string().as_bytes(), &ConnectionConfig::default())
    }

    fn from_client() -> impl Iterator<Item = &'static Row> {
        V1.iter().filter(|row| row.direction == Direction::FromClient)
    }

    #[test]
    fn every_frame_of_a_client_is_understood_with_each_of_its_fields() {
        for row in from_client() {
            // A message has one of the two kinds of recipient.
            for without in ["toPeerIds", "roomId"] {
                let fields = row.fields.iter().copied();
                let kept = fields.filter(|field| row.command != "direct" || name(field) != without);
                assert!(parse(client_frame(row, kept)).is_ok(), "{row:?}");
            }
            let needed = row.fields.iter().copied().filter(|field| !field.ends_with('?'));
            let is_complete = row.command != "direct";
            assert_eq!(parse(client_frame(row, needed)).is_ok(), is_complete, "{row:?}");
        }
    }

    #[test]
    fn every_frame_has_one_row_and_every_reply_a_row() {
        for (at, row) in V1.iter().enumerate() {
            let is_same =
                |other: &&Row| (other.command, other.op, other.direction) == (row.command, row.op, row.direction);
            assert_eq!(V1.iter().position(|other| is_same(&other)), Some(at), "{row:?}");
        }
        for row in from_client().filter(|row| !row.reply.is_empty()) {
            let answers = V1.iter().filter(|answer| answer.direction == Direction::FromServer);
            let mut answers = answers.filter(|answer| [answer.op, answer.command].contains(&row.reply));
            assert!(answers.next().is_some(), "{row:?}");
        }
    }

    fn peers() -> Vec<PeerId> {
        vec![PeerId::new("bob").unwrap()]
    }

    fn room() -> ConversationId {
        ConversationId::new("r").unwrap()
    }

    fn message(kind: ConversationKind) -> Update {
        let message = Message {
            id: MessageId::from_bytes([1; 16]),
            conversation: room(),
            kind,
            number: None,
            timestamp: Timestamp::ZERO,
            from: peers()[0].clone(),
            to: peers().into(),
            content: Content::Binary(vec![1]),
            transient: true,
            receipt: false,
            deleted: false,
            narrowed: false,
            position: 0,
            device: None,
        };
        Update::Message { message: Arc::new(message), offline: true }
    }

    fn replies() -> Vec<(Asked, Reply)> {
        let info = ConversationInfo {
            id: room(),
            kind: ConversationKind::Room,
            unique: false,
            name: None,
            attributes: Attributes::new(),
            creator: None,
            members: peers(),
            created_at: Timestamp::ZERO,
            updated_at: Timestamp::ZERO,
            last_message_at: None,
            expires_at: None,
        };
        let opened = Opened {
            session: crate::SessionId { node: 0, epoch: 0, slot: 0, generation: 0 },
            peer: peers()[0].clone(),
            online: peers(),
            token: ResumeToken::new("t"),
            token_after: std::time::Duration::from_secs(1),
            room: Some(room()),
            at: Timestamp::ZERO,
        };
        let accepted = Accepted {
            conversation: room(),
            id: MessageId::from_bytes([1; 16]),
            number: None,
            timestamp: Timestamp::ZERO,
            changed: Some(Content::Binary(vec![1])),
        };
        vec![
            (Asked::Open, Reply::Opened(Box::new(opened))),
            (Asked::Watch, Reply::Online(peers())),
            (Asked::Other, Reply::Online(peers())),
            (Asked::Other, Reply::Accepted(accepted)),
            (Asked::Other, Reply::Created { conversation: Box::new(info.clone()), existing: false }),
            (Asked::Other, Reply::Joined { conversation: room() }),
            (Asked::Other, Reply::Left { conversation: room() }),
            (Asked::Other, Reply::Invited { conversation: room(), peers: peers() }),
            (Asked::Other, Reply::Kicked { conversation: room(), peers: peers() }),
            (Asked::Other, Reply::Members { conversation: room(), peers: peers() }),
            (Asked::Other, Reply::Conversations(vec![info])),
        ]
    }

    fn updates() -> Vec<Update> {
        use MembershipChange::{Joined, Left, MembersJoined, MembersLeft};
        let kind = ConversationKind::Group;
        let by = peers()[0].clone();
        let membership = |change| Update::Membership { conversation: room(), kind, change, by: by.clone() };
        let gap = Gap { conversation: Some(room()), from: 1, to: 1, count: 1, cause: GapCause::Age };
        let mut updates: Vec<_> = [Joined, Left, MembersJoined(peers()), MembersLeft(peers())].map(membership).into();
        updates.extend([ConversationKind::Direct, ConversationKind::Group].map(message));
        let id = MessageId::from_bytes([1; 16]);
        updates.push(Update::Receipt { conversation: room(), id, peer: by.clone(), at: Timestamp::ZERO });
        updates.push(Update::ReceivedTo { conversation: room(), id, number: 1, peer: by, at: Timestamp::ZERO });
        updates.push(Update::Presence { online: peers(), offline: peers() });
        updates.push(Update::Gap(gap));
        updates.extend([None, Some(Error::KickedByApp)].map(|error| Update::Closed { error }));
        updates
    }

    #[test]
    fn the_server_sends_every_row_and_nothing_that_is_not_in_its_row() {
        let mut bodies: Vec<_> = replies().iter().filter_map(|(asked, reply)| writer::reply(*asked, reply)).collect();
        bodies.extend(updates().iter().flat_map(writer::update));
        bodies.push(writer::error(&Error::InvalidTarget { peers: peers() }));
        let mut sent: Vec<_> = bodies.iter().map(|body| row_of(body)).collect();
        sent.sort_unstable_by_key(|row| (row.command, row.op));
        sent.dedup();
        let documented = V1.iter().filter(|row| row.direction == Direction::FromServer);
        let sendable = documented.filter(|row| row.source != Source::DocumentedOnly).count();
        assert_eq!(sent.len(), sendable, "{sent:?}");
    }

    /// The row that a body belongs to, after a look at its fields.
    fn row_of(body: &[u8]) -> &'static Row {
        let body = std::str::from_utf8(body).unwrap();
        let frame: Map<String, Value> = serde_json::from_str(&format!("{{{body}}}")).unwrap();
        let text = |field| frame.get(field).map_or("", |value| value.as_str().unwrap());
        let (command, op) = (text("cmd"), text("op"));
        let mut rows = V1.iter().filter(|row| row.direction == Direction::FromServer);
        let row = rows.find(|row| (row.command, row.op) == (command, op)).expect(body);
        for field in frame.keys().filter(|field| !["cmd", "op"].contains(&field.as_str())) {
            assert!(row.fields.iter().any(|known| name(known) == field), "{field} is not in the row of {body}");
        }
        for field in row.fields.iter().filter(|field| !field.ends_with('?')) {
            assert!(frame.contains_key(*field), "{field} is missing in {body}");
        }
        row
    }
}
