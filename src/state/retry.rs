//! Retry tokens: a sender's repeated attempt is known, and gets the first one's answer.

use std::collections::{HashMap, VecDeque};

use rustc_hash::FxHashMap;

use crate::id::{MessageId, RetryToken};
use crate::message::Content;
use crate::table::Keying;
use crate::time::Timestamp;

/// What a token's first attempt came to.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// The conversation's permanent number: it may be gone when the token comes again.
    pub(crate) conversation: u64,
    pub(crate) id: MessageId,
    pub(crate) number: u64,
    pub(crate) timestamp: Timestamp,
    /// When, by the host's clock: the message's own time may be ahead of it.
    pub(crate) noted_at: Timestamp,
    pub(crate) changed: Option<Content>,
}

/// The tokens of the last day, a bounded number for each sender.
#[derive(Debug)]
pub(crate) struct RetryTokens {
    known: HashMap<(u32, RetryToken), Sent, Keying>,
    by_sender: FxHashMap<u32, VecDeque<RetryToken>>,
    /// Senders by the time of each of their tokens, for expiry.
    by_time: VecDeque<(Timestamp, u32)>,
    per_sender_max: usize,
}

impl RetryTokens {
    pub(crate) fn new(keying: Keying, per_sender_max: usize) -> Self {
        Self {
            known: HashMap::with_hasher(keying),
            by_sender: FxHashMap::default(),
            by_time: VecDeque::new(),
            per_sender_max,
        }
    }

    /// What the first attempt with this token came to.
    pub(crate) fn find(&self, sender: u32, token: &RetryToken) -> Option<&Sent> {
        self.known.get(&(sender, token.clone()))
    }

    /// Notes a token; the sender's oldest goes where it has too many.
    pub(crate) fn note(&mut self, sender: u32, token: RetryToken, sent: Sent) {
        if self.per_sender_max == 0 {
            return;
        }
        self.by_time.push_back((sent.noted_at, sender));
        let tokens = self.by_sender.entry(sender).or_default();
        tokens.push_back(token.clone());
        if tokens.len() > self.per_sender_max
            && let Some(oldest) = tokens.pop_front()
        {
            self.known.remove(&(sender, oldest));
        }
        self.known.insert((sender, token), sent);
    }

    /// Forgets at most `max` tokens that are from before `limit`; true where there are more.
    pub(crate) fn expire(&mut self, limit: Timestamp, max: usize) -> bool {
        for _ in 0..max {
            let Some((_, sender)) = self.by_time.pop_front_if(|(at, _)| *at < limit) else { return false };
            let Some(tokens) = self.by_sender.get_mut(&sender) else { continue };
            // Those evicted by number left their times behind: only what is really old goes.
            if let Some(oldest) = tokens.front() {
                let key = (sender, oldest.clone());
                if self.known.get(&key).is_some_and(|sent| sent.noted_at < limit) {
                    self.known.remove(&key);
                    tokens.pop_front();
                }
            }
            if tokens.is_empty() {
                self.by_sender.remove(&sender);
            }
        }
        self.by_time.front().is_some_and(|(at, _)| *at < limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(at: u64) -> Sent {
        let timestamp = Timestamp::from_millis(at);
        let id = MessageId::from_bytes([0; 16]);
        Sent { conversation: 0, id, number: at, timestamp, noted_at: timestamp, changed: None }
    }

    #[test]
    fn the_oldest_token_goes_by_number_and_by_age() {
        let token = |n: u64| RetryToken::new(&n.to_string()).unwrap();
        let mut tokens = RetryTokens::new(Keying::new(1, 2), 2);
        (1..=3).for_each(|n| tokens.note(7, token(n), sent(n)));
        assert!(tokens.find(7, &token(1)).is_none());
        assert_eq!(tokens.find(7, &token(2)).map(|sent| sent.number), Some(2));
        assert!(tokens.find(8, &token(2)).is_none());
        assert!(!tokens.expire(Timestamp::from_millis(3), 10));
        assert!(tokens.find(7, &token(2)).is_none() && tokens.find(7, &token(3)).is_some());
    }
}
