//! The memory of used nonces: what makes a signature serve once.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::Hasher;
use std::time::Duration;

use rustc_hash::FxBuildHasher;
use siphasher::sip128::{Hasher128, SipHasher24};

use super::{Cause, Verified};
use crate::id::PeerId;
use crate::time::Timestamp;

/// A nonce that a peer used, as the memory and a store keep it: 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedNonce {
    hash: u128,
    until: Timestamp,
}

impl UsedNonce {
    /// Bytes of an entry in a store.
    pub const BYTES: usize = 24;

    /// The last moment at which its signature could be presented again.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        self.until
    }

    /// For a store: the 16 bytes of the hash, then `until` in milliseconds, both big-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.hash.to_be_bytes());
        bytes[16..].copy_from_slice(&self.until.as_millis().to_be_bytes());
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) made.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (mut hash, mut until) = ([0; 16], [0; 8]);
        hash.copy_from_slice(&bytes[..16]);
        until.copy_from_slice(&bytes[16..]);
        Self { hash: u128::from_be_bytes(hash), until: Timestamp::from_millis(u64::from_be_bytes(until)) }
    }
}

/// The nonces that peers have used and that are still inside the window.
///
/// [`check`](Self::check) first; [`record`](Self::record) once nothing else refuses the request, so that a failed one does
/// not use the nonce up. Bounded, and failing closed: when full, every signature is refused until
/// [`expire`](Self::expire) has made room. Takes 16 bytes an entry in a table and 16 in order of expiry, at worst twice
/// that while they grow.
///
/// Entries are 128-bit hashes under a key that the host gives, so that no client can aim at another's nonce. Entries of a
/// store mean something only under the same key.
#[derive(Clone)]
pub struct Nonces {
    key: [u8; 16],
    entries_max: usize,
    // The hash is keyed already: no client can choose it.
    used: HashSet<u128, FxBuildHasher>,
    /// The same by the end of the step in which they expire, so that time's order costs no tree node an entry.
    by_expiry: BTreeMap<Timestamp, Vec<u128>>,
    /// What was valid until then or earlier may have been forgotten, and is refused should time ever seem to go back.
    forgotten_until: Option<Timestamp>,
}

impl Nonces {
    /// Entries that the memory holds by default: 46 verified signatures a second all through the window of six hours.
    pub const ENTRIES_MAX: usize = 1_000_000;
    /// Entries are forgotten at most this much after they could be used.
    const STEP: Duration = Duration::from_secs(10);

    /// An empty memory for `entries_max` nonces, hashed with `key`, which has to be the same at each start of one store.
    #[must_use]
    pub fn new(key: [u8; 16], entries_max: usize) -> Self {
        Self { key, entries_max, used: HashSet::default(), by_expiry: BTreeMap::new(), forgotten_until: None }
    }

    /// Whether `peer` may use `nonce`, with a signature that was just verified; if so, what to [`record`](Self::record).
    /// Changes nothing.
    ///
    /// # Errors
    /// [`Cause::Replayed`], [`Cause::NoncesFull`], or [`Cause::Window`] where such a nonce may have been forgotten already.
    pub fn check(&self, peer: &PeerId, nonce: &str, verified: &Verified) -> Result<UsedNonce, Cause> {
        let entry = UsedNonce { hash: self.hash(peer, nonce), until: verified.valid_until };
        if self.used.contains(&entry.hash) {
            Err(Cause::Replayed)
        } else if Some(entry.until) <= self.forgotten_until {
            Err(Cause::Window)
        } else if self.used.len() >= self.entries_max {
            Err(Cause::NoncesFull)
        } else {
            Ok(entry)
        }
    }

    /// Takes the nonce as used. The same entry is what a store keeps for [`restore`](Self::restore).
    pub fn record(&mut self, entry: UsedNonce) -> UsedNonce {
        if self.used.insert(entry.hash) {
            self.by_expiry.entry(step_end(entry.until)).or_default().push(entry.hash);
        }
        entry
    }

    /// Takes back what a store kept. Where that is more than the memory holds all of it counts, and new ones are refused.
    pub fn restore(&mut self, entries: impl IntoIterator<Item = UsedNonce>) {
        for entry in entries {
            self.record(entry);
        }
    }

    /// Forgets at most `max` nonces whose signatures the window refuses by now, earliest first; says how many.
    pub fn expire(&mut self, now: Timestamp, max: usize) -> usize {
        let mut expired = 0;
        while expired < max
            && let Some(mut step) = self.by_expiry.first_entry()
            && *step.key() < now
        {
            self.forgotten_until = self.forgotten_until.max(Some(*step.key()));
            let hashes = step.get_mut();
            let kept = hashes.len().saturating_sub(max - expired);
            for hash in hashes.drain(kept..) {
                self.used.remove(&hash);
                expired += 1;
            }
            if kept == 0 {
                step.remove();
            }
        }
        expired
    }

    /// From when on [`expire`](Self::expire) has something to do.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.by_expiry.keys().next().map(|&end| end + Duration::from_millis(1))
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    fn hash(&self, peer: &PeerId, nonce: &str) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(peer.as_str().as_bytes());
        // A byte that no UTF-8 text contains ends the id.
        hasher.write_u8(0xff);
        hasher.write(nonce.as_bytes());
        hasher.finish128().as_u128()
    }
}

/// Without the key and the hashes.
impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The last millisecond of the step that `until` lies in.
fn step_end(until: Timestamp) -> Timestamp {
    let step = Nonces::STEP.as_millis() as u64;
    Timestamp::from_millis((until.as_millis() / step).saturating_mul(step).saturating_add(step - 1))
}
