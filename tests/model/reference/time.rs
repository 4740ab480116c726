//! What time alone does: presence is told, pauses and temporary conversations end, what is too old goes.
//!
//! Nothing goes by age while the time is in doubt. A host's clock that is set back delays nothing that ends after a span, and
//! no message gets a time before another's.

use crate::command::PEERS;

use super::{DAY, Model, Peer, State};

impl Model {
    /// What the host's clock shows: for what ends at a time of day, and for the age of what is kept.
    pub(crate) fn shown(&self) -> u64 {
        self.now - self.set_back
    }

    /// The time to write on what happens now: never before that of a message.
    pub(super) fn stamp(&self) -> u64 {
        self.shown().max(self.newest_at)
    }

    /// The time of the next message: after a start a later one than any that the store has.
    pub(super) fn stamp_message(&mut self) -> u64 {
        let after = self.newest_at + u64::from(std::mem::take(&mut self.has_started));
        self.newest_at = self.shown().max(after);
        self.newest_at
    }

    /// Time is now `now`, and everything that is due has been done.
    pub(crate) fn tick(&mut self, now: u64) {
        self.in_doubt |= now > self.now + 3_600_000;
        self.now = now;
        if self.presence_due.take_if(|due| *due <= now).is_some() {
            let changed: Vec<Peer> = (0..PEERS).filter(|peer| self.peers[usize::from(*peer)].changed).collect();
            self.tell_presence(&changed);
        }
        self.expire_questions();
        for session in 0..self.sessions.len() {
            if matches!(self.sessions[session].state, State::Paused { until } if until <= now) {
                self.forget(session);
            }
        }
        for at in 0..self.conversations.len() {
            self.expire(at);
        }
        self.sweep();
    }

    fn expire(&mut self, at: usize) {
        let (now, shown, set_back, in_doubt) = (self.now, self.shown(), self.set_back, self.in_doubt);
        let held = &mut self.conversations[at];
        if held.gone || held.check_at > now {
            return;
        }
        // The clock was set back meanwhile.
        if let Some(end) = held.expires_at.filter(|end| *end >= shown && !held.lapsed) {
            held.check_at = end + set_back + 1;
            return;
        }
        held.lapsed = true;
        if in_doubt || held.durable < held.last() {
            held.check_at = now + if in_doubt { 10_000 } else { 1_000 };
            return;
        }
        held.gone = true;
        for peer in &mut self.peers {
            peer.devices.iter_mut().for_each(|device| drop(device.cursors.remove(&at)));
        }
        self.stage();
    }

    /// What is too old goes, once the time is sure.
    fn sweep(&mut self) {
        if !self.in_doubt {
            self.forget_old_tokens();
            self.forget_former_members();
        }
    }

    /// Whether something reached its age in the last `span` milliseconds: it goes at some moment soon.
    pub(crate) fn is_at_an_edge(&self, span: u64) -> bool {
        let shown = self.shown();
        let passed = |at: u64| at <= shown && at + span >= shown;
        let tokens =
            self.peers.iter().flat_map(|peer| &peer.tokens).map(|(_, message)| self.messages[*message].noted_at + DAY);
        let members = self.conversations.iter().flat_map(|held| held.members.values());
        let left = members.filter_map(|member| Some(member.left_at? + 7 * DAY));
        !self.in_doubt && tokens.chain(left).any(passed)
    }
}
