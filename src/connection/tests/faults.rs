//! Frames that are refused.

use super::*;

#[test]
fn row_01_an_empty_frame_is_refused_and_an_empty_line_ignored() {
    let mut world = World::new();
    world.bytes(b"\n\r\n", at(1));
    assert_eq!(world.codes(), [0; 0]);
    world.connection.receive_text(b"", at(1));
    world.work(at(1));
    assert_eq!((world.codes(), world.connection.should_close()), (vec![4114], None));
    world.line(r#"{"cmd":"session","op":"open","peerId":""}"#, at(1));
    assert_eq!((world.codes(), world.connection.should_close()), (vec![4103], Some(4103)));
}

#[test]
fn the_fifth_bad_signature_in_a_minute_closes_and_answers_come_later_each_time() {
    let mut world = World::opened();
    world.refusal = Some(Error::ConversationSignatureFailed);
    let join = r#"{"cmd":"room","op":"join","peerId":"alice","roomId":"r"}"#;
    (0..3).for_each(|_| world.line(join, at(10)));
    assert_eq!(world.codes(), [4302], "the first is answered at once");
    assert_eq!(world.connection.poll_timeout(), Some(at(11)));
    world.connection.handle_timeout(at(11));
    assert_eq!(world.codes(), [4302]);
    world.line(join, at(11));
    world.line(join, at(11));
    world.line(join, at(11));
    assert_eq!((world.codes(), world.connection.should_close()), (vec![4302; 3], Some(4302)));
    assert_eq!(world.actions.len(), 5, "the sixth is asked of nobody");

    let mut slow = World::opened();
    slow.refusal = Some(Error::SignatureFailed);
    (1..=4).for_each(|time| slow.line(join, at(time)));
    slow.line(join, at(61));
    slow.connection.handle_timeout(at(70));
    assert_eq!((slow.codes().len(), slow.connection.should_close()), (5, None), "the first one is forgotten");
}

/// A binary frame of JSON was read as if it were text, although the documents' frames are text.
#[test]
fn row_10_a_frame_of_the_other_kind_cannot_be_read() {
    let mut world = World::opened();
    let list = br#"{"cmd":"room","op":"list","peerId":"alice","i":2}"#;
    world.connection.receive_binary(list, at(1));
    world.work(at(1));
    assert_eq!((world.codes(), world.actions.len(), world.connection.should_close()), (vec![4114], 0, None));
    world.connection.receive_text(list, at(1));
    world.work(at(1));
    assert_eq!(world.actions, ["1 Conversations"]);
    (0..9).for_each(|_| world.connection.receive_binary(b"", at(2)));
    world.work(at(2));
    assert_eq!((world.codes().len(), world.connection.should_close()), (9, Some(4114)), "they count as faults");
}

#[test]
fn the_tenth_unreadable_frame_in_a_minute_closes() {
    let mut world = World::opened();
    (0..9).for_each(|_| world.line("nonsense", at(1)));
    assert_eq!((world.codes(), world.connection.should_close()), (vec![4114; 9], None));
    world.line(r#"{"cmd":"presence","peerId":"alice"}"#, at(60));
    assert_eq!((world.codes(), world.connection.should_close()), (vec![4114], Some(4114)));
}

#[test]
fn row_10_what_only_servers_send_is_refused() {
    for (command, op) in contract::V1
        .iter()
        .filter(|row| row.direction == contract::Direction::FromServer)
        .map(|row| (row.command, row.op))
    {
        if ["direct", "ack"].contains(&command) {
            continue;
        }
        let mut world = World::opened();
        world.line(&format!(r#"{{"cmd":"{command}","op":"{op}","peerId":"alice","i":9}}"#), at(1));
        let refusal = r#"{"peerId":"alice","i":9,"cmd":"error","code":4114,"reason":"unparseable message"}"#;
        assert_eq!(world.sent(), [refusal], "{command}/{op}");
        assert_eq!((world.actions.len(), world.connection.should_close()), (0, None));
    }
}
