//! Frames that wait for the transport.

use std::collections::VecDeque;
use std::sync::Arc;

use super::wire::{Address, Format};
use super::{Framing, Transmit};
use crate::time::Timestamp;

/// The body of a frame: one for all who get it.
pub(super) type Body = Arc<[u8]>;

/// A frame that waits. It is put together only when the transport takes it, so that a body that many get is there once.
#[derive(Debug)]
struct Waiting {
    address: Address,
    body: Body,
}

impl Waiting {
    /// What it counts for: its body, as if it were here alone, and its place.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.body.len()
    }
}

/// What waits to be sent, and how much it is.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    waiting: VecDeque<Waiting>,
    /// Bytes of the frames in `waiting`.
    bytes: usize,
    /// Signs of life that are to be answered: counted, for they need no memory.
    heartbeats: usize,
    /// Refusals that wait, with the time when they go out. Few: the last one that is allowed closes the connection.
    delayed: Vec<(Timestamp, Waiting)>,
}

impl Outgoing {
    /// Places that an empty queue may keep.
    const IDLE_ENTRIES_MAX: usize = 8;
    /// Bytes of the answer to a sign of life, about.
    const HEARTBEAT_BYTES: usize = 2;

    pub(super) fn push(&mut self, address: Address, body: Body) {
        self.queue(Waiting { address, body });
    }

    pub(super) const fn push_heartbeat(&mut self) {
        self.heartbeats += 1;
    }

    /// Keeps a frame back until a time.
    pub(super) fn delay(&mut self, at: Timestamp, address: Address, body: Body) {
        self.delayed.push((at, Waiting { address, body }));
    }

    /// Queues what was kept back until now.
    pub(super) fn release(&mut self, now: Timestamp) {
        let (due, later): (Vec<_>, _) = std::mem::take(&mut self.delayed).into_iter().partition(|(at, _)| *at <= now);
        self.delayed = later;
        due.into_iter().for_each(|(_, frame)| self.queue(frame));
    }

    /// Queues all that was kept back.
    pub(super) fn release_all(&mut self) {
        std::mem::take(&mut self.delayed).into_iter().for_each(|(_, frame)| self.queue(frame));
    }

    /// When the next frame that was kept back is due.
    pub(super) fn release_at(&self) -> Option<Timestamp> {
        self.delayed.iter().map(|(at, _)| *at).min()
    }

    /// The next frame to send. Signs of life go first.
    pub(super) fn pop(&mut self, format: &dyn Format, framing: Framing) -> Option<Transmit> {
        if self.heartbeats > 0 {
            self.heartbeats -= 1;
            return Some(framing.end(format.kind(), format.heartbeat().to_vec()));
        }
        let frame = self.waiting.pop_front()?;
        self.bytes -= frame.bytes();
        if self.waiting.is_empty() && self.waiting.capacity() > Self::IDLE_ENTRIES_MAX {
            self.waiting = VecDeque::new();
        }
        Some(framing.end(format.kind(), format.frame(&frame.address, &frame.body)))
    }

    /// Bytes that wait to be sent, with what keeping them takes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes + self.heartbeats * Self::HEARTBEAT_BYTES
    }

    /// The same, without the frame that goes next: it may be as long as it has to.
    pub(super) fn bytes_behind_the_first(&self) -> usize {
        self.bytes() - self.waiting.front().map_or(0, Waiting::bytes)
    }

    /// Whether all was sent but what is kept back.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.heartbeats == 0
    }

    /// Bytes that it holds: what waits, what is kept back, and free places.
    pub(super) fn held_bytes(&self) -> usize {
        let delayed: usize = self.delayed.iter().map(|(_, frame)| size_of::<Timestamp>() + frame.bytes()).sum();
        let free = (self.waiting.capacity() - self.waiting.len()) * size_of::<Waiting>();
        self.bytes + free + delayed
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn queue(&mut self, frame: Waiting) {
        self.bytes += frame.bytes();
        self.waiting.push_back(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Wire;

    fn body(text: &str) -> Body {
        text.as_bytes().into()
    }

    fn sent(outgoing: &mut Outgoing) -> Vec<String> {
        let format = Wire::V1.format();
        std::iter::from_fn(|| outgoing.pop(format, Framing::Messages))
            .map(|frame| String::from_utf8(frame.into_bytes()).unwrap())
            .collect()
    }

    #[test]
    fn signs_of_life_go_first_and_what_is_kept_back_when_it_is_due() {
        let at = Timestamp::from_millis;
        let mut outgoing = Outgoing::default();
        outgoing.delay(at(20), Address::default(), body("late"));
        outgoing.delay(at(10), Address::default(), body("early"));
        outgoing.push(Address::default(), body("now"));
        outgoing.push_heartbeat();
        outgoing.release(at(9));
        assert_eq!(
            (sent(&mut outgoing), outgoing.release_at()),
            (vec!["{}".to_owned(), "{now}".to_owned()], Some(at(10)))
        );
        outgoing.release(at(10));
        assert_eq!(sent(&mut outgoing), ["{early}"]);
        outgoing.release_all();
        assert_eq!((sent(&mut outgoing), outgoing.release_at()), (vec!["{late}".to_owned()], None));
    }

    #[test]
    fn what_waits_counts_with_its_place_and_is_given_back() {
        let mut outgoing = Outgoing::default();
        (0..1_000).for_each(|_| outgoing.push(Address::default(), body("")));
        assert_eq!(outgoing.bytes(), 1_000 * size_of::<Waiting>(), "a frame without a body is not free");
        assert!(outgoing.held_bytes() >= outgoing.bytes() && outgoing.held_bytes() <= 2_048 * size_of::<Waiting>());
        outgoing.delay(Timestamp::ZERO, Address::default(), body("x"));
        sent(&mut outgoing);
        assert_eq!((outgoing.bytes(), outgoing.is_empty()), (0, true));
        assert_eq!(outgoing.held_bytes(), size_of::<Timestamp>() + size_of::<Waiting>() + 1);
        outgoing.clear();
        assert_eq!(outgoing.held_bytes(), 0);
    }
}
