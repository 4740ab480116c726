//! Which pauses are to end first, where there are too many: of whoever has most, the oldest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::time::Timestamp;

/// A paused session, ordered by when its pause ends: all last equally long, so that the oldest is first.
type Pause = (Timestamp, u32);

/// The paused sessions of all peers, and of all connections.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    by_peer: BTreeMap<u32, BTreeSet<Pause>>,
    /// Peers by how many they have, those with the oldest last among equals.
    most: BTreeSet<(usize, Reverse<Pause>, u32)>,
    // By the keyed hash of an origin, which no client can choose.
    by_origin: FxHashMap<u64, BTreeSet<Pause>>,
    len: usize,
}

impl Pauses {
    /// How many sessions are paused.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A session is paused.
    pub(crate) fn add(&mut self, slot: u32, until: Timestamp, peer: u32, origin: Option<u64>) {
        self.change(peer, |pauses| pauses.insert((until, slot)));
        if let Some(origin) = origin {
            self.by_origin.entry(origin).or_default().insert((until, slot));
        }
    }

    /// A session is paused no more.
    pub(crate) fn remove(&mut self, slot: u32, until: Timestamp, peer: u32, origin: Option<u64>) {
        self.change(peer, |pauses| pauses.remove(&(until, slot)));
        if let Some(origin) = origin
            && let Some(pauses) = self.by_origin.get_mut(&origin)
        {
            pauses.remove(&(until, slot));
            if pauses.is_empty() {
                self.by_origin.remove(&origin);
            }
        }
    }

    fn change(&mut self, peer: u32, change: impl FnOnce(&mut BTreeSet<Pause>) -> bool) {
        let pauses = self.by_peer.entry(peer).or_default();
        let before = pauses.len();
        if let Some(oldest) = pauses.first() {
            self.most.remove(&(before, Reverse(*oldest), peer));
        }
        change(pauses);
        let after = pauses.len();
        match pauses.first() {
            Some(oldest) => drop(self.most.insert((after, Reverse(*oldest), peer))),
            None => drop(self.by_peer.remove(&peer)),
        }
        self.len = self.len + after - before;
    }

    /// The oldest pause of a peer that has more than `max`.
    pub(crate) fn beyond(&self, peer: u32, max: usize) -> Option<u32> {
        let pauses = self.by_peer.get(&peer).filter(|pauses| pauses.len() > max)?;
        pauses.first().map(|(_, slot)| *slot)
    }

    /// The oldest pause of a connection that has more than `max`.
    pub(crate) fn beyond_of_origin(&self, origin: u64, max: usize) -> Option<u32> {
        let pauses = self.by_origin.get(&origin).filter(|pauses| pauses.len() > max)?;
        pauses.first().map(|(_, slot)| *slot)
    }

    /// The oldest pause of the peer with most of them.
    pub(crate) fn of_most(&self) -> Option<u32> {
        self.most.last().map(|(_, Reverse((_, slot)), _)| *slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_whoever_has_most_the_oldest_goes_first() {
        let at = Timestamp::from_millis;
        let mut pauses = Pauses::default();
        pauses.add(0, at(1), 7, None);
        pauses.add(1, at(2), 8, Some(5));
        pauses.add(2, at(3), 8, Some(5));
        assert_eq!((pauses.of_most(), pauses.len()), (Some(1), 3));
        assert_eq!((pauses.beyond(8, 1), pauses.beyond(8, 2), pauses.beyond_of_origin(5, 1)), (Some(1), None, Some(1)));
        pauses.remove(1, at(2), 8, Some(5));
        // Both have one now: the older of the two goes.
        assert_eq!(pauses.of_most(), Some(0));
        pauses.remove(0, at(1), 7, None);
        pauses.remove(2, at(3), 8, Some(5));
        assert!(pauses.of_most().is_none() && pauses.by_peer.is_empty() && pauses.by_origin.is_empty());
        assert_eq!(pauses.len(), 0);
    }
}
