//! What the chat says and shows, and what it remembers while its connection breaks and comes back: who it is by its resume
//! token, whom it watches, where it is, and which of its messages the server has not confirmed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{self, Write};
use std::time::Duration;

use switchboard::connection::Serial;
use switchboard::signature::Action;
use switchboard::{
    ClientConnection, Content, ConversationId, Create, Credentials, Draft, MessageId, Open, PeerId, Request,
    ResumeToken, RetryToken, ServerFrame, Shape, Signature, Target, Timestamp,
};

use crate::settings::Settings;

const HELP: &str = "\
  /to NAME               talk to somebody, and watch them: plain lines go there
  /watch NAME            be told when somebody comes and goes
  /who NAME...           who of them is online
  /group create NAME...  make a group, and talk to it
  /group join ID         join one, and talk to it
  /group to ID           talk to one that you are in
  /group invite NAME...  /group kick NAME...  /group members  /group leave   the group you talk to
  /group list            the groups that you are in
  /room create           open a room, and talk to it
  /room join ID          /room leave
  /quit                  log out";
/// Messages that wait for their confirmation before another line is read.
const SENT_MAX: usize = 100;
/// Messages remembered so as not to be shown again: more than what waits for an absent peer.
const SHOWN_MAX: usize = 1_000;
/// When a message that the server could not store is sent again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Why a connection ended.
pub(crate) enum End {
    /// It broke, or the server goes: it is worth another try.
    Lost(String),
    /// It is not.
    Failed(String),
}

/// What a frame with a serial is the answer to.
enum Asked {
    Open,
    Watch(Vec<PeerId>),
    Who(Vec<PeerId>),
    Message,
    NewGroup,
    Room,
    RoomAgain,
    Other,
}

/// A message that the server has not confirmed.
struct Sent {
    draft: Draft,
    /// The request that it went out with; none where it has to go out again.
    serial: Option<Serial>,
}

/// Whether the user wants to go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    No,
    /// As soon as everything is confirmed: nothing is answered after a logout.
    Wanted,
    Asked,
}

