//! What one client may make a connection hold.

use super::*;
use crate::conversation::ConversationKind;
use crate::id::ConversationId;
use crate::message::Message;

#[test]
fn row_08_a_frame_over_the_limit_ends_the_connection_after_the_frames_before_it() {
    let mut world = World::opened();
    let padding = "x".repeat(64 * 1024 - r#"{"pad":""}"#.len());
    world.line(&format!(r#"{{"pad":"{padding}"}}"#), at(1));
    assert_eq!((world.sent(), world.connection.should_close()), (vec!["{}".to_owned()], None));
    let list = r#"{"cmd":"room","op":"list","peerId":"alice"}"#;
    world.bytes(format!("{list}\n{{\"pad\":\"{padding}x\"}}\n{list}\n").as_bytes(), at(1));
    assert_eq!((world.codes(), world.connection.should_close()), (vec![4109], Some(4109)));
    assert_eq!((world.actions.len(), world.connection.inbox.held_bytes()), (1, 0));
    for length in [1 << 16 | 1, 1 << 31, u64::from(u32::MAX), u64::MAX] {
        let mut world = World::new();
        world.connection.announce_frame(length, at(1));
        assert_eq!(world.connection.inbox.held_bytes(), 0);
        world.work(at(1));
        assert_eq!(world.codes(), [4109]);
    }
}

#[test]
fn row_13_ten_megabytes_of_brackets_are_refused_without_being_kept() {
    for bomb in ["[", "{\"a\":", "{\"cmd\":[", "\"", "\\"] {
        let mut world = World::new();
        let bytes = bomb.repeat(10_000_000 / bomb.len());
        for piece in bytes.as_bytes().chunks(16 * 1024) {
            world.bytes(piece, at(1));
            assert!(world.connection.inbox.held_bytes() <= 2 * 65_536 + 512);
        }
        assert_eq!(world.codes(), [4109]);
    }
}

#[test]
fn requests_without_a_reply_are_bounded_opens_too() {
    let mut world = World::opened();
    let list = r#"{"cmd":"room","op":"list","peerId":"alice"}"#;
    (0..1_025).for_each(|_| world.line(list, at(1)));
    assert_eq!((world.actions.len(), world.codes()), (1_024, vec![4318]));
    world.line(r#"{"cmd":"session","op":"open","peerId":"bob"}"#, at(1));
    assert_eq!((world.actions.len(), world.codes()), (1_024, vec![4318]));
    world.reply(1, 2, Err(Error::Internal), at(1));
    assert_eq!(world.codes(), [4200]);
    world.line(list, at(1));
    assert_eq!(world.actions.len(), 1_025);
}

/// A message of full size, however often its text has to be escaped.
fn message(content: &str) -> Update {
    let message = Message {
        id: MessageId::from_bytes([0; 16]),
        conversation: ConversationId::new("c").unwrap(),
        kind: ConversationKind::Group,
        number: Some(1),
        timestamp: at(1),
        from: PeerId::new("bob").unwrap(),
        to: Vec::new().into(),
        content: content.repeat(5_120 / content.len()).into(),
        transient: false,
        receipt: false,
        deleted: false,
        narrowed: false,
        position: 0,
        device: None,
    };
    Update::Message { message: Arc::new(message), offline: false }
}

/// Forty clients that never read made their server hold 132 MiB: what was waiting in bounded outboxes went on into
/// connections, which held four times as much.
#[test]
fn a_host_is_told_how_much_there_is_room_for() {
    let mut world = World::opened();
    assert_eq!(world.connection.room(), 3);
    for (content, most) in [("x", 70), ("\u{1}", 96)] {
        world.sent();
        let update = message(content);
        while world.connection.room() > 0 {
            (0..world.connection.room()).for_each(|_| world.connection.update(session(1), &update, at(1)));
        }
        let held = world.connection.held_bytes() / 1024;
        assert!((64..most).contains(&held), "{held} KiB");
    }
    assert!(world.connection.is_congested() && world.connection.poll_transmit().is_some());
    assert!(world.connection.room() == 1 && !world.connection.is_congested());
    world.sent();
    assert_eq!((world.connection.transmit_bytes(), world.connection.room()), (0, 3));
}

#[test]
fn who_does_not_take_the_answers_asks_nothing_more() {
    let mut world = World::opened();
    while world.connection.room() > 0 {
        world.connection.update(session(1), &message("x"), at(1));
    }
    world.line(r#"{"cmd":"room","op":"list","peerId":"alice"}"#, at(1));
    world.bytes(&b"{}\n".repeat(1_000), at(1));
    assert_eq!(world.actions, [""; 0]);
    world.sent();
    world.work(at(1));
    assert_eq!((world.actions.len(), world.sent().len()), (1, 1_000));
}

/// A host that never looked at the room could make a connection hold whatever it liked.
#[test]
fn what_is_handed_over_without_room_ends_the_connection_at_the_bound() {
    for content in ["x", "\u{1}"] {
        let mut world = World::opened();
        let update = message(content);
        let mut most = 0;
        for _ in 0..2_000 {
            world.connection.update(session(1), &update, at(1));
            most = most.max(world.connection.held_bytes());
        }
        assert!((4 << 20..(4 << 20) + 100_000).contains(&most), "{most}");
        assert!(world.connection.held_bytes() < 1_024, "what nobody reads is dropped");
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4318], Some(4318)));
        assert_eq!(world.connection.lost(), [session(1)]);
    }
}

#[test]
fn a_list_longer_than_the_bound_is_sent_whole() {
    let mut world = World::opened();
    world.line(r#"{"cmd":"room","op":"members","peerId":"alice","roomId":"r"}"#, at(1));
    let peers = vec![PeerId::new(&"m".repeat(50)).unwrap(); 100_000];
    let conversation = ConversationId::new("r").unwrap();
    world.reply(1, 2, Ok(Reply::Members { conversation, peers }), at(1));
    world.connection.update(session(1), &message("x"), at(1));
    assert_eq!(world.connection.room(), 0);
    let sent = world.sent();
    assert!(sent.len() == 2 && sent[0].len() > 5_000_000 && world.connection.should_close().is_none());
}

#[test]
fn the_end_for_another_reason_keeps_its_code_however_much_waits() {
    let mut world = World::opened();
    (0..1_000).for_each(|_| world.connection.outgoing.push(Address::default(), vec![b' '; 8 * 1024].into()));
    world.connection.handle_timeout(at(360));
    let frames = world.sent();
    assert!(frames.last().unwrap().contains("4107"));
    assert_eq!(world.connection.should_close(), Some(4107));
}

/// Frames that a host went on to bring, although nothing was asked of the engine, were kept without a bound.
#[test]
fn what_a_client_sends_while_nothing_is_taken_is_bounded() {
    let list = r#"{"cmd":"room","op":"list","peerId":"alice"}"#;
    let padded = format!("{list}{}", " ".repeat(5_000));
    for frame in ["", list, &padded] {
        let mut world = World::opened();
        world.connection.is_busy = true;
        let mut brought = 0;
        while world.connection.closing.is_none() {
            assert_eq!(world.connection.is_congested(), world.connection.inbox.waiting_bytes() >= 64 * 1024);
            world.connection.receive_text(frame.as_bytes(), at(1));
            brought += 1;
            assert!(brought < 100_000 && world.connection.held_bytes() < 1024 * 1024);
        }
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4318], Some(4318)));
        assert!(world.connection.held_bytes() < 1_024);
    }
}

