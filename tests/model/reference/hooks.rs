//! Hooks: what the host has to say about a message, a push and a sign-in, at once or later.
//!
//! A message that a hook refuses is nobody's, one that it changes says the same to all, one that it narrows is seen, counted
//! and told of by those whom it names and by its sender alone. While a message waits for its hook, what its sender sends after
//! it to the same place waits behind it, and everything else passes. A question that nobody answers in three seconds is
//! answered by the default.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::command::{Choice, Moods, Verdict};

use super::sending::Place;
use super::{Code, Ear, Expected, Kind, Model, OpenRequest, Peer, SendRequest, What, When, limits};

const DEADLINE: u64 = 3_000;

/// What a hook was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Question {
    Message { from: Peer, to: BTreeSet<Peer>, content: String, transient: bool },
    Push { from: Peer, offline: BTreeSet<Peer>, content: String },
    SignIn { peer: Peer, watch: Vec<Peer> },
}

/// Who asked for something, from where, and under which number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Actor {
    pub(super) peer: Peer,
    /// The session, and its attachment.
    pub(super) session: Option<(usize, u32)>,
    pub(super) ticket: u64,
}

/// In what a sender's messages keep their order: direct ones by the set of their members, whether or not it was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    Conversation(Peer, usize),
    Peers(Peer, BTreeSet<Peer>),
}

/// Something that waits for its hook.
#[derive(Clone, Debug)]
pub(crate) enum Waits {
    Send { actor: Actor, send: SendRequest, lane: Lane, repeats: Vec<Actor> },
    Push { message: usize, away: Vec<Peer>, own: bool },
    Open { session: usize, open: OpenRequest, ticket: u64 },
}

#[derive(Clone, Debug)]
pub(crate) struct Parked {
    /// The question, counted from the first.
    pub(crate) question: usize,
    until: u64,
    /// Of several with one deadline, the one that was asked for first comes first.
    order: (u64, usize),
    pub(crate) waits: Waits,
}

/// All that waits, and how hooks answer now.
#[derive(Clone, Debug, Default)]
pub(crate) struct HookState {
    pub(crate) moods: Moods,
    pub(crate) parked: Vec<Parked>,
    pub(super) behind: BTreeMap<Lane, VecDeque<(Actor, SendRequest)>>,
    /// What was asked and not yet compared.
    pub(crate) asked: Vec<Question>,
    questions: usize,
    pub(super) newest_ticket: u64,
    /// How often the host must have been told of a hook that answered badly, or not at all.
    pub(crate) faults: u64,
    /// Whether a message was ever narrowed.
    pub(super) narrows: bool,
}

impl Model {
    fn question(&mut self, question: Question) {
        self.hooks.asked.push(question);
        self.hooks.questions += 1;
    }

    fn park(&mut self, order: (u64, usize), waits: Waits) {
        let question = self.hooks.questions - 1;
        self.hooks.parked.push(Parked { question, until: self.now + DEADLINE, order, waits });
    }

    /// What a process that has ended waited for, nobody waits for.
    pub(super) fn forget_parked(&mut self) {
        self.hooks.parked.clear();
        self.hooks.behind.clear();
        self.hooks.asked.clear();
        self.hooks.questions = 0;
        self.hooks.faults = 0;
    }

    pub(super) fn is_asked_for(&self, peer: Peer) -> bool {
        let is_of = |parked: &Parked| match &parked.waits {
            Waits::Send { actor, .. } => actor.peer == peer,
            Waits::Open { open, .. } => open.peer == peer,
            Waits::Push { .. } => false,
        };
        self.hooks.parked.iter().any(is_of)
    }

    pub(crate) fn sends_of(&self, peer: Peer) -> usize {
        let is_of = |parked: &&Parked| matches!(&parked.waits, Waits::Send { actor, .. } if actor.peer == peer);
        self.hooks.parked.iter().filter(is_of).count()
    }

    // Messages.

    pub(super) fn lane(&self, me: Peer, place: &Place) -> Lane {
        match place {
            Place::NewDirect(all) => Lane::Peers(me, all.clone()),
            Place::Known(at) if self.conversations[*at].kind == Kind::Direct => {
                Lane::Peers(me, self.conversations[*at].active())
            }
            Place::Known(at) => Lane::Conversation(me, *at),
        }
    }

