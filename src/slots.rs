//! Dense tables: things by small integers, which are given again.

use std::ops::{Index, IndexMut};

/// A table whose places are reused. A place that holds nothing is never named by the engine: indexing one is a bug there.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
    /// How many empty places are not free.
    withheld: usize,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), withheld: 0 }
    }
}

impl<T> Slots<T> {
    /// Puts `value` in a free place.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.places[slot as usize] = Some(value);
            return slot;
        }
        self.places.push(Some(value));
        u32::try_from(self.places.len() - 1).expect("the settings bound every table to 32 bits")
    }

    /// Empties a place.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let value = self.places.get_mut(slot as usize)?.take();
        if value.is_some() {
            self.free.push(slot);
        }
        value
    }

    /// Empties a place that is not to be given again yet: [`release`](Self::release) follows.
    pub(crate) fn withhold(&mut self, slot: u32) -> Option<T> {
        let value = self.places.get_mut(slot as usize)?.take();
        self.withheld += usize::from(value.is_some());
        value
    }

    /// A place that was withheld is free.
    pub(crate) fn release(&mut self, slot: u32) {
        debug_assert!(self.get(slot).is_none() && self.withheld > 0);
        self.withheld -= 1;
        self.free.push(slot);
    }

    /// What is in a place.
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.places.get(slot as usize)?.as_ref()
    }

    /// What is in a place, to change.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.places.get_mut(slot as usize)?.as_mut()
    }

    /// How many places hold something.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len() - self.withheld
    }

    /// How many places there are, empty ones among them.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    /// Everything, to change.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().flatten()
    }

    /// Everything, by place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.places).filter_map(|(slot, place)| Some((slot, place.as_ref()?)))
    }
}

impl<T> Index<u32> for Slots<T> {
    type Output = T;
    fn index(&self, slot: u32) -> &T {
        self.get(slot).expect("a slot the engine holds")
    }
}

impl<T> IndexMut<u32> for Slots<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        self.get_mut(slot).expect("a slot the engine holds")
    }
}
