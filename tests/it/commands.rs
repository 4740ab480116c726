//! The line language of the scenarios: one step a line, and what everyone saw after it.
//!
//! `alice` is a session of the peer alice without a device, `alice/phone` one of her phone. `V` stands for one.
//!
//! | line | what happens |
//! |---|---|
//! | `config KEY = JSON` | before anything else: a setting |
//! | `V opens [watch A, B] [tag T] [reconnecting] [as super peer] [account TOKEN] [signed NONCE]` | |
//! | `V resumes [with TOKENS OF W]` · `V drops` · `V closes` · `host kicks P` | |
//! | `V watches A, B [signed N]` · `V unwatches A` · `V asks for A, B` | |
//! | `V> A, B: TEXT` · `V> @G: TEXT` · `V> A (transient, receipt, retry T, push P): TEXT` | send |
//! | `V makes group\|unique\|room\|temporary G [of A, B] [for SPAN] [named N] [attribute K=V] [signed N]` | |
//! | `V joins G` · `V leaves G` · `V invites A, B to G` · `V kicks A from G` | each `[signed N]` |
//! | `V members G` · `V describes G` · `V lists` · `V counts G` · `V unread` · `V recounts` | |
//! | `V history G newest\|oldest N [from TEXT] [until TEXT] [included]` | |
//! | `V acks [TEXT, TEXT]` · `V acks and reads` · `V reads G [up to TEXT]` | |
//! | `V stops reading at N` · `V reads on` · `V reads freely` | the outbox |
//! | `hook message\|offline\|sign-in …` · `resolve …` · `filter A, B` · `filter off` | |
//! | `wait SPAN` · `jump SPAN` · `commits off` · `commits on` · `commit` · `store fails N` · `store full` · `store has space` | |
//! | `restart` · `host …` | |

use std::time::Duration;

use switchboard::signature::Action;
use switchboard::store::faulty::Failure;
use switchboard::{
    Bound, Config, Content, Create, Credentials, Draft, Error, Login, Order, Page, PeerId, PushChoice, Request,
    Resolution, RetryToken, Shape, Tag, Target, Verdict,
};

use crate::hooks::Mood;
use crate::world::{World, peer};

impl World {
    /// Does every step, and returns what everyone saw.
    pub(crate) fn run(&mut self, steps: &str) -> Vec<String> {
        let from = self.log.len();
        for step in steps.lines().map(str::trim).filter(|step| !step.is_empty() && !step.starts_with('#')) {
            self.step(step);
        }
        self.log.split_off(from)
    }

    /// Does one step.
    pub(crate) fn step(&mut self, step: &str) {
        if let Some((head, text)) = step.split_once(": ").filter(|(head, _)| head.contains("> ")) {
            return self.step_send(head, text);
        }
        let words: Vec<&str> = step.split_whitespace().collect();
        match words.as_slice() {
            ["wait", span] => self.wait(span_of(span)),
            ["jump", span] => self.jump(span_of(span)),
            ["commits", "off"] => self.commits = false,
            ["commits", "on"] => {
                self.commits = true;
                self.pump();
            }
            ["commit"] => self.commit(),
            ["events", "on"] => self.tells_events = true,
            ["store", "fails", times] => self.faults.fail_next(times.parse().unwrap(), Failure::NotStored),
            ["store", "full"] => self.faults.set_full(true),
            ["store", "has", "space"] => {
                self.faults.set_full(false);
                self.pump();
            }
            ["restart"] => self.restart(),
            ["filter", "off"] => self.set_filter(None),
            ["filter", words @ ..] => self.set_filter(Some(&listed(words))),
            ["hook", hook, answer @ ..] => self.step_hook(hook, answer),
            ["resolve", answer @ ..] => self.resolve(resolution(answer)),
            ["host", rest @ ..] => self.step_host(rest, step),
            [name, verb, rest @ ..] => self.step_session(name, verb, rest),
            _ => panic!("cannot read: {step}"),
        }
    }

