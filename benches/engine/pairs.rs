//! One to one over 10,000 random pairs of 10,000 peers, both ids looked up: the hub with a persistent message committed to
//! the memory store, and the same pairs with a transient one; the rival finds a channel in a dashmap.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use crossbeam_channel::bounded;
use dashmap::DashMap;
use switchboard::{Draft, PeerId};

use crate::hosts;

const PEERS: usize = 10_000;
const PAIRS: usize = 10_000;

pub(crate) fn benches(criterion: &mut Criterion) {
    let pairs = pairs();
    let mut group = criterion.benchmark_group("pairs");
    group.throughput(Throughput::Elements(PAIRS as u64));
    group.bench_function("crossbeam_dashmap", |bencher| {
        let channels: DashMap<String, _> =
            (0..PEERS).map(|n| (hosts::peer(n).to_string(), bounded::<Arc<String>>(256))).collect();
        let names: Vec<String> = (0..PEERS).map(|n| hosts::peer(n).to_string()).collect();
        bencher.iter(|| {
            for &(from, to) in &pairs {
                black_box(channels.get(&names[from]).unwrap());
                channels.get(&names[to]).unwrap().0.try_send(Arc::new(hosts::body())).unwrap();
                black_box(channels.get(&names[to]).unwrap().1.try_recv().unwrap());
            }
        });
    });
    let hub = hosts::hub();
    let sessions = hosts::sessions(&hub, PEERS);
    let names: Vec<PeerId> = (0..PEERS).map(hosts::peer).collect();
    let mut send = |name: &str, transient: bool| {
        group.bench_function(name, |bencher| {
            let (mut ready, mut updates) = (Vec::new(), Vec::with_capacity(8));
            bencher.iter(|| {
                for &(from, to) in &pairs {
                    let draft = Draft::to_peer(names[to].clone(), hosts::body());
                    sessions[from].send(if transient { draft.transient() } else { draft }).unwrap();
                    hosts::drain_ready(&hub, &mut ready, &mut updates);
                }
            });
        });
    };
    send("hub", false);
    send("hub_transient", true);
    group.finish();
}

/// The same pairs in every run.
fn pairs() -> Vec<(usize, usize)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % PEERS as u64).unwrap()
    };
    (0..PAIRS).map(|_| (next(), next())).map(|(a, b)| (a, if a == b { (b + 1) % PEERS } else { b })).collect()
}
