//! Who is inside the host's code while the engine's lock is held: a hook, mostly.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// The thread that runs the host's code under the engine's lock, if one does. Should it ask the same hub for something, it
/// would wait for itself.
#[derive(Debug, Default)]
pub(crate) struct Inside {
    /// Its number; zero for none.
    thread: AtomicU64,
}

/// The time that a thread spends in the host's code. Ends when it is dropped, on a panic too.
#[derive(Debug)]
pub(crate) struct Stay<'a> {
    inside: &'a Inside,
    before: u64,
}

impl Inside {
    /// The calling thread, which holds the engine's lock, enters the host's code.
    pub(crate) fn enter(&self) -> Stay<'_> {
        Stay { inside: self, before: self.thread.swap(this_thread(), Ordering::Relaxed) }
    }

    /// Whether the calling thread is inside. Others may be: their mark is not this thread's number, whenever it is seen.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        let thread = self.thread.load(Ordering::Relaxed);
        thread != 0 && thread == this_thread()
    }

    /// Refuses a call that would wait for itself.
    ///
    /// # Errors
    /// [`Error::InsideHook`].
    #[inline]
    pub(crate) fn check_outside(&self) -> Result<(), Error> {
        if self.is_here() { Err(Error::InsideHook) } else { Ok(()) }
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.inside.thread.store(self.before, Ordering::Relaxed);
    }
}

/// A number of the calling thread's own, never zero. The standard library gives one only as an opaque value.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // A thread that is ending has no number any more, and is in no hook.
    NUMBER.try_with(|number| *number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;

    #[test]
    fn only_the_thread_that_is_inside_is_refused() {
        let inside = Inside::default();
        assert_eq!(inside.check_outside(), Ok(()));
        let stay = inside.enter();
        assert_eq!(inside.check_outside(), Err(Error::InsideHook));
        thread::scope(|scope| assert_eq!(scope.spawn(|| inside.check_outside()).join().unwrap(), Ok(())));
        drop(inside.enter());
        assert!(inside.is_here(), "the outer stay goes on");
        drop(stay);
        assert!(!inside.is_here());
    }

    #[test]
    fn a_panic_ends_the_stay() {
        let inside = Inside::default();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _stay = inside.enter();
            panic!("a hook");
        }));
        assert!(panicked.is_err() && !inside.is_here());
    }
}
