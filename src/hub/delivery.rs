//! The way of outputs to outboxes and channels.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::farewells::Farewells;
use super::outbox::{Bounds, DrainState, Outbox, weigh};
use super::ready::{ReadySignal, Wake};
use super::slots::Slots;
use super::supervised::HookCall;
use super::sync::{MutexGuard, Thread};
use crate::error::Error;
use crate::event::Event;
use crate::id::SessionId;
use crate::output::{Class, Deliver, Output, Push, SessionRef};
use crate::time::Timestamp;
use crate::update::Update;

/// What a [`Hub`](super::Hub) has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Updates put into outboxes.
    pub delivered: u64,
    /// Transient updates dropped because an outbox was full; each session is told its own by a [`Gap`](crate::Gap).
    pub transient_dropped: u64,
    /// Sessions that began to lag.
    pub overflows: u64,
    /// Sessions ended because they left more replies unread than they may.
    pub overruns: u64,
    /// Events that the host did not take in time.
    pub events_dropped: u64,
    /// Pushes that the host did not take in time.
    pub pushes_dropped: u64,
    /// Commits that succeeded.
    pub commits: u64,
    /// Commits that failed; each is tried again.
    pub commit_failures: u64,
    /// Reads of the store that failed.
    pub read_failures: u64,
    /// Times that the store could not do what was due by itself.
    pub upkeep_failures: u64,
    /// Store calls that took longer than [`Config::store_stall_after`](crate::Config::store_stall_after).
    pub stalls: u64,
    /// Hooks that took longer than [`HubConfig::hook_stall_after`](super::HubConfig::hook_stall_after).
    pub hook_stalls: u64,
}

/// The counters behind [`Metrics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    delivered: AtomicU64,
    transient_dropped: AtomicU64,
    overflows: AtomicU64,
    overruns: AtomicU64,
    events_dropped: AtomicU64,
    pushes_dropped: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) commit_failures: AtomicU64,
    pub(crate) read_failures: AtomicU64,
    pub(crate) upkeep_failures: AtomicU64,
    pub(crate) stalls: AtomicU64,
    pub(crate) hook_stalls: AtomicU64,
}

impl Counters {
    pub(crate) fn count(counter: &AtomicU64, by: u64) {
        if by > 0 {
            counter.fetch_add(by, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> Metrics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Metrics {
            delivered: get(&self.delivered),
            transient_dropped: get(&self.transient_dropped),
            overflows: get(&self.overflows),
            overruns: get(&self.overruns),
            events_dropped: get(&self.events_dropped),
            pushes_dropped: get(&self.pushes_dropped),
            commits: get(&self.commits),
            commit_failures: get(&self.commit_failures),
            read_failures: get(&self.read_failures),
            upkeep_failures: get(&self.upkeep_failures),
            stalls: get(&self.stalls),
            hook_stalls: get(&self.hook_stalls),
        }
    }
}

/// Where outputs go: outboxes, channels, the ready signal. Knows no engine.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) slots: Slots,
    pub(crate) bounds: Bounds,
    pub(crate) ready: ReadySignal,
    pub(crate) counters: Counters,
    /// Node and epoch of the engine, which all its session ids share.
    identity: OnceLock<(u16, u32)>,
    /// The unread ends of sessions whose place has a new tenant.
    pub(crate) farewells: Farewells,
    events: (Sender<Event>, Receiver<Event>),
    pushes: (Sender<Push>, Receiver<Push>),
}

/// The work of who holds the delivery lock; its lists are used again and again.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) batch: Vec<Output>,
    /// Sessions that began to lag, for the engine.
    pub(crate) overflows: Vec<(SessionRef, u64)>,
    /// Sessions that ended because they left too much unread, for the engine.
    pub(crate) overruns: Vec<SessionRef>,
    ready: Vec<SessionId>,
    wakes: Vec<Thread>,
}

/// Whom to wake once every lock is released.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Wakes {
    ready: Wake,
    threads: Vec<Thread>,
}

