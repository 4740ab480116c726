//! Rows 1 to 11: what clients may send, through connections and an engine together.

use std::time::Duration;

use switchboard::{Config, ConnectionConfig, Framing, PeerId, SignatureChecks};

use crate::wired::{Wired, code};
use crate::world::{World, error_text};

const MILLI: Duration = Duration::from_millis(1);

fn open_line(peer: &str) -> String {
    serde_json::json!({"cmd": "session", "op": "open", "peerId": peer}).to_string()
}

fn direct(from: &str, to: &str, text: &str) -> String {
    serde_json::json!({"cmd": "direct", "peerId": from, "toPeerIds": [to], "msg": text, "i": 1}).to_string()
}

#[test]
fn row_01_empty_frames_ids_and_fields_change_nothing() {
    let mut host = Wired::new(Config::default(), ConnectionConfig { framing: Framing::Messages, ..Default::default() });
    let at = host.connect();
    host.connections[at].receive_frame(open_line("alice").as_bytes(), host.now);
    host.work();
    host.sent(at);
    let before = host.engine.metrics();
    for frame in ["", "null", "[]", r#"{"peerId":"alice"}"#, r#"{"cmd":"","peerId":"alice"}"#] {
        host.connections[at].receive_frame(frame.as_bytes(), host.now);
        host.work();
        assert_eq!(code(&host.sent(at)), Some(4114), "{frame}");
    }
    let empty_recipient = r#"{"cmd":"direct","peerId":"alice","toPeerIds":[""],"msg":"x"}"#;
    host.connections[at].receive_frame(empty_recipient.as_bytes(), host.now);
    host.work();
    assert_eq!(code(&host.sent(at)), Some(4103));
    assert_eq!(host.closed[at], [0u16; 0]);
    assert_eq!(host.engine.metrics(), before);
    host.connections[at].receive_frame(open_line("").as_bytes(), host.now);
    host.work();
    assert_eq!(host.closed[at], [4103]);
}

#[test]
fn row_02_ids_that_deceive_are_refused_and_never_reach_anyone() {
    let mut host = Wired::default();
    let watcher = host.connect();
    host.open(watcher, "watcher");
    for id in ["\0", "a\u{1}b", "a\u{85}b", "a\u{202e}b", "a\u{200b}b", "\u{feff}a", "a\u{2028}b", " a", "a\n"] {
        let at = host.connect();
        assert_eq!(code(&host.line(at, &open_line(id))), Some(4103), "{id:?}");
        assert_eq!(host.closed[at], [4103], "{id:?}");
    }
    // Bytes that are no UTF-8 are no JSON: there is nobody to name.
    let at = host.connect();
    host.bytes(at, b"{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"al\xffice\"}\n");
    assert_eq!(code(&host.sent(at)), Some(4114));
    assert_eq!(host.sent(watcher), [""; 0]);
    assert_eq!(host.engine.metrics().peers, 1);
}

#[test]
fn row_03_fifty_characters_are_accepted_and_fifty_one_are_not() {
    let mut host = Wired::default();
    for (id, accepted) in [("a".repeat(50), true), ("a".repeat(51), false), ("\u{1F600}".repeat(50), true)] {
        let at = host.connect();
        let answer = host.line(at, &open_line(&id));
        assert_eq!(code(&answer), (!accepted).then_some(4103), "{id}");
    }
    assert_eq!(host.engine.metrics().peers, 2);
}

#[test]
fn row_04_ids_with_separators_mix_up_nothing() {
    let mut host = Wired::default();
    let ids = ["a:b", "a.b", "a*b", "a>b", "a b", "a/b", "a", "b", "a:b:c"];
    for id in ids {
        let at = host.connect();
        assert_eq!(code(&host.line(at, &open_line(id))), None, "{id}");
    }
    // `a:b` with `c` and `a` with `b:c` have the same md5, and are two conversations.
    host.line(0, &direct("a:b", "c", "first"));
    host.line(6, &direct("a", "b:c", "second"));
    let (c, b_c) = (host.connect(), host.connect());
    let first = host.line(c, &open_line("c")).join("\n");
    let second = host.line(b_c, &open_line("b:c")).join("\n");
    assert!(first.contains("first") && !first.contains("second"), "{first}");
    assert!(second.contains("second") && !second.contains("first"), "{second}");

    let signing = Config {
        master_keys: vec![b"0123456789abcdef".to_vec()],
        signatures: SignatureChecks::ALL,
        ..Config::default()
    };
    let mut host = Wired::new(signing, ConnectionConfig::default());
    let at = host.connect();
    assert_eq!(code(&host.line(at, &open_line("a:b"))), Some(4103));
    assert_eq!(host.engine.metrics().peers, 0);
}

