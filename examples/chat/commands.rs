//! What can be typed.

use switchboard::signature::Action;
use switchboard::{ClientConnection, ConversationId, Create, PeerId, Request, Shape, Target, Timestamp};

use crate::client::{Asked, Client};
use crate::show;

impl Client<'_> {
    /// Takes a line from the terminal.
    pub(crate) fn type_line(&mut self, line: &str, connection: &mut ClientConnection, now: Timestamp) {
        if let Err(problem) = self.obey(line, connection, now) {
            self.screen.say(format!("! {problem}"));
        }
    }

    fn obey(&mut self, line: &str, connection: &mut ClientConnection, now: Timestamp) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => return Ok(()),
            ["/help"] => self.screen.say(show::HELP),
            ["/quit"] => self.wish_to_leave(),
            ["/to", name] => {
                let peers = peers(&[name])?;
                self.choose(Target::Peers(peers.clone()));
                self.watch(peers, connection, now)?;
            }
            ["/answer"] => {
                let writer = self.last_writer.clone().ok_or("nobody has written to you yet")?;
                self.screen.say(format!("* you talk to {}", show::target(&writer)));
                self.choose(writer);
            }
            ["/watch", names @ ..] if !names.is_empty() => self.watch(peers(names)?, connection, now)?,
            ["/who", names @ ..] if !names.is_empty() => {
                let peers = peers(names)?;
                self.ask(Request::QueryOnline { peers: peers.clone() }, Asked::Who(peers), connection, now)?;
            }
            ["/group", command, arguments @ ..] => {
                let (request, asked) = self.group_request(command, arguments, now)?;
                if let Some(request) = request {
                    self.ask(request, asked, connection, now)?;
                }
            }
            ["/room", command, arguments @ ..] => {
                let request = self.room_request(command, arguments, now)?;
                self.ask(request, Asked::Room, connection, now)?;
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
                let group = Target::Conversation(conversation(id)?);
                self.screen.say(format!("* you talk to {}", show::target(&group)));
                self.choose(group);
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

    /// Plain lines go there, whoever else writes.
    pub(crate) fn choose(&mut self, target: Target) {
        (self.talks_to, self.has_chosen) = (Some(target), true);
    }

    pub(crate) fn join_room(&self, room: ConversationId, now: Timestamp) -> Result<Request, String> {
        let signature = self.sign(&Action::Join { peer: &self.settings.peer, group: &room }, now)?;
        Ok(Request::Join { conversation: room, signature })
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
