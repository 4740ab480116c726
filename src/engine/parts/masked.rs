//! The word filter, for every text of a client that others see: contents, names of conversations, pushes.

use crate::conversation::ConversationKind;
use crate::engine::Engine;
use crate::message::Content;

impl Engine {
    /// Whether what is said in conversations of a kind passes the filter.
    fn is_filtered(&self, kind: ConversationKind) -> bool {
        kind != ConversationKind::Direct || self.config.filter_direct
    }

    /// What the filter makes of a message's content, in at most `bytes_max` bytes; `None` where it finds nothing.
    pub(crate) fn masked(&self, kind: ConversationKind, content: &Content, bytes_max: usize) -> Option<Content> {
        let filter = self.filter.as_ref().filter(|_| self.is_filtered(kind))?;
        filter.mask_message(content.as_text()?, bytes_max).map(Content::Text)
    }

    /// A text that is shown to people as it stands, as the filter leaves it: no longer than it was.
    pub(crate) fn masked_text(&self, kind: ConversationKind, text: &str) -> String {
        let filter = self.filter.as_ref().filter(|_| self.is_filtered(kind));
        filter.and_then(|filter| filter.mask(text, text.len())).unwrap_or_else(|| text.to_owned())
    }
}