impl Post {
    pub(crate) fn new(
        sessions_max: usize,
        bounds: Bounds,
        (events_max, pushes_max): (usize, usize),
        hook: Arc<HookCall>,
    ) -> Self {
        Self {
            slots: Slots::new(sessions_max),
            bounds,
            ready: ReadySignal::new(hook),
            counters: Counters::default(),
            identity: OnceLock::new(),
            farewells: Farewells::default(),
            events: bounded(events_max.max(1)),
            pushes: bounded(pushes_max.max(1)),
        }
    }

    pub(crate) const fn events(&self) -> &Receiver<Event> {
        &self.events.1
    }

    pub(crate) const fn pushes(&self) -> &Receiver<Push> {
        &self.pushes.1
    }

    /// Opens an outbox for a session that the engine has just given its place. Under the engine's lock, so that nothing for
    /// it has been delivered yet.
    ///
    /// # Errors
    /// [`Error::OverLimit`] where the place lies beyond the table.
    pub(crate) fn attach(&self, session: SessionId, now: Timestamp) -> Result<Vec<Thread>, Error> {
        self.identity.get_or_init(|| (session.node, session.epoch));
        let over = Error::OverLimit { limit: "all_sessions_max", max: u64::from(session.slot) };
        let mut outbox = self.slots.lock_or_make(session.slot).ok_or(over)?;
        let (generation, left) = outbox.attach(session.generation);
        // Under the outbox's lock: whoever looks for the former tenant finds it in its place, or beside.
        Ok(self.farewells.keep(SessionId { generation, ..session }, left, now))
    }

    /// The outbox of a session that is, or was, at its place.
    pub(crate) fn outbox(&self, session: SessionId) -> Option<MutexGuard<'_, Outbox>> {
        if self.identity.get() != Some(&(session.node, session.epoch)) {
            return None;
        }
        self.slots.lock(session.slot)
    }

    /// Moves updates out, never taking another lock than the outbox's. Beside the state, whether the engine should hear of
    /// room.
    pub(crate) fn drain(&self, session: SessionId, out: &mut Vec<Arc<Update>>, max: usize) -> (DrainState, bool) {
        if let Some(mut outbox) = self.outbox(session).filter(|outbox| outbox.is_tenant(session.generation)) {
            return outbox.drain(out, max, &self.bounds);
        }
        (self.farewells.drain(session, out), false)
    }

    /// Whether there is something to drain, the end of the session included; if not, `thread` is woken when there is.
    pub(crate) fn wait(&self, session: SessionId, thread: Thread) -> bool {
        match self.outbox(session).filter(|outbox| outbox.is_tenant(session.generation)) {
            Some(mut outbox) => outbox.wait(session.generation, thread),
            None => self.farewells.wait(session, thread),
        }
    }

    /// The thread waits for this session no longer.
    pub(crate) fn forget_waiting(&self, session: SessionId, thread: &Thread) {
        if let Some(mut outbox) = self.outbox(session) {
            outbox.forget(session.generation, thread);
        }
        self.farewells.forget_waiting(session, thread);
    }

    /// Nobody will drain this session. Tells whether it was open.
    pub(crate) fn detach(&self, session: SessionId) -> bool {
        let mut woken = self.farewells.forget(session);
        let waiting = self.outbox(session).and_then(|mut outbox| outbox.detach(session.generation));
        let open = waiting.is_some();
        woken.extend(waiting.into_iter().flatten());
        woken.iter().for_each(|thread| thread.unpark());
        open
    }

    pub(crate) fn tell(&self, event: Event) {
        offer(&self.events.0, event, &self.counters.events_dropped);
    }

    /// Node and epoch of all ids; before the first session there are none.
    fn identity(&self) -> (u16, u32) {
        self.identity.get().copied().unwrap_or_default()
    }

    /// The id of a session that was attached.
    pub(crate) fn id(&self, session: SessionRef) -> SessionId {
        let (node, epoch) = self.identity();
        SessionId { node, epoch, slot: session.slot, generation: session.generation }
    }

    /// Ends every session: whoever is left reads why, and then closed.
    pub(crate) fn finish(&self) {
        let last = Arc::new(Update::Closed { error: Some(Error::Closed) });
        let mut delivery = Delivery::default();
        self.slots.for_each(|slot, outbox| {
            if let Some(generation) = outbox.finish(&last) {
                delivery.ready.push(self.id(SessionRef { slot, generation }));
            }
            outbox.take_waiting(&mut delivery.wakes);
        });
        delivery.ready.append(&mut self.farewells.finish(&last, &mut delivery.wakes));
        let wakes = delivery.announce(self);
        wakes.run(self);
        self.ready.close();
    }
}

