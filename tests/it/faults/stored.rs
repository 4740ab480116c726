//! Rows 12, 33, 34, 39 and 40: stores that fail, fill up, stand still or lose power, and the end of the engine.

use std::collections::BTreeSet;
use std::time::Duration;

use switchboard::store::Durability;
use switchboard::store::faulty::{Failure, FaultyStore};
use switchboard::{Config, Page};

use crate::world::World;

#[test]
fn row_12_a_damaged_record_is_told_and_its_neighbours_are_read() {
    let mut world = World::new();
    world.run("alice opens\nbob opens\nbob drops");
    for n in 1..=3 {
        world.run(&format!("alice> bob: m{n}"));
    }
    let chunks: Vec<Vec<u8>> = world.faults.keys().into_iter().filter(|key| key.first() == Some(&b'l')).collect();
    assert_eq!(chunks.len(), 3, "each commit is a chunk of its own");
    assert!(world.faults.corrupt(&chunks[1], 7));
    let seen = world.run("bob opens");
    assert!(seen.iter().any(|line| line.starts_with("host: record damaged")), "{seen:?}");
    assert!(seen.contains(&"bob <- gap in alice+bob: #2 to #2, 1 messages, lost".to_owned()), "{seen:?}");
    assert!(seen.contains(&"bob <- alice in alice+bob #1 (offline): m1".to_owned()), "{seen:?}");
    assert!(seen.contains(&"bob <- alice in alice+bob #3 (offline): m3".to_owned()), "{seen:?}");
    // Numbers are never given again, whatever a restart can read.
    world.restart();
    assert!(world.run("alice opens\nalice> bob: next").contains(&"alice <- accepted #4 in alice+bob".to_owned()));
}

/// What was acknowledged to alice, and what is in the log after the power came back.
fn after_a_power_cut(durability: Durability, seed: u64) -> (u64, u64, Vec<String>) {
    let mut world = World::on(Config::default(), FaultyStore::new(durability));
    world.run("alice opens\nbob opens");
    let mut acknowledged = 0;
    for n in 1..=40 {
        // The last one is on its way when the power goes.
        let step = if n % 8 == 0 { "commits off" } else { "commits on" };
        let seen = world.run(&format!("{step}\nalice> bob: m{n}"));
        acknowledged += seen.iter().filter(|line| line.starts_with("alice <- accepted")).count() as u64;
        if n == 20 {
            world.run("wait 6s");
            world.maintain();
        }
    }
    world.commits = true;
    let store = world.faults.power_cut(seed);
    world.restart_on(store);
    world.run("alice opens");
    let log = world.history("alice", "alice+bob", Page::oldest(1_000));
    let last = log.last().and_then(|message| message.number).unwrap_or_default();
    let texts = log.iter().map(|message| message.content.as_text().unwrap_or_default().to_owned()).collect();
    let next = world.run("alice> bob: next");
    let number: u64 = next[0].split('#').nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    assert!(number > last && number > if durability == Durability::Fsync { 0 } else { acknowledged });
    (acknowledged, last, texts)
}

#[test]
fn row_33_power_cut_takes_nothing_that_was_acknowledged_with_fsync() {
    for seed in 0..20 {
        let (acknowledged, last, texts) = after_a_power_cut(Durability::Fsync, seed);
        assert!(acknowledged >= 35 && last >= acknowledged, "{acknowledged} acknowledged, {last} kept");
        let expected: Vec<String> = (1..=last).map(|n| format!("m{n}")).collect();
        assert_eq!(texts, expected);
    }
}

#[test]
fn row_33_power_cut_in_process_mode_gives_no_number_twice() {
    let kept: BTreeSet<u64> = (0..20).map(|seed| after_a_power_cut(Durability::Process, seed).1).collect();
    assert!(kept.len() > 1, "some cuts take more than others: {kept:?}");
}

#[test]
fn row_34_disk_full_refuses_what_is_stored_and_nothing_else() {
    let mut world = World::new();
    world.run("alice opens\nbob opens watch alice\nalice makes room R\nbob joins R\nstore full");
    assert_eq!(world.run("alice> bob (retry t): caught"), ["host: store failed: the store is full"]);
    assert_eq!(world.run("alice> bob: refused"), ["refused: 4200 store unavailable"]);
    assert_eq!(world.run("alice makes group G"), ["refused: 4200 store unavailable"]);
    assert_eq!(world.run("alice> bob (transient): passes").len(), 2);
    assert_eq!(world.run("alice> @R: passes too").len(), 2);
    assert_eq!(world.run("bob asks for alice"), ["bob <- online: alice"]);
    // What a request saw staged it does not tell either.
    assert_eq!(world.run("bob unread"), [""; 0]);
    assert_eq!(world.run("carol opens\ncarol closes").len(), 4);
    let may_be = "failed: 4200 store timeout: may be stored";
    assert_eq!(world.run("wait 5s"), [format!("alice <- {may_be}"), format!("bob <- {may_be}")]);
    assert_eq!(world.run("alice drops\nwait 1s"), ["bob <- presence: online -, offline alice"]);
    // Space comes back: within one round everything goes on, without a restart.
    let seen = world.run("store has space");
    assert_eq!(seen, ["host: store recovered", "bob <- alice in alice+bob #1: caught"]);
    let seen = world.run("alice resumes\nalice> bob (retry t): caught\nalice> bob: taken\nalice history R oldest 5");
    assert!(seen.contains(&"alice <- accepted #1 in alice+bob".to_owned()), "{seen:?}");
    assert!(seen.contains(&"alice <- accepted #2 in alice+bob".to_owned()), "{seen:?}");
    assert_eq!(seen.last().unwrap(), "alice <- history: #1 passes too");
}

