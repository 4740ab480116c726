//! Signatures and their nonces.

use crate::engine::Engine;
use crate::error::Error;
use crate::event::Event;
use crate::id::PeerId;
use crate::rows::nonce::NonceRow;
use crate::signature::{Action, Cause, KeyId, Signature, UsedNonce};
use crate::state::actor::Actor;

impl Engine {
    /// The signature of a group action, where they are on.
    pub(crate) fn check_group_signature(
        &mut self,
        actor: Actor,
        action: &Action<'_>,
        signature: Option<&Signature>,
    ) -> Result<Option<UsedNonce>, Error> {
        if !self.config.signatures.groups || actor.session.is_none() {
            return Ok(None);
        }
        let me = self.peers[actor.peer].id.clone();
        let (nonce, _) = self.verify(action, signature, &me, Error::ConversationSignatureFailed)?;
        Ok(Some(nonce))
    }

    pub(crate) fn use_up(&mut self, nonce: Option<UsedNonce>) {
        if let Some(nonce) = nonce {
            self.use_nonce(nonce);
        }
    }

    /// Checks a signature and that its nonce is new. The cause of a refusal goes to the host alone: to everyone else they are
    /// all `refusal`, but where the memory of nonces is full. That is no fault of the client, which may try again.
    pub(crate) fn verify(
        &self,
        action: &Action<'_>,
        signature: Option<&Signature>,
        peer: &PeerId,
        refusal: Error,
    ) -> Result<(UsedNonce, KeyId), Error> {
        let Some((verifier, signature)) = self.verifier.as_ref().zip(signature) else { return Err(refusal) };
        let checked = verifier
            .verify(action, signature, self.host_time.shown())
            .and_then(|verified| Ok((self.nonces.check(peer, &signature.nonce, &verified)?, verified.key)));
        checked.map_err(|cause| match cause {
            Cause::NoncesFull => {
                self.alarms.found_nonces_full();
                Error::Internal
            }
            _ => {
                self.alarms.refused(peer, cause);
                refusal
            }
        })
    }

    /// Uses a nonce up, for good.
    pub(crate) fn use_nonce(&mut self, nonce: UsedNonce) {
        let nonce = self.nonces.record(nonce);
        let (key, row) = NonceRow::of(nonce);
        self.put_row(key, &row);
    }

    /// Tells the host why signatures were refused.
    pub(crate) fn tell_refused(&mut self) {
        if self.alarms.take_nonces_full(self.now) {
            self.tell(Event::NoncesFull { max: self.config.nonces_max });
        }
        for (peer, cause) in self.alarms.take_refused() {
            self.tell(Event::SignatureRefused { peer, cause });
        }
    }
}
