//! What an operator is told, on the standard error stream: who comes, who goes, who is refused and why, how the store is.
//! Never what a message says.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use switchboard::{Event, Hub};
use tracing::{error, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Lines that wait to be read. Beyond, they are lost: a terminal that stands still, as after Ctrl-S, must not stop the server.
const LINES_MAX: usize = 1_024;
/// How long the end waits for the last lines to be taken.
const FINISH_AFTER: Duration = Duration::from_secs(1);

/// What waits for the thread that writes the log.
enum Line {
    Text(Vec<u8>),
    /// Everything before it is written.
    Mark(Sender<()>),
}

/// The way to that thread.
#[derive(Clone)]
pub(crate) struct Log(Sender<Line>);

/// Starts the log. What the library itself has to say goes there, too.
pub(crate) fn start(levels: Targets) -> io::Result<Log> {
    let (sender, lines) = bounded(LINES_MAX);
    thread::Builder::new().name("log-writer".to_owned()).spawn(move || write_lines(&lines))?;
    let log = Log(sender);
    let writer = log.clone();
    let layer = fmt::layer()
        .with_writer(move || writer.clone())
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false);
    tracing_subscriber::registry().with(layer.with_filter(levels)).init();
    Ok(log)
}

fn write_lines(lines: &Receiver<Line>) {
    for line in lines {
        // Whoever read the log may have closed it: that is no reason to stop, and there is nobody to tell.
        let _ = match line {
            Line::Text(text) => io::stderr().write_all(&text),
            Line::Mark(written) => written.send(()).map_err(io::Error::other),
        };
    }
}

/// Each call brings a whole line.
impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.try_send(Line::Text(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Waits until everything is written, unless nobody takes it.
    pub(crate) fn finish(&self) {
        let (mark, written) = bounded(1);
        let _ = self.0.send_timeout(Line::Mark(mark), FINISH_AFTER);
        let _ = written.recv_timeout(FINISH_AFTER);
    }
}

/// Passes on what the hub tells, until it ends.
pub(crate) fn follow(hub: &Hub) {
    hub.events().iter().for_each(tell);
}

fn tell(event: Event) {
    match event {
        Event::Online { peer, device, source_ip, reconnect, .. } => {
            let device = device.map(|device| device.as_str().to_owned());
            info!(%peer, device, from = source_ip.map(tracing::field::display), reconnect, "online");
        }
        Event::Offline { peer, reason, .. } => info!(%peer, ?reason, "offline"),
        Event::SignatureRefused { peer, cause } => warn!(%peer, %cause, "signature refused"),
        Event::StoreFailed { error } => error!(%error, "messages are refused: the store takes no writes"),
        Event::StoreRecovered => info!("messages are stored again"),
        Event::StoreStalled => warn!("the disk does not answer"),
        Event::RecordDamaged { error } => error!(%error, "a damaged record is left out"),
        Event::TimeJumped { from, to } => {
            warn!(by = ?to.since(from), "the clock jumped: nothing expires until the next start");
        }
        Event::OfflineDropped { peer, count } => {
            info!(%peer, count, "too much waited: the oldest messages are dropped")
        }
        Event::HookFault { hook, fault } => warn!(hook, ?fault, "a hook failed"),
        Event::Anomaly { measure, value, threshold } => warn!(?measure, value, threshold, "above its threshold"),
        // Others may carry what a message says.
        _ => {}
    }
}

/// What happens at the door. Somebody who knocks a thousand times a second shall not fill the log: what happens again is
/// counted, and told once a second.
#[derive(Default)]
pub(crate) struct Door {
    told_at: Option<Instant>,
    untold: u64,
}

impl Door {
    const TELL_EVERY: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "a log is written in real time")]
    pub(crate) fn turned_away(&mut self, reason: &io::Error) {
        self.untold += 1;
        if self.told_at.is_none_or(|at| at.elapsed() >= Self::TELL_EVERY) {
            warn!(connections = self.untold, %reason, "refused");
            (self.told_at, self.untold) = (Some(Instant::now()), 0);
        }
    }
}
