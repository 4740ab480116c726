//! Rows 50 to 53: what a session that is behind is given, each once, and what nobody is told in vain.

use std::time::Duration;

use switchboard::{Class, Config, Deliver, Draft, Open, Output, Request, Update};

use crate::world::{World, peer};

const DAY: Duration = Duration::from_secs(86_400);

/// The texts of the numbered messages that a session got, in order.
fn texts(seen: &[String], name: &str) -> Vec<String> {
    let head = format!("{name} <- ");
    let got = seen.iter().filter_map(|line| line.strip_prefix(&head)).filter(|line| line.contains(" in "));
    got.filter_map(|line| line.split_once(": "))
        .filter(|(head, _)| head.contains('#') && !head.contains("gap"))
        .map(|(_, text)| text.to_owned())
        .collect()
}

/// The gaps that a session was told.
fn gaps(seen: &[String], name: &str) -> Vec<String> {
    let head = format!("{name} <- gap in ");
    seen.iter().filter_map(|line| line.strip_prefix(&head)).map(str::to_owned).collect()
}

/// Everything that a session reads until it is live again.
fn catch_up(world: &mut World, name: &str) -> Vec<String> {
    let from = world.log.len();
    world.read_freely(name);
    world.log.split_off(from)
}

#[test]
fn row_50_a_sender_that_overflows_is_not_given_its_own_messages() {
    // The outbox overflowed while the sender's own message was on its way: it came back to its sender as if from another.
    let mut world = World::new();
    world.run("alice opens\nbob opens\nalice makes group G of bob\nbob stops reading at 2\ncommits off");
    for n in 1..=8 {
        world.run(&format!("alice> @G: m{n}\nbob> @G: own{n}"));
    }
    world.run("commits on");
    let seen = catch_up(&mut world, "bob");
    assert_eq!(texts(&seen, "bob"), (1..=8).map(|n| format!("m{n}")).collect::<Vec<_>>());
    // Neither are those that it sends while it catches up, nor later.
    world.run("bob stops reading at 2");
    for n in 9..=16 {
        world.run(&format!("alice> @G: m{n}\nbob> @G: own{n}"));
    }
    let mut seen = world.run("bob reads on\nbob> @G: own17");
    seen.extend(catch_up(&mut world, "bob"));
    assert_eq!(texts(&seen, "bob"), (9..=16).map(|n| format!("m{n}")).collect::<Vec<_>>());
}

#[test]
fn row_50_another_session_of_the_same_device_is_given_the_copies() {
    // Two windows without a device id are one device: what one sent while the other lagged was taken for that one's own.
    let mut world = World::new();
    let now = world.now;
    let (first, _) = world.engine.open(Open::new(peer("alice")), now).unwrap();
    let (second, _) = world.engine.open(Open::new(peer("alice")), now).unwrap();
    world.engine.request(first, Request::Send(Draft::to_peer(peer("bob"), "from the first")), now).unwrap();
    world.engine.commit(now).unwrap();
    let position = outputs(&mut world).into_iter().find_map(|deliver| match deliver.class {
        Class::Logged { position } => Some(position),
        _ => None,
    });
    // Neither had room for it; it is only the second's to have.
    for session in [first, second] {
        world.engine.overflowed(session, position.unwrap(), now);
        world.engine.drained(session, 10, now);
    }
    world.engine.commit(now).unwrap();
    let given: Vec<u32> = outputs(&mut world)
        .into_iter()
        .filter(|deliver| matches!(&*deliver.update, Update::Message { .. }))
        .flat_map(|deliver| deliver.audience.iter().map(|session| session.slot).collect::<Vec<_>>())
        .collect();
    assert_eq!(given, [second.slot()]);
}

fn outputs(world: &mut World) -> Vec<Deliver> {
    let delivers = std::iter::from_fn(|| world.engine.poll_output()).filter_map(|output| match output {
        Output::Deliver(deliver) => Some(deliver),
        _ => None,
    });
    delivers.collect()
}

#[test]
fn row_51_transient_messages_that_a_lagging_session_misses_are_told() {
    // They were dropped before any outbox saw them: neither a count nor a gap told of them.
    let mut world = World::new();
    world.run("alice opens\nbob opens\nalice makes group G of bob\nbob stops reading at 2");
    (1..=4).for_each(|n| drop(world.run(&format!("alice> @G: m{n}"))));
    (0..100).for_each(|_| drop(world.run("alice> @G (transient): passing by\nalice> bob (transient): to you")));
    let seen = catch_up(&mut world, "bob");
    assert_eq!(texts(&seen, "bob"), ["m1", "m2", "m3", "m4"]);
    assert_eq!(gaps(&seen, "bob"), ["-: #0 to #0, 200 messages, overflow"]);
    assert!(gaps(&catch_up(&mut world, "bob"), "bob").is_empty());
    assert_eq!(
        world.run("alice> @G (transient): seen"),
        ["alice <- accepted in G", "bob <- alice in G (transient): seen"]
    );
}

