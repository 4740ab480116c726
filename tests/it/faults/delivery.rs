//! Rows 22 to 31: messages on their way to one device, to many, to slow ones.

use std::time::Duration;

use switchboard::store::faulty::Failure;
use switchboard::{Accepted, Config, Draft, Error, Page, Reply, Request, Resolution, RetryToken, Target};

use crate::hooks::Mood;
use crate::world::{World, peer};

/// The texts of the messages that a session got, in order.
fn texts(seen: &[String], name: &str) -> Vec<String> {
    let head = format!("{name} <- ");
    let got = seen.iter().filter_map(|line| line.strip_prefix(&head)).filter(|line| line.contains(" in "));
    got.filter_map(|line| line.split_once(": "))
        .filter(|(head, _)| head.contains('#'))
        .map(|(_, text)| text.to_owned())
        .collect()
}

fn numbered(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.map(|n| format!("m{n}")).collect()
}

fn send(world: &mut World, from: &str, to: &str, numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    numbers.flat_map(|n| world.run(&format!("{from}> {to}: m{n}"))).collect()
}

#[test]
fn row_22_a_repeated_send_is_stored_and_delivered_once() {
    let mut world = World::new();
    world.run("alice opens\nbob opens");
    let mut seen: Vec<String> = (0..5).flat_map(|_| world.run("alice> bob (retry t): m1")).collect();
    seen.extend(world.run("alice drops\nalice resumes\nalice> bob (retry t): m1\nbob history alice+bob newest 10"));
    assert_eq!(seen.iter().filter(|line| *line == "bob <- alice in alice+bob #1: m1").count(), 1);
    assert_eq!(seen.iter().filter(|line| *line == "alice <- accepted #1 in alice+bob").count(), 6);
    assert_eq!(seen.last().unwrap(), "bob <- history: #1 m1");
    assert_eq!(world.engine.metrics().messages, 1);
}

/// Sends as a session does that is not sure whether its first try arrived: the receipt, or why there is none.
fn retry(world: &mut World, name: &str, to: Target, text: &str) -> Result<Accepted, Error> {
    let token = RetryToken::new("once").unwrap();
    let draft = Draft { target: to, ..Draft::to_peers(Vec::new(), text.to_owned()).with_retry_token(token) };
    match world.ask(name, Request::Send(draft))? {
        Reply::Accepted(accepted) => Ok(accepted),
        other => panic!("{other:?}"),
    }
}

#[test]
fn row_22_every_retry_gets_the_same_receipt() {
    let mut world = World::new();
    world.run("alice opens\nbob opens\ncarol opens\nalice makes group G of bob, carol");
    let group = Target::Conversation(world.conversation("G"));
    let first = retry(&mut world, "alice", group.clone(), "m1").unwrap();
    // At once, later, from another session, with other words, elsewhere, after a restart.
    assert_eq!(retry(&mut world, "alice", group.clone(), "m1").as_ref(), Ok(&first));
    world.wait(Duration::from_secs(3_600));
    world.run("alice/phone opens");
    assert_eq!(retry(&mut world, "alice/phone", group.clone(), "m1").as_ref(), Ok(&first));
    assert_eq!(retry(&mut world, "alice", group.clone(), "other words").as_ref(), Ok(&first));
    assert_eq!(retry(&mut world, "alice", Target::Peers(vec![peer("bob")]), "m1").as_ref(), Ok(&first));
    let heard = world.log.iter().filter(|line| line.contains("m1") && !line.starts_with("alice/phone <- ")).count();
    assert_eq!(heard, 2, "bob and carol once each: {:?}", world.log);
    world.restart();
    world.run("alice opens\nbob opens");
    assert_eq!(retry(&mut world, "alice", group.clone(), "m1").as_ref(), Ok(&first));
    // A token is its sender's own.
    assert_ne!(retry(&mut world, "bob", group, "m2").unwrap().id, first.id);
    let log = world.history("alice", "G", Page::oldest(10));
    assert_eq!(log.iter().map(|message| message.content.as_text().unwrap()).collect::<Vec<_>>(), ["m1", "m2"]);
    assert_eq!((log[0].id, log[0].number, log[0].timestamp), (first.id, first.number, first.timestamp));
}

#[test]
fn row_22_a_retry_before_the_first_is_safe_waits_with_it() {
    for failure in [Failure::NotStored, Failure::MaybeAndNot, Failure::MaybeAndStored] {
        let mut world = World::new();
        world.run("alice opens\nbob opens\ncommits off");
        world.faults.fail_next(2, failure);
        assert_eq!(
            world.run("alice> bob (retry t): m1\nalice> bob (retry t): m1"),
            [""; 0],
            "no receipt before the store"
        );
        let seen =
            world.run("commits on\nwait 1s\nalice> bob (retry t): m1\nwait 1s\nwait 1s\nalice> bob (retry t): m1");
        let receipts = seen.iter().filter(|line| line.starts_with("alice <- accepted")).collect::<Vec<_>>();
        assert!(
            receipts.len() >= 3 && receipts.iter().all(|line| *line == receipts[0]),
            "{failure:?}: {:?}",
            world.log
        );
        assert_eq!(seen.iter().filter(|line| line.starts_with("bob <- alice")).count(), 1, "{failure:?}");
        assert_eq!(world.history("alice", "alice+bob", Page::oldest(10)).len(), 1, "{failure:?}");
    }
}

