//! Opening sessions on both, with devices, tags and tokens.

use switchboard::{Credentials, DeviceId, Error, Open, ResumeToken, SessionId, Tag};

use crate::command::Token;
use crate::ids::Ids;
use crate::reference::{Ear, OpenRequest, State};

use super::restarting::Seen;
use super::{Checked, Handle, START, World, reference_of, same};

impl World {
    pub(super) fn open(
        &mut self,
        peer: u8,
        device: Option<u8>,
        tag: Option<u8>,
        watch: &[u8],
        reconnect: bool,
        token: Token,
    ) -> Checked {
        let (text, resumed) = self.token(peer, token);
        let mut device = device;
        if let Some(session) = resumed {
            device = self.model.sessions[session].device;
        }
        self.trace.push(format!(
            "[{}] peer {peer} opens: device {device:?} tag {tag:?} watches {watch:?} reconnect {reconnect} resumes {resumed:?} ({token:?})",
            self.model.now - START
        ));
        let mut open = Open::new(Ids::peer(peer));
        open.device = device.and_then(|device| DeviceId::new(&format!("device{device}")).ok());
        open.tag = tag.and_then(|tag| Tag::new(&format!("tag{tag}")).ok());
        open.watch = Ids::peers(watch);
        open.reconnect = reconnect;
        let account = matches!(token, Token::Account) && !self.is_uncertain(peer);
        match &text {
            Some(text) => open.credentials = Credentials::Token(ResumeToken::new(text)),
            None if account => open.credentials = Credentials::Account("an account".to_owned()),
            None => {}
        }
        self.requests += 1;
        let opened = self.engine.open(open, self.now());
        let request =
            OpenRequest { peer, device, tag, watch: watch.to_vec(), reconnect, token: text.map(|_| resumed), account };
        let should = self.model.open(&request, self.requests);
        same("open", opened.as_ref().map(drop).map_err(Error::code), should.map(drop))?;
        let (Ok((id, ticket)), Ok(session)) = (opened, should) else { return Ok(()) };
        self.tickets.insert(ticket, self.requests);
        self.take_handle(session, id);
        if self.model.device(session).is_some_and(|device| device.uncertain) {
            self.seen.insert(session, Seen::default());
            self.commit()?;
        }
        Ok(())
    }

    /// After a crash a catch-up is compared at once: no hook may put it off.
    fn is_uncertain(&self, peer: u8) -> bool {
        self.model.peers[usize::from(peer)].devices.iter().any(|device| device.uncertain)
    }

    fn take_handle(&mut self, session: usize, id: SessionId) {
        if session == self.handles.len() {
            self.handles.push(Handle { id, token: String::new() });
        }
        self.used_tokens.push(std::mem::take(&mut self.handles[session].token));
        self.handles[session].id = id;
        self.by_ref.retain(|_, held| *held != session);
        self.by_ref.insert(reference_of(id), session);
        self.queues.remove(&Ear::Session(session));
        self.outboxes.remove(&session);
        self.live.remove(&session);
    }

    /// The text of a token, and which session it resumes.
    pub(super) fn token(&self, peer: u8, token: Token) -> (Option<String>, Option<usize>) {
        match token {
            Token::None | Token::Account => (None, None),
            Token::Of(which) => {
                let is_candidate = |session: &usize| {
                    self.model.sessions[*session].peer == peer && !self.handles[*session].token.is_empty()
                };
                let of: Vec<usize> = (0..self.handles.len()).filter(is_candidate).collect();
                if of.is_empty() {
                    return (None, None);
                }
                let session = of[of.len() - 1 - usize::from(which) % of.len()];
                let there = self.model.sessions[session].state != State::Gone;
                (Some(self.handles[session].token.clone()), there.then_some(session))
            }
            Token::Used(which) => {
                let used: Vec<&String> = self.used_tokens.iter().filter(|token| !token.is_empty()).collect();
                let text = used.get(used.len().wrapping_sub(1 + usize::from(which)));
                (Some(text.map_or_else(|| "0".repeat(32), |text| (*text).clone())), None)
            }
        }
    }
}
