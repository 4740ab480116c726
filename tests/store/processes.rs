//! Children: this binary again, running one ignored test.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Generous: only a hang takes this long.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// A child that runs the ignored test `name` with `folder`, started through `shell` where it needs limits.
pub(crate) fn child(name: &str, folder: &Path, shell: Option<&str>) -> Child {
    match shell {
        Some(script) => started_by(&["sh", "-c", &format!("{script}; exec \"$0\" \"$@\"")], name, folder),
        None => start(&mut Command::new(binary()), name, folder),
    }
}

/// The same, started by a command that runs its arguments.
pub(crate) fn started_by(starter: &[&str], name: &str, folder: &Path) -> Child {
    start(Command::new(starter[0]).args(&starter[1..]).arg(binary()), name, folder)
}

fn binary() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn start(command: &mut Command, name: &str, folder: &Path) -> Child {
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("STORE_TEST_FOLDER", folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Runs a child on a disk of its own, of 16 MiB in memory, until it says that all was well. Where this user mounts none, it
/// says so.
#[cfg(target_os = "linux")]
pub(crate) fn on_a_small_disk(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let script =
        r#"mount -t tmpfs -o size=16m tmpfs "$STORE_TEST_FOLDER" || { echo say unmounted; exit; }; exec "$0" "$@""#;
    let mut process = started_by(&["unshare", "--mount", "sh", "-c", script], name, folder.path());
    let said: Vec<_> = said(&mut process).iter().collect();
    let status = process.wait().unwrap();
    if said.is_empty() || said == ["unmounted"] {
        eprintln!("not tested on a disk of its own: this user mounts none");
        return;
    }
    assert!(status.success() && said.last().is_some_and(|line| line == "well"), "{said:?}");
}

/// The lines that the child says, until it ends.
#[expect(clippy::disallowed_methods, reason = "a child that hangs must not hang its test")]
pub(crate) fn said(child: &mut Child) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            // The first line of a test run shares its line with the name of the test.
            if let Some(at) = line.find("say ") {
                let _ = send.send(line[at + 4..].to_owned());
            }
        }
    });
    receive
}

pub(crate) fn hear(lines: &mpsc::Receiver<String>, expected: &str) {
    while lines.recv_timeout(HANG).expect("the child speaks") != expected {}
}

pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "say {text}").and_then(|()| out.flush()).unwrap();
}

pub(crate) fn end(mut child: Child) {
    let _ = child.kill();
    child.wait().unwrap();
}

pub(crate) fn folder_of_child() -> PathBuf {
    PathBuf::from(std::env::var_os("STORE_TEST_FOLDER").expect("started by another test"))
}

pub(crate) fn wait_for_parent() {
    let _ = std::io::stdin().read_line(&mut String::new());
}
