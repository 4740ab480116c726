//! Starting on what a store holds.

use std::ops::ControlFlow;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::config::Config;
use crate::conversation::ConversationKind;
use crate::cursor::Cursor;
use crate::engine::Engine;
use crate::event::Event;
use crate::id::{DeviceId, MessageId, PeerId, RetryToken};
use crate::log::{Found, LogReader};
use crate::rows::conversation::ConversationRow;
use crate::rows::deletion::DeletionRow;
use crate::rows::device::DeviceRow;
use crate::rows::entry::Stored;
use crate::rows::member::MemberRow;
use crate::rows::nonce::NonceRow;
use crate::rows::owed::OwedRow;
use crate::rows::peer::PeerRow;
use crate::rows::reads::ReadsRow;
use crate::rows::record::RecordError;
use crate::rows::token::TokenRow;
use crate::rows::{self, Row, cursors, keys, meta, upgrade};
use crate::state::conversation::{Conversation, Member};
use crate::state::owed::Owed;
use crate::state::peer::Device;
use crate::state::retry::Sent;
use crate::store::{Batch, Direction, Store, StoreError};
use crate::time::Timestamp;

/// What a start begins with.
pub(crate) struct Start {
    /// Which start of this store it is.
    pub(crate) epoch: u32,
    pub(crate) nonce_key: [u8; 16],
    pub(crate) seed: [u8; 32],
}

/// Counts the start, and makes the key under which nonces are stored; both are durable before anything else happens.
pub(crate) fn begin(store: &dyn Store, seed: [u8; 32]) -> Result<Start, StoreError> {
    let epoch = meta::STARTS.read(store)?.unwrap_or_default().wrapping_add(1);
    // The number of the start and the node go into the seed: the same seed never repeats an id or a token.
    let mut mixed = seed;
    mixed.iter_mut().zip(epoch.to_le_bytes()).for_each(|(byte, start)| *byte ^= start);
    let mut random = ChaCha20Rng::from_seed(mixed);
    let mut seed = [0; 32];
    random.fill_bytes(&mut seed);
    let mut nonce_key = [0; 16];
    random.fill_bytes(&mut nonce_key);
    let nonce_key = meta::NONCE_KEY.read(store)?.unwrap_or(nonce_key);

    let mut batch = Batch::default();
    upgrade::announce(store, &mut batch)?;
    meta::STARTS.put(&mut batch, &epoch);
    meta::NONCE_KEY.put(&mut batch, &nonce_key);
    store.apply(&batch)?;
    upgrade::finish(store)?;
    Ok(Start { epoch, nonce_key, seed })
}

impl Engine {
    /// Reads everything that lives in memory; messages stay in the store.
    pub(crate) fn load(&mut self) -> Result<(), StoreError> {
        self.narrows = meta::NARROWS.read(&*self.store)?.unwrap_or_default();
        self.load_peers()?;
        self.load_conversations()?;
        self.load_members()?;
        self.load_cursors()?;
        self.load_owed()?;
        self.load_heads()?;
        let tokens = self.load_tokens()?;
        self.replay(tokens)?;
        self.load_nonces()?;
        self.load_deletions()?;
        self.skip_what_may_be_lost()
    }

    /// Visits every readable row of a kind; the others are kept, counted and told.
    fn each_row(
        &mut self,
        letter: u8,
        mut visit: impl FnMut(&mut Self, &[u8], &[u8]) -> Result<(), RecordError>,
    ) -> Result<(), StoreError> {
        let store = std::sync::Arc::clone(&self.store);
        let all = keys::all(letter);
        store.scan(&all.start[..]..&all.end[..], Direction::Ascending, &mut |key, row| {
            if let Err(error) = visit(self, key, row) {
                self.tell(Event::RecordDamaged { error });
            }
            ControlFlow::Continue(())
        })
    }

