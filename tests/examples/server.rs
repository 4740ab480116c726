//! The server by itself: what clients over sockets see, and whoever started it.

use std::io::{BufRead, Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::processes::{Client, KEY, SOON, Server, assert_in_order, example_with, folder, run};

/// A line from a pipe goes out, though the pipe ends at once.
/// A chat without a server tries again for as long as somebody may still say something.
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

/// Opens, sends, stops the server with a signal, and finds the message after another start.
#[cfg(unix)]
fn is_stopped_without_loss(mut server: Server, data: &Path, signal: &str) {
    let mut alice = server.connect();
    alice.open("alice");
    alice.send("{\"cmd\":\"direct\",\"peerId\":\"alice\",\"toPeerIds\":[\"bob\"],\"msg\":\"keep this\",\"i\":1}\n");
    alice.expect("\"ack\"");
    server.signal(signal);
    let line = alice.expect("closed");
    assert!(line.contains("4200"), "{line}");
    assert_eq!(alice.line(), "");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let server = Server::start(data, &[]);
    let mut bob = server.connect();
    bob.open("bob");
    bob.expect("keep this");
}

#[cfg(unix)]
#[test]
fn a_server_that_is_asked_to_stop_says_good_bye_and_loses_nothing() {
    for signal in ["-TERM", "-INT", "-HUP"] {
        let folder = folder();
        is_stopped_without_loss(Server::start(folder.path(), &[]), folder.path(), signal);
    }
}

/// `tcp_server 2>&1 | head -1`: the first word to the closed log was a panic, and the server ended without its shutdown.
#[cfg(unix)]
#[test]
fn a_server_whose_log_nobody_reads_goes_on_and_ends_well() {
    let folder = folder();
    let mut command = Server::command("127.0.0.1:0", folder.path());
    let (log, closed) = std::io::pipe().unwrap();
    drop(log);
    command.env("RUST_LOG", "trace").stderr(closed);
    is_stopped_without_loss(Server::spawn(command), folder.path(), "-TERM");
}

/// Ctrl-S in the server's terminal: the log stood still, and with it everybody who had something to say there.
#[cfg(unix)]
#[test]
fn a_server_whose_log_stands_still_goes_on_and_ends_well() {
    let folder = folder();
    let mut command = Server::command("127.0.0.1:0", folder.path());
    let (_unread, log) = std::io::pipe().unwrap();
    command.args(["--durability", "process"]).stderr(log);
    let server = Server::spawn(command);
    let mut client = server.connect();
    // More lines than a pipe and the server's memory of them hold.
    for _ in 0..2_000 {
        client.open("busy");
        client.send("{\"cmd\":\"session\",\"op\":\"close\",\"peerId\":\"busy\",\"i\":1}\n");
        client.expect("\"i\":1");
    }
    is_stopped_without_loss(server, folder.path(), "-TERM");
}

/// `printf … | nc -N` asks, says that it is done, and waits for answers: it got none that had to wait for the disk.
#[test]
fn a_client_that_says_no_more_still_gets_its_answers() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let mut client = server.connect();
    client.send("{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"alice\",\"i\":1}\n");
    for serial in 2..=40 {
        client.send(format!(
            "{{\"cmd\":\"direct\",\"peerId\":\"alice\",\"toPeerIds\":[\"bob\"],\"msg\":\"x\",\"i\":{serial}}}\n"
        ));
    }
    client.socket.shutdown(Shutdown::Write).unwrap();
    client.expect("opened");
    for serial in 2..=40 {
        client.expect(&format!("\"i\":{serial},\"cmd\":\"ack\""));
    }
    let ended = Instant::now();
    assert_eq!(client.line(), "");
    assert!(ended.elapsed() < Duration::from_secs(5), "it is not kept for longer than that");
}

/// With 1,024 handles and a default of 2,000 connections, those ran out: nobody could come in, and the store failed.
#[cfg(target_os = "linux")]
#[test]
fn there_are_no_more_connections_than_handles() {
    let folder = folder();
    let mut command = limited("", 100, Server::command("127.0.0.1:0", folder.path()));
    command.stderr(Stdio::null());
    let server = Server::spawn(command);
    let mut inside = Vec::new();
    let mut refused = 0;
    for number in 0..120 {
        let mut client = server.connect();
        client.send(format!("{{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"peer-{number}\"}}\n"));
        let line = client.line();
        if line.contains("opened") {
            inside.push(client);
        } else {
            assert!(line.contains("4318"), "{line}");
            refused += 1;
        }
    }
    assert_eq!((inside.len(), refused), (36, 84));
    // Those who are in are served, to the disk.
    inside[0].send("{\"cmd\":\"direct\",\"peerId\":\"peer-0\",\"toPeerIds\":[\"peer-1\"],\"msg\":\"hi\",\"i\":2}\n");
    inside[0].expect("\"ack\"");
    inside[1].expect("\"hi\"");
    let output = limited("", 100, example_with("tcp_server", &["--connections-max", "37"])).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("--connections-max 37 needs 101 file handles, and this process may have 100"), "{text}");
    assert_eq!(output.status.code(), Some(2));
}

