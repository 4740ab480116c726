//! Rows 1 to 11: what clients may send, through connections and an engine together.

use std::sync::Arc;
use std::time::Duration;

use switchboard::connection::contract::{self, Direction};
use switchboard::{Config, ConnectionConfig, PeerId, SignatureChecks, Update};

use crate::wired::{Input, Listener, Wired, code};
use crate::world::{World, error_text};

const MILLI: Duration = Duration::from_millis(1);

fn open_line(peer: &str) -> String {
    serde_json::json!({"cmd": "session", "op": "open", "peerId": peer}).to_string()
}

fn direct(from: &str, to: &str, text: &str) -> String {
    serde_json::json!({"cmd": "direct", "peerId": from, "toPeerIds": [to], "msg": text, "i": 1}).to_string()
}

/// A request with one field changed or missing.
fn with(frame: &str, field: &str, value: Option<serde_json::Value>) -> String {
    let mut frame: serde_json::Map<String, serde_json::Value> = serde_json::from_str(frame).unwrap();
    match value {
        Some(value) => frame.insert(field.to_owned(), value),
        None => frame.remove(field),
    };
    serde_json::Value::Object(frame).to_string()
}

#[test]
fn row_01_empty_frames_ids_and_fields_change_nothing() {
    let room = r#"{"cmd":"room","op":"invite","peerId":"alice","roomId":"r","roomPeerIds":["bob"]}"#;
    let watch = r#"{"cmd":"session","op":"add","peerId":"alice","sessionPeerIds":["bob"]}"#;
    let ack = r#"{"cmd":"ack","peerId":"alice","ids":["x"]}"#;
    let message = direct("alice", "bob", "x");
    let empty = || Some(serde_json::json!(""));
    let none = || Some(serde_json::json!([]));
    let unreadable = [
        "null".to_owned(),
        "[]".to_owned(),
        "\"\"".to_owned(),
        r#"{"peerId":"alice"}"#.to_owned(),
        with(&message, "cmd", empty()),
        with(&message, "msg", empty()),
        with(&message, "toPeerIds", none()),
        with(&message, "toPeerIds", None),
        with(&message, "dt", empty()),
        with(room, "op", empty()),
        with(room, "roomId", empty()),
        with(room, "roomPeerIds", none()),
        with(ack, "ids", none()),
    ];
    let nobody = [
        with(&message, "toPeerIds", Some(serde_json::json!([""]))),
        with(room, "roomPeerIds", Some(serde_json::json!(["bob", ""]))),
        with(watch, "sessionPeerIds", Some(serde_json::json!([""]))),
    ];
    for input in Input::READABLE {
        let mut host = Wired::over(input);
        let at = host.connect();
        host.open(at, "alice");
        let before = host.engine.metrics();
        let codes = [(&unreadable[..], 4114), (&nobody[..], 4103)];
        for (frame, expected) in codes.into_iter().flat_map(|(frames, code)| frames.iter().map(move |f| (f, code))) {
            // Faults are forgotten after a minute; ten at once would end the connection.
            host.wait(Duration::from_secs(61));
            assert_eq!(code(&host.line(at, frame)), Some(expected), "{input:?} {frame}");
        }
        // An empty line is no frame; an empty message is one.
        let nothing = host.line(at, "");
        assert_eq!(code(&nothing), (input == Input::Text).then_some(4114));
        assert_eq!((&host.closed[at][..], host.engine.metrics()), (&[][..], before), "{input:?}");
        host.line(at, &open_line(""));
        assert_eq!(host.closed[at], [4103], "{input:?}");
    }
}

/// Ids that show nothing, or something else than they are.
const DECEITFUL: [&str; 12] = [
    "\0",
    "a\u{1}b",
    "a\u{7f}",
    "a\u{85}b",
    "a\u{202e}b",
    "a\u{2066}b",
    "a\u{200b}b",
    "\u{feff}a",
    "a\u{2028}b",
    " a",
    "a\n",
    "a\u{3000}",
];

