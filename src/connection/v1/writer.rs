//! From what is told to the frames that tell it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::json::Body;
use crate::connection::wire::{Address, Asked};
use crate::conversation::{ConversationInfo, ConversationKind};
use crate::error::Error;
use crate::id::{ConversationId, PeerId};
use crate::message::{Accepted, Content, Message};
use crate::update::{Gap, MembershipChange, Opened, Reply, Update};

/// A whole frame: a body for somebody.
pub(super) fn frame(address: &Address, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(body.len() + 64);
    frame.push(b'{');
    if let Some(peer) = &address.peer {
        frame.extend_from_slice(b"\"peerId\":");
        let written = serde_json::to_writer(&mut frame, peer.as_str());
        debug_assert!(written.is_ok(), "a text can always be written");
        frame.push(b',');
    }
    if let Some(serial) = address.serial {
        frame.extend_from_slice(format!("\"i\":{serial},").as_bytes());
    }
    frame.extend_from_slice(body);
    frame.push(b'}');
    frame
}

/// The body of a frame that refuses something.
pub(super) fn error(error: &Error) -> Vec<u8> {
    let failed = match error {
        Error::InvalidTarget { peers } if !peers.is_empty() => Some(texts(peers)),
        _ => None,
    };
    Body::new("error")
        .with("code", &error.code())
        .with("reason", &error.to_string())
        .with_some("pids", failed.as_ref())
        .finish()
}

/// The body of the frame that ends a session; code 0 is its own wish.
pub(super) fn closed(error: Option<&Error>) -> Vec<u8> {
    Body::op("session", "closed")
        .with("code", &error.map_or(0, Error::code))
        .with_some("reason", error.map(ToString::to_string).as_ref())
        .finish()
}

/// The body of the frame that answers a request. Transient messages, unwatching and acknowledgements have none.
pub(super) fn reply(asked: Asked, reply: &Reply) -> Option<Vec<u8>> {
    if asked == Asked::SendTransient {
        return None;
    }
    let body = match reply {
        Reply::Opened(opened) => self::opened(opened),
        Reply::Accepted(accepted) => self::accepted(accepted),
        Reply::Online(peers) => online(asked, peers),
        Reply::Created { conversation, .. } => {
            room("joined", &conversation.id).with_flag("transient", conversation.kind == ConversationKind::Room)
        }
        Reply::Joined { conversation } => room("joined", conversation),
        Reply::Left { conversation } => room("left", conversation),
        Reply::Invited { conversation, peers } => room("invited", conversation).with("roomPeerIds", &texts(peers)),
        Reply::Kicked { conversation, peers } => room("kicked", conversation).with("roomPeerIds", &texts(peers)),
        Reply::Members { conversation, peers } => {
            room("members-result", conversation).with("roomPeerIds", &texts(peers))
        }
        Reply::Conversations(conversations) => rooms(conversations),
        Reply::Conversation(_) | Reply::Count(_) | Reply::History { .. } | Reply::Unread(_) | Reply::Done => {
            return None;
        }
    };
    Some(body.finish())
}

fn opened(opened: &Opened) -> Body {
    Body::op("session", "opened")
        .with("onlineSessionPeerIds", &texts(&opened.online))
        .with("st", opened.token.as_str())
        .with("stTtl", &opened.token_after.as_secs())
        .with_some("roomId", opened.room.as_ref().map(ConversationId::as_str))
}

fn accepted(accepted: &Accepted) -> Body {
    let body = Body::new("ack").with("uid", &accepted.id.to_string()).with("t", &accepted.timestamp.as_millis());
    match &accepted.changed {
        Some(content) => with_content(body, content),
        None => body,
    }
}

fn online(asked: Asked, peers: &[PeerId]) -> Body {
    let op = if asked == Asked::Watch { "added" } else { "query-result" };
    Body::op("session", op).with("onlineSessionPeerIds", &texts(peers))
}

