//! A second wire format, as small as one can be, of binary frames: what a format has to bring, and that the rules of a
//! connection hold for it as they are.

use super::*;
use crate::connection::wire::{Frame, Rejected, Verb};
use crate::request::{Open, Request};

/// A frame is the length of the peer's name, the name and a letter: `o`pen, `l`ist, or nothing at all for a sign of life.
/// A frame of the server is the same, with a body after the name.
pub(in crate::connection) struct Bytes;

impl Format for Bytes {
    fn kind(&self) -> FrameKind {
        FrameKind::Binary
    }

    fn read(&self, frame: &[u8], _config: &ConnectionConfig) -> Result<Frame, Rejected> {
        let unreadable = Rejected { address: Address::default(), error: Error::Unparseable, is_fatal: false };
        let Some((length, rest)) = frame.split_first() else { return Ok(Frame::Heartbeat) };
        let (name, verb) = rest.split_at_checked(usize::from(*length)).ok_or_else(|| unreadable.clone())?;
        let peer = std::str::from_utf8(name).ok().and_then(|name| PeerId::new(name).ok()).ok_or(unreadable.clone())?;
        let verb = match verb {
            b"o" => Verb::Open(Box::new(Open::new(peer.clone()))),
            b"l" => Verb::Request(Request::Conversations),
            _ => return Err(unreadable),
        };
        Ok(Frame::Command { peer, serial: None, verb })
    }

    fn heartbeat(&self) -> &'static [u8] {
        b"\0"
    }

    fn error(&self, error: &Error) -> Vec<u8> {
        error.code().to_be_bytes().to_vec()
    }

    fn reply(&self, _asked: Asked, _reply: &Reply) -> Option<Vec<u8>> {
        Some(b"yes\r\n".to_vec())
    }

    fn closed(&self, _error: Option<&Error>) -> Vec<u8> {
        b"closed".to_vec()
    }

    fn update(&self, _update: &Update) -> Vec<Vec<u8>> {
        vec![b"\xff\n".to_vec()]
    }

    fn frame(&self, address: &Address, body: &[u8]) -> Vec<u8> {
        let name = address.peer.as_ref().map_or("", PeerId::as_str).as_bytes();
        [&[u8::try_from(name.len()).unwrap()], name, body].concat()
    }
}

fn binary() -> ConnectionConfig {
    ConnectionConfig { wire: Wire::Bytes, framing: Framing::Messages, ..ConnectionConfig::default() }
}

fn told(world: &mut World) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| world.connection.poll_transmit())
        .inspect(|frame| assert_eq!(frame.kind(), FrameKind::Binary))
        .map(Transmit::into_bytes)
        .collect()
}

#[test]
fn the_rules_of_a_connection_hold_for_any_format() {
    let mut world = World::with(binary());
    for frame in [&b"\x01ao"[..], b"", b"\x01al", b"\x05ao", b"\x01\0o", b"\x01bl"] {
        world.connection.receive_binary(frame, at(1));
    }
    world.work(at(1));
    assert_eq!(world.actions, ["open a", "1 Conversations"]);
    world.confirm_open(1, at(1));
    let update = Update::Presence { online: Vec::new(), offline: Vec::new() };
    world.connection.update(session(1), &update, at(1));
    world.connection.forward(session(1), &Encoded::new(Wire::Bytes, &update).unwrap());
    let [unreadable, unknown] = [4114u16, 4105].map(u16::to_be_bytes);
    let expected: [&[u8]; 7] = [
        b"\0",
        &[&b"\0"[..], &unreadable].concat(),
        &[&b"\0"[..], &unreadable].concat(),
        &[&b"\x01b"[..], &unknown].concat(),
        b"\x01ayes\r\n",
        b"\x01a\xff\n",
        b"\x01a\xff\n",
    ];
    assert_eq!(told(&mut world), expected, "to the byte, whatever looks like the end of a line");
    world.connection.receive_text(b"\x01al", at(2));
    world.work(at(2));
    assert_eq!(told(&mut world), [[&b"\0"[..], &unreadable].concat()], "it is of the other kind");
    world.connection.handle_timeout(at(2 + 360));
    assert_eq!((told(&mut world).len(), world.connection.should_close()), (1, Some(4107)));
}

#[test]
fn row_08_a_binary_frame_over_the_limit_ends_the_connection() {
    let mut world = World::with(binary());
    world.connection.receive_binary(&vec![0; 64 * 1024], at(1));
    world.connection.receive_binary(&vec![0; 64 * 1024 + 1], at(1));
    world.work(at(1));
    assert_eq!((told(&mut world).len(), world.connection.should_close()), (2, Some(4109)));
}

#[test]
fn row_11_a_thousand_binary_frames_are_a_thousand() {
    let mut world = World::with(binary());
    world.connection.receive_binary(b"\x01ao", at(1));
    (0..1_000).for_each(|_| world.connection.receive_binary(b"\x01al", at(1)));
    world.work(at(1));
    assert_eq!((world.actions.len(), world.connection.unanswered.len()), (1_001, 1_001));
}

#[test]
fn row_67_a_stream_has_no_lines_for_binary_frames() {
    let config = ConnectionConfig { framing: Framing::Lines, ..binary() };
    let refused = Connection::new(Arc::new(config), None, at(0)).map_err(|error| error.setting);
    assert_eq!(refused.err(), Some("framing"));
    assert!(Connection::new(Arc::new(binary()), None, at(0)).is_ok());
}
