//! Hooks that answer as a test says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use switchboard::{
    Answer, Hooks, Interests, Login, MessageReceived, PushChoice, ReceiversOffline, SignIn, Ticket, Verdict,
};

/// How a hook answers.
#[derive(Clone, Debug, Default)]
pub(crate) enum Mood<T> {
    #[default]
    Default,
    Now(T),
    Defer,
    Panic,
}

impl<T: Clone> Mood<T> {
    fn answer(&self) -> Answer<T> {
        match self {
            Self::Default => Answer::Default,
            Self::Now(answer) => Answer::Now(answer.clone()),
            Self::Defer => Answer::Defer,
            Self::Panic => std::panic::resume_unwind(Box::new("a hook that panics")),
        }
    }
}

#[derive(Debug, Default)]
struct Moods {
    message: Mood<Verdict>,
    offline: Mood<PushChoice>,
    sign_in: Mood<Login>,
    deferred: VecDeque<Ticket>,
    asked: Vec<String>,
}

/// The test's hand on the hooks; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Arc<Mutex<Moods>>);

impl Script {
    fn moods<T>(&self, act: impl FnOnce(&mut Moods) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(crate) fn message(&self, mood: Mood<Verdict>) {
        self.moods(|moods| moods.message = mood);
    }

    pub(crate) fn offline(&self, mood: Mood<PushChoice>) {
        self.moods(|moods| moods.offline = mood);
    }

    pub(crate) fn sign_in(&self, mood: Mood<Login>) {
        self.moods(|moods| moods.sign_in = mood);
    }

    /// The oldest question that waits for its answer.
    pub(crate) fn next_deferred(&self) -> Option<Ticket> {
        self.moods(|moods| moods.deferred.pop_front())
    }

    /// What the hooks were asked since the last call.
    pub(crate) fn take_asked(&self) -> Vec<String> {
        self.moods(|moods| std::mem::take(&mut moods.asked))
    }

    fn ask<T: Clone>(&self, ticket: Ticket, asked: String, mood: impl FnOnce(&Moods) -> &Mood<T>) -> Answer<T> {
        let mood = self.moods(|moods| {
            let mood = mood(moods).clone();
            if matches!(mood, Mood::Defer) {
                moods.deferred.push_back(ticket);
            }
            moods.asked.push(asked);
            mood
        });
        mood.answer()
    }
}

/// The hooks themselves.
pub(crate) struct ScriptedHooks(Script);

impl ScriptedHooks {
    pub(crate) fn new(script: &Script) -> Self {
        Self(script.clone())
    }
}

impl Hooks for ScriptedHooks {
    fn message_received(&mut self, message: &MessageReceived<'_>) -> Answer<Verdict> {
        let asked = format!("message from {} to {:?}: {:?}", message.from, message.to, message.content);
        self.0.ask(message.ticket, asked, |moods| &moods.message)
    }

    fn receivers_offline(&mut self, message: &ReceiversOffline<'_>) -> Answer<PushChoice> {
        let asked = format!("offline {:?} for a message from {}", message.offline, message.from);
        self.0.ask(message.ticket, asked, |moods| &moods.offline)
    }

    fn sign_in(&mut self, login: &SignIn<'_>) -> Answer<Login> {
        let asked = format!("sign in of {} with {}", login.peer, login.account_token);
        self.0.ask(login.ticket, asked, |moods| &moods.sign_in)
    }

    fn interests(&self) -> Interests {
        Interests { message_received: true, receivers_offline: true }
    }
}