fn room(op: &str, conversation: &ConversationId) -> Body {
    Body::op("room", op).with("roomId", conversation.as_str())
}

/// The groups of a peer, and only those: direct and temporary conversations are no groups of the first generation.
fn rooms(conversations: &[ConversationInfo]) -> Body {
    let groups = conversations.iter().filter(|conversation| conversation.kind == ConversationKind::Group);
    Body::op("room", "list-result").with("roomIds", &groups.map(|group| group.id.as_str()).collect::<Vec<_>>())
}

/// The bodies of the frames that tell an update: none, one, or two where one frame cannot say it.
pub(super) fn update(update: &Update) -> Vec<Vec<u8>> {
    match update {
        Update::Message { message, offline } => vec![direct(message, *offline)],
        // These frames name a message: who is told of the newest one knows of those before it.
        Update::Receipt { id, at, .. } | Update::ReceivedTo { id, at, .. } => {
            vec![Body::new("rcp").with("id", &id.to_string()).with("t", &at.as_millis()).finish()]
        }
        Update::Presence { online, offline } => [("on", online), ("off", offline)]
            .into_iter()
            .filter_map(|(status, peers)| presence(status, peers))
            .collect(),
        Update::Membership { conversation, change, by, .. } => vec![membership(conversation, change, by)],
        Update::Gap(gap) => vec![self::gap(gap)],
        Update::Closed { error } => vec![closed(error.as_ref())],
        Update::Reply { .. } => Vec::new(),
    }
}

fn direct(message: &Message, offline: bool) -> Vec<u8> {
    let body = Body::new("direct").with("id", &message.id.to_string()).with("fromPeerId", message.from.as_str());
    let body = match message.kind {
        ConversationKind::Direct => {
            let recipients: Vec<_> = message.recipients().map(PeerId::as_str).collect();
            body.with("toPeerIds", &recipients)
        }
        ConversationKind::Group | ConversationKind::Room | ConversationKind::Temporary => {
            body.with("roomId", message.conversation.as_str())
        }
    };
    with_content(body, &message.content)
        .with("timestamp", &message.timestamp.as_millis())
        .with_flag("offline", offline)
        .with_flag("transient", message.transient)
        .finish()
}

/// These frames know only text: bytes go as base64 beside `bin`.
pub(super) fn with_content(body: Body, content: &Content) -> Body {
    match content {
        Content::Text(text) => body.with("msg", text),
        Content::Binary(bytes) => body.with("msg", &BASE64.encode(bytes)).with_flag("bin", true),
    }
}

fn presence(status: &str, peers: &[PeerId]) -> Option<Vec<u8>> {
    (!peers.is_empty())
        .then(|| Body::new("presence").with("status", status).with("sessionPeerIds", &texts(peers)).finish())
}

fn membership(conversation: &ConversationId, change: &MembershipChange, by: &PeerId) -> Vec<u8> {
    let body = match change {
        MembershipChange::Joined => room("joined", conversation),
        MembershipChange::Left => room("left", conversation),
        MembershipChange::MembersJoined(peers) => {
            room("members-joined", conversation).with("roomPeerIds", &texts(peers))
        }
        MembershipChange::MembersLeft(peers) => room("members-left", conversation).with("roomPeerIds", &texts(peers)),
    };
    body.with("byPeerId", by.as_str()).finish()
}

fn gap(gap: &Gap) -> Vec<u8> {
    Body::new("gap")
        .with_some("conversation", gap.conversation.as_ref().map(ConversationId::as_str))
        .with("from", &gap.from)
        .with("to", &gap.to)
        .with("count", &gap.count)
        .with("cause", gap.cause.as_str())
        .finish()
}

