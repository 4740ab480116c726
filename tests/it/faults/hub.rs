//! Rows 34 and 38 to 40 as a host meets them: through `Hub`, with its threads and outboxes.
#![expect(clippy::disallowed_methods, reason = "real threads are waited for in real time")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use switchboard::store::faulty::Faults;
use switchboard::{ConversationId, Draft, Error, Event, Open, Page, Reply, Request, SessionHandle, Ticket, Update};

use crate::house::{House, PATIENCE, answer, ask, open, read, text, wait_for};
use crate::world::peer;

/// Within what a hub goes on after a fault has passed.
const RECOVERY: Duration = Duration::from_secs(5);

fn to_bob(text: impl Into<String>) -> Draft {
    Draft::to_peer(peer("bob"), text.into())
}

/// The texts between alice and bob, oldest first.
fn stored(session: &SessionHandle) -> Vec<String> {
    let conversation = ConversationId::direct(&[peer("alice"), peer("bob")]);
    let mut texts = Vec::new();
    let mut page = Page::oldest(1_000);
    loop {
        let request = Request::History { conversation: conversation.clone(), page };
        let Ok(Reply::History { messages, more }) = ask(session, request) else { return texts };
        texts.extend(messages.iter().filter_map(|message| message.content.as_text().map(str::to_owned)));
        match messages.last().filter(|_| more) {
            Some(last) => page = Page::oldest(1_000).after(last.timestamp, last.id),
            None => return texts,
        }
    }
}

// Row 34.

