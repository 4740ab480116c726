//! The sessions on a connection: one for each peer that shares it.

use crate::id::{PeerId, SessionId};

/// A session on the connection.
#[derive(Debug)]
struct Attached {
    session: SessionId,
    peer: PeerId,
    /// Its reply has come; until then it counts as no login.
    is_open: bool,
}

/// Who is on a connection. Few, so that a list is searched.
#[derive(Debug, Default)]
pub(super) struct Sessions(Vec<Attached>);

impl Sessions {
    pub(super) fn attach(&mut self, session: SessionId, peer: PeerId) {
        self.0.push(Attached { session, peer, is_open: false });
    }

    /// The session is over here. What it had is the engine's.
    pub(super) fn detach(&mut self, session: SessionId) {
        self.0.retain(|attached| attached.session != session);
    }

    /// The engine has opened it.
    pub(super) fn confirm(&mut self, session: SessionId) {
        if let Some(attached) = self.0.iter_mut().find(|attached| attached.session == session) {
            attached.is_open = true;
        }
    }

    pub(super) fn of(&self, peer: &PeerId) -> Option<SessionId> {
        self.0.iter().find(|attached| attached.peer == *peer).map(|attached| attached.session)
    }

    pub(super) fn peer_of(&self, session: SessionId) -> Option<&PeerId> {
        self.0.iter().find(|attached| attached.session == session).map(|attached| &attached.peer)
    }

    pub(super) fn has_open(&self) -> bool {
        self.0.iter().any(|attached| attached.is_open)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.0.iter().map(|attached| attached.session)
    }

    pub(super) fn take(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.0).into_iter().map(|attached| attached.session).collect()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Attached>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_counts_as_open_from_its_reply_to_its_end() {
        let session = |slot| SessionId { node: 0, epoch: 0, slot, generation: 0 };
        let (alice, bob) = (PeerId::new("alice").unwrap(), PeerId::new("bob").unwrap());
        let mut sessions = Sessions::default();
        sessions.attach(session(1), alice.clone());
        sessions.attach(session(2), bob.clone());
        assert_eq!((sessions.of(&alice), sessions.has_open()), (Some(session(1)), false));
        sessions.confirm(session(2));
        assert_eq!((sessions.peer_of(session(2)), sessions.has_open()), (Some(&bob), true));
        sessions.detach(session(2));
        assert_eq!((sessions.of(&bob), sessions.has_open(), sessions.len()), (None, false, 1));
        assert_eq!((sessions.take(), sessions.take()), (vec![session(1)], vec![]));
    }
}