#[test]
fn row_05_nothing_is_done_before_a_session_is_open() {
    let mut host = Wired::default();
    let at = host.connect();
    for frame in [
        r#"{"cmd":"direct","peerId":"a","toPeerIds":["b"],"msg":"x"}"#,
        r#"{"cmd":"session","op":"add","peerId":"a","sessionPeerIds":["b"]}"#,
        r#"{"cmd":"session","op":"query","peerId":"a","sessionPeerIds":["b"]}"#,
        r#"{"cmd":"room","op":"join","peerId":"a"}"#,
        r#"{"cmd":"room","op":"members","peerId":"a","roomId":"r"}"#,
        r#"{"cmd":"ack","peerId":"a","ids":["----------------------"]}"#,
        r#"{"cmd":"session","op":"close","peerId":"a"}"#,
    ] {
        assert_eq!(code(&host.line(at, frame)), Some(4105), "{frame}");
    }
    let metrics = host.engine.metrics();
    assert_eq!((metrics.peers, metrics.sessions, metrics.staged_bytes, metrics.outputs), (0, 0, 0, 0));
    // The engine itself says so too.
    let seen = World::new().run("alice unread\nalice> bob: x\nalice watches bob\nalice history G newest 1\nalice acks");
    assert_eq!(seen, ["refused: 4105 session required"; 5]);
}

