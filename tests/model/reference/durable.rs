//! What is durable: commits, and what another start on the same store still knows.

use super::{Code, Model, State};

impl Model {
    pub(super) fn stage(&mut self) {
        self.newest = self.filling;
    }

    pub(super) fn may_stage(&self) -> Result<(), Code> {
        if self.failed { Err(4200) } else { Ok(()) }
    }

    /// A commit is on its way: what is staged from here on belongs to the next.
    pub(crate) fn begin(&mut self) -> u64 {
        self.filling += 1;
        self.filling - 1
    }

    /// A commit is durable: that one, with these numbers of messages.
    pub(crate) fn done(&mut self, commit: u64, numbers: &[u64]) {
        self.durable = commit;
        self.failed = false;
        for (held, number) in self.conversations.iter_mut().zip(numbers) {
            held.durable = *number;
        }
    }

    /// Another engine has started on what the store holds.
    pub(crate) fn restarted(&mut self, crashed: bool) {
        self.life += 1;
        self.set_back = 0;
        let logged = self.conversations.iter().filter(|held| !held.gone).filter_map(|held| held.log.last());
        self.newest_at = logged.map(|message| self.messages[*message].at).max().unwrap_or_default();
        self.has_started = true;
        self.in_doubt = false;
        self.failed = false;
        self.presence_due = None;
        self.pending.clear();
        self.expected.clear();
        self.forget_parked();
        (self.filling, self.newest, self.durable) = (1, 0, 0);
        for session in &mut self.sessions {
            session.state = State::Gone;
            session.watched.clear();
        }
        for peer in &mut self.peers {
            (peer.told_online, peer.changed) = (false, false);
            peer.transient_tokens.clear();
            peer.owed_unsure |= crashed;
            if !peer.known {
                peer.devices.clear();
            }
            for device in &mut peer.devices {
                device.uncertain |= crashed;
                device.seen_at = device.seen_at.min(self.now);
            }
        }
        for held in &mut self.conversations {
            held.present.clear();
            held.lapsed = false;
            held.durable = held.last();
            if let Some(at) = held.expires_at {
                held.check_at = at + 1;
            }
        }
    }
}