#[test]
fn row_52_nobody_is_told_of_a_gap_in_what_was_not_theirs() {
    // A hook sent sixty messages to one member: the others were told on their return that they had missed messages.
    let mut world = World::new();
    world.run("alice opens\nbob opens\ncarol opens\nalice makes group G of bob, carol, dave\ncarol drops");
    world.run("hook message narrows to bob");
    (0..60).for_each(|n| drop(world.run(&format!("alice> @G: for bob {n}"))));
    world.run("hook message default");
    world.wait(8 * DAY);
    // Dave has no device at all, carol has one and was away for eight days.
    for name in ["dave", "carol"] {
        let seen = world.run(&format!("{name} opens"));
        assert!(gaps(&seen, name).is_empty() && texts(&seen, name).is_empty(), "{seen:?}");
    }
    world.run("dave drops\ncarol drops");
    // Too many and not theirs: what is theirs of it is told, to the number.
    for n in 0..60 {
        world.run("hook message narrows to bob");
        world.run(&format!("alice> @G: again for bob {n}"));
        world.run("hook message default");
        world.run(&format!("alice> @G: for all {n}"));
    }
    world.run("erin opens\nerin drops\nalice invites erin to G");
    for name in ["dave", "carol"] {
        let seen = world.run(&format!("{name} opens"));
        assert_eq!(texts(&seen, name).len(), 50);
        assert_eq!(gaps(&seen, name), ["G: #62 to #80, 10 messages, limit"], "{name}");
        let again = world.run(&format!("{name} acks\n{name} drops\n{name} opens"));
        assert!(gaps(&again, name).is_empty() && texts(&again, name).is_empty(), "{again:?}");
    }
    // After a restart it is still known that some were not for all.
    (0..60).for_each(|n| drop(world.run(&format!("hook message narrows to bob\nalice> @G: more for bob {n}"))));
    world.run("hook message default\ndave drops\ncarol drops");
    world.wait(8 * DAY);
    world.restart();
    let seen = world.run("dave opens\ncarol opens\nfrank opens");
    assert!(gaps(&seen, "dave").is_empty() && gaps(&seen, "carol").is_empty(), "{seen:?}");
}

#[test]
fn row_53_a_deferred_first_message_is_not_overtaken_by_the_second() {
    // The other side made the conversation while the first message was parked: the second one knew it by name and passed.
    let mut world = World::new();
    world.run("alice opens\nbob opens\nhook message defers\nalice> bob: first\nhook message default");
    world.run("bob> alice: meanwhile\nalice> bob: second");
    let conversation = world.conversation("alice+bob");
    world.send("alice", Draft::to_conversation(conversation, "third"));
    let seen = world.run("resolve default");
    assert_eq!(texts(&seen, "bob"), ["first", "second", "third"]);
}

#[test]
fn row_27_what_was_acknowledged_does_not_come_again_on_a_later_page() {
    // Acknowledged were one of the middle and all of another conversation. The outbox was narrow: its second page began where
    // the first had ended, with everything after it.
    let mut world = World::new();
    world.run("alice opens\ncarol opens\nbob opens\nbob drops");
    for n in 1..=12 {
        world.run(&format!("alice> bob: a{n}\ncarol> bob: c{n}"));
    }
    world.run("bob opens");
    let all = (1..=12).map(|n| format!("c{n}")).collect::<Vec<_>>().join(" ");
    world.run(&format!("bob acks a6 a9 {all}\nbob drops\nbob stops reading at 3\nbob opens"));
    let seen = catch_up(&mut world, "bob");
    let rest = (1..=12).filter(|n| ![6, 9].contains(n)).map(|n| format!("a{n}")).collect::<Vec<_>>();
    assert_eq!(texts(&seen, "bob"), rest);
}

#[test]
fn row_27_a_copy_that_the_line_broke_off_comes_again() {
    // The desk's line was dead when the phone sent: its copy counted as received, and the desk never showed it.
    let mut world = World::with(Config::default());
    world.run("bob opens\nalice/desk opens\nalice/phone opens\nalice/desk stops reading at 10");
    world.run("alice/phone> bob: from the phone\nalice/desk drops");
    world.run("alice/desk reads freely");
    assert_eq!(texts(&world.run("alice/desk opens"), "alice/desk"), ["from the phone"]);
    // What came after it was acknowledged, and so it was there before.
    world.run("bob> alice: an answer\nalice/desk acks\nalice/desk drops");
    assert!(texts(&world.run("alice/desk opens"), "alice/desk").is_empty());
    // A copy that came after the last acknowledgement comes again, one that was acknowledged itself does not.
    world.run("alice/phone> bob: one\nalice/phone> bob: two\nalice/desk acks one\nalice/desk drops");
    assert_eq!(texts(&world.run("alice/desk opens"), "alice/desk"), ["two"]);
}
