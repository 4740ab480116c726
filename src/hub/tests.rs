//! The way from outputs to consumers, without a machine.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::delivery::{Delivery, Post};
use super::outbox::{Bounds, DrainState};
use super::sync;
use crate::error::Error;
use crate::id::{SessionId, Ticket};
use crate::output::{Audience, Class, Deliver, Output, SessionRef};
use crate::time::Timestamp;
use crate::update::Update;

const BOUNDS: Bounds =
    Bounds { events: 256, bytes: 256 * 1024, replies: 256, reply_bytes: 1024 * 1024, message_bytes: 5_376 };

fn post() -> Post {
    Post::new(1_000_000, BOUNDS, (100, 100), Arc::default())
}

fn session(slot: u32, generation: u32) -> SessionId {
    SessionId { node: 1, epoch: 2, slot, generation }
}

fn reference(session: SessionId) -> SessionRef {
    SessionRef { slot: session.slot, generation: session.generation }
}

fn attach(post: &Post, slots: std::ops::Range<u32>) -> Vec<SessionId> {
    let all: Vec<_> = slots.map(|slot| session(slot, 1)).collect();
    all.iter().for_each(|session| drop(post.attach(*session, Timestamp::ZERO).unwrap()));
    all
}

fn many(sessions: &[SessionId]) -> Audience {
    Audience::Many { sessions: Arc::new(sessions.iter().copied().map(reference).collect()), except: None }
}

fn update(number: u64) -> Arc<Update> {
    Arc::new(Update::Reply { ticket: Ticket(number), result: Err(Error::Internal) })
}

fn number(update: &Update) -> u64 {
    match update {
        Update::Reply { ticket, .. } => ticket.0,
        other => panic!("{other:?}"),
    }
}

fn deliver(delivery: &mut Delivery, post: &Post, audience: &Audience, number: u64) {
    let class = Class::Logged { position: number };
    delivery.batch.push(Output::Deliver(Deliver { audience: audience.clone(), update: update(number), class }));
    delivery.deliver_all(post);
    let wakes = delivery.announce(post);
    wakes.run(post);
}

fn drain(post: &Post, session: SessionId) -> (Vec<Arc<Update>>, DrainState) {
    let mut out = Vec::new();
    let (state, _) = post.drain(session, &mut out, usize::MAX);
    (out, state)
}

#[test]
fn a_fan_out_announces_each_session_once_and_leaves_out_one() {
    let post = post();
    let all = attach(&post, 0..600);
    let mut delivery = Delivery::default();
    let Audience::Many { sessions, .. } = many(&all) else { unreachable!() };
    let audience = Audience::Many { sessions, except: Some(reference(all[300])) };
    deliver(&mut delivery, &post, &audience, 1);
    deliver(&mut delivery, &post, &audience, 2);
    let ready = post.ready.try_take();
    assert_eq!(ready.len(), 599);
    assert!(ready.is_sorted() && !ready.contains(&all[300]));
    assert_eq!(drain(&post, all[0]).0.len(), 2);
    assert_eq!(drain(&post, all[300]), (Vec::new(), DrainState::Empty));
    assert_eq!(post.counters.read().delivered, 2 * 599);
}

#[test]
fn the_former_tenant_of_a_place_still_reads_its_end() {
    let post = post();
    let (old, new) = (session(5, 1), session(5, 2));
    post.attach(old, Timestamp::ZERO).unwrap();
    let mut delivery = Delivery::default();
    let end = Arc::new(Update::Closed { error: Some(Error::SessionConflict) });
    delivery.batch.push(Output::Deliver(Deliver {
        audience: Audience::One(reference(old)),
        update: Arc::clone(&end),
        class: Class::Reply,
    }));
    delivery.batch.push(Output::Close { session: old });
    delivery.deliver_all(&post);
    delivery.announce(&post).run(&post);
    post.attach(new, Timestamp::ZERO).unwrap();
    deliver(&mut delivery, &post, &Audience::One(reference(old)), 1);
    deliver(&mut delivery, &post, &Audience::One(reference(new)), 2);
    assert_eq!(post.ready.try_take(), [old, new]);
    assert_eq!(drain(&post, old), (vec![end], DrainState::Closed));
    assert_eq!(drain(&post, old), (Vec::new(), DrainState::Closed));
    assert_eq!(drain(&post, new).0.len(), 1, "and nothing of the stranger's");
    assert_eq!(drain(&post, SessionId { node: 9, ..new }), (Vec::new(), DrainState::Closed), "another engine's");
}

