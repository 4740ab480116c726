//! Tom and Jerry: the first chapter of the newer guide, step by step.
//!
//! `cargo run --example tom_and_jerry`

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use switchboard::store::memory::MemoryStore;
use switchboard::{
    Answer, Config, ConversationInfo, Create, Credentials, Draft, Hooks, Hub, HubConfig, Interests, Login,
    MembershipChange, Open, PeerId, Reply, Request, SessionHandle, Shape, SignIn, Ticket, Update,
};

/// Long enough for anything in one process.
const SOON: Duration = Duration::from_secs(5);

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What this application knows: its accounts.
struct Accounts;

impl Hooks for Accounts {
    /// Who signs in with an account's token needs no signature.
    fn sign_in(&mut self, login: &SignIn<'_>) -> Answer<Login> {
        let knows = login.peer.as_str() == "Tom" && login.account_token == "cat!@#123";
        Answer::Now(if knows { Login::admit() } else { Login::refuse() })
    }

    /// It has no say in messages.
    fn interests(&self) -> Interests {
        Interests::default()
    }
}

fn main() -> Outcome<()> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let store = Arc::new(MemoryStore::new());
    let hub = Hub::start(Config::default(), store, Box::new(Accounts), seed, HubConfig::default())?;
    let (tom, jerry) = (PeerId::new("Tom")?, PeerId::new("Jerry")?);

    // Where signatures are off, a name is enough to log in.
    let toms = log_in(&hub, Open::new(tom.clone()))?;
    say("1. Tom logs in.");
    toms.close();

    // With an account's token the application's own hook decides.
    let with_token = |token: &str| {
        let credentials = Credentials::Account(token.to_owned());
        log_in(&hub, Open { credentials, ..Open::new(tom.clone()) })
    };
    let refusal = with_token("dog?").err().ok_or("a wrong token was taken")?;
    let toms = with_token("cat!@#123")?;
    say(format!("2. Tom logs in with his account's token. (With a wrong one: {refusal}.)"));

    // Jerry is there to see what Tom does.
    let jerrys = log_in(&hub, Open::new(jerry.clone()))?;

    // The creator is a member without being named.
    let mut wish = Create::new(Shape::Unique, vec![jerry.clone()]);
    wish.name = Some("Tom & Jerry".to_owned());
    wish.attributes.insert("mood".to_owned(), "chasing".into());
    let (both, _) = create(&toms, wish)?;
    say(format!("3. Tom makes the conversation {:?} with Jerry, mood {}.", name(&both), both.attributes["mood"]));
    say(format!("   Its members are {}.", members(&toms, &both)?));

    // Jerry need not know of the conversation: he is told.
    let by = wait_for(&jerrys, |update| match update {
        Update::Membership { change: MembershipChange::Joined, by, .. } => Some(by.clone()),
        _ => None,
    })?;
    say(format!("4. Jerry is told that {by} invited him."));

    let text = r#"{"_lctype":-1,"_lctext":"Jerry, get up!"}"#;
    match ask(&toms, Request::Send(Draft::to_conversation(both.id.clone(), text)))? {
        Reply::Accepted(accepted) => {
            say(format!("5. Tom says good morning: message {} of it.", accepted.number.unwrap_or_default()))
        }
        other => return Err(format!("{other:?}").into()),
    }

    let message = wait_for(&jerrys, |update| match update {
        Update::Message { message, .. } => Some(Arc::clone(message)),
        _ => None,
    })?;
    jerrys.request(Request::Acknowledge { messages: vec![message.id], read: true })?;
    say(format!("6. Jerry receives {}", message.content.as_text().unwrap_or_default()));

    // One conversation for the two, whoever asks for it, in whatever order the members are named.
    let (again, existing) = create(&jerrys, Create::new(Shape::Unique, vec![tom.clone()]))?;
    let (in_order, _) = create(&jerrys, Create::new(Shape::Unique, vec![jerry.clone(), tom.clone()]))?;
    assert!(existing && again.id == both.id && in_order.id == both.id);
    say(format!("7. Jerry asks for a conversation with Tom, and finds the same one, {:?}.", name(&again)));

    let (another, existing) = create(&jerrys, Create::new(Shape::Group, vec![tom.clone()]))?;
    assert!(!existing && another.id != both.id);
    say(format!("8. With unique off he gets a new one, and then there are {}.", conversations(&jerrys)?));

    // A room has no members, only those who are in it now.
    let (room, _) = create(&toms, Create::new(Shape::Room, Vec::new()))?;
    ask(&jerrys, Request::Join { conversation: room.id.clone(), signature: None })?;
    if let Reply::Count(count) = ask(&toms, Request::Count { conversation: room.id.clone() })? {
        say(format!("9. Tom opens a chat room. With Jerry there are {count} in it."));
    }

    let life = Duration::from_secs(3_600);
    let (brief, _) = create(&toms, Create::new(Shape::Temporary(life), vec![jerry]))?;
    say(format!("10. For an hour they have the temporary conversation {}….", &brief.id.as_str()[..9]));
    Ok(())
}

fn log_in(hub: &Hub, open: Open) -> Outcome<SessionHandle> {
    let (session, ticket) = hub.open(open)?;
    reply(&session, ticket)?;
    Ok(session)
}

/// Asks something and waits for the answer.
fn ask(session: &SessionHandle, request: Request) -> Outcome<Reply> {
    let ticket = session.request(request)?;
    reply(session, ticket)
}

fn reply(session: &SessionHandle, asked: Ticket) -> Outcome<Reply> {
    let reply = wait_for(session, |update| match update {
        Update::Reply { ticket, result } if *ticket == asked => Some(result.clone()),
        _ => None,
    })?;
    Ok(reply?)
}

/// Waits for the update that `pick` picks. An application has one loop that looks at every update; here the story knows
/// what comes next, and the rest is passed over.
fn wait_for<T>(session: &SessionHandle, pick: impl Fn(&Update) -> Option<T>) -> Outcome<T> {
    loop {
        if let Some(picked) = pick(&*session.recv_timeout(SOON)?) {
            return Ok(picked);
        }
    }
}

fn create(session: &SessionHandle, wish: Create) -> Outcome<(ConversationInfo, bool)> {
    match ask(session, Request::Create(wish))? {
        Reply::Created { conversation, existing } => Ok((*conversation, existing)),
        other => Err(format!("{other:?}").into()),
    }
}

fn members(session: &SessionHandle, conversation: &ConversationInfo) -> Outcome<String> {
    match ask(session, Request::Members { conversation: conversation.id.clone() })? {
        Reply::Members { peers, .. } => Ok(peers.iter().map(PeerId::as_str).collect::<Vec<_>>().join(" and ")),
        other => Err(format!("{other:?}").into()),
    }
}

fn conversations(session: &SessionHandle) -> Outcome<usize> {
    match ask(session, Request::Conversations)? {
        Reply::Conversations(all) => Ok(all.len()),
        other => Err(format!("{other:?}").into()),
    }
}

fn name(conversation: &ConversationInfo) -> &str {
    conversation.name.as_deref().unwrap_or_default()
}

/// Shows a line. `println!` would panic where nobody reads it, as in `tom_and_jerry | head -1`.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}
