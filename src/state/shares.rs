//! Shares: what each peer, and each connection, has lately made others pay for.
//!
//! Whoever pays is known by a keyed hash, so that what is counted outlives the peer in memory and nobody can aim at another's
//! entry. What is counted over a time lies in a capped table; what stands is counted exactly, for it is bounded by what stands.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::id::PeerId;
use crate::request::Origin;
use crate::table::Keying;
use crate::time::Timestamp;

/// How much more a connection may than a peer.
pub(crate) const ORIGIN: u64 = 10;

/// What is counted over a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lately {
    /// Names that the engine first heard of, in an hour.
    Names,
    /// Conversations made, in a day.
    Conversations,
}

impl Lately {
    const ALL: usize = 2;

    const fn span(self) -> Duration {
        match self {
            Self::Names => Duration::from_secs(3_600),
            Self::Conversations => Duration::from_secs(86_400),
        }
    }
}

/// What is counted as long as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Standing {
    /// Rooms.
    Rooms,
    /// Watches on names of whom nothing was known.
    Watches,
}

/// Who pays: a peer and, where it is named, its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payers {
    peer: Option<u64>,
    origin: Option<u64>,
}

impl Payers {
    /// The one for whom it is counted what waits for the store: the connection, where it is named.
    pub(crate) fn one(self) -> u64 {
        self.origin.or(self.peer).unwrap_or_default()
    }

    /// The connection alone.
    pub(crate) fn without_peer(self) -> Self {
        Self { peer: None, ..self }
    }

    /// Each with how many times a peer's share it has.
    fn each(self) -> impl Iterator<Item = (u64, u64)> {
        let peer = self.peer.map(|peer| (peer, 1));
        peer.into_iter().chain(self.origin.map(|origin| (origin, ORIGIN)))
    }
}

/// A count, and since when it runs.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    since: Timestamp,
    count: u64,
}

impl Count {
    fn now(self, span: Duration, now: Timestamp) -> u64 {
        if now.since(self.since) >= span { 0 } else { self.count }
    }
}

/// What one payer has lately had.
#[derive(Clone, Copy, Debug)]
struct Entry {
    payer: u64,
    counts: [Count; Lately::ALL],
}

impl Entry {
    fn weight(&self, now: Timestamp) -> u64 {
        let [names, conversations] = self.counts;
        names.now(Lately::Names.span(), now) + conversations.now(Lately::Conversations.span(), now)
    }
}

/// The counts of everyone who lately had something.
#[derive(Debug)]
pub(crate) struct Shares {
    keying: Keying,
    entries: Vec<Entry>,
    // The hash is keyed already: no client can choose it.
    by_payer: FxHashMap<u64, u32>,
    /// Where the next look for an entry to give up begins.
    hand: usize,
    standing: FxHashMap<(Standing, u64), u64>,
    /// Who pays for a room, by the room's permanent number.
    rooms: FxHashMap<u64, Payers>,
}

impl Shares {
    /// Payers whose counts over a time are held, at most: 20 MB. Beyond, who had least of some is forgotten.
    const ENTRIES_MAX: usize = 262_144;
    /// How many are looked at to find who had least.
    const LOOK: usize = 16;

    pub(crate) fn new(keying: Keying) -> Self {
        Self {
            keying,
            entries: Vec::new(),
            by_payer: FxHashMap::default(),
            hand: 0,
            standing: FxHashMap::default(),
            rooms: FxHashMap::default(),
        }
    }

    /// Who pays for what a peer does that came by `origin`.
    pub(crate) fn payers(&self, peer: &PeerId, origin: Option<Origin>) -> Payers {
        Payers { peer: Some(self.keying.text(peer.as_str())), origin: origin.map(|origin| self.origin(origin)) }
    }

    /// An origin's key, apart from every peer's: a peer's is that of a text, which never contains this byte.
    pub(crate) fn origin(&self, origin: Origin) -> u64 {
        let mut hasher = self.keying.build_hasher();
        hasher.write_u8(0xff);
        hasher.write_u64(origin.key());
        hasher.finish()
    }

    /// The limit that `more` would break, where a peer may have `max`.
    pub(crate) fn over(&self, payers: Payers, what: Lately, more: u64, max: u64, now: Timestamp) -> Option<u64> {
        let limits = payers.each().map(|(payer, times)| (self.lately(payer, what, now), max.saturating_mul(times)));
        limits.into_iter().find(|(had, max)| had + more > *max).map(|(_, max)| max)
    }

    fn lately(&self, payer: u64, what: Lately, now: Timestamp) -> u64 {
        let entry = self.by_payer.get(&payer).and_then(|at| self.entries.get(*at as usize));
        entry.map_or(0, |entry| entry.counts[what as usize].now(what.span(), now))
    }

    /// Counts what was had.
    pub(crate) fn spend(&mut self, payers: Payers, what: Lately, more: u64, now: Timestamp) {
        if more == 0 {
            return;
        }
        for (payer, _) in payers.each() {
            let at = self.entry(payer, now);
            let count = &mut self.entries[at].counts[what as usize];
            if count.now(what.span(), now) == 0 {
                *count = Count { since: now, count: 0 };
            }
            count.count += more;
        }
    }

