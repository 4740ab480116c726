//! The examples that need nobody else.

use std::io::Read;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

#[cfg(unix)]
use crate::processes::send_signal;
use crate::processes::{assert_in_order, example_with, printed};

#[test]
fn quickstart_shows_a_message_that_waited_and_its_receipt() {
    let parts = [
        "bob: alice says \"Are you there?\"\n",
        "(1 message waits for bob)",
        "bob: alice says \"You went away!\" (offline)",
        "alice: bob has received my message",
        "alice: bob says \"Here I am again.\"",
    ];
    assert_in_order(&printed("quickstart", &[]), &parts);
}

#[test]
fn tom_and_jerry_live_through_their_chapter() {
    let text = printed("tom_and_jerry", &[]);
    let parts = [
        "1. Tom logs in.",
        "2. Tom logs in with his account's token. (With a wrong one: signature failed.)",
        "3. Tom makes the conversation \"Tom & Jerry\" with Jerry, mood \"chasing\".",
        "members are Jerry and Tom",
        "4. Jerry is told that Tom invited him.",
        "5. Tom says good morning: message 1",
        "6. Jerry receives {\"_lctype\":-1,\"_lctext\":\"Jerry, get up!\"}",
        "7. Jerry asks for a conversation with Tom, and finds the same one, \"Tom & Jerry\".",
        "8. With unique off he gets a new one, and then there are 2.",
        "9. Tom opens a chat room. With Jerry there are 2 in it.",
        "10. For an hour they have the temporary conversation _tmp:",
    ];
    assert_in_order(&text, &parts);
}

#[test]
fn the_game_plays_for_as_long_as_it_is_told() {
    let text = printed("game_loop", &["--seconds", "1"]);
    let parts = [
        "200 players, 60 ticks, ",
        " of them missed: ",
        "messages sent, ",
        " 0 refused\n",
        " commits, 0 of them failed",
        "engine's part of a tick: p50 ",
    ];
    assert_in_order(&text, &parts);
}

/// Each tick waited for the disk: one that takes 500 ms made two ticks a second of sixty, and nobody was told.
#[test]
fn a_slow_disk_does_not_slow_the_game() {
    let text = printed("game_loop", &["--seconds", "2", "--disk", "500"]);
    let missed: u32 =
        text.split("120 ticks, ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    assert!(missed < 100, "a busy machine may cost some, but not all:\n{text}");
    // What the game asked for was stored and came back all the same.
    assert!(!text.contains(" 0 delivered"), "{text}");
}

/// A game that is stopped has stored what its players were told, and says how it went.
#[cfg(unix)]
#[test]
fn a_game_that_is_stopped_ends_well() {
    for signal in ["-INT", "-TERM"] {
        let mut game = example_with("game_loop", &["--seconds", "1000"]).stdout(Stdio::piped()).spawn().unwrap();
        thread::sleep(Duration::from_secs(1));
        send_signal(&game, signal);
        let mut text = String::new();
        game.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(game.wait().unwrap().success());
        assert_in_order(&text, &["200 players, ", "engine's part of a tick: "]);
    }
}

#[test]
fn every_host_hears_every_message() {
    let text = printed("ready_signals", &[]);
    assert_in_order(&text, &["blocking: heard 3 of 3", "polling: heard 3 of 3", "async: heard 3 of 3"]);
}