    fn load_peers(&mut self) -> Result<(), StoreError> {
        self.each_row(PeerRow::LETTER, |engine, key, row| {
            let row: PeerRow<'_> = rows::open(key, row)?;
            let id = PeerId::with_max(row.id, usize::MAX).map_err(|_| RecordError::Malformed)?;
            let slot = engine.peers.restore(&id, keys::number(key, 0));
            engine.peers[slot].logged_out = row.logged_out;
            engine.peers[slot].wrote = row.wrote();
            Ok(())
        })
    }

    fn load_conversations(&mut self) -> Result<(), StoreError> {
        self.conversations.number_from(meta::NEXT_CONVERSATION.read(&*self.store)?.unwrap_or_default());
        self.each_row(ConversationRow::LETTER, |engine, key, row| {
            let row: ConversationRow<'_> = rows::open(key, row)?;
            let mut conversation = Conversation::from_row(keys::number(key, 0), &row)?;
            conversation.attributes = serde_json::from_str(row.attributes).unwrap_or_default();
            conversation.creator = engine.peers.by_number(row.creator);
            let members: Vec<u32> = row.members.iter().filter_map(|number| engine.peers.by_number(*number)).collect();
            conversation.active = members.len();
            conversation.members = members.iter().map(|peer| (*peer, Member::joined_after(0))).collect();
            if conversation.kind == ConversationKind::Direct {
                let mut names: Vec<PeerId> = members.iter().map(|peer| engine.peers[*peer].id.clone()).collect();
                names.sort_unstable();
                conversation.names = Some(names.into());
            }
            if let Some(creator) = conversation.creator {
                engine.peers[creator].made += 1;
            }
            let slot = engine.conversations.insert(conversation);
            engine.count_stored_room(slot);
            members.into_iter().for_each(|peer| engine.peers[peer].enter(slot));
            Ok(())
        })
    }

    fn load_members(&mut self) -> Result<(), StoreError> {
        self.each_row(MemberRow::LETTER, |engine, key, row| {
            let row: MemberRow = rows::open(key, row)?;
            let slot = engine.conversations.by_number(keys::number(key, 0));
            let peer = engine.peers.by_number(keys::number(key, 1));
            let (Some(slot), Some(peer)) = (slot, peer) else { return Ok(()) };
            let mut member = Member::from_row(&row);
            member.skip_absences();
            // What was written by a clock that was ahead must not outlive its age by that.
            member.left_at = member.left_at.map(|at| at.min(engine.now));
            engine.conversations.forget_set(slot);
            if let Some(left_at) = member.left_at {
                engine.former.entry(left_at).or_default().push((slot, peer));
            } else {
                engine.conversations[slot].active += 1;
                engine.peers[peer].groups += 1;
            }
            engine.conversations[slot].members.insert(peer, member);
            engine.conversations.note_set(slot);
            engine.peers[peer].enter_group(slot);
            Ok(())
        })
    }

    fn load_cursors(&mut self) -> Result<(), StoreError> {
        self.each_row(ReadsRow::LETTER, |engine, key, row| {
            let row: ReadsRow = rows::open(key, row)?;
            let Some(peer) = engine.peers.by_number(keys::number(key, 0)) else { return Ok(()) };
            engine.peers[peer].read_pages = engine.peers[peer].read_pages.max(keys::number(key, 2) + 1);
            for (conversation, cursor) in cursors::read(&row.cursors) {
                let slot = engine.conversations.by_number(conversation);
                if let Some(member) = slot.and_then(|slot| engine.conversations[slot].members.get_mut(&peer)) {
                    member.restore_reads(&cursor);
                }
            }
            Ok(())
        })?;
        self.each_row(DeviceRow::LETTER, |engine, key, row| {
            let row: DeviceRow<'_> = rows::open(key, row)?;
            let Some(peer) = engine.peers.by_number(keys::number(key, 0)) else { return Ok(()) };
            let (at, page) = (keys::number(key, 1) as usize, keys::number(key, 2));
            let id = match row.id {
                Some(id) => Some(DeviceId::new(id).map_err(|_| RecordError::Malformed)?),
                None => None,
            };
            let cursors: Vec<(u32, Cursor)> = cursors::read(&row.cursors)
                .into_iter()
                .filter_map(|(conversation, cursor)| Some((engine.conversations.by_number(conversation)?, cursor)))
                .collect();
            let devices = &mut engine.peers[peer].devices;
            if at > engine.config.devices_max {
                return Ok(());
            }
            // Places of devices that were forgotten stay empty until they are needed.
            while devices.len() <= at {
                devices.push(Device::unknown());
            }
            let device = &mut devices[at];
            device.id = id;
            device.seen_at = Timestamp::from_millis(row.seen_at).min(engine.now);
            device.pages = device.pages.max(page + 1);
            for (conversation, cursor) in cursors {
                device.cursors.entry(conversation).or_default().join(cursor);
            }
            Ok(())
        })
    }