    fn entry(&mut self, payer: u64, now: Timestamp) -> usize {
        if let Some(at) = self.by_payer.get(&payer) {
            return *at as usize;
        }
        let fresh = Entry { payer, counts: [Count::default(); Lately::ALL] };
        let at = if self.entries.len() < Self::ENTRIES_MAX {
            self.entries.push(fresh);
            self.entries.len() - 1
        } else {
            let at = self.poorest(now);
            self.by_payer.remove(&self.entries[at].payer);
            self.entries[at] = fresh;
            at
        };
        self.by_payer.insert(payer, u32::try_from(at).unwrap_or_default());
        at
    }

    /// Of the next few entries the one that had least, which may be given up.
    fn poorest(&mut self, now: Timestamp) -> usize {
        let len = self.entries.len();
        let some = (self.hand..self.hand + Self::LOOK).map(|at| at % len);
        self.hand = (self.hand + Self::LOOK) % len;
        some.min_by_key(|at| self.entries[*at].weight(now)).unwrap_or_default()
    }

    /// The limit that `more` of what stands would break, where a peer may have `max`.
    pub(crate) fn over_standing(&self, payers: Payers, what: Standing, more: u64, max: u64) -> Option<u64> {
        let limits = payers.each().map(|(payer, times)| (self.standing(payer, what), max.saturating_mul(times)));
        limits.into_iter().find(|(had, max)| had + more > *max).map(|(_, max)| max)
    }

    fn standing(&self, payer: u64, what: Standing) -> u64 {
        self.standing.get(&(what, payer)).copied().unwrap_or_default()
    }

    /// Something stands from now on.
    pub(crate) fn stand(&mut self, payers: Payers, what: Standing, more: u64) {
        if more > 0 {
            payers.each().for_each(|(payer, _)| *self.standing.entry((what, payer)).or_default() += more);
        }
    }

    /// Something stands no more.
    pub(crate) fn fall(&mut self, payers: Payers, what: Standing, fewer: u64) {
        for (payer, _) in payers.each() {
            let key = (what, payer);
            let left = self.standing(payer, what).saturating_sub(fewer);
            if left == 0 {
                self.standing.remove(&key);
            } else {
                self.standing.insert(key, left);
            }
        }
    }

    /// A room was made.
    pub(crate) fn made_room(&mut self, payers: Payers, room: u64) {
        self.stand(payers, Standing::Rooms, 1);
        self.rooms.insert(room, payers);
    }

    /// A room is gone.
    pub(crate) fn lost_room(&mut self, room: u64) {
        if let Some(payers) = self.rooms.remove(&room) {
            self.fall(payers, Standing::Rooms, 1);
        }
    }

    /// How many payers are known by what they lately had.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_millis(second * 1_000)
    }

    #[test]
    fn a_connection_has_ten_times_what_a_peer_has_however_many_peers_come_by_it() {
        let mut shares = Shares::new(Keying::new(1, 2));
        let payers =
            |shares: &Shares, n: u64| shares.payers(&PeerId::new(&format!("peer{n}")).unwrap(), Some(Origin::new(7)));
        for n in 0..10 {
            let payers = payers(&shares, n);
            assert_eq!(shares.over(payers, Lately::Names, 100, 100, at(0)), None);
            shares.spend(payers, Lately::Names, 100, at(0));
            assert_eq!(shares.over(payers, Lately::Names, 1, 100, at(0)), Some(100));
        }
        let next = payers(&shares, 10);
        assert_eq!(shares.over(next, Lately::Names, 1, 100, at(3_599)), Some(1_000));
        assert_eq!(shares.over(next, Lately::Names, 1, 100, at(3_600)), None);
        assert_eq!(shares.over(next, Lately::Conversations, 1, 100, at(0)), None);
    }

    #[test]
    fn a_full_table_gives_up_who_had_least() {
        let mut shares = Shares::new(Keying::new(1, 2));
        let payers = |shares: &Shares, n: usize| shares.payers(&PeerId::new(&n.to_string()).unwrap(), None);
        let rich = payers(&shares, 0);
        shares.spend(rich, Lately::Names, 100, at(0));
        for n in 1..Shares::ENTRIES_MAX * 2 {
            let poor = payers(&shares, n);
            shares.spend(poor, Lately::Names, 1, at(0));
        }
        assert_eq!(shares.len(), Shares::ENTRIES_MAX);
        assert_eq!(shares.over(rich, Lately::Names, 1, 100, at(0)), Some(100));
    }

    #[test]
    fn what_falls_is_free_again() {
        let mut shares = Shares::new(Keying::new(1, 2));
        let alice = shares.payers(&PeerId::new("alice").unwrap(), None);
        shares.made_room(alice, 4);
        assert_eq!(shares.over_standing(alice, Standing::Rooms, 1, 1), Some(1));
        shares.lost_room(4);
        shares.lost_room(4);
        assert_eq!(shares.over_standing(alice, Standing::Rooms, 1, 1), None);
        assert!(shares.standing.is_empty() && shares.rooms.is_empty());
    }
}
