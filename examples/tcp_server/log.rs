//! What an operator is told, on the standard error stream: who comes, who goes, who is refused and why, how the store is.
//! Never what a message says.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use switchboard::{Event, Hub};
use tracing::{debug, error, info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Starts the log. What the library itself has to say goes there, too.
pub(crate) fn start(levels: Targets) {
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        // Whoever read the log may have closed it: that is no reason to stop, and there is nobody to tell.
        .log_internal_errors(false);
    tracing_subscriber::registry().with(lines.with_filter(levels)).init();
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
        other => debug!(?other),
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
