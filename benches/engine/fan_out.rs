//! One persistent message of 256 bytes to a group: sent, committed to the memory store, and drained by every member, in the
//! same iteration. The rival sends the same shared body through a bounded crossbeam channel for each member.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput};
use crossbeam_channel::{Receiver, Sender, bounded};
use dashmap::DashMap;
use switchboard::{Create, Draft, Open, Request, Shape};

use crate::hosts;

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out");
    for size in SIZES {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("crossbeam", size), |bencher| {
            let mut rival = Channels::new(size);
            bencher.iter(|| rival.send_and_drain("group"));
        });
        group.bench_function(BenchmarkId::new("hub", size), |bencher| {
            let hub = hosts::hub();
            let sessions = hosts::sessions(&hub, size + 1);
            let group = hosts::group(&sessions);
            let (mut ready, mut updates) = (Vec::new(), Vec::with_capacity(8));
            bencher.iter(|| {
                sessions[0].send(Draft::to_conversation(group.clone(), hosts::body())).unwrap();
                hosts::drain_ready(&hub, &mut ready, &mut updates)
            });
        });
        group.bench_function(BenchmarkId::new("engine", size), |bencher| engine(bencher, size));
    }
    group.finish();
}

/// What one member who never reads costs the others: the same fan-out to 10,000, with and without it.
pub(crate) fn slow_consumer(criterion: &mut Criterion) {
    const SIZE: usize = 10_000;
    let mut group = criterion.benchmark_group("slow_consumer");
    for (name, reads) in [("none", true), ("one", false)] {
        group.bench_function(BenchmarkId::new(name, SIZE), |bencher| {
            let hub = hosts::hub();
            let sessions = hosts::sessions(&hub, SIZE + 1);
            let group = hosts::group(&sessions);
            let slow = sessions[SIZE].id();
            let (mut ready, mut updates) = (Vec::new(), Vec::with_capacity(8));
            bencher.iter(|| {
                sessions[0].send(Draft::to_conversation(group.clone(), hosts::body())).unwrap();
                hub.ready().take_into(&mut ready);
                for session in ready.drain(..).filter(|session| reads || *session != slow) {
                    hub.drain(session, &mut updates, 8);
                    updates.clear();
                }
            });
        });
    }
    group.finish();
}

/// The bare engine: its host counts what each session gets.
fn engine(bencher: &mut criterion::Bencher<'_>, size: usize) {
    let (mut engine, now) = hosts::engine();
    let sessions: Vec<_> = (0..=size).map(|n| engine.open(Open::new(hosts::peer(n)), now).unwrap().0).collect();
    let members = (0..=size).map(hosts::peer).collect();
    let asked = engine.request(sessions[0], Request::Create(Create::new(Shape::Group, members)), now).unwrap();
    let mut group = None;
    hosts::drain(&mut engine, now, |delivery| group = group.take().or(hosts::created(&delivery.update, asked)));
    let group = group.unwrap();
    let mut heard = vec![0u64; size + 1];
    bencher.iter(|| {
        let draft = Draft::to_conversation(group.clone(), hosts::body());
        engine.request(sessions[0], Request::Send(draft), now).unwrap();
        hosts::drain(&mut engine, now, |delivery| {
            delivery.audience.iter().for_each(|session| heard[session.slot as usize] += 1);
        });
    });
    black_box(heard);
}

/// What a host without an engine would do: a channel for each session, and who is in which group.
struct Channels {
    groups: DashMap<String, Vec<Sender<Arc<String>>>>,
    receivers: Vec<Receiver<Arc<String>>>,
}

impl Channels {
    fn new(size: usize) -> Self {
        let (senders, receivers) = (0..size).map(|_| bounded(256)).unzip();
        let groups = DashMap::new();
        groups.insert("group".to_owned(), senders);
        Self { groups, receivers }
    }

    fn send_and_drain(&mut self, group: &str) {
        let body = Arc::new(hosts::body());
        for sender in self.groups.get(group).unwrap().iter() {
            sender.try_send(Arc::clone(&body)).unwrap();
        }
        for receiver in &self.receivers {
            while let Ok(body) = receiver.try_recv() {
                black_box(body);
            }
        }
    }
}
