//! Requests of whoever has more staged than its share, in turns: who sends fastest waits longest.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::output::SessionRef;
use crate::request::Request;
use crate::state::actor::Actor;
use crate::time::Timestamp;

/// A request that waits before its check.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) actor: Actor,
    pub(crate) request: Request,
    /// When it is answered that the store takes too long.
    pub(crate) until: Timestamp,
}

/// What is staged for each payer, and the requests of those who have too much.
#[derive(Debug, Default)]
pub(crate) struct Held {
    // By keyed hashes of peers and origins, which no client can choose. Who has nothing staged may stay for its next request.
    staged: FxHashMap<u64, usize>,
    /// How many have something staged.
    payers: usize,
    /// What of it goes with which commit, oldest first.
    by_commit: VecDeque<(u64, u64, usize)>,
    waiting: FxHashMap<u64, VecDeque<Waiting>>,
    /// Who is next.
    turns: VecDeque<u64>,
    /// How many requests of a session wait: its later ones do not overtake them.
    by_session: FxHashMap<SessionRef, usize>,
    len: usize,
}

impl Held {
    /// Requests of one payer that wait, at most: as many as a client sends while one commit takes place.
    pub(crate) const EACH_MAX: usize = 64;

    /// Payers without anything staged that are kept.
    const IDLE_MAX: usize = 1_024;

    /// How many requests wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A request staged so many bytes, which go with this commit.
    pub(crate) fn stage(&mut self, payer: u64, commit: u64, bytes: usize) {
        let staged = self.staged.entry(payer).or_default();
        self.payers += usize::from(*staged == 0 && bytes > 0);
        *staged += bytes;
        match self.by_commit.back_mut() {
            Some((last, same, sum)) if *last == commit && *same == payer => *sum += bytes,
            _ => self.by_commit.push_back((commit, payer, bytes)),
        }
    }

    /// Everything up to this commit is durable.
    pub(crate) fn settle(&mut self, durable: u64) {
        while let Some((_, payer, bytes)) = self.by_commit.pop_front_if(|(commit, ..)| *commit <= durable) {
            let Some(staged) = self.staged.get_mut(&payer).filter(|staged| **staged > 0) else { continue };
            *staged = staged.saturating_sub(bytes);
            if *staged == 0 {
                self.payers -= 1;
                if self.staged.len() > Self::IDLE_MAX {
                    self.staged.remove(&payer);
                }
            }
        }
    }

    /// Whether a payer has more staged than its share while another has something staged. The share is `share_max`, and less
    /// where so many have something staged that half of `total_max` is not enough for all.
    pub(crate) fn is_over(&self, payer: u64, share_max: usize, total_max: usize) -> bool {
        // Alone one has everything, which is soon told.
        let is_over = |mine: &usize| *mine > share_max.min(total_max / 2 / self.payers);
        self.payers > 1 && self.staged.get(&payer).is_some_and(is_over)
    }

    /// Whether a request of this session waits.
    pub(crate) fn has_session(&self, session: SessionRef) -> bool {
        !self.by_session.is_empty() && self.by_session.contains_key(&session)
    }

    /// Whether as many requests of a payer wait as may.
    pub(crate) fn is_full(&self, payer: u64) -> bool {
        self.waiting.get(&payer).is_some_and(|waiting| waiting.len() >= Self::EACH_MAX)
    }

    /// Lets a request wait.
    pub(crate) fn hold(&mut self, payer: u64, waiting: Waiting) {
        if let Some(session) = waiting.actor.session {
            *self.by_session.entry(session).or_default() += 1;
        }
        let queue = self.waiting.entry(payer).or_default();
        if queue.is_empty() {
            self.turns.push_back(payer);
        }
        queue.push_back(waiting);
        self.len += 1;
    }

    /// The next request of a payer who may go on by `may`, one payer after another.
    pub(crate) fn next(&mut self, may: impl Fn(&Self, u64) -> bool) -> Option<Waiting> {
        let turn = (0..self.turns.len()).find(|at| self.turns.get(*at).is_some_and(|payer| may(self, *payer)))?;
        let payer = self.turns.remove(turn)?;
        self.take(payer)
    }

    /// The next request that has waited too long.
    pub(crate) fn next_overdue(&mut self, now: Timestamp) -> Option<Waiting> {
        let is_overdue = |payer: &u64| {
            let first = self.waiting.get(payer).and_then(VecDeque::front);
            first.is_some_and(|first| first.until <= now)
        };
        let turn = self.turns.iter().position(is_overdue)?;
        let payer = self.turns.remove(turn)?;
        self.take(payer)
    }

    /// A payer's oldest request; the payer goes to the end of the turns where it has more.
    fn take(&mut self, payer: u64) -> Option<Waiting> {
        let queue = self.waiting.get_mut(&payer)?;
        let waiting = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&payer);
        } else {
            self.turns.push_back(payer);
        }
        self.len -= 1;
        if let Some(session) = waiting.actor.session
            && let Some(count) = self.by_session.get_mut(&session)
        {
            *count -= 1;
            if *count == 0 {
                self.by_session.remove(&session);
            }
        }
        Some(waiting)
    }
}
