//! Starting on what a store holds.

use std::ops::ControlFlow;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::config::Config;
use crate::conversation::ConversationKind;
use crate::cursor::Cursor;
use crate::engine::Engine;
use crate::event::Event;
use crate::id::{ConversationId, DeviceId, MessageId, PeerId, RetryToken};
use crate::log::{Found, LogReader, Stored};
use crate::record::{BorrowDecode, Encode, Kind};
use crate::rows::{ConversationRow, DeviceRow, MemberRow, OlderPeerRow, PeerRow, TokenRow, unflatten};
use crate::signature::UsedNonce;
use crate::state::conversation::{Conversation, Member};
use crate::state::peer::Device;
use crate::state::retry::Sent;
use crate::store::{Batch, Direction, Store, StoreError};
use crate::time::Timestamp;
use crate::{keys, record};

/// What a start begins with.
pub(crate) struct Start {
    /// Which start of this store it is.
    pub(crate) epoch: u32,
    pub(crate) nonce_key: [u8; 16],
    pub(crate) seed: [u8; 32],
}

/// The version of the rows that this engine writes.
const FORMAT: u32 = 1;

/// Counts the start, and makes the key under which nonces are stored; both are durable before anything else happens.
pub(crate) fn begin(store: &dyn Store, seed: [u8; 32]) -> Result<Start, StoreError> {
    let format = meta::<u32>(store, "format")?.unwrap_or(FORMAT);
    if format != FORMAT {
        return Err(StoreError::Format { path: "engine".into(), found: format, expected: FORMAT });
    }
    let epoch = meta::<u32>(store, "starts")?.unwrap_or_default().wrapping_add(1);
    // The number of the start and the node go into the seed: the same seed never repeats an id or a token.
    let mut mixed = seed;
    mixed.iter_mut().zip(epoch.to_le_bytes()).for_each(|(byte, start)| *byte ^= start);
    let mut random = ChaCha20Rng::from_seed(mixed);
    let mut seed = [0; 32];
    random.fill_bytes(&mut seed);
    let mut nonce_key = [0; 16];
    random.fill_bytes(&mut nonce_key);
    let nonce_key = meta::<[u8; 16]>(store, "nonce_key")?.unwrap_or(nonce_key);

    let mut batch = Batch::default();
    put_meta(&mut batch, "format", &FORMAT)?;
    put_meta(&mut batch, "starts", &epoch)?;
    put_meta(&mut batch, "nonce_key", &nonce_key)?;
    store.apply(&batch)?;
    Ok(Start { epoch, nonce_key, seed })
}

fn meta<T: for<'a> BorrowDecode<'a, ()>>(store: &dyn Store, name: &str) -> Result<Option<T>, StoreError> {
    let key = keys::meta(name);
    let Some(row) = store.get(&key)? else { return Ok(None) };
    match record::open(Kind::Meta, &key, &row) {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(StoreError::Corrupt { path: name.into(), reason: error.to_string() }),
    }
}

fn put_meta<T: Encode>(batch: &mut Batch, name: &str, value: &T) -> Result<(), StoreError> {
    let key = keys::meta(name);
    let row = record::seal(Kind::Meta, &key, value).map_err(|error| StoreError::Io(error.to_string()))?;
    batch.put(key, row);
    Ok(())
}

impl Engine {
    /// Reads everything that lives in memory; messages stay in the store.
    pub(crate) fn load(&mut self) -> Result<(), StoreError> {
        self.load_peers()?;
        self.load_conversations()?;
        self.load_members()?;
        self.load_cursors()?;
        self.load_heads()?;
        // Rows are older than what the logs tell beyond them: of too many tokens the oldest go.
        self.load_tokens()?;
        self.replay()?;
        self.load_nonces()?;
        self.load_deletions()?;
        self.skip_what_may_be_lost()
    }

