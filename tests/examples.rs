//! The examples as a new user runs them: by themselves, and a server with chats over pipes and sockets.
#![cfg(feature = "sled")]
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests of whole processes, in real time")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
const KEY: &str = "a master key for tests";

/// An example's program. `cargo test` builds the examples, but not where it is told which tests to run.
fn example(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        // `target/<profile>/deps/examples-…`
        let own = std::env::current_exe().unwrap();
        let profile = own.ancestors().nth(2).unwrap();
        let name = profile.file_name().unwrap().to_str().unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--quiet", "--examples", "--profile", if name == "debug" { "dev" } else { name }])
            .arg("--target-dir")
            .arg(profile.parent().unwrap())
            .arg("--manifest-path")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
            .status();
        assert!(status.unwrap().success(), "the examples do not build");
        profile.join("examples")
    });
    folder.join(name).with_extension(std::env::consts::EXE_EXTENSION)
}

fn run(name: &str, arguments: &[&str]) -> Output {
    Command::new(example(name)).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What an example prints, if it ends well.
fn printed(name: &str, arguments: &[&str]) -> String {
    let output = run(name, arguments);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{name}: {}\n{}", output.status, said(&output.stderr));
    assert_eq!(said(&output.stderr), "", "{name}");
    said(&output.stdout)
}

fn assert_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is missing, or not in order, in:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

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
    assert_in_order(
        &text,
        &["200 players, 60 ticks: ", "messages sent, ", " 0 refused\n", "engine's part of a tick: p50 "],
    );
}

#[test]
fn every_host_hears_every_message() {
    let text = printed("ready_signals", &[]);
    assert_in_order(&text, &["blocking: heard 3 of 3", "polling: heard 3 of 3", "async: heard 3 of 3"]);
}