/// What is remembered across connections.
pub(crate) struct Client<'a> {
    settings: &'a Settings,
    is_open: bool,
    /// Whether there was a session before: then the next is a reconnect.
    was_open: bool,
    leave: Leave,
    /// Resumes the session without a signature, once.
    token: Option<ResumeToken>,
    watched: BTreeSet<PeerId>,
    talks_to: Option<Target>,
    room: Option<ConversationId>,
    asked: HashMap<Serial, Asked>,
    /// By the order in which they were written.
    unconfirmed: BTreeMap<u64, Sent>,
    written: u64,
    again_at: Option<Timestamp>,
    /// Confirmed messages whose receipt is to come.
    confirmed: HashMap<MessageId, String>,
    shown: VecDeque<MessageId>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            is_open: false,
            was_open: false,
            leave: Leave::No,
            token: None,
            watched: BTreeSet::new(),
            talks_to: None,
            room: None,
            asked: HashMap::new(),
            unconfirmed: BTreeMap::new(),
            written: 0,
            again_at: None,
            confirmed: HashMap::new(),
            shown: VecDeque::new(),
        }
    }

    /// Whether the next line can be taken.
    pub(crate) fn is_ready(&self) -> bool {
        let waits = self.asked.values().any(|asked| !matches!(asked, Asked::Message));
        self.is_open && self.leave == Leave::No && !waits && self.unconfirmed.len() < SENT_MAX
    }

    /// Whether everything asked was answered and everything sent confirmed.
    pub(crate) fn is_settled(&self) -> bool {
        self.asked.is_empty() && self.unconfirmed.is_empty()
    }

    /// Logs out, once everything is settled.
    pub(crate) fn take_leave(&mut self, connection: &mut ClientConnection, now: Timestamp) {
        if self.leave == Leave::Wanted && self.is_open && self.is_settled() {
            self.leave = Leave::Asked;
            self.ask(Request::Close, Asked::Other, connection, now);
        }
    }

    /// Whether the logout was answered.
    pub(crate) fn has_left(&self) -> bool {
        self.leave == Leave::Asked && self.is_settled()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        self.again_at
    }

    /// Sends again what the server could not store.
    pub(crate) fn handle_timeout(&mut self, connection: &mut ClientConnection, now: Timestamp) {
        if self.is_open && self.again_at.is_some_and(|at| now >= at) {
            self.again_at = None;
            self.send_unsent(connection, now);
        }
    }

    /// The connection is gone. Tells whether there had been a session on it.
    pub(crate) fn disconnected(&mut self) -> bool {
        self.asked.clear();
        self.again_at = None;
        self.unconfirmed.values_mut().for_each(|sent| sent.serial = None);
        std::mem::take(&mut self.is_open)
    }

    // Asking.

    /// Opens the session, or opens it again.
    pub(crate) fn log_in(&mut self, connection: &mut ClientConnection, now: Timestamp) -> Result<(), End> {
        let peer = &self.settings.peer;
        let mut open = Open::new(peer.clone());
        open.device = self.settings.device.clone();
        open.reconnect = self.was_open;
        if let Some(token) = self.token.take() {
            // The watch list is the session's, and comes back with it.
            open.credentials = Credentials::Token(token);
        } else {
            // As many as one request may name.
            open.watch = self.watched.iter().take(100).cloned().collect();
            let action = Action::Open { peer, watch: &open.watch, super_peer: false };
            if let Some(signature) = self.sign(&action, now).map_err(End::Failed)? {
                open.credentials = Credentials::Signature(signature);
            }
        }
        let serial = connection.open(&open, now);
        self.asked.insert(serial, Asked::Open);
        Ok(())
    }

    /// Takes a line from the terminal.
    pub(crate) fn type_line(&mut self, line: &str, connection: &mut ClientConnection, now: Timestamp) {
        if let Err(problem) = self.obey(line, connection, now) {
            say(&format!("! {problem}"));
        }
    }

    fn obey(&mut self, line: &str, connection: &mut ClientConnection, now: Timestamp) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => return Ok(()),
            ["/help"] => say(HELP),
            ["/quit"] => self.leave = Leave::Wanted,
            ["/to", name] => {
                let peers = peers(&[name])?;
                self.talks_to = Some(Target::Peers(peers.clone()));
                self.watch(peers, connection, now)?;
            }
            ["/watch", names @ ..] if !names.is_empty() => self.watch(peers(names)?, connection, now)?,
            ["/who", names @ ..] if !names.is_empty() => {
                let peers = peers(names)?;
                self.ask(Request::QueryOnline { peers: peers.clone() }, Asked::Who(peers), connection, now);
            }
            ["/group", command, arguments @ ..] => {
                let (request, asked) = self.group_request(command, arguments, now)?;
                if let Some(request) = request {
                    self.ask(request, asked, connection, now);
                }
            }
            ["/room", command, arguments @ ..] => {
                let request = self.room_request(command, arguments, now)?;
                self.ask(request, Asked::Room, connection, now);
            }
            [word, ..] if word.starts_with('/') => {
                return Err(format!("{word} is no command, or lacks something: /help"));
            }
            _ => self.write(line, connection, now)?,
        }
        Ok(())
    }

    fn group_request(
        &mut self,
        command: &str,
        arguments: &[&str],
        now: Timestamp,
    ) -> Result<(Option<Request>, Asked), String> {
        let me = &self.settings.peer;
        let group = || match &self.talks_to {
            Some(Target::Conversation(group)) => Ok(group.clone()),
            _ => Err("you talk to no group: /group create, /group join ID or /group to ID"),
        };
        let request = match (command, arguments) {
            ("create", names) => {
                let mut create = Create::new(Shape::Group, peers(names)?);
                create.signature = self.sign(&Action::Create { peer: me, members: &create.members }, now)?;
                return Ok((Some(Request::Create(create)), Asked::NewGroup));
            }
            ("join", [id]) => {
                let id = conversation(id)?;
                let signature = self.sign(&Action::Join { peer: me, group: &id }, now)?;
                return Ok((Some(Request::Join { conversation: id, signature }), Asked::NewGroup));
            }
            ("to", [id]) => {
                self.talks_to = Some(Target::Conversation(conversation(id)?));
                return Ok((None, Asked::Other));
            }
            ("invite", names) if !names.is_empty() => {
                let (conversation, peers) = (group()?, peers(names)?);
                let action = Action::Invite { peer: me, group: &conversation, peers: &peers };
                let signature = self.sign(&action, now)?;
                Request::Invite { conversation, peers, signature }
            }
            ("kick", names) if !names.is_empty() => {
                let (conversation, peers) = (group()?, peers(names)?);
                let action = Action::Kick { peer: me, group: &conversation, peers: &peers };
                let signature = self.sign(&action, now)?;
                Request::Kick { conversation, peers, signature }
            }
            ("members", []) => Request::Members { conversation: group()? },
            ("leave", []) => Request::Leave { conversation: group()? },
            ("list", []) => Request::Conversations,
            _ => return Err(format!("/group {command} is no command, or lacks something: /help")),
        };
        Ok((Some(request), Asked::Other))
    }

    fn room_request(&self, command: &str, arguments: &[&str], now: Timestamp) -> Result<Request, String> {
        let me = &self.settings.peer;
        match (command, arguments) {
            ("create", []) => {
                let mut create = Create::new(Shape::Room, Vec::new());
                create.signature = self.sign(&Action::Create { peer: me, members: &[] }, now)?;
                Ok(Request::Create(create))
            }
            ("join", [id]) => self.join_room(conversation(id)?, now),
            ("leave", []) => {
                let room = self.room.clone().ok_or("you are in no room")?;
                Ok(Request::Leave { conversation: room })
            }
            _ => Err(format!("/room {command} is no command, or lacks something: /help")),
        }
    }

    fn join_room(&self, room: ConversationId, now: Timestamp) -> Result<Request, String> {
        let signature = self.sign(&Action::Join { peer: &self.settings.peer, group: &room }, now)?;
        Ok(Request::Join { conversation: room, signature })
    }

    fn watch(&mut self, peers: Vec<PeerId>, connection: &mut ClientConnection, now: Timestamp) -> Result<(), String> {
        let signature = self.sign(&Action::Watch { peer: &self.settings.peer, watch: &peers }, now)?;
        self.ask(Request::Watch { peers: peers.clone(), signature }, Asked::Watch(peers), connection, now);
        Ok(())
    }

    fn ask(&mut self, request: Request, asked: Asked, connection: &mut ClientConnection, now: Timestamp) {
        // These frames have words for everything that is asked for here.
        if let Some(serial) = connection.request(&self.settings.peer, &request, now) {
            self.asked.insert(serial, asked);
        }
    }

    /// A signature where the server wants one. In the field the application's server makes it.
    fn sign(&self, action: &Action<'_>, now: Timestamp) -> Result<Option<Signature>, String> {
        let Some(signer) = &self.settings.signer else { return Ok(None) };
        let nonce = format!("{:016x}", random()?);
        signer.sign(action, &nonce, now).map(Some).map_err(|cause| cause.to_string())
    }

    // Messages.

    fn write(&mut self, text: &str, connection: &mut ClientConnection, now: Timestamp) -> Result<(), String> {
        let target = self.talks_to.clone().ok_or("whom do you talk to? /to NAME or /group create")?;
        // By its token the server knows a message that it has already stored, however often it is sent.
        let token = RetryToken::new(&format!("{:016x}", random()?)).map_err(|error| error.to_string())?;
        let draft = match target {
            Target::Peers(peers) => Draft::to_peers(peers, text).with_receipt(),
            Target::Conversation(conversation) => Draft::to_conversation(conversation, text),
        };
        self.written += 1;
        self.unconfirmed.insert(self.written, Sent { draft: draft.with_retry_token(token), serial: None });
        // While an earlier one waits to be sent again, this one waits behind it.
        if self.again_at.is_none() {
            self.send_unsent(connection, now);
        }
        Ok(())
    }

    fn send_unsent(&mut self, connection: &mut ClientConnection, now: Timestamp) {
        for sent in self.unconfirmed.values_mut().filter(|sent| sent.serial.is_none()) {
            sent.serial = connection.request(&self.settings.peer, &Request::Send(sent.draft.clone()), now);
            self.asked.extend(sent.serial.map(|serial| (serial, Asked::Message)));
        }
    }

    fn confirmed(&mut self, serial: Option<Serial>) -> Option<Draft> {
        let (number, _) = self.unconfirmed.iter().find(|(_, sent)| sent.serial.is_some() && sent.serial == serial)?;
        let number = *number;
        self.unconfirmed.remove(&number).map(|sent| sent.draft)
    }

    // Hearing.

    /// Shows what the server says.
    pub(crate) fn hear(&mut self, connection: &mut ClientConnection, now: Timestamp) -> Result<(), End> {
        let mut received = Vec::new();
        while let Some(heard) = connection.poll_frame() {
            let asked = heard.serial.and_then(|serial| self.asked.remove(&serial));
            match heard.frame {
                ServerFrame::Opened { online, token, room, .. } => {
                    self.token = token;
                    self.opened(&online, room, connection, now).map_err(End::Failed)?;
                }
                ServerFrame::Closed { code } => self.closed(code)?,
                ServerFrame::Error { code, reason, peers } => {
                    self.refused(heard.serial, asked, code, &refusal(code, &reason, &peers), connection, now)?;
                }
                ServerFrame::Ack { id, changed, .. } => self.stored(heard.serial, id, changed),
                ServerFrame::Direct { id, from, target, content, offline, transient, .. } => {
                    if !transient && from != self.settings.peer {
                        received.push(id);
                    }
                    self.show_message(id, &from, &target, &content, offline);
                }
                frame => self.show(frame, asked),
            }
        }
        if !received.is_empty() {
            // Only now they are taken as received, and do not come again.
            let request = Request::Acknowledge { messages: received, read: true };
            let _ = connection.request(&self.settings.peer, &request, now);
        }
        Ok(())
    }

    fn opened(
        &mut self,
        online: &[PeerId],
        room: Option<ConversationId>,
        connection: &mut ClientConnection,
        now: Timestamp,
    ) -> Result<(), String> {
        let again = if self.was_open { "again " } else { "" };
        (self.is_open, self.was_open) = (true, true);
        say(&format!("* {again}online as {}", name(&self.settings.peer)));
        online.iter().for_each(|peer| say(&format!("* {} is online", name(peer))));
        if let Some(left) = self.room.clone().filter(|left| room.as_ref() != Some(left)) {
            self.ask(self.join_room(left, now)?, Asked::RoomAgain, connection, now);
        }
        self.send_unsent(connection, now);
        Ok(())
    }

    fn closed(&mut self, code: u16) -> Result<(), End> {
        match code {
            // One's own wish.
            0 => Ok(()),
            4200 => Err(End::Lost("the server goes".to_owned())),
            _ => Err(End::Failed(format!("the server ended the session ({code})"))),
        }
    }

    fn refused(
        &mut self,
        serial: Option<Serial>,
        asked: Option<Asked>,
        code: u16,
        reason: &str,
        connection: &mut ClientConnection,
        now: Timestamp,
    ) -> Result<(), End> {
        match (asked, code) {
            // The token is no longer good: the server was started anew, or too much time has passed.
            (Some(Asked::Open), 4112) => self.log_in(connection, now)?,
            (Some(Asked::Open), 4200) => return Err(End::Lost(reason.to_owned())),
            (Some(Asked::Open), 4102) => {
                let hint = "; does the server want --app-id and --master-key?";
                return Err(End::Failed(format!("cannot log in: {reason}{hint}")));
            }
            (Some(Asked::Open), _) => return Err(End::Failed(format!("cannot log in: {reason}"))),
            // The server's disk: what is not surely stored is sent again, as the same message.
            (Some(Asked::Message), 4200) => {
                say(&format!("! {reason}; sending it again"));
                self.unconfirmed.values_mut().filter(|sent| sent.serial == serial).for_each(|sent| sent.serial = None);
                self.again_at.get_or_insert(now + AGAIN_AFTER);
            }
            (Some(Asked::Message), _) => {
                let draft = self.confirmed(serial);
                say(&format!("! {reason}: {}", draft.map_or_else(String::new, |draft| text(&draft.content))));
            }
            _ => say(&format!("! {reason}")),
        }
        Ok(())
    }

    fn stored(&mut self, serial: Option<Serial>, id: MessageId, changed: Option<Content>) {
        let Some(draft) = self.confirmed(serial) else { return };
        let is_changed = changed.is_some();
        let text = text(&changed.unwrap_or(draft.content));
        say(&format!("  sent: {text}{}", if is_changed { " (changed by the server)" } else { "" }));
        if draft.receipt {
            self.confirmed.insert(id, text);
        }
    }

    fn show_message(&mut self, id: MessageId, from: &PeerId, target: &Target, content: &Content, offline: bool) {
        // What was shown but not acknowledged before the connection broke comes again.
        if self.shown.contains(&id) {
            return;
        }
        self.shown.push_back(id);
        if self.shown.len() > SHOWN_MAX {
            self.shown.pop_front();
        }
        let to = match target {
            Target::Conversation(conversation) => format!(" in {}", clean(conversation.as_str())),
            // Another device of one's own.
            Target::Peers(peers) if *from == self.settings.peer => format!(" to {}", names(peers)),
            Target::Peers(_) => String::new(),
        };
        let offline = if offline { " (while you were away)" } else { "" };
        say(&format!("{}{to}{offline}: {}", name(from), text(content)));
    }

    fn show(&mut self, frame: ServerFrame, asked: Option<Asked>) {
        let by = |by: Option<PeerId>| by.map_or_else(String::new, |peer| format!(" by {}", name(&peer)));
        match (frame, asked) {
            (ServerFrame::Added { online }, Some(Asked::Watch(peers))) => {
                show_presence(&peers, &online);
                self.watched.extend(peers);
            }
            (ServerFrame::QueryResult { online }, Some(Asked::Who(peers))) => show_presence(&peers, &online),
            (ServerFrame::Presence { online: true, peers }, _) => say(&format!("* online: {}", names(&peers))),
            (ServerFrame::Presence { online: false, peers }, _) => say(&format!("* offline: {}", names(&peers))),
            (ServerFrame::Receipt { id, .. }, _) => {
                if let Some(text) = self.confirmed.remove(&id) {
                    say(&format!("  received: {text}"));
                }
            }
            (ServerFrame::Joined { room, .. }, Some(Asked::RoomAgain)) => {
                say(&format!("* back in {}", clean(room.as_str())));
            }
            (ServerFrame::Joined { room, .. }, Some(asked)) => {
                say(&format!("* you talk to {}", clean(room.as_str())));
                if matches!(asked, Asked::Room) {
                    self.room = Some(room.clone());
                }
                self.talks_to = Some(Target::Conversation(room));
            }
            (ServerFrame::Left { room, .. }, Some(_)) => {
                say(&format!("* you have left {}", clean(room.as_str())));
                self.forget(&room);
            }
            (ServerFrame::Joined { room, by: who }, None) => {
                say(&format!("* you were taken into {}{}", clean(room.as_str()), by(who)));
            }
            (ServerFrame::Left { room, by: who }, None) => {
                say(&format!("* you were put out of {}{}", clean(room.as_str()), by(who)));
                self.forget(&room);
            }
            (ServerFrame::Invited { peers, .. }, _) => say(&format!("* invited: {}", names(&peers))),
            (ServerFrame::Kicked { peers, .. }, _) => say(&format!("* put out: {}", names(&peers))),
            (ServerFrame::MembersJoined { room, peers, .. }, _) => {
                say(&format!("* new in {}: {}", clean(room.as_str()), names(&peers)));
            }
            (ServerFrame::MembersLeft { room, peers, by: who }, _) => {
                // Who leaves by themselves is not put out.
                let who = who
                    .filter(|who| !peers.contains(who))
                    .map_or_else(String::new, |who| format!(", put out by {}", name(&who)));
                say(&format!("* gone from {}: {}{who}", clean(room.as_str()), names(&peers)));
            }
            (ServerFrame::Members { peers, .. }, _) => say(&format!("* members: {}", names(&peers))),
            (ServerFrame::Rooms(groups), _) => {
                let groups: Vec<_> = groups.iter().map(|group| clean(group.as_str())).collect();
                say(&format!("* your groups: {}", groups.join(", ")));
            }
            (ServerFrame::Gap { conversation, count, cause, .. }, _) => {
                let place = conversation.map_or_else(String::new, |id| format!(" in {}", clean(id.as_str())));
                say(&format!("* {count} messages{place} did not reach you ({})", clean(&cause)));
            }
            // What a later server says.
            _ => {}
        }
    }

    fn forget(&mut self, left: &ConversationId) {
        if self.room.as_ref() == Some(left) {
            self.room = None;
        }
        if matches!(&self.talks_to, Some(Target::Conversation(talks_to)) if talks_to == left) {
            self.talks_to = None;
        }
    }
}