    pub(super) fn is_held(&self, lane: &Lane) -> bool {
        let holds = |parked: &Parked| matches!(&parked.waits, Waits::Send { lane: held, .. } if held == lane);
        self.hooks.parked.iter().any(holds)
    }

    /// A repeated attempt waits with the first one.
    pub(super) fn joins(&mut self, actor: Actor, token: Option<u8>) -> bool {
        let first = self.hooks.parked.iter_mut().find_map(|parked| match &mut parked.waits {
            Waits::Send { actor: first, send, repeats, .. } if first.peer == actor.peer && send.token == token => {
                Some(repeats)
            }
            _ => None,
        });
        token.is_some() && first.map(|repeats| repeats.push(actor)).is_some()
    }

    /// What the hook says; `None` where the message waits for it.
    pub(super) fn ask_message(
        &mut self,
        actor: Actor,
        send: &SendRequest,
        place: &Place,
        lane: Lane,
    ) -> Option<Verdict> {
        let mut to = match place {
            Place::NewDirect(all) => all.clone(),
            Place::Known(at) => self.conversations[*at].active(),
        };
        if to.len() > 1 {
            to.remove(&actor.peer);
        }
        let content = send.content.clone();
        self.question(Question::Message { from: actor.peer, to, content, transient: send.transient });
        let verdict = self.hooks.moods.message.clone();
        if verdict.is_none() {
            let waits = Waits::Send { actor, send: send.clone(), lane, repeats: Vec::new() };
            self.park((actor.ticket, 0), waits);
        }
        verdict
    }

    /// Whom the hook leaves of all recipients; those are all where it names none.
    pub(super) fn left_of(&self, place: &Place, verdict: &Verdict) -> Option<BTreeSet<Peer>> {
        let Verdict::Narrow(peers) = verdict else { return None };
        let all = match place {
            Place::NewDirect(all) => all.clone(),
            Place::Known(at) => {
                let held = &self.conversations[*at];
                let present = held.present.iter().map(|session| self.sessions[*session].peer);
                held.active().into_iter().chain(present).collect()
            }
        };
        Some(peers.iter().copied().filter(|peer| all.contains(peer)).collect())
    }

    /// What a message says after the hook, where that is something else: never more than a message may hold.
    pub(super) fn changed_by(&mut self, send: &SendRequest, verdict: &Verdict) -> Option<String> {
        let Verdict::Change = verdict else { return None };
        let changed = format!("{}*", send.content);
        let fits = changed.len() + usize::from(send.push) <= limits::BYTES;
        self.hooks.faults += u64::from(!fits);
        fits.then_some(changed)
    }

    /// The members other than the sender for whom a message is not.
    pub(super) fn left_out(&self, message: usize) -> Vec<Peer> {
        let held = &self.messages[message];
        let (Some(only), Some(at)) = (&held.only, held.conversation) else { return Vec::new() };
        let is_out = |peer: &Peer| *peer != held.from && !only.contains(peer);
        self.conversations[at].active().into_iter().filter(is_out).collect()
    }

    // Pushes.

    /// Those who are away and not logged out are woken, as the hook has it.
    pub(super) fn push(&mut self, me: Peer, message: usize, own: bool) {
        let Some(conversation) = self.messages[message].conversation else { return };
        let is_away = |peer: &Peer| *peer != me && self.messages[message].is_for(*peer) && self.is_away(*peer);
        let away: Vec<Peer> = self.conversations[conversation].active().into_iter().filter(is_away).collect();
        if away.is_empty() {
            return;
        }
        let content = self.messages[message].content.clone();
        self.question(Question::Push { from: me, offline: away.iter().copied().collect(), content });
        match self.hooks.moods.push.clone() {
            Some(choice) => self.wake(message, own, away, &choice),
            None => {
                let order = (self.hooks.newest_ticket, self.hooks.questions);
                self.park(order, Waits::Push { message, away, own });
            }
        }
    }

    fn is_away(&self, peer: Peer) -> bool {
        !self.is_online(peer) && !self.peers[usize::from(peer)].logged_out
    }

