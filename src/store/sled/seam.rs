//! Where tests put troubles between the store and its disk, which no healthy machine has at hand.
//!
//! Without the feature `testing` it is nothing at all.

use std::io;

#[cfg(feature = "testing")]
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

#[cfg(feature = "testing")]
use parking_lot::Mutex;

/// A call of the store to what lies below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(not(feature = "testing"), expect(unreachable_pub, reason = "public with the feature `testing` alone"))]
pub enum Call {
    /// A row is read, by `get` or on the way of an `apply`.
    Get,
    /// The next row of a scan is read.
    Scan,
    /// A batch is handed to sled.
    Apply,
    /// sled writes its log.
    Write,
    /// A file is synced.
    Sync,
    /// The side file is written.
    Note,
    /// The name of a new folder is made to last, as the store moves there.
    Rename,
}

/// What happens instead of a [`Call`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg(feature = "testing")]
pub enum Trouble {
    /// The system refuses, with this number of its own.
    Refused(i32),
    /// sled panics.
    Panic,
}

/// The place of troubles; clones are the same place.
#[derive(Clone, Default)]
pub(super) struct Seam {
    #[cfg(feature = "testing")]
    script: Arc<Script>,
}

#[cfg(feature = "testing")]
#[derive(Default)]
struct Script {
    any: AtomicBool,
    troubles: Mutex<VecDeque<(Call, Trouble)>>,
}

impl Seam {
    /// Lets a call pass, or fails as told.
    #[cfg(not(feature = "testing"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "with the feature `testing` calls fail here")]
    pub(super) fn pass(&self, _call: Call) -> io::Result<()> {
        Ok(())
    }

    /// Lets a call pass, or fails as told.
    ///
    /// # Panics
    /// Where told to.
    #[cfg(feature = "testing")]
    pub(super) fn pass(&self, call: Call) -> io::Result<()> {
        if !self.script.any.load(Ordering::Relaxed) {
            return Ok(());
        }
        let next = {
            let mut troubles = self.script.troubles.lock();
            let found = troubles.iter().position(|(at, _)| *at == call);
            let next = found.and_then(|index| troubles.remove(index));
            self.script.any.store(!troubles.is_empty(), Ordering::Relaxed);
            next
        };
        match next {
            None => Ok(()),
            Some((_, Trouble::Refused(code))) => Err(io::Error::from_raw_os_error(code)),
            Some((_, Trouble::Panic)) => panic!("a scripted panic at {call:?}"),
        }
    }

    /// Lets the next `times` calls of this kind fail.
    #[cfg(feature = "testing")]
    pub(super) fn trouble(&self, call: Call, trouble: Trouble, times: usize) {
        self.script.troubles.lock().extend(std::iter::repeat_n((call, trouble), times));
        self.script.any.store(true, Ordering::Relaxed);
    }

    /// Ends all troubles.
    #[cfg(feature = "testing")]
    pub(super) fn clear(&self) {
        self.script.troubles.lock().clear();
        self.script.any.store(false, Ordering::Relaxed);
    }
}