#[test]
fn row_22_a_retry_of_what_a_hook_holds_asks_once_and_is_answered_with_it() {
    let mut world = World::new();
    world.run("alice opens\nbob opens");
    world.script.message(Mood::Defer);
    let seen = world.run("alice> bob (retry t): m1\nalice> bob (retry t): m1\nalice> bob (retry t): m1");
    assert_eq!(seen, [""; 0]);
    assert_eq!(world.script.take_asked().len(), 1, "one question");
    world.resolve(Resolution::Default);
    let seen = std::mem::take(&mut world.log);
    assert_eq!(seen.iter().filter(|line| *line == "alice <- accepted #1 in alice+bob").count(), 3, "{seen:?}");
    assert_eq!(seen.iter().filter(|line| line.starts_with("bob <- alice")).count(), 1, "{seen:?}");
}

#[test]
fn row_22_tokens_are_known_for_a_day_and_a_thousand_sends() {
    let mut world = World::with(Config { retry_tokens_max: 3, ..Config::default() });
    world.run("alice opens\nalice> bob (retry t1): m1");
    world.wait(Duration::from_secs(86_400));
    assert_eq!(world.run("alice> bob (retry t1): m1"), ["alice <- accepted #1 in alice+bob"]);
    world.wait(Duration::from_secs(3_600));
    assert_eq!(world.run("alice> bob (retry t1): m1"), ["alice <- accepted #2 in alice+bob"]);
    for n in 2..=4 {
        world.run(&format!("alice> bob (retry t{n}): m{n}"));
    }
    assert_eq!(world.run("alice> bob (retry t1): m1"), ["alice <- accepted #6 in alice+bob"]);
    assert_eq!(world.run("alice> bob (retry t4): m4"), ["alice <- accepted #5 in alice+bob"]);
}

#[test]
fn row_23_each_of_ten_devices_gets_each_message_once_and_the_eleventh_is_refused() {
    let mut world = World::new();
    world.run("bob opens");
    (1..=10).for_each(|n| drop(world.run(&format!("alice/{n} opens"))));
    assert_eq!(world.run("alice/11 opens"), ["refused: 4318 over the limit sessions_max (10)"]);
    let seen = send(&mut world, "bob", "alice", 1..=3);
    for n in 1..=10 {
        assert_eq!(texts(&seen, &format!("alice/{n}")), numbered(1..=3));
    }
    // The queue is each device's own: what one has acknowledged comes to it no more, and to the others once.
    (1..=10).for_each(|n| drop(world.run(&format!("alice/{n} acks\nalice/{n} drops"))));
    send(&mut world, "bob", "alice", 4..=6);
    for n in 1..=10 {
        let seen = world.run(&format!("alice/{n} opens"));
        assert_eq!(texts(&seen, &format!("alice/{n}")), numbered(4..=6));
    }
}

#[test]
fn row_23_a_device_that_was_away_when_a_conversation_began_gets_it_all() {
    // The desk is known and away; the phone gets the first message of a new conversation and acknowledges it.
    let mut world = World::new();
    world.run("bob opens\nalice/desk opens\nalice/phone opens\nalice/desk drops");
    world.run("bob> alice: m1\nalice/phone acks");
    assert_eq!(texts(&world.run("alice/desk opens"), "alice/desk"), ["m1"]);
}

#[test]
fn row_24_the_51st_offline_message() {
    let mut world = World::new();
    world.run("alice opens\nbob opens\nbob drops");
    send(&mut world, "alice", "bob", 1..=51);
    world.run("alice> bob (transient): nobody keeps this");
    let seen = world.run("bob opens");
    assert_eq!(seen[0], "bob <- opened, online: -");
    assert_eq!(seen[1], "host: 1 offline messages of bob dropped");
    assert_eq!(seen[2], "bob <- gap in alice+bob: #1 to #1, 1 messages, limit");
    assert_eq!(texts(&seen[3..], "bob"), numbered(2..=51));
    assert_eq!(world.engine.metrics().offline_dropped, 1);
    // Told once: what is cut off counts as received. History has it all.
    let again = world.run("bob drops\nbob opens");
    assert!(!again.iter().any(|line| line.contains("gap")), "{again:?}");
    assert!(world.run("bob history alice+bob oldest 2")[0].contains("#1 m1, #2 m2"));
}

