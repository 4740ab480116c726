//! The master keys: keyed once, tried always, wiped on drop.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac as _};
use sha1::Sha1;
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::ZeroizeOnDrop;

use super::Mac;

/// Why keys, or an application's id, cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No key at all.
    #[error("no key given")]
    NoKey,
    /// A key is too short to resist guessing.
    #[error("a key has under {min} bytes")]
    TooShort {
        /// [`Keys::KEY_BYTES_MIN`].
        min: usize,
    },
    /// More keys than each check should try.
    #[error("over {max} keys")]
    TooMany {
        /// [`Keys::KEYS_MAX`].
        max: usize,
    },
    /// The application's id is empty or contains `:`.
    #[error("the application's id is empty or contains a colon")]
    AppId,
}

/// Names a key without telling it: the start of the key's HMAC of a fixed text. The same key has the same name after a
/// restart and on every node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// What is signed to name a key. Without a `:` it is no signed string.
    const LABEL: &'static [u8] = b"switchboard key id";

    /// The name with these bytes, as a store kept it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The name's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// HMAC-SHA1 after its key and before its message.
///
/// From such a state signatures can be made, so it is as secret as the key; the key itself is not kept.
type Keyed = Hmac<Sha1>;

/// Fails to compile where the crates' `zeroize` features are off: a keyed HMAC is two of these cores, which wipe themselves.
const _: () = {
    const fn wiped_on_drop<T: ZeroizeOnDrop>() {}
    wiped_on_drop::<sha1::block_api::Sha1Core>();
};

#[derive(Clone)]
struct Key {
    id: KeyId,
    keyed: Keyed,
}

impl Key {
    fn new(key: &[u8]) -> Result<Self, KeyError> {
        let too_short = KeyError::TooShort { min: Keys::KEY_BYTES_MIN };
        if key.len() < Keys::KEY_BYTES_MIN {
            return Err(too_short);
        }
        let keyed = Keyed::new_from_slice(key).map_err(|_| too_short)?;
        let mut id = [0; 8];
        id.copy_from_slice(&sign(&keyed, KeyId::LABEL)[..8]);
        Ok(Self { id: KeyId(id), keyed })
    }
}

fn sign(keyed: &Keyed, text: &[u8]) -> Mac {
    let mut mac = keyed.clone();
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// The application's master keys, several at once so that one can be changed without dropping sessions.
///
/// Wiped on drop; `Debug` shows [`KeyId`]s only. Give the new key and the old one, let every signer change, then give the
/// new one alone.
#[derive(Clone)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Bytes that a key has at least.
    pub const KEY_BYTES_MIN: usize = 16;
    /// Keys at most, since every check tries every one.
    pub const KEYS_MAX: usize = 16;

    /// Takes the keys; one that is given twice is kept once.
    ///
    /// # Errors
    /// [`KeyError`] where there is none, one is under [`KEY_BYTES_MIN`](Self::KEY_BYTES_MIN) bytes, or there are over
    /// [`KEYS_MAX`](Self::KEYS_MAX).
    pub fn new(keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Self, KeyError> {
        // Room for all from the start: growing would leave copies behind that nobody wipes.
        let mut kept = Self(Vec::with_capacity(Self::KEYS_MAX));
        for key in keys {
            let key = Key::new(key.as_ref())?;
            if kept.contains(key.id) {
                continue;
            }
            if kept.0.len() == Self::KEYS_MAX {
                return Err(KeyError::TooMany { max: Self::KEYS_MAX });
            }
            kept.0.push(key);
        }
        if kept.0.is_empty() { Err(KeyError::NoKey) } else { Ok(kept) }
    }

    /// Whether the key of this name is among them; what an absent key verified is void.
    #[must_use]
    pub fn contains(&self, id: KeyId) -> bool {
        self.ids().any(|known| known == id)
    }

    /// The keys' names.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(|key| key.id)
    }

    /// Signs with the first key.
    pub(super) fn sign(&self, text: &[u8]) -> Mac {
        self.0.first().map_or_else(Mac::default, |key| sign(&key.keyed, text))
    }

    pub(super) fn search(&self, presented: &Mac) -> Search<'_> {
        Search { keys: &self.0, presented: words(presented), found: Search::NONE }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")?;
        f.debug_list().entries(self.ids()).finish()
    }
}

/// A signature's bytes as five words, which compare in a quarter of the steps.
type Words = [u32; 5];

fn words(mac: &Mac) -> Words {
    std::array::from_fn(|at| u32::from_ne_bytes([mac[4 * at], mac[4 * at + 1], mac[4 * at + 2], mac[4 * at + 3]]))
}

/// Looks for the key that made a signature, in a time that depends on nothing secret.
pub(super) struct Search<'a> {
    keys: &'a [Key],
    presented: Words,
    found: u8,
}

impl Search<'_> {
    const NONE: u8 = u8::MAX;

    /// Tries every key on one spelling of the signed string.
    pub(super) fn try_all(&mut self, text: &[u8]) {
        for (at, key) in (0..).zip(self.keys) {
            let same = words(&sign(&key.keyed, text)).ct_eq(&self.presented);
            self.found.conditional_assign(&at, same);
        }
    }

    pub(super) fn found(&self) -> Option<KeyId> {
        self.keys.get(usize::from(self.found)).map(|key| key.id)
    }
}
