//! The thread that waits for the disk, so that no tick does.
//!
//! The game takes a commit or a read out of its engine, this thread does it, and the game gives what came of it back to the
//! engine in a later tick. The engine itself never leaves the game's thread.

use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use switchboard::store::{Store, StoreError};
use switchboard::{Commit, Committed, Engine, Read, ReadDone};

/// How often the store may do what is due by itself.
const MAINTAIN_EVERY: Duration = Duration::from_secs(1);

enum Job {
    Commit(Commit),
    Read(Box<Read>),
}

/// A job that is done.
pub(crate) enum Done {
    /// A commit, and how long it took.
    Commit(Committed, Duration),
    Read(Box<ReadDone>),
}

/// The thread's end in the game.
pub(crate) struct Writer {
    // The engine gives out one commit at a time, and no more reads than sessions: neither channel needs a bound.
    jobs: Sender<Job>,
    done: Receiver<Done>,
    under_way: usize,
    thread: thread::JoinHandle<Result<(), StoreError>>,
}

impl Writer {
    pub(crate) fn start(store: Arc<dyn Store>) -> Result<Self, Box<dyn Error>> {
        let (jobs, to_do) = unbounded();
        let (finished, done) = unbounded();
        let thread =
            thread::Builder::new().name("writer".to_owned()).spawn(move || work(&*store, &to_do, &finished))?;
        Ok(Self { jobs, done, under_way: 0, thread })
    }

    /// Takes what waits for the disk out of the engine.
    pub(crate) fn take_from(&mut self, engine: &mut Engine) -> Result<(), Box<dyn Error>> {
        while let Some(read) = engine.begin_read() {
            self.hand_over(Job::Read(Box::new(read)))?;
        }
        // None while another is under way: what is staged meanwhile goes out together, after it.
        engine.begin_commit().map_or(Ok(()), |commit| self.hand_over(Job::Commit(commit)))
    }

    fn hand_over(&mut self, job: Job) -> Result<(), Box<dyn Error>> {
        self.jobs.send(job).map_err(|_| "the thread that writes has ended")?;
        self.under_way += 1;
        Ok(())
    }

    /// What is done by now.
    pub(crate) fn poll(&mut self) -> Option<Done> {
        let done = self.done.try_recv().ok()?;
        self.under_way -= 1;
        Some(done)
    }

    /// Waits for what is still under way; none where nothing is.
    pub(crate) fn wait(&mut self) -> Result<Option<Done>, Box<dyn Error>> {
        if self.under_way == 0 {
            return Ok(None);
        }
        let done = self.done.recv().map_err(|_| "the thread that writes has ended")?;
        self.under_way -= 1;
        Ok(Some(done))
    }

    /// Ends the thread, which closes the store.
    pub(crate) fn finish(self) -> Result<(), Box<dyn Error>> {
        drop(self.jobs);
        self.thread.join().map_err(|_| "the thread that writes has panicked")??;
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the disk is measured in real time")]
fn work(store: &dyn Store, jobs: &Receiver<Job>, finished: &Sender<Done>) -> Result<(), StoreError> {
    let mut maintained_at = Instant::now();
    for job in jobs {
        let started = Instant::now();
        let done = match job {
            Job::Commit(commit) => Done::Commit(commit.run(), started.elapsed()),
            Job::Read(read) => Done::Read(Box::new(read.run())),
        };
        // The game may have given up.
        let _ = finished.send(done);
        if maintained_at.elapsed() >= MAINTAIN_EVERY {
            maintained_at = Instant::now();
            // It does not fail for good: what could not be done now is tried again, and commits tell what is wrong.
            let _ = store.maintain();
        }
    }
    store.close()
}
