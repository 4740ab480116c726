//! What may happen, as data that shrinks to something readable. Small numbers pick among what is there at that moment.

use proptest::prelude::*;

/// What the engine does not do as it should yet: with `false` it is not tried.
pub(crate) mod left_out {
    /// What a sender whose session has gone still sends counts as received by its unnamed device, which never saw it.
    pub(crate) const LOST_SENDERS: bool = false;
}

/// Peers of the small world.
pub(crate) const PEERS: u8 = 4;

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Open {
        peer: u8,
        device: Option<u8>,
        tag: Option<u8>,
        watch: Vec<u8>,
        reconnect: bool,
        token: Token,
    },
    Pause(u8),
    Close(u8),
    ClosePeer(u8),
    Send {
        session: u8,
        to: To,
        transient: bool,
        token: Option<u8>,
        receipt: bool,
        push: bool,
        bytes: Bytes,
    },
    Acknowledge {
        session: u8,
        which: Which,
        read: bool,
    },
    MarkRead {
        session: u8,
        conversation: u8,
        up_to: Option<u8>,
    },
    Create {
        session: u8,
        shape: NewShape,
        members: Vec<u8>,
    },
    Join {
        session: u8,
        conversation: u8,
    },
    Leave {
        session: u8,
        conversation: u8,
    },
    Invite {
        session: u8,
        conversation: u8,
        peers: Vec<u8>,
    },
    Kick {
        session: u8,
        conversation: u8,
        peers: Vec<u8>,
    },
    Watch {
        session: u8,
        peers: Vec<u8>,
    },
    Unwatch {
        session: u8,
        peers: Vec<u8>,
    },
    QueryOnline {
        session: u8,
        peers: Vec<u8>,
    },
    Members {
        session: u8,
        conversation: u8,
    },
    Describe {
        session: u8,
        conversation: u8,
    },
    Count {
        session: u8,
        conversation: u8,
    },
    Conversations {
        session: u8,
    },
    Unread {
        session: u8,
    },
    History {
        session: u8,
        conversation: u8,
        newest_first: bool,
        limit: u8,
        from: Option<(u8, bool)>,
    },
    /// Time goes by; a jump of more than an hour is confirmed at once, or left in doubt.
    Wait {
        millis: u64,
        confirm: bool,
    },
    /// The host deletes a message.
    Delete {
        conversation: u8,
        which: u8,
    },
    /// How hooks answer from now on.
    Hooks(Moods),
    /// A hook that answers later answers.
    Resolve {
        which: u8,
        verdict: Verdict,
        choice: Choice,
        allows: bool,
    },
    /// A session reads slowly from now on.
    Narrow {
        session: u8,
        room: u8,
    },
    /// A slow session reads what it has.
    ReadOn(u8),
    /// Until time goes by, the host's calls bear a time that was read so long before.
    Late {
        millis: u64,
    },
    /// The host's clock is set back.
    SetBack {
        millis: u64,
    },
    Commit,
    /// The store writes while other commands come.
    Begin,
    Finish {
        fails: bool,
    },
    /// Reads of the store wait for the next commit, or are done at once.
    HoldReads(bool),
    /// The engine shuts down and another starts on the same store.
    Restart,
    /// The process ends in the middle, or the power goes.
    Crash {
        power: bool,
    },
}

impl Command {
    /// The session that asks.
    pub(crate) fn session(&self) -> Option<u8> {
        match self {
            Self::Close(session)
            | Self::Send { session, .. }
            | Self::Acknowledge { session, .. }
            | Self::MarkRead { session, .. }
            | Self::Create { session, .. }
            | Self::Join { session, .. }
            | Self::Leave { session, .. }
            | Self::Invite { session, .. }
            | Self::Kick { session, .. }
            | Self::Watch { session, .. }
            | Self::Unwatch { session, .. }
            | Self::QueryOnline { session, .. }
            | Self::Members { session, .. }
            | Self::Describe { session, .. }
            | Self::Count { session, .. }
            | Self::Conversations { session }
            | Self::Unread { session }
            | Self::History { session, .. } => Some(*session),
            _ => None,
        }
    }

    /// The conversation that it is about.
    pub(crate) fn conversation(&self) -> Option<u8> {
        match self {
            Self::Join { conversation, .. }
            | Self::Leave { conversation, .. }
            | Self::Invite { conversation, .. }
            | Self::Kick { conversation, .. }
            | Self::Members { conversation, .. }
            | Self::Describe { conversation, .. }
            | Self::Count { conversation, .. } => Some(*conversation),
            _ => None,
        }
    }
}

