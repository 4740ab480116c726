//! One client's connection: a socket, what the library knows of it, and the two threads that serve it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex, MutexGuard};
use switchboard::{Action, Connection, ConnectionConfig, DrainState, Error, Origin, SessionId, Timestamp, Update};
use tracing::{debug, info};

use crate::Server;

/// How long a client may take to accept `WRITE_BYTES`. Slower ones are given up; nothing is lost, for what they did not
/// acknowledge comes again.
const WRITE_AFTER: Duration = Duration::from_secs(20);
const WRITE_BYTES: usize = 64 * 1024;
/// Updates that are taken from an outbox at once.
const UPDATES: usize = 16;
/// How long a client may still send after it was told that the connection ends. Closing at once would take back what it was
/// told, where it is still sending.
const LINGER: Duration = Duration::from_secs(2);
/// How long a client that says nothing more is kept for its answers.
const ANSWER_AFTER: Duration = Duration::from_secs(30);
/// The longest sleep of a thread that waits for another.
const NAP: Duration = Duration::from_secs(60);

pub(crate) struct Link {
    socket: TcpStream,
    from: SocketAddr,
    connection: Mutex<Connection>,
    /// Told when the connection is not congested any more, or is over, for the reader.
    relieved: Condvar,
    /// Sessions with something in their outbox. In a lock of its own, so that the pump never waits for a reader.
    ready: Mutex<Vec<SessionId>>,
    /// One token while the writer has something to do.
    wake: Sender<()>,
    woken: Receiver<()>,
    has_session: AtomicBool,
    /// Whether the client says nothing more. It may still read.
    is_silent: AtomicBool,
    /// Whether the client is gone, or has been given up.
    is_over: AtomicBool,
}