    fn step_send(&mut self, head: &str, text: &str) {
        let (name, to) = head.split_once("> ").unwrap();
        let (to, options) = match to.split_once(" (") {
            Some((to, options)) => (to, options.trim_end_matches(')')),
            None => (to, ""),
        };
        let mut draft = match to.strip_prefix('@') {
            Some(label) => Draft::to_conversation(self.conversation(label), text),
            None => Draft::to_peers(peers(&to.split_whitespace().collect::<Vec<_>>()), text),
        };
        for option in options.split(", ").filter(|option| !option.is_empty()) {
            draft = match option.split_once(' ').unwrap_or((option, "")) {
                ("transient", _) => draft.transient(),
                ("receipt", _) => draft.with_receipt(),
                ("retry", token) => draft.with_retry_token(RetryToken::new(token).unwrap()),
                ("push", text) => draft.with_push(text),
                other => panic!("cannot read: {other:?}"),
            };
        }
        match name.strip_prefix("host as ") {
            Some(sender) => {
                let sender = peer(sender);
                if let Target::Peers(peers) = &draft.target {
                    self.label_direct(&sender, &peers.clone());
                }
                self.host(|engine, now| engine.send_as(&sender, draft, now).map(Some));
            }
            None => self.send(name, draft),
        }
    }

    fn step_session(&mut self, name: &str, verb: &str, rest: &[&str]) {
        let (rest, signed) = match rest {
            [rest @ .., "signed", nonce] => (rest, Some(*nonce)),
            _ => (rest, None),
        };
        match (verb, rest) {
            ("opens", options) => self.step_open(name, options, signed),
            ("resumes", []) => {
                let open = self.resuming(name);
                self.open(name, open);
            }
            ("resumes", ["watch", list @ ..]) => {
                let open = switchboard::Open { watch: peers(list), ..self.resuming(name) };
                self.open(name, open);
            }
            ("resumes", ["with", "the", "token", "of", other]) => {
                let credentials = self.resuming(other).credentials;
                let open = switchboard::Open { credentials, ..self.resuming(name) };
                self.open(name, open);
            }
            ("drops", []) => self.pause(name),
            ("closes", []) => self.request(name, Request::Close),
            ("watches", list) => {
                let (me, peers) = (self.client(name).peer.clone(), peers(list));
                let signature = signed.map(|nonce| self.sign(&Action::Watch { peer: &me, watch: &peers }, nonce));
                self.request(name, Request::Watch { peers, signature });
            }
            ("unwatches", list) => self.request(name, Request::Unwatch { peers: peers(list) }),
            ("asks", ["for", list @ ..]) => self.request(name, Request::QueryOnline { peers: peers(list) }),
            ("makes", [shape, label, options @ ..]) => self.step_make(name, shape, label, options, signed),
            ("lists", []) => self.request(name, Request::Conversations),
            ("unread", []) => self.request(name, Request::Unread),
            ("recounts", []) => self.recount(name),
            ("acks", ["and", "reads"]) => self.acknowledge(name, &[], true),
            ("acks", texts) => self.acknowledge(name, &listed(texts), false),
            ("reads", ["on"]) => self.read_on(name),
            ("reads", ["freely"]) => self.read_freely(name),
            ("reads", [label]) => self.mark_read(name, label, None),
            ("reads", [label, "up", "to", text]) => self.mark_read(name, label, Some(text)),
            ("stops", ["reading", "at", room]) => self.stop_reading(name, room.parse().unwrap()),
            ("history", [label, order, limit, bounds @ ..]) => {
                let (conversation, page) = (self.conversation(label), self.page(order, limit, bounds));
                self.request(name, Request::History { conversation, page });
            }
            (_, [.., label]) => self.step_conversation(name, verb, rest, label, signed),
            _ => panic!("cannot read: {name} {verb} {rest:?}"),
        }
    }

    fn step_open(&mut self, name: &str, mut options: &[&str], signed: Option<&str>) {
        let mut open = self.opening(name);
        while !options.is_empty() {
            options = match options {
                ["tag", tag, rest @ ..] => {
                    open.tag = Some(Tag::new(tag).unwrap());
                    rest
                }
                ["reconnecting", rest @ ..] => {
                    open.reconnect = true;
                    rest
                }
                ["as", "super", "peer", rest @ ..] => {
                    open.super_peer = true;
                    rest
                }
                ["account", token, rest @ ..] => {
                    open.credentials = Credentials::Account((*token).to_owned());
                    rest
                }
                ["watch", list @ ..] => {
                    open.watch = peers(list);
                    &[]
                }
                other => panic!("cannot read: {other:?}"),
            };
        }
        if let Some(nonce) = signed {
            let action = Action::Open { peer: &open.peer, watch: &open.watch, super_peer: open.super_peer };
            open.credentials = Credentials::Signature(self.sign(&action, nonce));
        }
        self.open(name, open);
    }

