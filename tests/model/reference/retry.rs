//! Retries: the same token names the same message, and is answered with it.
//!
//! A sender's newest few tokens are known, for a day; those of transient messages while the process lasts.

use super::{DAY, Model, Peer, SendRequest, limits};

impl Model {
    pub(super) fn known_token(&self, me: Peer, token: Option<u8>) -> Option<usize> {
        let token = token?;
        let known = self.peers[usize::from(me)].tokens.iter().rev().find(|known| known.0 == token)?;
        let conversation = self.messages[known.1].conversation?;
        (!self.conversations[conversation].gone).then_some(known.1)
    }

    /// The message that nobody stored and that was sent with the same token lately, asked for as this one is.
    pub(super) fn known_transient(&self, me: Peer, send: &SendRequest) -> Option<usize> {
        let wanted = (send.token?, send.transient);
        let known = self.peers[usize::from(me)].transient_tokens.iter().find(|known| known.0 == wanted)?;
        Some(known.1)
    }

    pub(super) fn remember_transient(&mut self, me: Peer, asked: &SendRequest, message: usize) {
        let Some(token) = asked.token else { return };
        let tokens = &mut self.peer(me).transient_tokens;
        tokens.push(((token, asked.transient), message));
        if tokens.len() > 64 {
            tokens.remove(0);
        }
    }

    pub(super) fn remember_token(&mut self, me: Peer, token: Option<u8>, message: usize) {
        let Some(token) = token else { return };
        let tokens = &mut self.peer(me).tokens;
        tokens.push((token, message));
        if tokens.len() > limits::TOKENS {
            tokens.remove(0);
        }
    }

    pub(super) fn forget_old_tokens(&mut self) {
        let now = self.shown();
        for peer in &mut self.peers {
            let (messages, before) = (&self.messages, peer.tokens.len());
            peer.tokens.retain(|(_, message)| messages[*message].noted_at + DAY >= now);
            self.has_forgotten |= peer.tokens.len() < before;
        }
    }
}
