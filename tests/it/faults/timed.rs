//! Rows 25 and 38: what time takes away, and clocks that are wrong.

use std::time::Duration;

use switchboard::{Config, Page, Timestamp};

use crate::world::{START, World};

const DAY: Duration = Duration::from_secs(86_400);
const MILLI: Duration = Duration::from_millis(1);

fn waiting_for(span: Duration) -> Vec<String> {
    let mut world = World::new();
    world.run("alice opens\nbob opens\nbob drops\nalice> bob: waits");
    world.wait(span);
    world.run("bob opens")
}

#[test]
fn row_25_seven_days_less_a_second_are_kept_and_seven_days_are_not() {
    assert_eq!(waiting_for(7 * DAY - Duration::from_secs(1))[1], "bob <- alice in alice+bob #1 (offline): waits");
    assert_eq!(waiting_for(7 * DAY - MILLI)[1], "bob <- alice in alice+bob #1 (offline): waits");
    assert_eq!(waiting_for(7 * DAY)[2], "bob <- gap in alice+bob: #1 to #1, 1 messages, age");
}

#[test]
fn row_25_retention_gives_space_back_in_bounded_steps() {
    let config = Config { retention_age: Some(DAY), chunk_bytes_max: 256, tell_sent: false, ..Config::default() };
    let mut world = World::with(config);
    world.run("alice opens\nbob opens\nbob drops\ncommits off");
    for n in 0..20_000 {
        world.run(&format!("alice> bob: m{n}"));
        if n % 500 == 0 {
            world.commit();
            world.log.clear();
        }
    }
    world.commits = true;
    world.pump();
    let before = world.faults.keys().len();
    world.wait(2 * DAY);
    world.wait(Duration::from_secs(100));
    world.run("alice> bob: fresh");
    // Sweeping is called until nothing is due: each call does a bounded part, all of them everything.
    let most = (0..2_000).map(|_| sweep(&mut world)).max().unwrap();
    assert!(most <= 64 * 4, "{most} rows in one step");
    let after = world.faults.keys().len();
    assert!(after < before / 10, "{before} rows before, {after} after");
    assert_eq!(world.history("alice", "alice+bob", Page::newest(1))[0].content.as_text(), Some("fresh"));
    assert_eq!(world.run("alice> bob: and on")[0], "alice <- accepted #20002 in alice+bob");
    let seen = world.run("bob opens");
    assert!(seen.iter().any(|line| line.contains("gap in alice+bob: #1 to")), "{seen:?}");
    assert!(seen.contains(&"bob <- alice in alice+bob #20001 (offline): fresh".to_owned()), "{seen:?}");
}

/// One step of sweeping; how many rows it removed.
fn sweep(world: &mut World) -> usize {
    let before = world.faults.keys().len();
    world.now = world.engine.poll_timeout().unwrap_or(world.now).max(world.now);
    world.engine.handle_timeout(world.now);
    world.pump();
    before.saturating_sub(world.faults.keys().len())
}

#[test]
fn row_38_a_clock_that_goes_back_is_not_followed() {
    let mut world = World::new();
    world.run("alice opens\nbob opens\nalice> bob: m1");
    world.now = world.now - Duration::from_secs(3_600);
    world.run("alice> bob: m2");
    let log = world.history("alice", "alice+bob", Page::oldest(10));
    assert!(log[1].timestamp >= log[0].timestamp && log[1].id > log[0].id);
    // Whoever is paused meanwhile has all its thirty minutes, and no more.
    world.run("bob drops");
    world.now = START - Duration::from_secs(3_600 - 1_799);
    assert_eq!(world.run("bob resumes")[0], "bob <- opened, online: -");
    world.run("bob drops");
    world.now = world.now + Duration::from_secs(1_800);
    assert_eq!(world.run("bob resumes")[0], "refused: 4112 session token expired");
}

#[test]
fn row_38_a_leap_ahead_deletes_nothing_until_it_is_confirmed() {
    for leap in [Duration::from_secs(3_601), 8 * DAY] {
        let mut world = World::new();
        world.run("alice opens\nbob opens\nbob drops\nalice> bob: waits");
        world.jump(leap);
        assert!(world.log.iter().any(|line| line.starts_with("host: time jumped by")), "{:?}", world.log);
        assert_eq!(world.run("bob opens")[1], "bob <- alice in alice+bob #1 (offline): waits");
        world.run("host confirms time\nbob drops\nbob opens");
    }
    let mut world = World::new();
    world.run("alice opens\nbob opens\nbob drops\nalice> bob: waits");
    world.jump(8 * DAY);
    world.run("host confirms time");
    assert_eq!(world.run("bob opens")[2], "bob <- gap in alice+bob: #1 to #1, 1 messages, age");
}

#[test]
fn row_38_nonces_are_not_good_again_after_a_leap() {
    let signatures = switchboard::SignatureChecks { sessions: true, groups: false };
    let mut world = World::with(Config { signatures, ..Config::default() });
    assert_eq!(world.run("alice opens signed n"), ["alice <- opened, online: -"]);
    world.jump(8 * DAY);
    world.now = START;
    assert_eq!(world.run("alice opens signed n")[0], "refused: 4102 signature failed");
    world.restart();
    assert_eq!(world.run("alice opens signed n")[0], "refused: 4102 signature failed");
}

#[test]
fn row_38_2038_and_2106_are_days_like_any_other() {
    for second in [0x7fff_ffff_u64, 0xffff_ffff] {
        let mut world = World::new();
        world.run("alice opens\nbob opens\nbob drops");
        world.now = Timestamp::from_millis(second * 1_000 - 1_000);
        world.run("host confirms time");
        world.wake();
        world.run("host confirms time\nalice> bob: before");
        world.wait(Duration::from_secs(2));
        world.run("alice> bob: after");
        let seen = world.run("bob opens").join("\n");
        assert!(seen.contains("#1 (offline): before") && seen.contains("#2 (offline): after"), "{seen}");
        let log = world.history("alice", "alice+bob", Page::oldest(10));
        assert!(log[1].timestamp > log[0].timestamp && log[1].id > log[0].id);
    }
}
