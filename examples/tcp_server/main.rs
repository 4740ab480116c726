//! A server on TCP with nothing but threads: one frame of the first generation (JSON) a line.
//!
//! `cargo run --release --example tcp_server -- --help`; the example `chat` is a client for it, and so is `nc`.
//!
//! # Threads
//! * One accepts, and one, the *pump*, waits for the hub's ready signal and wakes who has something to write.
//! * Each connection has a reader, which asks the hub what its client asks, and a writer, which drains the outboxes of the
//!   connection's sessions, keeps its timeouts and closes it. A client that does not read blocks its own writer, for
//!   `WRITE_AFTER` at most, and nobody else.
//!
//! Two threads a connection are simple and good for some thousand clients. Beyond that a host wants an event loop; the same
//! `Connection` serves there, for it does no I/O.

mod greeting;
mod handles;
mod link;
mod log;
mod settings;

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use parking_lot::Mutex;
use switchboard::{ConnectionConfig, Hub, HubConfig, NoHooks, Origin, SessionId};
use tracing::info;

use link::Link;
use log::Door;
use settings::{Failure, Settings};

/// How long the end may take: for what is accepted to be stored, and then for clients to be told.
const SHUTDOWN_AFTER: Duration = Duration::from_secs(5);
const FAREWELL_AFTER: Duration = Duration::from_secs(2);
/// How long the door stays shut when nobody can be let in: where handles are lacking, waiting helps, and trying does not.
const SHUT_FOR: Duration = Duration::from_millis(100);
/// Readers and writers need little; the hub's own threads do the deep work.
const STACK_BYTES: usize = 512 * 1024;

/// What all threads share.
struct Server {
    hub: Hub,
    config: Arc<ConnectionConfig>,
    connections_max: usize,
    /// Connections so far: each has a number of its own, by which the hub knows its share.
    accepted: AtomicU64,
    /// Every connection, by a number of its own.
    links: Mutex<HashMap<u64, Arc<Link>>>,
    next_link: AtomicU64,
    /// On which connection a session is.
    sessions: Mutex<HashMap<SessionId, Arc<Link>>>,
    /// Whether connections are to end as soon as everything is said.
    ending: AtomicBool,
}

fn main() -> ExitCode {
    match Settings::from_args() {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(settings)) => run_logged(&settings).err().map_or(ExitCode::SUCCESS, Failure::report),
        Err(failure) => failure.report(),
    }
}

fn run_logged(settings: &Settings) -> Result<(), Failure> {
    let log = log::start(settings.log_levels()?).map_err(|error| Failure::Other(format!("no thread: {error}")))?;
    let result = run(settings);
    log.finish();
    result
}