/// By which token an open comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Token {
    None,
    /// The newest one of a session of that peer.
    Of(u8),
    /// One that was used before.
    Used(u8),
    /// No token: an account, which a hook lets in.
    Account,
}

/// How hooks answer; `None` is later.
#[derive(Clone, Debug)]
pub(crate) struct Moods {
    pub(crate) message: Option<Verdict>,
    pub(crate) push: Option<Choice>,
    pub(crate) sign_in: Option<bool>,
}

impl Default for Moods {
    fn default() -> Self {
        Self { message: Some(Verdict::Default), push: Some(Choice::Default), sign_in: Some(true) }
    }
}

/// What a hook says about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Default,
    Drop,
    /// It says something else: a star more.
    Change,
    Narrow(Vec<u8>),
}

/// What a hook says about a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Default,
    Skip,
    Only(Vec<u8>),
    /// With a text of the hook's.
    Text,
}

#[derive(Clone, Debug)]
pub(crate) enum To {
    Peers(Vec<u8>),
    Conversation(u8),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Bytes {
    Few,
    /// As many as a message may have.
    Most,
    TooMany,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum NewShape {
    Group,
    Unique,
    Room,
    /// Lives so many milliseconds.
    Temporary(u64),
}

/// Which messages are acknowledged.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    /// Everything that the session was given.
    All,
    /// Some of it.
    Some(Vec<u8>),
    /// Any messages at all, of whomever.
    Any(Vec<u8>),
}

fn peers(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..PEERS, 0..=max)
}

fn open() -> impl Strategy<Value = Command> {
    let token = prop_oneof![
        5 => Just(Token::None),
        2 => (0u8..4).prop_map(Token::Of),
        1 => (0u8..4).prop_map(Token::Used),
        1 => Just(Token::Account),
    ];
    let some = |max: u8| prop_oneof![2 => Just(None), 3 => (0..max).prop_map(Some)];
    let watch = prop_oneof![2 => Just(Vec::new()), 2 => peers(4)];
    (0..PEERS, some(3), some(2), watch, prop::bool::weighted(0.2), token).prop_map(
        |(peer, device, tag, watch, reconnect, token)| Command::Open { peer, device, tag, watch, reconnect, token },
    )
}

fn send() -> impl Strategy<Value = Command> {
    let to = prop_oneof![
        3 => (0..PEERS).prop_map(|peer| To::Peers(vec![peer])),
        1 => peers(4).prop_map(To::Peers),
        5 => any::<u8>().prop_map(To::Conversation),
    ];
    let bytes = prop_oneof![20 => Just(Bytes::Few), 1 => Just(Bytes::Most), 1 => Just(Bytes::TooMany)];
    let token = prop_oneof![3 => Just(None), 1 => (0u8..6).prop_map(Some)];
    let flag = || prop::bool::weighted(0.2);
    (any::<u8>(), to, flag(), token, any::<bool>(), flag(), bytes).prop_map(
        |(session, to, transient, token, receipt, push, bytes)| Command::Send {
            session,
            to,
            transient,
            token,
            receipt,
            push,
            bytes,
        },
    )
}

fn acknowledge() -> impl Strategy<Value = Command> {
    let some = || prop::collection::vec(any::<u8>(), 1..4);
    let which = prop_oneof![3 => Just(Which::All), 3 => some().prop_map(Which::Some), 1 => some().prop_map(Which::Any)];
    (any::<u8>(), which, prop::bool::weighted(0.3)).prop_map(|(session, which, read)| Command::Acknowledge {
        session,
        which,
        read,
    })
}

fn create() -> impl Strategy<Value = Command> {
    let shape = prop_oneof![
        3 => Just(NewShape::Group),
        2 => Just(NewShape::Unique),
        2 => Just(NewShape::Room),
        2 => prop_oneof![Just(0), Just(900), Just(90_000), Just(40 * 86_400_000)].prop_map(NewShape::Temporary),
    ];
    (any::<u8>(), shape, peers(3)).prop_map(|(session, shape, members)| Command::Create { session, shape, members })
}

fn change() -> impl Strategy<Value = Command> {
    (any::<u8>(), any::<u8>(), peers(3), 0..7).prop_map(|(session, conversation, peers, which)| match which {
        0 | 1 => Command::Join { session, conversation },
        2 => Command::Leave { session, conversation },
        3 | 4 => Command::Invite { session, conversation, peers },
        _ => Command::Kick { session, conversation, peers },
    })
}