impl Link {
    pub(crate) fn new(
        socket: TcpStream,
        from: SocketAddr,
        origin: Origin,
        config: Arc<ConnectionConfig>,
        now: Timestamp,
    ) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(WRITE_AFTER))?;
        let (wake, woken) = bounded(1);
        let connection = Connection::new(config, Some(from.ip()), now).map_err(io::Error::other)?;
        Ok(Self {
            socket,
            from,
            // A share of its own, whatever peers it opens.
            connection: Mutex::new(connection.with_origin(origin)),
            relieved: Condvar::new(),
            ready: Mutex::default(),
            wake,
            woken,
            has_session: AtomicBool::new(false),
            is_silent: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        })
    }

    pub(crate) fn has_session(&self) -> bool {
        self.has_session.load(Ordering::Relaxed)
    }

    pub(crate) fn announce(&self, session: SessionId) {
        self.ready.lock().push(session);
        self.wake_writer();
    }

    pub(crate) fn wake_writer(&self) {
        // A token that is still there does as well.
        let _ = self.wake.try_send(());
    }

    /// Ends the transport, which ends the reader.
    pub(crate) fn hang_up(&self) {
        // It may be gone already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    // The reader.

    pub(crate) fn read_from_client(self: &Arc<Self>, server: &Server) {
        let mut buffer = vec![0; 4096];
        loop {
            match (&self.socket).read(&mut buffer) {
                Ok(0) => {
                    self.await_answers();
                    break;
                }
                Ok(length) => self.received(&buffer[..length], server),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let lost = self.connection.lock().lost();
        lost.into_iter().for_each(|session| Self::pause(session, server));
        self.is_over.store(true, Ordering::Release);
        self.wake_writer();
    }

    /// The client has said everything, as `nc` does at the end of a file. Its answers still go out.
    fn await_answers(&self) {
        let mut connection = self.connection.lock();
        self.is_silent.store(true, Ordering::Release);
        self.wake_writer();
        self.relieved.wait_while_for(&mut connection, |_| !self.is_over.load(Ordering::Acquire), ANSWER_AFTER);
    }

    fn received(self: &Arc<Self>, bytes: &[u8], server: &Server) {
        let mut connection = self.connection.lock();
        connection.receive(bytes, server.hub.now());
        self.act(&mut connection, server);
        self.wake_writer();
        // A client that does not take its answers asks nothing more.
        while connection.is_congested() && !self.is_over.load(Ordering::Acquire) {
            self.relieved.wait_for(&mut connection, NAP);
            self.act(&mut connection, server);
            self.wake_writer();
        }
    }

    /// Does what the frames ask for. The connection stays locked, so that it has each answer before what follows from it.
    fn act(self: &Arc<Self>, connection: &mut Connection, server: &Server) {
        let hub = &server.hub;
        while let Some(action) = connection.poll_action(hub.now()) {
            match action {
                Action::Open { key, open } => {
                    let peer = open.peer.clone();
                    let opened = hub.open(open).map(|(session, ticket)| (session.into_id(), ticket));
                    match &opened {
                        Ok((session, _)) => self.attach(*session, server),
                        Err(error) => info!(%peer, from = %self.from, %error, "login refused"),
                    }
                    connection.opened(key, opened, hub.now());
                }
                Action::Request { key, session, request } => {
                    let asked = hub.request(session, request);
                    let _ = asked.as_ref().inspect_err(|error| self.refused(session, error));
                    connection.answered(key, asked, hub.now());
                }
                Action::Pause { session } => Self::pause(session, server),
            }
        }
    }

    fn attach(self: &Arc<Self>, session: SessionId, server: &Server) {
        server.sessions.lock().insert(session, Arc::clone(self));
        // The pump may have looked for it in vain.
        self.announce(session);
    }

    fn refused(&self, session: SessionId, error: &Error) {
        debug!(%session, from = %self.from, %error, "request refused");
    }

    fn pause(session: SessionId, server: &Server) {
        server.hub.pause(session);
        server.sessions.lock().remove(&session);
    }

    // The writer.

    pub(crate) fn write_to_client(&self, server: &Server) {
        let mut bytes = Vec::new();
        while !self.is_over.load(Ordering::Acquire) {
            let mut connection = self.connection.lock();
            connection.handle_timeout(server.hub.now());
            self.drain(&mut connection, server);
            self.has_session.store(connection.sessions().next().is_some(), Ordering::Relaxed);
            collect(&mut connection, &mut bytes);
            if bytes.is_empty() {
                if self.is_done(&connection, server) {
                    drop(connection);
                    self.linger();
                    break;
                }
                self.sleep(connection, server);
                continue;
            }
            drop(connection);
            if write_within(&self.socket, &bytes, WRITE_AFTER).is_err() {
                break;
            }
            bytes.clear();
            self.relieved.notify_all();
        }
        // Under the lock: the reader is either waiting already, or looks first.
        let connection = self.connection.lock();
        self.is_over.store(true, Ordering::Release);
        self.relieved.notify_all();
        drop(connection);
        self.hang_up();
    }

    /// Whether nothing more is to be written, once all that there was is.
    fn is_done(&self, connection: &Connection, server: &Server) -> bool {
        if let Some(code) = connection.should_close() {
            if code != 0 {
                info!(from = %self.from, code, "connection ended");
            }
            return true;
        }
        let is_answered = self.is_silent.load(Ordering::Acquire) && connection.is_settled();
        is_answered || server.ending.load(Ordering::Acquire)
    }

    /// Moves what waits in the outboxes to the connection, as long as that has room.
    fn drain(&self, connection: &mut Connection, server: &Server) {
        let mut ready = std::mem::take(&mut *self.ready.lock());
        let mut updates = Vec::new();
        while let Some(session) = ready.pop_if(|_| connection.room() > 0) {
            let state = server.hub.drain(session, &mut updates, UPDATES.min(connection.room()));
            for update in updates.drain(..) {
                if let Update::Reply { result: Err(error), .. } = &*update {
                    self.refused(session, error);
                }
                connection.update(session, &update, server.hub.now());
            }
            match state {
                DrainState::Empty => {}
                // Nothing announces what is left.
                DrainState::More => ready.push(session),
                DrainState::Closed => drop(server.sessions.lock().remove(&session)),
            }
        }
        if !ready.is_empty() {
            self.ready.lock().append(&mut ready);
        }
    }

    fn sleep(&self, connection: MutexGuard<'_, Connection>, server: &Server) {
        let due = connection.poll_timeout().map_or(NAP, |due| due.since(server.hub.now()));
        drop(connection);
        // Whether it was woken or not: it looks.
        let _ = self.woken.recv_timeout(due.min(NAP));
    }

    /// Ends the writing half, and gives the client a moment to see it.
    #[expect(clippy::disallowed_methods, reason = "a client is waited for in real time")]
    fn linger(&self) {
        let until = Instant::now() + LINGER;
        if self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        while !self.is_silent.load(Ordering::Acquire) && !self.is_over.load(Ordering::Acquire) {
            if self.woken.recv_deadline(until).is_err() {
                return;
            }
        }
    }
}

/// Takes frames to write, about `WRITE_BYTES`.
fn collect(connection: &mut Connection, bytes: &mut Vec<u8>) {
    while bytes.len() < WRITE_BYTES
        && let Some(frame) = connection.poll_transmit()
    {
        bytes.extend_from_slice(frame.as_bytes());
    }
}

/// Writes everything. A client that takes a byte now and then does not hold the writer for ever.
#[expect(clippy::disallowed_methods, reason = "a client is waited for in real time")]
fn write_within(mut socket: &TcpStream, mut bytes: &[u8], span: Duration) -> io::Result<()> {
    let until = Instant::now() + span;
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if Instant::now() > until {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}