#[test]
fn every_fault_counted_and_every_answer_kept_back_has_a_bound() {
    let mut world = World::with(ConnectionConfig {
        signature_failures_max: 100,
        signature_delay: Duration::from_secs(60),
        unparseable_max: 1_000,
        ..ConnectionConfig::default()
    });
    world.line(OPEN_ALICE, at(0));
    world.confirm_open(1, at(0));
    world.refusal = Some(Error::SignatureFailed);
    (0..99).for_each(|_| world.line(r#"{"cmd":"room","op":"join","peerId":"alice","roomId":"r"}"#, at(1)));
    (0..999).for_each(|_| world.line("nonsense", at(1)));
    world.sent();
    assert!(world.connection.held_bytes() < 48 * 1024, "{}", world.connection.held_bytes());
}

/// A host could not see whether a client that has stopped sending is still owed something, and hung up on it.
#[test]
fn row_68_a_connection_tells_whether_it_owes_an_answer() {
    let mut world = World::opened();
    assert!(world.connection.is_settled());
    world.line(r#"{"cmd":"room","op":"list","peerId":"alice"}"#, at(1));
    assert!(!world.connection.is_settled(), "the engine has not answered");
    world.reply(1, 2, Err(Error::Internal), at(1));
    assert!(!world.connection.is_settled(), "the answer is not taken");
    world.sent();
    assert!(world.connection.is_settled());
}

#[test]
fn an_idle_connection_is_small() {
    let mut world = World::new();
    world.bytes("{}\nnonsense\n".repeat(3).as_bytes(), at(1));
    world.sent();
    assert!(size_of::<Connection>() <= 512, "{}", size_of::<Connection>());
    assert!(world.connection.held_bytes() <= 1_024, "{}", world.connection.held_bytes());
}