    /// A late answer wakes nobody who has come back or has the message.
    fn wake(&mut self, message: usize, own: bool, mut away: Vec<Peer>, choice: &Choice) {
        let text = match choice {
            Choice::Skip => return,
            Choice::Text => "?",
            Choice::Default | Choice::Only(_) if own => "!",
            Choice::Default | Choice::Only(_) => return,
        };
        let (conversation, number) = (self.messages[message].conversation, self.messages[message].number);
        let has = |peer: Peer| {
            let (Some(at), Some(number)) = (conversation, number) else { return false };
            let devices = &self.peers[usize::from(peer)].devices;
            devices.iter().any(|device| device.cursors.get(&at).is_some_and(|cursor| cursor.has(number)))
        };
        away.retain(|peer| self.is_away(*peer) && !has(*peer));
        if let Choice::Only(only) = choice {
            away.retain(|peer| only.contains(peer));
        }
        if away.is_empty() {
            return;
        }
        let badges = away.into_iter().map(|peer| (peer, self.unread_of(peer).values().sum())).collect();
        let what = What::Push { message, badges, text };
        self.expected.push(Expected { ear: Ear::Host, when: When::After(self.newest), what });
    }

    // Sign-ins.

    /// Whether the hook lets a peer in; `None` where it says so later.
    pub(super) fn ask_sign_in(&mut self, open: &OpenRequest) -> Option<bool> {
        self.question(Question::SignIn { peer: open.peer, watch: open.watch.clone() });
        self.hooks.moods.sign_in
    }

    pub(super) fn park_open(&mut self, open: &OpenRequest, ticket: u64) -> usize {
        let session = self.new_session(open);
        self.sessions[session].state = super::State::Opening;
        self.park((ticket, 0), Waits::Open { session, open: open.clone(), ticket });
        session
    }

    // Answers.

    /// The answer to the question that waits at this place.
    pub(crate) fn resolve(&mut self, at: usize, verdict: &Verdict, choice: &Choice, allows: bool) {
        let parked = self.hooks.parked.remove(at);
        self.answer(parked.waits, verdict, choice, allows);
    }

    /// Questions whose time is over are answered by the default, in their order.
    pub(super) fn expire_questions(&mut self) {
        loop {
            let is_due = |parked: &&Parked| parked.until <= self.now;
            let due = self.hooks.parked.iter().filter(is_due).map(|parked| (parked.until, parked.order)).min();
            let Some(due) = due else { return };
            let Some(at) = self.hooks.parked.iter().position(|parked| (parked.until, parked.order) == due) else {
                return;
            };
            self.hooks.faults += 1;
            self.resolve(at, &Verdict::Default, &Choice::Default, false);
        }
    }

    fn answer(&mut self, waits: Waits, verdict: &Verdict, choice: &Choice, allows: bool) {
        match waits {
            Waits::Push { message, away, own } => self.wake(message, own, away, choice),
            Waits::Open { session, open, ticket } => self.go_on_opening(session, &open, ticket, allows),
            Waits::Send { actor, send, lane, repeats } => {
                match self.send_again(actor, &send, verdict) {
                    Err(code) => [actor].into_iter().chain(repeats).for_each(|actor| self.refuse(actor, code)),
                    // The token is known now.
                    Ok(()) => repeats.into_iter().for_each(|repeat| {
                        if let Err(code) = self.send_for(repeat, &send) {
                            self.refuse(repeat, code);
                        }
                    }),
                }
                self.release(&lane);
            }
        }
    }

    fn go_on_opening(&mut self, session: usize, open: &OpenRequest, ticket: u64, allows: bool) {
        let checked = if allows { self.check_open(open) } else { Err(4102) };
        match checked {
            Ok(_) => {
                self.open_now(open, None, Some(session), ticket);
            }
            Err(code) => {
                self.tell(session, What::Reply(ticket, Err(code)));
                self.forget(session);
            }
        }
    }

    fn refuse(&mut self, actor: Actor, code: Code) {
        if let Some(session) = self.still_there(actor) {
            self.tell(session, What::Reply(actor.ticket, Err(code)));
        }
    }

    pub(super) fn still_there(&self, actor: Actor) -> Option<usize> {
        actor.session.filter(|(session, attached)| self.is_attached(*session, *attached)).map(|(session, _)| session)
    }

    /// What waited behind goes on, until another of it waits for its hook.
    fn release(&mut self, lane: &Lane) {
        let Some(mut behind) = self.hooks.behind.remove(lane) else { return };
        while let Some((actor, send)) = behind.pop_front() {
            if let Err(code) = self.send_for(actor, &send) {
                self.refuse(actor, code);
            }
            if self.is_held(lane) {
                self.hooks.behind.insert(lane.clone(), behind);
                return;
            }
        }
    }
}
