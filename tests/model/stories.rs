//! What the model found, each as the shortest sequence that showed it. All of these once differed.

use super::command::{Bytes, Choice, Command, Moods, NewShape, To, Token, Verdict, Which};
use super::stores::Disk;

/// What went wrong, on what, and how it came about.
pub(crate) struct Story {
    pub(crate) told: &'static str,
    pub(crate) disk: fn() -> Disk,
    pub(crate) commands: Vec<Command>,
}

fn open(peer: u8, device: Option<u8>) -> Command {
    Command::Open { peer, device, tag: None, watch: Vec::new(), reconnect: false, token: Token::None }
}

fn open_watching(peer: u8, watch: &[u8]) -> Command {
    Command::Open { peer, device: Some(2), tag: None, watch: watch.to_vec(), reconnect: false, token: Token::None }
}

fn open_tagged(peer: u8, tag: u8) -> Command {
    Command::Open { peer, device: None, tag: Some(tag), watch: Vec::new(), reconnect: false, token: Token::None }
}

fn send(session: u8, to: To, token: Option<u8>) -> Command {
    Command::Send { session, to, transient: false, token, receipt: false, push: false, bytes: Bytes::Few }
}

fn to(peer: u8) -> To {
    To::Peers(vec![peer])
}

fn create(session: u8, shape: NewShape, members: &[u8]) -> Command {
    Command::Create { session, shape, members: members.to_vec() }
}

fn wait(millis: u64, confirm: bool) -> Command {
    Command::Wait { millis, confirm }
}

fn acknowledge(session: u8) -> Command {
    Command::Acknowledge { session, which: Which::All, read: false }
}

/// Every hook answers later.
const LATER: Command = Command::Hooks(Moods { message: None, push: None, sign_in: None });

fn resolve(which: u8) -> Command {
    Command::Resolve { which, verdict: Verdict::Default, choice: Choice::Default, allows: false }
}

const CRASH: Command = Command::Crash { power: false };
const EIGHT_DAYS: u64 = 8 * 86_400_000;

fn story(told: &'static str, disk: fn() -> Disk, commands: Vec<Command>) -> Story {
    Story { told, disk, commands }
}

/// All stories.
pub(crate) fn all() -> Vec<Story> {
    [deliveries(), endings(), starts(), crashes(), hooks()].into_iter().flatten().collect()
}

fn deliveries() -> Vec<Story> {
    vec![
        story(
            "what one device acknowledged in a new conversation was never delivered to the other",
            Disk::memory,
            vec![
                open(3, Some(0)),
                open(3, None),
                create(0, NewShape::Temporary(0), &[]),
                send(1, To::Conversation(0), None),
                open(3, Some(0)),
            ],
        ),
        story(
            "a device connected for eight days was taken for one unseen so long",
            Disk::memory,
            vec![
                open(0, None),
                open(0, Some(0)),
                wait(EIGHT_DAYS, true),
                send(0, to(0), None),
                Command::Restart,
                open(0, Some(0)),
            ],
        ),
        story(
            "a repeated token was answered with the conversation that had taken the place of an expired one",
            Disk::memory,
            vec![
                open(1, None),
                create(0, NewShape::Temporary(900), &[]),
                send(0, To::Conversation(0), Some(3)),
                Command::Commit,
                wait(999, false),
                create(0, NewShape::Group, &[]),
                send(0, to(0), Some(3)),
            ],
        ),
        story(
            "the unique group of two peers was not found once another that had the same members had lost one",
            Disk::memory,
            vec![
                open(0, None),
                open(1, None),
                create(0, NewShape::Unique, &[1]),
                Command::Leave { session: 1, conversation: 0 },
                create(0, NewShape::Unique, &[1]),
                Command::Join { session: 1, conversation: 0 },
                Command::Leave { session: 1, conversation: 1 },
                create(0, NewShape::Unique, &[1]),
            ],
        ),
        story(
            "a jump of the clock that nobody had confirmed ended a temporary conversation",
            Disk::memory,
            vec![
                open(0, None),
                create(0, NewShape::Temporary(0), &[]),
                Command::Commit,
                wait(90_000_000, false),
                send(0, To::Conversation(0), None),
            ],
        ),
    ]
}