    fn load_owed(&mut self) -> Result<(), StoreError> {
        self.each_row(OwedRow::LETTER, |engine, key, row| {
            let row: OwedRow = rows::open(key, row)?;
            let conversation = engine.conversations.by_number(keys::number(key, 1));
            let peers = engine.peers.by_number(keys::number(key, 0)).zip(engine.peers.by_number(row.by));
            match conversation.zip(peers) {
                Some((slot, (peer, by))) => drop(engine.peers[peer].owed.insert(slot, Owed::from_row(by, &row))),
                // Its conversation has ended.
                None => engine.gate.delete(key.to_vec()),
            }
            Ok(())
        })
    }

    /// Finds the last message of every log.
    fn load_heads(&mut self) -> Result<(), StoreError> {
        let store = std::sync::Arc::clone(&self.store);
        let mut reader = LogReader::new(&*store);
        let slots: Vec<u32> = self.conversations.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let head = reader.last_of(&self.conversations[slot].view(slot))?;
            let conversation = &mut self.conversations[slot];
            // Numbers that a power cut took count as given.
            let lost_to = conversation.lost.iter().last().map_or(0, |run| run.1);
            let (number, position, at) = head.unwrap_or((0, 0, Timestamp::ZERO));
            conversation.last_number = number.max(lost_to).max(conversation.first_number - 1);
            conversation.durable_number = conversation.last_number;
            conversation.last_position = position;
            conversation.last_at = at;
            self.position = self.position.max(position);
            self.stamp_after(at);
        }
        self.report_damage(reader.damaged);
        Ok(())
    }

    /// Brings cursors, tokens and index up to the last message: what came after they were last written is told by the logs.
    fn replay(&mut self, mut tokens: Vec<(u32, RetryToken, Sent)>) -> Result<(), StoreError> {
        let written_to = meta::WRITTEN_TO.read(&*self.store)?.unwrap_or_default();
        self.position = self.position.max(written_to);
        let store = std::sync::Arc::clone(&self.store);
        let mut reader = LogReader::new(&*store);
        let mut missed: Vec<(u32, Stored)> = Vec::new();
        for (slot, conversation) in self.conversations.iter() {
            if conversation.last_position > written_to {
                let view = conversation.view(slot);
                let first = reader.first_after(&view, written_to)?;
                reader.each_from(&view, first, &mut |found| match found {
                    Found::Stored(stored) => missed.push((slot, *stored)),
                    Found::Shared(_) => {}
                })?;
            }
        }
        self.report_damage(reader.damaged);
        missed.sort_by_key(|(_, stored)| stored.position);
        for (slot, stored) in missed {
            tokens.extend(self.replay_message(slot, &stored));
        }
        self.note_tokens(tokens);
        self.index.written_to = written_to;
        Ok(())
    }

    /// Counts a message that came after the rows; its token, where it has one.
    fn replay_message(&mut self, slot: u32, stored: &Stored) -> Option<(u32, RetryToken, Sent)> {
        let sender = self.peers.by_number(stored.from)?;
        self.peers[sender].wrote = true;
        let device = stored.device.as_ref().and_then(|device| DeviceId::new(device).ok());
        let narrowed = self.named(slot, stored.number, &stored.to);
        self.count_message(slot, stored.number, sender, device.as_ref(), narrowed.as_deref());
        let conversation = self.conversations[slot].number;
        let at = stored.timestamp.as_millis();
        self.index.note([stored.position, at, conversation, stored.number, stored.from]);
        let token = RetryToken::new(stored.token.as_ref()?).ok()?;
        let (id, number, timestamp) = (stored.id, stored.number, stored.timestamp);
        let noted_at = timestamp.min(self.now);
        Some((sender, token, Sent { conversation, id, number, timestamp, noted_at, changed: None, row: 0 }))
    }

    /// Notes the tokens of rows and of logs in the order in which they were used, so that of too many the oldest go. Rows of
    /// those that only a log tells are still to be written: it tells of them only until the cursors are.
    fn note_tokens(&mut self, mut tokens: Vec<(u32, RetryToken, Sent)>) {
        tokens.sort_by_key(|(.., sent)| sent.id);
        for (sender, token, sent) in tokens {
            if self.retry_tokens.find(sender, &token).is_none() {
                if sent.row == 0 {
                    self.index.tokens.push((sender, token.clone()));
                }
                self.retry_tokens.note(sender, token, sent);
            }
        }
    }

    /// The tokens whose rows say that they are still known.
    fn load_tokens(&mut self) -> Result<Vec<(u32, RetryToken, Sent)>, StoreError> {
        let limit = self.now - self.config.retry_token_after;
        let mut tokens = Vec::new();
        self.each_row(TokenRow::LETTER, |engine, key, row| {
            let row: TokenRow<'_> = rows::open(key, row)?;
            // The conversation may have ended; its number is taken all the same.
            engine.conversations.number_from(row.conversation.saturating_add(1));
            let sender = engine.peers.by_number(row.sender);
            let known = engine.conversations.by_number(row.conversation).is_some();
            let Some(sender) = sender.filter(|_| known) else { return Ok(()) };
            let token = RetryToken::new(row.token).map_err(|_| RecordError::Malformed)?;
            let (id, timestamp) = (MessageId::from_bytes(row.id), Timestamp::from_millis(row.at));
            let noted_at = Timestamp::from_millis(keys::number(key, 0));
            if noted_at >= limit {
                let (conversation, number, unique) = (row.conversation, row.number, keys::number(key, 1));
                let sent = Sent { conversation, id, number, timestamp, noted_at, changed: None, row: unique };
                tokens.push((sender, token, sent));
            }
            Ok(())
        })?;
        Ok(tokens)
    }

    fn load_nonces(&mut self) -> Result<(), StoreError> {
        self.each_row(NonceRow::LETTER, |engine, key, row| {
            let row: NonceRow = rows::open(key, row)?;
            engine.nonces.restore([row.nonce()]);
            Ok(())
        })
    }

    fn load_deletions(&mut self) -> Result<(), StoreError> {
        self.each_row(DeletionRow::LETTER, |engine, key, _| {
            if let Some(slot) = engine.conversations.by_number(keys::number(key, 0)) {
                engine.conversations[slot].overlay.is_in_store();
            }
            Ok(())
        })
    }

    /// Numbers that a power cut may have taken are not given again: numbering goes on above what was reserved.
    fn skip_what_may_be_lost(&mut self) -> Result<(), StoreError> {
        let reserved = meta::RESERVED.read(&*self.store)?.unwrap_or_default();
        if self.store.status().loss_possible && reserved > self.position {
            let skipped = reserved - self.position;
            self.position = reserved;
            let slots: Vec<u32> = self.conversations.iter().map(|(slot, _)| slot).collect();
            for slot in slots {
                let conversation = &mut self.conversations[slot];
                let last = conversation.last_number;
                conversation.lost.add(last + 1, last + skipped);
                conversation.last_number = last + skipped;
                conversation.durable_number = last + skipped;
                self.write_conversation(slot);
                self.gate.end_operation();
            }
        }
        self.reserve();
        Ok(())
    }
}

impl Config {
    /// Whether old messages are ever removed.
    pub(crate) fn has_retention(&self) -> bool {
        self.retention_age.is_some() || self.retention_count.is_some()
    }
}
