//! Streams that are cut anywhere.

use proptest::prelude::*;

use super::*;

/// What a connection does with a stream that arrives in pieces.
fn outcome(pieces: &[&[u8]]) -> (Vec<String>, Vec<String>, Option<u16>) {
    let mut world = World::new();
    pieces.iter().for_each(|piece| world.bytes(piece, at(1)));
    (world.actions.clone(), world.sent(), world.connection.closing)
}

#[test]
fn row_11_a_stream_means_the_same_wherever_it_is_cut() {
    let stream = [
        OPEN_ALICE,
        "\r\n{}\r\n\n",
        r#"{"cmd":"direct","peerId":"alice","toPeerIds":["böb"],"msg":"\u0041 😀"}"#,
        "\nnonsense\n",
        r#"{"cmd":"room","op":"list","peerId":"carol"}"#,
        "\n",
        r#"{"cmd":"room","op":"list","peerId":"a\u0000"}"#,
        "\n{}\n",
    ]
    .concat();
    let stream = stream.as_bytes();
    let whole = outcome(&[stream]);
    assert_eq!((whole.0.len(), whole.1.len(), whole.2), (2, 4, Some(4103)));
    for cut in 0..=stream.len() {
        assert_eq!(outcome(&[&stream[..cut], &stream[cut..]]), whole, "cut at {cut}");
    }
    assert_eq!(outcome(&stream.chunks(1).collect::<Vec<_>>()), whole);
}

#[test]
fn row_11_a_thousand_frames_in_one_buffer() {
    let mut world = World::opened();
    let frames: String = (0..1_000)
        .map(|i| format!("{{\"cmd\":\"room\",\"op\":\"leave\",\"peerId\":\"alice\",\"roomId\":\"{i}\"}}\n"))
        .collect();
    world.bytes(frames.as_bytes(), at(1));
    let expected: Vec<_> = (0..1_000).map(|i| format!("1 Leave {{ conversation: \"{i}\" }}")).collect();
    assert_eq!(world.actions, expected);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(pieces: Vec<Vec<u8>>) {
        let mut world = World::opened();
        for piece in &pieces {
            world.bytes(piece, at(1));
            world.connection.receive_text(piece, at(1));
            world.work(at(1));
        }
    }

    #[test]
    fn frames_with_a_few_wrong_bytes_never_panic(
        changes in prop::collection::vec((0usize..200, any::<u8>()), 0..4),
        cut in 0usize..200,
    ) {
        let frame = concat!(
            r#"{"cmd":"direct","peerId":"alice","toPeerIds":["bob","\ud83d\ude00"],"msg":"a\u0000b","i":1e2,"#,
            r#""transient":1,"r":true,"dt":"x","s":"ab","t":17,"n":"n","other":[{"a":[1e300,-0.0]}]}"#,
            "\n"
        );
        let mut bytes = frame.as_bytes().to_vec();
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        let cut = cut % bytes.len();
        let mut world = World::opened();
        world.bytes(&bytes[..cut], at(1));
        world.bytes(&bytes[cut..], at(1));
    }

    #[test]
    fn row_11_random_cuts_change_nothing(cuts in prop::collection::vec(0usize..400, 0..8)) {
        let stream = format!("{OPEN_ALICE}\n{{\"cmd\":\"room\",\"op\":\"list\",\"peerId\":\"alice\",\"i\":2}}\nx\n{{}}\n");
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % stream.len()).collect();
        cuts.sort_unstable();
        let mut rest = stream.as_bytes();
        let mut pieces = Vec::new();
        for cut in cuts.into_iter().rev() {
            let (head, tail) = rest.split_at(cut);
            pieces.insert(0, tail);
            rest = head;
        }
        pieces.insert(0, rest);
        prop_assert_eq!(outcome(&pieces), outcome(&[stream.as_bytes()]));
    }
}