#[test]
fn row_02_ids_that_deceive_are_refused_and_never_reach_anyone() {
    for input in Input::READABLE {
        let mut host = Wired::over(input);
        let (watcher, alice) = (host.connect(), host.connect());
        host.open(watcher, "watcher");
        host.open(alice, "alice");
        let created = host.line(alice, r#"{"cmd":"room","op":"join","peerId":"alice","roomPeerIds":["watcher"]}"#);
        let created: serde_json::Value = serde_json::from_str(&created[0]).unwrap();
        host.sent(watcher);
        let before = host.engine.metrics();
        for id in DECEITFUL {
            let at = host.connect();
            let refusal = host.line(at, &open_line(id));
            assert_eq!((code(&refusal), &host.closed[at][..]), (Some(4103), &[4103][..]), "{input:?} {id:?}");
            assert!(!refusal[0].contains("peerId"), "what is malformed is not echoed: {refusal:?}");
            let ids = serde_json::json!(["watcher", id]);
            let mentions = [
                serde_json::json!({"cmd": "direct", "peerId": "alice", "toPeerIds": ids, "msg": "x"}),
                serde_json::json!({"cmd": "session", "op": "add", "peerId": "alice", "sessionPeerIds": ids}),
                serde_json::json!({"cmd": "session", "op": "query", "peerId": "alice", "sessionPeerIds": ids}),
                serde_json::json!({"cmd": "room", "op": "join", "peerId": "alice", "roomPeerIds": ids}),
                serde_json::json!({"cmd": "room", "op": "invite", "peerId": "alice", "roomId": created["roomId"],
                    "roomPeerIds": ids}),
            ];
            for frame in mentions {
                assert_eq!(code(&host.line(alice, &frame.to_string())), Some(4103), "{input:?} {frame}");
            }
        }
        // Bytes that are no UTF-8 are no JSON: there is nobody to name.
        let at = host.connect();
        let refusal = host.frame(at, b"{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"al\xffice\"}");
        assert_eq!(code(&refusal), Some(4114));
        assert_eq!((host.sent(watcher), host.engine.metrics()), (vec![], before), "{input:?}");
    }
}

#[test]
fn row_03_fifty_characters_are_accepted_and_fifty_one_are_not() {
    let face = "\u{1F600}";
    for input in Input::READABLE {
        let mut host = Wired::over(input);
        let speaker = host.connect();
        host.open(speaker, "speaker");
        for (id, accepted) in [
            ("a".repeat(50), true),
            ("a".repeat(51), false),
            ("\u{e9}".repeat(51), false),
            (face.repeat(50), true),
            (face.repeat(51), false),
        ] {
            let expected = (!accepted).then_some(4103);
            assert_eq!(code(&host.line(speaker, &direct("speaker", &id, "x"))), expected, "to {id}");
            let at = host.connect();
            assert_eq!(code(&host.line(at, &open_line(&id))), expected, "{id}");
        }
        let escaped = r#"{"cmd":"session","op":"query","peerId":"speaker","sessionPeerIds":["ID"]}"#;
        let escaped = escaped.replace("ID", &r"\ud83d\ude00".repeat(50));
        assert!(host.line(speaker, &escaped)[0].contains(&face.repeat(50)), "escaped it is the same id");
        assert_eq!(host.engine.metrics().peers, 3);
    }
}

/// A WebSocket host that gave binary frames to a format of text had them read as if they were some.
#[test]
fn rows_01_to_13_binary_frames_are_none_of_the_first_generation() {
    let mut host = Wired::over(Input::Binary);
    let at = host.connect();
    let frames = ["".to_owned(), open_line("alice"), open_line(""), "{}".to_owned(), direct("alice", "bob", "x")];
    let huge = ["[".repeat(64 * 1024)];
    for frame in frames.iter().chain(&huge) {
        assert_eq!(code(&host.line(at, frame)), Some(4114));
    }
    let metrics = host.engine.metrics();
    assert_eq!((metrics.peers, metrics.sessions, metrics.outputs, host.closed[at].len()), (0, 0, 0, 0));
    assert!(host.connections[at].held_bytes() < 1_024);
    assert_eq!(code(&host.line(at, &"[".repeat(64 * 1024 + 1))), Some(4109));
    assert_eq!(host.closed[at], [4109]);
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

/// A frame of a row of the contract, with each of its fields.
fn example(row: &contract::Row) -> serde_json::Value {
    let mut frame = serde_json::json!({"cmd": row.command, "peerId": "a", "i": 1});
    if !row.op.is_empty() {
        frame["op"] = row.op.into();
    }
    for field in row.fields.iter().map(|field| field.trim_end_matches('?')) {
        frame[field] = match field {
            "sessionPeerIds" | "toPeerIds" | "roomPeerIds" | "roomIds" | "pids" => serde_json::json!(["b"]),
            "ids" => serde_json::json!(["----------------------"]),
            "sp" | "r" | "transient" | "offline" => serde_json::json!(true),
            "bin" => serde_json::json!(false),
            "roomId" if row.command == "direct" => continue,
            "t" | "timestamp" | "code" | "from" | "to" | "count" | "stTtl" => serde_json::json!(1_700_000_000),
            _ => serde_json::json!("text"),
        };
    }
    frame
}

#[test]
fn row_05_nothing_is_done_before_a_session_is_open() {
    for input in Input::READABLE {
        let mut host = Wired::over(input);
        let at = host.connect();
        let clean = (host.engine.metrics(), host.connections[at].held_bytes());
        let asks = contract::V1.iter().filter(|row| row.direction == Direction::FromClient && row.op != "open");
        assert!(asks.clone().count() >= 12);
        for frame in asks.map(|row| example(row).to_string()) {
            assert_eq!(code(&host.line(at, &frame)), Some(4105), "{input:?} {frame}");
        }
        let now = (host.engine.metrics(), host.connections[at].held_bytes());
        assert_eq!(now.0, clean.0, "{input:?}");
        assert!(now.1 <= clean.1 + 1_024, "{} bytes are kept", now.1);
        assert_eq!(host.closed[at], [0u16; 0]);
    }
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
    for input in Input::ALL {
        for length in [64 * 1024 + 1, 1 << 31, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let mut host = Wired::over(input);
            let at = host.connect();
            let before = host.connections[at].held_bytes();
            host.connections[at].announce_frame(length, host.now);
            assert_eq!(host.connections[at].held_bytes(), before, "nothing is reserved");
            host.work();
            assert_eq!((code(&host.sent(at)), &host.closed[at][..]), (Some(4109), &[4109][..]), "{length}");
            assert_eq!(host.connections[at].held_bytes(), 0);
        }
        let mut host = Wired::over(input);
        let at = host.connect();
        host.connections[at].announce_frame(64 * 1024, host.now);
        host.work();
        assert_eq!((host.sent(at).len(), host.closed[at].len()), (0, 0), "one at the limit may come");
    }
}

#[test]
fn row_08_a_frame_at_the_limit_is_read_and_one_beyond_ends_the_connection() {
    for input in Input::READABLE {
        let mut host = Wired::over(input);
        let at = host.connect();
        let open = open_line("alice");
        let padded = |length: usize| format!("{open}{}", " ".repeat(length - open.len()));
        assert!(host.line(at, &padded(64 * 1024))[0].contains(r#""op":"opened""#), "{input:?}");
        let (before, other) = (host.engine.metrics(), host.connect());
        assert_eq!(code(&host.line(other, &padded(64 * 1024 + 1))), Some(4109), "{input:?}");
        assert_eq!((&host.closed[other][..], host.engine.metrics()), (&[4109][..], before));
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
    let is_asked = |(command, op): (&str, &str)| {
        let mut asks = contract::V1.iter().filter(|row| row.direction == Direction::FromClient);
        asks.any(|row| row.command == command && (row.op == op || row.op.is_empty()))
    };
    let servers = contract::V1.iter().filter(|row| row.direction == Direction::FromServer);
    let servers = servers.filter(|row| !is_asked((row.command, row.op))).map(example);
    let unknown =
        [("nonsense", ""), ("", ""), ("SESSION", "open"), ("session", "opEn"), ("room", "reject"), ("goaway", "")];
    let unknown = unknown.map(|(command, op)| serde_json::json!({"cmd": command, "op": op, "peerId": "a", "i": 1}));
    let frames: Vec<String> = servers.chain(unknown).map(|frame| frame.to_string()).collect();
    assert!(frames.len() >= 20);
    for input in Input::READABLE {
        let mut host = Wired::over(input);
        let at = host.connect();
        host.open(at, "a");
        let before = host.engine.metrics();
        for frame in &frames {
            // Faults are forgotten after a minute; ten at once would end the connection.
            host.wait(Duration::from_secs(61));
            assert_eq!(code(&host.line(at, frame)), Some(4114), "{input:?} {frame}");
        }
        assert_eq!((&host.closed[at][..], host.engine.metrics()), (&[][..], before), "{input:?}");
    }
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
fn row_11_text_messages_mean_what_the_lines_of_a_stream_do() {
    let frames = [
        open_line("alice"),
        direct("alice", "bob", "h\u{e9}llo"),
        "not json".to_owned(),
        r#"{"cmd":"room","op":"join","peerId":"alice","i":2}"#.to_owned(),
        " {\"cmd\":\"room\",\"op\":\"list\",\"peerId\":\"alice\"}\r".to_owned(),
    ];
    let [stream, text] = Input::READABLE.map(|input| {
        let mut host = Wired::over(input);
        let (alice, bob) = (host.connect(), host.connect());
        host.open(bob, "bob");
        let mut told: Vec<String> = frames.iter().flat_map(|frame| host.line(alice, frame)).collect();
        told.extend(host.sent(bob));
        told
    });
    assert_eq!((text.len(), &text), (6, &stream));
}

#[test]
fn row_13_what_is_made_to_swell_is_refused_and_not_kept() {
    const MEGABYTES: usize = 10_000_000;
    for bomb in ["[", r#"{"a":"#, r#"{"cmd":["#, "\"", r"\u0000", r#""a","#] {
        let mut host = Wired::default();
        let at = host.connect();
        let mut most = 0;
        for piece in bomb.repeat(MEGABYTES / bomb.len()).as_bytes().chunks(16 * 1024) {
            host.connections[at].receive(piece, host.now);
            most = most.max(host.connections[at].held_bytes());
            host.work();
        }
        assert_eq!((code(&host.sent(at)), &host.closed[at][..]), (Some(4109), &[4109][..]), "{bomb}");
        assert!(most <= 2 * 64 * 1024 + 1_024, "{bomb}: {most}");

        let mut host = Wired::over(Input::Text);
        let at = host.connect();
        assert_eq!(code(&host.line(at, &bomb.repeat(MEGABYTES / bomb.len()))), Some(4109), "{bomb}");
        assert_eq!((host.connections[at].held_bytes(), &host.closed[at][..]), (0, &[4109][..]));
    }
}

#[test]
fn row_13_a_frame_full_of_nesting_or_ids_costs_its_own_length() {
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let ids = vec![r#""b""#; 15_000].join(",");
    for input in Input::READABLE {
        let mut host = Wired::over(input);
        let at = host.connect();
        host.open(at, "a");
        let before = host.engine.metrics();
        for (field, value, expected) in
            [("toPeerIds", deep(30_000), 4114), ("i", deep(30_000), 4114), ("toPeerIds", format!("[{ids}]"), 4318)]
        {
            let frame = format!(r#"{{"cmd":"direct","peerId":"a","msg":"x","{field}":{value}}}"#);
            assert_eq!(code(&host.line(at, &frame)), Some(expected), "{input:?} {field}");
        }
        assert_eq!((&host.closed[at][..], host.engine.metrics()), (&[][..], before));
        assert!(host.connections[at].held_bytes() < 1_024, "{}", host.connections[at].held_bytes());
    }
}

/// Everything that a client can do to be sent something, as often as its connection takes it.
fn flood(host: &mut Listener, at: usize, peer: &str, room: &str) -> usize {
    let ask = |fields: &str| format!(r#"{{"peerId":"{peer}","i":1,{fields}}}"#);
    let asks = [
        "{}".to_owned(),
        ask(&format!(r#""cmd":"room","op":"members","roomId":"{room}""#)),
        ask(r#""cmd":"room","op":"list""#),
        ask(r#""cmd":"room","op":"members","roomId":"nowhere""#),
        ask(&format!(r#""cmd":"direct","toPeerIds":["{peer}"],"msg":"{}""#, r"\u0001".repeat(5_120))),
    ];
    (0..2_000).filter(|n| host.hear(at, &asks[n % asks.len()])).count()
}

/// Bytes of what waits in an outbox, as the outbox counts messages.
fn outbox_bytes(updates: &[Arc<Update>]) -> usize {
    let content = |update: &Update| match update {
        Update::Message { message, .. } => message.content.len(),
        _ => 0,
    };
    updates.iter().map(|update| 256 + content(update)).sum()
}

/// Forty clients that opened, asked and never read made their server hold 132 MiB: connections took what outboxes had
/// bounded, and went on asking for more.
#[test]
fn row_30_forty_connections_that_never_read_hold_what_outboxes_may() {
    for content in ["x".repeat(5_120), r"\u0001".repeat(5_120)] {
        let mut host = Listener::new();
        let alice = host.connect("alice");
        let deaf: Vec<_> = (0..40).map(|n| (host.connect(&format!("deaf{n}")), format!("deaf{n}"))).collect();
        let peers: Vec<&str> = deaf.iter().map(|(_, peer)| peer.as_str()).collect();
        let create = serde_json::json!({"cmd": "room", "op": "join", "peerId": "alice", "roomPeerIds": peers});
        host.hear(alice, &create.to_string());
        let joined: serde_json::Value = serde_json::from_str(host.read(alice).last().unwrap()).unwrap();
        let room = joined["roomId"].as_str().unwrap().to_owned();
        for (at, peer) in &deaf {
            assert!(flood(&mut host, *at, peer, &room) < 400, "it is soon not asked any more");
        }
        let say = format!(r#"{{"cmd":"direct","peerId":"alice","roomId":"{room}","msg":"{content}"}}"#);
        for _ in 0..120 {
            assert!(host.hear(alice, &say));
            assert!(host.read(alice).iter().any(|frame| frame.contains(r#""cmd":"ack""#)), "nobody waits for them");
        }
        let held: Vec<usize> = deaf.iter().map(|(at, _)| host.connections[*at].held_bytes()).collect();
        let waiting: Vec<usize> = deaf.iter().map(|(at, _)| outbox_bytes(&host.waiting(*at))).collect();
        println!("connections {held:?}\noutboxes {waiting:?}");
        assert!(held.iter().all(|bytes| (64 * 1024..110 * 1024).contains(bytes)), "{held:?}");
        let total = held.iter().chain(&waiting).sum::<usize>();
        assert!(total < 16 * 1024 * 1024, "{total}");
    }
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
