//! A chat in the terminal: a client for the example `tcp_server`.
//!
//! `cargo run --release --example chat -- --as alice`, in another terminal `-- --as bob`; then `/to bob` and talk.
//!
//! This file is the transport: a socket that breaks and comes back, lines from the terminal, the clock. What is said on it,
//! and what is remembered across a broken connection, is in `client.rs`. One thread does all of it; two more only read, one
//! from the terminal, one from the socket, and pass on what they got.

mod client;
mod commands;
mod hear;
mod settings;
mod show;
mod terminal;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use switchboard::{ClientConnection, Clock, Framing, Timestamp};

use client::{Client, End};
use settings::Settings;
use terminal::{Terminal, Typed};

/// How long the first attempt to connect again waits, and the longest wait: it doubles each time.
const RETRY_AFTER: Duration = Duration::from_millis(250);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(15);
/// A server that is not reached within this time is tried again.
const CONNECT_AFTER: Duration = Duration::from_secs(5);
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
        Err(error) => return complain(&format!("{error}\nTry --help."), 2),
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error, 1),
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    // Nobody may be reading it; the code says it, too.
    let _ = writeln!(io::stderr(), "chat: {text}");
    ExitCode::from(code)
}

fn run(settings: &Settings) -> Result<(), String> {
    let (terminal, screen) = terminal::open()?;
    let end = converse(&mut Client::new(settings, screen), &terminal);
    terminal.close();
    end
}

/// Connection after connection, until the user leaves or there is no point in another.
fn converse(client: &mut Client<'_>, terminal: &Terminal) -> Result<(), String> {
    let clock = Clock::start();
    let address = &client.settings.connect;
    let mut retry_after = RETRY_AFTER;
    loop {
        let problem = match connect(address) {
            Ok((socket, received)) => {
                let end = talk(client, &socket, &received, terminal, clock);
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
        if client.disconnected(&problem) {
            retry_after = RETRY_AFTER;
        }
        // With nothing to say, and nobody to say more, there is no reason to try again.
        if client.screen.is_closed() || terminal.has_ended() && client.is_settled() {
            return Err(format!("no connection to {address}: {problem}"));
        }
        // Not all clients of a server that starts again shall come in the same moment.
        let wait = retry_after.mul_f64(client::between(0.75, 1.25)?);
        if has_left_meanwhile(client, terminal, clock, wait) {
            return without_connection(client);
        }
        retry_after = (retry_after * 2).min(RETRY_AFTER_MAX);
    }
}

/// Waits, and keeps what a person types. Tells whether the user wants to go.
fn has_left_meanwhile(client: &mut Client<'_>, terminal: &Terminal, clock: Clock, wait: Duration) -> bool {
    let until = clock.now() + wait;
    // A pipe waits: what it says may depend on answers.
    let silence = never();
    let lines = if terminal.is_interactive { &terminal.lines } else { &silence };
    while !client.wants_to_leave() && clock.now() < until {
        select! {
            recv(terminal.stop) -> _ => return true,
            recv(lines) -> line => match line {
                Ok(Typed::Line(line)) => client.keep_line(line),
                Ok(Typed::TooLong) => client.refuse_line(),
                Err(_) => return true,
            },
            default(until.since(clock.now())) => {}
        }
    }
    client.wants_to_leave()
}

fn without_connection(client: &Client<'_>) -> Result<(), String> {
    match client.count_unconfirmed() {
        0 => Ok(()),
        count => Err(format!("there is no connection: the server has not confirmed {count} of your messages")),
    }
}

fn connect(address: &str) -> io::Result<(TcpStream, Receiver<FromSocket>)> {
    let socket = connect_to_any(address)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(WRITE_AFTER))?;
    let reader = socket.try_clone()?;
    let (sender, received) = bounded(16);
    thread::Builder::new().name("socket".to_owned()).spawn(move || read_socket(reader, &sender))?;
    Ok((socket, received))
}

/// A name may have several addresses, and not all of them need work.
fn connect_to_any(address: &str) -> io::Result<TcpStream> {
    let mut problem = io::Error::other("the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_AFTER) {
            Ok(socket) => return Ok(socket),
            Err(error) => problem = error,
        }
    }
    Err(problem)
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
    client: &mut Client<'_>,
    mut socket: &TcpStream,
    received: &Receiver<FromSocket>,
    terminal: &Terminal,
    clock: Clock,
) -> Result<(), End> {
    let mut connection = ClientConnection::new(Framing::Lines, clock.now());
    client.log_in(&mut connection, clock.now())?;
    let mut quiet_at: Option<Timestamp> = None;
    loop {
        while let Some(line) = client.kept_line() {
            client.type_line(&line, &mut connection, clock.now());
        }
        client.take_leave(&mut connection, clock.now())?;
        while let Some(frame) = connection.poll_transmit() {
            socket.write_all(frame.as_bytes()).map_err(|error| End::Lost(error.to_string()))?;
        }
        let dues = [client.poll_timeout(), quiet_at].into_iter().flatten();
        let wait = dues.fold(connection.poll_timeout(), Timestamp::min).since(clock.now());
        // The next line is read once the one before is answered: it may depend on it.
        let silence = never();
        let lines = if client.is_ready() && quiet_at.is_none() { &terminal.lines } else { &silence };
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
                Ok(Typed::Line(line)) => client.type_line(&line, &mut connection, clock.now()),
                Ok(Typed::TooLong) => client.refuse_line(),
                // Where a person typed, the wish to stop comes with it.
                Err(_) => quiet_at = Some(clock.now() + QUIET_AFTER),
            },
            recv(terminal.stop) -> _ => client.leave_or_give_up()?,
            default(wait) => {}
        }
        // Nobody reads what is shown: as if the user had left.
        if client.screen.is_closed() && !client.wants_to_leave() {
            client.wish_to_leave();
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
