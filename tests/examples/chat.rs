//! Chats over pipes, with a server between them.

use std::time::Duration;

use crate::processes::{KEY, Server, folder, run};

#[test]
fn alice_and_bob_talk_through_a_crash_of_the_server() {
    let folder = folder();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);

    let mut alice = server.chat("alice", &[]);
    alice.say("/to bob");
    alice.expect(&["* bob is offline"]);
    alice.say("hello, bob");
    alice.expect(&["sent: hello, bob"]);

    let mut bob = server.chat("bob", &["--device", "phone"]);
    bob.expect(&["* online as bob"]);
    bob.expect(&["alice (while you were away): hello, bob"]);
    alice.expect(&["received: hello, bob"]);
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
