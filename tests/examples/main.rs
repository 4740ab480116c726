//! The examples as a new user runs them: by themselves, and a server with chats over pipes and sockets.
#![cfg(feature = "sled")]
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests of whole processes, in real time")]

mod chat;
mod in_process;
mod processes;
mod server;
#[cfg(unix)]
mod terminal;

use processes::{printed, run, run_unread};

#[test]
fn wrong_arguments_are_named() {
    for (name, arguments, code, says) in [
        ("tcp_server", vec!["--lisen", "x"], 2, "invalid option '--lisen'"),
        ("tcp_server", vec!["--durability", "much"], 2, "must be fsync, process or memory"),
        ("tcp_server", vec!["--master-key", "short"], 2, "--master-key must have at least 16 bytes"),
        ("tcp_server", vec!["--log", "loud"], 2, "must be off, error, warn, info, debug or trace"),
        ("tcp_server", vec!["--app-id", "a:b"], 2, "app_id"),
        ("tcp_server", vec!["--word-list", "no-such-file"], 2, "word list no-such-file"),
        ("tcp_server", vec!["--listen", "nonsense"], 3, "cannot listen on nonsense"),
        ("chat", vec![], 2, "who are you?"),
        ("chat", vec!["--as", "alice", "--color"], 2, "invalid option '--color'"),
        ("chat", vec!["--as", "a\u{1}"], 2, "invalid peer id"),
        ("game_loop", vec!["--seconds", "many"], 2, "cannot parse argument \"many\""),
        ("game_loop", vec!["--hours", "1"], 2, "invalid option '--hours'"),
    ] {
        let output = run(name, &arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(says), "{name} {arguments:?}: {text}");
        assert_eq!(output.status.code(), Some(code), "{name} {arguments:?}");
    }
    for name in ["tcp_server", "chat", "game_loop"] {
        assert!(printed(name, &["--help"]).contains("Usage: "), "{name}");
    }
}

/// `quickstart | head -1` ended with a panic: the second line went to a closed pipe.
#[test]
fn nobody_has_to_read_what_an_example_says() {
    for (name, arguments, code) in [
        ("quickstart", vec![], 0),
        ("tom_and_jerry", vec![], 0),
        ("ready_signals", vec![], 0),
        ("game_loop", vec!["--seconds", "1"], 0),
        ("game_loop", vec!["--help"], 0),
        ("tcp_server", vec!["--help"], 0),
        ("tcp_server", vec!["--nonsense"], 2),
        ("chat", vec!["--help"], 0),
        ("chat", vec!["--nonsense"], 2),
        ("chat", vec!["--as", "alice", "--connect", "127.0.0.1:1"], 1),
    ] {
        assert_eq!(run_unread(name, &arguments).code(), Some(code), "{name} {arguments:?}");
    }
}