#[test]
fn row_26_fifty_messages_come_through_a_narrow_outbox_before_any_live_one() {
    let mut world = World::new();
    world.run("alice opens\nbob opens\nbob drops");
    send(&mut world, "alice", "bob", 1..=50);
    world.run("bob stops reading at 8");
    let mut seen = world.run("bob opens\nalice> bob: m51");
    assert_eq!(world.outbox_len("bob"), 8);
    for _ in 0..20 {
        seen.extend(world.run("bob reads on"));
    }
    seen.extend(world.run("alice> bob: m52\nbob reads on"));
    assert_eq!(texts(&seen, "bob"), numbered(1..=52));
    assert_eq!(seen.iter().filter(|line| line.contains("(offline)")).count(), 50);
}

#[test]
fn row_27_what_was_acknowledged_before_the_cut_does_not_come_again() {
    let mut world = World::new();
    world.run("alice opens\nbob opens\nbob drops");
    send(&mut world, "alice", "bob", 1..=10);
    world.run("bob stops reading at 6");
    let half = texts(&world.run("bob opens\nbob reads on"), "bob");
    assert_eq!(half, numbered(1..=half.len() as u64));
    let last = half.len() as u64;
    // The first ones and one beyond a hole are acknowledged, then the line breaks.
    world.run(&format!("bob acks m1 m2 m3 m{last}\nbob drops"));
    world.run("bob reads freely");
    let rest: Vec<String> = numbered(4..=10).into_iter().filter(|text| *text != format!("m{last}")).collect();
    assert_eq!(texts(&world.run("bob opens"), "bob"), rest);
}

#[test]
fn row_28_a_second_room_leaves_the_first_and_thirty_minutes_are_thirty_minutes() {
    let mut world = World::new();
    world.run("alice opens\nbob opens\nalice makes room R\nalice makes room S\nbob joins R\nbob joins S");
    assert_eq!(world.run("alice counts R\nalice counts S"), ["alice <- count: 0", "alice <- count: 2"]);
    world.run("bob drops");
    world.now = world.now + Duration::from_millis(29 * 60_000 + 59_999);
    assert_eq!(world.run("bob opens"), ["bob <- opened in S, online: -"]);
    world.run("bob drops");
    // Exactly thirty minutes later, before the host has called `handle_timeout`.
    world.now = world.now + Duration::from_secs(30 * 60);
    assert_eq!(world.run("bob opens"), ["bob <- opened, online: -"]);
    assert_eq!(world.run("alice counts S"), ["alice <- count: 1"]);
}

#[test]
fn row_30_one_who_never_reads_costs_its_outbox_and_nobody_else() {
    let mut world = World::with(Config { tell_sent: false, ..Config::default() });
    world.run("alice opens\nalice makes room R\nslow opens\nslow joins R");
    (0..200).for_each(|n| drop(world.run(&format!("p{n} opens\np{n} joins R"))));
    world.run("slow stops reading at 16\nalice makes group G of slow, p0, p1");
    for n in 1..=100 {
        let seen = world.run(&format!("alice> @R: r{n}"));
        assert_eq!(seen.len(), 201, "everyone but the slow one and the sender, and the receipt");
    }
    let seen = (1..=100).flat_map(|n| world.run(&format!("alice> @G: m{n}"))).collect::<Vec<_>>();
    assert_eq!(texts(&seen, "p0"), numbered(1..=100));
    assert!(world.outbox_len("slow") <= 16 + 1);
    assert_eq!(world.client("slow").dropped, 100 - 15);
    assert_eq!(world.engine.metrics().outputs, 0);
    // What is in a log comes when it reads again, each message once.
    let from = world.log.len();
    world.read_freely("slow");
    let caught_up = world.log.split_off(from);
    let persistent: Vec<String> = texts(&caught_up, "slow").into_iter().filter(|text| text.starts_with('m')).collect();
    assert_eq!(persistent, numbered(1..=100));
}

#[test]
fn row_31_sessions_that_come_and_go_leave_nothing_behind() {
    let mut world = World::new();
    for n in 0..20_000 {
        let name = format!("p{}", n % 500);
        match n % 3 {
            0 => world.run(&format!("{name} opens watch q{n}\n{name} closes")),
            1 => world.run(&format!("{name} opens\n{name} drops")),
            _ => world.run(&format!("{name} opens\n{name} drops\n{name} resumes\n{name} closes")),
        };
        world.log.clear();
    }
    world.wait(Duration::from_secs(31 * 60));
    let metrics = world.engine.metrics();
    assert_eq!((metrics.sessions, metrics.open_sessions, metrics.outputs, metrics.staged_bytes), (0, 0, 0, 0));
    // Whoever only came and went is not remembered: nothing waits for it, and nobody wakes it.
    assert_eq!((metrics.peers, metrics.watched), (0, 0));
    let mut world = World::new();
    (0..5_000).for_each(|n| drop(world.run(&format!("p{n} opens watch q{n}\np{n} drops"))));
    world.wait(Duration::from_secs(31 * 60));
    assert_eq!(world.engine.metrics().peers, 0);
}
