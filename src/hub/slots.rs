//! The table of outboxes by slot: paged, so that it grows without moving and without a lock.

use std::sync::OnceLock;

use super::outbox::Outbox;
use super::sync::{Mutex, MutexGuard};

/// Outboxes of one page: 16 KiB.
const PAGE: usize = 256;
/// Pages of one shelf: 16 KiB of pointers.
const SHELF: usize = 1024;

/// One outbox under its lock, alone on its cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot(Mutex<Outbox>);

type Page = Box<[Slot]>;
type Shelf = Box<[OnceLock<Page>]>;

/// All outboxes. Slots are small and dense, so a place is two steps away and is never looked up in a map.
#[derive(Debug)]
pub(crate) struct Slots {
    shelves: Box<[OnceLock<Shelf>]>,
}

impl Slots {
    /// A table for slots up to `max`, which costs nothing until they are used.
    pub(crate) fn new(max: usize) -> Self {
        let shelves = max.div_ceil(PAGE * SHELF).max(1);
        Self { shelves: (0..shelves).map(|_| OnceLock::new()).collect() }
    }

    /// The outbox at `slot`, if anybody was ever there.
    #[inline]
    pub(crate) fn lock(&self, slot: u32) -> Option<MutexGuard<'_, Outbox>> {
        Some(self.page(slot)?.get(split(slot).2)?.0.lock())
    }

    #[inline]
    fn page(&self, slot: u32) -> Option<&Page> {
        let (shelf, page, _) = split(slot);
        self.shelves.get(shelf)?.get()?.get(page)?.get()
    }

    /// A way through many outboxes, cheapest in the order of their slots.
    pub(crate) const fn walk(&self) -> Walk<'_> {
        Walk { slots: self, at: u32::MAX, page: &[] }
    }

    /// The outbox at `slot`, made where there is none; `None` beyond the end of the table.
    pub(crate) fn lock_or_make(&self, slot: u32) -> Option<MutexGuard<'_, Outbox>> {
        let (shelf, page, place) = split(slot);
        let shelf = self.shelves.get(shelf)?.get_or_init(|| (0..SHELF).map(|_| OnceLock::new()).collect());
        let page = shelf.get(page)?.get_or_init(|| (0..PAGE).map(|_| Slot::default()).collect());
        Some(page.get(place)?.0.lock())
    }

    /// Locks each outbox in turn.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(u32, &mut Outbox)) {
        for (shelf_at, shelf) in self.shelves.iter().enumerate() {
            for (page_at, page) in shelf.get().into_iter().flatten().enumerate() {
                for (place, slot) in page.get().into_iter().flatten().enumerate() {
                    if let Ok(at) = u32::try_from((shelf_at * SHELF + page_at) * PAGE + place) {
                        visit(at, &mut slot.0.lock());
                    }
                }
            }
        }
    }
}

/// Remembers the page that it was at.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    slots: &'a Slots,
    at: u32,
    page: &'a [Slot],
}

impl<'a> Walk<'a> {
    /// The outbox at `slot`, if anybody was ever there.
    #[inline]
    pub(crate) fn lock(&mut self, slot: u32) -> Option<MutexGuard<'a, Outbox>> {
        let at = slot / PAGE as u32;
        if at != self.at {
            self.page = self.slots.page(slot)?;
            self.at = at;
        }
        Some(self.page.get(slot as usize % PAGE)?.0.lock())
    }
}

#[inline]
const fn split(slot: u32) -> (usize, usize, usize) {
    let slot = slot as usize;
    (slot / (PAGE * SHELF), slot / PAGE % SHELF, slot % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_made_when_they_are_first_used() {
        let slots = Slots::new(1_000_000);
        assert_eq!(size_of::<Slot>(), 64);
        assert!(slots.lock(0).is_none());
        for slot in [0, 255, 256, 300_000, 999_999] {
            assert!(slots.lock_or_make(slot).is_some());
            assert!(slots.lock(slot).is_some());
        }
        assert!(slots.lock_or_make(u32::MAX).is_none());
        let mut seen = Vec::new();
        slots.for_each(|slot, _| seen.push(slot));
        assert_eq!(seen.len(), 4 * PAGE);
        assert!(seen.contains(&300_000) && seen.is_sorted());
    }
}
