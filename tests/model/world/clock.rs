//! Time on both sides: waited through step by step, or jumped over.

use switchboard::Timestamp;

use super::{Checked, START, World};

/// How long the sweep may take to see what has reached its age.
pub(super) const SWEEP: u64 = 11_000;

impl World {
    pub(super) fn wait(&mut self, millis: u64, confirm: bool) -> Checked {
        const STEPS: u64 = 120_000;
        let until = self.model.now + millis;
        self.trace.push(format!("[{}] waits {millis} ms, confirm {confirm}", self.model.now - START));
        // What waits for a hook waits no longer than three seconds.
        while !self.model.hooks.parked.is_empty() && self.model.now < until {
            self.step_to(until.min(self.model.now + 3_000))?;
        }
        if until - self.model.now <= STEPS {
            self.step_to(until)?
        } else {
            self.jump_to(until)?
        }
        if confirm && self.model.in_doubt {
            self.engine.confirm_time();
            self.model.in_doubt = false;
            self.step_to(until + SWEEP)?;
        }
        self.leave_edges()
    }

    /// The host's clock is set back by more than calls may overtake each other.
    pub(super) fn set_clock_back(&mut self, millis: u64) -> Checked {
        // What a crash leaves of times that were ahead is told by nobody.
        let has_forgotten = self.model.has_forgotten;
        if self.disk.is_faulty() || has_forgotten || self.model.shown() < START + millis {
            return Ok(());
        }
        self.trace.push(format!("[{}] the clock is set back by {millis} ms", self.model.now - START));
        self.set_back += millis;
        self.model.set_back = self.set_back;
        self.jump_to(self.model.now)?;
        self.leave_edges()
    }

    /// What reaches its age goes a little later, with the next sweep: nobody looks in between.
    pub(super) fn leave_edges(&mut self) -> Checked {
        while self.model.is_at_an_edge(SWEEP) {
            self.step_to(self.model.now + SWEEP)?;
        }
        Ok(())
    }

    /// Handles each deadline when it comes.
    pub(super) fn step_to(&mut self, until: u64) -> Checked {
        while let Some(at) =
            self.engine.poll_timeout().map(|at| at.as_millis() + self.set_back).filter(|at| *at <= until)
        {
            self.jump_to(at.max(self.model.now))?;
        }
        self.jump_to(until)
    }

    /// Nobody looks at the clock before this time.
    fn jump_to(&mut self, now: u64) -> Checked {
        let at = Timestamp::from_millis(now - self.set_back);
        self.late = 0;
        self.engine.handle_timeout(at);
        let mut rounds = 0;
        while self.engine.poll_timeout().is_some_and(|next| next <= at) {
            self.engine.handle_timeout(at);
            rounds += 1;
            if rounds > 1_000 {
                return Err("deadlines never end".to_owned());
            }
        }
        self.model.tick(now);
        self.settle()
    }
}