/// Whatever takes the handles: the server waits for some, asleep, and then serves whom it could not let in.
#[cfg(target_os = "linux")]
#[test]
fn a_server_without_handles_waits_without_spinning() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let process = server.child.id();
    let mut handles = (0, 0);
    let pid = i32::try_from(process).unwrap();
    rlimit::prlimit(pid, rlimit::Resource::NOFILE, Some((4, 20_000)), Some((&mut handles.0, &mut handles.1))).unwrap();
    let mut client = server.connect();
    client.send("{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"alice\"}\n");
    let before = cpu_ticks(process);
    thread::sleep(Duration::from_secs(1));
    let spent = cpu_ticks(process) - before;
    assert!(spent < 20, "{spent} of 100 ticks");
    rlimit::prlimit(pid, rlimit::Resource::NOFILE, Some(handles), None).unwrap();
    client.expect("opened");
}

/// A limit that the process may raise by itself was taken for the last word.
#[cfg(target_os = "linux")]
#[test]
fn a_server_asks_for_the_handles_that_it_may_have() {
    let folder = folder();
    let arguments = ["--connections-max", "150"];
    let mut command = Server::command("127.0.0.1:0", folder.path());
    command.args(arguments);
    let (_server, mut said) = Server::spawn_and_hear(limited("-S", 100, command));
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("at most 150 connections"), "{line}");
}

/// A command that may have so many file handles; with `-S`, more if it asks for them.
#[cfg(target_os = "linux")]
fn limited(which: &str, handles: u32, command: Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {which} -n {handles}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// Processor time that a process has used, in hundredths of a second.
#[cfg(target_os = "linux")]
fn cpu_ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // After the name, which may have spaces: user and system time are the 14th and 15th of all.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Whoever started a server for the first time saw an address, and nothing of where the data is or how to go on; and later
/// nothing of who came, and why somebody else could not.
#[cfg(unix)]
#[test]
fn a_server_says_where_it_keeps_what_and_who_comes_and_goes() {
    let folder = folder();
    let data = folder.path().join("data");
    let log = folder.path().join("log");
    let mut command = Server::command("127.0.0.1:0", &data);
    command.args(["--app-id", "mine", "--master-key", KEY, "--log", "debug"]);
    command.stderr(std::fs::File::create(&log).unwrap());
    let (mut server, mut said) = Server::spawn_and_hear(command);
    let mut alice = server.chat("alice", &["--app-id", "mine", "--master-key", KEY]);
    alice.expect(&["online as alice"]);
    alice.say("/to bob");
    alice.expect(&["bob is offline"]);
    alice.say("between us");
    alice.expect(&["sent: between us"]);
    assert_eq!(alice.finish().0, Some(0));
    server.connect().send("{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"eve\",\"appId\":\"mine\"}\n");
    let mut long = server.connect();
    let _ = long.socket.write_all(&vec![b'a'; 1 << 17]);
    long.expect("4109");
    server.signal("-INT");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));

    let mut text = String::new();
    said.read_to_string(&mut text).unwrap();
    let connect = format!("chat -- --as alice --connect {} --app-id mine --master-key KEY\n", server.address);
    let kept = format!("messages are kept in {}: what is acknowledged survives a power cut\n", data.display());
    assert_in_order(&text, &[&kept, "at most 2000 connections", &connect, "chat -- --as bob"]);
    let log = std::fs::read_to_string(&log).unwrap();
    assert_in_order(&log, &["INFO", "online peer=alice", "from=127.0.0.1", "offline peer=alice reason="]);
    assert_in_order(&log, &["shutting down", "everything is stored"]);
    assert_in_order(&log, &["login refused peer=eve", "error=signature failed"]);
    assert_in_order(&log, &["connection ended from=127.0.0.1:", "code=4109"]);
    assert!(!log.contains("between us") && !log.contains(KEY) && !text.contains(KEY), "{log}");
}