#[test]
fn row_06_silence_pauses_the_session_at_the_read_timeout() {
    let mut host = Wired::default();
    let (alice, bob) = (host.connect(), host.connect());
    let opened = host.open(alice, "alice").join("");
    let token = opened.split(r#""st":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    let watch = r#"{"cmd":"session","op":"open","peerId":"bob","sessionPeerIds":["alice"]}"#;
    host.line(bob, watch);
    for _ in 0..5 {
        host.wait(Duration::from_secs(60));
        host.line(bob, "{}");
    }
    host.wait(Duration::from_secs(60) - MILLI);
    assert_eq!(host.closed[alice], [0u16; 0]);
    host.line(bob, "{}");
    host.wait(MILLI);
    assert_eq!(host.closed[alice], [4107]);
    host.wait(Duration::from_secs(1));
    host.wait(Duration::from_secs(5));
    let told = host.sent(bob);
    assert_eq!(told.iter().filter(|frame| frame.contains(r#""status":"off""#)).count(), 1, "{told:?}");
    let again = host.connect();
    let resume = serde_json::json!({"cmd": "session", "op": "open", "peerId": "alice", "st": token, "r": true});
    assert!(host.line(again, &resume.to_string())[0].contains(r#""op":"opened""#));
}

#[test]
fn row_07_login_times_out_exactly_once_whatever_was_tried() {
    let signing = Config {
        master_keys: vec![b"0123456789abcdef".to_vec()],
        signatures: SignatureChecks::ALL,
        ..Config::default()
    };
    let mut host = Wired::new(signing, ConnectionConfig::default());
    let (idle, trying) = (host.connect(), host.connect());
    for _ in 0..14 {
        host.wait(Duration::from_secs(1));
        host.line(idle, "{}");
    }
    host.line(trying, r#"{"cmd":"session","op":"open","peerId":"a","s":"00","t":1700000000,"n":"x"}"#);
    host.wait(Duration::from_secs(1) - MILLI);
    assert_eq!((host.closed[idle].len(), host.closed[trying].len()), (0, 0));
    host.wait(MILLI);
    assert_eq!((&host.closed[idle][..], &host.closed[trying][..]), (&[4108][..], &[4108][..]));
    host.wait(Duration::from_secs(60));
    assert_eq!(host.closed[idle], [4108]);
    assert_eq!(host.engine.metrics().sessions, 0);
}

#[test]
fn row_08_an_announced_giant_ends_the_connection_before_it_comes() {
    for length in [64 * 1024 + 1, 1 << 31, u64::from(u32::MAX), u64::MAX] {
        let mut host = Wired::default();
        let at = host.connect();
        host.connections[at].announce_frame(length, host.now);
        host.work();
        assert_eq!((code(&host.sent(at)), &host.closed[at][..]), (Some(4109), &[4109][..]), "{length}");
    }
}

#[test]
fn row_09_content_is_measured_in_bytes_with_its_push() {
    let mut world = World::new();
    world.run("alice opens");
    let refused = "refused: 4109 message_bytes_max over 5120 bytes";
    let accepted = "alice <- accepted #1 in alice+bob";
    let say =
        |world: &mut World, options: &str, text: &str| world.run(&format!("alice> bob{options}: {text}")).join("\n");
    assert_eq!(say(&mut world, "", &"x".repeat(5_120)), accepted);
    assert_eq!(say(&mut world, "", &"x".repeat(5_121)), refused);
    assert_eq!(say(&mut world, "", &"\u{4e2d}".repeat(5_120)), refused);
    assert_eq!(say(&mut world, " (push 12345)", &"x".repeat(5_116)), refused);
    assert_eq!(say(&mut world, " (push 12345, transient)", &"x".repeat(5_116)), refused);
    assert!(say(&mut world, " (push 12345)", &"x".repeat(5_115)).contains("accepted #2"));
}

#[test]
fn row_10_what_only_servers_send_is_refused() {
    let mut host = Wired::default();
    let at = host.connect();
    host.open(at, "alice");
    let before = host.engine.metrics();
    for frame in [
        r#"{"cmd":"session","op":"opened","peerId":"alice"}"#,
        r#"{"cmd":"presence","peerId":"alice","status":"on","sessionPeerIds":["bob"]}"#,
        r#"{"cmd":"rcp","peerId":"alice","id":"x","t":1}"#,
        r#"{"cmd":"room","op":"joined","peerId":"alice","roomId":"r"}"#,
        r#"{"cmd":"gap","peerId":"alice","from":1,"to":2,"count":2,"cause":"age"}"#,
        r#"{"cmd":"nonsense","peerId":"alice"}"#,
    ] {
        assert_eq!(code(&host.line(at, frame)), Some(4114), "{frame}");
    }
    assert_eq!(host.closed[at], [0u16; 0]);
    assert_eq!(host.engine.metrics(), before);
}

/// Everything that two clients are sent while one of them says `pieces`.
fn told(pieces: &[&[u8]]) -> Vec<String> {
    let mut host = Wired::default();
    let (alice, bob) = (host.connect(), host.connect());
    host.open(bob, "bob");
    pieces.iter().for_each(|piece| host.bytes(alice, piece));
    let mut told = host.sent(alice);
    // Signs of life are answered first, and so where a cut lets them.
    told.retain(|frame| frame != "{}");
    told.extend(host.sent(bob));
    told
}

#[test]
fn row_11_a_stream_means_the_same_wherever_it_is_cut() {
    let stream = [
        open_line("alice"),
        direct("alice", "bob", "h\u{e9}llo"),
        "{}".to_owned(),
        "not json".to_owned(),
        r#"{"cmd":"room","op":"join","peerId":"alice","i":2}"#.to_owned(),
    ]
    .map(|line| line + "\n")
    .concat();
    let stream = stream.as_bytes();
    let whole = told(&[stream]);
    assert_eq!(whole.len(), 5, "{whole:?}");
    for at in 0..=stream.len() {
        assert_eq!(told(&[&stream[..at], &stream[at..]]), whole, "cut at {at}");
    }
}

#[test]
fn row_11_a_thousand_frames_in_one_buffer_are_a_thousand_frames() {
    let mut stream = open_line("alice") + "\n";
    (0..1_000).for_each(|n| stream += &(direct("alice", "bob", &format!("m{n}")) + "\n"));
    let told = told(&[stream.as_bytes()]);
    let arrived: Vec<&String> = told.iter().filter(|frame| frame.contains(r#""fromPeerId""#)).collect();
    assert_eq!(arrived.len(), 1_000);
    assert!(arrived.iter().enumerate().all(|(n, frame)| frame.contains(&format!("\"m{n}\""))));
}

#[test]
fn row_21_there_is_no_way_to_learn_of_a_foreign_group() {
    let mut world = World::new();
    world.run("alice opens\nbob opens\neve opens\nalice makes group G of bob");
    for ask in ["members", "describes", "counts", "leaves"] {
        let foreign = world.run(&format!("eve {ask} G"));
        assert_eq!(foreign, world.run(&format!("eve {ask} nowhere")), "{ask}");
        assert_eq!(foreign, ["refused: 4401 invalid messaging target"], "{ask}");
    }
    for change in ["invites eve to", "kicks alice from", "kicks eve from", "history"] {
        let change = |label| {
            if change == "history" { format!("eve history {label} newest 5") } else { format!("eve {change} {label}") }
        };
        assert_eq!(world.run(&change("G")), world.run(&change("nowhere")), "{}", change("G"));
    }
    assert_eq!(world.run("alice members G"), ["alice <- members of G: alice, bob"]);
    assert_eq!(world.engine.metrics().peers, 3);
    assert_eq!(error_text(&PeerId::new("").unwrap_err().into()), "4103 invalid peer id");
}