#[test]
fn row_34_a_full_disk_behind_a_hub_refuses_what_it_keeps_and_recovers_by_itself() {
    let house = House::new();
    let (alice, bob) = (open(&house.hub, "alice"), open(&house.hub, "bob"));
    assert!(ask(&bob, Request::Watch { peers: vec![peer("carol")], signature: None }).is_ok());
    assert!(matches!(ask(&alice, Request::Send(to_bob("before"))), Ok(Reply::Accepted(_))));
    house.faults.set_full(true);
    let caught = alice.send(to_bob("caught")).unwrap();
    assert!(house.told(|event| matches!(event, Event::StoreFailed { .. })));
    assert_eq!(alice.send(to_bob("refused")), Err(Error::StoreUnavailable));
    // Presence, what is transient and closing go on.
    alice.send(to_bob("passes").transient()).unwrap();
    let first = wait_for(&bob, |update| text(update).filter(|text| text != "before"));
    assert_eq!(first, "passes");
    let carol = open(&house.hub, "carol");
    house.clock.advance(Duration::from_secs(1));
    wait_for(&bob, |update| matches!(update, Update::Presence { online, .. } if !online.is_empty()).then_some(()));
    carol.close();
    house.clock.advance(Duration::from_secs(5));
    assert_eq!(answer(&alice, caught), Err(Error::MayBeStored), "the sender is not left waiting");
    // Space comes back.
    house.faults.set_full(false);
    let freed = Instant::now();
    assert!(house.told(|event| *event == Event::StoreRecovered));
    while alice.send(to_bob("after")).is_err() {
        assert!(freed.elapsed() < RECOVERY, "it goes on by itself");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(freed.elapsed() < RECOVERY, "{:?}", freed.elapsed());
    wait_for(&bob, |update| (text(update)? == "after").then_some(()));
    let next = house.next();
    assert_eq!(
        stored(&open(&next.hub, "alice")),
        ["before", "caught", "after"],
        "each once, and none that was refused"
    );
}

// Row 38.

#[test]
fn row_38_a_leap_behind_a_hub_deletes_nothing_until_it_is_confirmed() {
    for leap in [Duration::from_secs(3_601), Duration::from_secs(8 * 86_400)] {
        let house = House::new();
        let alice = open(&house.hub, "alice");
        assert!(matches!(ask(&alice, Request::Send(to_bob("waits"))), Ok(Reply::Accepted(_))));
        house.clock.advance(leap);
        assert!(house.told(|event| matches!(event, Event::TimeJumped { .. })));
        let bob = open(&house.hub, "bob");
        assert_eq!(wait_for(&bob, text), "waits", "nothing is too old before the host says so");
        // Timers that delete nothing go on meanwhile.
        assert!(ask(&bob, Request::Watch { peers: vec![peer("alice")], signature: None }).is_ok());
        alice.close();
        house.clock.advance(Duration::from_secs(1));
        wait_for(&bob, |update| {
            matches!(update, Update::Presence { offline, .. } if !offline.is_empty()).then_some(())
        });
    }
}

// Row 39.

#[test]
fn row_39_a_store_that_stalls_for_a_minute_holds_up_nothing_else() {
    let house = House::new();
    let (alice, bob) = (open(&house.hub, "alice"), open(&house.hub, "bob"));
    assert!(ask(&bob, Request::Watch { peers: vec![peer("alice")], signature: None }).is_ok());
    house.faults.stall();
    let first = alice.send(to_bob("m0")).unwrap();
    house.faults.wait_until_stalled();
    let mut asked = vec![first];
    let mut passed = 0;
    for second in 1..=60 {
        house.clock.advance(Duration::from_secs(1));
        asked.extend(alice.send(to_bob(format!("m{second}"))));
        passed += usize::from(alice.send(to_bob("passes").transient()).is_ok());
        if second == 5 {
            // A call that takes five seconds is none that takes longer.
            house.clock.advance(Duration::from_millis(1));
            assert!(house.told(|event| *event == Event::StoreStalled), "the watchdog speaks within five seconds");
        }
    }
    house.clock.advance(Duration::from_secs(5));
    // Told from the other end: a failed send is answered after five seconds, one by one in their order.
    for ticket in &asked {
        assert_eq!(answer(&alice, *ticket), Err(Error::MayBeStored));
    }
    let mut heard = 0;
    while heard < passed {
        assert_eq!(wait_for(&bob, text), "passes", "nothing that is not safe");
        heard += 1;
    }
    assert_eq!(passed, 60);
    alice.close();
    house.clock.advance(Duration::from_secs(1));
    wait_for(&bob, |update| matches!(update, Update::Presence { offline, .. } if !offline.is_empty()).then_some(()));
    house.faults.release();
    let released = Instant::now();
    assert!(house.told(|event| *event == Event::StoreRecovered));
    let delivered: Vec<String> = (0..asked.len()).map(|_| wait_for(&bob, text)).collect();
    assert!(released.elapsed() < RECOVERY);
    let expected: Vec<String> = (0..asked.len()).map(|n| format!("m{n}")).collect();
    assert_eq!(delivered, expected, "each once, in order");
    assert_eq!(house.hub.metrics().stalls, 1);
}

#[test]
fn row_39_a_shutdown_does_not_wait_for_a_store_that_stalls() {
    let house = House::new();
    let alice = open(&house.hub, "alice");
    house.faults.stall();
    let asked = alice.send(to_bob("in flight")).unwrap();
    house.faults.wait_until_stalled();
    let started = Instant::now();
    let report = house.hub.shut_down(Duration::from_millis(500)).unwrap();
    assert!(started.elapsed() < RECOVERY, "{:?}", started.elapsed());
    assert!(!report.committed && !report.threads_left.is_empty(), "{report:?}");
    let told = read(&alice);
    let accepted =
        |update: &Arc<Update>| matches!(&**update, Update::Reply { ticket, result: Ok(_) } if *ticket == asked);
    assert!(!told.iter().any(accepted), "nothing is acknowledged that is not safe");
    assert!(matches!(told.last().map(|update| &**update), Some(Update::Closed { .. })));
    house.faults.release();
}

// Row 40.

/// Four threads send until the hub ends; what each was promised, by ticket.
fn send_until_the_end<'a>(
    senders: &'a [SessionHandle],
    sent: &AtomicUsize,
    end: impl FnOnce(),
) -> Vec<Vec<(Ticket, String)>> {
    thread::scope(|scope| {
        let threads: Vec<_> = senders
            .iter()
            .enumerate()
            .map(|(at, sender): (usize, &'a SessionHandle)| {
                scope.spawn(move || {
                    let mut taken = Vec::new();
                    loop {
                        let words = format!("{at}-{}", taken.len());
                        match sender.send(to_bob(words.clone())) {
                            Ok(ticket) => taken.push((ticket, words)),
                            Err(Error::Closed | Error::SessionRequired) => return taken,
                            Err(_) => thread::yield_now(),
                        }
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        end();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Ends a hub in the middle of 10,000 sends, after `trouble` for its store; what was acknowledged must be there.
fn end_in_flight(trouble: impl FnOnce(&Faults), whole: bool) {
    let house = House::new();
    let senders: Vec<SessionHandle> = (0..4).map(|_| open(&house.hub, "alice")).collect();
    let sent = AtomicUsize::new(0);
    let mut report = None;
    let taken = send_until_the_end(&senders, &sent, || {
        while sent.load(Ordering::Relaxed) < 5_000 {
            thread::yield_now();
        }
        trouble(&house.faults);
        while sent.load(Ordering::Relaxed) < 10_000 {
            thread::yield_now();
        }
        report = Some(house.hub.shut_down(Duration::from_secs(2)).unwrap());
    });
    let report = report.unwrap();
    assert_eq!(report.committed, whole, "{report:?}");
    let again = Instant::now();
    assert_eq!(house.hub.shut_down(PATIENCE).unwrap(), report, "a second end does nothing");
    assert!(again.elapsed() < Duration::from_secs(1));
    assert_eq!(house.hub.open(Open::new(peer("late"))).map(drop), Err(Error::Closed));
    assert_eq!(senders[0].send(to_bob("late")), Err(Error::Closed));
    let mut acknowledged = BTreeSet::new();
    for (sender, taken) in senders.iter().zip(&taken) {
        let told = read(sender);
        let answers: BTreeMap<Ticket, bool> = told
            .iter()
            .filter_map(|update| match &**update {
                Update::Reply { ticket, result } => Some((*ticket, result.is_ok())),
                _ => None,
            })
            .collect();
        for (ticket, words) in taken {
            match answers.get(ticket) {
                Some(true) => drop(acknowledged.insert(words.clone())),
                answer => assert!(!whole, "{words} has no receipt: {answer:?}"),
            }
        }
        assert!(matches!(told.last().map(|update| &**update), Some(Update::Closed { .. })));
    }
    drop(senders);
    house.faults.release();
    let next = house.next();
    let there = stored(&open(&next.hub, "alice"));
    let once: BTreeSet<String> = there.iter().cloned().collect();
    assert_eq!(once.len(), there.len(), "nothing is stored twice");
    let lost: Vec<_> = acknowledged.difference(&once).collect();
    assert!(lost.is_empty(), "acknowledged and not there: {lost:?}");
    println!(
        "row 40: {} sends taken, {} acknowledged, 0 lost",
        taken.iter().map(Vec::len).sum::<usize>(),
        acknowledged.len()
    );
}

#[test]
fn row_40_each_of_ten_thousand_sends_is_safe_or_failed_when_the_hub_ends() {
    end_in_flight(|_| {}, true);
    end_in_flight(Faults::stall, false);
    end_in_flight(|faults| faults.set_full(true), false);
}
