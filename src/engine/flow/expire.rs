//! What time takes away: expired conversations, former members, old messages, tokens and nonces, a bounded step at a time.

use std::time::Duration;

use crate::conversation::ConversationKind;
use crate::engine::Engine;
use crate::log::LogView;
use crate::rows::conversation::ConversationRow;
use crate::rows::device::DeviceRow;
use crate::rows::member::MemberRow;
use crate::rows::meta;
use crate::rows::peer::PeerRow;
use crate::rows::reads::ReadsRow;
use crate::state::peer::Peer;
use crate::state::reads::{Plan, STEP};
use crate::time::Timestamp;
use crate::timers::Timer;

/// How often the sweep looks for what is old.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How soon it goes on where there was more.
const SWEEP_AGAIN: Duration = Duration::from_millis(10);

impl Engine {
    pub(crate) fn start_timers(&mut self) {
        self.timers.set(Timer::Sweep, self.now + SWEEP_EVERY);
        self.timers.set(Timer::Alarms, self.now + Duration::from_secs(60));
        let temporary: Vec<(u32, Timestamp)> = self
            .conversations
            .iter()
            .filter_map(|(slot, conversation)| Some((slot, conversation.expires_at?)))
            .collect();
        for (slot, at) in temporary {
            self.wake_at_end(slot, at);
        }
        if !self.index.entries.is_empty() {
            self.timers.set(Timer::Cursors, self.now + self.config.cursors_every);
        }
    }

    /// One bounded step of sweeping.
    pub(crate) fn sweep(&mut self) {
        let mut more = false;
        if !self.time_in_doubt {
            let now = self.host_time.shown();
            let limit = now - self.config.retry_token_after;
            more |= self.retry_tokens.expire(limit, STEP);
            more |= self.drop_given_up(STEP);
            more |= self.nonces.expire(now, STEP) == STEP;
            more |= self.sweep_former();
            // While the store takes nothing, the same rows would be staged for removal again and again.
            if !self.store_failed && !self.is_staged_full() {
                self.sweep_peers();
                more |= self.plan_trims();
                self.reads.plan(Plan::Expire {
                    now,
                    tokens_before: limit,
                    index_before: self.config.retention_age.map(|age| now - age),
                });
            }
        }
        self.timers.set(Timer::Sweep, self.now + if more { SWEEP_AGAIN } else { SWEEP_EVERY });
    }

    /// Forgets those who left so long ago that nothing waits for them any more; true where there are more.
    fn sweep_former(&mut self) -> bool {
        let limit = self.host_time.shown() - self.config.offline_after;
        let Some(entry) = self.former.first_entry().filter(|entry| *entry.key() <= limit) else { return false };
        let (left_at, mut gone) = (*entry.key(), entry.remove());
        let rest = gone.split_off(gone.len().min(STEP));
        if !rest.is_empty() {
            self.former.insert(left_at, rest);
        }
        for (slot, peer) in gone {
            let still_away = self
                .conversations
                .get(slot)
                .and_then(|conversation| conversation.members.get(&peer))
                .is_some_and(|member| member.left_at == Some(left_at));
            if still_away {
                self.conversations[slot].members.remove(&peer);
                self.peers[peer].forget(slot);
                self.peers[peer].dirty = true;
                self.mark_dirty(peer);
                self.write_member(slot, peer);
            }
        }
        true
    }

    /// Forgets peers of whom nothing remains, in the store too: a few places of the table at a time.
    fn sweep_peers(&mut self) {
        let limit = self.now - self.config.device_after;
        let (gone, next) = self.peers.forget_spent(self.peers_next, STEP as u32, limit);
        self.peers_next = next;
        for peer in gone {
            self.erase_peer(&peer);
            self.gate.end_operation();
        }
    }

    /// Stages the removal of a peer's rows.
    fn erase_peer(&mut self, peer: &Peer) {
        self.gate.delete(PeerRow::key(peer.number));
        (0..peer.read_pages).for_each(|page| self.gate.delete(ReadsRow::key(peer.number, page)));
        for (at, device) in (0..).zip(&peer.devices) {
            (0..device.pages).for_each(|page| self.gate.delete(DeviceRow::key(peer.number, at, page)));
        }
    }

