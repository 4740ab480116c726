//! What the server says, what follows from it, and what is shown of it.

use std::time::Duration;

use switchboard::connection::Serial;
use switchboard::{
    ClientConnection, Content, ConversationId, MessageId, PeerId, Request, ServerFrame, Target, Timestamp,
};

use crate::client::{Asked, Client, End};
use crate::show::{self, by, clean, name, names, shortened, text};

/// Messages remembered so as not to be shown again: more than what waits for an absent peer.
const SHOWN_MAX: usize = 1_000;
/// Messages of one's own whose receipt is waited for.
const CONFIRMED_MAX: usize = 1_000;
/// When a message that the server could not store is sent again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Client<'_> {
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
                    self.refused(heard.serial, asked, code, &show::refusal(code, &reason, &peers), connection, now)?;
                }
                ServerFrame::Ack { id, changed, .. } => self.stored(heard.serial, id, changed),
                ServerFrame::Direct { id, from, target, content, offline, transient, .. } => {
                    self.show_message(id, &from, &target, &content, offline);
                    // What nobody has seen waits for the next time.
                    if !transient && from != self.settings.peer && !self.screen.is_closed() {
                        received.push(id);
                    }
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
        self.screen.say(format!("* {again}online as {}", name(&self.settings.peer)));
        online.iter().for_each(|peer| self.screen.say(format!("* {} is online", name(peer))));
        if let Some(left) = self.room.clone().filter(|left| room.as_ref() != Some(left)) {
            self.ask(self.join_room(left, now)?, Asked::RoomAgain, connection, now)?;
        }
        self.send_unsent(connection, now);
        Ok(())
    }

    fn closed(&mut self, code: u16) -> Result<(), End> {
        match code {
            // One's own wish.
            0 => Ok(()),
            4200 => Err(End::Lost("the server is shutting down".to_owned())),
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
                self.screen.say(format!("! {reason}; sending it again"));
                self.unconfirmed.values_mut().filter(|sent| sent.serial == serial).for_each(|sent| sent.serial = None);
                self.again_at.get_or_insert(now + AGAIN_AFTER);
            }
            (Some(Asked::Message), _) => {
                let draft = self.confirmed(serial);
                let text = draft.map_or_else(String::new, |draft| shortened(&text(&draft.content)));
                self.screen.say(format!("! {reason}: {text}"));
            }
            _ => self.screen.say(format!("! {reason}")),
        }
        Ok(())
    }

    fn stored(&mut self, serial: Option<Serial>, id: MessageId, changed: Option<Content>) {
        let Some(draft) = self.confirmed(serial) else { return };
        let note = if changed.is_some() { " (changed by the server)" } else { "" };
        let target = show::target(&draft.target);
        let text = shortened(&text(&changed.unwrap_or(draft.content)));
        self.screen.say(format!("  ✓ to {target}, sent: {text}{note}"));
        if draft.receipt {
            self.confirmed.push_back((id, format!("to {target}, received: {text}")));
            if self.confirmed.len() > CONFIRMED_MAX {
                self.confirmed.pop_front();
            }
        }
    }

    fn received(&mut self, id: MessageId) {
        let at = self.confirmed.iter().position(|(confirmed, _)| *confirmed == id);
        if let Some((_, reminder)) = at.and_then(|at| self.confirmed.remove(at)) {
            self.screen.say(format!("  ✓✓ {reminder}"));
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
        self.screen.say(format!("{}{to}{offline}: {}", name(from), text(content)));
        if *from != self.settings.peer {
            self.may_answer(from, target);
        }
    }

    /// Until the user has chosen, plain lines go to whom wrote last.
    fn may_answer(&mut self, from: &PeerId, target: &Target) {
        let writer = match target {
            Target::Peers(_) => Target::Peers(vec![from.clone()]),
            Target::Conversation(_) => target.clone(),
        };
        if !self.has_chosen && self.talks_to.as_ref() != Some(&writer) {
            self.screen.say(format!("* what you type now goes to {} (/to NAME for another)", show::target(&writer)));
            self.talks_to = Some(writer.clone());
        }
        self.last_writer = Some(writer);
    }

    fn show(&mut self, frame: ServerFrame, asked: Option<Asked>) {
        match (frame, asked) {
            (ServerFrame::Added { online }, Some(Asked::Watch(peers))) => {
                self.show_presence(&peers, &online);
                self.watched.extend(peers);
            }
            (ServerFrame::QueryResult { online }, Some(Asked::Who(peers))) => self.show_presence(&peers, &online),
            (ServerFrame::Presence { online: true, peers }, _) => {
                self.screen.say(format!("* online: {}", names(&peers)))
            }
            (ServerFrame::Presence { online: false, peers }, _) => {
                self.screen.say(format!("* offline: {}", names(&peers)))
            }
            (ServerFrame::Receipt { id, .. }, _) => self.received(id),
            (ServerFrame::Joined { room, .. }, Some(Asked::RoomAgain)) => {
                self.screen.say(format!("* back in {}", clean(room.as_str())));
            }
            (ServerFrame::Joined { room, .. }, Some(asked)) => {
                self.screen.say(format!("* you talk to {}", clean(room.as_str())));
                if matches!(asked, Asked::Room) {
                    self.room = Some(room.clone());
                }
                self.choose(Target::Conversation(room));
            }
            (ServerFrame::Left { room, .. }, Some(_)) => {
                self.screen.say(format!("* you have left {}", clean(room.as_str())));
                self.forget(&room);
            }
            (ServerFrame::Joined { room, by: who }, None) => {
                self.screen.say(format!("* you were taken into {}{}", clean(room.as_str()), by(who)));
            }
            (ServerFrame::Left { room, by: who }, None) => {
                self.screen.say(format!("* you were put out of {}{}", clean(room.as_str()), by(who)));
                self.forget(&room);
            }
            (ServerFrame::Invited { peers, .. }, _) => self.screen.say(format!("* invited: {}", names(&peers))),
            (ServerFrame::Kicked { peers, .. }, _) => self.screen.say(format!("* put out: {}", names(&peers))),
            (ServerFrame::MembersJoined { room, peers, .. }, _) => {
                self.screen.say(format!("* new in {}: {}", clean(room.as_str()), names(&peers)));
            }
            (ServerFrame::MembersLeft { room, peers, by: who }, _) => {
                // Who leaves by themselves is not put out.
                let who = who
                    .filter(|who| !peers.contains(who))
                    .map_or_else(String::new, |who| format!(", put out by {}", name(&who)));
                self.screen.say(format!("* gone from {}: {}{who}", clean(room.as_str()), names(&peers)));
            }
            (ServerFrame::Members { peers, .. }, _) => self.screen.say(format!("* members: {}", names(&peers))),
            (ServerFrame::Rooms(groups), _) => {
                let groups: Vec<_> = groups.iter().map(|group| clean(group.as_str())).collect();
                self.screen.say(format!("* your groups: {}", groups.join(", ")));
            }
            (ServerFrame::Gap { conversation, count, cause, .. }, _) => {
                let place = conversation.map_or_else(String::new, |id| format!(" in {}", clean(id.as_str())));
                self.screen.say(format!("* {count} messages{place} did not reach you ({})", clean(&cause)));
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
            (self.talks_to, self.has_chosen) = (None, false);
        }
        if matches!(&self.last_writer, Some(Target::Conversation(writer)) if writer == left) {
            self.last_writer = None;
        }
    }

    fn show_presence(&self, peers: &[PeerId], online: &[PeerId]) {
        for peer in peers {
            let state = if online.contains(peer) { "online" } else { "offline" };
            self.screen.say(format!("* {} is {state}", name(peer)));
        }
    }
}
