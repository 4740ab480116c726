//! Retry tokens: a sender's repeated attempt is known, and gets the first one's answer.
//!
//! A token is known for its time and among its sender's newest, whichever ends first; both here and in the store, where each
//! has a row. So what is held is bounded by how many there may be, not by what was sent.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

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
    /// What tells its row in the store from others of its time; zero where none was staged.
    pub(crate) row: u64,
}

/// The tokens of the last day, a bounded number for each sender.
#[derive(Debug)]
pub(crate) struct RetryTokens {
    known: HashMap<(u32, RetryToken), Sent, Keying>,
    /// Each sender's tokens, oldest first.
    by_sender: FxHashMap<u32, VecDeque<RetryToken>>,
    /// Each sender once, by a time that is no later than that of its oldest token.
    by_time: BinaryHeap<Reverse<(Timestamp, u32)>>,
    /// Time and row of tokens that were driven out, until their rows are removed.
    given_up: VecDeque<(Timestamp, u64)>,
    per_sender_max: usize,
}

impl RetryTokens {
    pub(crate) fn new(keying: Keying, per_sender_max: usize) -> Self {
        Self {
            known: HashMap::with_hasher(keying),
            by_sender: FxHashMap::default(),
            by_time: BinaryHeap::new(),
            given_up: VecDeque::new(),
            per_sender_max,
        }
    }

    /// What the first attempt with this token came to.
    pub(crate) fn find(&self, sender: u32, token: &RetryToken) -> Option<&Sent> {
        self.known.get(&(sender, token.clone()))
    }

    /// A known token without a row, for its row to be staged.
    pub(crate) fn unwritten(&mut self, sender: u32, token: &RetryToken) -> Option<&mut Sent> {
        self.known.get_mut(&(sender, token.clone())).filter(|sent| sent.row == 0)
    }

    /// Notes a token as its sender's newest; true where that drove the oldest out before its time.
    pub(crate) fn note(&mut self, sender: u32, token: RetryToken, sent: Sent) -> bool {
        if self.per_sender_max == 0 {
            return false;
        }
        let at = sent.noted_at;
        let tokens = self.by_sender.entry(sender).or_default();
        if tokens.is_empty() {
            self.by_time.push(Reverse((at, sender)));
        }
        tokens.push_back(token.clone());
        if let Some(before) = self.known.insert((sender, token.clone()), sent) {
            // Its conversation is gone, and it was used again.
            if let Some(first) = tokens.iter().position(|known| *known == token) {
                tokens.remove(first);
            }
            self.give_up(&before);
        }
        let oldest = self.by_sender.get_mut(&sender).filter(|tokens| tokens.len() > self.per_sender_max);
        let gone = oldest.and_then(VecDeque::pop_front).and_then(|oldest| self.known.remove(&(sender, oldest)));
        gone.inspect(|gone| self.give_up(gone)).is_some()
    }

    fn give_up(&mut self, sent: &Sent) {
        if sent.row != 0 {
            self.given_up.push_back((sent.noted_at, sent.row));
        }
    }

    /// Times and rows of at most `max` tokens that were driven out: for removal.
    pub(crate) fn given_up(&mut self, max: usize) -> Vec<(Timestamp, u64)> {
        self.given_up.drain(..self.given_up.len().min(max)).collect()
    }

    /// Forgets at most `max` tokens that are from before `limit`; true where there are more. Their rows go by their time.
    pub(crate) fn expire(&mut self, limit: Timestamp, max: usize) -> bool {
        let mut left = max;
        while let Some(Reverse((_, sender))) = self.by_time.peek().copied().filter(|oldest| oldest.0.0 < limit) {
            if left == 0 {
                return true;
            }
            self.by_time.pop();
            let (gone, oldest_at) = self.expire_of(sender, limit, left);
            self.by_time.extend(oldest_at.map(|at| Reverse((at, sender))));
            left = left.saturating_sub(gone.max(1));
        }
        false
    }

    /// Forgets old tokens of one sender; returns how many, and the time of the oldest that stays.
    fn expire_of(&mut self, sender: u32, limit: Timestamp, max: usize) -> (usize, Option<Timestamp>) {
        let mut gone = 0;
        let Some(tokens) = self.by_sender.get_mut(&sender) else { return (gone, None) };
        while let Some(oldest) = tokens.front() {
            let key = (sender, oldest.clone());
            let at = self.known.get(&key).map_or(Timestamp::ZERO, |sent| sent.noted_at);
            if at >= limit || gone == max {
                return (gone, Some(at));
            }
            self.known.remove(&key);
            tokens.pop_front();
            gone += 1;
        }
        self.by_sender.remove(&sender);
        (gone, None)
    }

    /// Tokens held, and notes of their times.
    #[cfg(test)]
    fn held(&self) -> (usize, usize) {
        (self.known.len(), self.by_time.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(at: u64) -> Sent {
        let timestamp = Timestamp::from_millis(at);
        Sent {
            conversation: 0,
            id: MessageId::from_bytes([0; 16]),
            number: at,
            timestamp,
            noted_at: timestamp,
            changed: None,
            row: at,
        }
    }

    fn token(n: u64) -> RetryToken {
        RetryToken::new(&n.to_string()).unwrap()
    }

    #[test]
    fn the_oldest_token_goes_by_number_and_by_age() {
        let mut tokens = RetryTokens::new(Keying::new(1, 2), 2);
        let early: Vec<bool> = (1..=3).map(|n| tokens.note(7, token(n), sent(n))).collect();
        assert_eq!(early, [false, false, true]);
        assert_eq!(tokens.given_up(10), [(Timestamp::from_millis(1), 1)]);
        assert!(tokens.find(7, &token(1)).is_none());
        assert_eq!(tokens.find(7, &token(2)).map(|sent| sent.number), Some(2));
        assert!(tokens.find(8, &token(2)).is_none());
        assert!(!tokens.expire(Timestamp::from_millis(3), 10));
        assert!(tokens.find(7, &token(2)).is_none() && tokens.find(7, &token(3)).is_some());
    }

    /// A sender of a million tokens a day held a million times of tokens that were long forgotten.
    #[test]
    fn row_46_what_is_held_is_bounded_by_the_cap() {
        let mut tokens = RetryTokens::new(Keying::new(1, 2), 10);
        for n in 1..=100_000 {
            tokens.note((n % 3) as u32, token(n), sent(n));
            tokens.given_up(2);
        }
        assert_eq!(tokens.held(), (30, 3));
        assert!((99_971..=100_000).all(|n| tokens.find((n % 3) as u32, &token(n)).is_some()));
        while tokens.expire(Timestamp::from_millis(99_995), 4) {}
        assert_eq!(tokens.held(), (6, 3));
        assert!(!tokens.expire(Timestamp::from_millis(u64::MAX), 64));
        assert_eq!(tokens.held(), (0, 0));
    }

    #[test]
    fn a_token_that_is_used_anew_is_its_senders_newest() {
        let mut tokens = RetryTokens::new(Keying::new(1, 2), 2);
        for (n, at) in [(1, 1), (2, 2), (1, 3), (3, 4)] {
            tokens.note(7, token(n), sent(at));
        }
        assert_eq!(tokens.find(7, &token(1)).map(|sent| sent.number), Some(3));
        assert!(tokens.find(7, &token(2)).is_none() && tokens.find(7, &token(3)).is_some());
    }
}
