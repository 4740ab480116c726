//! A chat in the terminal: a client for the example `tcp_server`.
//!
//! `cargo run --release --example chat -- --as alice`, in another terminal `-- --as bob`; then `/to bob` and talk.
//!
//! This file is the transport: a socket that breaks and comes back, lines from the terminal, the clock. What is said on it,
//! and what is remembered across a broken connection, is in `client.rs`. One thread does all of it; two more only read, one
//! from the terminal, one from the socket, and pass on what they got.

mod client;
mod settings;

use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use client::{Client, End};
use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use settings::Settings;
use switchboard::{ClientConnection, Clock, Framing, Timestamp};

/// How long the first attempt to connect again waits, and the longest wait: it doubles each time.
const RETRY_AFTER: Duration = Duration::from_millis(250);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(15);
/// A server that takes nothing for so long is given up.
const WRITE_AFTER: Duration = Duration::from_secs(10);
/// When there is nothing more to read from the terminal, what others still have to say is waited for so long.
const QUIET_AFTER: Duration = Duration::from_secs(1);

/// What a socket brought; none is its end.
type FromSocket = io::Result<Option<Vec<u8>>>;

fn main() -> ExitCode {
    let settings = match Settings::from_args() {
        Ok(Some(settings)) => settings,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error}\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings) -> Result<(), String> {
    let clock = Clock::start();
    let mut client = Client::new(settings);
    let input_ended = Arc::new(AtomicBool::new(false));
    let terminal = read_terminal(Arc::clone(&input_ended)).map_err(|error| error.to_string())?;
    let mut retry_after = RETRY_AFTER;
    loop {
        let problem = match connect(settings) {
            Ok((socket, received)) => {
                let end = talk(&mut client, &socket, &received, &terminal, clock);
                // The thread that reads from it ends, too.
                let _ = socket.shutdown(Shutdown::Both);
                match end {
                    Ok(()) => return Ok(()),
                    Err(End::Failed(reason)) => return Err(reason),
                    Err(End::Lost(reason)) => reason,
                }
            }
            Err(error) => error.to_string(),
        };
        if client.disconnected() {
            retry_after = RETRY_AFTER;
        }
        // With nothing to say, and nobody to say more, there is no reason to try again.
        if input_ended.load(Ordering::Acquire) && terminal.is_empty() && client.is_settled() {
            return Err(format!("no connection to {}: {problem}", settings.connect));
        }
        // Not all clients of a server that starts again shall come in the same moment.
        let wait = retry_after.mul_f64(client::between(0.75, 1.25)?);
        client::say(&format!("* no connection to {} ({problem}); trying again in {wait:.1?}", settings.connect));
        thread::sleep(wait);
        retry_after = (retry_after * 2).min(RETRY_AFTER_MAX);
    }
}

/// Lines of the terminal, or of a pipe. The channel ends with them.
fn read_terminal(ended: Arc<AtomicBool>) -> io::Result<Receiver<String>> {
    // No further ahead than one line: the terminal waits, not the memory.
    let (sender, lines) = bounded(1);
    thread::Builder::new().name("terminal".to_owned()).spawn(move || {
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        // As bytes: a line that is not UTF-8 is no reason to stop.
        while input.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if sender.send(String::from_utf8_lossy(&line).trim().to_owned()).is_err() {
                return;
            }
            line.clear();
        }
        ended.store(true, Ordering::Release);
    })?;
    Ok(lines)
}

fn connect(settings: &Settings) -> io::Result<(TcpStream, Receiver<FromSocket>)> {
    let socket = TcpStream::connect(&settings.connect)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(WRITE_AFTER))?;
    let reader = socket.try_clone()?;
    let (sender, received) = bounded(16);
    thread::Builder::new().name("socket".to_owned()).spawn(move || read_socket(reader, &sender))?;
    Ok((socket, received))
}

fn read_socket(mut socket: TcpStream, sender: &Sender<FromSocket>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = socket.read(&mut buffer).map(|length| (length > 0).then(|| buffer[..length].to_vec()));
        let is_last = !matches!(read, Ok(Some(_)));
        if sender.send(read).is_err() || is_last {
            return;
        }
    }
}

/// One connection, from the login to its end.
fn talk(
    client: &mut Client,
    mut socket: &TcpStream,
    received: &Receiver<FromSocket>,
    terminal: &Receiver<String>,
    clock: Clock,
) -> Result<(), End> {
    let mut connection = ClientConnection::new(Framing::Lines, clock.now());
    client.log_in(&mut connection, clock.now())?;
    let mut quiet_at: Option<Timestamp> = None;
    loop {
        client.take_leave(&mut connection, clock.now());
        while let Some(frame) = connection.poll_transmit() {
            socket.write_all(frame.as_bytes()).map_err(|error| End::Lost(error.to_string()))?;
        }
        let dues = [client.poll_timeout(), quiet_at].into_iter().flatten();
        let wait = dues.fold(connection.poll_timeout(), Timestamp::min).since(clock.now());
        // The next line is read once the one before is answered: it may depend on it.
        let silence = never();
        let lines = if client.is_ready() && quiet_at.is_none() { terminal } else { &silence };
        select! {
            recv(received) -> bytes => {
                let bytes = bytes.map_err(|_| End::Lost("it ended".to_owned()))?;
                let bytes = bytes.map_err(|error| End::Lost(error.to_string()))?;
                let bytes = bytes.ok_or_else(|| End::Lost("the server closed it".to_owned()))?;
                connection.receive(&bytes, clock.now());
                client.hear(&mut connection, clock.now())?;
                quiet_at = quiet_at.map(|_| clock.now() + QUIET_AFTER);
            }
            recv(lines) -> line => match line {
                Ok(line) => client.type_line(&line, &mut connection, clock.now()),
                Err(_) => quiet_at = Some(clock.now() + QUIET_AFTER),
            },
            default(wait) => {}
        }
        let now = clock.now();
        client.handle_timeout(&mut connection, now);
        connection.handle_timeout(now);
        if connection.is_dead(now) {
            return Err(End::Lost("the server does not answer".to_owned()));
        }
        if client.has_left() || quiet_at.is_some_and(|at| now >= at && client.is_settled()) {
            return Ok(());
        }
    }
}