    fn step_make(&mut self, name: &str, shape: &str, label: &str, mut options: &[&str], signed: Option<&str>) {
        let mut create = Create::new(shape_of(shape), Vec::new());
        while !options.is_empty() {
            options = match options {
                ["for", span, rest @ ..] => {
                    create.shape = Shape::Temporary(span_of(span));
                    rest
                }
                ["named", text, rest @ ..] => {
                    create.name = Some((*text).to_owned());
                    rest
                }
                ["attribute", pair, rest @ ..] => {
                    let (key, value) = pair.split_once('=').unwrap();
                    create.attributes.insert(key.to_owned(), value.into());
                    rest
                }
                ["of", list @ ..] => {
                    create.members = peers(list);
                    &[]
                }
                other => panic!("cannot read: {other:?}"),
            };
        }
        let me = self.client(name).peer.clone();
        let action = Action::Create { peer: &me, members: &create.members.clone() };
        create.signature = signed.map(|nonce| self.sign(&action, nonce));
        self.create(name, label, create);
    }

    fn step_conversation(&mut self, name: &str, verb: &str, rest: &[&str], label: &str, signed: Option<&str>) {
        let conversation = self.conversation(label);
        let me = self.client(name).peer.clone();
        let request = match (verb, rest) {
            ("members", _) => Request::Members { conversation },
            ("describes", _) => Request::Describe { conversation },
            ("counts", _) => Request::Count { conversation },
            ("leaves", _) => Request::Leave { conversation },
            ("joins", _) => {
                let action = Action::Join { peer: &me, group: &conversation };
                let signature = signed.map(|nonce| self.sign(&action, nonce));
                Request::Join { conversation, signature }
            }
            ("invites", [list @ .., "to", _]) => {
                let peers = peers(list);
                let action = Action::Invite { peer: &me, group: &conversation, peers: &peers };
                let signature = signed.map(|nonce| self.sign(&action, nonce));
                Request::Invite { conversation, peers, signature }
            }
            ("kicks", [list @ .., "from", _]) => {
                let peers = peers(list);
                let action = Action::Kick { peer: &me, group: &conversation, peers: &peers };
                let signature = signed.map(|nonce| self.sign(&action, nonce));
                Request::Kick { conversation, peers, signature }
            }
            _ => panic!("cannot read: {name} {verb} {rest:?}"),
        };
        self.request(name, request);
    }

    fn page(&self, order: &str, limit: &str, mut bounds: &[&str]) -> Page {
        let order = if order == "newest" { Order::NewestFirst } else { Order::OldestFirst };
        let mut page = Page { start: None, end: None, order, limit: limit.parse().unwrap() };
        let included = bounds.last() == Some(&"included");
        let bound = |text: &str| {
            let seen = &self.seen[text];
            Some(Bound { timestamp: seen.at, id: Some(seen.id), included })
        };
        while let [which, text, rest @ ..] = bounds {
            match *which {
                "from" => page.start = bound(text),
                "until" => page.end = bound(text),
                other => panic!("cannot read: {other}"),
            }
            bounds = rest;
        }
        page
    }

    fn step_hook(&mut self, hook: &str, answer: &[&str]) {
        match hook {
            "message" => self.script.message(mood(answer, verdict)),
            "offline" => self.script.offline(mood(answer, push_choice)),
            "sign-in" => self.script.sign_in(mood(answer, login)),
            "asked" => {
                let asked = self.script.take_asked();
                asked.iter().for_each(|line| self.say(line));
            }
            other => panic!("cannot read: {other}"),
        }
    }

    fn step_host(&mut self, words: &[&str], step: &str) {
        match words {
            ["kicks", name] => {
                let peer = peer(name);
                self.host(|engine, now| {
                    engine.close_peer(&peer, Error::KickedByApp, now);
                    Ok(None)
                });
            }
            ["history", "of", "everyone", order, limit, bounds @ ..] => {
                let page = self.page(order, limit, bounds);
                self.host(|engine, now| engine.history_by(None, page, now).map(Some));
            }
            ["history", "by", name, order, limit, bounds @ ..] => {
                let (page, peer) = (self.page(order, limit, bounds), peer(name));
                self.host(|engine, now| engine.history_by(Some(&peer), page, now).map(Some));
            }
            ["history", label, order, limit, bounds @ ..] => {
                let (page, id) = (self.page(order, limit, bounds), self.conversation(label));
                self.host(|engine, now| engine.history_of(&id, page, now).map(Some));
            }
            ["deletes", text] => {
                let (id, number) = (self.seen[*text].conversation.clone(), self.seen[*text].number);
                self.host(|engine, now| engine.delete_message(&id, number, now).map(|()| None));
            }
            ["confirms", "time"] => self.host(|engine, _| {
                engine.confirm_time();
                Ok(None)
            }),
            ["counts", label] => {
                let count = self.engine.count_of(&self.conversation(label));
                self.say(&format!("host: count {count:?}"));
            }
            ["removes", "the", "key"] => {
                self.engine.set_master_keys(&[b"another master key of the tests".to_vec()]).unwrap();
                self.pump();
            }
            ["shuts", "down"] => self.host(|engine, now| {
                engine.shut_down(now);
                Ok(None)
            }),
            _ => panic!("cannot read: {step}"),
        }
    }
}

