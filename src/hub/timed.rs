//! Hooks with a stop watch.

use std::fmt;
use std::time::{Duration, Instant};

use crate::hooks::{Answer, Hooks, Interests, Question, Resolution};

/// Measures each call of the hooks inside, so that the engine can report those over
/// [`Config::hook_budget`](crate::Config::hook_budget).
pub struct Timed {
    hooks: Box<dyn Hooks>,
    last: Option<Duration>,
}

impl Timed {
    /// Measures `hooks`.
    #[must_use]
    pub fn new(hooks: Box<dyn Hooks>) -> Self {
        Self { hooks, last: None }
    }
}

impl fmt::Debug for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timed").field("last", &self.last).finish_non_exhaustive()
    }
}

impl Hooks for Timed {
    #[expect(clippy::disallowed_methods, reason = "the hub measures what the engine cannot")]
    fn ask(&mut self, question: Question<'_>) -> Answer<Resolution> {
        // A hook that panics leaves no measure of an earlier call behind.
        self.last = None;
        let started = Instant::now();
        let answer = self.hooks.ask(question);
        self.last = Some(started.elapsed());
        answer
    }

    fn interests(&self) -> Interests {
        self.hooks.interests()
    }

    fn last_call(&self) -> Option<Duration> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::SignIn;
    use crate::id::{PeerId, Ticket};

    struct Slow;
    impl Hooks for Slow {
        fn sign_in(&mut self, _: &SignIn<'_>) -> Answer<crate::hooks::Login> {
            std::thread::sleep(Duration::from_millis(5));
            Answer::Now(crate::hooks::Login::admit())
        }
        fn interests(&self) -> Interests {
            Interests::default()
        }
    }

    #[test]
    fn a_slow_hook_is_measured_and_its_answer_kept() {
        let mut timed = Timed::new(Box::new(Slow));
        assert_eq!(timed.last_call(), None);
        let peer = PeerId::new("alice").unwrap();
        let login = SignIn { ticket: Ticket(1), peer: &peer, account_token: "t", watch: &[], source_ip: None };
        assert_eq!(timed.ask(Question::SignIn(&login)), Answer::Now(Resolution::SignIn(crate::hooks::Login::admit())));
        assert!(timed.last_call().unwrap() >= Duration::from_millis(5));
    }
}
