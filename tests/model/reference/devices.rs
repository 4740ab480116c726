//! Devices, and how far each has received.
//!
//! Only an acknowledgement moves a device's cursor. What it never acknowledged it is given again, what it has acknowledged it
//! is not; a device that nobody knows starts where its peer's furthest device is.

use std::collections::{BTreeMap, BTreeSet};

use super::{DAY, Model, Peer, limits};

/// What a device has acknowledged: everything up to a number, and some beyond it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) received: u64,
    pub(crate) beyond: BTreeSet<u64>,
}

impl Cursor {
    pub(crate) fn at(received: u64) -> Self {
        Self { received, beyond: BTreeSet::new() }
    }

    /// How far it is: first the number up to which nothing is missing, then the runs beyond.
    fn furthest(&self) -> (u64, Vec<(u64, u64)>) {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &number in &self.beyond {
            match runs.last_mut().filter(|run| run.1 + 1 == number) {
                Some(run) => run.1 = number,
                None => runs.push((number, number)),
            }
        }
        (self.received, runs)
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        number <= self.received || self.beyond.contains(&number)
    }

    pub(super) fn acknowledge(&mut self, first: u64, last: u64) {
        self.beyond.extend(first..=last);
        while self.beyond.contains(&(self.received + 1)) {
            self.received += 1;
        }
        let received = self.received;
        self.beyond.retain(|number| *number > received);
        // So many runs beyond a hole are remembered, the nearest ones.
        let (mut runs, mut before) = (0, 0);
        self.beyond.retain(|number| {
            runs += usize::from(before + 1 != *number);
            before = *number;
            runs <= limits::BEYOND
        });
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) id: Option<u8>,
    pub(crate) seen_at: u64,
    pub(crate) cursors: BTreeMap<usize, Cursor>,
    /// After a crash its acknowledgements may be lost, never more than those.
    pub(crate) uncertain: bool,
    /// It started at the cursors of uncertain devices.
    pub(crate) copied: bool,
}

impl Model {
    /// An unknown device starts at the furthest cursor of its peer; the one unseen for longest makes room.
    pub(super) fn note_device(&mut self, peer: Peer, id: Option<u8>) {
        let now = self.now;
        let uncertain = self.peer(peer).devices.iter().any(|device| device.uncertain);
        let fresh = Device { id, seen_at: now, cursors: self.furthest(peer), uncertain, copied: uncertain };
        let max = self.devices_max;
        let (in_doubt, shown) = (self.in_doubt, self.shown());
        let devices = &mut self.peer(peer).devices;
        match devices.iter().position(|device| device.id == id) {
            Some(at) if !in_doubt && devices[at].seen_at + 7 * DAY < shown => devices[at] = fresh,
            Some(at) => {
                // A crash may have taken that it was seen lately: then it starts like one unseen for too long.
                devices[at].copied |= devices[at].uncertain && devices[at].seen_at + 3 * DAY < now;
                devices[at].seen_at = now;
            }
            None if devices.len() < max => devices.push(fresh),
            None => {
                if let Some(oldest) = devices.iter_mut().min_by_key(|device| device.seen_at) {
                    *oldest = fresh;
                }
            }
        }
    }

    pub(super) fn furthest(&self, peer: Peer) -> BTreeMap<usize, Cursor> {
        let mut furthest: BTreeMap<usize, Cursor> = BTreeMap::new();
        for device in &self.peers[usize::from(peer)].devices {
            for (conversation, cursor) in &device.cursors {
                let best = furthest.entry(*conversation).or_insert_with(|| cursor.clone());
                if cursor.furthest() >= best.furthest() {
                    *best = cursor.clone();
                }
            }
        }
        furthest
    }

    pub(crate) fn device(&mut self, session: usize) -> Option<&mut Device> {
        let (peer, id) = (self.sessions[session].peer, self.sessions[session].device);
        self.peer(peer).devices.iter_mut().find(|device| device.id == id)
    }

    pub(super) fn seen(&mut self, session: usize) {
        let now = self.now;
        if let Some(device) = self.device(session) {
            device.seen_at = now;
        }
    }

    /// A device's cursor; one that the device has never moved stands where its peer became a member.
    pub(crate) fn cursor(&self, session: usize, conversation: usize) -> Cursor {
        let held = &self.sessions[session];
        let device = self.peers[usize::from(held.peer)].devices.iter().find(|device| device.id == held.device);
        let cursor = match device {
            Some(device) => device.cursors.get(&conversation).cloned(),
            None => self.furthest(held.peer).remove(&conversation),
        };
        cursor.unwrap_or_else(|| {
            let member = self.conversations[conversation].members.get(&held.peer);
            Cursor::at(member.and_then(|member| member.spans.first()).map_or(0, |span| span.0))
        })
    }

    pub(super) fn acknowledge_range(&mut self, session: usize, conversation: usize, first: u64, last: u64, seen: bool) {
        let mut cursor = self.cursor(session, conversation);
        cursor.acknowledge(first, last);
        if let Some(device) = self.device(session) {
            device.cursors.insert(conversation, cursor);
            if seen {
                self.seen(session);
            }
        }
    }
}
