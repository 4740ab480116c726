//! The client and the server, each with the frames of the other.

use super::*;
use crate::connection::v1::{reader, writer};
use crate::connection::wire::{Asked, Frame, Verb, Wire};
use crate::connection::{Action, Connection, ConnectionConfig, Encoded};
use crate::conversation::ConversationKind;
use crate::id::{ConversationId, DeviceId, MessageId, ResumeToken, RetryToken, SessionId, Tag, Ticket};
use crate::message::{Accepted, Content, Draft, Message, Target};
use crate::request::{Create, Credentials, Shape};
use crate::signature::Signature;
use crate::update::{Gap, GapCause, MembershipChange, Reply, Update};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn alice() -> PeerId {
    PeerId::new("alice").unwrap()
}

/// What the server makes of the one frame that the client sends.
fn on_the_server(client: &mut ClientConnection) -> Frame {
    let frame = client.poll_transmit().unwrap();
    assert_eq!(frame.kind(), FrameKind::Text);
    assert_eq!(client.poll_transmit(), None);
    reader::read(frame.as_bytes(), &ConnectionConfig::default()).unwrap()
}

/// What the client makes of a body that the server sends.
fn on_the_client(body: &[u8]) -> FromServer {
    let address = Address { peer: Some(alice()), serial: Some(3) };
    let from_server = decode(&writer::frame(&address, body));
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
    assert_eq!(
        (client.poll_transmit(), client.poll_transmit()),
        (Some(Framing::Lines.end(FrameKind::Text, b"{}".to_vec())), None)
    );
    assert_eq!((client.poll_timeout(), client.is_dead(at(69)), client.is_dead(at(70))), (at(70), false, true));
    client.receive(b"{}\n", at(69));
    assert_eq!((client.poll_frame(), client.is_dead(at(70))), (None, false));
    client.request(&alice(), &Request::Conversations, at(100));
    assert_eq!(client.poll_timeout(), at(129), "it was last heard at 69");
    client.receive(b"{}\n", at(120));
    assert_eq!(client.poll_timeout(), at(160), "it last spoke at 100");
}

/// A client that was sent a frame over its limit heard nothing more and waited for ever.
#[test]
fn a_frame_over_the_limit_is_the_end() {
    let mut client = ClientConnection::new(Framing::Messages, at(0));
    client.receive_frame(b"{}", at(1));
    client.receive_frame(&vec![b' '; ClientConnection::FRAME_BYTES_MAX], at(1));
    assert!(!client.is_dead(at(1)));
    client.receive_frame(&vec![b' '; ClientConnection::FRAME_BYTES_MAX + 1], at(1));
    assert!(client.is_dead(at(1)));
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
    let mut server = Connection::new(Arc::new(ConnectionConfig::default()), None, at(0)).unwrap();
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
        let told = |update: &Update| on_the_client(&writer::update(update)[0]).frame;
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
        let answered = |reply| on_the_client(&writer::reply(Asked::Other, &reply).unwrap()).frame;
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