    /// Visits every readable row of a kind; the others are kept, counted and told.
    fn each_row(
        &mut self,
        letter: u8,
        mut visit: impl FnMut(&mut Self, &[u8], &[u8]) -> Result<(), record::RecordError>,
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
        self.each_row(b'p', |engine, key, row| {
            let row = record::open::<PeerRow<'_>>(Kind::Peer, key, row).or_else(|error| {
                record::open::<OlderPeerRow<'_>>(Kind::Peer, key, row).map_or(Err(error), |r| Ok(r.into()))
            })?;
            let id = PeerId::with_max(row.id, usize::MAX).map_err(|_| record::RecordError::Malformed)?;
            let slot = engine.peers.restore(&id, keys::number(key, 0));
            engine.peers[slot].logged_out = row.logged_out;
            engine.peers[slot].wrote = row.wrote;
            Ok(())
        })
    }

    fn load_conversations(&mut self) -> Result<(), StoreError> {
        self.each_row(b'c', |engine, key, row| {
            let row: ConversationRow<'_> = record::open(Kind::Conversation, key, row)?;
            let id = ConversationId::new(row.id).map_err(|_| record::RecordError::Malformed)?;
            let kind = match row.kind {
                1 => ConversationKind::Direct,
                2 => ConversationKind::Group,
                3 => ConversationKind::Room,
                4 => ConversationKind::Temporary,
                _ => return Err(record::RecordError::Malformed),
            };
            let mut conversation = Conversation::new(id, kind, Timestamp::from_millis(row.created_at));
            conversation.number = keys::number(key, 0);
            conversation.unique = row.unique;
            conversation.name = row.name.map(str::to_owned);
            conversation.attributes = serde_json::from_str(row.attributes).unwrap_or_default();
            conversation.creator = engine.peers.by_number(row.creator);
            conversation.updated_at = Timestamp::from_millis(row.updated_at);
            conversation.expires_at = row.expires_at.map(Timestamp::from_millis);
            conversation.first_number = row.first_number;
            row.lost.chunks_exact(2).for_each(|run| conversation.lost.add(run[0], run[1]));
            let members: Vec<u32> = row.members.iter().filter_map(|number| engine.peers.by_number(*number)).collect();
            conversation.active = members.len();
            conversation.members = members.iter().map(|peer| (*peer, Member::joined_after(0))).collect();
            if kind == ConversationKind::Direct {
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
        self.each_row(b'g', |engine, key, row| {
            let row: MemberRow = record::open(Kind::Member, key, row)?;
            let slot = engine.conversations.by_number(keys::number(key, 0));
            let peer = engine.peers.by_number(keys::number(key, 1));
            let (Some(slot), Some(peer)) = (slot, peer) else { return Ok(()) };
            let mut member = Member::from_row(&row);
            member.skip_absences();
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
        self.each_row(b'r', |engine, key, row| {
            let row: DeviceRow<'_> = record::open(Kind::Cursors, key, row)?;
            let Some(peer) = engine.peers.by_number(keys::number(key, 0)) else { return Ok(()) };
            engine.peers[peer].read_pages = engine.peers[peer].read_pages.max(keys::number(key, 2) + 1);
            for (conversation, cursor) in unflatten(&row.cursors) {
                let slot = engine.conversations.by_number(conversation);
                if let Some(member) = slot.and_then(|slot| engine.conversations[slot].members.get_mut(&peer)) {
                    member.restore_reads(cursor);
                }
            }
            Ok(())
        })?;
        self.each_row(b'd', |engine, key, row| {
            let row: DeviceRow<'_> = record::open(Kind::Cursors, key, row)?;
            let Some(peer) = engine.peers.by_number(keys::number(key, 0)) else { return Ok(()) };
            let (at, page) = (keys::number(key, 1) as usize, keys::number(key, 2));
            let id = match row.id {
                Some(id) => Some(DeviceId::new(id).map_err(|_| record::RecordError::Malformed)?),
                None => None,
            };
            let cursors: Vec<(u32, Cursor)> = unflatten(&row.cursors)
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
            device.seen_at = Timestamp::from_millis(row.seen_at);
            device.pages = device.pages.max(page + 1);
            device.cursors.extend(cursors);
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
            // The ids of this life come after those of the last, which may have ended in this very millisecond.
            self.now = self.now.max(at + std::time::Duration::from_millis(1));
        }
        self.report_damage(reader.damaged);
        Ok(())
    }

    /// Brings cursors and tokens up to the last message: what came after they were last written is told by the logs.
    fn replay(&mut self) -> Result<(), StoreError> {
        let written_to = meta::<u64>(&*self.store, "written_to")?.unwrap_or_default();
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
            self.replay_message(slot, &stored);
        }
        self.index.written_to = written_to;
        Ok(())
    }

    fn replay_message(&mut self, slot: u32, stored: &Stored) {
        let Some(sender) = self.peers.by_number(stored.from) else { return };
        self.peers[sender].wrote = true;
        let device = stored.device.as_ref().and_then(|device| DeviceId::new(device).ok());
        let narrowed =
            stored.to.as_ref().map(|to| to.iter().filter_map(|n| self.peers.by_number(*n)).collect::<Vec<_>>());
        self.count_message(slot, stored.number, sender, device.as_ref(), narrowed.as_deref());
        let conversation = self.conversations[slot].number;
        let at = stored.timestamp.as_millis();
        self.index.entries.extend([stored.position, at, conversation, stored.number, stored.from]);
        let token = stored.token.as_ref().and_then(|token| RetryToken::new(token).ok());
        if let Some(token) = token.filter(|token| self.retry_tokens.find(sender, token).is_none()) {
            let sent =
                Sent { conversation, id: stored.id, number: stored.number, timestamp: stored.timestamp, changed: None };
            // Its row is still to be written: the log tells of it only until the cursors are.
            self.index.tokens.push(TokenRow {
                sender: stored.from,
                conversation,
                number: stored.number,
                at,
                id: *stored.id.as_bytes(),
                token: token.as_str().to_owned(),
            });
            self.retry_tokens.note(sender, token, sent);
        }
    }

    fn load_tokens(&mut self) -> Result<(), StoreError> {
        let limit = self.now - self.config.retry_token_after;
        self.each_row(b't', |engine, key, row| {
            let row: TokenRow = record::open(Kind::Tokens, key, row)?;
            let sender = engine.peers.by_number(row.sender);
            let known = engine.conversations.by_number(row.conversation).is_some();
            let Some(sender) = sender.filter(|_| known) else { return Ok(()) };
            let token = RetryToken::new(&row.token).map_err(|_| record::RecordError::Malformed)?;
            let timestamp = Timestamp::from_millis(row.at);
            if timestamp >= limit && engine.retry_tokens.find(sender, &token).is_none() {
                let id = MessageId::from_bytes(row.id);
                engine.retry_tokens.note(
                    sender,
                    token,
                    Sent { conversation: row.conversation, id, number: row.number, timestamp, changed: None },
                );
            }
            Ok(())
        })
    }

    fn load_nonces(&mut self) -> Result<(), StoreError> {
        self.each_row(b'n', |engine, key, row| {
            let bytes: [u8; UsedNonce::BYTES] = record::open(Kind::Nonces, key, row)?;
            engine.nonces.restore([UsedNonce::from_bytes(&bytes)]);
            Ok(())
        })
    }

    fn load_deletions(&mut self) -> Result<(), StoreError> {
        self.each_row(b'x', |engine, key, _| {
            if let Some(slot) = engine.conversations.by_number(keys::number(key, 0)) {
                let number = keys::number(key, 1);
                engine.conversations[slot].deleted.add(number, number);
            }
            Ok(())
        })
    }

    /// Numbers that a power cut may have taken are not given again: numbering goes on above what was reserved.
    fn skip_what_may_be_lost(&mut self) -> Result<(), StoreError> {
        let reserved = meta::<u64>(&*self.store, "reserved")?.unwrap_or_default();
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