#[test]
fn row_34_each_kind_of_failure_stores_once() {
    for failure in [Failure::NotStored, Failure::MaybeAndNot, Failure::MaybeAndStored] {
        let mut world = World::new();
        world.run("alice opens\nbob opens");
        world.faults.fail_next(3, failure);
        let mut seen = world.run("alice> bob: m1");
        for _ in 0..3 {
            seen.extend(world.run("wait 1s"));
        }
        world.commit();
        seen.append(&mut world.log);
        assert_eq!(seen.iter().filter(|line| **line == "bob <- alice in alice+bob #1: m1").count(), 1, "{failure:?}");
        assert!(seen.contains(&"host: store recovered".to_owned()), "{failure:?}: {seen:?}");
        world.restart();
        assert_eq!(world.run("alice opens\nalice history alice+bob oldest 5")[1], "alice <- history: #1 m1");
    }
}

#[test]
fn row_39_a_store_that_stands_still_delays_only_what_it_keeps() {
    let mut world = World::new();
    world.run("alice opens\nbob opens watch alice\ncommits off");
    assert_eq!(world.run("alice> bob: waits"), [""; 0]);
    let commit = world.engine.begin_commit().expect("something is staged");
    assert!(world.engine.begin_commit().is_none(), "one at a time");
    assert_eq!(world.run("alice> bob (transient): passes").len(), 2);
    let seen = world.run("wait 4999ms\nwait 1ms");
    assert_eq!(seen, ["alice <- failed: 4200 store timeout: may be stored"]);
    assert_eq!(world.run("alice closes").len(), 3);
    assert_eq!(world.run("wait 1m"), ["bob <- presence: online -, offline alice"]);
    let now = world.now;
    world.engine.finish_commit(commit.run(), now);
    assert_eq!(world.run("commits on"), ["bob <- alice in alice+bob #1: waits"]);
}

#[test]
fn row_40_each_send_is_safe_or_failed_and_the_end_is_the_end() {
    let mut world = World::with(Config { tell_sent: false, ..Config::default() });
    world.run("alice opens\nbob opens\ncommits off");
    let mut acknowledged = 0;
    let count = |seen: Vec<String>| seen.iter().filter(|line| line.starts_with("alice <- accepted")).count();
    for n in 0..10_000 {
        acknowledged += count(world.run(&format!("alice> bob: m{n}")));
        if n % 1_000 == 999 {
            acknowledged += count(world.run("commit"));
        }
    }
    world.run("alice> bob: in flight");
    let seen = world.run("host shuts down");
    assert!(seen.contains(&"alice <- closed: 4200 shutting down".to_owned()), "{seen:?}");
    assert!(world.run("host shuts down").is_empty());
    assert_eq!(world.run("carol opens"), ["refused: 4200 shutting down"]);
    assert_eq!(world.run("host as alice> bob: too late"), ["refused: 4200 shutting down"]);
    world.commit();
    world.commits = true;
    world.restart();
    world.run("alice opens");
    assert_eq!(acknowledged, 10_000);
    let last = world.history("alice", "alice+bob", Page::newest(1))[0].number.unwrap();
    assert_eq!(last, 10_001, "what was in flight was staged, and the last commit kept it");
}

#[test]
fn row_40_a_kill_in_between_keeps_all_that_was_acknowledged() {
    let mut world = World::new();
    world.run("alice opens\nbob opens\nalice makes group G of bob");
    for n in 0..200u64 {
        world.commits = n % 3 != 0;
        world.run(&format!("alice> @G: m{n}"));
        if n % 20 == 19 {
            world.commits = true;
            world.restart();
            world.run("alice opens\nwait 50ms");
        }
    }
    let log = world.history("alice", "G", Page::oldest(1_000));
    let numbers: Vec<u64> = log.iter().filter_map(|message| message.number).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let ids: BTreeSet<_> = log.iter().map(|message| message.id).collect();
    assert_eq!(ids.len(), log.len());
    world.wait(Duration::from_secs(1));
}
