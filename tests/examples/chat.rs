//! Chats over pipes, with a server between them.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::processes::{KEY, SOON, Server, example_with, folder, run};

#[test]
fn alice_and_bob_talk_through_a_crash_of_the_server() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);

    let mut alice = server.chat("alice", &[]);
    alice.say("/to bob");
    alice.expect(&["* bob is offline"]);
    alice.say("hello, bob");
    alice.expect(&["✓ to bob, sent: hello, bob"]);

    let mut bob = server.chat("bob", &["--device", "phone"]);
    bob.expect(&["* online as bob"]);
    bob.expect(&["alice (while you were away): hello, bob"]);
    alice.expect(&["✓✓ to bob, received: hello, bob"]);
    alice.expect(&["* online: bob"]);
    bob.say("/to alice");
    bob.expect(&["* alice is online"]);
    bob.say("hello, \u{1b}[31malice");
    assert_eq!(alice.expect(&["bob: "]), "bob: hello, \u{fffd}[31malice");

    alice.say("/group create bob carol");
    alice.expect(&["* you talk to "]);
    alice.say("all together");
    bob.expect(&["* you were taken into ", " by alice"]);
    bob.expect(&["alice in ", ": all together"]);
    alice.say("/group members");
    alice.expect(&["* members: alice, bob, carol"]);
    alice.say("/who carol bob");
    alice.expect(&["carol is offline"]);
    alice.say("/nonsense");
    alice.expect(&["! /nonsense is no command"]);

    let server = server.crash(&data, Duration::from_millis(700));
    bob.expect(&["* no connection to "]);
    alice.expect(&["* again online as alice"]);
    bob.expect(&["* again online as bob"]);
    // Told with the login, or afterwards: it depends on who is back first.
    alice.expect(&["bob", "online"]);
    alice.say("still here");
    bob.expect(&["alice in ", ": still here"]);

    // What was confirmed before the crash has waited for carol.
    let carol = server.chat("carol", &[]);
    carol.expect(&["alice in ", "(while you were away): all together"]);
    carol.expect(&["still here"]);

    bob.say("/quit");
    let (code, rest, _) = bob.finish();
    assert_eq!(code, Some(0));
    assert!(!rest.iter().any(|line| line.contains("hello, bob")), "shown twice: {rest:?}");
    alice.expect(&["* offline: bob"]);
}

#[test]
fn a_pipe_is_enough_to_send() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--durability", "process"]);
    let mut alice = server.chat("alice", &[]);
    alice.say("/to bob\none\ntwo\n\u{fffd}");
    let (code, lines, _) = alice.finish();
    assert_eq!(code, Some(0));
    assert!(lines.iter().any(|line| line.contains("sent: two")), "{lines:?}");
    let bob = server.chat("bob", &[]);
    bob.expect(&["alice (while you were away): one"]);
    bob.expect(&["alice (while you were away): two"]);
    // What the first chat acknowledged does not come again, neither here nor on another connection.
    assert_eq!(bob.finish().0, Some(0));
    let (_, lines, _) = server.chat("bob", &[]).finish();
    assert_eq!(lines, ["* online as bob"]);
}

#[test]
fn a_key_is_asked_for_where_the_server_has_one() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--app-id", "mine", "--master-key", KEY]);
    let (code, _, problems) = server.chat("mallory", &[]).finish();
    assert_eq!(code, Some(1));
    assert!(problems.contains("cannot log in: 4102"), "{problems}");

    let signed = ["--app-id", "mine", "--master-key", KEY];
    let mut alice = server.chat("alice", &signed);
    let bob = server.chat("bob", &signed);
    bob.expect(&["online as bob"]);
    alice.say("/to bob");
    alice.expect(&["* bob is online"]);
    alice.say("signed");
    bob.expect(&["alice: signed"]);
    alice.say("/group create bob");
    alice.expect(&["* you talk to"]);
    alice.say("/group invite carol");
    alice.expect(&["* invited: carol"]);
    alice.say("/group kick carol");
    alice.expect(&["* put out: carol"]);
    alice.say("/room create");
    alice.expect(&["* you talk to"]);

    let mut client = server.connect();
    client.send("{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"eve\",\"appId\":\"theirs\"}\n");
    client.expect("4100");
    client.send("{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"eve\",\"appId\":\"mine\"}\n");
    client.expect("4102");
}

