//! What a conversation is to those who speak of it: its kind, and the fields that anyone in it may see.

use crate::id::{ConversationId, PeerId};
use crate::time::Timestamp;

/// Custom attributes of a conversation, as JSON.
pub type Attributes = serde_json::Map<String, serde_json::Value>;

/// Bytes that attributes keep in memory, about.
pub(crate) fn attributes_bytes(attributes: &Attributes) -> usize {
    attributes.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(value_bytes).sum(),
        Value::Object(attributes) => attributes_bytes(attributes),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + inside
}

/// What a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ConversationKind {
    /// A fixed set of peers, made by the first message, found by the set.
    Direct,
    /// Persistent members, who come and go.
    Group,
    /// Open to any number, online only (V1 open group, V2 chat room).
    Room,
    /// A fixed set of peers for a time.
    Temporary,
}

impl ConversationKind {
    /// Whether its members are always the same.
    pub(crate) const fn has_fixed_members(self) -> bool {
        matches!(self, Self::Direct | Self::Temporary)
    }
}

/// A conversation's fields, as anyone in it may see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationInfo {
    /// Its id, unique everywhere.
    pub id: ConversationId,
    /// What it is.
    pub kind: ConversationKind,
    /// Whether it is the one group of exactly its first members.
    pub unique: bool,
    /// Its name.
    pub name: Option<String>,
    /// The application's own attributes.
    pub attributes: Attributes,
    /// Who made it; `None` where the host did.
    pub creator: Option<PeerId>,
    /// Its members, sorted; empty for rooms, whose members are not listed.
    pub members: Vec<PeerId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its name, attributes or members last changed.
    pub updated_at: Timestamp,
    /// When its newest message was accepted.
    pub last_message_at: Option<Timestamp>,
    /// When it dies by itself.
    pub expires_at: Option<Timestamp>,
}
