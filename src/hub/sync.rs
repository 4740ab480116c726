//! The locks and wake-ups between the hub's producers and consumers, in one place, so that a test can put a scheduler that
//! tries all orders under the same code: `RUSTFLAGS="--cfg schedules" cargo test --lib hub::schedules`.

#[cfg(not(all(test, schedules)))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(all(test, schedules)))]
pub(crate) use std::thread::{self, Thread};

#[cfg(all(test, schedules))]
pub(crate) use scheduled::{Mutex, MutexGuard};
#[cfg(all(test, schedules))]
pub(crate) use shuttle::thread::{self, Thread};

pub(crate) use token::Token;

#[cfg(not(all(test, schedules)))]
mod token {
    use std::time::{Duration, Instant};

    use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

    /// One token: there or not. Whoever waits takes it; one that was there before the wait is not lost.
    #[derive(Debug)]
    pub(crate) struct Token {
        sender: Sender<()>,
        receiver: Receiver<()>,
    }

    impl Token {
        pub(crate) fn new() -> Self {
            let (sender, receiver) = bounded(1);
            Self { sender, receiver }
        }

        pub(crate) fn put(&self) {
            // One that is still there does as well.
            let _ = self.sender.try_send(());
        }

        pub(crate) fn take(&self) {
            // The sender lives as long as `self`.
            let _ = self.receiver.recv();
        }

        pub(crate) fn take_within(&self, timeout: Duration) {
            let _ = self.receiver.recv_timeout(timeout);
        }

        pub(crate) fn take_until(&self, until: Instant) -> Result<(), RecvTimeoutError> {
            self.receiver.recv_deadline(until)
        }

        pub(crate) const fn receiver(&self) -> &Receiver<()> {
            &self.receiver
        }
    }
}

#[cfg(all(test, schedules))]
mod token {
    use std::time::{Duration, Instant};

    use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
    use shuttle::sync::{Condvar, Mutex};

    /// The same under the scheduler, for which no time passes: whoever waits with a time-out waits for ever, so that a
    /// wake-up that is lost is a deadlock that it finds.
    #[derive(Debug)]
    pub(crate) struct Token {
        there: Mutex<bool>,
        put: Condvar,
        unused: (Sender<()>, Receiver<()>),
    }

    impl Token {
        pub(crate) fn new() -> Self {
            Self { there: Mutex::new(false), put: Condvar::new(), unused: bounded(1) }
        }

        pub(crate) fn put(&self) {
            *self.there.lock().expect("no panic under it") = true;
            self.put.notify_one();
        }

        pub(crate) fn take(&self) {
            let mut there = self.there.lock().expect("no panic under it");
            while !std::mem::take(&mut *there) {
                there = self.put.wait(there).expect("no panic under it");
            }
        }

        pub(crate) fn take_within(&self, _: Duration) {
            self.take();
        }

        pub(crate) fn take_until(&self, _: Instant) -> Result<(), RecvTimeoutError> {
            self.take();
            Ok(())
        }

        pub(crate) const fn receiver(&self) -> &Receiver<()> {
            &self.unused.1
        }
    }
}

#[cfg(all(test, schedules))]
mod scheduled {
    use std::sync::PoisonError;

    pub(crate) use shuttle::sync::MutexGuard;

    /// A lock of the scheduler's, with the face of `parking_lot`'s.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
