//! How things look in the terminal.

use switchboard::{Content, PeerId, Target};

pub(crate) const HELP: &str = "\
Lines that begin with / are commands, all others are messages.
  /to NAME               talk to somebody, and watch them: plain lines go there
  /answer                talk to whom wrote to you last, as it is until you
                         choose somebody
  /watch NAME            be told when somebody comes and goes
  /who NAME...           who of them is online
  /group create NAME...  make a group, and talk to it
  /group join ID         join one, and talk to it
  /group to ID           talk to one that you are in
  /group invite NAME...  take others into the group that you talk to
  /group kick NAME...    put them out of it
  /group members         who is in it
  /group leave           leave it
  /group list            the groups that you are in
  /room create           open a room, and talk to it
  /room join ID          enter one, and talk to it
  /room leave            leave it
  /quit                  log out; so do Ctrl-C and Ctrl-D
Your own messages: ✓ the server has stored it, ✓✓ it was received (this is told
for messages to one person).";
/// Characters of one's own message that are shown again: enough to know which it was.
const REMINDER_CHARS: usize = 60;

/// A message's text on one line.
pub(crate) fn text(content: &Content) -> String {
    match content {
        Content::Text(text) => clean(text),
        Content::Binary(bytes) => format!("({} bytes)", bytes.len()),
    }
}

/// The beginning of a text.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(REMINDER_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

pub(crate) fn name(peer: &PeerId) -> String {
    clean(peer.as_str())
}

pub(crate) fn names(peers: &[PeerId]) -> String {
    peers.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Whom lines go to.
pub(crate) fn target(target: &Target) -> String {
    match target {
        Target::Peers(peers) => names(peers),
        Target::Conversation(conversation) => clean(conversation.as_str()),
    }
}

/// Who did something, where that is known.
pub(crate) fn by(peer: Option<PeerId>) -> String {
    peer.map_or_else(String::new, |peer| format!(" by {}", name(&peer)))
}

/// What the server refuses, and why.
pub(crate) fn refusal(code: u16, reason: &str, peers: &[PeerId]) -> String {
    let peers = if peers.is_empty() { String::new() } else { format!(" ({})", names(peers)) };
    format!("{code} {}{peers}", clean(reason))
}

/// What others write must not steer the terminal, nor look like a line of ours.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}
