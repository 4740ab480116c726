//! Hooks on both sides: what they are asked, what they answer, and what they answer later.

use std::sync::{Arc, Mutex, PoisonError};

use switchboard::{
    Answer, Content, Hooks, Interests, Login, MessageReceived, PushChoice, ReceiversOffline, Resolution, SignIn, Ticket,
};

use crate::command::{Choice, Command, Moods, Verdict, left_out};
use crate::ids::Ids;
use crate::reference::{Question, State, Waits};

use super::{Checked, START, World, same};

#[derive(Default)]
struct Shared {
    moods: Moods,
    asked: Vec<(Ticket, Question)>,
}

/// The hooks of the engine under test; clones are the same.
#[derive(Clone, Default)]
pub(super) struct Script(Arc<Mutex<Shared>>);

impl Script {
    fn with<T>(&self, look: impl FnOnce(&mut Shared) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another process asks from the beginning.
    pub(super) fn restart(&self) -> Moods {
        self.with(|shared| {
            shared.asked.clear();
            shared.moods.clone()
        })
    }

    fn answer<T, U>(
        &self,
        ticket: Ticket,
        question: Question,
        mood: impl FnOnce(&Moods) -> Option<T>,
        words: impl FnOnce(T) -> U,
    ) -> Answer<U> {
        self.with(|shared| {
            shared.asked.push((ticket, question));
            mood(&shared.moods).map_or(Answer::Defer, |mood| Answer::Now(words(mood)))
        })
    }
}

impl Hooks for Script {
    fn message_received(&mut self, message: &MessageReceived<'_>) -> Answer<switchboard::Verdict> {
        let content = message.content.as_text().unwrap_or_default().to_owned();
        let question = Question::Message {
            from: Ids::find_peer(message.from),
            to: message.to.iter().map(Ids::find_peer).collect(),
            content: content.clone(),
            transient: message.transient,
        };
        self.answer(message.ticket, question, |moods| moods.message.clone(), |verdict| words_of(&verdict, &content))
    }

    fn receivers_offline(&mut self, message: &ReceiversOffline<'_>) -> Answer<PushChoice> {
        let question = Question::Push {
            from: Ids::find_peer(message.from),
            offline: message.offline.iter().map(Ids::find_peer).collect(),
            content: message.content.as_text().unwrap_or_default().to_owned(),
        };
        self.answer(message.ticket, question, |moods| moods.push.clone(), |choice| choice_of(&choice))
    }

    fn sign_in(&mut self, login: &SignIn<'_>) -> Answer<Login> {
        let watch = login.watch.iter().map(Ids::find_peer).collect();
        let question = Question::SignIn { peer: Ids::find_peer(login.peer), watch };
        self.answer(login.ticket, question, |moods| moods.sign_in, login_of)
    }

    fn interests(&self) -> Interests {
        Interests::ALL
    }
}

fn words_of(verdict: &Verdict, content: &str) -> switchboard::Verdict {
    let mut words = switchboard::Verdict::default();
    match verdict {
        Verdict::Default => {}
        Verdict::Drop => words.drop = true,
        Verdict::Change => words.content = Some(Content::Text(format!("{content}*"))),
        Verdict::Narrow(peers) => words.to = Some(Ids::peers(peers)),
    }
    words
}

fn login_of(allows: bool) -> Login {
    if allows { Login::admit() } else { Login::refuse() }
}

fn choice_of(choice: &Choice) -> PushChoice {
    let mut words = PushChoice::default();
    match choice {
        Choice::Default => {}
        Choice::Skip => words.skip = true,
        Choice::Only(peers) => words.offline = Some(Ids::peers(peers)),
        Choice::Text => words.text = Some("?".to_owned()),
    }
    words
}

impl World {
    pub(super) fn set_hooks(&mut self, moods: &Moods) {
        self.trace.push(format!("[{}] hooks: {moods:?}", self.model.now - START));
        self.model.hooks.moods = moods.clone();
        self.script.with(|shared| shared.moods = moods.clone());
    }

    /// A hook answers a question that waits.
    pub(super) fn resolve(&mut self, which: u8, verdict: &Verdict, choice: &Choice, allows: bool) -> Checked {
        let parked = &self.model.hooks.parked;
        if parked.is_empty() {
            return Ok(());
        }
        let at = usize::from(which) % parked.len();
        let ticket = self.questions[parked[at].question];
        let waits = parked[at].waits.clone();
        let resolution = match &waits {
            Waits::Send { send, .. } => Resolution::Message(words_of(verdict, &send.content)),
            Waits::Push { .. } => Resolution::Push(choice_of(choice)),
            Waits::Open { open, .. } if open.tag.is_some() && self.loses_a_sender(open.peer) => return Ok(()),
            Waits::Open { .. } => Resolution::SignIn(login_of(allows)),
        };
        self.trace.push(format!("[{}] a hook answers {waits:?}: {resolution:?}", self.model.now - START));
        self.engine.resolve(ticket, resolution, self.now()).map_err(|error| format!("no such question: {error}"))?;
        self.model.resolve(at, verdict, choice, allows);
        Ok(())
    }

    /// Both sides asked the same.
    pub(super) fn compare_questions(&mut self) -> Checked {
        let asked = self.script.with(|shared| std::mem::take(&mut shared.asked));
        let (tickets, is): (Vec<Ticket>, Vec<Question>) = asked.into_iter().unzip();
        self.questions.extend(tickets);
        same("what hooks are asked", is, std::mem::take(&mut self.model.hooks.asked))
    }

    fn loses_a_sender(&self, peer: u8) -> bool {
        !left_out::LOST_SENDERS && self.model.sends_of(peer) > 0
    }

    /// Whether a command does what [`left_out`] says.
    pub(super) fn is_left_out(&self, command: &Command) -> bool {
        let peer_of = |session: u8| self.pick(session).map(|session| self.model.sessions[session].peer);
        match command {
            Command::Pause(session) | Command::Close(session) => {
                peer_of(*session).is_some_and(|peer| self.loses_a_sender(peer))
            }
            Command::ClosePeer(peer) => self.loses_a_sender(*peer),
            Command::Open { peer, tag, token, .. } => {
                let resumes =
                    self.token(*peer, *token).1.is_some_and(|it| self.model.sessions[it].state == State::Open);
                (resumes || tag.is_some()) && self.loses_a_sender(*peer)
            }
            _ => false,
        }
    }
}
