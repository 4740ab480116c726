//! What the chat asks, and what it remembers while its connection breaks and comes back: who it is by its resume token, whom
//! it watches, where it is, and which of its messages the server has not confirmed.
//!
//! What can be typed is in `commands.rs`, what the server says in `hear.rs`, how it looks in `show.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use switchboard::connection::Serial;
use switchboard::signature::Action;
use switchboard::{
    ClientConnection, ConnectionConfig, ConversationId, Credentials, Draft, Framing, MessageId, Open, PeerId, Request,
    ResumeToken, RetryToken, Signature, Target, Timestamp,
};

use crate::settings::Settings;
use crate::terminal::Screen;

/// Messages that wait for their confirmation before another line is read.
const SENT_MAX: usize = 100;
/// Lines that wait for a connection.
const LINES_MAX: usize = 100;
/// The longest serial, in digits: a frame may be longer than it is when it is first measured.
const SERIAL_DIGITS: usize = 20;

/// Why a connection ended.
pub(crate) enum End {
    /// It broke, or the server goes: it is worth another try.
    Lost(String),
    /// It is not.
    Failed(String),
}

/// What a frame with a serial is the answer to.
pub(crate) enum Asked {
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
pub(crate) struct Sent {
    pub(crate) draft: Draft,
    /// The request that it went out with; none where it has to go out again.
    pub(crate) serial: Option<Serial>,
}

/// Whether the user wants to go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    No,
    /// As soon as everything is confirmed: nothing is answered after a logout.
    Wanted,
    Asked,
}