    /// Plans the trimming of some logs; true where there are more to look at.
    fn plan_trims(&mut self) -> bool {
        if !self.config.has_retention() {
            return false;
        }
        let cutoff = self.config.retention_age.map(|age| self.host_time.shown() - age);
        let from = self.trim_next;
        let due: Vec<u32> =
            self.conversations.iter().map(|(slot, _)| slot).filter(|slot| *slot >= from).take(STEP).collect();
        for &slot in &due {
            let conversation = &self.conversations[slot];
            let keep = self.config.retention_count.unwrap_or(u64::MAX);
            let keep_from = (conversation.last_number + 1).saturating_sub(keep).max(conversation.first_number);
            if keep_from > conversation.first_number || cutoff.is_some() && conversation.durable_number > 0 {
                let mut view = conversation.view(slot);
                view.tail.clear();
                self.reads.plan(Plan::Trim { view, keep_from, cutoff, all: false });
            }
        }
        self.trim_next = due.last().map_or(0, |slot| slot + 1);
        due.len() == STEP
    }

    /// Removes old chunks of a log.
    pub(crate) fn trim(&mut self, slot: u32, number: u64, all: bool, rows: Vec<Vec<u8>>, first_kept: u64) {
        let again = rows.len() >= STEP;
        self.drop_rows(rows);
        if all {
            if again {
                self.reads.plan(Plan::Trim { view: LogView::whole(slot, number), keep_from: 0, cutoff: None, all });
            }
            return;
        }
        let same = self.conversations.get(slot).is_some_and(|conversation| conversation.number == number);
        if same && first_kept > self.conversations[slot].first_number {
            self.conversations[slot].first_number = first_kept;
            self.write_conversation(slot);
        }
    }

    /// A conversation is over: it goes, and its messages with it.
    pub(crate) fn conversation_expired(&mut self, slot: u32) {
        let expired = self.conversations.get(slot).and_then(|conversation| conversation.expires_at);
        let Some(at) = expired else { return };
        if at >= self.host_time.shown() && !self.conversations[slot].has_lapsed {
            self.wake_at_end(slot, at);
            return;
        }
        self.lapse(slot);
        // Its messages go with it, and nothing is deleted by age while the time is in doubt.
        if self.time_in_doubt {
            self.timers.set(Timer::Temporary(slot), self.now + SWEEP_EVERY);
            return;
        }
        // Staged messages of it must reach the store before their rows can be removed from there.
        if self.conversations[slot].durable_number < self.conversations[slot].last_number {
            self.timers.set(Timer::Temporary(slot), self.now + Duration::from_secs(1));
            return;
        }
        let members: Vec<u32> = self.conversations[slot].members.keys().copied().collect();
        for peer in members {
            if self.conversations[slot].kind == ConversationKind::Group {
                if self.conversations[slot].has_member(peer) {
                    self.peers[peer].groups = self.peers[peer].groups.saturating_sub(1);
                }
                self.gate.delete(MemberRow::key(self.conversations[slot].number, self.peers[peer].number));
            }
            self.peers[peer].forget(slot);
            self.peers[peer].dirty = true;
            self.mark_dirty(peer);
        }
        self.sessions.forget_room(slot);
        let Some(conversation) = self.conversations.remove(slot) else { return };
        self.shares.lost_room(conversation.number);
        if let Some(creator) = conversation.creator {
            self.peers[creator].made = self.peers[creator].made.saturating_sub(1);
        }
        self.gate.delete(ConversationRow::key(conversation.number));
        let next = self.conversations.next_number();
        self.gate.put(meta::NEXT_CONVERSATION.key(), meta::NEXT_CONVERSATION.seal(&next));
        let view = LogView::whole(slot, conversation.number);
        self.reads.plan(Plan::Trim { view, keep_from: 0, cutoff: None, all: true });
    }
}
