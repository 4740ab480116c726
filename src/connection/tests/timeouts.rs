//! Signs of life and the want of them.

use super::*;

#[test]
fn signs_of_life_are_answered() {
    let mut world = World::new();
    world.bytes(b"{}\n\n\r\n{ }\r\n", at(1));
    assert_eq!(world.connection.transmit_bytes(), 4);
    assert_eq!(world.sent(), ["{}", "{}"]);
}

#[test]
fn row_06_silence_ends_the_connection_at_the_read_timeout() {
    let mut world = World::opened();
    world.bytes(b"{", at(100));
    let due = at(100 + 360);
    assert_eq!(world.connection.poll_timeout(), Some(due));
    world.connection.handle_timeout(due - Duration::from_millis(1));
    assert_eq!(world.connection.should_close(), None);
    world.connection.handle_timeout(due);
    assert_eq!(world.connection.should_close(), None, "the error frame goes first");
    assert_eq!((world.codes(), world.connection.should_close()), (vec![4107], Some(4107)));
    assert_eq!(world.connection.poll_timeout(), None);
    assert_eq!((world.connection.lost(), world.connection.lost()), (vec![session(1)], vec![]));
}

#[test]
fn row_07_login_timeout_exactly_once() {
    let mut world = World::new();
    world.refusal = Some(Error::SignatureFailed);
    (0..4).for_each(|second| world.line(OPEN_ALICE, at(3 * second)));
    world.bytes(b"{}\n", at(14));
    world.connection.handle_timeout(at(15) - Duration::from_millis(1));
    assert_eq!((world.codes(), world.connection.should_close()), (vec![4102; 4], None));
    for second in [15, 16, 30] {
        world.connection.handle_timeout(at(second));
    }
    assert_eq!((world.codes(), world.connection.should_close()), (vec![4108], Some(4108)));
    world.line(OPEN_ALICE, at(31));
    world.connection.handle_timeout(at(3_000));
    assert_eq!((world.codes(), world.actions.len()), (vec![], 4));
}

#[test]
fn row_07_the_login_timeout_runs_again_from_the_last_session_s_end() {
    let mut world = World::opened();
    world.line(r#"{"cmd":"session","op":"open","peerId":"bob"}"#, at(50));
    world.confirm_open(2, at(50));
    world.connection.update(session(1), &Update::Closed { error: Some(Error::KickedByApp) }, at(60));
    assert_eq!(world.connection.poll_timeout(), Some(at(50 + 360)), "bob is still there");

    world.line(r#"{"cmd":"session","op":"close","peerId":"bob"}"#, at(70));
    world.sent();
    world.line(OPEN_ALICE, at(80));
    world.reply(4, 4, Err(Error::SignatureFailed), at(81));
    world.connection.handle_timeout(at(84));
    assert_eq!(world.codes(), [4102]);
    world.connection.handle_timeout(at(85));
    assert_eq!(world.codes(), [4108]);
}
