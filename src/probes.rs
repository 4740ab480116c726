//! What benchmarks reach inside for. Not part of the API.

use std::sync::Arc;

use crate::ConversationKind;
use crate::id::{ConversationId, MessageId, PeerId};
use crate::message::{Content, Message};
use crate::rows::entry::{self, Entry};
use crate::rows::recipients::Recipients;
use crate::rows::record::{Chunk, ChunkBuilder};
use crate::time::Timestamp;

/// A message's record, as the log stores it.
#[derive(Debug)]
pub struct RecordProbe {
    message: Message,
    builder: ChunkBuilder,
    key: Vec<u8>,
    row: Vec<u8>,
}

impl RecordProbe {
    /// A record of a message with a body of `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let (from, conversation) = (PeerId::new("alice"), ConversationId::new("6c7b0e5a33dec0de6c7b0e5a"));
        let message = Message {
            id: MessageId::from_bytes([7; 16]),
            conversation: conversation.expect("a constant"),
            kind: ConversationKind::Group,
            number: Some(1),
            timestamp: Timestamp::from_millis(1_700_000_000_000),
            from: from.expect("a constant"),
            to: Arc::default(),
            content: Content::Text("x".repeat(bytes)),
            transient: false,
            receipt: false,
            deleted: false,
            narrowed: false,
            position: 1 << 30,
            device: None,
        };
        let mut probe = Self { message, builder: ChunkBuilder::new(), key: entry::key(1, 1), row: Vec::new() };
        probe.encode();
        probe.row = probe.builder.finish(&probe.key);
        probe
    }

    /// Encodes the record into a chunk; a full chunk starts again.
    pub fn encode(&mut self) {
        if self.builder.bytes() > 16 * 1024 {
            self.builder.clear();
        }
        let entry = Entry::new(&self.message, 1 << 20, &Recipients::All, None);
        self.builder.push(&entry).expect("a record that fits");
    }

    /// Decodes the record from its row, its checksums included.
    #[must_use]
    pub fn decode(&self) -> usize {
        let chunk = Chunk::parse(&self.key, &self.row).expect("what was written");
        chunk.decode::<Entry<'_>>(0).and_then(Result::ok).map_or(0, |entry| entry.content_bytes())
    }
}