#[test]
fn wrong_arguments_are_named() {
    for (name, arguments, code, says) in [
        ("tcp_server", vec!["--lisen", "x"], 2, "invalid option '--lisen'"),
        ("tcp_server", vec!["--durability", "much"], 2, "must be fsync, process or memory"),
        ("tcp_server", vec!["--master-key", "short"], 2, "--master-key must have at least 16 bytes"),
        ("tcp_server", vec!["--app-id", "a:b"], 2, "app_id"),
        ("tcp_server", vec!["--word-list", "no-such-file"], 2, "word list no-such-file"),
        ("tcp_server", vec!["--listen", "nonsense"], 3, "cannot listen on nonsense"),
        ("chat", vec![], 2, "who are you?"),
        ("chat", vec!["--as", "a\u{1}"], 2, "invalid peer id"),
        ("game_loop", vec!["--hours", "1"], 1, "invalid option '--hours'"),
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

/// A server that is killed when the test ends.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", data, arguments)
    }

    fn start_at(listen: &str, data: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(example("tcp_server"))
            .args(["--listen", listen, "--data"])
            .arg(data)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}")).trim().to_owned();
        Self { child, address }
    }

    /// Kills it without a word, and starts it again.
    fn crash(mut self, data: &Path, pause: Duration) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        thread::sleep(pause);
        Self::start_at(&self.address, data, &[])
    }

    fn connect(&self) -> Client {
        let socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Client { lines: BufReader::new(socket.try_clone().unwrap()), socket }
    }

    fn chat(&self, name: &str, arguments: &[&str]) -> Chat {
        let mut child = Command::new(example("chat"))
            .args(["--connect", &self.address, "--as", name])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Chat { input: child.stdin.take(), child, lines, name: name.to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A chat over pipes.
struct Chat {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    name: String,
}

impl Chat {
    fn say(&mut self, line: &str) {
        self.input.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Reads on until a line has all of `parts`, and returns it.
    fn expect(&self, parts: &[&str]) -> String {
        let until = Instant::now() + SOON;
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
            seen.push(line);
        }
        panic!("{} waits for {parts:?} and sees {seen:#?}", self.name);
    }

    /// Ends its input, and returns what it still says.
    fn finish(mut self) -> (Option<i32>, Vec<String>, String) {
        drop(self.input.take());
        let rest = self.lines.iter().collect();
        let mut problems = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut problems).unwrap();
        (self.child.wait().unwrap().code(), rest, problems)
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that says what it likes.
struct Client {
    socket: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Client {
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// The next line; empty at the end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        // A server that closes while we still send resets the connection: that is an end, too.
        let _ = self.lines.read_line(&mut line);
        line
    }

    fn expect(&mut self, part: &str) -> String {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the end instead of {part}");
            if line.contains(part) {
                return line;
            }
        }
    }

    fn open(&mut self, peer: &str) {
        self.send(format!("{{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"{peer}\"}}\n"));
        self.expect("opened");
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

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

/// A line from a pipe goes out, though the pipe ends at once.
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

/// A chat without a server tries again for as long as somebody may still say something.
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

#[test]
fn odd_input_is_answered_and_hurts_nobody() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--durability", "memory"]);
    let mut good = server.connect();
    good.open("good");

    let mut garbage = server.connect();
    garbage.send(b"\x00\xff\xfe{[\"\n".repeat(9));
    for _ in 0..9 {
        assert!(garbage.line().contains("4114"));
    }
    garbage.send("tenth\n");
    assert!(garbage.line().contains("4114"));
    assert_eq!(garbage.line(), "", "closed by the tenth");

    let mut long = server.connect();
    // The server does not wait for the end of the line.
    let _ = long.socket.write_all(&vec![b'a'; 1 << 20]);
    long.expect("4109");
    assert_eq!(long.line(), "");

    let mut half = server.connect();
    half.send("{\"cmd\":\"session\",\"op\":\"op");
    half.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(half.line(), "");

    let mut pieces = server.connect();
    for byte in "{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"pieces\"}\r\n".bytes() {
        pieces.send([byte]);
    }
    pieces.expect("opened");
    pieces.send("{\"cmd\":\"direct\",\"peerId\":\"good\",\"toPeerIds\":[\"bob\"],\"msg\":\"as another\",\"i\":7}\n");
    assert!(pieces.expect("\"i\":7").contains("4105"), "only who is on the connection can be spoken for");
    let fifty_one = "x".repeat(51);
    pieces.send(format!("{{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"{fifty_one}\"}}\n"));
    pieces.expect("4103");
    assert_eq!(pieces.line(), "");

    good.send("{}\n");
    assert_eq!(good.line(), "{}\n", "nobody else noticed");
}

/// Whoever asks without ever reading is not waited for, and their answers are not collected without end.
#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--durability", "memory"]);
    let mut slow = server.connect();
    slow.open("slow");
    slow.socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let list = "{\"cmd\":\"room\",\"op\":\"list\",\"peerId\":\"slow\"}\n".repeat(1_000);
    let mut sent = 0;
    while let Ok(()) = slow.socket.write_all(list.as_bytes()) {
        sent += list.len();
        assert!(sent < 64 << 20, "the server takes everything");
    }
    let (mut alice, mut bob) = (server.connect(), server.connect());
    alice.open("alice");
    bob.open("bob");
    alice.send("{\"cmd\":\"direct\",\"peerId\":\"alice\",\"toPeerIds\":[\"slow\",\"bob\"],\"msg\":\"hi\",\"i\":2}\n");
    alice.expect("\"ack\"");
    bob.expect("\"hi\"");
}

#[test]
fn connections_are_counted() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--durability", "memory", "--connections-max", "4"]);
    let strangers: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    // Strangers take up half of the places, and one.
    server.connect().expect("4318");
    drop(strangers);
    let until = Instant::now() + SOON;
    loop {
        let mut client = server.connect();
        client.send("{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"alice\"}\n");
        if client.line().contains("opened") {
            return;
        }
        assert!(Instant::now() < until, "their places are not given again");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_second_server_says_what_is_taken() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let data = folder.path().to_str().unwrap();
    for (listen, code, says) in [("127.0.0.1:0", 4, "is in use by another server"), (&server.address, 3, "is in use")] {
        let output = run("tcp_server", &["--listen", listen, "--data", data]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(says), "{text}");
        assert_eq!(output.status.code(), Some(code), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn a_server_that_is_asked_to_stop_says_good_bye_and_loses_nothing() {
    for signal in ["-TERM", "-INT"] {
        let folder = folder();
        let mut server = Server::start(folder.path(), &[]);
        let mut alice = server.connect();
        alice.open("alice");
        alice.send("{\"cmd\":\"direct\",\"peerId\":\"alice\",\"toPeerIds\":[\"bob\"],\"msg\":\"keep this\",\"i\":1}\n");
        alice.expect("\"ack\"");
        let kill = Command::new("kill").args([signal, &server.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let line = alice.expect("closed");
        assert!(line.contains("4200"), "{line}");
        assert_eq!(alice.line(), "");
        assert_eq!(server.child.wait().unwrap().code(), Some(0));
        let server = Server::start(folder.path(), &[]);
        let mut bob = server.connect();
        bob.open("bob");
        bob.expect("keep this");
    }
}
