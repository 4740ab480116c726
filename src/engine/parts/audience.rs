//! Whom a message to a conversation reaches now, and who is in a room.

use std::sync::Arc;

use crate::conversation::ConversationKind;
use crate::engine::Engine;
use crate::id::PeerId;
use crate::output::SessionRef;
use crate::state::actor::Actor;
use crate::state::conversation::{Conversation, Reach};
use crate::state::session::CatchUp;

impl Engine {
    /// The audiences of a peer's conversations are to be made anew: at once those of groups, of which a peer is in a bounded
    /// number; those of the others look at the versions of their few members.
    pub(crate) fn forget_reach(&mut self, peer: u32) {
        self.peers[peer].version += 1;
        for at in 0..self.peers[peer].in_groups().len() {
            let slot = self.peers[peer].in_groups()[at];
            self.conversations[slot].reach = None;
        }
    }

    /// What changes whenever a member of a conversation does whose members are always the same; no version ever falls, so that
    /// the sum is the same only where each is.
    fn versions(&self, conversation: &Conversation) -> u64 {
        match conversation.kind.has_fixed_members() {
            true => conversation.active_members().map(|peer| self.peers[peer].version).sum(),
            false => 0,
        }
    }

    /// Puts a session into a room; it leaves the one it was in.
    pub(crate) fn enter_room(&mut self, session: u32, slot: u32) {
        if let Some(before) = self.sessions[session].room.replace(slot) {
            self.exit_room(session, before);
        }
        self.conversations[slot].present.insert(session);
        self.conversations[slot].reach = None;
    }

    /// Takes a session out of a room's audience; which room it belongs to is not touched.
    pub(crate) fn exit_room(&mut self, session: u32, slot: u32) {
        if self.conversations.get(slot).is_some() {
            self.conversations[slot].present.remove(&session);
            self.conversations[slot].reach = None;
        }
    }

    /// Whether the actor's session is in a room.
    pub(crate) fn is_present(&self, actor: Actor, slot: u32) -> bool {
        actor.session.is_some_and(|session| self.conversations[slot].present.contains(&session.slot))
    }

    /// The live sessions of some peers, sorted.
    pub(crate) fn live_sessions(&self, peers: impl Iterator<Item = u32>) -> Vec<SessionRef> {
        let mut sessions = self.open_sessions(peers);
        sessions.retain(|session| self.sessions[session.slot].progress == CatchUp::Live);
        sessions.dedup();
        sessions
    }

    /// The open sessions of some peers that are catching up.
    fn behind_of(&self, peers: impl Iterator<Item = u32>) -> Vec<u32> {
        let open = peers.flat_map(|peer| self.peers[peer].sessions.iter().copied());
        open.filter(|session| self.sessions[*session].progress != CatchUp::Live).collect()
    }

    /// A transient message passes by those of its recipients who are catching up: they are told how many.
    pub(crate) fn count_missed(&mut self, actor: Actor, slot: Option<u32>, narrowed: Option<&[u32]>, to: &[PeerId]) {
        let behind = match (slot, narrowed) {
            (Some(slot), None) => Arc::clone(&self.reach(slot).behind),
            // Who is in a room gets what passes there, caught up or not; who is not there misses nothing.
            (Some(slot), Some(_)) if self.conversations[slot].kind == ConversationKind::Room => return,
            (_, Some(narrowed)) => {
                let others = narrowed.iter().copied().filter(|peer| *peer != actor.peer);
                Arc::from(self.behind_of(others.chain([actor.peer])))
            }
            (None, None) => Arc::from(self.behind_of(to.iter().filter_map(|peer| self.peers.find(peer)))),
        };
        for &session in behind.iter().filter(|session| actor.session.is_none_or(|own| own.slot != **session)) {
            self.sessions[session].details.missed += 1;
        }
    }

    /// Everyone that a message to a conversation goes to; kept while membership and presence stand still.
    pub(crate) fn reach(&mut self, slot: u32) -> &Reach {
        let versions = self.versions(&self.conversations[slot]);
        if self.conversations[slot].reach.as_ref().is_none_or(|reach| reach.versions != versions) {
            let reach = self.make_reach(slot);
            self.conversations[slot].reach = Some(reach);
        }
        self.conversations[slot].reach.as_ref().expect("made just now")
    }

    fn make_reach(&self, slot: u32) -> Reach {
        let conversation = &self.conversations[slot];
        if conversation.kind == ConversationKind::Room {
            let present = conversation.present.iter().map(|session| self.sessions.reference(*session));
            let (sessions, behind, away) = (Arc::new(present.collect()), Arc::default(), Arc::default());
            return Reach { sessions, behind, away, versions: 0 };
        }
        let behind = self.behind_of(conversation.active_members());
        let sessions = self.live_sessions(conversation.active_members());
        let is_away = |peer: &u32| !self.peers[*peer].is_online() && !self.peers[*peer].logged_out;
        Reach {
            sessions: Arc::new(sessions),
            behind: Arc::from(behind),
            away: conversation.active_members().filter(is_away).collect(),
            versions: self.versions(conversation),
        }
    }
}
