//! Hooks with any answer, and what each answer allows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::hooks::{
    Answer, Hooks, Interests, Login, MessageReceived, PushChoice, ReceiversOffline, Resolution, SignIn, Verdict,
};
use crate::{Content, PeerId, Ticket};

use super::Choices;
use super::sessions::peers;

/// How the next question is answered.
#[derive(Clone, Debug, Default)]
enum Mood {
    #[default]
    Default,
    Drop,
    Change,
    Narrow(Vec<PeerId>),
    TooLong,
    Defer,
    Panic,
}

#[derive(Default)]
struct State {
    mood: Mood,
    /// Questions that wait: the message that each is about, where it is whether to send it.
    deferred: VecDeque<(Ticket, Option<String>)>,
    /// What was refused for good: nobody hears it.
    dropped: BTreeSet<String>,
    /// What was narrowed: nobody else hears it.
    narrowed: BTreeMap<String, Vec<PeerId>>,
}

/// The fuzzer's hand on its hooks; clones are the same.
#[derive(Clone, Default)]
pub(super) struct Script(Arc<Mutex<State>>);

impl Script {
    pub(super) fn choose(&self, choices: &mut Choices<'_>) {
        let mood = match choices.below(8) {
            0 | 1 => Mood::Default,
            2 => Mood::Drop,
            3 => Mood::Change,
            4 => Mood::Narrow(peers(choices)),
            5 => Mood::TooLong,
            6 => Mood::Defer,
            _ => Mood::Panic,
        };
        self.0.lock().mood = mood;
    }

    /// Answers a question that waits. `resolve` says whether it was still open.
    pub(super) fn resolve(&self, choices: &mut Choices<'_>, resolve: impl FnOnce(Ticket, Resolution) -> bool) {
        let mut state = self.0.lock();
        let at = choices.below(state.deferred.len());
        let Some((ticket, text)) = state.deferred.remove(at) else { return };
        let mood = match choices.below(4) {
            0 => Mood::Drop,
            1 => Mood::Narrow(peers(choices)),
            2 => Mood::Change,
            _ => Mood::Default,
        };
        drop(state);
        let Some(text) = text else {
            resolve(ticket, Resolution::Push(PushChoice::default()));
            return;
        };
        // A question that is open no more was answered by its deadline: all may hear the message then.
        let verdict = State::default().verdict(&mood, &text);
        if resolve(ticket, Resolution::Message(verdict)) {
            self.0.lock().verdict(&mood, &text);
        }
    }

    /// A process that has ended asks no more.
    pub(super) fn forget(&self) {
        self.0.lock().deferred.clear();
    }

    /// Whether a peer may hear what says this, as far as the hooks have a word in it.
    pub(super) fn may_hear(&self, text: &str, from: &PeerId, peer: &PeerId) -> bool {
        let (state, text) = (self.0.lock(), original(text));
        let is_meant = state.narrowed.get(text).is_none_or(|only| only.contains(peer) || from == peer);
        is_meant && !state.dropped.contains(text)
    }
}

const CHANGED: &str = " (changed)";

/// What was said before a hook changed it.
pub(super) fn original(text: &str) -> &str {
    text.strip_suffix(CHANGED).unwrap_or(text)
}

impl State {
    fn verdict(&mut self, mood: &Mood, text: &str) -> Verdict {
        match mood {
            Mood::Drop => {
                self.dropped.insert(text.to_owned());
                Verdict { drop: true, ..Verdict::default() }
            }
            Mood::Change => Verdict { content: Some(Content::Text(format!("{text}{CHANGED}"))), ..Verdict::default() },
            Mood::Narrow(only) => {
                self.narrowed.insert(text.to_owned(), only.clone());
                Verdict { to: Some(only.clone()), ..Verdict::default() }
            }
            Mood::TooLong => Verdict { content: Some(Content::Text("x".repeat(6_000))), ..Verdict::default() },
            Mood::Default | Mood::Defer | Mood::Panic => Verdict::default(),
        }
    }
}

/// The hooks themselves.
pub(super) struct MoodyHooks(pub(super) Script);

impl MoodyHooks {
    fn answer<T>(&self, ticket: Ticket, text: Option<&str>, now: impl FnOnce(&mut State, &Mood) -> T) -> Answer<T> {
        let mut state = self.0.0.lock();
        match state.mood.clone() {
            Mood::Default => Answer::Default,
            Mood::Defer => {
                state.deferred.push_back((ticket, text.map(str::to_owned)));
                Answer::Defer
            }
            Mood::Panic => {
                drop(state);
                std::panic::resume_unwind(Box::new("a hook that panics"))
            }
            mood => Answer::Now(now(&mut state, &mood)),
        }
    }
}

impl Hooks for MoodyHooks {
    fn message_received(&mut self, message: &MessageReceived<'_>) -> Answer<Verdict> {
        let text = message.content.as_text().unwrap_or_default();
        self.answer(message.ticket, Some(text), |state, mood| state.verdict(mood, text))
    }

    fn receivers_offline(&mut self, message: &ReceiversOffline<'_>) -> Answer<PushChoice> {
        self.answer(message.ticket, None, |_, mood| match mood {
            Mood::Narrow(only) => PushChoice { offline: Some(only.clone()), ..PushChoice::default() },
            Mood::TooLong => PushChoice { text: Some("x".repeat(6_000)), ..PushChoice::default() },
            _ => PushChoice { skip: true, ..PushChoice::default() },
        })
    }

    fn sign_in(&mut self, login: &SignIn<'_>) -> Answer<Login> {
        self.answer(login.ticket, None, |_, _| Login::admit())
    }

    fn interests(&self) -> Interests {
        Interests::ALL
    }
}