fn run(settings: &Settings) -> Result<(), Failure> {
    // The signals first: who stops the server while it opens its store shall not cut that short.
    let (stop, stopped) = bounded(1);
    let handler = move || _ = stop.try_send(());
    ctrlc::set_handler(handler).map_err(|error| Failure::Other(error.to_string()))?;
    let connections_max = settings.connections_max()?;
    // Then the port, so that nothing is opened, or even made, for a server that cannot listen.
    let listener = TcpListener::bind(&settings.listen).map_err(|error| settings.cannot_listen(&error))?;
    let address = listener.local_addr().map_err(|error| settings.cannot_listen(&error))?;
    let server = Arc::new(Server::start(settings, connections_max)?);
    let hub = server.hub.clone();
    spawn("log", move || log::follow(&hub))?;
    let pump = spawn("pump", {
        let server = Arc::clone(&server);
        move || server.pump()
    })?;
    spawn("accept", {
        let server = Arc::clone(&server);
        move || server.accept(&listener)
    })?;
    greeting::greet(settings, address, connections_max);
    // The sender lives in the signal handler, to the end.
    let _ = stopped.recv();
    info!("shutting down");
    let report = server.hub.shut_down(SHUTDOWN_AFTER).map_err(|error| Failure::Other(error.to_string()))?;
    // The pump ends once it has passed on everything.
    let _ = pump.join();
    server.say_farewell();
    if report.committed && report.store.is_ok() {
        info!("everything is stored");
        Ok(())
    } else {
        Err(Failure::Unfinished(report))
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, Failure> {
    let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    builder.spawn(run).map_err(|error| Failure::Other(format!("no thread: {error}")))
}

impl Server {
    fn start(settings: &Settings, connections_max: usize) -> Result<Self, Failure> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| Failure::Other(format!("no randomness: {error}")))?;
        let words = settings.word_filter()?;
        let store = settings.open_store()?;
        let hub = Hub::start(settings.engine(), store, Box::new(NoHooks), seed, HubConfig::default())
            .map_err(|error| Failure::Store(error.to_string()))?;
        hub.with_engine(|engine, _| engine.set_filter(words)).map_err(|error| Failure::Other(error.to_string()))?;
        Ok(Self {
            hub,
            config: Arc::new(settings.connection()),
            connections_max,
            accepted: AtomicU64::new(0),
            links: Mutex::default(),
            next_link: AtomicU64::new(0),
            sessions: Mutex::default(),
            ending: AtomicBool::new(false),
        })
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut door = Door::default();
        loop {
            match listener.accept() {
                Ok((socket, from)) => {
                    if let Err(error) = self.welcome(socket, from) {
                        door.turned_away(&error);
                    }
                }
                // Most errors concern one connection that broke at once.
                Err(error) => {
                    door.turned_away(&error);
                    thread::sleep(SHUT_FOR);
                }
            }
        }
    }

    fn welcome(self: &Arc<Self>, socket: TcpStream, from: SocketAddr) -> io::Result<()> {
        let (everyone, strangers) = {
            let links = self.links.lock();
            (links.len(), links.values().filter(|link| !link.has_session()).count())
        };
        // Half the places are kept for those who have logged in: strangers cannot crowd out everyone.
        if everyone >= self.connections_max || strangers > self.connections_max / 2 {
            socket.set_nonblocking(true)?;
            let _ =
                (&socket).write(b"{\"cmd\":\"error\",\"code\":4318,\"reason\":\"over the limit connections_max\"}\n");
            return Err(io::Error::other(format!("over connections_max, the last from {from}")));
        }
        let origin = Origin::new(self.accepted.fetch_add(1, Ordering::Relaxed));
        let link = Arc::new(Link::new(socket, from, origin, Arc::clone(&self.config), self.hub.now())?);
        let number = self.next_link.fetch_add(1, Ordering::Relaxed);
        self.links.lock().insert(number, Arc::clone(&link));
        if let Err(error) = self.start_threads(number, &link) {
            link.hang_up();
            self.links.lock().remove(&number);
            return Err(error);
        }
        Ok(())
    }

    fn start_threads(self: &Arc<Self>, number: u64, link: &Arc<Link>) -> io::Result<()> {
        let thread = |name: &str| thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
        let (server, own) = (Arc::clone(self), Arc::clone(link));
        thread("writer").spawn(move || {
            own.write_to_client(&server);
            server.links.lock().remove(&number);
        })?;
        let (server, own) = (Arc::clone(self), Arc::clone(link));
        thread("reader").spawn(move || own.read_from_client(&server))?;
        Ok(())
    }

    /// Tells each connection which of its sessions have something to write.
    fn pump(&self) {
        while let Some(ready) = self.hub.ready().recv() {
            let sessions = self.sessions.lock();
            for session in ready {
                // A session that is not listed is gone, or about to be listed: then its reader looks by itself.
                if let Some(link) = sessions.get(&session) {
                    link.announce(session);
                }
            }
        }
    }

    /// Lets every connection say what it has to say, and ends it.
    fn say_farewell(&self) {
        self.ending.store(true, Ordering::Release);
        self.links.lock().values().for_each(|link| link.wake_writer());
        for _ in 0..FAREWELL_AFTER.as_millis() / 10 {
            if self.links.lock().is_empty() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