#[test]
fn a_chat_whose_input_has_ended_does_not_try_for_ever() {
    let output = run("chat", &["--as", "alice", "--connect", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no connection to 127.0.0.1:1"));
}

#[test]
fn words_are_masked() {
    let folder = folder();
    let words = folder.path().join("words.txt");
    std::fs::write(&words, "darn\n\nheck\n").unwrap();
    let server = Server::start(&folder.path().join("data"), &["--word-list", words.to_str().unwrap()]);
    let mut alice = server.chat("alice", &[]);
    alice.say("/to bob\noh DARN it");
    alice.expect(&["sent: oh *** it (changed by the server)"]);
}

/// A line of 70,000 characters ended the connection, was sent again with the next, and so on for ever.
#[test]
fn a_line_that_no_frame_carries_is_refused_and_not_sent() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--durability", "memory"]);
    let mut alice = server.chat("alice", &[]);
    let bob = server.chat("bob", &[]);
    alice.say("/to bob");
    // In JSON a control character takes six bytes, so that 20,000 of them are too many.
    for (line, says) in [
        ("x".repeat(70_000), "! this line is too long to be sent: more than 65536 bytes"),
        ("x".repeat(10_000_000), "! this line is too long to be sent: more than 65536 bytes"),
        ("x".repeat(65_500), "! this is too long to be sent: about 65"),
        ("a\u{1}".repeat(20_000), "! this is too long to be sent: about 140"),
        (format!("/group create {}", "somebody ".repeat(7_000)), "! this is too long to be sent: about 77"),
        // This one the server itself refuses, as every other that is over its own limits.
        ("x".repeat(6_000), "! 4109 message_bytes_max over 5120 bytes: xxx"),
    ] {
        alice.say(&line);
        alice.expect(&[says]);
    }
    alice.say("short");
    alice.expect(&["sent: short"]);
    bob.expect(&["alice: short"]);
    let (code, rest, _) = alice.finish();
    assert_eq!(code, Some(0));
    assert!(!rest.iter().any(|line| line.contains("no connection")), "{rest:?}");
}

/// Who got a message and wrote an answer was asked to whom.
#[test]
fn a_chat_answers_whom_wrote_last() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--durability", "memory"]);
    let mut alice = server.chat("alice", &[]);
    alice.expect(&["online as alice"]);
    alice.say("too early");
    alice.expect(&["! to whom? Choose somebody with /to NAME"]);
    alice.say("/answer");
    alice.expect(&["! nobody has written to you yet"]);
    let (mut bob, mut carol) = (server.chat("bob", &[]), server.chat("carol", &[]));
    for (chat, text) in [(&mut bob, "from bob"), (&mut carol, "from carol")] {
        let name = chat.name.clone();
        chat.say("/to alice");
        chat.say(text);
        alice.expect(&[&format!("what you type now goes to {name}")]);
        alice.say(&format!("dear {name}"));
        chat.expect(&[&format!("alice: dear {name}")]);
    }
    // A choice holds, whoever writes.
    alice.say("/to bob");
    alice.expect(&["bob is online"]);
    carol.say("and now?");
    alice.expect(&["carol: and now?"]);
    alice.say("still bob");
    bob.expect(&["alice: still bob"]);
    alice.say("/answer");
    alice.expect(&["* you talk to carol"]);
    alice.say("now carol");
    carol.expect(&["alice: now carol"]);
}

/// `chat | head -1` ended in the middle of everything: its session was not logged out, and stayed open to be resumed.
#[test]
fn a_chat_that_nobody_reads_logs_out_and_receives_nothing_unseen() {
    let folder = folder();
    let log = folder.path().join("log");
    let mut command = Server::command("127.0.0.1:0", folder.path());
    command.args(["--durability", "memory"]).stderr(std::fs::File::create(&log).unwrap());
    let server = Server::spawn(command);
    let mut client = server.connect();
    client.open("client");
    client.send("{\"cmd\":\"direct\",\"peerId\":\"client\",\"toPeerIds\":[\"bob\"],\"msg\":\"unseen\",\"i\":1}\n");
    client.expect("\"ack\"");
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let mut bob = example_with("chat", &["--as", "bob", "--connect", &server.address]);
    let mut bob = bob.stdin(Stdio::piped()).stdout(closed).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(bob.wait().unwrap().code(), Some(0));
    server.chat("bob", &[]).expect(&["client (while you were away): unseen"]);
    // The log is written a moment after.
    let until = Instant::now() + SOON;
    while !std::fs::read_to_string(&log).unwrap().contains("offline peer=bob reason=LoggedOut") {
        assert!(Instant::now() < until, "{}", std::fs::read_to_string(&log).unwrap());
        thread::sleep(Duration::from_millis(20));
    }
}

/// A signal ended the chat at once, with what had been read and not yet sent.
#[cfg(unix)]
#[test]
fn a_chat_that_is_stopped_waits_for_its_confirmations() {
    for signal in ["-INT", "-TERM"] {
        let folder = folder();
        let server = Server::start(folder.path(), &[]);
        let mut alice = server.chat("alice", &[]);
        alice.say("/to bob\none\ntwo");
        alice.expect(&["sent: one"]);
        alice.signal(signal);
        let (code, _, problems) = alice.finish_with_input_open();
        assert_eq!((code, problems.as_str()), (Some(0), ""));
        server.chat("bob", &[]).expect(&["alice (while you were away): one"]);
    }
}
