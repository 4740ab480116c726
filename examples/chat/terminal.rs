//! The terminal: lines that are typed, lines that are shown, and the wish to stop.
//!
//! On a terminal a line editor keeps what is being typed in its place while others' messages appear above it. From and into
//! pipes, plain lines come and go.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor, ExternalPrinter};
use switchboard::ConnectionConfig;

/// How often the line editor is asked to end, and how long is waited each time.
const WAKE_TRIES: usize = 50;
const WAKE_AFTER: Duration = Duration::from_millis(10);

/// What was typed.
pub(crate) enum Typed {
    Line(String),
    /// A line that is longer than any frame may be. It was not kept.
    TooLong,
}

/// Where lines come from.
pub(crate) struct Terminal {
    /// The channel ends with a pipe.
    pub(crate) lines: Receiver<Typed>,
    /// The user wants to go: by Ctrl-C, Ctrl-D or a signal.
    pub(crate) stop: Receiver<()>,
    pub(crate) is_interactive: bool,
    has_ended: Arc<AtomicBool>,
    reader: thread::JoinHandle<()>,
}

/// Where lines are shown.
pub(crate) struct Screen {
    editor: Option<RefCell<Box<dyn ExternalPrinter>>>,
    is_closed: Cell<bool>,
}

/// Opens the terminal, or the pipes in its stead.
pub(crate) fn open() -> Result<(Terminal, Screen), String> {
    let (wish, stop) = bounded(2);
    let signalled = wish.clone();
    ctrlc::set_handler(move || _ = signalled.try_send(())).map_err(|error| error.to_string())?;
    let has_ended = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&has_ended);
    let editor = open_editor();
    let is_interactive = editor.is_some();
    let (lines, reader, editor) = match editor {
        Some((editor, printer)) => {
            // A person does not type faster than memory grows, and must never wait for what is shown.
            let (sender, lines) = unbounded();
            (lines, spawn(move || edit(editor, &sender, &wish, &ended)), Some(RefCell::new(printer)))
        }
        None => {
            // No further ahead than one line: the pipe waits, not the memory.
            let (sender, lines) = bounded(1);
            (lines, spawn(move || read(&sender, &ended)), None)
        }
    };
    let reader = reader.map_err(|error| format!("no thread: {error}"))?;
    let terminal = Terminal { lines, stop, is_interactive, has_ended, reader };
    Ok((terminal, Screen { editor, is_closed: Cell::new(false) }))
}

fn spawn(run: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("terminal".to_owned()).spawn(run)
}

/// The line editor, where there is a terminal that can do what it needs.
fn open_editor() -> Option<(DefaultEditor, Box<dyn ExternalPrinter>)> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return None;
    }
    let mut editor = DefaultEditor::with_config(Config::builder().auto_add_history(true).build()).ok()?;
    let printer = editor.create_external_printer().ok()?;
    Some((editor, Box::new(printer)))
}

fn edit(mut editor: DefaultEditor, lines: &Sender<Typed>, stop: &Sender<()>, ended: &AtomicBool) {
    while !ended.load(Ordering::Acquire) {
        let read = match editor.readline("> ") {
            // What is pasted may be several.
            Ok(text) => text.lines().map(typed).try_for_each(|typed| lines.send(typed)),
            // Bytes that are no text are no reason to stop.
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => Ok(()),
            Err(_) => break,
        };
        if read.is_err() {
            break;
        }
    }
    // From here on Ctrl-C is a signal again.
    let _ = stop.try_send(());
}

fn read(lines: &Sender<Typed>, ended: &AtomicBool) {
    let mut input = io::stdin().lock();
    while let Ok(Some(typed)) = read_line(&mut input) {
        if lines.send(typed).is_err() {
            return;
        }
    }
    ended.store(true, Ordering::Release);
}

/// Reads a line, however long, without keeping more of it than can be sent. None is the end.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Typed>> {
    let max = line_bytes_max();
    // As bytes: a line that is not UTF-8 is no reason to stop.
    let mut line = Vec::new();
    if input.take(max as u64 + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() > max && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
        return Ok(Some(Typed::TooLong));
    }
    Ok(Some(typed(&String::from_utf8_lossy(&line))))
}

fn typed(line: &str) -> Typed {
    let line = line.trim();
    if line.len() > line_bytes_max() { Typed::TooLong } else { Typed::Line(line.to_owned()) }
}

/// A line that is longer than a frame does not fit into one.
pub(crate) fn line_bytes_max() -> usize {
    ConnectionConfig::default().frame_bytes_max
}

impl Terminal {
    /// Whether nothing more will be typed.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire) && self.lines.is_empty()
    }

    /// Ends the line editor, which leaves the terminal as it was found.
    pub(crate) fn close(self) {
        self.has_ended.store(true, Ordering::Release);
        for _ in 0..WAKE_TRIES {
            if !self.is_interactive || self.reader.is_finished() {
                return;
            }
            wake_editor();
            thread::sleep(WAKE_AFTER);
        }
    }
}

/// The editor waits for a key, and takes a signal for one.
#[cfg(unix)]
fn wake_editor() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    let _ = kill(Pid::this(), Signal::SIGINT);
}

/// There is no such signal; the console gets its mode back from the shell.
#[cfg(not(unix))]
fn wake_editor() {}

impl Screen {
    /// Shows a line.
    pub(crate) fn say(&self, line: impl Display) {
        let line = format!("{line}\n");
        let print = |editor: &RefCell<Box<dyn ExternalPrinter>>| editor.borrow_mut().print(line.clone()).is_ok();
        // An editor that has just ended takes nothing more; the terminal does.
        if !self.editor.as_ref().is_some_and(print) && write_out(&line).is_err() {
            self.is_closed.set(true);
        }
    }

    /// Whether nobody reads what is shown any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }
}

fn write_out(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}
