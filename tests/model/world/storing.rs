//! Commits and reads, those that fail among them.

use crate::reference::{self, Model};
use crate::stores::Fault;

use super::{Checked, START, World};

/// A commit, and what the model holds of it.
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) model: Model,
    /// After a failure: whether the store has it nevertheless.
    pub(super) stored: bool,
}

impl World {
    pub(super) fn begin(&mut self) {
        if self.in_flight.is_some() || !self.disk.is_faulty() {
            return;
        }
        let Some(commit) = self.engine.begin_commit() else { return };
        let batch = self.failed.take().unwrap_or_else(|| {
            let number = self.model.begin();
            Batch { number, model: self.model.clone(), stored: false }
        });
        self.trace.push(format!("[{}] commit {} begins", self.model.now - START, batch.number));
        self.in_flight = Some((commit, batch));
    }

    pub(super) fn finish_commit(&mut self, fails: bool) -> Checked {
        let Some((commit, mut batch)) = self.in_flight.take() else { return Ok(()) };
        let fault = if fails { self.disk.fail(self.steps) } else { None };
        self.trace.push(format!("[{}] commit {} ends: {fault:?}", self.model.now - START, batch.number));
        let committed = commit.run();
        let error = committed.error().cloned();
        self.engine.finish_commit(committed, self.now());
        if error.is_some() != fault.is_some() {
            return Err(format!("the commit ended with {error:?}"));
        }
        match fault {
            None => self.committed(batch),
            Some(fault) => {
                self.model.failed = true;
                batch.stored |= fault == Fault::Stored;
                self.failed = Some(batch);
            }
        }
        Ok(())
    }

    fn committed(&mut self, batch: Batch) {
        let numbers: Vec<u64> = batch.model.conversations.iter().map(reference::Conversation::last).collect();
        self.model.done(batch.number, &numbers);
        self.durable = batch.model;
    }

    /// Everything is written and read.
    pub(super) fn commit(&mut self) -> Checked {
        self.trace.push(format!("[{}] commit", self.model.now - START));
        if self.disk.is_faulty() {
            self.finish_commit(false)?;
            loop {
                self.begin();
                if self.in_flight.is_none() {
                    break;
                }
                self.finish_commit(false)?;
                self.read();
            }
        } else {
            let number = self.model.begin();
            let model = self.model.clone();
            self.write_all()?;
            self.committed(Batch { number, model, stored: false });
        }
        self.read();
        self.drain()?;
        self.expect_silence()
    }

    pub(super) fn write_all(&mut self) -> Checked {
        while let Some(commit) = self.engine.begin_commit() {
            let committed = commit.run();
            if let Some(error) = committed.error() {
                return Err(format!("the store failed: {error}"));
            }
            self.engine.finish_commit(committed, self.now());
        }
        Ok(())
    }

    pub(super) fn read(&mut self) {
        while let Some(read) = self.engine.begin_read() {
            self.engine.finish_read(read.run(), self.now());
        }
        self.model.read_all();
    }
}
