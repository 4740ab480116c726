//! Persistent messages per second until they are durable: 64 messages to 16 groups, then one commit. The rivals keep a capped
//! queue for each recipient on bare sled, as the documents' 50 offline messages suggest: append, and evict the oldest.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput};
use switchboard::store::Durability;
use switchboard::store::sled::{SledOptions, SledStore};
use switchboard::{ConversationId, Create, Draft, Engine, Open, Request, SessionId, Shape, Timestamp};

use crate::hosts;

const MESSAGES: usize = 64;
const GROUPS: usize = 16;
/// Messages that a capped queue keeps.
const CAP: u64 = 50;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for (name, durability) in [("process", Durability::Process), ("fsync", Durability::Fsync)] {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            let folder = tempfile::tempdir().unwrap();
            let options = SledOptions::new(folder.path().join("store")).durability(durability).unwrap();
            let store = Arc::new(SledStore::open(options).unwrap());
            let mut talk = Talk::new(store);
            bencher.iter(|| talk.round());
        });
    }
    for (name, sync) in [("bare_sled_capped", false), ("bare_sled_flush", true)] {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            let folder = tempfile::tempdir().unwrap();
            let mut queues = Queues::new(folder.path());
            bencher.iter(|| queues.round(sync));
        });
    }
    group.finish();
}

/// An engine with some groups and one sender.
struct Talk {
    engine: Engine,
    now: Timestamp,
    sender: SessionId,
    groups: Vec<ConversationId>,
}

impl Talk {
    fn new(store: Arc<dyn switchboard::store::Store>) -> Self {
        let (mut engine, now) = hosts::engine_on(store);
        let sender = engine.open(Open::new(hosts::peer(0)), now).unwrap().0;
        let mut groups = Vec::new();
        for n in 0..GROUPS {
            let create = Create::new(Shape::Group, vec![hosts::peer(n + 1)]);
            let asked = engine.request(sender, Request::Create(create), now).unwrap();
            hosts::drain(&mut engine, now, |delivery| groups.extend(hosts::created(&delivery.update, asked)));
        }
        Self { engine, now, sender, groups }
    }

    fn round(&mut self) {
        for n in 0..MESSAGES {
            let draft = Draft::to_conversation(self.groups[n % GROUPS].clone(), hosts::body());
            self.engine.request(self.sender, Request::Send(draft), self.now).unwrap();
        }
        hosts::drain(&mut self.engine, self.now, |_| {});
    }
}

/// A queue of at most [`CAP`] rows for each of some recipients.
struct Queues {
    db: sled::Db,
    file: std::fs::File,
    next: Vec<u64>,
}

impl Queues {
    fn new(folder: &std::path::Path) -> Self {
        let db = sled::Config::new().path(folder.join("sled")).cache_capacity(64 << 20).open().unwrap();
        let file = std::fs::File::open(folder.join("sled").join("db")).unwrap();
        Self { db, file, next: vec![0; GROUPS] }
    }

    fn key(queue: usize, number: u64) -> [u8; 16] {
        (((queue as u128) << 64) | u128::from(number)).to_be_bytes()
    }

    fn round(&mut self, sync: bool) {
        for n in 0..MESSAGES {
            let queue = n % GROUPS;
            let number = self.next[queue];
            self.next[queue] += 1;
            self.db.insert(Self::key(queue, number), hosts::body().into_bytes()).unwrap();
            if let Some(oldest) = number.checked_sub(CAP) {
                self.db.remove(Self::key(queue, oldest)).unwrap();
            }
        }
        self.db.flush().unwrap();
        if sync {
            self.file.sync_data().unwrap();
        }
    }
}