/// What is remembered across connections.
pub(crate) struct Client<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) screen: Screen,
    pub(crate) is_open: bool,
    /// Whether there was a session before: then the next is a reconnect.
    pub(crate) was_open: bool,
    /// Whether a connection was tried in vain.
    has_tried: bool,
    pub(crate) leave: Leave,
    /// Resumes the session without a signature, once.
    pub(crate) token: Option<ResumeToken>,
    pub(crate) watched: BTreeSet<PeerId>,
    pub(crate) talks_to: Option<Target>,
    /// Whether the user chose whom to talk to. Until then lines go to whom wrote last.
    pub(crate) has_chosen: bool,
    pub(crate) last_writer: Option<Target>,
    pub(crate) room: Option<ConversationId>,
    pub(crate) asked: HashMap<Serial, Asked>,
    /// Typed without a connection.
    lines: VecDeque<String>,
    /// By the order in which they were written.
    pub(crate) unconfirmed: BTreeMap<u64, Sent>,
    written: u64,
    pub(crate) again_at: Option<Timestamp>,
    /// Confirmed messages whose receipt is to come, and how each is called to mind.
    pub(crate) confirmed: VecDeque<(MessageId, String)>,
    pub(crate) shown: VecDeque<MessageId>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(settings: &'a Settings, screen: Screen) -> Self {
        Self {
            settings,
            screen,
            is_open: false,
            was_open: false,
            has_tried: false,
            leave: Leave::No,
            token: None,
            watched: BTreeSet::new(),
            talks_to: None,
            has_chosen: false,
            last_writer: None,
            room: None,
            asked: HashMap::new(),
            lines: VecDeque::new(),
            unconfirmed: BTreeMap::new(),
            written: 0,
            again_at: None,
            confirmed: VecDeque::new(),
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
        self.asked.is_empty() && self.unconfirmed.is_empty() && self.lines.is_empty()
    }

    /// How many messages the server has not confirmed, those included that are still to be sent.
    pub(crate) fn count_unconfirmed(&self) -> usize {
        self.unconfirmed.len() + self.lines.iter().filter(|line| !line.starts_with('/')).count()
    }

    /// The user wants to go.
    pub(crate) fn wish_to_leave(&mut self) {
        if self.leave == Leave::No {
            self.leave = Leave::Wanted;
            let count = self.count_unconfirmed();
            if self.is_open && count > 0 {
                self.screen.say(format!("* waiting for the server to confirm {count} messages; Ctrl-C does not wait"));
            }
        }
    }

    pub(crate) fn wants_to_leave(&self) -> bool {
        self.leave != Leave::No
    }

    /// The user wants to go, or wants it for the second time and does not wait any more.
    pub(crate) fn leave_or_give_up(&mut self) -> Result<(), End> {
        if self.wants_to_leave() {
            let count = self.count_unconfirmed();
            return Err(End::Failed(format!("left at once; the server has not confirmed {count} of your messages")));
        }
        self.wish_to_leave();
        Ok(())
    }

    /// Logs out, once everything is settled.
    pub(crate) fn take_leave(&mut self, connection: &mut ClientConnection, now: Timestamp) -> Result<(), End> {
        if self.leave == Leave::Wanted && self.is_open && self.is_settled() {
            self.leave = Leave::Asked;
            self.ask(Request::Close, Asked::Other, connection, now).map_err(End::Failed)?;
        }
        Ok(())
    }

    /// Whether the logout was answered.
    pub(crate) fn has_left(&self) -> bool {
        self.leave == Leave::Asked && self.is_settled()
    }

    /// Keeps a line until there is a connection.
    pub(crate) fn keep_line(&mut self, line: String) {
        match line.as_str() {
            "" => {}
            "/quit" => self.wish_to_leave(),
            "/help" => self.screen.say(crate::show::HELP),
            _ if self.lines.len() >= LINES_MAX => self.screen.say(format!("! too many lines wait already: {line}")),
            _ => self.lines.push_back(line),
        }
    }

    /// A line that no frame can carry was typed.
    pub(crate) fn refuse_line(&self) {
        let max = crate::terminal::line_bytes_max();
        self.screen.say(format!("! this line is too long to be sent: more than {max} bytes"));
    }

    /// A line that waited for the connection.
    pub(crate) fn kept_line(&mut self) -> Option<String> {
        if self.is_ready() || self.leave == Leave::Wanted && self.is_open { self.lines.pop_front() } else { None }
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
    pub(crate) fn disconnected(&mut self, problem: &str) -> bool {
        self.asked.clear();
        self.again_at = None;
        self.unconfirmed.values_mut().for_each(|sent| sent.serial = None);
        let was_open = std::mem::take(&mut self.is_open);
        let is_first = !std::mem::replace(&mut self.has_tried, true);
        // Said once, not with every attempt.
        if was_open || is_first {
            let hint = if self.was_open { "what you type is sent later" } else { "is the example tcp_server running?" };
            let address = &self.settings.connect;
            self.screen.say(format!("* no connection to {address} ({problem})\n* trying again; {hint}"));
        }
        was_open
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

    pub(crate) fn watch(
        &mut self,
        peers: Vec<PeerId>,
        connection: &mut ClientConnection,
        now: Timestamp,
    ) -> Result<(), String> {
        let signature = self.sign(&Action::Watch { peer: &self.settings.peer, watch: &peers }, now)?;
        self.ask(Request::Watch { peers: peers.clone(), signature }, Asked::Watch(peers), connection, now)
    }

    pub(crate) fn ask(
        &mut self,
        request: Request,
        asked: Asked,
        connection: &mut ClientConnection,
        now: Timestamp,
    ) -> Result<(), String> {
        self.check_length(&request, now)?;
        // These frames have words for everything that is asked for here.
        if let Some(serial) = connection.request(&self.settings.peer, &request, now) {
            self.asked.insert(serial, asked);
        }
        Ok(())
    }

    /// A frame that is too long ends the connection; sent again with the next, it would end that one, and so on for ever.
    fn check_length(&self, request: &Request, now: Timestamp) -> Result<(), String> {
        let max = ConnectionConfig::default().frame_bytes_max;
        let mut rehearsal = ClientConnection::new(Framing::Lines, now);
        rehearsal.request(&self.settings.peer, request, now);
        let length = rehearsal.poll_transmit().map_or(0, |frame| frame.as_bytes().len() + SERIAL_DIGITS);
        if length > max {
            return Err(format!("this is too long to be sent: about {length} bytes, and a server takes {max}"));
        }
        Ok(())
    }

    /// A signature where the server wants one. In the field the application's server makes it.
    pub(crate) fn sign(&self, action: &Action<'_>, now: Timestamp) -> Result<Option<Signature>, String> {
        let Some(signer) = &self.settings.signer else { return Ok(None) };
        let nonce = format!("{:016x}", random()?);
        signer.sign(action, &nonce, now).map(Some).map_err(|cause| cause.to_string())
    }

    // Messages.

    pub(crate) fn write(
        &mut self,
        text: &str,
        connection: &mut ClientConnection,
        now: Timestamp,
    ) -> Result<(), String> {
        let target = self.talks_to.clone().ok_or("to whom? Choose somebody with /to NAME, or see /help")?;
        // By its token the server knows a message that it has already stored, however often it is sent.
        let token = RetryToken::new(&format!("{:016x}", random()?)).map_err(|error| error.to_string())?;
        let draft = match target {
            Target::Peers(peers) => Draft::to_peers(peers, text).with_receipt(),
            Target::Conversation(conversation) => Draft::to_conversation(conversation, text),
        };
        let draft = draft.with_retry_token(token);
        self.check_length(&Request::Send(draft.clone()), now)?;
        self.written += 1;
        self.unconfirmed.insert(self.written, Sent { draft, serial: None });
        // While an earlier one waits to be sent again, this one waits behind it.
        if self.again_at.is_none() {
            self.send_unsent(connection, now);
        }
        Ok(())
    }

    pub(crate) fn send_unsent(&mut self, connection: &mut ClientConnection, now: Timestamp) {
        for sent in self.unconfirmed.values_mut().filter(|sent| sent.serial.is_none()) {
            sent.serial = connection.request(&self.settings.peer, &Request::Send(sent.draft.clone()), now);
            self.asked.extend(sent.serial.map(|serial| (serial, Asked::Message)));
        }
    }

    pub(crate) fn confirmed(&mut self, serial: Option<Serial>) -> Option<Draft> {
        let (number, _) = self.unconfirmed.iter().find(|(_, sent)| sent.serial.is_some() && sent.serial == serial)?;
        let number = *number;
        self.unconfirmed.remove(&number).map(|sent| sent.draft)
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