fn watch() -> impl Strategy<Value = Command> {
    (any::<u8>(), peers(4), 0..4).prop_map(|(session, peers, which)| match which {
        0 | 1 => Command::Watch { session, peers },
        2 => Command::Unwatch { session, peers },
        _ => Command::QueryOnline { session, peers },
    })
}

fn ask() -> impl Strategy<Value = Command> {
    (any::<u8>(), any::<u8>(), 0..6).prop_map(|(session, conversation, which)| match which {
        0 => Command::Members { session, conversation },
        1 => Command::Describe { session, conversation },
        2 => Command::Count { session, conversation },
        3 => Command::Conversations { session },
        _ => Command::Unread { session },
    })
}

fn history() -> impl Strategy<Value = Command> {
    let from = prop::option::of((any::<u8>(), any::<bool>()));
    (any::<u8>(), any::<u8>(), any::<bool>(), 0u8..6, from).prop_map(
        |(session, conversation, newest_first, limit, from)| Command::History {
            session,
            conversation,
            newest_first,
            limit,
            from,
        },
    )
}

fn wait() -> impl Strategy<Value = Command> {
    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;
    let millis = prop_oneof![
        6 => prop::sample::select(vec![1, 7, 400, 999, 1_000, 1_300, 4_000, 5_000]),
        4 => prop::sample::select(vec![11_000, MINUTE, 5 * MINUTE, 29 * MINUTE, 30 * MINUTE, 31 * MINUTE]),
        2 => prop::sample::select(vec![2 * HOUR, 11 * HOUR, 25 * HOUR, 72 * HOUR, 167 * HOUR, 192 * HOUR]),
    ];
    (millis, prop::bool::weighted(0.8)).prop_map(|(millis, confirm)| Command::Wait { millis, confirm })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        2 => Just(Verdict::Default),
        1 => Just(Verdict::Drop),
        1 => Just(Verdict::Change),
        2 => peers(3).prop_map(Verdict::Narrow),
    ]
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![
        2 => Just(Choice::Default),
        1 => Just(Choice::Skip),
        1 => peers(2).prop_map(Choice::Only),
        1 => Just(Choice::Text),
    ]
}

fn hooks() -> impl Strategy<Value = Command> {
    let later = |message| prop_oneof![3 => Just(None), 2 => verdict().prop_map(Some), 2 => Just(Some(message))];
    let moods =
        (later(Verdict::Default), prop::option::weighted(0.7, choice()), prop::option::weighted(0.6, any::<bool>()))
            .prop_map(|(message, push, sign_in)| Command::Hooks(Moods { message, push, sign_in }));
    let resolve = (any::<u8>(), verdict(), choice(), any::<bool>())
        .prop_map(|(which, verdict, choice, allows)| Command::Resolve { which, verdict, choice, allows });
    prop_oneof![2 => moods, 3 => resolve]
}

/// What a plain world sees: nothing breaks.
pub(crate) fn calm() -> impl Strategy<Value = Command> {
    prop_oneof![
        10 => open(),
        4 => any::<u8>().prop_map(Command::Pause),
        2 => any::<u8>().prop_map(Command::Close),
        1 => (0..PEERS).prop_map(Command::ClosePeer),
        30 => send(),
        12 => acknowledge(),
        3 => (any::<u8>(), any::<u8>(), prop::option::of(any::<u8>()))
            .prop_map(|(session, conversation, up_to)| Command::MarkRead { session, conversation, up_to }),
        5 => create(),
        8 => change(),
        5 => watch(),
        5 => ask(),
        5 => history(),
        8 => wait(),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(conversation, which)| Command::Delete { conversation, which }),
        7 => hooks(),
        1 => prop::sample::select(vec![1_001, 5_000, 90_000, 7_200_000, 90_000_000])
            .prop_map(|millis| Command::SetBack { millis }),
        1 => (0u64..=1_000).prop_map(|millis| Command::Late { millis }),
        3 => (any::<u8>(), 1u8..4).prop_map(|(session, room)| Command::Narrow { session, room }),
        4 => any::<u8>().prop_map(Command::ReadOn),
        12 => Just(Command::Commit),
        3 => Just(Command::Begin),
        3 => Just(Command::Finish { fails: false }),
        2 => any::<bool>().prop_map(Command::HoldReads),
        1 => Just(Command::Restart),
    ]
}

/// What a world sees whose store fails and whose process ends.
pub(crate) fn stormy() -> impl Strategy<Value = Command> {
    prop_oneof![
        40 => calm(),
        2 => Just(Command::Begin),
        2 => any::<bool>().prop_map(|fails| Command::Finish { fails }),
        1 => any::<bool>().prop_map(|power| Command::Crash { power }),
    ]
}