/// A place that was given away while its end was on its way: the former tenant read closed, and never why.
#[test]
fn an_end_that_comes_after_its_place_is_gone_is_waited_for() {
    let post = post();
    let (old, new) = (session(5, 1), session(5, 2));
    post.attach(old, Timestamp::ZERO).unwrap();
    post.attach(new, Timestamp::ZERO).unwrap();
    assert_eq!(drain(&post, old), (Vec::new(), DrainState::Empty), "its end is still to come");
    assert!(!post.wait(old, sync::thread::current()));
    let mut delivery = Delivery::default();
    let end = Arc::new(Update::Closed { error: Some(Error::SessionConflict) });
    let audience = Audience::One(reference(old));
    delivery.batch.push(Output::Deliver(Deliver { audience, update: Arc::clone(&end), class: Class::Reply }));
    delivery.batch.push(Output::Close { session: old });
    delivery.deliver_all(&post);
    delivery.announce(&post).run(&post);
    assert_eq!(post.ready.try_take(), [old]);
    assert!(post.wait(old, sync::thread::current()));
    assert_eq!(drain(&post, old), (vec![end], DrainState::Closed));
    assert_eq!(drain(&post, new), (Vec::new(), DrainState::Empty));
}

#[test]
fn an_overflow_is_told_once_and_no_session_waits_for_another() {
    let post = post();
    let all = attach(&post, 0..2);
    let mut delivery = Delivery::default();
    let audience = many(&all);
    for number in 1..=600 {
        deliver(&mut delivery, &post, &audience, number);
        drain(&post, all[0]);
    }
    assert_eq!(delivery.overflows, [(reference(all[1]), 257)]);
    assert_eq!(drain(&post, all[1]).0.len(), 256);
    assert_eq!(post.counters.read().overflows, 1);
}

#[test]
fn the_end_of_the_hub_reaches_every_session() {
    let post = post();
    let all = attach(&post, 0..3);
    post.detach(all[1]);
    post.finish();
    assert_eq!(post.ready.recv(), Some(vec![all[0], all[2]]));
    assert_eq!(post.ready.recv(), None);
    let (out, state) = drain(&post, all[2]);
    assert_eq!(*out[0], Update::Closed { error: Some(Error::Closed) });
    assert_eq!(state, DrainState::Closed);
}

/// A wake-up lost anywhere between the push into an empty outbox and the consumer that sleeps shows as a consumer that
/// waits for ever, so here as a time-out.
#[test]
fn no_wake_up_is_lost_between_producer_and_consumers() {
    const SESSIONS: u32 = 50;
    const UPDATES: u64 = 20_000;
    let post = post();
    let all = attach(&post, 0..SESSIONS);
    let read = AtomicUsize::new(0);
    let lists = parking_lot::Mutex::new(HashMap::<SessionId, Vec<u64>>::new());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(list) = post.ready.recv() {
                    // One at a time, so that each session's updates stay in order in `lists`.
                    let mut lists = lists.lock();
                    for session in list {
                        let (out, _) = drain(&post, session);
                        read.fetch_add(out.len(), Ordering::SeqCst);
                        lists.entry(session).or_default().extend(out.iter().map(|update| number(update)));
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut delivery = Delivery::default();
            for number in 0..UPDATES {
                deliver(&mut delivery, &post, &Audience::One(reference(all[(number % 50) as usize])), number);
                if number % 100 == 0 {
                    // The consumers come to rest, so that the next update has to wake one.
                    let sent = usize::try_from(number + 1).unwrap();
                    let mut patience = 10_000;
                    while read.load(Ordering::SeqCst) < sent {
                        thread::sleep(Duration::from_millis(1));
                        patience -= 1;
                        assert!(patience > 0, "{} of {sent} were read", read.load(Ordering::SeqCst));
                    }
                }
            }
            assert!(delivery.overflows.is_empty());
            post.ready.close();
        });
    });
    let lists = lists.into_inner();
    assert_eq!(read.into_inner(), usize::try_from(UPDATES).unwrap());
    assert!(lists.values().all(|numbers| numbers.is_sorted()));
}

#[test]
fn a_thread_that_waits_for_one_session_is_woken_by_it() {
    let post = post();
    let all = attach(&post, 0..1);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut waits = 0;
            loop {
                let ready = post.outbox(all[0]).unwrap().wait(1, sync::thread::current());
                if ready {
                    return waits;
                }
                waits += 1;
                thread::park_timeout(Duration::from_secs(60));
            }
        });
        thread::sleep(Duration::from_millis(30));
        deliver(&mut Delivery::default(), &post, &Audience::One(reference(all[0])), 1);
        assert!(waiter.join().unwrap() >= 1);
    });
}
