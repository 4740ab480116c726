//! Row 29: hooks that panic, overrun, defer for ever or answer nonsense.

use std::time::Duration;

use switchboard::{Config, Content, Credentials, Open, PushChoice, Verdict};

use crate::hooks::Mood;
use crate::world::{World, peer};

fn two() -> World {
    let mut world = World::new();
    world.run("alice opens\nbob opens");
    world
}

const WENT_ON: [&str; 2] = ["alice <- accepted #1 in alice+bob", "bob <- alice in alice+bob #1: hello"];

#[test]
fn row_29_a_panic_leaves_the_default_flow_and_the_state_as_it_was() {
    let mut world = two();
    let before = world.engine.metrics();
    world.script.message(Mood::Panic);
    let seen = world.run("alice> bob: hello");
    assert_eq!(seen[0], "host: hook message_received: Panicked");
    assert_eq!(seen[1..], WENT_ON);
    assert_eq!(world.engine.metrics().messages, before.messages + 1);
    world.script.message(Mood::Default);
    assert_eq!(world.run("bob> alice: fine").len(), 2);
}

#[test]
fn row_29_fail_closed_refuses_and_stores_nothing() {
    let mut world = World::with(Config { hooks_fail_closed: true, ..Config::default() });
    world.run("alice opens\nbob opens");
    world.script.message(Mood::Panic);
    let seen = world.run("alice> bob: hello");
    assert_eq!(seen[0], "refused: 4402 message rejected by the application");
    let metrics = world.engine.metrics();
    assert_eq!((metrics.messages, metrics.conversations, metrics.staged_bytes), (0, 0, 0));
}

#[test]
fn row_29_whoever_defers_for_ever_is_bounded_in_time_and_number() {
    let mut world = World::with(Config { parked_max: 3, ..Config::default() });
    world.run("alice opens\nbob opens\ncarol opens");
    world.script.message(Mood::Defer);
    assert!(world.run("alice> bob: hello\nalice> bob: second\nalice> carol: third").is_empty());
    let full = ["refused: 4318 over the limit parked_max (3)"];
    assert_eq!(world.run("bob> alice: one too many"), full);
    assert_eq!(world.run("alice> bob: behind the first"), full);
    world.script.message(Mood::Default);
    assert_eq!(world.run("bob> alice: others go on").len(), 2);
    world.wait(Duration::from_secs(3));
    let seen = world.log.join("\n");
    assert_eq!(seen.matches("message_received: Expired").count(), 2, "{seen}");
    assert!(seen.find("#2: hello") < seen.find("#3: second"), "{seen}");
}

#[test]
fn row_29_a_million_recipients_are_set_aside() {
    let mut world = two();
    let everyone = (0..1_000_000).map(|n| peer(&format!("p{n}"))).collect();
    world.script.message(Mood::Now(Verdict { to: Some(everyone), ..Verdict::default() }));
    let seen = world.run("alice> bob: hello");
    assert_eq!(seen[0], "host: hook message_received: Invalid");
    assert_eq!(seen[1..], WENT_ON);
    assert_eq!(world.engine.metrics().peers, 2);
}

#[test]
fn row_29_content_over_the_limit_is_set_aside() {
    let mut world = two();
    let long = Content::Text("x".repeat(6_000));
    world.script.message(Mood::Now(Verdict { content: Some(long), ..Verdict::default() }));
    let seen = world.run("alice> bob: hello");
    assert_eq!(seen[0], "host: hook message_received: Invalid");
    assert_eq!(seen[1..], WENT_ON);
}

#[test]
fn row_29_recipients_that_nobody_named_get_nothing() {
    let mut world = two();
    world.run("eve opens\nalice makes group G of bob");
    let to = Some(vec![peer("bob"), peer("eve"), peer("nobody")]);
    world.script.message(Mood::Now(Verdict { to, ..Verdict::default() }));
    assert_eq!(
        world.run("alice> @G: to the group"),
        ["alice <- accepted #1 in G", "bob <- alice in G #1: to the group"]
    );
    assert_eq!(world.run("alice> bob: hello"), WENT_ON);
    let offline = Some(vec![peer("eve"), peer("nobody")]);
    world.script.message(Mood::Default);
    world.script.offline(Mood::Now(PushChoice { offline, text: Some("push".to_owned()), ..PushChoice::default() }));
    assert_eq!(world.run("bob drops\nalice> bob: no push to strangers"), ["alice <- accepted #2 in alice+bob"]);
}

/// The rows of a store.
type Rows = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A day of a small town, with hooks in one mood: what was seen without the host's complaints, and what the store holds.
fn life_with(mood: fn(&World)) -> (Vec<String>, Rows) {
    let mut world = World::new();
    mood(&world);
    world.run("alice opens\nbob opens watch alice\ncarol opens\nalice makes group G of bob, carol\nalice makes room R");
    let day = "carol drops\nalice> bob (retry t, receipt): m1\nbob acks\nalice> @G (push now): m2\nbob> @G: m3\n\
               alice> bob (transient): m4\nalice> @R: m5\nalice> bob (retry t): m1\ncarol opens\ncarol acks\nbob drops\n\
               alice> bob (push now): m6\nbob resumes\nwait 2s";
    let mut seen = world.run(day);
    seen.retain(|line| !line.starts_with("host: hook "));
    let keys = world.faults.keys();
    let rows = keys.into_iter().map(|key| (key.clone(), world.engine.store().get(&key).unwrap())).collect();
    (seen, rows)
}

#[test]
fn row_29_whatever_goes_wrong_in_a_hook_the_engine_is_as_it_would_be_without() {
    let calm = life_with(|_| {});
    assert!(calm.0.len() >= 20 && calm.1.len() > 10, "a life worth comparing: {calm:?}");
    let panicking = life_with(|world| {
        world.script.message(Mood::Panic);
        world.script.offline(Mood::Panic);
    });
    assert_eq!(panicking, calm);
    let nonsense = life_with(|world| {
        let everyone = (0..1_000).map(|n| peer(&format!("p{n}"))).collect();
        world.script.message(Mood::Now(Verdict { to: Some(everyone), ..Verdict::default() }));
        let long = Some("x".repeat(10_000));
        world.script.offline(Mood::Now(PushChoice { text: long, ..PushChoice::default() }));
    });
    assert_eq!(nonsense.1, calm.1);
}

#[test]
fn row_29_an_account_whose_check_panics_does_not_get_in() {
    let mut world = World::new();
    world.script.sign_in(Mood::Panic);
    let open = Open { credentials: Credentials::Account("secret".to_owned()), ..world.opening("alice") };
    world.open("alice", open);
    let seen = world.log.join("\n");
    assert!(seen.contains("host: hook sign_in: Panicked"), "{seen}");
    assert!(seen.contains("refused: 4102"), "{seen}");
    assert_eq!(world.engine.metrics().sessions, 0);
}
