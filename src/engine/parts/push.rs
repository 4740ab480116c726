//! Pushes: members who are away are to be woken.

use std::sync::Arc;

use crate::conversation::ConversationKind;
use crate::engine::Engine;
use crate::hooks::{Answer, PushChoice, Question, ReceiversOffline, Resolution};
use crate::id::PeerId;
use crate::message::Message;
use crate::output::{Output, Push, PushRecipient};
use crate::state::actor::Actor;
use crate::state::parked::Command;

impl Engine {
    /// Wakes the members of a conversation who are offline and not logged out.
    pub(crate) fn wake_absent(
        &mut self,
        actor: Actor,
        own: Option<&str>,
        slot: Option<u32>,
        message: &Arc<Message>,
        narrowed: Option<&[u32]>,
    ) {
        let asks = self.interests().receivers_offline;
        let Some(slot) = slot.filter(|_| asks || own.is_some() || self.config.push_text.is_some()) else { return };
        let away = Arc::clone(&self.reach(slot).away);
        let is_for =
            |peer: &u32| *peer != actor.peer && narrowed.is_none_or(|narrowed| narrowed.binary_search(peer).is_ok());
        let away: Vec<u32> = away.iter().copied().filter(is_for).collect();
        if away.is_empty() {
            return;
        }
        let choice = if asks { self.ask_offline(message, own, &away) } else { Some(PushChoice::default()) };
        if let Some(choice) = choice {
            self.push(message, own, away, choice);
        }
    }

    /// Asks the hook about a push; `None` where it answers later.
    fn ask_offline(&mut self, message: &Arc<Message>, own: Option<&str>, away: &[u32]) -> Option<PushChoice> {
        let ticket = self.ticket();
        let offline: Vec<PeerId> = away.iter().map(|peer| self.peers[*peer].id.clone()).collect();
        let question = ReceiversOffline {
            ticket,
            from: &message.from,
            conversation: Some(&message.conversation).filter(|_| message.kind != ConversationKind::Direct),
            offline: &offline,
            content: &message.content,
            timestamp: message.timestamp,
        };
        match self.ask(Question::ReceiversOffline(&question)) {
            Ok(Answer::Now(Resolution::Push(choice))) => Some(choice),
            Ok(Answer::Defer) if self.may_park().is_ok() => {
                let command =
                    Command::Push { message: Arc::clone(message), own: own.map(str::to_owned), away: away.to_vec() };
                self.park(ticket, command);
                None
            }
            Ok(Answer::Default | Answer::Defer | Answer::Now(_)) | Err(()) => Some(PushChoice::default()),
        }
    }

    /// Whether a peer has neither come back nor received a message.
    fn is_still_away(&self, peer: u32, message: &Message) -> bool {
        let held = &self.peers[peer];
        let conversation = self.conversations.find(&message.conversation);
        let received = conversation.zip(message.number).is_some_and(|(slot, number)| held.has_received(slot, number));
        !held.is_online() && !held.logged_out && !received
    }

    /// Asks the host for a push: with the hook's text, else the message's, else the static one.
    pub(crate) fn push(&mut self, message: &Arc<Message>, own: Option<&str>, mut away: Vec<u32>, choice: PushChoice) {
        let chosen = choice.text.map(|text| self.masked_text(message.kind, &text));
        let text = chosen.as_deref().or(own).or(self.config.push_text.as_deref());
        let Some(text) = text.filter(|_| !choice.skip).map(str::to_owned) else { return };
        // A late answer finds some of them back, or has them acknowledge the message meanwhile.
        away.retain(|peer| self.is_still_away(*peer, message));
        if let Some(chosen) = &choice.offline {
            let chosen: std::collections::BTreeSet<u32> =
                chosen.iter().filter_map(|peer| self.peers.find(peer)).collect();
            away.retain(|peer| chosen.contains(peer));
        }
        let recipients: Vec<PushRecipient> = away
            .into_iter()
            .map(|peer| PushRecipient { peer: self.peers[peer].id.clone(), badge: self.keep_badge(peer) })
            .collect();
        if !recipients.is_empty() {
            let push = Push { recipients, text, message: Arc::clone(message), force: choice.force };
            self.gate.emit(Output::Push(push));
        }
    }
}
