//! From a request to the fields of its frame.

use super::super::json::Body;
use super::super::writer::{texts, with_content};
use crate::id::{ConversationId, DeviceId, PeerId, RetryToken, Tag};
use crate::message::{Draft, Target};
use crate::request::{Create, Credentials, Open, Request, Shape};
use crate::signature::Signature;

pub(super) fn encode_open(open: &Open) -> Body {
    let body = Body::op("session", "open")
        .with("sessionPeerIds", &texts(&open.watch))
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

pub(super) fn encode_request(request: &Request) -> Option<Body> {
    let session = |op, peers: &[PeerId]| Body::op("session", op).with("sessionPeerIds", &texts(peers));
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
            with_signature(room("invite", conversation).with("roomPeerIds", &texts(peers)), signature.as_ref())
        }
        Request::Kick { conversation, peers, signature } => {
            with_signature(room("kick", conversation).with("roomPeerIds", &texts(peers)), signature.as_ref())
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
        Target::Peers(peers) => body.with("toPeerIds", &texts(peers)),
        Target::Conversation(conversation) => body.with("roomId", conversation.as_str()),
    };
    with_content(body, &draft.content)
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
    let members = (!create.members.is_empty()).then(|| texts(&create.members));
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