fn endings() -> Vec<Story> {
    vec![
        story(
            "a tag taken over by a peer that nobody had messaged ended the engine",
            Disk::memory,
            vec![open_tagged(1, 0), open_tagged(1, 0)],
        ),
        story(
            "the end of a session that watched its own peer ended the engine",
            Disk::memory,
            vec![open_watching(1, &[1]), Command::ClosePeer(1)],
        ),
        story(
            "taking over a session that had watched its own peer ended the engine",
            Disk::memory,
            vec![open_watching(1, &[1]), Command::Pause(0), open_watching(1, &[])],
        ),
        story(
            "watching a peer whose going was still to be told ended the engine",
            Disk::memory,
            vec![
                open(3, None),
                Command::Watch { session: 0, peers: vec![3] },
                Command::ClosePeer(3),
                open(0, None),
                Command::Watch { session: 0, peers: vec![3] },
            ],
        ),
    ]
}

fn starts() -> Vec<Story> {
    vec![
        story(
            "after a restart direct messages had no recipients",
            Disk::memory,
            vec![open(0, None), send(0, to(3), None), Command::Restart, open(3, None)],
        ),
        story(
            "after a restart in the same millisecond ids sorted before those of the last life",
            Disk::memory,
            vec![
                Command::Restart,
                open(0, None),
                send(0, to(0), None),
                Command::Restart,
                open(0, None),
                send(0, to(0), None),
            ],
        ),
        story(
            "after a restart a group's members had last changed when it was made",
            Disk::sled,
            vec![
                open(3, None),
                create(0, NewShape::Group, &[]),
                wait(1, false),
                open(0, None),
                Command::Join { session: 1, conversation: 0 },
                Command::Restart,
                open(3, None),
                Command::Describe { session: 0, conversation: 0 },
            ],
        ),
    ]
}

fn crashes() -> Vec<Story> {
    vec![
        story(
            "a retry token was forgotten by the second start after a crash",
            Disk::faulty,
            vec![
                open(0, None),
                send(0, to(0), Some(4)),
                Command::Commit,
                CRASH,
                open(0, None),
                Command::Restart,
                open(0, None),
                send(0, to(0), Some(4)),
            ],
        ),
        story(
            "a device that was new at a crash lost what came after it",
            Disk::faulty,
            vec![
                open(0, Some(0)),
                send(0, to(0), None),
                open(0, None),
                Command::Commit,
                CRASH,
                open(0, Some(0)),
                send(0, to(0), None),
                acknowledge(0),
                open(0, None),
            ],
        ),
    ]
}

fn hooks() -> Vec<Story> {
    vec![
        story(
            "what was said in one conversation waited behind what had been said in an ended one whose place it had",
            Disk::memory,
            vec![
                LATER,
                open(0, None),
                send(0, to(3), None),
                create(0, NewShape::Temporary(900), &[]),
                send(0, to(0), None),
                send(0, to(3), None),
                send(0, To::Conversation(8), None),
                wait(999, false),
                resolve(0),
            ],
        ),
        story(
            "a transient message that waited for its hook was sent twice when it was tried again",
            Disk::memory,
            vec![
                open(0, None),
                create(0, NewShape::Group, &[]),
                LATER,
                Command::Send {
                    session: 0,
                    to: To::Conversation(0),
                    transient: true,
                    token: Some(5),
                    receipt: false,
                    push: false,
                    bytes: Bytes::Few,
                },
                send(0, to(0), Some(5)),
                send(0, To::Conversation(0), None),
                resolve(0),
            ],
        ),
    ]
}
