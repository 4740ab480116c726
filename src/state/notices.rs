//! Notices of a pause: what a paused session is told when it is resumed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::update::Update;

/// The newest notices that a paused session missed, oldest first, and how many before them went.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    kept: VecDeque<Arc<Update>>,
    dropped: u64,
}

impl Notices {
    /// Notices kept for one session: a busy half hour of a group.
    pub(crate) const MAX: usize = 64;

    /// Keeps a notice; the oldest goes where there are too many, and is counted.
    pub(crate) fn keep(&mut self, notice: Arc<Update>) {
        if self.kept.len() == Self::MAX {
            self.kept.pop_front();
            self.dropped += 1;
        }
        self.kept.push_back(notice);
    }

    /// Takes what was kept, and how many notices before it were dropped.
    pub(crate) fn take(&mut self) -> (VecDeque<Arc<Update>>, u64) {
        (std::mem::take(&mut self.kept), std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_are_counted() {
        let mut notices = Notices::default();
        (0..66).for_each(|_| notices.keep(Arc::new(Update::Closed { error: None })));
        let (kept, dropped) = notices.take();
        assert_eq!((kept.len(), dropped), (Notices::MAX, 2));
        assert_eq!(notices.take().1, 0);
    }
}
