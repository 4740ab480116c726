//! A conversation in one process: no network, no disk.
//!
//! `cargo run --example quickstart`

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use switchboard::store::memory::MemoryStore;
use switchboard::{
    Config, Draft, Hub, HubConfig, MessageId, NoHooks, Open, PeerId, Reply, Request, SessionHandle, Update,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let store = Arc::new(MemoryStore::new());
    let hub = Hub::start(Config::default(), store, Box::new(NoHooks), seed, HubConfig::default())?;
    let (alice, bob) = (PeerId::new("alice")?, PeerId::new("bob")?);

    // Both are online: what Alice sends, Bob gets at once.
    let (alices, _) = hub.open(Open::new(alice.clone()))?;
    let (bobs, _) = hub.open(Open::new(bob.clone()))?;
    alices.send(Draft::to_peer(bob.clone(), "Are you there?"))?;
    acknowledge(&bobs, &show("bob", &bobs)?)?;

    // Bob's connection breaks: dropping the handle pauses his session. What is sent now waits for him.
    drop(bobs);
    alices.send(Draft::to_peer(bob.clone(), "You went away!").with_receipt())?;
    say(format!("       ({} message waits for bob)", hub.with_engine(|engine, _| engine.unread_count(&bob))?));

    // He is back, on what might be another connection. The message is marked as offline.
    let (bobs, _) = hub.open(Open::new(bob))?;
    acknowledge(&bobs, &show("bob", &bobs)?)?;
    bobs.send(Draft::to_peer(alice, "Here I am again."))?;

    // Alice learns that it arrived, and gets Bob's answer.
    show("alice", &alices)?;
    Ok(())
}

/// Tells the server what has arrived: until then it comes again with each open.
fn acknowledge(session: &SessionHandle, received: &[MessageId]) -> Result<(), switchboard::Error> {
    session.request(Request::Acknowledge { messages: received.to_vec(), read: true }).map(drop)
}

/// Prints what a session is told, and collects the ids of the messages among it.
fn show(name: &str, session: &SessionHandle) -> Result<Vec<MessageId>, switchboard::Error> {
    let mut received = Vec::new();
    while let Ok(update) = session.recv_timeout(Duration::from_millis(100)) {
        match &*update {
            Update::Message { message, offline } => {
                let text = message.content.as_text().unwrap_or_default();
                let offline = if *offline { " (offline)" } else { "" };
                say(format!("{name:>5}: {} says {text:?}{offline}", message.from));
                received.push(message.id);
            }
            Update::Receipt { peer, .. } => say(format!("{name:>5}: {peer} has received my message")),
            Update::Reply { result: Ok(Reply::Opened(_)), .. } => say(format!("{name:>5}: online")),
            // A refusal is an answer, too: here it ends the program.
            Update::Reply { result, .. } => drop(result.clone()?),
            _ => {}
        }
    }
    Ok(received)
}

/// Shows a line. `println!` would panic where nobody reads it, as in `quickstart | head -1`.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}
