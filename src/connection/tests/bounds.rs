//! What one client may make a connection hold.

use super::*;

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
fn requests_without_a_reply_are_bounded() {
    let mut world = World::opened();
    let list = r#"{"cmd":"room","op":"list","peerId":"alice"}"#;
    (0..1_025).for_each(|_| world.line(list, at(1)));
    assert_eq!((world.actions.len(), world.codes()), (1_024, vec![4318]));
    world.reply(1, 2, Err(Error::Internal), at(1));
    assert_eq!(world.codes(), [4200]);
    world.line(list, at(1));
    assert_eq!(world.actions.len(), 1_025);
}

#[test]
fn what_waits_to_be_sent_is_told() {
    let mut world = World::opened();
    let presence = Update::Presence { online: vec![PeerId::new("bob").unwrap()], offline: Vec::new() };
    while !world.connection.is_congested() {
        world.connection.update(session(1), &presence, at(1));
    }
    assert!(world.connection.transmit_bytes() < 256 * 1024 + 128);
    world.sent();
    assert_eq!((world.connection.transmit_bytes(), world.connection.is_congested()), (0, false));
}

#[test]
fn an_idle_connection_is_small() {
    let mut world = World::new();
    world.bytes("{}\nnonsense\n".repeat(3).as_bytes(), at(1));
    world.sent();
    assert!(size_of::<Connection>() <= 512, "{}", size_of::<Connection>());
    assert!(world.connection.held_bytes() <= 1_024, "{}", world.connection.held_bytes());
}
