//! Rows 49 and 58: deadlines by a clock that is behind the store, or set back; the end of a temporary conversation.

use std::time::Duration;

use switchboard::{Config, Page};

use crate::world::{START, World};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn has(seen: &[String], line: &str) -> bool {
    seen.iter().any(|seen| seen == line)
}

/// Everything that has its time happens in its time: nobody waits for the clock to catch up.
fn deadlines_hold(world: &mut World) {
    world.run("alice opens watch bob");
    let seen = world.run("bob opens\nwait 1s");
    assert!(has(&seen, "alice <- presence: online bob, offline -"), "{seen:?}");
    world.run("hook message defers\nalice> bob: asked\nhook message default");
    let seen = world.run("wait 3s");
    assert!(has(&seen, "host: hook message_received: Expired"), "{seen:?}");
    world.run("commits off\nalice> bob: slow");
    let seen = world.run("wait 5s");
    assert!(seen.iter().any(|line| line.starts_with("alice <- failed: 4200")), "{seen:?}");
    world.run("commits on\nalice makes temporary T for 60s of bob");
    let conversations = world.engine.metrics().conversations;
    world.run("wait 61s");
    assert_eq!(world.engine.metrics().conversations, conversations - 1);
    let sessions = world.engine.metrics().sessions;
    world.run("bob drops");
    world.wait(1_800 * SECOND);
    assert_eq!(world.engine.metrics().sessions, sessions - 1);
    world.run("alice> bob (retry t): once");
    world.wait(25 * HOUR);
    let again = world.run("alice> bob (retry t): once");
    assert!(!has(&again, "alice <- accepted #3 in alice+bob"), "the token is swept after a day: {again:?}");
}

/// Of a conversation, times and ids go up, whatever the clocks did.
fn order_holds(world: &mut World) {
    let log = world.history("alice", "alice+bob", Page::oldest(100));
    assert!(log.len() > 3);
    assert!(log.is_sorted_by(|a, b| a.timestamp <= b.timestamp && a.id < b.id), "{log:?}");
}

#[test]
fn row_49_a_store_that_is_ahead_of_the_clock_stops_no_timer() {
    // A message was stored while the host's clock was wrong: after a restart by the right clock nobody heard of anyone coming
    // or going, no deferred hook ended and no pause, for as long as the clock had been ahead.
    for ahead in [60 * SECOND, HOUR, 8 * DAY, 365 * DAY] {
        let mut world = World::new();
        world.now = START + ahead;
        world.run("alice opens\nalice> bob: from the future");
        world.now = START;
        world.restart();
        deadlines_hold(&mut world);
        order_holds(&mut world);
    }
}

#[test]
fn row_49_a_clock_that_is_set_back_by_an_hour_stops_no_timer() {
    // An operator set the clock back by an hour: for an hour nobody was told of presence, and no pause ended.
    let mut world = World::new();
    world.run("alice opens\nalice> bob: before");
    world.now = START - HOUR;
    world.wake();
    deadlines_hold(&mut world);
    order_holds(&mut world);
}

#[test]
fn row_49_a_deadline_that_runs_keeps_its_span_when_the_clock_is_set_back() {
    // The question was asked a second before the clock was set back: its three seconds became an hour and three seconds.
    let mut world = World::new();
    world.run("alice opens\nbob opens\nhook message defers\nalice> bob: asked\nwait 1s");
    world.now = world.now - HOUR;
    world.wake();
    assert!(world.run("wait 1999ms").is_empty());
    assert!(has(&world.run("wait 1ms"), "host: hook message_received: Expired"));
}

#[test]
fn row_49_a_signature_of_the_right_time_is_good_on_a_store_that_is_ahead() {
    // With a store a day ahead every signature was refused as too old, for a day.
    let signatures = switchboard::SignatureChecks { sessions: true, groups: false };
    let mut world = World::with(Config { signatures, ..Config::default() });
    world.now = START + DAY;
    world.run("alice opens signed n1\nhost as alice> bob: from the future");
    world.now = START;
    world.restart();
    assert_eq!(world.run("alice opens signed n2")[0], "alice <- opened, online: -");
    // Once it was forgotten, no clock makes it good again.
    world.wait(7 * HOUR);
    world.now = START;
    assert_eq!(world.run("alice opens signed n2")[0], "refused: 4102 signature failed");
}

#[test]
fn row_49_a_leap_that_was_a_mistake_deletes_nothing_once_the_clock_is_right_again() {
    // The clock leapt eight days ahead, was set right, and the host confirmed it: everything of a week was old then.
    let mut world = World::new();
    world.run("alice opens\nbob opens\nbob drops\nalice> bob: waits");
    world.jump(8 * DAY);
    world.now = START + SECOND;
    world.wake();
    world.run("host confirms time");
    assert_eq!(world.run("bob opens")[1], "bob <- alice in alice+bob #1 (offline): waits");
}

#[test]
fn row_38_a_leap_in_doubt_makes_no_device_a_stranger() {
    // By the leap the desk was unseen for eight days: it was given the phone's cursors, and never what waited for it.
    let mut world = World::new();
    world.run("bob opens\nalice/desk opens\nalice/phone opens\nalice/desk drops");
    world.run("bob> alice: waits for the desk\nalice/phone acks");
    world.jump(8 * DAY);
    assert!(has(&world.run("alice/desk opens"), "alice/desk <- bob in alice+bob #1 (offline): waits for the desk"));
}

#[test]
fn row_58_a_temporary_conversation_ends_when_it_says() {
    // Where its timer was late, or the time in doubt, a conversation took messages past its end, which then went with it.
    let mut world = World::new();
    world.run("alice opens\nbob opens\nalice makes temporary T for 60s of bob");
    world.now = START + 60 * SECOND;
    assert_eq!(world.run("alice> @T: at the end")[0], "alice <- accepted #1 in T");
    world.now = world.now + Duration::from_millis(1);
    for step in ["alice> @T: late", "alice> @T (transient): late", "alice history T newest 1", "alice reads T"] {
        assert_eq!(world.run(step), ["refused: 4323 temporary conversation expired"], "{step}");
    }
    assert_eq!(world.run("alice lists\nalice unread"), ["alice <- conversations: -", "alice <- unread: -"]);
    // Its members have another one at once.
    let made = world.run("alice makes temporary T2 for 60s of bob")[0].clone();
    assert!(made.starts_with("alice <- made T2"), "{made}");
    let found = world.run("bob makes temporary T3 for 60s of alice")[0].clone();
    assert!(found.starts_with("bob <- found T2"), "{found}");
    world.wake();
    assert_eq!(world.engine.metrics().conversations, 1);
    assert!(world.run("bob makes temporary T4 for 60s of alice")[0].starts_with("bob <- found T2"));
    // In doubt it stays, and takes nothing.
    world.jump(8 * DAY);
    assert_eq!(world.run("alice> @T2: late"), ["refused: 4323 temporary conversation expired"]);
    assert_eq!(world.engine.metrics().conversations, 1);
}
