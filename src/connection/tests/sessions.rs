//! Peers come, ask and go.

use super::*;
use crate::request::Request;

#[test]
fn a_session_opens_asks_and_closes() {
    let mut world = World::new();
    world.line(OPEN_ALICE, at(0));
    world.confirm_open(1, at(0));
    assert_eq!(
        world.sent(),
        [concat!(
            r#"{"peerId":"alice","i":1,"cmd":"session","op":"opened","onlineSessionPeerIds":[],"#,
            r#""st":"token","stTtl":1800}"#
        )]
    );
    world.line(r#"{"cmd":"direct","peerId":"alice","toPeerIds":["bob"],"msg":"hi","i":2}"#, at(1));
    let accepted = Accepted {
        conversation: crate::ConversationId::new("c").unwrap(),
        id: MessageId::from_bytes([0; 16]),
        number: Some(1),
        timestamp: Timestamp::from_millis(7),
        changed: Some("h*".into()),
    };
    world.reply(1, 2, Ok(Reply::Accepted(accepted)), at(1));
    assert_eq!(
        world.sent(),
        [r#"{"peerId":"alice","i":2,"cmd":"ack","uid":"----------------------","t":7,"msg":"h*"}"#]
    );
    world.line(r#"{"cmd":"session","op":"close","peerId":"alice","i":3}"#, at(2));
    assert_eq!(world.sent(), [r#"{"peerId":"alice","i":3,"cmd":"session","op":"closed","code":0}"#]);
    world.connection.update(session(1), &Update::Closed { error: None }, at(2));
    world.line(OPEN_ALICE, at(3));
    assert_eq!(world.sent(), [""; 0], "the engine's word about the former session is for nobody");
    assert_eq!(world.actions.last().unwrap(), "open alice");
    assert_eq!(world.connection.lost(), [session(4)]);
}

#[test]
fn what_the_documents_leave_unanswered_stays_so() {
    let mut world = World::opened();
    world.line(r#"{"cmd":"session","op":"remove","peerId":"alice","sessionPeerIds":["bob"],"i":5}"#, at(1));
    world.reply(1, 2, Ok(Reply::Done), at(1));
    world.line(r#"{"cmd":"direct","peerId":"alice","toPeerIds":["bob"],"msg":"x","transient":true,"i":6}"#, at(1));
    let accepted = Accepted {
        conversation: crate::ConversationId::new("c").unwrap(),
        id: MessageId::from_bytes([0; 16]),
        number: None,
        timestamp: at(1),
        changed: None,
    };
    world.reply(1, 3, Ok(Reply::Accepted(accepted)), at(1));
    world.line(r#"{"cmd":"ack","peerId":"alice","ids":["----------------------","nonsense"]}"#, at(1));
    world.line(r#"{"cmd":"session","op":"close","peerId":"alice"}"#, at(1));
    assert_eq!(world.sent(), [""; 0]);
    let read = Request::Acknowledge { messages: vec![MessageId::from_bytes([0; 16])], read: true };
    assert_eq!(world.actions[2], format!("1 {read:?}"));
    assert!(world.connection.unanswered.len() == 0);
}

#[test]
fn an_answer_that_comes_after_the_end_changes_nothing() {
    let list = r#"{"cmd":"room","op":"list","peerId":"alice"}"#;
    let mut world = World::opened();
    world.connection.receive(format!("{list}\n{list}\n").as_bytes(), at(1));
    let Some(Action::Request { key, .. }) = world.connection.poll_action(at(1)) else { panic!("no request") };
    assert_eq!(world.connection.poll_action(at(1)), None, "one at a time");
    world.connection.update(session(1), &Update::Closed { error: None }, at(1));
    world.connection.answered(key, Ok(Ticket(7)), at(1));
    assert!(world.connection.unanswered.len() == 0);
    assert_eq!(world.connection.poll_action(at(1)), None);
    assert_eq!(world.codes(), [0, 4105]);

    for signature_failures_max in [1, 5] {
        let mut world = World::with(ConnectionConfig { signature_failures_max, ..ConnectionConfig::default() });
        world.connection.receive(format!("{OPEN_ALICE}\n").as_bytes(), at(1));
        let Some(Action::Open { key, .. }) = world.connection.poll_action(at(1)) else { panic!("no open") };
        world.connection.handle_timeout(at(15));
        world.connection.opened(key, Err(Error::SignatureFailed), at(15));
        assert_eq!((world.codes(), world.connection.should_close()), (vec![4108], Some(4108)));
    }
}

#[test]
fn a_session_opened_after_the_end_is_still_to_be_paused() {
    let mut world = World::new();
    world.connection.receive(format!("{OPEN_ALICE}\n").as_bytes(), at(1));
    let Some(Action::Open { key, .. }) = world.connection.poll_action(at(1)) else { panic!("no open") };
    assert_eq!(world.connection.lost(), []);
    world.connection.opened(key, Ok((session(1), Ticket(1))), at(2));
    assert_eq!(world.connection.lost(), [session(1)]);
}

#[test]
fn a_peer_that_opens_again_starts_over() {
    let mut world = World::opened();
    world.line(OPEN_ALICE, at(1));
    assert_eq!(world.actions, ["pause 1", "open alice"]);
    assert_eq!(world.connection.lost(), [session(3)]);
}

#[test]
fn several_peers_share_a_connection() {
    let mut world = World::opened();
    world.line(r#"{"cmd":"session","op":"open","peerId":"bob"}"#, at(1));
    world.line(r#"{"cmd":"room","op":"list","peerId":"bob"}"#, at(1));
    world.line(r#"{"cmd":"room","op":"list","peerId":"alice"}"#, at(1));
    assert_eq!(world.actions, ["open bob", "2 Conversations", "1 Conversations"]);
    world.connection.update(session(2), &Update::Closed { error: Some(Error::SessionConflict) }, at(2));
    assert_eq!(
        world.sent(),
        [r#"{"peerId":"bob","cmd":"session","op":"closed","code":4111,"reason":"session conflict"}"#]
    );
    assert_eq!(world.connection.sessions().collect::<Vec<_>>(), [session(1)]);
    let mut crowded = World::with(ConnectionConfig { peers_max: 1, ..ConnectionConfig::default() });
    crowded.line(OPEN_ALICE, at(1));
    crowded.line(r#"{"cmd":"session","op":"open","peerId":"bob"}"#, at(1));
    assert_eq!((crowded.codes(), crowded.actions.len()), (vec![4318], 1));
}

#[test]
fn another_application_is_refused() {
    let mut world = World::with(ConnectionConfig { app_id: Some("mine".to_owned()), ..ConnectionConfig::default() });
    world.line(r#"{"cmd":"session","op":"open","peerId":"alice","appId":"theirs"}"#, at(1));
    assert_eq!((world.codes(), world.connection.should_close()), (vec![4100], None));
    world.line(r#"{"cmd":"session","op":"open","peerId":"alice","appId":"mine"}"#, at(1));
    world.line(r#"{"cmd":"room","op":"list","peerId":"alice"}"#, at(1));
    assert_eq!(world.actions.len(), 2);
}

#[test]
fn row_05_nothing_is_done_before_a_session_is_open() {
    let mut world = World::new();
    for frame in [
        r#"{"cmd":"direct","peerId":"alice","toPeerIds":["bob"],"msg":"hi"}"#,
        r#"{"cmd":"session","op":"add","peerId":"alice","sessionPeerIds":["bob"]}"#,
        r#"{"cmd":"session","op":"close","peerId":"alice"}"#,
        r#"{"cmd":"room","op":"join","peerId":"alice"}"#,
        r#"{"cmd":"ack","peerId":"alice","ids":["x"]}"#,
    ] {
        world.line(frame, at(1));
        assert_eq!(world.codes(), [4105], "{frame}");
    }
    assert_eq!((world.actions.len(), world.connection.inbox.held_bytes() <= 512), (0, true));
    assert_eq!(world.connection.should_close(), None);
}

#[test]
fn an_update_written_once_reads_like_one_written_for_each() {
    let mut world = World::opened();
    let peers = vec![PeerId::new("bob").unwrap()];
    let update = Update::Presence { online: peers.clone(), offline: peers };
    world.connection.update(session(1), &update, at(1));
    let one = world.sent();
    world.connection.forward(session(1), &Encoded::new(Wire::V1, &update).unwrap());
    assert_eq!((one.len(), &world.sent()), (2, &one));
    world.connection.forward(session(9), &Encoded::new(Wire::V1, &update).unwrap());
    assert_eq!(world.sent(), [""; 0]);
    assert!(Encoded::new(Wire::V1, &Update::Closed { error: None }).is_none());
}
