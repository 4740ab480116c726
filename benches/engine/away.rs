//! Members who are away: one message to a group of them, and what one finds on coming back.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use switchboard::store::Durability;
use switchboard::store::sled::{SledOptions, SledStore};
use switchboard::{Create, Draft, Engine, Open, Request, SessionId, Shape, Timestamp, Update};

use crate::hosts;

/// Messages that wait for one who comes back.
const WAITING: usize = 50;

fn sled_engine(folder: &std::path::Path) -> (Engine, Timestamp) {
    let options = SledOptions::new(folder.join("store")).durability(Durability::Process).unwrap();
    hosts::engine_on(Arc::new(SledStore::open(options).unwrap()))
}

fn bare_sled(folder: &std::path::Path) -> sled::Db {
    sled::Config::new().path(folder.join("sled")).cache_capacity(64 << 20).open().unwrap()
}

/// One message to 1 or 1,000 members who are all away: one append here, a row for each of them on bare sled.
pub(crate) fn all_away(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("all_away");
    for size in [1, 1_000] {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("engine", size), |bencher| {
            let folder = tempfile::tempdir().unwrap();
            let (mut engine, now) = sled_engine(folder.path());
            let (sender, conversation) = group_of(&mut engine, now, size);
            bencher.iter(|| {
                let draft = Draft::to_conversation(conversation.clone(), hosts::body()).with_push("news");
                engine.request(sender, Request::Send(draft), now).unwrap();
                hosts::drain(&mut engine, now, |_| {});
            });
        });
        group.bench_function(BenchmarkId::new("bare_sled", size), |bencher| {
            let folder = tempfile::tempdir().unwrap();
            let db = bare_sled(folder.path());
            let mut number = 0u64;
            bencher.iter(|| {
                number += 1;
                for member in 0..size as u64 {
                    let key = [member.to_be_bytes(), number.to_be_bytes()].concat();
                    db.insert(key, hosts::body().into_bytes()).unwrap();
                }
                db.flush().unwrap();
            });
        });
    }
    group.finish();
}

fn group_of(engine: &mut Engine, now: Timestamp, size: usize) -> (SessionId, switchboard::ConversationId) {
    let sender = engine.open(Open::new(hosts::peer(0)), now).unwrap().0;
    let members = (1..=size).map(hosts::peer).collect();
    let asked = engine.request(sender, Request::Create(Create::new(Shape::Group, members)), now).unwrap();
    let mut made = None;
    hosts::drain(engine, now, |delivery| made = made.take().or(hosts::created(&delivery.update, asked)));
    (sender, made.unwrap())
}

/// What waits for a peer who comes back: 50 messages from 10 senders, read from a store that has them on disk and not in the
/// engine's memory. The rival scans a queue of 50 rows.
pub(crate) fn backlog(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("backlog");
    group.throughput(Throughput::Elements(WAITING as u64));
    group.bench_function("engine", |bencher| {
        let folder = tempfile::tempdir().unwrap();
        let (mut engine, now) = sled_engine(folder.path());
        let senders: Vec<_> = (0..10).map(|n| engine.open(Open::new(hosts::peer(n)), now).unwrap().0).collect();
        let mut away = 100;
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| {
                    away += 1;
                    return_of(&mut engine, now, &senders, away)
                })
                .sum()
        });
    });
    group.bench_function("bare_sled", |bencher| {
        let folder = tempfile::tempdir().unwrap();
        let db = bare_sled(folder.path());
        let mut peer = 0u64;
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                peer += 1;
                for number in 0..WAITING as u64 {
                    let key = [peer.to_be_bytes(), number.to_be_bytes()].concat();
                    db.insert(key, hosts::body().into_bytes()).unwrap();
                }
                let started = now();
                for row in db.scan_prefix(peer.to_be_bytes()) {
                    black_box(row.unwrap().1.to_vec());
                }
                spent += started.elapsed();
            }
            spent
        });
    });
    group.finish();
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

/// Fifty messages to a peer who is away, untimed; then its open until the last of them is out.
fn return_of(engine: &mut Engine, at: Timestamp, senders: &[SessionId], away: usize) -> Duration {
    for n in 0..WAITING {
        let draft = Draft::to_peer(hosts::peer(away), hosts::body());
        engine.request(senders[n % senders.len()], Request::Send(draft), at).unwrap();
    }
    hosts::drain(engine, at, |_| {});
    let started = now();
    engine.open(Open::new(hosts::peer(away)), at).unwrap();
    let mut seen = 0;
    hosts::drain(engine, at, |delivery| seen += usize::from(matches!(*delivery.update, Update::Message { .. })));
    let spent = started.elapsed();
    assert_eq!(seen, WAITING);
    spent
}
