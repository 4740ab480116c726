//! A chat on a terminal, where a person types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use parking_lot::Mutex;

use crate::processes::{SOON, Server, example_with, folder, send_signal};

/// A chat with a terminal of its own.
struct Person {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    /// Everything that went to the screen, cursor movements included.
    screen: Arc<Mutex<String>>,
}

impl Person {
    fn start(server: &Server, name: &str) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).unwrap();
        let terminal = || pair.slave.try_clone().unwrap();
        let mut command = example_with("chat", &["--as", name, "--connect", &server.address]);
        let child = command.env("TERM", "xterm").stdin(terminal()).stdout(terminal()).stderr(terminal()).spawn();
        let keyboard = File::from(pair.master);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut output, shown) = (keyboard.try_clone().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                shown.lock().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Self { child: child.unwrap(), keyboard, terminal: pair.slave, screen }
    }

    fn type_keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen has shown `parts`, one after another.
    fn sees(&self, parts: &[&str]) {
        let until = Instant::now() + SOON;
        while !has_in_order(&self.screen.lock(), parts) {
            assert!(Instant::now() < until, "{parts:?} is missing in {:?}", self.screen.lock());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// It ends well, and leaves the terminal as it was found.
    fn ends_well(mut self) {
        let code = self.child.wait().unwrap().code();
        assert_eq!(code, Some(0), "{:?}", self.screen.lock());
        let flags = tcgetattr(&self.terminal).unwrap().local_flags;
        assert!(flags.contains(LocalFlags::ICANON | LocalFlags::ECHO), "what is typed next is not seen: {flags:?}");
    }
}

fn has_in_order(mut text: &str, parts: &[&str]) -> bool {
    parts.iter().all(|part| {
        let found = text.find(part);
        text = found.map_or("", |at| &text[at + part.len()..]);
        found.is_some()
    })
}

/// A message that came while one was typing was written into the middle of one's line.
#[test]
fn what_is_being_typed_stays_whole_when_a_message_comes() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--durability", "memory"]);
    let mut alice = Person::start(&server, "alice");
    let mut bob = server.chat("bob", &[]);
    bob.expect(&["* online as bob"]);
    alice.sees(&["* online as alice"]);
    alice.type_keys("/to bob\r");
    alice.sees(&["* bob is online"]);
    alice.type_keys("half a li");
    alice.sees(&["half a li"]);
    bob.say("/to alice\nin between");
    alice.sees(&["bob: in between", "> half a li"]);
    alice.type_keys("ne\r");
    bob.expect(&["alice: half a line"]);
    alice.sees(&["✓ to bob, sent: half a line", "✓✓ to bob, received: half a line"]);
    // Several keys at once, and lines ahead of the editor.
    alice.type_keys("one\rtwo\r");
    bob.expect(&["alice: one"]);
    bob.expect(&["alice: two"]);
    alice.type_keys("\u{3}");
    alice.ends_well();
}

/// Whoever typed while the server was away was neither heard nor told.
#[test]
fn what_is_typed_without_a_connection_is_sent_later() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    let mut alice = Person::start(&server, "alice");
    alice.type_keys("/to bob\r");
    alice.sees(&["* bob is offline"]);
    let server = server.crash_while(folder.path(), || {
        alice.sees(&["* no connection to ", "what you type is sent later"]);
        alice.type_keys("while it was down\r");
        alice.sees(&["while it was down"]);
    });
    alice.sees(&["* again online as alice", "✓ to bob, sent: while it was down"]);
    server.chat("bob", &[]).expect(&["alice (while you were away): while it was down"]);
    alice.type_keys("\u{4}");
    alice.ends_well();
}

/// A chat that was stopped by another than its user left a terminal that shows nothing of what is typed.
#[test]
fn a_chat_that_is_stopped_gives_the_terminal_back() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--durability", "memory"]);
    let mut alice = Person::start(&server, "alice");
    alice.sees(&["* online as alice"]);
    alice.type_keys("unfinished");
    alice.sees(&["unfinished"]);
    send_signal(&alice.child, "-TERM");
    alice.ends_well();
    assert_eq!(server.chat("alice", &[]).finish().0, Some(0));
}
