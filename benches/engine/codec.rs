//! Records and signatures, beside the bare primitives.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use switchboard::Timestamp;
use switchboard::probes::RecordProbe;
use switchboard::signature::{Action, Keys, Signer, Verifier};

use crate::hosts;

const KEY: &str = "the application's master key";

/// A check of an open's signature, beside an HMAC-SHA1 of the same string with a cached key.
pub(crate) fn signature(criterion: &mut Criterion) {
    let now = Timestamp::from_millis(1_700_000_000_000);
    let verifier = Verifier::new("app", Keys::new([KEY]).unwrap()).unwrap();
    let peer = hosts::peer(1);
    let action = Action::Open { peer: &peer, watch: &[], super_peer: false };
    let signature = Signer::new("app", KEY).unwrap().sign(&action, "4f0c1d", now).unwrap();
    let mut group = criterion.benchmark_group("signature");
    group.bench_function("engine", |bencher| {
        bencher.iter(|| verifier.verify(black_box(&action), black_box(&signature), now).unwrap());
    });
    let keyed = Hmac::<Sha1>::new_from_slice(KEY.as_bytes()).unwrap();
    let text = format!("app:{peer}::{}:4f0c1d", signature.timestamp);
    group.bench_function("bare_hmac", |bencher| {
        bencher.iter(|| {
            let mut mac = keyed.clone();
            mac.update(black_box(text.as_bytes()));
            mac.finalize().into_bytes()
        });
    });
    group.finish();
}

/// The record of a message with a body of 256 bytes, into and out of a chunk.
pub(crate) fn codec(criterion: &mut Criterion) {
    let mut probe = RecordProbe::new(hosts::BODY);
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |bencher| bencher.iter(|| probe.encode()));
    group.bench_function("decode", |bencher| bencher.iter(|| black_box(probe.decode())));
    group.finish();
}
