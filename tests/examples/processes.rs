//! The processes of these tests: examples that run and end, servers, chats over pipes, clients that say what they like.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const KEY: &str = "a master key for tests";

/// An example's program. `cargo test` builds the examples, but not where it is told which tests to run.
pub(crate) fn example(name: &str) -> PathBuf {
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

/// An example with its arguments, that is given no input.
pub(crate) fn example_with(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(example(name));
    command.args(arguments).stdin(Stdio::null());
    command
}

pub(crate) fn run(name: &str, arguments: &[&str]) -> Output {
    example_with(name, arguments).output().unwrap()
}

/// Runs an example whose output, and whatever it has to complain of, nobody reads.
pub(crate) fn run_unread(name: &str, arguments: &[&str]) -> ExitStatus {
    let closed = || {
        let (_, writer) = std::io::pipe().unwrap();
        writer
    };
    example_with(name, arguments).stdout(closed()).stderr(closed()).status().unwrap()
}

/// What an example prints, if it ends well.
pub(crate) fn printed(name: &str, arguments: &[&str]) -> String {
    let output = run(name, arguments);
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{name}: {}\n{}", output.status, said(&output.stderr));
    assert_eq!(said(&output.stderr), "", "{name}");
    said(&output.stdout)
}

pub(crate) fn assert_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is missing, or not in order, in:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

#[cfg(unix)]
pub(crate) fn send_signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// A server that is killed when the test ends.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", data, arguments)
    }

    pub(crate) fn start_at(listen: &str, data: &Path, arguments: &[&str]) -> Self {
        let mut command = Self::command(listen, data);
        command.args(arguments).stderr(Stdio::null());
        Self::spawn(command)
    }

    /// How a server is started, for a test that changes something about it.
    pub(crate) fn command(listen: &str, data: &Path) -> Command {
        let mut command = Command::new(example("tcp_server"));
        command.args(["--listen", listen, "--data"]).arg(data).env_remove("RUST_LOG");
        command
    }

    /// Starts it and waits until it listens. What it says after that goes to a closed pipe.
    pub(crate) fn spawn(command: Command) -> Self {
        Self::spawn_and_hear(command).0
    }

    /// The same, and what it says.
    pub(crate) fn spawn_and_hear(mut command: Command) -> (Self, BufReader<ChildStdout>) {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}")).trim().to_owned();
        (Self { child, address }, said)
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: &str) {
        send_signal(&self.child, signal);
    }

    /// Kills it without a word, and starts it again.
    pub(crate) fn crash(self, data: &Path, pause: Duration) -> Self {
        self.crash_while(data, || thread::sleep(pause))
    }

    /// The same, with something that happens while it is away.
    pub(crate) fn crash_while(mut self, data: &Path, meanwhile: impl FnOnce()) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        meanwhile();
        Self::start_at(&self.address, data, &[])
    }

    pub(crate) fn connect(&self) -> Client {
        let socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Client { lines: BufReader::new(socket.try_clone().unwrap()), socket }
    }

    pub(crate) fn chat(&self, name: &str, arguments: &[&str]) -> Chat {
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
pub(crate) struct Chat {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    pub(crate) name: String,
}

impl Chat {
    pub(crate) fn say(&mut self, line: &str) {
        self.input.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Reads on until a line has all of `parts`, and returns it.
    pub(crate) fn expect(&self, parts: &[&str]) -> String {
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

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: &str) {
        send_signal(&self.child, signal);
    }

    /// Ends its input, and returns how it ended and what it still said.
    pub(crate) fn finish(mut self) -> (Option<i32>, Vec<String>, String) {
        drop(self.input.take());
        self.finish_with_input_open()
    }

    /// The same, while there might still be something to read.
    pub(crate) fn finish_with_input_open(mut self) -> (Option<i32>, Vec<String>, String) {
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
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// The next line; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        // A server that closes while we still send resets the connection: that is an end, too.
        let _ = self.lines.read_line(&mut line);
        line
    }

    pub(crate) fn expect(&mut self, part: &str) -> String {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the end instead of {part}");
            if line.contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn open(&mut self, peer: &str) {
        self.send(format!("{{\"cmd\":\"session\",\"op\":\"open\",\"peerId\":\"{peer}\"}}\n"));
        self.expect("opened");
    }
}

pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}
