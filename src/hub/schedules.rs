//! Outboxes, the ready signal and the hand-over under a scheduler that tries orders of its own choice, many thousands of
//! them. A wake-up that some order loses leaves a consumer waiting for ever: a deadlock, which it reports with the order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::thread;

use super::delivery::{Delivery, Post};
use super::outbox::{Bounds, DrainState};
use super::shared::Signal;
use super::sync::Mutex;
use crate::error::Error;
use crate::id::{SessionId, Ticket};
use crate::output::{Audience, Class, Deliver, Output, SessionRef};
use crate::time::Timestamp;
use crate::update::Update;

const ORDERS: usize = 5_000;
const BOUNDS: Bounds =
    Bounds { events: 4, bytes: 256 * 1024, replies: 256, reply_bytes: 1024 * 1024, message_bytes: 5_376 };

fn orders(play: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(play, ORDERS);
}

fn post() -> Arc<Post> {
    Arc::new(Post::new(16, BOUNDS, (10, 10), Arc::default()))
}

fn session(slot: u32, generation: u32) -> SessionId {
    SessionId { node: 1, epoch: 2, slot, generation }
}

fn to(session: SessionId, update: Update, class: Class) -> Output {
    let audience = Audience::One(SessionRef { slot: session.slot, generation: session.generation });
    Output::Deliver(Deliver { audience, update: Arc::new(update), class })
}

fn deliver(post: &Post, outputs: Vec<Output>) {
    let mut delivery = Delivery::default();
    delivery.batch = outputs;
    delivery.deliver_all(post);
    let wakes = delivery.announce(post);
    wakes.run(post);
}

fn message(number: u64) -> Update {
    Update::Reply { ticket: Ticket(number), result: Err(Error::Internal) }
}

fn drain(post: &Post, session: SessionId) -> (usize, DrainState) {
    let mut out = Vec::new();
    let (state, _) = post.drain(session, &mut out, 2);
    (out.len(), state)
}

#[test]
fn no_order_loses_the_wake_up_of_a_consumer_of_lists() {
    orders(|| {
        let (post, read) = (post(), Arc::new(AtomicUsize::new(0)));
        let sessions = [session(0, 1), session(1, 1)];
        sessions.iter().for_each(|session| drop(post.attach(*session, Timestamp::ZERO).unwrap()));
        let consumers: Vec<_> = (0..2)
            .map(|_| {
                let (post, read) = (Arc::clone(&post), Arc::clone(&read));
                thread::spawn(move || {
                    while let Some(list) = post.ready.recv() {
                        for session in list {
                            loop {
                                let (count, state) = drain(&post, session);
                                read.fetch_add(count, Ordering::SeqCst);
                                if state != DrainState::More {
                                    break;
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        for number in 0..3 {
            deliver(&post, sessions.iter().map(|session| to(*session, message(number), Class::Reply)).collect());
        }
        post.ready.close();
        consumers.into_iter().for_each(|consumer| consumer.join().unwrap());
        assert_eq!(read.load(Ordering::SeqCst), 6);
    });
}

#[test]
fn no_order_loses_the_wake_up_of_a_thread_that_waits_for_one_session() {
    orders(|| {
        let (post, only) = (post(), session(0, 1));
        drop(post.attach(only, Timestamp::ZERO).unwrap());
        let consumer = {
            let post = Arc::clone(&post);
            thread::spawn(move || {
                let mut read = 0;
                while read < 3 {
                    while !post.wait(only, thread::current()) {
                        thread::park();
                    }
                    read += drain(&post, only).0;
                }
            })
        };
        (0..3).for_each(|number| deliver(&post, vec![to(only, message(number), Class::Reply)]));
        consumer.join().unwrap();
    });
}

/// Whoever is pushed off reads why in every order of the push, of the new tenant and of its own look.
#[test]
fn in_no_order_is_an_end_lost_with_its_place() {
    orders(|| {
        let (post, old, new) = (post(), session(0, 1), session(0, 2));
        drop(post.attach(old, Timestamp::ZERO).unwrap());
        let loser = {
            let post = Arc::clone(&post);
            thread::spawn(move || {
                let mut out = Vec::new();
                loop {
                    while !post.wait(old, thread::current()) {
                        thread::park();
                    }
                    if post.drain(old, &mut out, 2).0 == DrainState::Closed {
                        return out;
                    }
                }
            })
        };
        let opens = {
            let post = Arc::clone(&post);
            thread::spawn(move || post.attach(new, Timestamp::ZERO).unwrap().iter().for_each(|thread| thread.unpark()))
        };
        let why = || Update::Closed { error: Some(Error::SessionConflict) };
        deliver(&post, vec![to(old, why(), Class::Reply), Output::Close { session: old }]);
        opens.join().unwrap();
        assert_eq!(loser.join().unwrap().last().map(|last| (**last).clone()), Some(why()));
    });
}

/// The end of a hub reaches who waits for a list, and who waits for one session.
#[test]
fn in_no_order_does_a_consumer_sleep_through_the_end() {
    orders(|| {
        let (post, only) = (post(), session(0, 1));
        drop(post.attach(only, Timestamp::ZERO).unwrap());
        let lists = {
            let post = Arc::clone(&post);
            thread::spawn(move || while post.ready.recv().is_some() {})
        };
        let one = {
            let post = Arc::clone(&post);
            thread::spawn(move || {
                while drain(&post, only).1 != DrainState::Closed {
                    while !post.wait(only, thread::current()) {
                        thread::park();
                    }
                }
            })
        };
        deliver(&post, vec![to(only, message(1), Class::Reply)]);
        post.finish();
        lists.join().unwrap();
        one.join().unwrap();
    });
}

/// What is staged is handed to the thread that commits, whatever it was doing; and it hears of the end.
#[test]
fn no_order_leaves_what_is_staged_with_a_commit_thread_that_sleeps() {
    #[derive(Default)]
    struct Staged {
        waiting: usize,
        ended: bool,
    }
    orders(|| {
        let (signal, staged) = (Arc::new(Signal::new()), Arc::new(Mutex::new(Staged::default())));
        let commits = {
            let (signal, staged) = (Arc::clone(&signal), Arc::clone(&staged));
            thread::spawn(move || {
                let mut written = 0;
                loop {
                    let (batch, ended) = {
                        let mut staged = staged.lock();
                        (std::mem::take(&mut staged.waiting), staged.ended)
                    };
                    written += batch;
                    match (batch, ended) {
                        (0, true) => return written,
                        (0, false) => signal.wait(std::time::Duration::MAX),
                        _ => {}
                    }
                }
            })
        };
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let (signal, staged) = (Arc::clone(&signal), Arc::clone(&staged));
                thread::spawn(move || {
                    for _ in 0..2 {
                        staged.lock().waiting += 1;
                        signal.wake();
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        staged.lock().ended = true;
        signal.wake();
        assert_eq!(commits.join().unwrap(), 4);
    });
}