fn offer<T>(channel: &Sender<T>, thing: T, dropped: &AtomicU64) {
    if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = channel.try_send(thing) {
        Counters::count(dropped, 1);
    }
}

impl Delivery {
    /// Delivers the batch, in order.
    pub(crate) fn deliver_all(&mut self, post: &Post) {
        let mut batch = std::mem::take(&mut self.batch);
        batch.drain(..).for_each(|output| self.perform(output, post));
        self.batch = batch;
    }

    fn perform(&mut self, output: Output, post: &Post) {
        match output {
            Output::Deliver(deliver) => self.deliver(&deliver, post),
            Output::Push(push) => offer(&post.pushes.0, push, &post.counters.pushes_dropped),
            Output::Event(event) => post.tell(event),
            Output::Live { session, catch_up } => {
                if let Some(mut outbox) = post.outbox(session) {
                    outbox.live(session.generation, catch_up);
                }
            }
            Output::Close { session } => self.close(session, post),
        }
    }

    fn deliver(&mut self, deliver: &Deliver, post: &Post) {
        let weight = weigh(&deliver.update);
        let (node, epoch) = post.identity();
        let (mut delivered, mut dropped) = (0, 0);
        let mut walk = post.slots.walk();
        deliver.audience.iter().for_each(|session| {
            let Some(mut outbox) = walk.lock(session.slot) else { return };
            if deliver.class == Class::Reply && !outbox.is_tenant(session.generation) {
                self.say_farewell(post.id(session), Some(&deliver.update), post);
                return;
            }
            let pushed = outbox.push(session.generation, &deliver.update, deliver.class, weight, &post.bounds);
            delivered += u64::from(pushed.queued);
            dropped += u64::from(pushed.dropped);
            if pushed.first {
                outbox.take_waiting(&mut self.wakes);
                self.ready.push(SessionId { node, epoch, slot: session.slot, generation: session.generation });
            } else if pushed.overflowed {
                self.overflows.push((session, position(deliver)));
                Counters::count(&post.counters.overflows, 1);
            } else if pushed.overrun {
                self.overruns.push(session);
                Counters::count(&post.counters.overruns, 1);
            }
        });
        Counters::count(&post.counters.delivered, delivered);
        Counters::count(&post.counters.transient_dropped, dropped);
    }

    fn close(&mut self, session: SessionId, post: &Post) {
        let Some(mut outbox) = post.outbox(session) else { return };
        if !outbox.is_tenant(session.generation) {
            self.say_farewell(session, None, post);
        } else if outbox.close(session.generation) {
            outbox.take_waiting(&mut self.wakes);
            self.ready.push(session);
        }
    }

    /// Something comes for a session whose place has a new tenant already; no update is its end without a reason.
    fn say_farewell(&mut self, session: SessionId, update: Option<&Arc<Update>>, post: &Post) {
        let over = update.is_none_or(|update| matches!(**update, Update::Closed { .. }));
        if post.farewells.arrive(session, update, over, &mut self.wakes) {
            self.ready.push(session);
        }
    }

    /// Hands the ready sessions to the signal, still in the order of delivery.
    pub(crate) fn announce(&mut self, post: &Post) -> Wakes {
        Wakes { ready: post.ready.announce(&mut self.ready), threads: std::mem::take(&mut self.wakes) }
    }
}

const fn position(deliver: &Deliver) -> u64 {
    match deliver.class {
        crate::output::Class::Logged { position } | crate::output::Class::Page { position, .. } => position,
        crate::output::Class::Reply | crate::output::Class::Transient => 0,
    }
}

impl Wakes {
    /// No lock may be held.
    pub(crate) fn run(self, post: &Post) {
        post.ready.wake(self.ready);
        self.threads.into_iter().for_each(|thread| thread.unpark());
    }
}
