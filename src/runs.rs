//! Sets of numbers as runs: dense sets cost one entry.

/// A set of numbers as sorted, disjoint, inclusive runs: dense sets cost one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Runs(Vec<(u64, u64)>);

impl Runs {
    /// Adds every number from `first` to `last`.
    pub(crate) fn add(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        // What touches or overlaps the new run becomes part of it.
        let start = self.0.partition_point(|run| run.1.saturating_add(1) < first);
        let end = self.0.partition_point(|run| run.0 <= last.saturating_add(1));
        let merged = self.0[start..end].iter().fold((first, last), |all, run| (all.0.min(run.0), all.1.max(run.1)));
        self.0.splice(start..end, [merged]);
    }

    /// Forgets every number up to `last`.
    pub(crate) fn forget_to(&mut self, last: u64) {
        let gone = self.0.partition_point(|run| run.1 <= last);
        self.0.drain(..gone);
        if let Some(run) = self.0.first_mut() {
            run.0 = run.0.max(last + 1);
        }
    }

    /// Whether `number` is in the set.
    pub(crate) fn has(&self, number: u64) -> bool {
        let at = self.0.partition_point(|run| run.1 < number);
        self.0.get(at).is_some_and(|run| run.0 <= number)
    }

    /// How many numbers from `first` to `last` are in the set.
    pub(crate) fn count(&self, first: u64, last: u64) -> u64 {
        let from = self.0.partition_point(|run| run.1 < first);
        self.0[from..].iter().take_while(|run| run.0 <= last).map(|run| run.1.min(last) - run.0.max(first) + 1).sum()
    }

    /// Makes the two lowest runs one of as many numbers, at the end of the second: what lies below their end is a sum from
    /// here on. Says where that ends.
    pub(crate) fn sum_lowest(&mut self) -> u64 {
        let [first, second, ..] = &mut self.0[..] else { return 0 };
        second.0 -= first.1 - first.0 + 1;
        let end = second.1;
        self.0.remove(0);
        end
    }

    /// Makes the lowest run one of so many numbers, with the end that it has.
    pub(crate) fn resize_lowest(&mut self, count: u64) {
        match self.0.first_mut() {
            Some(run) if count > 0 => run.0 = run.1 + 1 - count,
            Some(_) => drop(self.0.remove(0)),
            None => {}
        }
    }

    /// The lowest run.
    pub(crate) fn first_run(&self) -> Option<(u64, u64)> {
        self.0.first().copied()
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets the runs furthest ahead beyond `runs_max`.
    pub(crate) fn truncate(&mut self, runs_max: usize) {
        self.0.truncate(runs_max);
    }

    /// The runs, as pairs of first and last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_a_set(adds in prop::collection::vec((0u64..60, 0u64..6), 0..30), cut in 0u64..60) {
            let (mut runs, mut set) = (Runs::default(), BTreeSet::new());
            for (first, len) in adds {
                runs.add(first, first + len);
                set.extend(first..=first + len);
            }
            prop_assert_eq!(runs.count(10, 40), set.range(10..=40).count() as u64);
            runs.forget_to(cut);
            set.retain(|n| *n > cut);
            for n in 0..70 {
                prop_assert_eq!(runs.has(n), set.contains(&n));
            }
        }
    }
}