fn peers(names: &[&str]) -> Result<Vec<PeerId>, String> {
    names
        .iter()
        .map(|name| PeerId::new(name).map_err(|_| format!("{name} is no name: at most 50 characters")))
        .collect()
}

fn conversation(id: &str) -> Result<ConversationId, String> {
    ConversationId::new(id).map_err(|_| format!("{id} is no group or room"))
}

fn refusal(code: u16, reason: &str, peers: &[PeerId]) -> String {
    let peers = if peers.is_empty() { String::new() } else { format!(" ({})", names(peers)) };
    format!("{code} {}{peers}", clean(reason))
}

fn show_presence(peers: &[PeerId], online: &[PeerId]) {
    for peer in peers {
        let state = if online.contains(peer) { "online" } else { "offline" };
        say(&format!("* {} is {state}", name(peer)));
    }
}

fn name(peer: &PeerId) -> String {
    clean(peer.as_str())
}

fn names(peers: &[PeerId]) -> String {
    peers.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn text(content: &Content) -> String {
    match content {
        Content::Text(text) => clean(text),
        Content::Binary(bytes) => format!("({} bytes)", bytes.len()),
    }
}

/// What others write must not steer the terminal, nor look like a line of ours.
fn clean(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

/// Shows a line. Where nobody reads what is shown, there is nothing left to do.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

fn random() -> Result<u64, String> {
    getrandom::u64().map_err(|error| format!("no randomness: {error}"))
}

/// A random number between two.
pub(crate) fn between(least: f64, most: f64) -> Result<f64, String> {
    let part = f64::from(u32::try_from(random()? >> 32).unwrap_or_default()) / f64::from(u32::MAX);
    Ok(least + part * (most - least))
}
