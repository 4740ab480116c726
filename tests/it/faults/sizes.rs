//! Row 41: whatever is acknowledged fits the store, at every size that the settings allow. Row 46: retry tokens.

use std::time::Duration;

use switchboard::{
    Config, ConfigError, Content, Create, Draft, Error, HistoryScope, Page, PeerId, Reply, Request, RetryToken, Shape,
    Verdict,
};

use crate::hooks::Mood;
use crate::world::{World, peer};

const MESSAGE_BYTES_MAX: usize = 128 * 1024;

fn crowd(members: usize) -> Vec<PeerId> {
    (0..members).map(|n| peer(&format!("m{n:05}"))).collect()
}

fn rows(world: &World, letter: u8) -> usize {
    world.faults.keys().iter().filter(|key| key[0] == letter).count()
}

fn damaged(seen: &[String]) -> usize {
    seen.iter().filter(|line| line.starts_with("host: record damaged")).count()
}

/// Sends, and says the number that it got.
fn accepted(world: &mut World, name: &str, draft: Draft) -> u64 {
    match world.ask(name, Request::Send(draft)) {
        Ok(Reply::Accepted(accepted)) => accepted.number.unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A message of 1 MiB was a valid setting: it was acknowledged, delivered and never stored, and its number given again.
#[test]
fn row_41_messages_of_every_size_are_there_after_a_restart() {
    let sizes = [1, 5_000, 40_000, MESSAGE_BYTES_MAX - 1, MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX, 7, 120_000, 130_000];
    for chunk_bytes_max in [256, 16 * 1024, 256 * 1024] {
        let config = Config { message_bytes_max: MESSAGE_BYTES_MAX, chunk_bytes_max, ..Config::default() };
        let mut world = World::with(config);
        world.run("alice/a-device-with-quite-a-long-name opens\ncommits off");
        let name = "alice/a-device-with-quite-a-long-name";
        for size in sizes {
            let token = RetryToken::new(&format!("{size:0128}")).unwrap();
            let draft = Draft::to_peer(peer("bob"), Content::Text("x".repeat(size)));
            world.send(name, draft.with_retry_token(token));
        }
        let refused = world.ask(name, Request::Send(Draft::to_peer(peer("bob"), "x".repeat(MESSAGE_BYTES_MAX + 1))));
        assert_eq!(refused.unwrap_err().code(), 4109);
        world.run("commits on");
        world.restart();
        world.run("alice opens");
        let log = world.history("alice", "alice+bob", Page::oldest(100));
        let found: Vec<(Option<u64>, usize)> = log.iter().map(|m| (m.number, m.content.len())).collect();
        // Of two with the same token the second is the first.
        let mut expected = sizes.to_vec();
        expected.remove(5);
        assert_eq!(found, (1..).map(Some).zip(expected).collect::<Vec<_>>());
        let next = accepted(&mut world, "alice", Draft::to_peer(peer("bob"), "next"));
        assert_eq!((next, damaged(&world.log)), (9, 0));
    }
}

#[test]
fn row_41_settings_that_no_record_holds_are_refused_when_the_engine_is_built() {
    let refused = |config: Config| config.validate().map_err(|ConfigError { setting, .. }| setting);
    for (at_most, beyond) in [
        (
            Config { message_bytes_max: 1 << 17, ..Config::default() },
            Config { message_bytes_max: (1 << 17) + 1, ..Config::default() },
        ),
        (
            Config { attributes_bytes_max: 1 << 17, ..Config::default() },
            Config { attributes_bytes_max: (1 << 17) + 1, ..Config::default() },
        ),
        (
            Config { chunk_bytes_max: 1 << 18, ..Config::default() },
            Config { chunk_bytes_max: (1 << 18) + 1, ..Config::default() },
        ),
        (Config { recipients_max: 1_000, ..Config::default() }, Config { recipients_max: 1_001, ..Config::default() }),
        (
            Config { temporary_members_max: 1_000, ..Config::default() },
            Config { temporary_members_max: 1_001, ..Config::default() },
        ),
    ] {
        assert_eq!(refused(at_most), Ok(()));
        assert!(refused(beyond).is_err());
    }
}

/// Attributes of 300 KB were a valid setting, and a group that had them was gone after a restart.
#[test]
fn row_41_the_largest_conversations_are_there_after_a_restart() {
    let max = 128 * 1024;
    let config = Config {
        attributes_bytes_max: max,
        temporary_members_max: 1_000,
        recipients_max: 1_000,
        members_max: 0,
        names_per_hour_max: 1 << 32,
        ..Config::default()
    };
    let mut world = World::with(config);
    world.run("alice opens");
    let create = |shape: Shape, text: usize, members: usize| {
        let mut create = Create { name: Some("name".to_owned()), ..Create::new(shape, crowd(members)) };
        create.attributes.insert("k".to_owned(), "a".repeat(text).into());
        Request::Create(create)
    };
    // `{"k":""}` and the name.
    let text = max - 8 - 4;
    for (shape, members) in [(Shape::Temporary(Duration::from_secs(60)), 999), (Shape::Group, 1_500), (Shape::Room, 0)]
    {
        assert!(world.ask("alice", create(shape, text, members)).is_ok());
        let refused = world.ask("alice", create(shape, text + 1, members)).unwrap_err();
        assert_eq!(refused, Error::TooLong { limit: "attributes_bytes_max", max: max as u64 });
    }
    let refused = world.ask("alice", create(Shape::Temporary(Duration::from_secs(60)), 1, 1_000)).unwrap_err();
    assert_eq!(refused, Error::ConversationFull);
    accepted(&mut world, "alice", Draft::to_peers(crowd(1_000), "to a thousand"));
    let before = world.engine.conversations_of(&peer("alice"));
    assert_eq!(before.len(), 3);
    world.restart();
    assert_eq!(world.engine.conversations_of(&peer("alice")).len(), 3);
    for (found, expected) in world.engine.conversations_of(&peer("alice")).iter().zip(&before) {
        assert!(found.attributes == expected.attributes && found.members == expected.members);
    }
    assert_eq!(damaged(&world.log), 0);
}

/// Attributes that were nested so deeply that their row could not be read were there until a restart.
#[test]
fn row_41_attributes_that_no_start_could_read_are_refused() {
    let mut world = World::new();
    world.run("alice opens");
    let nested = |depth: usize| {
        let mut create = Create::new(Shape::Group, Vec::new());
        let value = (0..depth).fold(1.into(), |inner: serde_json::Value, _| vec![inner].into());
        create.attributes.insert("k".to_owned(), value);
        create
    };
    assert_eq!(world.ask("alice", Request::Create(nested(200))).unwrap_err(), Error::Unparseable);
    assert!(world.ask("alice", Request::Create(nested(100))).is_ok());
    world.restart();
    let found = world.engine.conversations_of(&peer("alice"));
    assert_eq!(found.iter().map(|info| &info.attributes).collect::<Vec<_>>(), [&nested(100).attributes]);
}

/// Texts of a group's log as one of its members reads it.
fn texts(world: &mut World, name: &str, group: &str) -> Vec<String> {
    let log = world.history(name, group, Page::oldest(100));
    log.iter().map(|message| message.content.as_text().unwrap().to_owned()).collect()
}

/// Sends what a hook leaves to the first `named` members, leaving out `from` others before them.
fn send_narrowed(world: &mut World, members: &[PeerId], from: usize, named: usize) {
    let to = Some(members[from..from + named].to_vec());
    world.script.message(Mood::Now(Verdict { to, ..Verdict::default() }));
    let group = world.conversation("G");
    accepted(world, "alice", Draft::to_conversation(group, format!("to {named} from {from}")));
    world.script.message(Mood::Default);
}

/// Who was named by each message of a group whose texts say so, and whether its reader was.
fn assert_narrowed(world: &mut World, sent: &[(usize, usize)], readers: &[usize]) {
    for &reader in readers {
        let name = format!("m{reader:05}");
        let mine = sent.iter().filter(|(from, named)| (*from..from + named).contains(&reader));
        let expected: Vec<String> = mine.map(|(from, named)| format!("to {named} from {from}")).collect();
        assert_eq!(world.engine.unread_count(&peer(&name)), expected.len() as u64, "{name}");
        world.run(&format!("{name} opens"));
        assert_eq!(texts(world, &name, "G"), expected, "{name}");
        world.run(&format!("{name} drops"));
    }
    let named: Vec<usize> = world.history("alice", "G", Page::oldest(100)).iter().map(|m| m.to.len()).collect();
    assert_eq!(named, sent.iter().map(|(_, named)| *named).collect::<Vec<_>>());
}

fn narrowed_world(config: Config, members: &[PeerId], sent: &[(usize, usize)]) -> World {
    let mut world = World::with(Config { members_max: 0, names_per_hour_max: 1 << 32, tell_sent: false, ..config });
    world.run("alice opens");
    world.create("alice", "G", Create::new(Shape::Group, members.to_vec()));
    for (from, named) in sent {
        send_narrowed(&mut world, members, *from, *named);
    }
    world
}

/// A hook that narrowed a group of 90,000 was obeyed live; the message was in no store, and after a restart in no log.
#[test]
fn row_41_recipients_of_a_group_of_90_000_are_there_after_a_restart() {
    let members = crowd(90_000);
    // Named in rows of their own, and as those who are left out: in rows, and in the entry.
    let sent = [(1, 44_999), (1, 45_002), (1, 89_999)];
    let mut world = narrowed_world(Config::default(), &members, &sent);
    world.restart();
    world.run("alice opens");
    assert_narrowed(&mut world, &sent, &[0, 1, 45_001, 45_003]);
    // And once their counts come from rows.
    world.run("wait 6s\nwait 6s");
    world.restart();
    world.run("alice opens");
    assert_narrowed(&mut world, &sent, &[0, 45_002]);
    assert_eq!(damaged(&world.log), 0);
}

/// Each way in which a list of recipients is kept, and both sides of where it becomes another.
#[test]
fn row_41_recipients_on_the_edges_are_there_after_a_restart() {
    let members = crowd(6_100);
    let sent = [(1, 0), (1, 1_000), (1, 1_001), (1, 3_000), (1, 3_001), (1, 3_050), (1, 3_051), (1, 6_099), (0, 6_100)];
    let mut world = narrowed_world(Config::default(), &members, &sent);
    world.restart();
    world.run("alice opens");
    assert_narrowed(&mut world, &sent, &[0, 1, 1_000, 1_001, 3_000, 3_001, 3_050, 3_051, 3_052, 6_099]);
    assert_eq!(damaged(&world.log), 0);
}

/// Who came later is not among those who were not left out.
#[test]
fn row_41_a_newcomer_reads_nothing_that_was_for_most_of_the_others() {
    let members = crowd(2_000);
    let config = Config { history: HistoryScope::Everything, ..Config::default() };
    let mut world = narrowed_world(config, &members, &[(1, 1_999), (0, 999)]);
    world.run("newcomer opens\nnewcomer joins G\nalice> @G: to all");
    world.restart();
    world.run("alice opens\nnewcomer opens\nm00000 opens\nm01999 opens");
    assert_eq!(texts(&mut world, "newcomer", "G"), ["to all"]);
    assert_eq!(texts(&mut world, "m00000", "G"), ["to 999 from 0", "to all"]);
    assert_eq!(texts(&mut world, "m01999", "G"), ["to 1999 from 1", "to all"]);
}

/// Lists of recipients go with their messages.
#[test]
fn row_41_recipients_go_with_what_they_belong_to() {
    let members = crowd(8_000);
    let config = Config { retention_count: Some(3), chunk_bytes_max: 256, ..Config::default() };
    let mut world = narrowed_world(config, &members, &[(0, 4_000), (0, 3_001), (1_000, 3_500)]);
    assert_eq!(rows(&world, b'w'), 6, "two pages each");
    for n in 0..8 {
        world.run(&format!("alice> @G: {n}"));
    }
    world.run("wait 1m");
    assert!(!texts(&mut world, "alice", "G").iter().any(|text| text.starts_with("to ")));
    assert_eq!(rows(&world, b'w'), 0);
}

/// The row of a deletion outlived the message that it lay over, and all deletions there ever were stood in memory.
#[test]
fn a_deletion_holds_over_a_restart_and_goes_with_its_message() {
    let mut world = World::with(Config { retention_count: Some(3), chunk_bytes_max: 256, ..Config::default() });
    world.run("alice opens\nbob opens\nalice makes group G of bob");
    (0..3).for_each(|n| drop(world.run(&format!("alice> @G: m{n}"))));
    world.run("host deletes m1");
    assert_eq!(texts(&mut world, "alice", "G"), ["m0", "", "m2"]);
    world.restart();
    world.run("alice opens");
    assert_eq!((texts(&mut world, "alice", "G"), rows(&world, b'x')), (vec!["m0".into(), "".into(), "m2".into()], 1));
    (3..12).for_each(|n| drop(world.run(&format!("alice> @G: m{n}"))));
    world.run("wait 1m");
    assert_eq!(rows(&world, b'x'), 0);
}

/// 80,000 messages in turns, never marked as read, made a row that no store took: all were unread after a restart, one's own
/// too. The index of so many, read back from the logs, was another such row.
#[test]
fn row_41_what_80_000_messages_in_turns_leave_is_there_after_a_restart() {
    let mut world = World::with(Config { tell_sent: false, ..Config::default() });
    let (alice, bob) = (peer("alice"), peer("bob"));
    let count = 80_000;
    for n in 0..count / 2 {
        for (from, to) in [(&alice, &bob), (&bob, &alice)] {
            world.engine.send_as(from, Draft::to_peer(to.clone(), "x"), world.now).unwrap();
        }
        if n % 500 == 0 {
            world.engine.commit(world.now).unwrap();
            while world.engine.poll_output().is_some() {}
        }
    }
    world.engine.commit(world.now).unwrap();
    while world.engine.poll_output().is_some() {}
    // Alice has read the first of her own, as it was next.
    let unread = [40_000, 40_000];
    for round in ["from the logs", "from the rows"] {
        assert_eq!([&alice, &bob].map(|peer| world.engine.unread_count(peer)), unread, "{round}");
        world.restart();
        assert_eq!([&alice, &bob].map(|peer| world.engine.unread_count(peer)), unread, "{round}, after a restart");
        world.run("wait 6s\nwait 6s");
    }
    assert_eq!(damaged(&world.log), 0);
    // Of 40,000 own messages between those of the other the newest are known one by one, and the rest by their number.
    assert_eq!(rows(&world, b'r'), 2, "a page each");
    world.run("alice opens");
    world.label_direct(&alice, std::slice::from_ref(&bob));
    world.run("alice reads alice+bob\nwait 6s");
    world.restart();
    assert_eq!([&alice, &bob].map(|peer| world.engine.unread_count(peer)), [0, 40_000]);
}

/// A device that acknowledged every second of many messages gets exactly the others again, from as many rows as that takes.
#[test]
fn row_41_a_device_with_thousands_of_holes_is_there_after_a_restart() {
    let limits = Config { acknowledged_beyond_max: 10_000, offline_messages_max: 10_000, ..Config::default() };
    let mut world = World::with(Config { tell_sent: false, ..limits });
    world.run("alice opens\nbob/phone opens");
    let count = 3_200;
    for n in 0..count {
        accepted(&mut world, "alice", Draft::to_peer(peer("bob"), format!("m{n}")));
    }
    let every_second: Vec<_> = world.client("bob/phone").unacknowledged.iter().copied().skip(1).step_by(2).collect();
    for messages in every_second.chunks(1_000) {
        world.request("bob/phone", Request::Acknowledge { messages: messages.to_vec(), read: false });
    }
    world.run("bob/phone drops");
    assert!(rows(&world, b'd') >= 3, "two pages, and one of alice: {} rows", rows(&world, b'd'));
    world.restart();
    let seen = world.run("bob/phone opens");
    let again: Vec<&str> = seen.iter().filter_map(|line| line.rsplit_once(": ").map(|(_, text)| text)).collect();
    let again: Vec<&str> = again.into_iter().filter(|text| text.starts_with('m')).collect();
    let expected: Vec<String> = (0..count).step_by(2).map(|n| format!("m{n}")).collect();
    assert_eq!(again, expected);
}

fn with_token(n: usize) -> Draft {
    Draft::to_peer(peer("bob"), format!("m{n}")).with_retry_token(RetryToken::new(&format!("t{n}")).unwrap())
}

/// After 1,000 further tokens the first was forgotten in silence; the promise says so now, and it is counted.
#[test]
fn row_46_the_last_thousand_tokens_are_known_and_what_goes_early_is_counted() {
    let mut world = World::with(Config { tell_sent: false, ..Config::default() });
    world.run("alice opens");
    for n in 1..=1_000 {
        assert_eq!(accepted(&mut world, "alice", with_token(n)), n as u64);
    }
    assert_eq!(accepted(&mut world, "alice", with_token(1)), 1, "among the last thousand");
    assert_eq!(world.engine.metrics().retry_tokens_forgotten, 0);
    assert_eq!(accepted(&mut world, "alice", with_token(1_001)), 1_001);
    assert_eq!(world.engine.metrics().retry_tokens_forgotten, 1);
    assert_eq!(accepted(&mut world, "alice", with_token(1)), 1_002, "forgotten");
    assert_eq!(accepted(&mut world, "alice", with_token(3)), 3);
    world.run("wait 6s");
    assert_eq!(rows(&world, b't'), 1_000, "the store forgets by the same rule");
    world.restart();
    world.run("alice opens");
    assert_eq!(accepted(&mut world, "alice", with_token(3)), 3);
    assert_eq!(accepted(&mut world, "alice", with_token(1)), 1_002);
    assert_eq!(accepted(&mut world, "alice", with_token(2)), 1_003, "forgotten");
}

/// A start read forgotten tokens back from the logs as if they were the newest, and forgot newer ones for them.
#[test]
fn row_46_a_crash_before_anything_is_swept_forgets_the_oldest() {
    let mut world = World::with(Config { tell_sent: false, retry_tokens_max: 300, ..Config::default() });
    world.run("alice opens");
    for n in 1..=1_000 {
        accepted(&mut world, "alice", with_token(n));
    }
    for round in 0..3 {
        world.restart();
        world.run("alice opens");
        for n in [701, 702, 900, 1_000] {
            assert_eq!(accepted(&mut world, "alice", with_token(n)), n as u64, "start {round}");
        }
        world.run("wait 6s");
        assert_eq!(rows(&world, b't'), 300, "start {round}");
    }
    assert_eq!(accepted(&mut world, "alice", with_token(700)), 1_001, "forgotten");
    world.run("wait 24h\nwait 1m");
    assert_eq!(rows(&world, b't'), 0, "a day later none is left");
    assert_eq!(accepted(&mut world, "alice", with_token(1_000)), 1_002);
}

/// Fewer are kept by a smaller setting, in the store too; none by 0.
#[test]
fn row_46_a_smaller_setting_forgets_what_is_over_it() {
    let mut world = World::with(Config { tell_sent: false, ..Config::default() });
    world.run("alice opens");
    for n in 1..=500 {
        accepted(&mut world, "alice", with_token(n));
    }
    world.run("wait 6s");
    for (max, first_known) in [(100, 401), (0, 501)] {
        world.config.retry_tokens_max = max;
        world.restart();
        world.run("alice opens\nwait 30s");
        assert!(max == 0 || rows(&world, b't') == max, "{} rows", rows(&world, b't'));
        let known = |n: usize| n >= first_known;
        for n in [400, 401, 500] {
            let number = accepted(&mut world, "alice", with_token(n));
            assert_eq!(number == n as u64, known(n), "{n} with {max}");
            if !known(n) {
                break;
            }
        }
    }
}