/// A world with the settings that a scenario begins with, and its remaining lines.
pub(crate) fn config_of(lines: &[&str]) -> Config {
    let mut settings = serde_json::to_value(Config::default()).unwrap();
    for line in lines {
        let Some((key, value)) = line.strip_prefix("config ").and_then(|rest| rest.split_once(" = ")) else { continue };
        assert!(settings.get(key).is_some(), "no setting {key}");
        settings[key] = serde_json::from_str(value).unwrap();
    }
    serde_json::from_value(settings).unwrap()
}

fn shape_of(shape: &str) -> Shape {
    match shape {
        "group" => Shape::Group,
        "unique" => Shape::Unique,
        "room" => Shape::Room,
        "temporary" => Shape::Temporary(Duration::ZERO),
        other => panic!("cannot read: {other}"),
    }
}

fn mood<T>(answer: &[&str], now: impl FnOnce(&[&str]) -> T) -> Mood<T> {
    match answer {
        ["default"] => Mood::Default,
        ["defers"] => Mood::Defer,
        ["panics"] => Mood::Panic,
        answer => Mood::Now(now(answer)),
    }
}

fn verdict(answer: &[&str]) -> Verdict {
    match answer {
        ["drops"] => Verdict { drop: true, ..Verdict::default() },
        ["says", words @ ..] => Verdict { content: Some(Content::Text(words.join(" "))), ..Verdict::default() },
        ["narrows", "to", list @ ..] => Verdict { to: Some(peers(list)), ..Verdict::default() },
        other => panic!("cannot read: {other:?}"),
    }
}

fn push_choice(answer: &[&str]) -> PushChoice {
    match answer {
        ["skips"] => PushChoice { skip: true, ..PushChoice::default() },
        ["says", words @ ..] => PushChoice { text: Some(words.join(" ")), ..PushChoice::default() },
        ["narrows", "to", list @ ..] => PushChoice { offline: Some(peers(list)), ..PushChoice::default() },
        ["forces"] => PushChoice { force: true, ..PushChoice::default() },
        other => panic!("cannot read: {other:?}"),
    }
}

fn login(answer: &[&str]) -> Login {
    match answer {
        ["yes"] => Login::admit(),
        ["yes", "watching", list @ ..] => Login::admit().watching(peers(list)),
        ["no"] => Login::refuse(),
        other => panic!("cannot read: {other:?}"),
    }
}

fn resolution(answer: &[&str]) -> Resolution {
    match answer {
        ["default"] => Resolution::Default,
        ["push", answer @ ..] => Resolution::Push(push_choice(answer)),
        ["yes" | "no", ..] => Resolution::SignIn(login(answer)),
        answer => Resolution::Message(verdict(answer)),
    }
}

/// `a, b` or `a b` is a list.
fn listed<'a>(words: &[&'a str]) -> Vec<&'a str> {
    words.iter().map(|word| word.trim_end_matches(',')).filter(|word| *word != "-").collect()
}

/// `p1..p20` is a range of peers.
fn peers(words: &[&str]) -> Vec<PeerId> {
    listed(words).into_iter().flat_map(expanded).collect()
}

fn expanded(word: &str) -> Vec<PeerId> {
    let Some((first, last)) = word.split_once("..") else { return vec![peer(word)] };
    let stem = first.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = |text: &str| text[stem.len()..].parse::<u64>().unwrap();
    (number(first)..=number(last)).map(|number| peer(&format!("{stem}{number}"))).collect()
}

/// `500ms`, `30s`, `5m`, `2h`, `7d`, or several: `29m59s`.
pub(crate) fn span_of(text: &str) -> Duration {
    let mut rest = text;
    let mut span = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap();
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| digits + at);
        let number: u64 = rest[..digits].parse().unwrap();
        span += Duration::from_millis(match &rest[digits..unit_end] {
            "ms" => number,
            "s" => number * 1_000,
            "m" => number * 60_000,
            "h" => number * 3_600_000,
            "d" => number * 86_400_000,
            other => panic!("no unit {other}"),
        });
        rest = &rest[unit_end..];
    }
    span
}