pub(super) fn texts(peers: &[PeerId]) -> Vec<&str> {
    peers.iter().map(PeerId::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::MessageId;
    use crate::time::Timestamp;
    use crate::update::GapCause;
    use std::sync::Arc;

    fn text(body: Vec<u8>) -> String {
        String::from_utf8(body).unwrap()
    }

    fn peer(id: &str) -> PeerId {
        PeerId::new(id).unwrap()
    }

    fn message(kind: ConversationKind, to: &[&str], content: Content) -> Arc<Message> {
        Arc::new(Message {
            id: MessageId::from_bytes([0; 16]),
            conversation: ConversationId::new("c1").unwrap(),
            kind,
            number: Some(1),
            timestamp: Timestamp::from_millis(7),
            from: peer("alice"),
            to: to.iter().map(|id| peer(id)).collect(),
            content,
            transient: kind == ConversationKind::Room,
            receipt: false,
            deleted: false,
            narrowed: false,
            position: 0,
            device: None,
        })
    }

    #[test]
    fn updates_are_told_in_the_documents_words() {
        let id = "----------------------";
        let room = ConversationId::new("c1").unwrap();
        let membership = |change| Update::Membership {
            conversation: room.clone(),
            kind: ConversationKind::Group,
            change,
            by: peer("bob"),
        };
        let gap = |conversation| Update::Gap(Gap { conversation, from: 2, to: 5, count: 4, cause: GapCause::Age });
        let told = |message, offline| Update::Message { message, offline };
        for (update, bodies) in [
            (
                told(message(ConversationKind::Direct, &["alice", "b\"ob"], "hi".into()), false),
                vec![format!(
                    r#""cmd":"direct","id":"{id}","fromPeerId":"alice","toPeerIds":["b\"ob"],"msg":"hi","timestamp":7"#
                )],
            ),
            (
                told(message(ConversationKind::Direct, &["alice"], "me".into()), true),
                vec![format!(
                    r#""cmd":"direct","id":"{id}","fromPeerId":"alice","toPeerIds":["alice"],"msg":"me","timestamp":7,"offline":true"#
                )],
            ),
            (
                told(message(ConversationKind::Room, &[], Content::Binary(vec![0, 1])), false),
                vec![format!(
                    r#""cmd":"direct","id":"{id}","fromPeerId":"alice","roomId":"c1","msg":"AAE=","bin":true,"timestamp":7,"transient":true"#
                )],
            ),
            (
                Update::Presence { online: vec![peer("b")], offline: vec![peer("c"), peer("d")] },
                vec![
                    r#""cmd":"presence","status":"on","sessionPeerIds":["b"]"#.to_owned(),
                    r#""cmd":"presence","status":"off","sessionPeerIds":["c","d"]"#.to_owned(),
                ],
            ),
            (
                membership(MembershipChange::Joined),
                vec![r#""cmd":"room","op":"joined","roomId":"c1","byPeerId":"bob""#.to_owned()],
            ),
            (
                membership(MembershipChange::MembersLeft(vec![peer("c")])),
                vec![
                    r#""cmd":"room","op":"members-left","roomId":"c1","roomPeerIds":["c"],"byPeerId":"bob""#.to_owned(),
                ],
            ),
            (
                gap(Some(room.clone())),
                vec![r#""cmd":"gap","conversation":"c1","from":2,"to":5,"count":4,"cause":"age""#.to_owned()],
            ),
            (gap(None), vec![r#""cmd":"gap","from":2,"to":5,"count":4,"cause":"age""#.to_owned()]),
        ] {
            let told: Vec<_> = super::update(&update).into_iter().map(text).collect();
            assert_eq!(told, bodies);
        }
    }

    #[test]
    fn an_error_names_the_recipients_that_failed() {
        let failed = Error::InvalidTarget { peers: vec![peer("b")] };
        assert_eq!(
            text(error(&failed)),
            r#""cmd":"error","code":4401,"reason":"invalid messaging target","pids":["b"]"#
        );
        let over = Error::OverLimit { limit: "recipients_max", max: 100 };
        assert!(text(error(&over)).contains("recipients_max"), "the limit has a name");
    }
}
