//! Who is watched: names, whether or not a peer has them. A watch makes no peer.

use crate::id::PeerId;
use crate::slots::Slots;
use crate::table::{KeyedTable, Keying};

/// A name that somebody watches.
#[derive(Debug)]
struct Watched {
    name: PeerId,
    /// The sessions that watch it, sorted, each with whether it was charged for a name of whom nothing was known.
    watchers: Vec<(u32, bool)>,
}

/// The names that are watched, and by which sessions.
#[derive(Debug)]
pub(crate) struct Watches {
    slots: Slots<Watched>,
    by_name: KeyedTable,
}

impl Watches {
    pub(crate) fn new(keying: Keying) -> Self {
        Self { slots: Slots::default(), by_name: KeyedTable::new(keying) }
    }

    /// How many names are watched.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The place of a name that somebody watches.
    pub(crate) fn find(&self, name: &PeerId) -> Option<u32> {
        self.by_name.find(name.as_str(), |slot| self.slots[slot].name.as_str())
    }

    /// The name in a place.
    pub(crate) fn name(&self, slot: u32) -> &PeerId {
        &self.slots[slot].name
    }

    /// The sessions that watch a name.
    pub(crate) fn watchers(&self, name: &PeerId) -> impl Iterator<Item = u32> + '_ {
        let found = self.find(name).map(|slot| &self.slots[slot].watchers);
        found.into_iter().flatten().map(|(session, _)| *session)
    }

    /// Whether a session was charged for watching a name.
    pub(crate) fn is_charged(&self, slot: u32, session: u32) -> bool {
        let watchers = &self.slots[slot].watchers;
        watchers.binary_search(&(session, true)).is_ok()
    }

    /// A session watches a name, which it did not.
    pub(crate) fn add(&mut self, name: &PeerId, session: u32, is_charged: bool) -> u32 {
        let slot = self.find(name).unwrap_or_else(|| {
            let slot = self.slots.insert(Watched { name: name.clone(), watchers: Vec::new() });
            self.by_name.insert(name.as_str(), slot, |slot| self.slots[slot].name.as_str());
            slot
        });
        let watchers = &mut self.slots[slot].watchers;
        let at = watchers.partition_point(|(watcher, _)| *watcher < session);
        watchers.insert(at, (session, is_charged));
        slot
    }

    /// A session watches a name no more; says whether it was charged for it.
    pub(crate) fn remove(&mut self, slot: u32, session: u32) -> bool {
        let watched = &mut self.slots[slot].watchers;
        let Ok(at) = watched.binary_search_by_key(&session, |(watcher, _)| *watcher) else { return false };
        let (_, is_charged) = watched.remove(at);
        if watched.is_empty() {
            let name = self.slots[slot].name.clone();
            self.by_name.remove(name.as_str(), |slot| self.slots[slot].name.as_str());
            self.slots.remove(slot);
        }
        is_charged
    }
}
