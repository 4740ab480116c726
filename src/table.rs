//! Tables keyed by what clients send: hashed with a key that they cannot know.

use std::hash::{BuildHasher, Hasher};

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

/// The key of a host's tables, from the seed that the host gives.
#[derive(Clone, Copy)]
pub(crate) struct Keying {
    low: u64,
    high: u64,
}

impl std::fmt::Debug for Keying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keying(..)")
    }
}

impl Keying {
    pub(crate) const fn new(low: u64, high: u64) -> Self {
        Self { low, high }
    }

    /// The hash of a text.
    pub(crate) fn text(self, text: &str) -> u64 {
        let mut hasher = self.build_hasher();
        hasher.write(text.as_bytes());
        hasher.finish()
    }
}

impl BuildHasher for Keying {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.low, self.high)
    }
}

/// Slots by the text of what they hold: the text itself stays there.
#[derive(Debug)]
pub(crate) struct KeyedTable {
    keying: Keying,
    slots: HashTable<u32>,
}

impl KeyedTable {
    pub(crate) fn new(keying: Keying) -> Self {
        Self { keying, slots: HashTable::new() }
    }

    /// The slot whose text is `text`.
    pub(crate) fn find<'a>(&self, text: &str, text_of: impl Fn(u32) -> &'a str) -> Option<u32> {
        self.slots.find(self.keying.text(text), |slot| text_of(*slot) == text).copied()
    }

    /// Adds a slot with a text that is not in the table.
    pub(crate) fn insert<'a>(&mut self, text: &str, slot: u32, text_of: impl Fn(u32) -> &'a str) {
        let keying = self.keying;
        self.slots.insert_unique(keying.text(text), slot, |slot| keying.text(text_of(*slot)));
    }

    /// Removes the slot whose text is `text`.
    pub(crate) fn remove<'a>(&mut self, text: &str, text_of: impl Fn(u32) -> &'a str) {
        if let Ok(found) = self.slots.find_entry(self.keying.text(text), |slot| text_of(*slot) == text) {
            found.remove();
        }
    }
}
