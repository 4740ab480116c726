//! What anybody was ever told, against what the logs hold later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{Accepted, ConversationId, ConversationInfo, ConversationKind, Message, MessageId, PeerId, RetryToken};

use super::Choices;
use super::moods::original;

/// A numbered message that somebody was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    id: MessageId,
    /// What it says, where it was seen and not only acknowledged.
    text: Option<String>,
}

/// Messages by conversation and number, as clients know them.
#[derive(Default)]
pub(super) struct Ledger {
    told: BTreeMap<(ConversationId, u64), Told>,
    /// These may end, and all of theirs with them.
    temporary: BTreeSet<ConversationId>,
}

impl Ledger {
    pub(super) fn create(&mut self, conversation: &ConversationInfo) {
        if conversation.kind == ConversationKind::Temporary {
            self.temporary.insert(conversation.id.clone());
        }
    }

    pub(super) fn accept(&mut self, accepted: &Accepted) {
        if let Some(number) = accepted.number {
            self.tell((accepted.conversation.clone(), number), Told { id: accepted.id, text: None });
        }
    }

    pub(super) fn note(&mut self, message: &Message) {
        if let Some(number) = message.number {
            let text = message.content.as_text().map(str::to_owned);
            self.tell((message.conversation.clone(), number), Told { id: message.id, text });
        }
    }

    /// One number is one message, for everyone and for ever.
    fn tell(&mut self, place: (ConversationId, u64), told: Told) {
        let held = self.told.entry(place).or_insert_with(|| told.clone());
        assert_eq!(held.id, told.id, "a number is given once");
        match (&held.text, &told.text) {
            (Some(before), Some(now)) => assert_eq!(before, now, "a message says the same to all"),
            (None, Some(_)) => held.text = told.text,
            (_, None) => {}
        }
    }

    /// The conversations whose logs must hold what was told.
    pub(super) fn conversations(&self) -> Vec<ConversationId> {
        let all: BTreeSet<ConversationId> = self.told.keys().map(|(id, _)| id.clone()).collect();
        all.difference(&self.temporary).cloned().collect()
    }

    /// One of a few tokens, or none.
    pub(super) fn retry_token(choices: &mut Choices<'_>) -> Option<RetryToken> {
        RetryToken::new(["", "", "x", "y"][choices.below(4)]).ok()
    }

    /// Compares a whole log, oldest first, with what was told of it.
    pub(super) fn check(&self, id: &ConversationId, messages: &[Arc<Message>]) {
        let numbers = messages.iter().map(|message| message.number);
        assert!(numbers.eq((1..=messages.len() as u64).map(Some)), "numbers have no holes in {id}");
        assert!(messages.is_sorted_by(|a, b| a.timestamp <= b.timestamp && a.id < b.id), "time goes on in {id}");
        for ((_, number), told) in self.told.range((id.clone(), 0)..=(id.clone(), u64::MAX)) {
            let kept = usize::try_from(*number).ok().and_then(|number| messages.get(number - 1));
            assert_eq!(kept.map(|message| message.id), Some(told.id), "#{number} of {id} was told and is not there");
            let text = kept.and_then(|message| message.content.as_text());
            assert!(told.text.is_none() || told.text.as_deref() == text, "#{number} of {id} says something else");
        }
        check_senders(messages);
    }
}

/// What one peer said in a conversation is there in the order in which it said it.
fn check_senders(messages: &[Arc<Message>]) {
    let mut last: BTreeMap<&PeerId, u64> = BTreeMap::new();
    for message in messages {
        let text = original(message.content.as_text().unwrap_or_default());
        let Some(said) = text.strip_prefix("message ").and_then(|number| number.parse().ok()) else { continue };
        let before = last.insert(&message.from, said).unwrap_or_default();
        assert!(said > before, "{} said {said} after {before}", message.from);
    }
}
